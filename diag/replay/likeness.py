"""Whether a probe, trained as recorded, does what the log of the run shows. Needs no torch."""

from __future__ import annotations

from typing import Final

import numpy as np

from diag.replay.trainer import Trained
from diag.run import Run

LEAST_POINTS: Final = 5
"""Logged losses without which two curves are not compared."""
MOST: Final = 0.8
"""Share of the logged losses that must agree: spikes and the very first steps may differ."""
ALIKE: Final = 0.1
"""Difference up to which two losses agree, relative to the loss or, where that is larger, to how far the logged loss moves; seeds
of one training differ by up to 9%."""


def deviation(run: Run, trained: Trained) -> float | None:
    """How far a training is from the log of a run at the same steps: what all but a few of the logged losses stay below, see ALIKE.

    None where there is too little to compare. Each logged loss is compared with the mean since the one before it.
    """
    curve = run.curves.get("train/loss")
    steps = np.array([row["step"] for row in trained.rows if "train/loss" in row])
    losses = np.array([row["train/loss"] for row in trained.rows if "train/loss" in row])
    if curve is None or steps.size < LEAST_POINTS or not np.isfinite(losses).all():
        return None
    logged = curve.finite()
    at, values = logged.step.astype(float), logged.value
    if at.size < LEAST_POINTS:
        return None
    span = float(np.quantile(values, 0.95) - np.quantile(values, 0.05))
    found = []
    for before, step, value in zip([0.0, *at[:-1]], at, values, strict=True):
        if step > steps[-1]:
            break
        between = losses[(steps > before) & (steps <= step)]
        if between.size:
            nearest = min(float(np.mean(between)), float(between[-1]), key=lambda loss: abs(loss - value))
            found.append(abs(nearest - value) / max(abs(value), span, 1e-12))
    return float(np.quantile(found, MOST)) if len(found) >= LEAST_POINTS else None
