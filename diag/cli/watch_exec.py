"""The command of ``diag watch --exec``: started for a finding, told about it by its environment, never waited for while the run goes on."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from diag.errors import UsageError
from diag.result import Problem
from diag.terminal import safe

if TYPE_CHECKING:
    from diag.watching.events import Found

STDERR: Final = 2
"""The file that commands print to; stdout is the events'."""
GRACE: Final = 10.0
"""Seconds that commands may take to end when the watch is over; they are left running after that."""
LONGEST: Final = 4000
"""Characters of a message that are handed on; the environment has room for about a hundred thousand bytes a value."""


class Hook:
    """A command that is run for findings, each once.

    Args:
        command: words as a shell would split them; no shell reads them, and nothing of a log is put into them.
        quiet: whether what it prints is to go nowhere, as where a view is drawn in place; else it goes to stderr.

    Raises:
        UsageError: it is empty, or a quote is not closed.
    """

    def __init__(self, command: str, *, quiet: bool = False) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--exec {command!r} cannot be split into words ({error})") from None
        if not self._words:
            raise UsageError("--exec is empty")
        self._output = subprocess.DEVNULL if quiet else STDERR
        self._done: set[tuple[str, str, str]] = set()
        self._running: list[subprocess.Popen[bytes]] = []
        self._problems: list[Problem] = []

    def start(self, event: Found) -> None:
        """Run the command for a finding, unless it was run for that before."""
        finding, report = event.finding, event.report
        identity = (report.run.id, finding.code, finding.metric)
        if identity in self._done:
            return
        self._done.add(identity)
        step = report.run.steps if finding.step_start is None else finding.step_start
        about = {
            "DIAG_RUN": report.run.root or report.run.path,
            "DIAG_CODE": finding.code,
            "DIAG_VERDICT": report.diagnosis.verdict,
            "DIAG_STEP": str(step),
            "DIAG_MESSAGE": finding.message[:LONGEST],
        }
        environment = {**os.environ, **{name: safe(value) for name, value in about.items()}}
        try:
            self._running.append(
                subprocess.Popen(self._words, env=environment, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output)
            )
        except (OSError, ValueError) as error:
            self._problem(f"cannot be run ({getattr(error, 'strerror', None) or error})")

    def ended(self, *, wait: bool = False) -> Iterator[Problem]:
        """What went wrong with commands that have ended since.

        Args:
            wait: give those that still run GRACE seconds to end.
        """
        deadline = time.monotonic() + (GRACE if wait else 0.0)
        running = []
        for process in self._running:
            try:
                code = process.wait(max(deadline - time.monotonic(), 0.0)) if wait else process.poll()
            except subprocess.TimeoutExpired:
                code = None
                self._problem(f"is still running after {GRACE:g} seconds and is left to it")
            if code is None:
                running.append(process)
            elif code:
                self._problem(f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
        self._running = running
        problems, self._problems = self._problems, []
        yield from problems

    def _problem(self, what: str) -> None:
        self._problems.append(Problem("exec", self._words[0], what))
