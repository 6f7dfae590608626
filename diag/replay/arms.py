"""The arms of a replay: the recorded hyperparameters, the prescription, its parts, its alternatives, and a control."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from diag.fixes import DISPLAY, Fix
from diag.replay.candidates import LIKELY, Candidate
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
SCHEDULING: Final = frozenset({"lr_scheduler", "lr_decay_steps", "min_lr", "warmup_ratio", "warmup_steps"})
"""What the schedule of the learning rate follows from; an arm that changes any of it gets the declared schedule."""
FOUND: Final = "lr-find"
"""The arm with the learning rate that a range test suggests."""
DECLARED: Final = "declared"
SCHEDULE_CAUSES: Final = ("schedule_bug", "resume_discontinuity")
"""The causes that the declared schedule answers where another one was logged."""
CONTROL_PARAMETERS: Final = ("learning_rate", "weight_decay", "max_grad_norm")
"""What the control may turn, where the run has a value above zero for it."""
CONTROL_FACTORS: Final = (0.1, 0.3, 3.0, 10.0)
RATE_DIGITS: Final = 2
"""Significant digits of a suggested learning rate: its interval is wider."""
DIGITS: Final = 12
"""Significant digits of a multiplied value: floating point must not make two arms of one."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        name: short and unique, also the name of its folder.
        changes: hyperparameter, value as recorded, value in this arm.
        hyperparameters: all of them.
        causes: the causes it answers, where it answers single ones.
        is_kept: whether it is trained to the end even if it falls behind.
    """

    name: str
    changes: tuple[tuple[str, Any, Any], ...]
    hyperparameters: Mapping[str, Any]
    causes: tuple[str, ...] = ()
    is_kept: bool = False

    @property
    def label(self) -> str:
        """What it changes, in one phrase."""
        return ", ".join(f"{name} {describe_value(old)} → {describe_value(new)}" for name, old, new in self.changes) or "as recorded"


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms of one replay, in the order in which they matter, and what no arm can show.

    Without a prescription that a training can show there is none of it.
    """

    recorded: Arm
    prescription: Arm | None
    others: tuple[Arm, ...]
    untested: tuple[str, ...]


def make_arms(
    hyperparameters: Mapping[str, Any], fixes: Sequence[Fix], candidates: Sequence[Candidate] = (), *, declared: bool = False
) -> Arms | None:
    """The arms that the fixes and the candidate causes of a run call for; None if none changes anything that a probe can show.

    The prescription is the first rank that does; those before it, such as advice to look at the data, are left to people.

    Args:
        hyperparameters: canonical values of the run, ``max_steps`` among them.
        fixes: the prescription, all ranks.
        candidates: causes to test, each by a change of its own.
        declared: whether another schedule was logged than the declared one, which becomes an arm: the prescription, where that is advice.
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
    tests = [arm for candidate in candidates if (arm := _test(hyperparameters, candidate)) is not None]
    if declared:
        change = ("lr_scheduler", "as logged", f"as declared ({hyperparameters.get('lr_scheduler') or 'constant'})")
        (tests if made else made).insert(0, Arm(DECLARED, (change,), dict(hyperparameters), SCHEDULE_CAUSES, is_kept=True))
    if not made and not tests:
        return None
    arms = _unique([*made, *tests, *(_control(hyperparameters) if made else [])])
    prescription = arms.pop(0) if made else None
    return Arms(Arm(RECORDED, (), dict(hyperparameters)), prescription, tuple(arms), tuple(dict.fromkeys(untested)))


def with_rate(arms: Arms, rate: float) -> Arms:
    """The arms and one with another learning rate, unless one of them has that already."""
    new = significant(rate, RATE_DIGITS)
    recorded = arms.recorded.hyperparameters
    known = [arm for arm in (arms.recorded, arms.prescription, *arms.others) if arm is not None]
    arm = Arm(FOUND, (("learning_rate", recorded["learning_rate"], new),), override(recorded, {"learning_rate": new}), is_kept=True)
    return arms if any(arm.hyperparameters == one.hyperparameters for one in known) else replace(arms, others=(*arms.others, arm))


def _test(hyperparameters: Mapping[str, Any], candidate: Candidate) -> Arm | None:
    """The arm that tests a cause: the change that is first tried for it; None where that is advice, or shows in no training.

    A cause whose cure is no hyperparameter is not tested by what is tried after it: that answers other causes as well.
    """
    first = [fix for fix in candidate.fixes if fix.rank == 1]
    usable = [fix for fix in first if new_value(hyperparameters, fix) is not None]
    if not usable or any(fix.applicability == DISPLAY for fix in first):
        return None
    arm = _arm(f"cause-{candidate.cause}", hyperparameters, usable)
    return replace(arm, causes=(candidate.cause,), is_kept=candidate.score >= LIKELY)


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
    """The arms that train something no arm before them does; one that does answers the causes of both."""
    kept: list[Arm] = []
    for arm in arms:
        at = next((at for at, known in enumerate(kept) if known.hyperparameters == arm.hyperparameters and arm.name != DECLARED), None)
        if at is None:
            kept.append(arm)
        else:
            known = kept[at]
            kept[at] = replace(known, causes=known.causes + arm.causes, is_kept=known.is_kept or arm.is_kept)
    return kept
