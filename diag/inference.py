"""Hyperparameters that nobody wrote down, drawn from the curves and from each other.

Everything here is of kind ``inferred`` and says what it was drawn from. Clipping is never inferred: a gradient norm is
logged before it is clipped, so the log looks the same with and without.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from diag.run import Curve, FloatArray, Hyperparameter, Run

AT_PEAK: Final = 0.995
"""Share of the peak learning rate from which a point counts as being at the peak (rounded logs keep two digits or more)."""

RISING: Final = 0.98
"""Share of the peak below which the first logged learning rate means that a warmup was going on."""

JUMPED: Final = 0.9
"""Share of a stepwise schedule's whole fall that its jumps make up; the rest is rounding."""

HIDDEN: Final = 0.02
"""Share of the run before the first logged learning rate in which a warmup would be too short to count (S3-025 and S3-058 ask for
3% and more): a log that begins at the peak within it shows that there was none."""

FIT_TOLERANCE: Final = 0.01
"""Largest deviation from a schedule's formula, as a share of the peak: above the rounding of console logs (2 to 3 digits)
and the off-by-one between a step and its logged learning rate on schedules of 100 steps."""

FLAT_TOLERANCE: Final = 0.002
"""Largest spread of a constant learning rate, as a share of the peak: float32 and printing round far less."""

MIN_SHAPE_POINTS: Final = 5
"""Logged learning rates after the warmup that a shape is read from; a line and a cosine agree on fewer within rounding."""

MAX_FIT_POINTS: Final = 512
"""Points a schedule is fitted to; longer curves are thinned evenly."""

HORIZONS: Final = np.concatenate([np.linspace(1.0, 1.5, 26), np.linspace(1.5, 4.0, 26)[1:]])
"""Decay horizons tried for a cosine, as multiples of the logged length: a cut-off run shows less than its whole decay."""

MIN_STABLE: Final = 0.1
"""Least share of the run at the peak for a schedule to count as warmup, stable, decay."""

MIN_FLOOR: Final = 0.005
"""Share of the peak below which a schedule ends at zero: the last step of a 200-step linear decay, or float noise of a cosine."""

COMPLETE: Final = 0.98
"""Share of the planned steps from which the last logged learning rate is the schedule's floor."""

MIN_STEPS_PER_EPOCH: Final = 1.5
"""Optimizer steps an epoch below which the log counts epochs, not steps, and sizes cannot be worked out from it."""

WORLD_TOLERANCE: Final = 0.03
"""Relative distance to a whole number of processes; the last incomplete batch of an epoch shifts it by less from 40 steps an epoch on."""

MIN_EPOCH_STEPS_FOR_WORLD: Final = 40
"""Steps an epoch needed to tell the number of processes (see WORLD_TOLERANCE)."""

ENDED = 0.97
"""A last logged step within 3% of a plan is its end: logs end at the last multiple of the logging interval."""


def infer(run: Run) -> None:
    """Add what is not known yet to ``run.hyperparameters``, as kind ``inferred`` with a note of what it was drawn from.

    From the learning-rate curve: ``learning_rate`` (its peak), ``warmup_steps``, ``lr_scheduler``, ``min_lr``. From epochs
    and steps: ``num_epochs``, ``max_steps``, ``dataset_size``, ``world_size``. From spacings: ``eval_steps``,
    ``logging_steps``. From each other: ``global_batch_size``, ``gradient_accumulation_steps``, ``micro_batch_size``.
    Calling it twice changes nothing.
    """
    if (
        run.planned_steps is None
        and (planned := run.hyperparameter("max_steps")) is not None
        and run.hyperparameters["max_steps"].kind != "inferred"
    ):
        run.planned_steps = int(planned)
    pace = steps_per_epoch(run)
    _spacings(run)
    _world(run, pace)
    _batches(run)
    _sizes(run, pace)
    _schedule(run)


def _put(run: Run, name: str, value: object, note: str) -> None:
    if name not in run.hyperparameters and value is not None:
        run.hyperparameters[name] = Hyperparameter(value, "inferred", note=note)


