"""Corrections that hold for a run whatever source it was read from: known lies of trainers, undone and noted."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from diag.adapters.aliases import component_losses
from diag.run import Curve, Run

_ABRUPT_LOSS: Final = 0.1
"""Loss that cannot fall to exactly 0.0 within one logging window by learning alone, nats."""
_ZERO_ROWS: Final = 3
"""Rows of exactly 0.0 at the end of a run below which no NaN is suspected without a telling grad_norm."""
_ACCUMULATION_TOLERANCE: Final = 0.10
"""How near the train/eval loss ratio must be to gradient_accumulation_steps (transformers 4.46 and 4.47 logged the
sum over the accumulated micro-batches instead of their mean)."""
_BLIND_EVALUATIONS: Final = 3
"""Evaluations that must agree on one power of two before the ratio alone, with the setting unknown, is believed."""
_BLIND_FACTORS: Final = (4, 8, 16, 32, 64, 128)


def repair(run: Run) -> None:
    """Undo the known lies in place; each leaves a note."""
    sum_components(run)
    unmask_nan(run)
    undo_accumulation(run)


def sum_components(run: Run) -> None:
    """Where a side logged no plain loss but the parts of one (``train/box_loss``, ``train/cls_loss``), add them up.

    A step counts where every part was logged.
    """
    for canonical, parts in component_losses(run.curves).items():
        curves = [run.curves[part] for part in parts]
        step = curves[0].step
        for curve in curves[1:]:
            step = np.intersect1d(step, curve.step, assume_unique=True)
        if not step.size:
            continue
        picked = [curve.select(np.searchsorted(curve.step, step)) for curve in curves]
        total = np.sum([curve.value for curve in picked], axis=0)
        run.curves[canonical] = Curve(step, total, picked[0].epoch, picked[0].wall_time)
        run.native_names[canonical] = " + ".join(parts)
        run.notes.append(f"{canonical} is the sum of {', '.join(parts)}")


def unmask_nan(run: Run) -> None:
    """Store NaN where the Trainer's NaN filter wrote a loss of exactly 0.0.

    ``logging_nan_inf_filter`` (on by default) replaces a non-finite loss by a running average; over a window of
    nothing but NaN that is 0.0, while ``grad_norm`` is NaN. Without a telling grad_norm, the loss must fall to exactly
    0.0 from above _ABRUPT_LOSS within one window and stay there. Reward-driven runs (GRPO) start at exactly 0.0 and
    are left alone.
    """
    loss = run.curves.get("train/loss")
    if loss is None or "reward" in run.curves or any(name.startswith("rewards/") for name in run.curves):
        return
    zero = loss.value == 0.0
    if not bool(zero.any()):
        return
    masked = np.zeros(len(loss), dtype=bool)
    norm = run.curves.get("grad_norm")
    if norm is not None and len(norm):
        where = np.searchsorted(norm.step, loss.step)
        where = np.minimum(where, len(norm) - 1)
        same = norm.step[where] == loss.step
        masked |= zero & same & ~np.isfinite(norm.value[where])
        silent = same & (norm.value[where] == 0.0) | ~same
    else:
        silent = np.ones(len(loss), dtype=bool)
    masked |= zero & silent & _abrupt_tail(loss, zero)
    if not bool(masked.any()):
        return
    value = loss.value.copy()
    value[masked] = np.nan
    run.curves["train/loss"] = Curve(loss.step, value, loss.epoch, loss.wall_time)
    first = int(loss.step[int(np.argmax(masked))])
    run.notes.append(
        f"the loss of exactly 0.0 at {int(masked.sum())} rows from step {first} hides NaN (logging_nan_inf_filter) and was read as NaN"
    )


def _abrupt_tail(loss: Curve, zero: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mask of a tail of zeros that follows a loss above _ABRUPT_LOSS directly; all False where there is none."""
    tail = np.zeros(len(loss), dtype=bool)
    alive = np.flatnonzero(~zero)
    if alive.size and len(loss) - 1 - alive[-1] >= _ZERO_ROWS and loss.value[alive[-1]] > _ABRUPT_LOSS:
        tail[alive[-1] + 1 :] = True
    return tail


def undo_accumulation(run: Run) -> None:
    """Divide the train loss by ``gradient_accumulation_steps`` where it was logged multiplied by it.

    Recognized by the ratio of the train loss to the evaluation loss at each evaluation: equal to the known
    setting, or, where the setting is unknown, to one power of two from 4 on at every one of several evaluations.
    Reward-driven runs are left alone.
    """
    loss = run.curves.get("train/loss")
    held_out = run.curves.get("eval/loss") or next((curve for _, curve in run.eval_losses()), None)
    if run.dialect not in ("hf", "generic") or loss is None or held_out is None or "reward" in run.curves:
        return
    ratios = _ratios(loss, held_out)
    if not ratios.size:
        return
    known = run.hyperparameter("gradient_accumulation_steps")
    if isinstance(known, (int, float)) and not isinstance(known, bool):
        factor = float(known)
        if factor < 2 or abs(float(np.median(ratios)) / factor - 1) > _ACCUMULATION_TOLERANCE:
            return
        why = "gradient_accumulation_steps"
    else:
        if ratios.size < _BLIND_EVALUATIONS or run.adapter != "trainer_state":
            return
        fits = [f for f in _BLIND_FACTORS if bool((np.abs(ratios / f - 1) <= _ACCUMULATION_TOLERANCE).all())]
        if not fits:
            return
        factor = float(fits[0])
        why = "every evaluation"
    run.curves["train/loss"] = Curve(loss.step, loss.value / factor, loss.epoch, loss.wall_time)
    run.notes.append(
        f"the train loss was logged about {factor:g} times the eval loss, as {why} says it was summed over accumulated micro-batches"
        f" (transformers 4.46 and 4.47); it was divided by {factor:g}"
    )


def _ratios(loss: Curve, held_out: Curve) -> npt.NDArray[np.float64]:
    """Train loss over eval loss at every evaluation that has a train row at or before it."""
    where = np.searchsorted(loss.step, held_out.step, side="right") - 1
    use = where >= 0
    with np.errstate(all="ignore"):
        ratio = loss.value[where[use]] / held_out.value[use]
    return ratio[np.isfinite(ratio) & (ratio > 0)]
