"""A command of the user's in a process group of its own, which ends no later than this process does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL: what ``docker stop`` gives."""
KILLED: Final = 2.0
"""Seconds to wait for a process that got SIGKILL to be gone."""
TICK: Final = 0.02
"""Seconds between looks at a process group that is ending."""
HEARING: Final = 0.25
"""Seconds after which a signal to this process is obeyed at the latest."""
DEADLY: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end this process, and must end the command first: it is in another group, so no terminal tells it."""


class Child:
    """Runs a command; on leaving the ``with`` block, whatever is left of its process group is ended.

    Signals that would end this process are noted while the command is started and ended, and obeyed in ``wait``: there is no moment
    at which one of them leaves the command behind. Processes that have left the group, as the workers of ``torchrun`` do, are found
    where there is /proc and their parents are still there; others are not. Where there are no process groups (Windows), only the
    command's own process is ended.

    Args:
        words: program and arguments; no shell sees them.
        folder: where it runs.
        environment: all of its variables.
        output: file that takes what it writes to stdout and stderr.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, grace: float = GRACE) -> None:
        self._words, self._folder, self._environment, self._output, self._grace = words, folder, environment, output, grace
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}
        self._heard: list[int] = []
        self._strays: set[Process] = set()

    def __enter__(self) -> Child:
        """Start it.

        Raises:
            OSError: it cannot be started.
            ValueError: a word holds a null character.
        """
        if threading.current_thread() is threading.main_thread():
            for number in DEADLY:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._hear)
        try:
            with self._output.open("wb") as stream:
                self._process = subprocess.Popen(
                    list(self._words),
                    cwd=self._folder,
                    env=dict(self._environment),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.end()
        finally:
            self._restore()

    def wait(self, seconds: float) -> int | None:
        """The exit code (minus the number of the signal that ended it), None if it still runs after so many seconds."""
        assert self._process is not None  # entered
        until = time.monotonic() + seconds
        while True:
            if self._heard:
                self._obey(self._heard.pop())
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(max(0.0, min(until - time.monotonic(), HEARING)))
            if time.monotonic() >= until:
                return None

    def end(self) -> None:
        """End the whole process group: SIGTERM, and after a while, or at a signal to hurry, SIGKILL."""
        self._strays = self._find_strays()
        if not self._is_alive():
            return
        heard = len(self._heard)
        self._send(signal.SIGTERM)
        patience = time.monotonic() + self._grace
        while self._is_alive() and time.monotonic() < patience and len(self._heard) == heard:
            time.sleep(TICK)
        self._strays |= self._find_strays()
        self._send(getattr(signal, "SIGKILL", signal.SIGTERM))
        patience = time.monotonic() + KILLED
        while self._is_alive() and time.monotonic() < patience:
            time.sleep(TICK)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard.append(number)

    def _obey(self, number: int) -> None:
        """Do what the signal does without us; where that is the end of this process, the command is ended first."""
        handler = self._handlers[number]
        if callable(handler):
            handler(number, None)
        else:
            self.end()
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        """Give the signals back, those that were noted meanwhile too."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        while self._heard:
            signal.raise_signal(self._heard.pop())

    def _send(self, number: int) -> None:
        assert self._process is not None  # it is alive
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.terminate()
        for stray in self._strays & _processes().keys():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray.number, number)

    def _is_alive(self) -> bool:
        """Whether any process of the group, or one that left it, still runs."""
        if self._process is None:
            return False
        if self._process.poll() is None:
            return True
        if self._strays and any(_processes().get(stray, _GONE).runs for stray in self._strays):
            return True
        if not hasattr(os, "killpg"):
            return False
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        found = _processes()  # in a container without init the dead stay members of the group, as nobody waits for them
        return not found or any(place.group == self._process.pid and place.runs for place in found.values())

    def _find_strays(self) -> set[Process]:
        """What the processes of the group have started and put into other groups."""
        if self._process is None:
            return set()
        found = _processes()
        family = {process.number for process, place in found.items() if place.group == self._process.pid} | {self._process.pid}
        while more := {process.number for process, place in found.items() if place.parent in family} - family:
            family |= more
        return {process for process, place in found.items() if process.number in family and place.group != self._process.pid}


class Process(NamedTuple):
    """A process; when it was started tells it from a later one of the same number."""

    number: int
    start: str


class _Place(NamedTuple):
    parent: int
    group: int
    runs: bool


_GONE: Final = _Place(0, 0, False)


def _processes() -> dict[Process, _Place]:
    """Every process of this machine, by /proc; none where there is no such thing."""
    found: dict[Process, _Place] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            found[Process(int(file.parent.name), fields[19])] = _Place(int(fields[1]), int(fields[2]), fields[0] not in "ZX")
    return found
