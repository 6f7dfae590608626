"""Successive halving: arms that fall behind early are given up. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from diag.replay.trainer import Job, Mark, Row, Trained

FIRST_RUNG: Final = 0.125
"""Share of the plan before which no arm is dropped; at 5% the choice costs 17% of the loss at worst, at 12.5% it costs 4%."""
GROWTH: Final = 2.0
"""How many times as long as the last each rung is."""
KEEP: Final = 0.5
"""Share of the arms that goes on from each rung."""

BEHIND: Final = "behind"
"""How the reason begins why an arm was dropped."""

Earliest = Callable[[Job], int]
"""The optimizer steps of a job before which nothing is seen."""


def rungs(job: Job, earliest: int) -> list[int]:
    """The optimizer steps of a job at which it may be dropped: an eighth of its plan, twice that, and so on; never the last."""
    found: list[int] = []
    step = max(FIRST_RUNG * job.total_steps, 1.0)
    while step < job.steps:
        if (at := max(math.ceil(step), earliest)) < job.steps and at not in found:
            found.append(at)
        step *= GROWTH
    return found


class Halving:
    """Stops a training at a rung unless it is among the better half of those that were there.

    Trainings that run side by side are judged side by side; one that runs alone is judged against those before it.
    """

    def __init__(self, earliest: Earliest) -> None:
        self._earliest = earliest
        self._losses: dict[int, dict[tuple[str, int], float]] = {}

    def learn(self, job: Job, trained: Trained) -> None:
        """Take a finished training as one of those that were there; it is never dropped."""
        judged = [row for row in trained.rows if "eval/loss" in row] or trained.rows
        for number, at in enumerate(rungs(job, self._earliest(job))):
            row = next((row for row in judged if row["step"] >= at), None)
            if row is not None:
                self._losses.setdefault(number, {})[job.arm, job.seed] = loss_at(row)

    def __call__(self, marks: Sequence[Mark]) -> list[str]:
        """Why to stop each training, "" to let it go on."""
        new: list[tuple[int, str]] = []
        for job, row in marks:
            passed = [number for number, at in enumerate(rungs(job, self._earliest(job))) if at <= row["step"]]
            number = next((number for number in passed if (job.arm, job.seed) not in self._losses.get(number, {})), -1)
            if number >= 0:
                self._losses.setdefault(number, {})[job.arm, job.seed] = loss_at(row)
            new.append((number, f"{BEHIND} at step {int(row['step'])}"))
        return [
            reason if number >= 0 and self._is_behind(number, job) else "" for (job, _), (number, reason) in zip(marks, new, strict=True)
        ]

    def _is_behind(self, number: int, job: Job) -> bool:
        there = {key: loss for key, loss in self._losses[number].items() if key[1] == job.seed}
        place = sum(loss < there[job.arm, job.seed] for loss in there.values())
        return place >= max(1, math.ceil(KEEP * len(there)))


def loss_at(row: Row) -> float:
    """What trainings are ranked by at a rung."""
    value = row.get("eval/loss", row.get("train/loss", math.inf))
    return value if math.isfinite(value) else math.inf
