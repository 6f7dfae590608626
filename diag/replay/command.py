"""Trains the arms of a replay with the user's own training command, one after the other. Needs no torch."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.replay import work
from diag.replay.arms import PRESCRIPTION, RECORDED
from diag.replay.child import GRACE, Child
from diag.replay.command_line import CommandLine
from diag.replay.guard import ProbeError
from diag.replay.spelling import Spelling
from diag.replay.trainer import COMMAND, OUT_OF_TIME, TIME_LIMIT, Begin, Job, RateFound, Row, Stop, Trained, final_loss
from diag.text import counted, show

if TYPE_CHECKING:
    from diag.run import Run

POLL: Final = 0.2
"""Least seconds between looks at what a command has logged."""
READING_SHARE: Final = 0.05
"""Share of the time that may go into looking at what a command has logged, on a machine that trains meanwhile."""
SAME_RATE: Final = 0.02
"""Difference of learning rates, over the highest in the log, up to which they are the same: logs are rounded, and a step off."""
FEW_POINTS: Final = 10
"""Logged losses below which the checks have little to judge by."""
LINE: Final = 200
"""Characters of a line of output in a message."""
ENOUGH: Final = "enough"
"""A command was ended because all of the probed steps are logged."""
VERSION: Final = 1
"""Goes up when the same job would give another training."""


class CommandTrainer:
    """Runs a training command for each training, in a folder of its own, and reads what it logs there.

    Args:
        text: the command; see ``diag.replay.command_line``.
        run: the run that is replayed: its hyperparameters are those of the command as it stands, its dialect is the command's.
        folder: of the replay; HORIZON/ARM/seed-N/work is where a training runs.
        time_limit: seconds after which a training is ended.
        grace: seconds that a command has to end by itself when it is told to.

    Raises:
        UsageError: the command cannot be used.
    """

    small = False

    def __init__(self, text: str, run: Run, folder: Path, *, time_limit: float = math.inf, grace: float = GRACE) -> None:
        self._line = CommandLine(text, Path.cwd())
        self._line.require_program()
        work.refuse_folder(self._line, run.root)
        work.inputs(self._line)
        self._run, self._folder, self._limit, self._grace = run, folder.absolute(), time_limit, grace
        recorded = {name: entry.value for name, entry in run.hyperparameters.items()}
        recorded["max_steps"] = self.planned_steps(recorded)
        self._spelling = Spelling(run, recorded, self._line)
        self._is_held_out = any(True for _ in run.eval_losses())
        self._untrained: dict[str, str] = {}
        self.spec, self.device = text, COMMAND
        self.digest = f"{self._line.digest} {run.dialect} in {time_limit:g} s, {VERSION}"

    @property
    def files(self) -> list[Path]:
        """The files that the command names."""
        return self._line.files

    def settle(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """As they are: the command trains as the run did."""
        return dict(hyperparameters)

    def planned_steps(self, hyperparameters: Mapping[str, Any]) -> int | None:
        """As the run's config or its log tells."""
        return hyperparameters.get("max_steps") or self._run.planned_steps or self._run.steps or None

    def check(self, job: Job) -> None:
        """See to it that every change of the job has an option. Nothing is trained: that would cost as much as an arm.

        Raises:
            ProbeError: one has none.
        """
        self._spelling.words(job, "")

    def train(self, jobs: Iterable[Job], *, stop: Stop | None, deadline: float, begin: Begin) -> Iterator[tuple[Job, Trained]]:
        """One command after the other.

        Only the recorded and the prescribed arm must succeed; another that fails is left out, and told of in the remarks.
        """
        todo = list(jobs)
        for job in todo:
            try:
                self.check(job)
            except ProbeError as error:
                self._forgive(job, error)
        for job in todo:
            if time.monotonic() > deadline:
                return
            if job.arm in self._untrained or (job.seed and not self._spelling.has_seed):
                continue
            begin([job])
            try:
                done = self._train(job, stop, deadline)
            except ProbeError as error:
                self._forgive(job, error)
                continue
            if done.stopped == OUT_OF_TIME:
                return
            yield job, done

    def find_rate(self, run: Run) -> RateFound | None:
        """None: a command trains with one learning rate."""
        return None

    def remarks(self) -> list[str]:
        """That seeds make no difference, and which arms could not be trained."""
        found = [f"{arm} was not trained: {why}." for arm, why in self._untrained.items()]
        if not self._spelling.has_seed:
            found.append(
                f"The command takes no seed that {self._run.dialect} knows, so every seed would be the same training, and one says nothing"
                " of chance: write the option for it with {seed}."
            )
        return found

    def _forgive(self, job: Job, error: ProbeError) -> None:
        """Leave an arm out that cannot be trained, unless nothing can be said without it."""
        if job.arm in (RECORDED, PRESCRIPTION):
            raise error
        self._untrained.setdefault(job.arm, str(error))

    # One training --------------------------------------------------------------------------------------------------------

    def _train(self, job: Job, stop: Stop | None, deadline: float) -> Trained:
        """Run the command, and read what it logged.

        Raises:
            ProbeError: it fails, or logs nothing that can be read.
        """
        folder = self._folder / job.place / job.arm / f"seed-{job.seed}" / "work"
        words = self._spelling.words(job, str(folder))
        work.prepare(folder, self._line)
        try:
            with Child(words, folder, self._environment(job), folder / work.OUTPUT, self._grace) as child:
                jury = _Jury(job, stop, "eval/loss" if self._is_held_out else "train/loss")
                ended = self._follow(child, job, folder, jury, deadline)
                code = child.wait(0.0)
        except (OSError, ValueError) as error:
            raise ProbeError(f"{words[0]} cannot be started: {getattr(error, 'strerror', None) or error}") from error
        return self._read(job, folder, jury, ended, 0 if ended else code or 0)

    def _environment(self, job: Job) -> dict[str, str]:
        """The user's own variables; what the command imports from the user's folder is found, and nothing is uploaded unasked."""
        given = dict(os.environ)
        paths = [str(self._line.here), *filter(None, [given.get("PYTHONPATH")])]
        preset = {"PYTHONUNBUFFERED": "1", "WANDB_MODE": "offline"}
        told = {"DIAG_REPLAY_ARM": job.arm, "DIAG_REPLAY_SEED": str(job.seed), "DIAG_REPLAY_STEPS": str(job.steps)}
        return preset | given | told | {"PYTHONPATH": os.pathsep.join(paths)}

    def _follow(self, child: Child, job: Job, folder: Path, jury: _Jury, deadline: float) -> str:
        """Wait for the command.

        Returns:
            Why it must be ended, "" if it has ended by itself.
        """
        limit = time.monotonic() + self._limit
        looks = jury.sits or (not self._line.has("steps") and job.steps < job.total_steps)
        pause = POLL
        while (left := min(limit, deadline) - time.monotonic()) > 0:
            if child.wait(min(pause, left) if looks else left) is not None:
                return ""
            if not looks:
                continue
            began = time.monotonic()
            run = work.read(folder, job.steps)
            logged = work.rows(run, job.steps) if run is not None else []
            pause = max(POLL, (time.monotonic() - began) / READING_SHARE)
            if reason := jury.ask(logged):
                return reason
            if run is not None and work.reached(run) > job.steps:  # past the last step, so that its evaluation is logged too
                return ENOUGH
        return OUT_OF_TIME if deadline <= limit else TIME_LIMIT

    def _read(self, job: Job, folder: Path, jury: _Jury, ended: str, code: int) -> Trained:
        """What a command logged.

        Raises:
            ProbeError: nothing that can be read; or it failed, and not by a loss that is no number.
        """
        run = work.read(folder, job.steps)
        logged = work.rows(run, job.steps) if run is not None else []
        stopped = jury.ask(logged) or ("" if ended == ENOUGH else ended)
        logged = jury.heard(logged)
        if code and run is not None:
            logged += work.crash(run, logged, job.steps)
        last = next((int(row["step"]) for row in reversed(logged) if "train/loss" in row or "eval/loss" in row), 0)
        if code and not stopped and last < job.steps and work.is_finite(logged):
            raise ProbeError(self._failure(job, folder, code))
        if not last and stopped != OUT_OF_TIME:
            raise ProbeError(self._silence(job, folder, stopped, run))
        self._is_held_out = self._is_held_out or any("eval/loss" in row for row in logged)
        notes = self._notes(job, logged, stopped)
        return Trained(logged, job.steps, job.total_steps, final_loss(logged, job.steps), stopped, notes)

    def _notes(self, job: Job, logged: list[Row], stopped: str) -> tuple[str, ...]:
        """What a reader must know of one training: that it is shorter than it should be, hardly logged, or not what the run did."""
        found = []
        points = sum("train/loss" in row for row in logged)
        if stopped == TIME_LIMIT:
            found.append(
                "the time limit ended trainings before their last step, so arms may have been compared at different steps: allow more"
                " time, or ask for fewer --steps"
            )
        elif not stopped and points < min(FEW_POINTS, job.steps) and work.is_finite(logged):
            found.append(f"a training logged its loss only {counted(points, 'time')}, which is little to judge by: let it log more often")
        if job.arm == RECORDED and (note := self._schedule_note(job, logged)):
            found.append(note)
        return tuple(found)

    def _schedule_note(self, job: Job, logged: list[Row]) -> str:
        """Whether the recorded arm has the learning rates of the log; where nobody logs them, whether it may well have others."""
        curve = self._run.curves.get("lr")
        known = {} if curve is None else dict(zip(curve.step.tolist(), curve.value.tolist(), strict=True))
        pairs = [(int(row["step"]), row["lr"], known[row["step"]]) for row in logged if "lr" in row and row["step"] in known]
        if not pairs:
            if not self._line.has("steps") or self._line.has("total_steps") or job.steps >= job.total_steps:
                return ""
            return (
                "the command is told to train only the probed steps, and most frameworks then lay the whole schedule over those: without"
                " {steps}, it is ended there and keeps its schedule"
            )
        highest = float(np.nanmax(np.abs(list(known.values()))))
        far = next(((step, here, there) for step, here, there in pairs if abs(here - there) > SAME_RATE * highest), None)
        if far is None:
            return ""
        step, here, there = far
        why = "the command is not that of the run"
        if self._line.has("steps") and job.steps < job.total_steps:
            why = "{steps} makes the command lay its schedule over the probed steps (without it, it is ended there), or " + why
        return f"as recorded, the learning rate at step {step} is {show(here)}, where the log of the run has {show(there)}: {why}"

    # Failures ------------------------------------------------------------------------------------------------------------

    def _failure(self, job: Job, folder: Path, code: int) -> str:
        lines = work.tail(folder / work.OUTPUT)
        last = lines[-1][:LINE] if lines else "it wrote nothing"
        how = f"with exit code {code}" if code > 0 else f"by {_signal_name(-code)}"
        advice = ""
        if any(re.search(r"out of memory|OutOfMemory", line, re.I) for line in lines):
            advice = "; it ran out of memory: halve micro_batch_size and double gradient_accumulation_steps"
        elif re.search(r"No such file|FileNotFound|not found|does not exist", last):
            advice = f"; it runs in a folder of its own, so write paths below {self._line.here} in full"
        return f"the command ended {how}: {last}{advice} ({self._where(job, folder)})"

    def _silence(self, job: Job, folder: Path, stopped: str, run: Run | None) -> str:
        if stopped:
            return f"the {stopped} was reached before any loss was logged; allow more time ({self._where(job, folder)})"
        if run is not None and work.has_loss(run):
            return (
                f"no loss was logged in the first {counted(job.steps, 'step')}; let the command log more often ({self._where(job, folder)})"
            )
        return (
            "the command ended without a log of a loss that any adapter reads; let it print its loss, or write its log to {out}"
            f" ({self._where(job, folder)})"
        )

    @staticmethod
    def _where(job: Job, folder: Path) -> str:
        return f"{job.arm}, seed {job.seed}; its output is in {folder / work.OUTPUT}"


class _Jury:
    """Asks whether to stop a training, once for each logged loss: the same losses, the same answer, however late they are read."""

    def __init__(self, job: Job, stop: Stop | None, metric: str) -> None:
        self._job, self._stop, self._metric = job, stop, metric
        self._seen, self._until, self._reason = 0, math.inf, ""

    @property
    def sits(self) -> bool:
        """Whether there is anything to ask."""
        return self._stop is not None

    def ask(self, logged: list[Row]) -> str:
        """Why to stop, "" to go on, by all that was logged until now."""
        if self._stop is None or self._reason:
            return self._reason
        judged = [row for row in logged if self._metric in row and row["step"] < self._job.steps]
        for row in judged[self._seen :]:
            self._seen += 1
            if reason := self._stop([(self._job, row)])[0]:
                self._until, self._reason = row["step"], reason
                break
        return self._reason

    def heard(self, logged: list[Row]) -> list[Row]:
        """What was logged until it was stopped."""
        return [row for row in logged if row["step"] <= self._until]


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, perhaps for lack of memory" if name == "SIGKILL" else name
