"""A smoothed line through a noisy curve, for the eye; nothing is judged by it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from diag.run import Curve


def smooth(curve: Curve, share: float, length: float) -> Curve:
    """Exponential moving average over steps, without the bias of its start.

    Every value is the mean of itself and the finite ones before it, weighted by ``exp(-distance / (share * length))`` with distances in
    steps, so that it does not matter how often something was logged. ``static/charts.js`` computes the same.

    Args:
        curve: any; not changed.
        share: time constant, as a share of the run; 0 leaves the curve as it is.
        length: steps of the run.

    Returns:
        A curve at the same steps; NaN where the curve is not finite.
    """
    constant = share * length
    if constant <= 0 or len(curve) < 2:
        return curve
    decay = np.exp(-np.diff(curve.step, prepend=curve.step[0]) / constant)
    smoothed = np.full(len(curve), math.nan)
    total = weight = 0.0
    for i, (value, keep) in enumerate(zip(curve.value.tolist(), decay.tolist(), strict=True)):
        total *= keep
        weight *= keep
        if math.isfinite(value):
            total += value
            weight += 1.0
            smoothed[i] = total / weight
    return replace(curve, value=smoothed)
