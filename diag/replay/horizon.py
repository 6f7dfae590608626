"""How much of a training is probed: its beginning, the whole of it on part of the data, or all of it. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from diag.replay.arms import Arm, Arms
from diag.replay.schedule import warmup_steps
from diag.replay.symptom import Symptom
from diag.vocabulary import OVERFIT

PROBED_SHARE: Final = 0.25
"""Share of the plan that is probed: the order of learning rates there agrees with that of full runs (rank correlation 0.86)."""
AFTER_WARMUP: Final = 20
"""Optimizer steps after the warmup without which a probe shows nothing but the warmup."""
AFTER_ONSET: Final = 1.25
"""How far beyond the step at which the log begins to show the symptom a probe goes, as a multiple of that step."""
NEARLY_ALL: Final = 0.8
"""Share of the plan from which on the whole is trained: the end says more than the little that is saved."""
LEAST_SUBSET: Final = 60
"""Optimizer steps that a training on part of the data has at least: with 12 evaluations, five steps for each."""
PLANNED: Final = frozenset({"num_epochs", "max_steps"})
"""Hyperparameters that change how long a run is: what they do shows at its end."""

BEGINNING: Final = "beginning"
SUBSET: Final = "subset"
WHOLE: Final = "whole"


@dataclass(frozen=True, slots=True)
class Horizon:
    """How much of every arm is trained.

    Attributes:
        kind: BEGINNING (the first steps, under the schedule of the whole plan), SUBSET (the whole plan on part of the data, which is
            repeated as often as in the run) or WHOLE.
        steps: optimizer steps of the recorded arm.
        total_steps: optimizer steps of its whole plan on all of the data.
    """

    kind: str
    steps: int
    total_steps: int

    @property
    def name(self) -> str:
        """Short and unique, also the name of its folder."""
        return f"{self.kind}-{self.steps}"

    @property
    def share(self) -> float:
        """Share of the data that is trained on; 1 but for a SUBSET."""
        return self.steps / self.total_steps if self.kind == SUBSET else 1.0

    def total_of(self, arm: Arm) -> int:
        """Optimizer steps of an arm's plan, on the data it is given."""
        return max(1, round(int(arm.hyperparameters["max_steps"]) * self.share))

    def steps_of(self, arm: Arm, recorded: Arm) -> int:
        """Optimizer steps to do: as many samples as the recorded arm sees of the beginning; else the arm's own plan to its end."""
        if self.kind != BEGINNING:
            return self.total_of(arm)
        old, new = recorded.hyperparameters.get("global_batch_size"), arm.hyperparameters.get("global_batch_size")
        return max(1, min(self.total_of(arm), round(self.steps * old / new) if old and new else self.steps))

    def hyperparameters_of(self, arm: Arm) -> dict[str, Any]:
        """An arm's hyperparameters; what counts steps counts those of its plan."""
        values = dict(arm.hyperparameters)
        if self.kind == SUBSET:
            for name in ("warmup_steps", "lr_decay_steps"):
                if (values.get(name) or 0) >= 1:
                    values[name] = max(1, round(values[name] * self.share))
            values["max_steps"] = self.total_of(arm)
        return values

    def __str__(self) -> str:
        if self.kind == SUBSET:
            return f"whole runs on {self.share:.0%} of the data, {self.steps:,} of {self.total_steps:,} steps"
        return f"{self.steps:,} of {self.total_steps:,} steps ({self.steps / self.total_steps:.0%})"


def plans(arm: Arm) -> bool:
    """Whether an arm changes how long the run is."""
    return any(name in PLANNED for name, _, _ in arm.changes)


def least_steps(arms: Arms) -> int:
    """The warmup of the two main arms and a little more, without which nothing is seen."""
    total = int(arms.recorded.hyperparameters["max_steps"])
    main = [arm for arm in (arms.recorded, arms.prescription) if arm is not None]
    warmup = max(warmup_steps(arm.hyperparameters, int(arm.hyperparameters["max_steps"])) for arm in main)
    return min(warmup + AFTER_WARMUP, total)


def horizons(arms: Arms, symptom: Symptom, wanted: int | None, *, small: bool, scale: float) -> list[Horizon]:
    """What to train, one after the other until it is decided.

    A quarter of the plan, or as far as the symptom goes back in the log. What shows only at the end of a run (overfitting, a
    change of its length) is trained to its end, on a quarter of the data with equal repetition. Where that does not decide, a probe,
    which is small, is trained as a whole; a training command is not.

    Args:
        arms: the arms.
        symptom: what the log shows, and from which step on.
        wanted: optimizer steps that the user asked for; None for the choice above.
        small: whether the trainings are small copies of the run, that can be trained to the end and given part of the data.
        scale: the probe's plan over the run's.
    """
    total, least = int(arms.recorded.hyperparameters["max_steps"]), least_steps(arms)
    whole = Horizon(WHOLE, total, total)
    if wanted is not None:
        steps = max(wanted, least)
        return [Horizon(BEGINNING, steps, total) if steps < total else whole]
    tested = [arm for arm in (arms.prescription, *arms.others) if arm is not None and (arm is arms.prescription or arm.is_kept)]
    if small and (symptom.verdict == OVERFIT or arms.prescription is None or any(map(plans, tested))):
        part = max(math.ceil(PROBED_SHARE * total), least, LEAST_SUBSET)
        return [Horizon(SUBSET, part, total), whole] if part < NEARLY_ALL * total else [whole]
    onset = math.ceil((symptom.start or 0) * scale * AFTER_ONSET)
    steps = max(math.ceil(PROBED_SHARE * total), least, onset)
    first = Horizon(BEGINNING, steps, total) if steps < NEARLY_ALL * total else whole
    return [first, whole] if small and first is not whole else [first]
