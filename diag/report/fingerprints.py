"""What a finding is called from analysis to analysis: made from names, never from what was measured."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from diag.report.places import LOG, Base

if TYPE_CHECKING:
    from diag.run import Run

VOLATILE: Final = re.compile(r"(?:checkpoint[-_]\d+/)|(?:events\.out\.tfevents\.[^/]*$)")
"""Parts of a log's path that change while a training goes on or is repeated: its newest checkpoint, an event file's time and host."""


class Fingerprints:
    """Gives out fingerprints, none twice: what repeats gets a number, in the order in which it is asked for."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], int] = {}

    def __call__(self, code: str, subject: str, about: str) -> str:
        """16 hex digits for a finding.

        Args:
            code: of the check or rule.
            subject: what the run or config is called from analysis to analysis.
            about: the metric or key.
        """
        key = (code, subject, about)
        ordinal = self._seen[key] = self._seen.get(key, -1) + 1
        parts = (*key, str(ordinal)) if ordinal else key
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def run_key(run: Run, base: Base) -> str:
    """What a run is called: the path of its log in the repository, and in a store of many its own id there."""
    if not run.files:
        return run.path or run.id
    home = base.place(LOG, run.files[0], f"{run.id}/{run.path}")
    beside = run.path.partition("#")[2] or (run.path.rpartition(":")[2] if run.adapter == "mlflow" and ":" in run.path else "")
    return VOLATILE.sub("", home.path) + (f"#{beside}" if beside else "")
