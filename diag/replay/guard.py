"""Code of the user's: whatever it does becomes one clear line."""

from __future__ import annotations

import errno
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from diag.errors import DiagError

STALLED: Final = 300.0
"""Seconds without an optimizer step or an evaluation after which a probe is taken to hang."""


class ProbeError(DiagError):
    """A probe that cannot be used: not found, raising, of the wrong type, not deterministic, not a number."""


class OutOfMemory(ProbeError):
    """A training that does not fit into memory."""


OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""What a RuntimeError says when there is no memory left: cuda and mps; torch's allocator for the CPU, and on Windows; cuBLAS and cuDNN."""


class _Stall(BaseException):
    """Raised by the alarm; no Exception, so that user code cannot swallow it."""


class Watchdog:
    """Ends what makes no progress: an alarm that every step sets anew (main thread of a Unix process only)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.works = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Watchdog:
        if self.works:
            self._before = signal.signal(signal.SIGALRM, self._bark)
            self.pet()
        return self

    def _bark(self, number: int, frame: FrameType | None) -> None:
        raise _Stall

    def pet(self) -> None:
        """Progress was made."""
        if self.works:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *error: object) -> None:
        if self.works:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)


@contextmanager
def user_code(what: str, device: str = "cpu", stalled: float = STALLED) -> Iterator[Watchdog]:
    """Run code of a probe: whatever it raises, running out of memory and hanging become one clear line.

    Raises:
        OutOfMemory: it ran out of memory.
        ProbeError: any other of these.
    """
    try:
        with Watchdog(stalled) as watchdog:
            yield watchdog
    except _Stall:
        raise ProbeError(f"{what} hangs: nothing happened for {stalled:g} seconds") from None
    except OutOfMemory:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            advice = "halve micro_batch_size and double gradient_accumulation_steps, or make the probe smaller"
            raise OutOfMemory(f"{what} ran out of memory on {device}; {advice}") from error
        if isinstance(error, DiagError):
            raise
        raise ProbeError(f"{what} raised {describe(error)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that there is no memory left."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, (MemoryError, OutOfMemory)) or (isinstance(at, OSError) and at.errno == errno.ENOMEM):
            return True
        if isinstance(at, RuntimeError) and any(words in str(at).lower() for words in OUT_OF_MEMORY):
            return True
        at = at.__cause__
    return False


def describe(error: BaseException) -> str:
    """An error of user code in one line, with the place it was raised at."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith(str(Path(__file__).parent))]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own and not own[-1].filename.startswith("<frozen") else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"
