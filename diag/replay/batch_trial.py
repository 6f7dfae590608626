"""The trials of a batch test: a few optimizer steps with one micro-batch, their memory and their time, in another process.

The other process may be ended by the system without harm, and gives back all of its memory. It lives on while trials fit and grow, so that
what it ever held is what the last of them took.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from diag.errors import DiagError
from diag.replay.fitting import Extent, extent, free_memory
from diag.replay.guard import OutOfMemory, ProbeError, user_code
from diag.replay.memory import SAFETY, available, cap, forget_peak, peak
from diag.replay.probe import Probe, ProbeFunction, load

if TYPE_CHECKING:
    from torch.optim import Optimizer

TIMED_STEPS: Final = 2
"""Least optimizer steps that are timed; the one before them allocates the state of the optimizer, and is not."""
MOST_STEPS: Final = 50
TIMED_SECONDS: Final = 0.5
"""Steps are timed until this time has passed, which tells rates apart that differ by a few per cent."""
UNKNOWN_RATE: Final = 1e-6
"""Learning rate of a run that names none; memory and time do not depend on it."""
OUT_OF_MEMORY: Final = "out of memory"
OVER: Final = "over the limit"
KILLED: Final = "ended by the system"
SIGNS: Final = ("bad_alloc", "MemoryError", "Cannot allocate memory", "Resource temporarily unavailable")
"""What libraries that end the process say on stderr when an allocation, or the start of a thread, fails."""
NOTHING: Final = Extent(0, 0)
START: Final = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from diag.replay.batch_trial import main; main()"


@dataclass(frozen=True, slots=True)
class Request:
    """What to try.

    Attributes:
        probe: the spec of the probe.
        hyperparameters: what the probe gets, settled, with the micro-batch and the accumulation to try.
        seed: of weights and data order.
        device: ``cpu``, ``cuda`` or ``mps``.
        limit: bytes that it may take; None for SAFETY of what is free.
    """

    probe: str
    hyperparameters: dict[str, Any]
    seed: int
    device: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial gave.

    Attributes:
        fits: whether it ended within the limit.
        limit: bytes that it was allowed, None where it was ended before it could tell.
        memory: most bytes that it took, None where it did not get to its end.
        seconds: of the forward and backward pass of one micro-batch.
        update_seconds: of the update of the weights.
        batch: the largest batch that was seen.
        why: why it does not fit, "" if it does.
        notes: what was not done as the run did it.
    """

    fits: bool
    limit: int | None = None
    memory: int | None = None
    seconds: float = 0.0
    update_seconds: float = 0.0
    batch: Extent = NOTHING
    why: str = ""
    notes: tuple[str, ...] = ()


class Trials:
    """Tries what is requested, in other processes."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._open = ExitStack()
        self._size = 0

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def __call__(self, request: Request) -> Measured:
        """Train a few steps.

        Raises:
            ProbeError: the probe cannot be trained, for a reason other than memory.
        """
        size = int(request.hyperparameters["micro_batch_size"])
        if self._process is None or size < self._size:
            self._begin()
        self._size = size
        line = self._ask(json.dumps(asdict(request)))
        if not line:
            return self._without_answer(request, size)
        said = json.loads(line)
        if "error" in said:
            self._end()
            raise ProbeError(f"with micro_batch_size {size}: {said['error']}")
        measured = Measured(**{**said, "batch": Extent(*said["batch"]), "notes": tuple(said["notes"])})
        if not measured.fits:
            self._end()
        return measured

    def _begin(self) -> None:
        self._end()
        self._errors = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        command = [sys.executable, "-P", "-c", START, json.dumps(sys.path)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self._process = self._open.enter_context(subprocess.Popen(command, text=True, encoding="utf-8", **pipes))
        self._open.callback(self._process.kill)

    def _ask(self, line: str) -> str:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None  # narrows the types
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()

    def _without_answer(self, request: Request, size: int) -> Measured:
        assert self._process is not None  # narrows the type
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        self._end()
        if code == -getattr(signal, "SIGKILL", 9):
            return Measured(False, request.limit, why=KILLED)
        if any(sign in said for sign in SIGNS):
            return Measured(False, request.limit, why=OUT_OF_MEMORY)
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        raise ProbeError(f"with micro_batch_size {size}, the process of the probe ended with code {code}: {last}")

    def _end(self) -> None:
        with suppress(BrokenPipeError):  # what could not be sent is tried again where the pipe is closed
            self._open.close()
        self._process = None


def main() -> None:
    """In the other process: requests come on stdin, what was measured goes to stdout, a line each; what the probe prints goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        function: ProbeFunction | None = None
        limit = 0
        for line in sys.stdin:
            request = Request(**json.loads(line))
            try:
                if function is None:
                    limit = set_limit(request)
                    function = load(request.probe)
                answer: dict[str, Any] = asdict(measure(function, request, limit))
            except OutOfMemory:
                answer = asdict(Measured(False, limit, why=OUT_OF_MEMORY))
            except DiagError as error:
                answer = {"error": str(error)}
            channel.write(json.dumps(answer) + "\n")
            channel.flush()


