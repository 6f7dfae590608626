"""How much further steps would gain: the extrapolation that several checks share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from diag.examination import Examination, Series


class Gain(NamedTuple):
    """What the last two quarters of the training brought, and what as much training again promises.

    All are differences of the log loss (0.05 is 5%), quarters in terms of the cumulative learning rate.

    Attributes:
        earlier: drop over the third quarter.
        latest: drop over the last quarter.
        predicted: drop expected from four further quarters.
        error: standard error of ``latest`` from the noise of the series.
    """

    earlier: float
    latest: float
    predicted: float
    error: float


QUARTERS = 4
"""Quarters extrapolated: as much training again."""


def gain(examination: Examination, series: Series) -> Gain:
    """Extrapolate a loss by as much training again.

    A loss that approaches its asymptote exponentially drops by a constant ratio from one quarter to the next; the
    next drops are the last one times powers of the last ratio, at most 1. Quarters are cut in terms of the cumulative
    learning rate rather than the step, so that the flattening that a decaying schedule causes does not pass for
    convergence.
    """
    work = examination.cumulative_lr(series.step)
    total = float(work[-1])
    if total <= 0 or len(series) < 4:
        return Gain(0.0, 0.0, 0.0, math.inf)
    share = work / total
    sigma = 0.0 if math.isnan(series.sigma) else series.sigma
    half = 0.06 if len(series) > 20 else 0.0

    def at(target: float) -> tuple[float, float]:
        """Level near a share of the training, and how many points it rests on."""
        near = series.y[np.abs(share - target) <= half]
        if near.size >= 3:
            return float(np.mean(near)), float(near.size)
        return float(np.interp(target, share, series.y)), 1.5

    (middle, _), (late, n_late), (end, n_end) = at(0.5), at(0.75 - half / 2), at(1.0 - half)
    earlier, latest = middle - late, late - end
    ratio = min(1.0, max(0.0, latest / earlier)) if earlier > 0 else float(latest > 0)
    predicted = max(0.0, latest) * sum(ratio**k for k in range(1, QUARTERS + 1))
    return Gain(earlier, latest, predicted, sigma * math.sqrt(1 / n_late + 1 / n_end))
