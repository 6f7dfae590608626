"""From the runs of an MLflow store to Runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from diag.adapters import mlflow_files
from diag.adapters.aliases import canonical_names
from diag.adapters.mlflow import ADAPTER, META
from diag.adapters.mlflow_runs import Selection, StoredRun
from diag.adapters.series import to_columns
from diag.errors import InputError
from diag.run import Origin, Run, make_curves

FINISHED: Final = {"FINISHED": True, "FAILED": False, "KILLED": False}
"""What a status says of the end; RUNNING and SCHEDULED may be stale, since a killed process never changes them."""
SYSTEM_PREFIX: Final = "system/"
"""Machine metrics (CPU, disk, network, GPU), which MLflow counts in samples of its own and not in steps."""
EVALUATION_KEY: Final = re.compile(r"^(?:eval_|epoch$)")
"""Keys of a run that holds nothing but an evaluation by the Hugging Face Trainer."""


def read_path(path: Path) -> list[Run]:
    """The runs of a database, or the run that a ``meta.yaml`` describes.

    Raises:
        InputError: it cannot be read, or the run was deleted.
    """
    if path.name != META:
        from diag.adapters.mlflow_sqlite import read_store

        stored = _without_late_evaluations(read_store(path, Selection()))
        return [_build(run, path.parent, str(path), only=len(stored) == 1) for run in stored]
    folder = path.parent
    if mlflow_files.in_trash(folder):
        raise InputError(folder, "is a run that was deleted and lies in MLflow's trash", "restore it, or choose another run")
    stored = mlflow_files.read_store(folder, Selection())
    kept = [run for run in stored if not (_only_evaluates(run) and _is_late(run, mlflow_files.siblings(folder)))]
    return [_build(run, folder, str(folder)) for run in kept]


def read_uri(uri: str, options: Mapping[str, str]) -> list[Run]:
    """The runs that a URI selects in the store that the options name.

    Raises:
        InputError: the store cannot be read, or holds no such run.
    """
    selection = Selection.parse(uri, options["path"], options["query"])
    store = options["store"]
    stored = _without_late_evaluations(_read_anywhere(store, selection))
    if not stored:
        raise InputError(uri, f"{store} holds no active run for {selection}", "check the name, or write mlflow: to read all runs")
    return [_build(run, None, f"mlflow:{run.id}") for run in stored]


def _read_anywhere(store: str, selection: Selection) -> list[StoredRun]:
    """The selected runs of whatever a tracking URI names."""
    scheme = urlsplit(store).scheme.lower()
    if scheme in ("http", "https"):
        from diag.adapters.mlflow_server import Server

        return Server(store).read(selection)
    if scheme == "sqlite":
        path = Path(unquote(store.split(":", 1)[1].removeprefix("///")) or ".")
    elif scheme == "file":
        path = Path(unquote(urlsplit(store).path))
    elif scheme and len(scheme) > 1:  # one letter is a Windows drive
        raise InputError(store, "is not a tracking URI that can be read here", "use http://…, https://…, sqlite:///path or a path")
    else:
        path = Path(store)
    if path.is_dir():
        return mlflow_files.read_store(path, selection)
    if path.is_file():
        from diag.adapters.mlflow_sqlite import read_store

        return read_store(path, selection)
    raise InputError(store, "the tracking store does not exist", "check --tracking-uri")


def _without_late_evaluations(runs: Sequence[StoredRun]) -> list[StoredRun]:
    return [run for run in runs if not (_only_evaluates(run) and _is_late(run, runs))]


def _only_evaluates(run: StoredRun) -> bool:
    """Whether a run holds one evaluation by the Hugging Face Trainer and nothing else."""
    return bool(run.metrics) and all(EVALUATION_KEY.match(key) and one.step.size == 1 for key, one in run.metrics.items())


def _is_late(run: StoredRun, others: Sequence[StoredRun]) -> bool:
    """Whether an evaluation was made after a training that is among the others.

    The Trainer closes its run when training ends and opens a second one, with a name of its own, for what is logged later.
    """
    return any(
        other.id != run.id
        and other.experiment_id == run.experiment_id
        and other.start_time <= run.start_time
        and "output_dir" in other.params
        and run.params.get("output_dir", other.params["output_dir"]) == other.params["output_dir"]
        and not all(EVALUATION_KEY.match(key) for key in other.metrics)
        for other in others
    )


def _build(stored: StoredRun, root: Path | None, path: str, *, only: bool = True) -> Run:
    """The Run of a stored run."""
    from diag.configs import record

    series = {key: one for key, one in sorted(stored.metrics.items()) if one.step.size and not key.startswith(SYSTEM_PREFIX)}
    columns, notes = to_columns(series)
    if machine := sum(key.startswith(SYSTEM_PREFIX) for key in stored.metrics):
        what = "1 system metric was" if machine == 1 else f"{machine} system metrics were"
        notes.append(f"{what} left out: counted in samples of the machine, not in steps")
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    run = Run(
        id=stored.name or stored.id,
        path=path if only else f"{path}:{stored.id}",
        adapter=ADAPTER.name,
        curves=curves,
        overlaps=overlaps,
        native_names=native_names,
        notes=stored.notes + notes,
        finished=FINISHED.get(stored.status),
        root=str(root) if root is not None else "",
        origins=[Origin(ADAPTER.name, stored.place, stored.id)],
    )
    if not curves:
        run.notes.append("no metric was logged")
    if stored.params:
        record(run, stored.params, file=f"MLflow run {stored.name or stored.id}")
    steps = run.hyperparameter("max_steps")
    if isinstance(steps, int) and steps > 0:
        run.planned_steps = steps
    return run