def set_limit(request: Request) -> int:
    """Limit the memory of this process; the bytes that it may take.

    Raises:
        ProbeError: the system does not tell how much it takes.
    """
    limit = request.limit
    if limit is None:
        free = available(request.device)
        limit = None if free is None else int(SAFETY * free)
    if limit is None or peak(request.device) is None:
        raise ProbeError(f"this system does not tell how much memory a process takes on {request.device}; try another device")
    cap(request.device, limit)
    return limit


def measure(function: ProbeFunction, request: Request, limit: int) -> Measured:
    """Train a few steps in this process.

    Raises:
        ProbeError: the probe cannot be trained, for a reason other than memory.
    """
    seen = _Seen()
    forget_peak(request.device)
    try:
        found = _train(function, request, seen)
    except OutOfMemory:
        return Measured(False, limit, batch=seen.batch, why=OUT_OF_MEMORY)
    held = peak(request.device) or 0
    free_memory(request.device)
    fits = held <= limit
    return replace(found, fits=fits, limit=limit, memory=held, batch=seen.batch, why="" if fits else OVER)


class _Seen:
    """The batches that a training took."""

    def __init__(self) -> None:
        self.batch = NOTHING
        self.first, self.whole = 0, 0.0

    def of(self, probe: Probe) -> Probe:
        """The probe, whose batches are seen."""

        def batches() -> Iterator[Any]:
            for batch in probe.batches():
                self.see(extent(batch))
                yield batch

        return replace(probe, batches=batches)

    def see(self, size: Extent | None) -> None:
        samples, elements = size or (0, 0)
        self.batch = Extent(max(self.batch.samples, samples), max(self.batch.elements, elements))
        self.first = self.first or samples
        self.whole += samples / self.first if self.first else 1.0  # the last batch of a pass may be part of one


class _UpdateClock:
    """Adds up the time of an optimizer's updates."""

    def __init__(self, optimizer: Optimizer, device: str) -> None:
        self.seconds, self._begin = 0.0, 0.0

        def begin(*_: Any) -> None:
            self._begin = now(device)

        def end(*_: Any) -> None:
            self.seconds += now(device) - self._begin

        optimizer.register_step_pre_hook(begin)
        optimizer.register_step_post_hook(end)


def _train(function: ProbeFunction, request: Request, seen: _Seen) -> Measured:
    """The time of a micro-batch, and of an update."""
    from diag.replay.training import Loop, seed_everything

    device, known = request.device, request.hyperparameters
    values: dict[str, Any] = known if known.get("learning_rate") else {**known, "learning_rate": UNKNOWN_RATE}
    with user_code("the probe", device) as watchdog:
        seed_everything(request.seed)
        probe = seen.of(function(values, request.seed))
        loop = Loop(probe, values | {"lr_scheduler": None}, request.seed, MOST_STEPS, MOST_STEPS, device, watchdog)
        clock, batches = _UpdateClock(loop.optimizer, device), probe.stream()
        loop.step(0, batches)
        clock.seconds, seen.whole, step = 0.0, 0.0, 0
        start = now(device)
        while step < TIMED_STEPS or (step < MOST_STEPS and now(device) - start < TIMED_SECONDS):
            step += 1
            loop.step(step, batches)
            watchdog.pet()
        taken = now(device) - start
    return Measured(True, seconds=(taken - clock.seconds) / seen.whole, update_seconds=clock.seconds / step, notes=loop.notes())


def now(device: str) -> float:
    """The clock, after everything that was begun on the device is done."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
