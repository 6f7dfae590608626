"""One hyperparameter and where it was read: what runs and configs share."""

from __future__ import annotations

from typing import Any, NamedTuple


class Hyperparameter(NamedTuple):
    """One hyperparameter of a run and where it was read.

    ``kind`` is ``"file"`` (read from ``file``, at ``line`` (from 1, 0 if unknown), under the native key ``key``),
    ``"user"`` (given on the command line or in code) or ``"inferred"`` (``note`` says from what).
    """

    value: Any
    kind: str = "file"
    file: str = ""
    line: int = 0
    key: str = ""
    note: str = ""

    @property
    def source(self) -> str:
        """One phrase for people: ``config.yaml:12 optimizer.lr``, ``given by the user``, ``inferred from …``."""
        if self.kind == "user":
            return "given by the user"
        if self.kind == "inferred":
            return f"inferred from {self.note}"
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} {self.key}".strip()
