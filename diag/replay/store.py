"""Finished trainings on disk: a folder an arm and seed, with a log that ``diag analyze`` reads and the key it is found by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from diag.errors import UsageError
from diag.replay.trainer import Job, Trained
from diag.result import plain
from diag.whole_file import replace

RANGE_TEST: Final = "lr-find.json"
"""What the learning-rate range test of a replay found."""
LOG: Final = "metrics.jsonl"
RECORD: Final = "arm.json"
OUTCOME: Final = "replay.json"
"""Of the whole replay, in its folder."""


def key_of(**parts: Any) -> str:
    """32 hex digits that name a training: the same parts, the same training."""
    return hashlib.sha256(json.dumps(plain(parts), sort_keys=True).encode()).hexdigest()[:32]


class Store:
    """Keeps trainings under a folder, or nowhere if there is none."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, before anything is trained for it.

        Raises:
            UsageError: it cannot be made.
        """
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def place(self, job: Job) -> Path | None:
        """The folder of one training."""
        return None if self.folder is None else self.folder / job.place / job.arm / f"seed-{job.seed}"

    def get(self, job: Job, key: str) -> Trained | None:
        """A finished training with this very key, None if there is none (or what is there is damaged)."""
        place = self.place(job)
        if place is None:
            return None
        try:
            record = json.loads((place / RECORD).read_text(encoding="utf-8"))
            if record["key"] != key:
                return None
            lines = (place / LOG).read_text(encoding="utf-8").splitlines()[1:]
            done = record["trained"]
            rows = [json.loads(line) for line in lines]
            if len(rows) != record["rows"]:
                return None
            return Trained(rows, done["steps"], done["total_steps"], done["loss"], done["stopped"], tuple(done["notes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, job: Job, key: str, trained: Trained) -> None:
        """Keep a finished training; the record is written last, so that what has one is whole.

        Raises:
            UsageError: the folder cannot be written.
        """
        place = self.place(job)
        if place is None:
            return
        lines = [json.dumps(plain(job.hyperparameters)), *(json.dumps(row) for row in trained.rows)]
        done = {name: value for name, value in asdict(trained).items() if name != "rows"}
        write(place / LOG, "\n".join(lines) + "\n")
        write(place / RECORD, json.dumps({"key": key, "seed": job.seed, "rows": len(trained.rows), "trained": done}, indent=1) + "\n")

    def remember(self, name: str, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was made once for a key and kept in a file of this name; made now where it was not.

        Raises:
            UsageError: the folder cannot be written.
        """
        path = None if self.folder is None else self.folder / name
        try:
            if path is not None and (kept := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
                return dict(kept["value"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        made = make()
        if path is not None:
            write(path, json.dumps({"key": key, "value": made}, indent=1) + "\n")
        return made


def write(path: Path, text: str) -> None:
    """Write a whole file or nothing.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text, encoding="utf-8", mode=0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
