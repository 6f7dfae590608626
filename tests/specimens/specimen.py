"""What a specimen is, and the shapes that several of them share."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from builders import RunBuilder, healthy

from diag.run import FloatArray, Hyperparameter, Run

LOSSES = ("train/loss", "eval/loss")
"""What is drawn unless a specimen says otherwise."""
ROWS = 200
"""Logged rows of most specimens."""


class Specimen(NamedTuple):
    """A run that a check fires on and one close to it that it does not.

    Attributes:
        fires: the run that has it.
        has: what that run is, one sentence.
        silent: the run that nearly has it.
        lacks: what that run is, and why it is no case, one sentence.
        panels: the metrics of each panel of the picture, from top to bottom; ``seconds`` are those between two rows.
    """

    fires: Run
    has: str
    silent: Run
    lacks: str
    panels: tuple[tuple[str, ...], ...] = (LOSSES,)


def specimen(fires: Run | RunBuilder, has: str, silent: Run | RunBuilder, lacks: str, *panels: tuple[str, ...] | str) -> Specimen:
    """A Specimen from builders or runs; a panel of one metric may be given by its name."""
    runs = [one.run() if isinstance(one, RunBuilder) else one for one in (fires, silent)]
    shown = tuple((panel,) if isinstance(panel, str) else panel for panel in panels) or (LOSSES,)
    return Specimen(runs[0], has, runs[1], lacks, shown)


def noise(scale: float, n: int = ROWS, seed: int = 0) -> FloatArray:
    """Multiplicative noise: the exponential of normal noise, shape (n,)."""
    return np.asarray(np.exp(scale * np.random.default_rng(seed).standard_normal(n)), dtype=np.float64)


def configured(run: RunBuilder, **config: object) -> Run:
    """A run with a configuration beside its log; ``model__width`` stands for the key ``model.width``."""
    keys = {key.replace("__", "."): value for key, value in config.items()}
    return run.run(
        config={key: Hyperparameter(value, "file", "config.yaml", line, key) for line, (key, value) in enumerate(keys.items(), 1)}
    )


def timed(gaps: FloatArray) -> Run:
    """A run whose rows were written so many seconds after one another."""
    run = healthy(n=gaps.size, evals=0).run()
    run.curves["train/loss"] = replace(run.curves["train/loss"], wall_time=1.7e9 + np.cumsum(gaps))
    return run
