"""Rows of a console log onto one step axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from diag.adapters.console_rows import Row
from diag.adapters.records import is_eval, is_loss, is_reward

ROUNDED: Final = 0.012
"""Relative error of a step printed with three significant digits (``2.45e+04``), with some slack."""
MOST_RISING: Final = 0.8
"""Share of training rows at which the bar must have moved; below, output and bar were buffered apart."""
REGULAR: Final = 0.5
"""Share of equal distances from which progress-bar positions count as the training steps."""


@dataclass(slots=True)
class Axis:
    """Steps of rows.

    Attributes:
        step: one an input row.
        epoch: fractional or whole epoch a row, None where unknown.
        planned: steps the run was to take, None if unknown.
        notes: remarks.
    """

    step: list[int]
    epoch: list[float | None]
    planned: int | None = None
    notes: list[str] = field(default_factory=list)


def is_training(row: Row) -> bool:
    """Whether a row holds something measured while training: a loss, a reward, a gradient norm."""
    return any(map(trains, row.values))


@lru_cache(maxsize=4096)
def trains(name: str) -> bool:
    """Whether a metric of this name is measured while training."""
    return (is_loss(name) or is_reward(name) or "grad" in name) and not is_eval(name)


def place(rows: Sequence[Row], epochs: int | None, interval: float | None, total: int | None, done: int | None = None) -> Axis:
    """Give every row a step.

    Args:
        rows: in the order of the log.
        epochs: planned number of epochs, None if unknown.
        interval: optimizer steps between two training rows as configured, None if unknown.
        total: planned optimizer steps as configured, None if unknown.
        done: optimizer steps taken at the end of the log, None if unknown.

    Rows that name their step keep it, counted on where it starts again in every epoch. Rows of a progress-bar log take
    the bar's position. Rows without either take the step of the row before them, or are laid out by their epoch, or
    counted.
    """
    axis = Axis([0] * len(rows), [row.epoch for row in rows])
    training = [row for row in rows if is_training(row)]
    with_bars = [row for row in training if row.step is None and (row.before or row.after)]
    if len(with_bars) >= max(1, len(training) // 2) and by_bars(rows, with_bars, axis):
        return axis
    stepped = [row for row in rows if row.step is not None]
    loose = sum(row.step is None for row in training)
    if stepped and len(stepped) >= loose:
        by_steps(rows, axis, epochs, total)
    elif not by_fractional_epochs(rows, axis, interval, total, epochs, done) and not by_epochs(rows, axis, epochs):
        by_counting(rows, axis)
    return axis


def by_steps(rows: Sequence[Row], axis: Axis, epochs: int | None, total: int | None) -> None:
    """Steps as printed; a counter that starts again with every epoch is counted on."""
    stepped = [row for row in rows if row.step is not None]
    per_epoch = epoch_size(stepped)
    first = next((row.epoch for row in stepped if row.epoch is not None), 0.0) or 0.0
    restore_rounded(stepped)
    last = 0
    totals = Counter(row.total for row in stepped if row.total)
    for index, row in enumerate(rows):
        if row.step is not None:
            last = row.step
            if per_epoch is not None and row.epoch is not None:
                last += per_epoch * int(row.epoch - first)
        axis.step[index] = last
    if per_epoch is not None:
        axis.notes.append(f"steps start again in every epoch; {per_epoch} to an epoch were counted on")
        axis.planned = per_epoch * epochs if epochs else total
    elif totals:
        axis.planned = max(totals, key=lambda n: (totals[n], n))
    else:
        axis.planned = total


def epoch_size(rows: Sequence[Row]) -> int | None:
    """Steps in an epoch where the step starts again with every epoch; None where it is one running counter."""
    back = ahead = 0
    previous: Row | None = None
    for row in rows:
        if previous is not None and row.step is not None and previous.step is not None and row.step < previous.step:
            rises = row.epoch is not None and previous.epoch is not None and row.epoch > previous.epoch
            ahead, back = ahead + rises, back + (not rises)
        previous = row
    if ahead == 0 or back > ahead:
        return None
    totals = Counter(row.total for row in rows if row.total)
    if totals:
        return max(totals, key=lambda n: (totals[n], n))
    steps = [row.step for row in rows if row.step is not None]
    return max(steps) + (1 if min(steps) == 0 else 0)


def restore_rounded(rows: Sequence[Row]) -> None:
    """Steps printed with three digits (several rows at ``2.45e+04``) get their numbers back from the exact first rows."""
    steps = [row.step for row in rows if row.step is not None]
    if len(steps) < 20 or len(set(steps)) == len(steps) or any(b < a for a, b in pairwise(steps)):
        return
    interval = steps[1] - steps[0]
    if interval <= 0 or steps[2] - steps[1] != interval:
        return
    restored = [steps[0] + interval * index for index in range(len(steps))]
    if all(abs(a - b) <= ROUNDED * max(a, interval) for a, b in zip(restored, steps, strict=True)):
        for row, step in zip(rows, restored, strict=True):
            row.step = step


def by_bars(rows: Sequence[Row], training: Sequence[Row], axis: Axis) -> bool:
    """Steps from the training progress bar: the one whose position rises from training row to training row.

    The bar is drawn at most ten times a second, so the position before a line may be stale and the one drawn after it
    exact, or the other way round where two streams were written to one file: the more regular one counts.
    """
    best: tuple[float, int, str] | None = None
    for side in ("after", "before"):
        for total in sorted({total for row in training for total in getattr(row, side)}):
            points = [getattr(row, side).get(total) for row in training]
            known = [point for point in points if point is not None]
            if 2 * len(known) < len(training) or (len(known) > 1 and known[-1] <= known[0]):
                continue
            gaps = Counter(b - a for a, b in pairwise(known))
            rising = sum(count for gap, count in gaps.items() if gap > 0) / max(1, sum(gaps.values())) if gaps else 1.0
            if rising < MOST_RISING:
                continue
            regular = (max(gaps.values()) if gaps else 1) / max(1, sum(gaps.values()))
            score = len(known) / len(training) + rising + regular * REGULAR
            if best is None or score > best[0] + 1e-9:
                best = score, total, side
    if best is None:
        return False
    _, total, side = best
    last = 0
    for index, row in enumerate(rows):
        if row.step is not None:
            last = row.step
        elif not is_training(row):
            last = max(last, row.before.get(total, last))  # the bar stood still while the run was evaluated
        elif (point := getattr(row, side).get(total, row.before.get(total))) is not None:
            last = point
        axis.step[index] = last
    axis.planned = total
    return True


def by_fractional_epochs(
    rows: Sequence[Row], axis: Axis, interval: float | None, total: int | None, epochs: int | None, done: int | None
) -> bool:
    """Steps from fractional epochs (Hugging Face without a progress bar), if some training row lies within an epoch.

    Steps in an epoch come from the logging interval, else from the steps taken, else from the configured total, else
    from the number of training rows in an epoch.
    """
    training = [row for row in rows if is_training(row) and row.epoch is not None]
    ends = [row.epoch for row in training if row.epoch is not None]
    if len(ends) < 2 or all(end == int(end) for end in ends) or ends[-1] <= ends[0]:
        return False
    per_row = (ends[-1] - ends[0]) / (len(ends) - 1)
    if interval and interval >= 1:
        size = interval / per_row
        axis.notes.append(f"steps were worked out from the logging interval of {interval:.0f}")
    elif done or (total and epochs):
        size = done / max(row.epoch for row in rows if row.epoch is not None) if done else (total or 1) / (epochs or 1)
        axis.notes.append(f"steps were worked out from the epochs at {size:.0f} steps an epoch")
    else:
        size = 1 / per_row
        axis.notes.append("steps are log rows: the log names no step")
    last = 0
    for index, row in enumerate(rows):
        if row.epoch is not None:
            last = round(row.epoch * size)
        axis.step[index] = last
    counted = [axis.step[index] for index, row in enumerate(rows) if is_training(row)]
    if len(set(counted)) < len(counted):  # the epoch is printed too coarsely to tell rows apart
        unit = interval if interval and interval >= 1 else max(1.0, per_row * size)
        done = 0
        for index, row in enumerate(rows):
            done += is_training(row)
            axis.step[index] = round(done * unit)
    axis.planned = total or (round(size * epochs) if epochs else None)
    return True


def by_epochs(rows: Sequence[Row], axis: Axis, epochs: int | None) -> bool:
    """Steps are epoch numbers, if every epoch has about one training row."""
    training = [row for row in rows if is_training(row)]
    known = [row.epoch for row in training if row.epoch is not None] or [row.epoch for row in rows if row.epoch is not None]
    if not known or len(set(known)) * 2 < len(training):
        return False
    last = 0
    for index, row in enumerate(rows):
        if row.epoch is not None:
            last = int(row.epoch)
        axis.step[index] = last
    axis.planned = epochs
    axis.notes.append("steps are epochs: the log names no optimizer step")
    return True


def by_counting(rows: Sequence[Row], axis: Axis) -> None:
    """Steps are counted: a row whose metric was seen since the last count begins the next."""
    count = 1
    seen: set[str] = set()
    for index, row in enumerate(rows):
        names = set(row.values)
        if seen & names and not all(is_eval(name) for name in seen & names):
            count += 1
            seen = set()
        seen |= names
        axis.step[index] = count
    axis.notes.append("steps are counted log lines: the log names neither step nor epoch")
