"""Whether a probe, trained as recorded, does what the log of the run shows. Needs no torch."""

from __future__ import annotations

from typing import Final

import numpy as np

from diag.replay.trainer import Trained
from diag.run import Run

LEAST_POINTS: Final = 5
"""Logged losses without which two curves are not compared."""
PARTS: Final = 8
"""Parts of the training whose mean losses are compared: single losses differ by the noise of their batches."""
IN_PART: Final = 3
"""Logged losses in a part, where the log has as many."""
MOST: Final = 0.8
"""Share of the parts that must agree: a spike, or the first steps, may differ."""
ALIKE: Final = 0.1
"""Difference up to which two losses agree, relative to the loss or, where that is larger, to how far the logged loss moves; seeds
of one training differ by up to 9%."""


def deviation(run: Run, trained: Trained) -> float | None:
    """How far a training is from the log of a run at the same steps: what all but a few parts of it stay below, see ALIKE.

    None where there is too little to compare. The mean of the logged losses of each part is compared with the mean loss of the training
    over the steps that they stand for: each for the steps since the one before it.
    """
    curve = run.curves.get("train/loss")
    steps = np.array([row["step"] for row in trained.rows if "train/loss" in row])
    losses = np.array([row["train/loss"] for row in trained.rows if "train/loss" in row])
    if curve is None or steps.size < LEAST_POINTS or not np.isfinite(losses).all():
        return None
    logged = curve.finite()
    inside = logged.step <= steps[-1]
    at, values = logged.step[inside].astype(float), logged.value[inside]
    if at.size < LEAST_POINTS:
        return None
    span = float(np.quantile(logged.value, 0.95) - np.quantile(logged.value, 0.05))
    found, before = [], 0.0
    for part in np.array_split(np.arange(at.size), max(min(PARTS, at.size // IN_PART), 2)):
        between = losses[(steps > before) & (steps <= at[part[-1]])]
        before, value = at[part[-1]], float(np.mean(values[part]))
        if between.size:
            found.append(abs(float(np.mean(between)) - value) / max(abs(value), span, 1e-12))
    return float(np.quantile(found, MOST)) if found else None
