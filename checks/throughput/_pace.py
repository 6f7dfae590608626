"""How long steps took, from whatever a run logged about it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diag.check import Skip
from diag.examination import Examination
from diag.run import Curve, FloatArray, IntArray


class Pace(NamedTuple):
    """Seconds a step, interval by interval.

    Attributes:
        step: last step of each interval, int64, shape (n,).
        seconds: seconds a step, shape (n,); for a rate (tokens a second) its reciprocal, in arbitrary units.
        source: canonical metric it comes from, ``wall_time`` for the times of the log rows.
        duration: seconds the logged run took, NaN where unknown.
    """

    step: IntArray
    seconds: FloatArray
    source: str
    duration: float


def clock(examination: Examination) -> tuple[Curve, FloatArray]:
    """The curve with the most timestamps, and the seconds between its rows, shape (n - 1,).

    Raises:
        Skip: no row has a time, or too few have.
    """
    curves = [curve for _, curve in sorted(examination.run.curves.items()) if len(curve) > 2 and bool(np.isfinite(curve.wall_time).all())]
    if not curves:
        raise Skip("the log does not say when its rows were written")
    preferred = examination.run.curve("train/loss")
    curve = preferred if preferred is not None and any(preferred is other for other in curves) else max(curves, key=len)
    gaps = np.diff(curve.wall_time)
    if bool((gaps < 0).any()):
        keep = np.flatnonzero(gaps >= 0)
        if keep.size * 2 < gaps.size:
            raise Skip("the times of the log rows do not run forward")
    return curve, np.asarray(np.maximum(gaps, 0.0), dtype=np.float64)


def evaluated_between(examination: Examination, step: IntArray) -> np.ndarray:
    """Whether an evaluation or a checkpoint falls into each interval (step[i], step[i + 1]], shape (n - 1,)."""
    marks = [curve.step for name, curve in sorted(examination.run.curves.items()) if name.startswith("eval/")]
    marks.append(np.array([checkpoint.step for checkpoint in examination.run.checkpoints], dtype=np.int64))
    events = np.unique(np.concatenate(marks))
    return np.searchsorted(events, step[1:], side="right") > np.searchsorted(events, step[:-1], side="left")


def pace(examination: Examination, minimum: int) -> Pace:
    """Seconds a step: logged step times, else the reciprocal of a logged rate, else the times of the rows.

    Intervals with an evaluation or a checkpoint in them are left out of the last.

    Raises:
        Skip: nothing tells, or fewer than ``minimum`` intervals do.
    """
    try:
        curve, gaps = clock(examination)
        duration = float(gaps.sum())
    except Skip:
        curve, gaps, duration = None, np.empty(0), float("nan")
    for metric in ("step_time", "tokens_per_second", "samples_per_second"):
        logged = examination.run.curve(metric)
        if logged is None:
            continue
        usable = logged.select(np.isfinite(logged.value) & (logged.value > 0))
        if len(usable) < minimum:
            continue
        seconds = usable.value if metric == "step_time" else 1.0 / usable.value
        if metric == "step_time" and not duration > 0:
            duration = float(np.median(seconds)) * float(usable.step[-1] - usable.step[0])
        return Pace(usable.step, seconds, metric, duration)
    if curve is None:
        raise Skip("neither step times nor the times of the rows were logged")
    keep = ~evaluated_between(examination, curve.step) & (gaps > 0)
    if int(keep.sum()) < minimum:
        raise Skip(f"needs {minimum} timed intervals without an evaluation, has {int(keep.sum())}")
    return Pace(curve.step[1:][keep], (gaps / np.diff(curve.step))[keep], "wall_time", duration)
