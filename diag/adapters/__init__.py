"""Adapters: one module a source, each turns what a framework logged into Runs.

An adapter is found through the ``diag.adapters`` entry point group; the entry point names an object with the
attributes of ``Adapter``. Finding runs is cheap (names and first bytes only); reading happens in ``read``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from diag.run import Run


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a tree that is being searched: its path and the names in it, sorted."""

    path: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Something that an adapter can read: usually one run, for stores many.

    Attributes:
        adapter: name of the adapter.
        root: folder that stands for the run (for ``out/checkpoint-500/trainer_state.json`` it is ``out``); configs are looked for there.
        files: what to read, in reading order.
        uri: set instead of files for remote sources.
        options: adapter-specific choices such as an MLflow run id.
    """

    adapter: str
    root: Path
    files: tuple[Path, ...] = ()
    uri: str = ""
    options: tuple[tuple[str, str], ...] = field(default=())


WRITING: Final = ("writing", "true")
"""Option of a source that is still being written: what stands behind the last line end of a text is not a line yet."""


class Adapter(Protocol):
    """What an adapter object offers."""

    name: str
    fidelity: int
    """Which format is read when one folder holds the same run in several: the highest. trainer_state 60, wandb 50,
    mlflow 40, table 35 (csv, jsonl), tensorboard 30 (float32), console 10 (rounded)."""
    schemes: tuple[str, ...]
    """URI schemes it answers to, such as ``wandb``."""

    def find(self, folder: Folder) -> Iterable[Source]:
        """Sources that begin in this folder. Must not recurse; may look at first bytes of files."""
        ...

    def find_file(self, path: Path) -> Source | None:
        """The source for a file that the user named, None if it is not this adapter's."""
        ...

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """The source for a URI whose scheme is one of ``schemes``; never called on an adapter without any.

        Raises:
            InputError: the URI is malformed.
        """
        ...

    def read(self, source: Source) -> list[Run]:
        """Read it. Raises InputError for an unreadable source; problems that leave something to read become notes."""
        ...


def relative(path: Path, base: Path) -> str:
    """``path`` relative to ``base`` with forward slashes, or its name where it lies elsewhere."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:
        return path.name
