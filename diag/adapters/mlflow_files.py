"""The MLflow file store, ``mlruns/<experiment>/<run>/``, read as files: current clients refuse to open it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from diag.adapters.mlflow import META, is_run_folder
from diag.adapters.mlflow_runs import MILLISECONDS, RUN_ID, STATUSES, Selection, StoredRun, by_time, chosen
from diag.adapters.series import Series
from diag.errors import InputError

MAX_VALUE_BYTES: Final = 16_384
"""Bytes read of one param or tag (the clients allow 6,000 and 8,000 characters)."""
FIELDS: Final = 3
"""Fields of a metric line: time stamp, value, step; two in old logs, five where a data set is named."""

LARGEST_STEP: Final = 2**62
"""Steps beyond this many are held at it, so that sums and differences of steps stay in 64 bits."""
NO_POINTS: Final = Series(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


def run_folders(root: Path) -> Iterator[Path]:
    """The run folders below a store, an experiment or a run, in name order."""
    if is_run_folder(root):
        yield root
        return
    for experiment in (root, *_folders(root)):
        for folder in _folders(experiment):
            if RUN_ID.fullmatch(folder.name) and is_run_folder(folder):
                yield folder


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def read_store(root: Path, selection: Selection) -> list[StoredRun]:
    """The selected runs below a folder. Metrics are read of these only.

    Raises:
        InputError: a run's metric file cannot be read.
    """
    runs = {folder.name: folder for folder in run_folders(root)}
    found = chosen((read_about(folder) for folder in runs.values()), selection)
    for run in found:
        folder = runs.get(run.id) or next(path for path in runs.values() if read_about(path).id == run.id)
        read_metrics(folder, run)
    return found


def in_trash(folder: Path) -> bool:
    """Whether a run folder's run was deleted.

    Raises:
        InputError: its ``meta.yaml`` cannot be read.
    """
    return read_meta(folder / META).get("lifecycle_stage") == "deleted"


def siblings(folder: Path) -> list[StoredRun]:
    """The runs of the experiment that a run folder belongs to, their metrics with keys alone."""
    found = []
    for other in _folders(folder.parent):
        if RUN_ID.fullmatch(other.name) and is_run_folder(other):
            run = read_about(other)
            run.metrics = {key: NO_POINTS for key, _ in _files(other / "metrics")}
            found.append(run)
    return found


def read_about(folder: Path) -> StoredRun:
    """A run without its metrics.

    Raises:
        InputError: its ``meta.yaml`` cannot be read.
    """
    meta = read_meta(folder / META)
    status = meta.get("status", "")
    experiment = folder.parent / META
    about = read_meta(experiment) if experiment.is_file() else {}
    tags = _texts(folder / "tags")
    return StoredRun(
        id=meta.get("run_id") or meta.get("run_uuid") or folder.name,
        name=meta.get("run_name") or tags.get("mlflow.runName", ""),
        experiment_id=meta.get("experiment_id", ""),
        experiment=about.get("name", ""),
        status=STATUSES.get(int(status), "") if status.isdigit() else status,
        active=meta.get("lifecycle_stage", "active") != "deleted",
        start_time=int(meta["start_time"]) if meta.get("start_time", "").isdigit() else 0,
        params=_texts(folder / "params"),
        tags=tags,
        place=str(folder.absolute()),
    )


def read_meta(path: Path) -> dict[str, str]:
    """The scalars of a ``meta.yaml``: one ``key: value`` a line, as the client writes it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "check its permissions") from error
    meta: dict[str, str] = {}
    for line in lines:
        key, separator, value = line.partition(":")
        value = value.strip()
        if not separator or line[:1] in (" ", "#", "-") or value in ("null", "~"):
            continue
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
        meta[key.strip()] = value
    return meta


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Name (with slashes, in name order) and path of every file below a folder."""
    pending = [("", str(folder))]
    found: list[tuple[str, str]] = []
    while pending:
        prefix, place = pending.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((f"{prefix}{entry.name}/", entry.path))
                    elif entry.is_file():
                        found.append((prefix + entry.name, entry.path))
        except OSError:
            continue
    yield from sorted(found)


def _texts(folder: Path) -> dict[str, str]:
    """Params or tags: one file each, named by its key."""
    texts: dict[str, str] = {}
    for key, path in _files(folder):
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - thousands of small files: Path.open costs as much as reading them
                texts[key] = file.read(MAX_VALUE_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
    return texts


def read_metrics(folder: Path, run: StoredRun) -> None:
    """Read every metric file of a run into ``run.metrics``.

    Raises:
        InputError: a file cannot be read.
    """
    skipped = 0
    for key, path in _files(folder / "metrics"):
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                data = file.read()
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror or error})", "check its permissions") from error
        series, bad = parse_metric(data)
        skipped += bad
        if series.step.size:
            run.metrics[key] = by_time(series)
    if skipped:
        run.notes.append(f"{skipped} malformed metric {'line was' if skipped == 1 else 'lines were'} skipped")


def parse_metric(data: bytes) -> tuple[Series, int]:
    """The points of a metric file, and the number of lines that say nothing: cut off, or not numbers."""
    from diag.adapters.mlflow_numbers import parse_lines

    columns = parse_lines(data)
    if columns is not None:
        stamps, value, step = columns
        return Series(step, value, stamps / MILLISECONDS), 0
    points: list[tuple[int, float, float]] = []
    bad = 0
    for line in data.splitlines():
        parts = line.split()
        if not parts:
            continue
        try:
            at = int(parts[2]) if len(parts) >= FIELDS else 0
            points.append((max(-LARGEST_STEP, min(at, LARGEST_STEP)), float(parts[1]), int(parts[0]) / MILLISECONDS))
        except (ValueError, OverflowError, IndexError):
            bad += 1
    steps = np.array([at for at, _, _ in points], dtype=np.int64)
    rest = np.array([(number, time) for _, number, time in points], dtype=np.float64).reshape(-1, 2)
    return Series(steps, rest[:, 0], rest[:, 1]), bad