def _number(run: Run, name: str) -> float | None:
    value = run.hyperparameter(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _epochs(run: Run) -> tuple[FloatArray, FloatArray] | None:
    """Steps and epochs of the curve that was logged with the most epochs, None where none has two."""
    curve = max(run.curves.values(), key=lambda c: int(np.isfinite(c.epoch).sum()), default=None)
    if curve is None:
        return None
    known = np.isfinite(curve.epoch)
    return (curve.step[known].astype(np.float64), curve.epoch[known]) if int(known.sum()) > 1 else None


def steps_per_epoch(run: Run) -> float | None:
    """Optimizer steps an epoch, from the epochs that were logged beside the steps; None where they cannot tell.

    Fractional epochs give the slope between the first and the last point; whole ones the slope between the first points of
    the first and the last epoch that is seen to begin.
    """
    logged = _epochs(run)
    if logged is None:
        return None
    step, epoch = logged
    if bool((epoch == np.floor(epoch)).all()):
        begins = np.flatnonzero(np.diff(epoch) > 0) + 1
        if begins.size < 2:
            return None
        step, epoch = step[begins], epoch[begins]
    rise = float(epoch[-1] - epoch[0])
    if rise <= 0:
        return None
    pace = float(step[-1] - step[0]) / rise
    return pace if pace >= MIN_STEPS_PER_EPOCH else None


def last_epoch(run: Run) -> float | None:
    """Epochs completed at the last logged point, None where none was logged.

    Whole epochs of which one numbered 0 has steps count from 0, so they are one more; an epoch 0 at step 0 is the start.
    """
    logged = _epochs(run)
    if logged is None:
        return None
    step, epoch = logged
    from_zero = bool((epoch == np.floor(epoch)).all()) and bool(((epoch == 0) & (step > 0)).any())
    return float(epoch.max()) + (1.0 if from_zero else 0.0) or None


def _spacing(curve: Curve | None) -> float | None:
    if curve is None or len(curve) < 3:
        return None
    return float(np.median(np.diff(curve.step)))


def _spacings(run: Run) -> None:
    evaluation = next((curve for _, curve in run.eval_losses()), None)
    _put(run, "eval_steps", _spacing(evaluation), "the spacing of the evaluations")
    _put(run, "logging_steps", _spacing(run.curve("train/loss")), "the spacing of the logged train loss")


def _world(run: Run, pace: float | None) -> None:
    """Number of processes from how many samples each step must have held."""
    samples, micro = _number(run, "dataset_size"), _number(run, "micro_batch_size")
    if pace is None or pace < MIN_EPOCH_STEPS_FOR_WORLD or not samples or not micro or "global_batch_size" in run.hyperparameters:
        return
    ratio = samples / (pace * micro * (_number(run, "gradient_accumulation_steps") or 1.0))
    whole = round(ratio)
    if whole >= 2 and abs(ratio / whole - 1.0) <= WORLD_TOLERANCE:
        _put(run, "world_size", whole, "dataset_size, the batch size and the logged steps an epoch")


def _stated(run: Run, name: str) -> float | None:
    """As ``_number``, only what a person or a framework set, not what was inferred here."""
    entry = run.hyperparameters.get(name)
    return None if entry is None or (entry.kind == "inferred" and not entry.note.startswith("the default of")) else _number(run, name)


def _batches(run: Run) -> None:
    """global = micro x accumulation x world, where one of them is missing."""
    micro, total = _number(run, "micro_batch_size"), _stated(run, "global_batch_size")
    accumulation, world = _stated(run, "gradient_accumulation_steps"), _number(run, "world_size")
    alone = "" if world else " (world_size taken as 1)"
    if "global_batch_size" not in run.hyperparameters and micro is not None:
        assumed = [name for name, value in (("gradient_accumulation_steps", accumulation), ("world_size", world)) if value is None]
        note = "micro_batch_size x gradient_accumulation_steps x world_size"
        note += f" ({' and '.join(assumed)} taken as 1)" if assumed else ""
        _put(run, "global_batch_size", int(micro * (accumulation or 1) * (world or 1)), note)
    elif total is not None and micro is not None and accumulation is None:
        steps = total / (micro * (world or 1))
        if steps >= 1 and steps.is_integer():
            _put(run, "gradient_accumulation_steps", int(steps), f"global_batch_size / micro_batch_size{alone}")
    elif total is not None and micro is None and accumulation is not None:
        size = total / (accumulation * (world or 1))
        if size >= 1 and size.is_integer():
            _put(run, "micro_batch_size", int(size), f"global_batch_size / gradient_accumulation_steps{alone}")


def _sizes(run: Run, pace: float | None) -> None:
    batch, samples, epochs = _number(run, "global_batch_size"), _number(run, "dataset_size"), _number(run, "num_epochs")
    planned = run.planned_steps if run.planned_steps and run.planned_steps > 0 else None
    known = run.hyperparameters.get("global_batch_size")
    assumed = f" ({known.note.split('(', 1)[1]}" if known is not None and known.kind == "inferred" and "(" in known.note else ""
    if samples is None and pace is not None and batch is not None:
        samples = float(round(pace * batch))
        _put(run, "dataset_size", int(samples), f"the logged steps an epoch x global_batch_size{assumed}")
    elif (
        samples is None
        and batch is not None
        and (stated := _stated(run, "num_epochs"))
        and planned is not None
        and planned >= MIN_STEPS_PER_EPOCH * stated
    ):
        samples = float(round(planned * batch / stated))
        _put(run, "dataset_size", int(samples), f"max_steps x global_batch_size / num_epochs{assumed}")
    if epochs is None:
        if planned is not None and pace is not None:
            _put(run, "num_epochs", round(planned / pace, 3), "max_steps / the logged steps an epoch")
        elif (end := last_epoch(run)) is not None:
            _put(run, "num_epochs", end, "the last logged epoch")
        elif samples and batch and run.steps and run.steps * batch >= samples:
            _put(run, "num_epochs", round(run.steps * batch / samples, 3), "the last step x global_batch_size / dataset_size")
        epochs = _number(run, "num_epochs")
    if planned is not None:
        _put(run, "max_steps", int(planned), "the number of steps the log says were planned")
    elif epochs is not None and pace is not None:
        _put(run, "max_steps", round(epochs * pace), "num_epochs x the logged steps an epoch")
    elif epochs is not None and samples and batch:
        kept, dropped = int(epochs * math.ceil(samples / batch)), int(epochs * (samples // batch))
        incomplete = ENDED * dropped <= run.steps <= dropped  # the loader leaves out the incomplete batch (drop_last)
        _put(run, "max_steps", dropped if incomplete and run.steps else kept, "num_epochs x dataset_size / global_batch_size")
    elif run.steps:
        _put(run, "max_steps", run.steps, "the last logged step")


class Schedule(NamedTuple):
    """What a learning-rate curve shows.

    Attributes:
        peak: largest learning rate.
        warmup_steps: steps of its rise, None where the curve begins too late to tell.
        shape: Hugging Face name (``constant``, ``linear``, ``cosine``, ``inverse_sqrt``, ``warmup_stable_decay``,
            ``step``, ``constant_with_warmup``), None where no formula fits.
        floor: last learning rate where the curve has fallen and would not reach zero, None otherwise.
    """

    peak: float
    warmup_steps: int | None
    shape: str | None
    floor: float | None


def read_schedule(curve: Curve) -> Schedule | None:
    """The schedule behind a logged learning-rate curve, None where it holds no finite positive value.

    Warmup is the rise to the peak, extended by its own slope to where it meets it. The shape is the simplest formula that
    fits all points from the peak on within FIT_TOLERANCE of it: constant, linear, cosine (any horizon, any floor),
    inverse square root, flat then falling (warmup-stable-decay), steps.
    """
    curve = curve.finite()
    if not len(curve) or float(curve.value.max()) <= 0:
        return None
    step, rate = curve.step.astype(np.float64), curve.value
    peak = float(rate.max())
    start = int(np.argmax(rate >= AT_PEAK * peak))
    warmup = _warmup_steps(step, rate, peak, start)
    top = int(np.argmax(rate))
    begins = [float(step[start]) if warmup is None else float(warmup)] + [0.0] * (start == 0)
    shape = _shape(step[top:], rate[top:] / peak, begins)
    if shape is None and warmup:
        # The highest logged point may still belong to the rise.
        shape = _shape(step[top + 1 :], rate[top + 1 :] / peak, [float(step[top])])
    if shape == "constant" and warmup:
        shape = "constant_with_warmup"
    floor = _floor(rate[top:], peak)
    return Schedule(peak, warmup, shape, floor)


def _floor(rate: FloatArray, peak: float) -> float | None:
    """The last value of a fallen learning rate, None where the next points would have reached zero."""
    last = float(rate[-1])
    if rate.size < 3 or not MIN_FLOOR * peak <= last < (1.0 - FIT_TOLERANCE) * peak:
        return None
    return last if last > 2.0 * max(float(rate[-2]) - last, 0.0) else None


def _warmup_steps(step: FloatArray, rate: FloatArray, peak: float, start: int) -> int | None:
    if start == 0:
        return 0 if step[0] <= HIDDEN * step[-1] else None
    rising, at = rate[:start], step[:start]
    if float(rising[0]) >= RISING * peak or bool((np.diff(rising) < 0).any()):
        return None
    if start >= 2 and rising[-1] > rising[0]:
        slope = float(rising[-1] - rising[0]) / float(at[-1] - at[0])
        meets = float(at[-1]) + (peak - float(rising[-1])) / slope
    elif rising[-1] > 0:
        meets = float(at[-1]) * peak / float(rising[-1])  # a rise from zero
    else:
        meets = float(step[start])
    return round(min(max(meets, float(at[-1])), float(step[start])))


def _thin(step: FloatArray, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    if step.size <= MAX_FIT_POINTS:
        return step, rate
    chosen = np.linspace(0, step.size - 1, MAX_FIT_POINTS).astype(np.int64)
    return step[chosen], rate[chosen]


def _misfit(basis: FloatArray, rate: FloatArray) -> float:
    """Largest deviation of ``rate`` from its least-squares fit by a line in ``basis`` (that falls), infinite where it rises."""
    centred = basis - basis.mean()
    scale = float(centred @ centred)
    if scale <= 0:
        return math.inf
    slope = float(centred @ (rate - rate.mean())) / scale
    return math.inf if slope <= 0 else float(np.abs(rate - rate.mean() - slope * centred).max())


def _shape(step: FloatArray, rate: FloatArray, begins: list[float]) -> str | None:
    """Name of the schedule of a curve that begins at its peak, scaled to 1; ``begins`` are steps at which the decay may begin."""
    if step.size < MIN_SHAPE_POINTS:
        return "constant" if step.size > 1 and float(np.ptp(rate)) <= FLAT_TOLERANCE else None
    if float(np.ptp(rate)) <= FLAT_TOLERANCE:
        return "constant"
    if _is_steps(rate):
        return "step"
    step, rate = _thin(step, rate)
    if _misfit(-step, rate) <= FIT_TOLERANCE:
        return "linear"
    for begin in begins:
        time = (step - min(begin, float(step[0]))) / max(float(step[-1]) - begin, 1.0)
        if min(_misfit(np.cos(np.pi * time / horizon), rate) for horizon in HORIZONS) <= FIT_TOLERANCE:
            return "cosine"
    if _misfit(1.0 / np.sqrt(np.maximum(step, 1.0)), rate) <= FIT_TOLERANCE:
        return "inverse_sqrt"
    flat = int(np.argmax(rate < 1.0 - FLAT_TOLERANCE))
    stable = float(step[flat] - step[0]) / float(step[-1] - step[0])
    if flat >= 2 and stable >= MIN_STABLE and bool((np.diff(rate[flat - 1 :]) <= FLAT_TOLERANCE).all()):
        return "warmup_stable_decay"
    return None


def _is_steps(rate: FloatArray) -> bool:
    """Whether a curve only falls in few jumps and is flat between them."""
    fall = -np.diff(rate)
    jump = fall > FLAT_TOLERANCE
    if not bool((fall >= -FLAT_TOLERANCE).all()) or not 0 < int(jump.sum()) <= 0.1 * rate.size:
        return False
    return float(fall[jump].sum()) >= JUMPED * float(rate[0] - rate[-1])  # a smooth fall may exceed the tolerance here and there


def _schedule(run: Run) -> None:
    curve = run.curve("lr")
    schedule = read_schedule(curve) if curve is not None else None
    if schedule is None:
        if curve is not None and len(curve.finite()) and not bool(curve.finite().value.any()):
            _put(run, "learning_rate", 0.0, "the logged learning rate, which is always 0")
    else:
        _put(run, "learning_rate", schedule.peak, "the peak of the logged learning rate")
        _put(run, "lr_scheduler", schedule.shape, "the shape of the logged learning rate")
        planned = run.planned_steps
        ended = (run.steps >= COMPLETE * planned) if planned else run.finished is True
        if schedule.floor is not None and ended:
            _put(run, "min_lr", schedule.floor, "the last logged learning rate")
        if "warmup_ratio" not in run.hyperparameters:
            _put(
                run,
                "warmup_steps",
                None if schedule.warmup_steps is None else float(schedule.warmup_steps),
                "the rise of the logged learning rate",
            )
    ratio, total = _number(run, "warmup_ratio"), _number(run, "max_steps")
    if ratio is not None and total is not None:
        _put(run, "warmup_steps", float(math.ceil(ratio * total)), "warmup_ratio x max_steps")
