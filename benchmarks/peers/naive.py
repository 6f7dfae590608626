"""The analyzer that the tuning guides sketch, written anew from its four thresholds (guide rows S3-111 to S3-126).

It looks at the raw points: no noise, no smoothing, no scale of the loss. It is the bar that any tool should clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

OVERFIT_RISE = 0.05
"""Rise of the last evaluation over the best one, relative, above which the run is called overfit (S3-114)."""
FALL_POINTS, FALL = 10, 0.05
"""A loss that is lower than that many points before by more than this, in units of the loss, is still falling (S3-118)."""
VARYING_POINTS, VARYING = 20, 0.1
"""More points than that, and the standard deviation of the last ones over their mean, above which a run varies too much (S3-120)."""
LEAST_GAIN = 0.05
"""Gain of the best evaluation over the first one, relative, below which the run hardly improved (S3-123)."""


def findings(train: Sequence[float], evaluations: Sequence[float]) -> list[str]:
    """Codes of what the guides' thresholds find in the training and the evaluation losses of a run, in the order of the steps.

    A comparison with a value that is not a number holds for none of the thresholds, as in the guides.

    Raises:
        ValueError: there is no evaluation; the guides' analyzer gives up there.
    """
    if not evaluations:
        raise ValueError("no evaluation loss")
    found = []
    best, first, last = min(evaluations), evaluations[0], evaluations[-1]
    if best and (last - best) / best > OVERFIT_RISE:
        found.append("overfitting")
    if len(train) >= FALL_POINTS and train[-1] - train[-FALL_POINTS] < -FALL:
        found.append("still-falling")
    if len(train) > VARYING_POINTS and variation(train[-VARYING_POINTS:]) > VARYING:
        found.append("varying")
    if first > 0 and (first - best) / first < LEAST_GAIN:
        found.append("hardly-improved")
    return found


def variation(values: Sequence[float]) -> float:
    """Standard deviation over mean; NaN where a value is not finite or the mean is zero."""
    if not all(map(math.isfinite, values)) or not fmean(values):
        return math.nan
    return pstdev(values) / fmean(values)
