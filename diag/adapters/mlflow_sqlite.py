"""The MLflow SQLite store, opened read-only and read without the client."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from diag.adapters.mlflow_runs import ACTIVE, MILLISECONDS, Selection, StoredRun, chosen, infinities
from diag.adapters.series import Series
from diag.errors import InputError

TABLES: Final = frozenset({"experiments", "runs", "metrics", "params", "tags"})
BUSY_SECONDS: Final = 5.0
"""Seconds to wait for a writer before the file is read as it lies on disk."""
WAL: Final = 2
"""Byte 18 of the header of a database with a write-ahead log (sqlite.org/fileformat.html)."""


@contextmanager
def _open(path: Path) -> Iterator[tuple[sqlite3.Connection, list[str]]]:
    """A connection that cannot write, not even a lock file, and remarks.

    A database with a write-ahead log is opened as immutable unless a writer left one behind: opening it otherwise would
    create files beside it.
    """
    notes: list[str] = []
    with path.open("rb") as file:
        header = file.read(19)
    log = path.with_name(path.name + "-wal")
    immutable = len(header) > 18 and header[18] == WAL and not (log.is_file() and log.stat().st_size)
    connection = _connect(path, immutable=immutable)
    try:
        if not immutable:
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                connection.close()
                connection = _connect(path, immutable=True)
                notes.append(f"{path.name} is locked by a writer; it was read as it lies on disk, and what was not yet saved is missing")
        yield connection, notes
    finally:
        connection.close()


def _connect(path: Path, *, immutable: bool) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)


def is_store(path: Path) -> bool:
    """Whether a database has MLflow's tables."""
    try:
        with _open(path) as (connection, _):
            return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} >= TABLES
    except (OSError, sqlite3.Error):
        return False


def read_store(path: Path, selection: Selection) -> list[StoredRun]:
    """The selected runs of a database. Metrics are read of these only.

    Raises:
        InputError: it cannot be opened or is not an MLflow store.
    """
    try:
        with _open(path) as (connection, notes):
            runs = chosen(_about(connection), selection)
            for run in runs:
                run.place = str(path.absolute())
                run.notes.extend(notes)
                run.params = _texts(connection, "params", run.id)
                run.tags = _texts(connection, "tags", run.id)
                run.metrics = _metrics(connection, run.id)
            return runs
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "check the path and its permissions") from error
    except sqlite3.Error as error:
        raise InputError(path, f"cannot be read as an MLflow database ({error})", "check that it is MLflow's and complete") from error


def _about(connection: sqlite3.Connection) -> list[StoredRun]:
    """Every run without its params, tags and metrics."""
    experiments = {
        row[0]: (str(row[1] or ""), row[2] or ACTIVE)
        for row in connection.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments")
    }
    runs = []
    columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
    stage = "lifecycle_stage" if "lifecycle_stage" in columns else f"'{ACTIVE}'"
    for run_id, name, status, start, experiment_id, lifecycle in connection.execute(
        f"SELECT run_uuid, name, status, start_time, experiment_id, {stage} FROM runs"
    ):
        experiment, experiment_stage = experiments.get(experiment_id, ("", ACTIVE))
        runs.append(
            StoredRun(
                id=str(run_id),
                name=str(name or ""),
                experiment_id=str(experiment_id),
                experiment=experiment,
                status=str(status or ""),
                active=lifecycle != "deleted" and experiment_stage != "deleted",
                start_time=start if isinstance(start, int) else 0,
            )
        )
    return runs


def _texts(connection: sqlite3.Connection, table: str, run_id: str) -> dict[str, str]:
    rows = connection.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ? ORDER BY key", (run_id,))
    return {str(key): str(value) for key, value in rows if value is not None}


def _metrics(connection: sqlite3.Connection, run_id: str) -> dict[str, Series]:
    """Every metric of a run, oldest point first; points of the same time stamp in the order in which they were saved.

    The sorting is done here: asked to sort by rowid, SQLite takes the index on the run alone and goes through all of its rows
    for every key.
    """
    metrics: dict[str, Series] = {}
    keys = [row[0] for row in connection.execute("SELECT DISTINCT key FROM metrics WHERE run_uuid = ? ORDER BY key", (run_id,))]
    query = "SELECT rowid, timestamp, step, CASE WHEN is_nan THEN NULL ELSE value END FROM metrics WHERE run_uuid = ? AND key = ?"
    for key in keys:
        rows = connection.execute(query, (run_id, key)).fetchall()
        if rows:
            metrics[str(key)] = _series(rows)
    return metrics


def _series(rows: list[tuple[Any, Any, Any, Any]]) -> Series:
    order, stamps, steps, values = zip(*rows, strict=True)
    try:
        wall_time = np.array(stamps, dtype=np.int64) / MILLISECONDS
        value = infinities(np.array(values, dtype=np.float64))  # None becomes NaN
        sort = np.lexsort((np.array(order, dtype=np.int64), wall_time))
        return Series(np.array(steps, dtype=np.int64)[sort], value[sort], wall_time[sort])
    except (TypeError, ValueError, OverflowError) as error:
        raise sqlite3.DatabaseError("a metric holds something else than numbers") from error
