"""Metrics that carry a step axis each (TensorBoard tags, MLflow keys), brought to the common axis of optimizer steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from diag.adapters.records import EPOCH_KEYS, fractional_epochs, is_eval, is_loss, is_reward
from diag.adapters.table_steps import first_offset
from diag.run import Column, FloatArray, IntArray

STUCK_POINTS: Final = 3
"""Points of one metric on a single step other than 0 from which the step is taken to be missing rather than repeated."""
AXIS_POINTS: Final = 1000
"""First points of each metric that are looked at to tell whether steps are counted from 0."""
DEEPSPEED: Final = re.compile(r"^Train/(?:Eval/)?Samples/")
"""Tags of the DeepSpeed monitor, whose x axis counts samples."""
_KERAS_EPOCH: Final = re.compile(r"^(?:\w+/)?epoch_\w+$")
_KERAS_BATCH: Final = re.compile(r"^(?:\w+/)?batch_\w+$")


class Series(NamedTuple):
    """The points of one metric in the order in which they were logged.

    ``step`` int64, ``value`` float64, ``wall_time`` float64 Unix seconds (NaN where unknown), each of shape (n,).
    """

    step: IntArray
    value: FloatArray
    wall_time: FloatArray


def to_columns(series: Mapping[str, Series]) -> tuple[dict[str, Column], list[str]]:
    """The metrics as Columns over optimizer steps completed, with epochs filled in, and remarks.

    Metrics logged without a step (all on step 0, or many on one step) are put where their wall time falls among the
    others, or counted in order. Axes that count from 0, samples or epochs are converted as far as the log tells how.
    """
    notes: list[str] = []
    points = dict(series)
    _place_stepless(points, notes)
    _count_samples(points, notes)
    per_epoch = _keras_axis(points, notes)
    offset = _offset(points)
    if offset:
        points = {name: one._replace(step=np.maximum(one.step + offset, 0)) for name, one in points.items()}
    epoch = _epoch_axis(points)
    columns = {}
    for name, one in points.items():
        if epoch is not None and name == epoch[0]:
            continue
        if per_epoch:
            epochs: FloatArray | None = one.step / per_epoch
        else:
            epochs = None if epoch is None else np.interp(one.step, epoch[1], epoch[2], left=np.nan, right=np.nan)
        columns[name] = Column(one.step, one.value, epochs, one.wall_time)
    return columns, notes


def _is_stuck(one: Series) -> bool:
    """Whether several points lie on one step because none was given."""
    if one.step.size < 2 or bool((one.step != one.step[0]).any()):
        return False
    return int(one.step[0]) == 0 or one.step.size >= STUCK_POINTS


def _place_stepless(points: dict[str, Series], notes: list[str]) -> None:
    """Give steps to metrics that were logged without, in place."""
    stuck = [name for name in sorted(points) if _is_stuck(points[name])]
    if not stuck:
        return
    clock = _clock([one for name, one in points.items() if name not in stuck])
    for name in stuck:
        one = points[name]
        order = np.argsort(one.wall_time, kind="stable")
        one = Series(one.step[order], one.value[order], one.wall_time[order])
        step = np.arange(1, one.step.size + 1)
        if clock is not None:
            placed = clock[1][np.maximum(np.searchsorted(clock[0], one.wall_time, side="right") - 1, 0)]
            if bool((np.diff(placed) > 0).all()):
                step = placed
        points[name] = one._replace(step=step)
    shown = ", ".join(stuck[:3]) + (f" and {len(stuck) - 3} more" if len(stuck) > 3 else "")
    notes.append(
        f"logged without steps: {shown}; the points were counted in order"
        if clock is None
        else f"logged without steps: {shown}; placed by wall time or counted in order"
    )


def _clock(others: list[Series]) -> tuple[FloatArray, IntArray] | None:
    """Wall time and step of the metric with most points that has both, ascending in both; None where there is none."""
    best: Series | None = None
    for one in others:
        good = (
            one.step.size > 1
            and bool(np.isfinite(one.wall_time).all())
            and bool((np.diff(one.step) >= 0).all())
            and bool((np.diff(one.wall_time) >= 0).all())
        )
        if good and (best is None or one.step.size > best.step.size):
            best = one
    return None if best is None else (best.wall_time, best.step)


def _count_samples(points: dict[str, Series], notes: list[str]) -> None:
    """Turn the sample axis of the DeepSpeed monitor into steps, in place."""
    names = [name for name in points if DEEPSPEED.match(name)]
    if not names:
        return
    samples = np.unique(np.concatenate([points[name].step[:AXIS_POINTS] for name in names]))
    gaps = np.diff(samples)
    batch = max(int(gaps.min()) if gaps.size else int(samples.max(initial=1)), 1)
    for name in names:
        points[name] = points[name]._replace(step=points[name].step // batch)
    notes.append(f"the x axis counts samples; steps assume {batch} samples a step, the smallest distance between records")


def _keras_axis(points: dict[str, Series], notes: list[str]) -> int:
    """Put what Keras logs once an epoch (``epoch_loss`` at 0, 1, …) at the ends of the epochs, in place.

    Returns:
        Steps an epoch: those of the batches where these were logged too, 1 where steps can only be epochs, 0 where it is
        no log of Keras.
    """
    epochs = [name for name in points if _KERAS_EPOCH.match(name)]
    if not epochs:
        return 0
    steps = np.unique(np.concatenate([points[name].step for name in epochs]))
    if not steps.size or int(steps[0]) != 0 or int(steps[-1]) != steps.size - 1:
        return 0
    batches = [int(points[name].step.max(initial=0)) for name in points if _KERAS_BATCH.match(name)]
    size = max(1, round((max(batches) + 1) / steps.size)) if batches else 1
    if not batches and len(epochs) < len(points):
        return 0
    for name in epochs:
        points[name] = points[name]._replace(step=(points[name].step + 1) * size)
    for name in points:
        if _KERAS_BATCH.match(name):  # counted from 0 as well
            points[name] = points[name]._replace(step=points[name].step + 1)
    notes.append(
        "steps are epochs: no optimizer step was logged"
        if size == 1
        else f"what was logged once an epoch is placed at its end, {size} batches an epoch"
    )
    return size


def _offset(points: Mapping[str, Series]) -> int:
    """1 where steps are counted from 0, else 0."""
    names = sorted(points)
    if not names:
        return 0
    heads = [points[name].step[:AXIS_POINTS] for name in names]
    training = [(is_loss(name) or is_reward(name) or "grad" in name.lower()) and not is_eval(name) for name in names]
    mask: npt.NDArray[np.bool_] = np.repeat(np.array(training, dtype=bool), [head.size for head in heads])
    return first_offset(np.concatenate(heads), np.flatnonzero(mask))


def _epoch_axis(points: Mapping[str, Series]) -> tuple[str, IntArray, FloatArray] | None:
    """The metric that logs the epoch, with its steps (ascending, unique) and fractional epochs."""
    lowered = {name.lower(): name for name in sorted(points, reverse=True)}
    for key in EPOCH_KEYS:
        if key not in lowered:
            continue
        one = points[lowered[key]]
        known = np.isfinite(one.value)
        # The newest point of each step counts, as in a resumed run.
        step, last = np.unique(one.step[known][::-1], return_index=True)
        if step.size:
            epoch = one.value[known][::-1][last]
            return lowered[key], step, fractional_epochs(step, epoch)
    return None
