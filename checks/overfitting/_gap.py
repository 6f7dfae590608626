"""The overfit statistic that several checks of the family share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from diag import stats
from diag.examination import Examination, Series


class Gap(NamedTuple):
    """How far an evaluation loss ends above its best.

    Attributes:
        best: index of the best evaluation.
        rise: log of final level over best level, smoothed where there are points enough.
        noise: what noise alone would show: expected bias of the minimum plus two standard errors.
        p_value: of an upward trend after the best evaluation.
        train_falls: whether the training loss still fell after the best evaluation.
    """

    best: int
    rise: float
    noise: float
    p_value: float
    train_falls: bool


SMOOTH = 3
"""Evaluations averaged before minimum and end are compared."""
SMOOTH_MINIMUM = 6
"""Evaluations from which on they are averaged."""
END_ERRORS = 2.0
"""Standard errors granted to the end of the curve on top of the expected bias of its minimum."""


def gap(series: Series, train: Series | None) -> Gap:
    """Measure the rise of an evaluation loss from its best to its end.

    With 6 points or more: means of three, the expected bias of the minimum of n noisy means being
    ``sigma/sqrt(3) * sqrt(2 ln(n/3))``. With fewer, single points; their noise cannot be told from their
    trend and is given as ``sigma * sqrt(2 ln n)``, an upper bound. The noise of a rising curve is
    measured on second differences, so the rise itself does not count as noise.
    """
    y, n = series.y, len(series)
    sigma = 0.0 if math.isnan(series.sigma) else series.sigma
    best = int(np.argmin(y))
    if n >= SMOOTH_MINIMUM:
        means = np.convolve(y, np.full(SMOOTH, 1 / SMOOTH), mode="valid")
        rise = float(means[-1] - means.min())
        error = sigma / math.sqrt(SMOOTH)
        noise = error * math.sqrt(2 * math.log(n / SMOOTH)) + END_ERRORS * error
    else:
        rise = float(y[-1] - y[best])
        noise = sigma * math.sqrt(2 * math.log(max(n, 2)))
    p_value = stats.rising_p_value(y[best + 1 :])  # without the minimum itself, which selection makes low
    return Gap(best, rise, noise, p_value, train_falls(series, train, best))


def train_falls(series: Series, train: Series | None, best: int) -> bool:
    """Whether the training loss ended below its level at the best evaluation; True if there are no points to tell."""
    if train is None or len(train) < 4:
        return True
    step = float(series.curve.step[best])
    before, after = train.y[train.step <= step], train.y[train.step > step]
    if before.size < 2 or after.size < 2:
        return True
    width = max(2, min(before.size, after.size) // 3)
    spread = 0.0 if math.isnan(train.sigma) else train.sigma / math.sqrt(width)
    return float(np.median(after[-width:])) < float(np.median(before[-width:])) - min(0.5 * spread, 0.01)


def best_epoch(examination: Examination, series: Series, best: int) -> float | None:
    """Epoch of the best evaluation, None if no epoch is known."""
    epoch = float(series.curve.epoch[best])
    if math.isfinite(epoch):
        return epoch
    epochs = examination.number("num_epochs")
    return None if epochs is None else epochs * float(series.curve.step[best]) / examination.total_steps
