"""What a replay asks of whatever trains its arms, and what it gets back. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from diag.run import Run

OUT_OF_TIME: Final = "out of time"
"""Why a training stopped whose deadline passed."""
NOT_FINITE: Final = "not finite"
"""Why a training stopped whose loss or gradient was no number any more."""
TIME_LIMIT: Final = "time limit"
"""Why a training stopped that took longer than one may."""
COMMAND: Final = "command"
"""The device of a trainer that runs a command, which chooses its own."""
LAST_PART: Final = 0.1
"""Share of the steps whose mean training loss stands for the loss at the end, where nothing is held out."""

Row = dict[str, float]
"""What was logged at one step: ``step`` and canonical metrics."""
Rates = tuple[tuple[float, float], ...]
"""A schedule as it was logged: share of the plan's steps, and learning rate over the run's highest one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training that a replay asks for.

    Attributes:
        arm: name of the arm.
        seed: of weights, data order and dropout.
        hyperparameters: canonical names to values.
        steps: optimizer steps to do.
        total_steps: optimizer steps of the whole plan, which the schedule is laid over.
        share: of the training data, which is repeated as often as all of it would be.
        rates: the schedule as it was logged, to be followed instead of that of the hyperparameters; empty where that is the same.
        place: name of the folder, among those of the replay, that its results are kept in.
    """

    arm: str
    seed: int
    hyperparameters: Mapping[str, Any]
    steps: int
    total_steps: int
    share: float = 1.0
    rates: Rates = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Trained:
    """What one training gave.

    Attributes:
        rows: what was logged, in order.
        steps: optimizer steps that were to be done.
        total_steps: optimizer steps of the whole plan.
        loss: what arms are compared by, see ``final_loss``; infinite where it stopped as NOT_FINITE.
        stopped: why it ended before its last step, "" if it did not.
        notes: what could not be done as the run did it.
    """

    rows: list[Row]
    steps: int
    total_steps: int
    loss: float
    stopped: str = ""
    notes: tuple[str, ...] = ()

    def values(self, metric: str) -> list[float]:
        """The logged values of a metric, in order."""
        return [row[metric] for row in self.rows if metric in row]

    def to_run(self, name: str, hyperparameters: Mapping[str, Any], planned: int | None = None) -> Run:
        """The training in the common frame, as any other run."""
        from diag.run import Column, Hyperparameter, Run, make_curves

        columns: dict[str, Column] = {}
        for metric in dict.fromkeys(key for row in self.rows for key in row if key != "step"):
            found = [(int(row["step"]), row[metric]) for row in self.rows if metric in row]
            columns[metric] = Column([step for step, _ in found], [value for _, value in found])
        curves, overlaps, native = make_curves(columns, [(metric, metric) for metric in columns])
        known = {key: Hyperparameter(value, "user") for key, value in hyperparameters.items()}
        run = Run(name, name, "replay", curves, known, overlaps=overlaps, native_names=native)
        run.planned_steps = planned
        return run


def final_loss(rows: Sequence[Row], steps: int) -> float:
    """What arms are compared by: the last held-out loss, or the mean training loss of the last tenth of ``steps``.

    Infinite where that, or the last training loss, is not a number.
    """
    held_out = [row["eval/loss"] for row in rows if "eval/loss" in row]
    trained = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    if held_out:
        value = held_out[-1]
    elif trained:
        end = min(steps, trained[-1][0])
        last = [loss for step, loss in trained if step > end - max(1.0, LAST_PART * steps)]
        value = math.fsum(last) / len(last) if all(map(math.isfinite, last)) else math.nan
    else:
        return math.inf
    return value if math.isfinite(value) and (not trained or math.isfinite(trained[-1][1])) else math.inf


Mark = tuple[Job, Row]
"""Where a training is: what it logged at an evaluation."""
Stop = Callable[[Sequence[Mark]], Sequence[str]]
"""Asked after an evaluation of trainings that are at it together: for each, why to stop it, or ""."""
Begin = Callable[[Sequence[Job]], None]
"""Told which trainings begin, all of them together."""


@dataclass(frozen=True, slots=True)
class RateFound:
    """What a learning-rate range test says.

    Attributes:
        rate: the suggested learning rate, None where the test refuses to suggest one.
        low, high: its interval, None where there is none.
        reason: why it refuses, "" if it does not.
    """

    rate: float | None
    low: float | None
    high: float | None
    reason: str = ""


class Trainer(Protocol):
    """What trains the arms of a replay: a probe, or a command.

    Attributes:
        spec: how the user named it.
        digest: what its results depend on beside the job (code, versions, device): another digest, another training.
        device: what it trains on, in a word.
        small: whether its trainings are small copies of the run, that can be trained to the end and given part of the data.
    """

    @property
    def spec(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def small(self) -> bool: ...  # noqa: D102

    def settle(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters that a training with these has in the end."""

    def planned_steps(self, hyperparameters: Mapping[str, Any]) -> int | None:
        """Optimizer steps of the whole plan, None if it does not tell."""

    def check(self, job: Job) -> None:
        """Find out whether the same job gives the same training, before anything is made of differences.

        Raises:
            ProbeError: it does not, or cannot be trained at all.
        """

    def train(self, jobs: Iterable[Job], *, stop: Stop | None, deadline: float, begin: Begin) -> Iterator[tuple[Job, Trained]]:
        """Do trainings, in whatever order and grouping is fastest; each is given back when it is finished.

        Args:
            jobs: what to train.
            stop: may end a training at an evaluation before its last; None to let all of them end.
            deadline: ``time.monotonic()`` after which nothing is begun; what is under way ends as OUT_OF_TIME.
            begin: told before trainings begin.

        Raises:
            ProbeError: one of them cannot be trained.
        """

    def find_rate(self, run: Run) -> RateFound | None:
        """A learning-rate range test with the hyperparameters of a run, None where there can be none.

        Raises:
            ProbeError: the probe cannot be trained.
        """

    def remarks(self) -> list[str]:
        """How the trainings were done, one sentence each, as far as a reader must know."""
