"""Whether a process of this machine is still there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from diag.errors import UsageError


class Process:
    """A process by its number.

    Raises:
        UsageError: there is no such process, or the system does not tell.
    """

    def __init__(self, pid: int) -> None:
        if sys.platform == "win32":
            raise UsageError("whether a process is there can be told on Linux, macOS and other POSIX systems only")
        self.pid = pid
        self._begun = self._state()[1]
        if not self.is_alive:
            raise UsageError(f"there is no process {pid}")

    @property
    def is_alive(self) -> bool:
        """Whether it runs: it has not ended, and its number was not given to another process."""
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass  # another user's
        state, begun = self._state()
        return state not in ("Z", "X") and begun == self._begun

    def _state(self) -> tuple[str, str]:
        """State and start time by Linux's ``/proc`` (proc_pid_stat(5), fields 3 and 22), "" where there is none.

        A process that has ended and that nobody asked after keeps its number, in the state Z.
        """
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return "", ""
        return (fields[0], fields[19]) if len(fields) > 19 else ("", "")
