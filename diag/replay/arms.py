"""The arms of a replay: the recorded hyperparameters, the prescription, its parts, its alternatives, and a control."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from diag.fixes import DISPLAY, Fix
from diag.result import describe_value
from diag.text import significant

RECORDED: Final = "recorded"
PRESCRIPTION: Final = "prescription"
CONTROL: Final = "random"

UNSEEN: Final = frozenset(
    {
        "early_stopping_patience",
        "early_stopping_threshold",
        "eval_steps",
        "gradient_checkpointing",
        "load_best_model_at_end",
        "logging_steps",
        "save_steps",
        "seed",
    }
)
"""What shows in no short training: when to stop, what to keep, how often to look."""
CONTROL_PARAMETERS: Final = ("learning_rate", "weight_decay", "max_grad_norm")
"""What the control may turn, where the run has a value above zero for it."""
CONTROL_FACTORS: Final = (0.1, 0.3, 3.0, 10.0)
DIGITS: Final = 12
"""Significant digits of a multiplied value: floating point must not make two arms of one."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        name: short and unique, also the name of its folder.
        changes: hyperparameter, value as recorded, value in this arm.
        hyperparameters: all of them.
    """

    name: str
    changes: tuple[tuple[str, Any, Any], ...]
    hyperparameters: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What it changes, in one phrase."""
        return ", ".join(f"{name} {describe_value(old)} → {describe_value(new)}" for name, old, new in self.changes) or "as recorded"


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms of one replay, in the order in which they matter, and what no arm can show."""

    recorded: Arm
    prescription: Arm
    others: tuple[Arm, ...]
    untested: tuple[str, ...]


def make_arms(hyperparameters: Mapping[str, Any], fixes: Sequence[Fix]) -> Arms | None:
    """The arms that the fixes of a run call for; None if no fix changes anything that a probe can show.

    The prescription is the first rank that does; those before it, such as advice to look at the data, are left to people.

    Args:
        hyperparameters: canonical values of the run, ``max_steps`` among them.
        fixes: the prescription, all ranks.
    """
    made: list[Arm] = []
    untested: list[str] = []
    for rank in sorted({fix.rank for fix in fixes}):
        attempt = [fix for fix in fixes if fix.rank == rank]
        usable = [fix for fix in attempt if new_value(hyperparameters, fix) is not None]
        untested += [fix.parameter for fix in attempt if fix not in usable]
        if not usable:
            continue
        first = not made
        made.append(_arm(PRESCRIPTION if first else f"rank-{rank}", hyperparameters, usable))
        if first and len(usable) > 1:
            made += [_arm(f"only-{fix.parameter}", hyperparameters, [fix]) for fix in usable]
    if not made:
        return None
    prescription, *others = _unique([*made, *_control(hyperparameters)])
    return Arms(Arm(RECORDED, (), dict(hyperparameters)), prescription, tuple(others), tuple(dict.fromkeys(untested)))


def new_value(hyperparameters: Mapping[str, Any], fix: Fix) -> Any:
    """The value a fix sets, None if it sets none that a probe can show."""
    if fix.applicability == DISPLAY or fix.parameter in UNSEEN:
        return None
    old = hyperparameters.get(fix.parameter)
    if fix.new is None and fix.factor is not None and isinstance(old, (int, float)) and not isinstance(old, bool):
        return type(old)(significant(old * fix.factor, DIGITS))
    return None if fix.new == old else fix.new


def _arm(name: str, hyperparameters: Mapping[str, Any], fixes: Iterable[Fix]) -> Arm:
    values = {fix.parameter: new_value(hyperparameters, fix) for fix in fixes}
    changes = tuple((key, hyperparameters.get(key), value) for key, value in values.items())
    return Arm(name, changes, override(hyperparameters, values))


def override(hyperparameters: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters with other values, and what follows from them.

    The length of the run follows its epochs and its batch, as the data is what it is; warmup is given in steps or as a share, not both.
    """
    changed = dict(hyperparameters) | dict(values)
    for name, other in (("warmup_steps", "warmup_ratio"), ("warmup_ratio", "warmup_steps")):
        if name in values and other not in values:
            changed.pop(other, None)
    if "max_steps" not in values and changed.get("max_steps"):
        steps = float(changed["max_steps"])
        for name, power in (("num_epochs", 1), ("global_batch_size", -1)):
            if name in values and hyperparameters.get(name):
                steps *= (values[name] / hyperparameters[name]) ** power
        changed["max_steps"] = max(1, round(steps))
    if "global_batch_size" in values and (micro := changed.get("micro_batch_size")):
        changed["micro_batch_size"] = min(micro, values["global_batch_size"])
    return changed


def _control(hyperparameters: Mapping[str, Any]) -> list[Arm]:
    """One change drawn at random, the same for the same run: what any change would do. None where there is nothing to turn."""
    names = [name for name in CONTROL_PARAMETERS if isinstance(value := hyperparameters.get(name), (int, float)) and value > 0]
    if not names:
        return []
    draw = random.Random(repr(sorted((key, repr(value)) for key, value in hyperparameters.items())))
    name, factor = draw.choice(names), draw.choice(CONTROL_FACTORS)
    return [_arm(CONTROL, hyperparameters, [Fix(name, hyperparameters[name], None, factor, 1, CONTROL, "control")])]


def _unique(arms: Iterable[Arm]) -> list[Arm]:
    """The arms that train something no arm before them does."""
    kept: list[Arm] = []
    for arm in arms:
        if all(arm.hyperparameters != known.hyperparameters for known in kept):
            kept.append(arm)
    return kept
