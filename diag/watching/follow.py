"""The log of a run that is being written: whether it has changed, what it says now, and which of several runs is the one meant."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from diag.adapters import WRITING, Source, registry
from diag.adapters.same_run import run_folder
from diag.adapters.tolerant_json import unreadable
from diag.errors import DiagError
from diag.loading import Problem, Reading, attempt, discover, is_uri, problem_of, settle, walk
from diag.run import Run
from diag.watching.newest import newest_rows

FOLDER_STORES: Final = ("mlflow",)
"""Adapters whose sources name a description, and whose values lie in files below it."""

State = tuple[int, int, int]
"""Inode, bytes and modification time (ns) of a file: one of them differs after any write that a clock can tell."""
Key = tuple[str, str, str, str]
"""What a run is known by from look to look: adapter, first file or URI, and the id and path that its source gave it."""


class Look(NamedTuple):
    """What a look at the log saw.

    Attributes:
        run: the run that is followed, None if there is none (yet).
        key: what it is known by.
        problems: what could not be read.
    """

    run: Run | None
    key: Key | None
    problems: tuple[Problem, ...]


class Candidate(NamedTuple):
    """A run that was read: where from, its key, when its files were last written (ns), and at which look they first showed it."""

    run: Run
    source: Source
    key: Key
    written: int
    appeared: int


class Follower:
    """Reads a path again and again, only what changed.

    Attributes:
        path: what is followed.
        is_remote: whether it is a URI, of which nothing tells that it has changed but reading it.

    Args:
        path: a log file, the folder of a run, or a URI.
        adapter: read only with the adapter of this name.
        tracking_uri: MLflow server or store, for ``mlflow:`` URIs.
        only_new: pass over what was written before now, until it is written again.

    Raises:
        UsageError: there is no such adapter.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, adapter: str | None = None, tracking_uri: str | None = None, only_new: bool = False
    ) -> None:
        self.path = os.fspath(path)
        self.is_remote = is_uri(self.path)
        self._adapter, self._tracking_uri = None if adapter is None else registry.get(adapter).name, tracking_uri
        self._files: dict[str, State] = {}
        self._checked: dict[str, State] | None = None
        self._beside: set[str] = set()
        self._readings: dict[Source, tuple[object, bool, Reading]] = {}
        self._looks = 0
        self._appeared: dict[Key, tuple[int, int]] = {}
        self._followed: Candidate | None = None
        self._old = self._snapshot() if only_new else {}

    def has_changed(self) -> bool:
        """Whether a file was written, made, moved or removed since this was last asked; True the first time, and for a URI."""
        before, self._checked = self._checked, self._snapshot()
        return self.is_remote or self._checked != before

    def age(self) -> float:
        """Seconds since the run that is followed was last written, by the clock of the files; infinite for a URI."""
        written = 0 if self._followed is None else self._followed.written
        return max(0.0, time.time() - written / 1e9) if written else math.inf

    def look(self, *, ended: bool = False) -> Look:
        """Read what has changed.

        Args:
            ended: whether nobody writes any more, so that a last line without an end counts.
        """
        self._files = self._snapshot()
        self._looks += 1
        problems: list[Problem] = []
        try:
            sources = [
                source
                for source in discover(self.path, adapter=self._adapter, tracking_uri=self._tracking_uri, on_problem=problems.append)
                if not self._old or self._state(source, self._old) != self._state(source, self._files)
            ]
            self._beside = {str(file) for source in sources for file in source.files}
            readings = [self._read(source, ended=ended) for source in sources]
            self._readings = {source: entry for source, entry in self._readings.items() if source in sources}
            candidates = self._settle(readings, problems)
        except DiagError as error:
            candidates = []
            problems.append(problem_of(self.path, error))
        except OSError as error:  # what was there when it was looked for may be gone when it is opened
            candidates = []
            problems.append(problem_of(self.path, unreadable(Path(self.path), error)))
        self._followed = chosen = self._choose(candidates)
        # What is not there yet, or empty, or holds no log yet, is waited for.
        told = tuple(dict.fromkeys(problem for problem in problems if not problem.absent and self._is_written(problem.path)))
        return Look(None if chosen is None else chosen.run, None if chosen is None else chosen.key, told)

    def newest(self) -> Run | None:
        """The newest rows of the run that is followed, None where they cannot be read by themselves."""
        followed = self._followed
        return None if followed is None else newest_rows(followed.source)

    def _is_written(self, path: str) -> bool:
        """Whether there is something in a file, as far as its size is known."""
        state = self._files.get(path)
        return state is None or state[1] > 0

    def _snapshot(self) -> dict[str, State]:
        """The state of every file below a folder, or of a file and those that are read with it."""
        base = Path(self.path)
        try:
            if base.is_dir():
                names = [str(folder.path / name) for folder in walk(base, lambda problem: None) for name in folder.files]
            else:
                names = [self.path, *self._beside, *(f"{self.path}{suffix}" for suffix in ("-wal", "-journal"))]
        except (DiagError, OSError, ValueError):
            names = [self.path]
        return dict(_states(names))

    def _state(self, source: Source, files: Mapping[str, State]) -> tuple[tuple[str, State], ...]:
        """The state of what a source is read from."""
        mine = {str(file) for file in source.files}
        if source.adapter in FOLDER_STORES:
            mine |= {name for name in files if name.startswith(f"{source.root}{os.sep}")}
        return tuple((name, files[name]) for name in sorted(mine) if name in files)

    def _read(self, source: Source, *, ended: bool) -> Reading:
        """The reading of a source, from memory where its files are as they were."""
        state = self._state(source, self._files)
        known = self._readings.get(source)
        if known is None or known[0] != state or known[1] != ended or known[2].problem is not None or source.uri:
            options = source.options if ended or source.uri else (*source.options, WRITING)
            known = (state, ended, attempt(replace(source, options=options)))
            self._readings[source] = known
        return Reading(source, [_copy(run) for run in known[2].runs], known[2].problem)

    def _settle(self, readings: Sequence[Reading], problems: list[Problem]) -> list[Candidate]:
        """The distinct runs of the readings, with when they were written.

        Raises:
            DiagError: nothing could be read.
        """
        keys = {id(run): (_key(reading.source, run.id, run.path), reading.source) for reading in readings for run in reading.runs}
        runs = settle(readings, self.path, problems=tuple(problems), on_problem=problems.append, freshest=True)
        candidates = []
        for run in runs:
            key, source = keys[id(run)]
            written = max((state[2] for _, state in self._state(source, self._files)), default=0)
            if run.curves or run.events:
                first = self._appeared.setdefault(key, (self._looks, written))
                candidates.append(Candidate(run, source, key, written, first[0]))
        return candidates

    def _choose(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The run to follow: the one that was followed, unless another appeared later and that one was not written since.

        Where none was followed yet, it is the one that was written last.
        """
        current = next((one for one in candidates if self._followed is not None and one.key == self._followed.key), None)
        if current is None and self._followed is not None:  # told by another source of the same run, which has come further
            home = run_folder(self._followed.run)
            current = next((one for one in candidates if run_folder(one.run) == home and one.appeared <= self._followed.appeared), None)
        if current is None:
            return max(candidates, key=_freshness, default=None)
        later = [one for one in candidates if one.appeared > current.appeared and self._appeared[one.key][1] > current.written]
        return max(later, key=_freshness, default=current)


def _freshness(candidate: Candidate) -> tuple[int, bool, float, int]:
    """Order of the runs by which is the one that is being written."""
    times = [float(np.nanmax(curve.wall_time)) for curve in candidate.run.curves.values() if bool(np.isfinite(curve.wall_time).any())]
    return candidate.written, candidate.run.finished is None, max(times, default=0.0), candidate.run.steps


def _key(source: Source, identity: str, path: str) -> Key:
    return source.adapter, source.uri or str(source.files[0]), identity, path


def _states(names: Sequence[str]) -> Iterator[tuple[str, State]]:
    for name in names:
        try:
            status = os.stat(name)  # noqa: PTH116 (a thousand of them a second)
        except (OSError, ValueError):
            continue
        yield name, (status.st_ino, status.st_size, status.st_mtime_ns)


def _copy(run: Run) -> Run:
    """A run that can be named and judged without changing the one in memory."""
    return replace(
        run,
        curves=dict(run.curves),
        hyperparameters=dict(run.hyperparameters),
        notes=list(run.notes),
        overlaps=list(run.overlaps),
        events=list(run.events),
        checkpoints=list(run.checkpoints),
        native_names=dict(run.native_names),
        config=dict(run.config),
    )
