"""Trains the arms of a replay with a probe function, on one device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from diag.replay.fitting import Fitting
from diag.replay.grouping import Together
from diag.replay.guard import STALLED, ProbeError, user_code
from diag.replay.probe import ProbeFunction, on_part, settle
from diag.replay.trainer import OUT_OF_TIME, Begin, Job, RateFound, Row, Stop, Trained
from diag.replay.training import pick_device, planned_steps, seed_everything, train
from diag.text import show

if TYPE_CHECKING:
    from diag.run import Run

CHECKED_STEPS: Final = 3
"""Optimizer steps of the two identical trainings that tell whether a probe is deterministic."""
TOLERANCE: Final = {"cpu": 1e-6}
"""Relative difference at which identical trainings count as identical; GPUs add up in any order."""
GPU_TOLERANCE: Final = 1e-3
VERSION: Final = 3
"""Goes up when the same job would give another training."""


class ProbeTrainer:
    """Trains a user's probe.

    Args:
        function: makes the probe.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        stalled: seconds without progress after which the probe is taken to hang.
        stack: train arms and seeds together: wherever they can be, never, or by default where it is faster.

    Raises:
        ProbeError: there is no such device.
    """

    small = True

    def __init__(self, function: ProbeFunction, device: str = "auto", stalled: float = STALLED, *, stack: bool | None = None) -> None:
        self.function, self.device, self.stalled = function, pick_device(device), stalled
        self.spec = function.spec
        self.digest = f"{function.digest} torch {version('torch')} on {self.device}, {VERSION}"
        self.fitting = Fitting(function, self.device)
        self._checked = False
        self._together = None if stack is False else Together(self.fitting, stalled, always=stack is True)

    def settle(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """As one device has them: see ``diag.replay.probe.settle``."""
        return settle(hyperparameters)

    def planned_steps(self, hyperparameters: Mapping[str, Any]) -> int | None:
        """What the probe says of its plan."""
        settled = settle(hyperparameters)
        with user_code("the probe", self.device, self.stalled):
            seed_everything(0)
            return planned_steps(self.function(settled, 0), settled)

    def check(self, job: Job) -> None:
        """Train the same job twice, for a moment: arms can only be compared if the same gives the same.

        Raises:
            ProbeError: the two differ, or the loss is no number before anything was learned.
        """
        if self._checked:
            return
        self._checked = True
        first, largest, second = self._moment(job), self.fitting.largest, self._moment(job)
        if self.fitting.largest != largest:  # only trainings with the same micro-batch can be told to be the same
            first = self._moment(job)
        start = first.rows[0]["train/loss"]
        if not math.isfinite(start) and settle(job.hyperparameters).get("precision") != "fp16":
            raise ProbeError(f"the loss is {show(start)} at the first step, before anything was learned; look at the model and the data")
        tolerance = TOLERANCE.get(self.device, GPU_TOLERANCE)
        for one, other in zip(first.rows, second.rows, strict=False):
            for name in ("train/loss", "eval/loss"):
                a, b = one.get(name, 0.0), other.get(name, 0.0)
                if math.isfinite(a) and math.isfinite(b) and abs(a - b) > tolerance * max(abs(a), abs(b)):
                    raise ProbeError(
                        f"the probe has unseeded randomness: two identical trainings differ at step {int(one['step'])}"
                        f" ({name} {a:.6g} and {b:.6g}); seed every generator from the seed it is given"
                    )

    def _moment(self, job: Job) -> Trained:
        return self._train(job, steps=min(CHECKED_STEPS, job.steps), evaluations=1)

    def train(self, jobs: Iterable[Job], *, stop: Stop | None, deadline: float, begin: Begin) -> Iterator[tuple[Job, Trained]]:
        """Stacked where that gives the same sooner, else one training after the other."""
        left = list(jobs)
        while left and time.monotonic() <= deadline:
            self.check(left[0])
            group = left[:1] if self._together is None else self._together.group(left)
            if self._together is None or len(group) == 1:
                found = [(group[0], self._alone(group[0], stop, deadline, begin))]
            elif (stacked := self._together.train(group, stop=stop, deadline=deadline, begin=begin)) is not None:
                found = stacked
            else:
                continue  # it is known now why they are not stacked: the next group is another one
            yield from ((job, done) for job, done in found if done.stopped != OUT_OF_TIME)
            left = [job for job in left if job not in group]

    def _alone(self, job: Job, stop: Stop | None, deadline: float, begin: Begin) -> Trained:
        def ask(row: Row) -> str:
            return "" if stop is None else stop([(job, row)])[0]

        begin([job])
        if self._together is not None:
            self._together.alone(job)
        return self._train(job, stop=ask, deadline=deadline)

    def _train(self, job: Job, *, steps: int | None = None, **options: Any) -> Trained:
        done, notes = self.fitting.run(
            job.hyperparameters,
            lambda function, hyperparameters: train(
                on_part(function, job),
                hyperparameters,
                seed=job.seed,
                steps=steps or job.steps,
                total_steps=job.total_steps,
                rates=job.rates,
                device=self.device,
                stalled=self.stalled,
                **options,
            ),
        )
        return replace(done, notes=(*done.notes, *notes))

    def find_rate(self, run: Run) -> RateFound | None:
        """As ``diag lr-find`` does it, by its own defaults."""
        from diag.replay.range_test import range_test

        found = range_test(self.function, run, device=self.device).suggestion
        return RateFound(found.value, found.low, found.high, found.refusal)

    def remarks(self) -> list[str]:
        """What was stacked, and why the rest was not."""
        return [] if self._together is None else self._together.remarks()
