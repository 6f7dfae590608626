"""Curves of several runs laid over each other, and the numbers that are compared: the best, and the level at the last common part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from diag import stats
from diag.case import Case
from diag.diagnosis import Diagnosis
from diag.examination import LATE_SHARE
from diag.gate.directions import LOWER, is_evaluation
from diag.run import Curve, FloatArray, Run
from diag.vocabulary import INCONCLUSIVE

STEP: Final = "step"
EPOCH: Final = "epoch"
SHARE: Final = "share"

SAME_LENGTH: Final = 0.05
"""Relative difference below which two runs are equally long: a log ends at the last multiple of its logging interval."""
COMPLETE: Final = 0.97
"""Share of its planned steps from which on a run was trained to its end (as LOG005 has it)."""
MOST_WINDOW: Final = stats.SPIKE_WINDOW
"""Points of the running median over a training metric, at most; a twentieth of its points, and 3 at least."""
OVERFLOWN: Final = 1e100
"""A value of this magnitude is as good as infinite: no metric is meant to be so large, and its square is not a number."""
LEAST_POINTS: Final = 7
"""Points without which the noise of a log is not measured: their 5 second differences have a median that one bend does not decide."""
BLOCKS: Final = 8
"""Parts of the common range in which a run is asked whether it is behind."""
SHORTER: Final = 0.98
"""Share of the longer run's length below which the shorter one ends before it."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """How runs of possibly different lengths are laid over each other.

    Attributes:
        by: ``step``; ``epoch`` where the runs see the data equally often in different numbers of steps; ``share`` of the run otherwise.
        scales: steps that make one unit, for the run and each reference.
        until: the end of the shortest, in units; what the others logged after it is left out, unless the unit is a share.
    """

    by: str
    scales: tuple[float, ...]
    until: float

    @property
    def cut(self) -> float:
        """Where the curves are cut off: a little after the end of the shortest."""
        return self.until * (2 - SHORTER)


def align(runs: Sequence[Run]) -> Alignment:
    """How to lay runs over each other, the first one being judged.

    By step where all are (planned to be) equally long; else by epoch where that makes them equally long, as with another batch size;
    else by the share of the run, since a schedule that ends earlier is lower at the same step without being better. A run that was cut
    off, or is still going, is compared by step all the same, as far as it has come; one that ended by itself, as by early stopping, is
    as long as it is.
    """
    steps = [float(max(run.steps, 1)) for run in runs]
    planned = [own if run.finished is True else max(float(run.planned_steps or 0), own) for run, own in zip(runs, steps, strict=True)]
    per_epoch = [Case(run, Diagnosis(INCONCLUSIVE, 0.0), ()).steps_per_epoch for run in runs]
    partial = any(run.finished is False or own < COMPLETE * plan for run, own, plan in zip(runs, steps, planned, strict=True))
    if _equal(planned):
        return Alignment(STEP, (1.0,) * len(runs), min(steps))
    if all(per_epoch):
        scales = tuple(float(value or 1.0) for value in per_epoch)
        if _equal([plan / scale for plan, scale in zip(planned, scales, strict=True)]):
            return Alignment(EPOCH, scales, min(own / scale for own, scale in zip(steps, scales, strict=True)))
    if partial:
        return Alignment(STEP, (1.0,) * len(runs), min(steps))
    return Alignment(SHARE, tuple(planned), 1.0)


def _equal(lengths: Sequence[float]) -> bool:
    return max(lengths) <= (1 + SAME_LENGTH) * min(lengths)


@dataclass(frozen=True, slots=True)
class Laid:
    """One metric of one run on a common axis.

    Attributes:
        x: positions in the unit of the alignment, shape (n,), strictly increasing.
        y: values, smaller is better, logarithms where ``logarithmic``, shape (n,).
        sigma: noise of ``y`` around its trend; 0 where there are too few points to tell.
        correlation: lag-one autocorrelation of that noise, 0 to 0.9.
        window: points that each value of ``y`` is the median of.
        scale: steps a unit.
        lost: the step from which on the metric is not a number (or, for a loss, exactly 0, as filters show a NaN), None if it ends well.
    """

    x: FloatArray
    y: FloatArray
    sigma: float
    correlation: float
    window: int
    scale: float
    lost: int | None

    def over(self, unit: float) -> Laid:
        """The same with values in multiples of ``unit``."""
        return self if unit == 1 else replace(self, y=self.y / unit, sigma=self.sigma / unit)

    def step(self, x: float) -> int:
        """The optimizer step at a position."""
        return round(x * self.scale)

    @property
    def best(self) -> tuple[float, float, float]:
        """The lowest value, its position, and the variance of it that the log shows."""
        at = int(np.argmin(self.y))
        # the median of w points has pi/2 times the variance of their mean
        return float(self.y[at]), float(self.x[at]), self.sigma**2 * (1.0 if self.window == 1 else math.pi / 2 / self.window)

    def at(self, grid: FloatArray) -> FloatArray:
        """The values at positions within its range, on straight lines between its points."""
        return np.asarray(np.interp(grid, self.x, self.y), dtype=np.float64)

    def late_variance(self, low: float, high: float) -> float:
        """Variance of the mean over a range that the log shows, its autocorrelation taken into account."""
        points = max(int(((self.x >= low) & (self.x <= high)).sum()), 1)
        effective = max(points * (1 - self.correlation) / (1 + self.correlation), 1.0)
        return self.sigma**2 / effective


def lay(metric: str, curve: Curve, way: int, scale: float, cut: float, logarithmic: bool) -> Laid | None:
    """One metric of one run, cut off at ``cut`` units; None where nothing finite is left.

    Args:
        metric: its name; an evaluation is taken point by point, what was logged during training is smoothed.
        curve: as it was logged.
        way: LOWER or HIGHER, whichever is better.
        scale: steps a unit.
        cut: the last position that counts.
        logarithmic: whether to take logarithms of the values.
    """
    shown = curve.select(curve.step / scale <= cut)
    good = usable(metric, shown)
    if not bool(good.any()):
        return None
    last = int(np.flatnonzero(good)[-1])
    lost = int(shown.step[last + 1]) if last + 1 < len(shown) else None
    kept = shown.select(good)
    raw = np.log(kept.value) if logarithmic else way * kept.value
    window = 1 if is_evaluation(metric) else int(np.clip(raw.size // 20, 3, MOST_WINDOW)) | 1
    smooth = stats.running_median(raw, window)
    sigma, correlation = _noise(raw)
    return Laid(kept.step / scale, smooth, sigma, correlation, window, scale, lost)


def usable(metric: str, curve: Curve) -> np.ndarray:
    """Which points count: those that are finite and, in a loss that is positive elsewhere, not exactly 0 (a NaN that a filter hid)."""
    good = np.abs(curve.value) < OVERFLOWN
    if metric.endswith("loss") and bool((curve.value[good] > 0).any()) and not bool((curve.value[good] < 0).any()):
        good &= curve.value > 0
    return np.asarray(good)


def _noise(y: FloatArray) -> tuple[float, float]:
    """Standard deviation around the trend, and its lag-one autocorrelation; zeros below LEAST_POINTS.

    It is measured in the later half: a loss that falls steeply at first bends more than it is noisy, and what is compared lies late.
    """
    if y.size < LEAST_POINTS:
        return 0.0, 0.0
    late = y[-max(y.size // 2, LEAST_POINTS) :]
    sigma = stats.noise_scale(late)
    if late.size < stats.SPIKE_WINDOW:
        return sigma, 0.0
    residual = late - stats.running_median(late, MOST_WINDOW)
    around = stats.MAD_TO_SIGMA * float(np.median(np.abs(residual - np.median(residual))))
    return max(sigma, around), float(np.clip(stats.lag_one_autocorrelation(residual), 0.0, 0.9))


@dataclass(frozen=True, slots=True)
class Ends:
    """The levels over the last part that all curves have in common, and where the first curve is behind the others.

    Attributes:
        low, high: the last part, in units: the last fifth of the common range.
        levels: mean of each curve over it.
        variances: of these means, as far as the logs show them.
        behind: the position from which on the first curve is worse than the mean of the others, up to the end; None if it is not at the
            end.
        share: share of the common range in which it is worse.
    """

    low: float
    high: float
    levels: tuple[float, ...]
    variances: tuple[float, ...]
    behind: float | None
    share: float


def ends(laid: Sequence[Laid]) -> Ends | None:
    """Compare the last common part; None where the curves have no part in common.

    All curves are read at the positions of all their points, on straight lines between their own, so that it makes no difference
    which of them was logged more often, and none is read outside its range.
    """
    first, last = max(float(one.x[0]) for one in laid), min(float(one.x[-1]) for one in laid)
    if first > last:
        return None
    grid = np.unique(np.concatenate([one.x[(one.x >= first) & (one.x <= last)] for one in laid]))
    values = np.stack([one.at(grid) for one in laid])
    low = last - LATE_SHARE * (last - first)
    levels = values[:, grid >= low].mean(axis=1)
    apart = stats.block_means(grid, values[0] - values[1:].mean(axis=0), BLOCKS)
    worse = apart.y > 0
    since = None
    if worse[-1]:
        better = np.flatnonzero(~worse)
        since = float(grid[0]) if not better.size else float(apart.x[better[-1] + 1])
    return Ends(
        low,
        last,
        tuple(map(float, levels)),
        tuple(one.late_variance(low, last) for one in laid),
        since,
        float(worse.mean()),
    )


def is_logarithmic(metric: str, curves: Sequence[Curve], way: int) -> bool:
    """Whether to compare logarithms: for what is lower when better and positive throughout."""
    return way == LOWER and all(bool((curve.value[usable(metric, curve)] > 0).all()) for curve in curves)
