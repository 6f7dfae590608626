"""What an MLflow store knows of a run, whatever the store: read from files, from SQLite or from a server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote

import numpy as np

from diag.adapters.series import Series
from diag.errors import InputError
from diag.run import FloatArray

RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
ACTIVE: Final = "active"
STATUSES: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""Run states by the number that the file store writes (mlflow.entities.RunStatus)."""
MILLISECONDS: Final = 1000.0
"""MLflow counts time in milliseconds."""
SQL_INFINITY: Final = 1.7976931348623157e308
"""Databases hold infinity as the largest double of its sign."""


@dataclass(slots=True)
class StoredRun:
    """One run of a store.

    Attributes:
        id: 32 hex digits.
        name: run name, "" if it has none.
        experiment_id, experiment: id and name of its experiment.
        status: one of STATUSES, "" if unknown.
        active: False for a run in the trash.
        start_time: Unix milliseconds, 0 if unknown.
        params, tags: as logged, as text.
        metrics: native key to its points, oldest first.
        notes: remarks about the reading.
        place: server, database or run folder that it was read from, as ``diag.run.Origin`` has it.
    """

    id: str
    name: str = ""
    experiment_id: str = ""
    experiment: str = ""
    status: str = ""
    active: bool = True
    start_time: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Series] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    place: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs of a store are wanted: by id or name, by experiment id or name; empty for all.

    ``either`` holds words that may name an experiment or a run.
    """

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    either: tuple[str, ...] = ()

    @classmethod
    def parse(cls, uri: str, path: str, query: str) -> Selection:
        """The selection that the rest of a URI makes.

        Grammar: ``[EXPERIMENT[/RUN] | RUN] [?run=RUN][&experiment=EXPERIMENT]…``, parts percent-encoded.

        Raises:
            InputError: the URI says something else.
        """
        words = [unquote(word) for word in path.split("/") if word]
        given = parse_qs(query, keep_blank_values=True)
        unknown = sorted(set(given) - {"run", "experiment"})
        if unknown or len(words) > 2 or any(not value for values in given.values() for value in values):
            problem = f"?{unknown[0]}= means nothing here" if unknown else "is not a choice of runs"
            raise InputError(
                uri, problem, "write mlflow:EXPERIMENT, mlflow:RUN_ID, mlflow:EXPERIMENT/RUN or add ?run=RUN&experiment=EXPERIMENT"
            )
        runs = list(given.get("run", ()))
        experiments = list(given.get("experiment", ()))
        either: list[str] = []
        if len(words) == 2:
            experiments.append(words[0])
            runs.append(words[1])
        elif words and RUN_ID.fullmatch(words[0]):
            runs.append(words[0])
        elif words:
            either.append(words[0])
        return cls(tuple(runs), tuple(experiments), tuple(either))

    def wants(self, run: StoredRun) -> bool:
        """Whether a run is wanted."""
        of_run = {run.id, run.name} - {""}
        of_experiment = {run.experiment_id, run.experiment} - {""}
        if self.runs and not of_run & set(self.runs):
            return False
        if self.experiments and not of_experiment & set(self.experiments):
            return False
        return not self.either or bool((of_experiment | of_run) & set(self.either))

    def __str__(self) -> str:
        parts = (
            [f"run {run}" for run in self.runs]
            + [f"experiment {name}" for name in self.experiments]
            + [f"experiment or run {word}" for word in self.either]
        )
        return " and ".join(parts) or "any run"


def infinities(value: FloatArray) -> FloatArray:
    """Values from a database with its stand-ins for infinity undone; shape (n,) -> (n,)."""
    return np.where(np.abs(value) >= SQL_INFINITY, np.copysign(np.inf, value), value)


def by_time(series: Series) -> Series:
    """The points in the order of their time stamps; equal ones stay in the order given."""
    if bool((np.diff(series.wall_time) >= 0).all()):
        return series
    order = np.argsort(series.wall_time, kind="stable")
    return Series(series.step[order], series.value[order], series.wall_time[order])


def chosen(runs: Iterable[StoredRun], selection: Selection) -> list[StoredRun]:
    """The wanted runs that are not in the trash, by experiment, start and id."""
    wanted = [run for run in runs if run.active and selection.wants(run)]
    return sorted(wanted, key=lambda run: (run.experiment, run.experiment_id, run.start_time, run.id))
