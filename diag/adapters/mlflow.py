"""MLflow runs: a file store, a SQLite store, or a running tracking server; none of it through the ``mlflow`` package.

URIs::

    mlflow:SELECTOR                     in the store that --tracking-uri names (or MLFLOW_TRACKING_URI, as the client has it)
    mlflow://HOST:PORT/SELECTOR         on the server at http://HOST:PORT
    mlflow+http://… , mlflow+https://…  the same with the scheme spelled out; a path before the selector ends in ``//``

    SELECTOR  =  ""                     every run of every experiment
              |  EXPERIMENT             by name or id
              |  RUN                    by its 32 hex digits, or by name
              |  EXPERIMENT/RUN
    and ?run=RUN&experiment=EXPERIMENT  the same, spelled out; may be repeated

A tracking URI is ``http(s)://…``, ``sqlite:///path``, ``file:///path`` or a path. Runs in the trash are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from diag.adapters import Folder, Source
from diag.errors import InputError
from diag.run import Run

META: Final = "meta.yaml"
"""File that describes a run or an experiment in a file store."""
DATABASES: Final = (".db", ".sqlite", ".sqlite3")
"""How the names of databases end that are looked at when a folder is searched."""
SQLITE_MAGIC: Final = b"SQLite format 3\0"
TRACKING_VARIABLE: Final = "MLFLOW_TRACKING_URI"


class MLflowAdapter:
    """Reads MLflow stores and servers."""

    name = "mlflow"
    fidelity = 40
    schemes: tuple[str, ...] = ("mlflow", "mlflow+http", "mlflow+https")

    def find(self, folder: Folder) -> Iterator[Source]:
        """A source a run folder of a file store, and one a database."""
        if META in folder.files and is_run_folder(folder.path):
            from diag.adapters.mlflow_files import in_trash

            if not in_trash(folder.path):
                yield _run_source(folder.path)
        for name in folder.files:
            if name.lower().endswith(DATABASES) and _is_database(folder.path / name):
                yield Source(self.name, folder.path, (folder.path / name,))

    def find_file(self, path: Path) -> Source | None:
        """The source for a database, a run's ``meta.yaml`` or one of its metric files."""
        if path.name == META and is_run_folder(path.parent):
            return _run_source(path.parent)
        for parent in path.parents:
            if parent.name == "metrics" and is_run_folder(parent.parent):
                return _run_source(parent.parent)
        return Source(self.name, path.parent, (path,)) if _is_database(path) else None

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """The source for a ``mlflow:`` URI.

        Raises:
            InputError: it is malformed, or nothing says where the store is.
        """
        try:
            parts = urlsplit(uri)
            _ = parts.port  # checked when it is asked for
        except ValueError as error:
            raise InputError(uri, f"is not an address ({error})", "write mlflow://HOST:PORT/EXPERIMENT") from None
        path, query = parts.path, parts.query
        if parts.netloc:
            scheme = "https" if parts.scheme.lower() == "mlflow+https" else "http"
            base, separator, rest = path.rpartition("//")
            store = f"{scheme}://{parts.netloc}{base}"
            path = rest if separator else path
        else:
            store = tracking_uri or os.environ.get(TRACKING_VARIABLE, "")
            if not store:
                advice = "give --tracking-uri http://127.0.0.1:5000, or write mlflow://127.0.0.1:5000/EXPERIMENT"
                raise InputError(uri, "does not say where the MLflow server or store is", advice)
        from diag.adapters.mlflow_runs import Selection

        Selection.parse(uri, path, query)
        return Source(self.name, Path(), (), uri, (("store", store), ("path", path), ("query", query)))

    def read(self, source: Source) -> list[Run]:
        """The runs of a store, by experiment and start; those that only hold an evaluation of another are left out.

        Raises:
            InputError: the store cannot be read, or holds no such run.
        """
        from diag.adapters.mlflow_run import read_path, read_uri

        return read_uri(source.uri, dict(source.options)) if source.uri else read_path(source.files[0])


ADAPTER: Final = MLflowAdapter()


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run's: a ``meta.yaml`` beside metrics, params or tags."""
    return (folder / META).is_file() and any((folder / name).is_dir() for name in ("metrics", "params", "tags"))


def _is_database(path: Path) -> bool:
    """Whether a file is a SQLite store; SQLite itself is only imported for what is a database."""
    try:
        with path.open("rb") as file:
            if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
                return False
    except OSError:
        return False
    from diag.adapters.mlflow_sqlite import is_store

    return is_store(path)


def _run_source(folder: Path) -> Source:
    return Source(ADAPTER.name, folder, (folder / META,))
