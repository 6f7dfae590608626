"""TensorBoard event files: every file of a run's folder, oldest first, and the sub-folders that belong to the same run.

One run may be spread over several folders: ``add_scalars`` writes ``<tag>_<key>/``, ``add_hparams`` writes a folder named
by a time stamp, Keras writes ``train/`` and ``validation/``. They are read together under the parent. The library's own reader
keeps 10,000 points of a tag by default and 10 of a tensor; here every point is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from diag.adapters import Folder, Source
from diag.errors import InputError
from diag.run import Run

FILE_NAME: Final = re.compile(r"(?:^|\.)tfevents\.(?:(\d+)\.)?")
"""Event files are called ``events.out.tfevents.<Unix seconds>.<host>…``."""
SPLITS: Final = ("train", "training", "validation", "valid", "val", "eval", "evaluation", "test", "dev")
"""Sub-folders into which one run's metrics are split by data set (Keras, Estimators)."""
HPARAMS_FOLDER: Final = re.compile(r"\d{9,11}(?:\.\d+)?")
"""``add_hparams`` names its folder by ``time.time()``."""
OWN_FILE: Final = "events.out.tfevents.0.diag"
"""Event file that ``--write-back`` writes beside a run's own: it holds the verdict, nothing that the run logged. A number below that
of every other file lets TensorBoard read it first: its reader leaves a file for good when it goes on to a later one, and the run may
still be writing."""
VERIFY: Final = ("verify", "true")
"""Option of a source that asks for every payload's checksum to be checked."""


class TensorBoardAdapter:
    """Reads folders of ``events.out.tfevents.*`` files."""

    name = "tensorboard"
    fidelity = 30
    schemes: tuple[str, ...] = ()

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a run whose event files lie in this folder, with those of the sub-folders that belong to it."""
        own = _sorted(folder.path / name for name in folder.files if _is_event_file(name))
        splits: list[Path] = []
        attached: list[Path] = []
        for name in folder.folders:
            if name.lower() in SPLITS:
                splits.extend(_event_files(folder.path / name))
            elif own and HPARAMS_FOLDER.fullmatch(name):
                attached.extend(_event_files(folder.path / name))
            elif own and "_" in name:
                attached.extend(path for path in _event_files(folder.path / name) if _main_tag(path) is not None)
        sets = {path.parent.name.lower() for path in splits}
        if not own and len(sets) < 2:
            splits = []  # one data set alone is a run of its own
        files = (*own, *splits, *attached)
        if files:
            yield Source(self.name, folder.path, files)

    def find_file(self, path: Path) -> Source | None:
        """The source for an event file, under whatever name.

        Raises:
            InputError: it was written by ``--write-back``.
        """
        if path.name == OWN_FILE:
            raise InputError(path, "holds a verdict that diag wrote, not a training", "name the event files beside it, or their folder")
        if not FILE_NAME.search(path.name):
            from diag.adapters.event_file import is_event_file

            if not is_event_file(path):
                return None
        return Source(self.name, path.parent, (path,))

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """Never called: event files have no URI."""
        raise InputError(uri, "event files are read from a path")

    def read(self, source: Source) -> list[Run]:
        """The run that the files tell together; a file that cannot be read is left out with a note.

        Raises:
            InputError: none of the files can be read.
        """
        from diag.adapters.tensorboard_run import read_run

        return [read_run(source.files, source.root, verify=VERIFY in source.options)]


ADAPTER: Final = TensorBoardAdapter()


def _is_event_file(name: str) -> bool:
    return FILE_NAME.search(name) is not None and name != OWN_FILE


def _sorted(paths: Iterable[Path]) -> list[Path]:
    """Event files by the start time in their names, as the writers number them."""

    def key(path: Path) -> tuple[int, str]:
        match = FILE_NAME.search(path.name)
        return int(match[1][:18]) if match and match[1] else 0, path.name

    return sorted(paths, key=key)


def _event_files(folder: Path) -> list[Path]:
    try:
        return _sorted(path for path in folder.iterdir() if _is_event_file(path.name))
    except OSError:
        return []


def _main_tag(path: Path) -> str | None:
    """The tag under which ``add_scalars`` wrote this file, None where its folder is not ``<tag>_<key>``."""
    from diag.adapters.event_file import peek_tag

    tag = peek_tag(path)
    if tag is not None and path.parent.name.startswith(tag.replace("/", "_") + "_"):
        return tag
    return None
