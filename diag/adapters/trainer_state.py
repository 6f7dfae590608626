"""``trainer_state.json`` of the Hugging Face Trainer and everything built on it (TRL, Axolotl, LLaMA-Factory, …).

A state holds the whole ``log_history`` up to its step, so of a folder of checkpoints the newest one is read. Steps are
optimizer steps completed, from 1. ``training_args.bin`` is a pickle and is never opened.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diag.adapters import Folder, Source, tolerant_json
from diag.adapters.aliases import canonical_names
from diag.adapters.tolerant_json import number
from diag.errors import InputError
from diag.run import Checkpoint, Column, FloatArray, Hyperparameter, IntArray, Run, make_curves

_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")
_NAME: Final = re.compile(r"trainer_state.*\.json", re.IGNORECASE)
_GLOBAL_STEP: Final = re.compile(rb'"global_step"\s*:\s*(\d+)')
_HISTORY: Final = re.compile(rb'"log_history"\s*:\s*\[\s*(\{[^{}]*\})?')
_HEAD: Final = 16384
"""Bytes in which a state's ``global_step`` and the first row of its history stand (the scalars before them take about 500)."""


class TrainerStateAdapter:
    """Reads ``trainer_state.json``, at a run's root or in its ``checkpoint-*`` folders."""

    name = "trainer_state"
    fidelity = 60
    schemes: tuple[str, ...] = ()

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a training: states in ``folder`` and its ``checkpoint-*`` folders whose histories begin alike."""
        states = [folder.path / name for name in folder.files if _NAME.fullmatch(name)]
        for name in folder.folders:
            if _CHECKPOINT.fullmatch(name):
                states.extend(_states_in(folder.path / name))
        if states:
            root = _run_folder(folder.path)
            for lineage in _lineages(states):
                yield Source(self.name, root, tuple(lineage))

    def find_file(self, path: Path) -> Source | None:
        """The source for a state named by the user, under whatever name ending in ``.json``."""
        if path.suffix.lower() != ".json":
            return None
        if not _NAME.fullmatch(path.name) and _HISTORY.search(_head(path)) is None:
            return None
        return Source(self.name, _run_folder(path.parent), (path,))

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """Never called: a state has no URI."""
        raise InputError(uri, "a trainer_state.json is read from a path")

    def read(self, source: Source) -> list[Run]:
        """The run that the newest state tells; an older one where the newest is unreadable.

        Raises:
            InputError: no state of the source can be read.
        """
        notes: list[str] = []
        failure: InputError | None = None
        for path in source.files:
            try:
                state, remarks = tolerant_json.load(path)
                if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
                    raise InputError(path, "holds no log_history list", "check that it is a trainer_state.json")
            except InputError as error:
                failure = failure or error
                notes.append(f"{_place(path, source.root)} was passed over: {error.problem}")
                continue
            run = read_state(state, path, source.root)
            run.notes[:0] = notes + [f"{_place(path, source.root)}: {remark}" for remark in remarks]
            return [run]
        raise failure or InputError(source.root, "holds no trainer_state.json")


ADAPTER: Final = TrainerStateAdapter()


def _run_folder(folder: Path) -> Path:
    """The folder of the run that a state's folder belongs to: its parent for ``checkpoint-500``."""
    named = folder if folder.name else folder.resolve()
    return named.parent if _CHECKPOINT.fullmatch(named.name) else folder


def _states_in(checkpoint: Path) -> list[Path]:
    try:
        return sorted(path for path in checkpoint.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _first_row(head: bytes) -> str:
    """The first row of the history, which all states of one training share; "" where it cannot be seen."""
    match = _HISTORY.search(head)
    if match is None or match[1] is None:
        return ""
    try:
        return repr(sorted(json.loads(match[1]).items()))
    except ValueError:
        return ""


def _lineages(states: Sequence[Path]) -> Iterator[list[Path]]:
    """States of the same training, newest first: largest ``global_step``, then the longest file.

    A checkpoint's history is a prefix of every later one of the same training, so trainings that left their
    checkpoints in one folder differ in the first row. States that show no row join the newest training.
    """
    if len(states) == 1:
        yield list(states)
        return
    lineages: dict[str, list[tuple[int, int, str, Path]]] = {}
    for path in states:
        head = _head(path)
        step = _GLOBAL_STEP.search(head)
        entry = (-int(step[1]) if step else 1, -_size(path), path.as_posix(), path)
        lineages.setdefault(_first_row(head), []).append(entry)
    blank = lineages.pop("", [])
    ordered = sorted(lineages.values(), key=min) or [[]]
    ordered[0].extend(blank)
    for entries in ordered:
        yield [path for *_, path in sorted(entries)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def read_state(state: Mapping[str, Any], path: Path, root: Path) -> Run:
    """The Run that a parsed state tells."""
    rows, notes = _clean_rows(state["log_history"])
    rows, more = _without_final_evaluation(rows)
    notes += more
    columns = _columns(rows, _logging_steps(state))
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    run = Run(id="", path=str(path), adapter=ADAPTER.name, curves=curves, overlaps=overlaps, native_names=native_names, root=str(root))
    run.files = (str(path),)  # of the states that a source lists, the newest one that can be read
    run.notes = notes
    if not any(len(curve) for curve in curves.values()):
        run.notes.append("log_history is empty: nothing was logged before this state was saved")
    _context(run, state, path, root)
    return run


def _clean_rows(history: Sequence[Any]) -> tuple[list[dict[str, Any]], list[str]]:
    if all(type(row) is dict for row in history):
        return list(history), []
    rows = [row for row in history if isinstance(row, dict)]
    return rows, [f"{len(history) - len(rows)} entries of log_history are not rows and were ignored"]


def _without_final_evaluation(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Drop the run summary, and evaluations after it that repeat a step already evaluated.

    An ``evaluate()`` after training with ``load_best_model_at_end`` reports the best model's loss under the last step.
    """
    ends = [index for index, row in enumerate(rows) if "train_runtime" in row]
    if not ends:
        return rows, []
    body = [row for row in rows[: ends[-1]] if "train_runtime" not in row]
    late = rows[ends[-1] + 1 :]
    evaluated = {place for row in body for place in _evaluations(row)} if late else set()
    fresh = [row for row in late if evaluated.isdisjoint(_evaluations(row))]
    if len(fresh) == len(late):
        return body + late, []
    return body + fresh, ["the evaluation after training repeats an evaluated step (with the reloaded best model) and was left out"]


def _evaluations(row: Mapping[str, Any]) -> list[tuple[float | None, str]]:
    step = number(row.get("step"))
    return [(step, key) for key in row if key.startswith("eval_")]


def _logging_steps(state: Mapping[str, Any]) -> int:
    value = number(state.get("logging_steps"))
    return int(value) if value is not None and math.isfinite(value) and value >= 1 else 1


def _columns(rows: Sequence[dict[str, Any]], logging_steps: int) -> dict[str, Column]:
    """Every key of the history as a Column in file order. Rows with equal keys are read together, which is what makes it fast."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, keys in enumerate(map(tuple, rows)):
        try:
            groups[keys].append(index)
        except KeyError:
            groups[keys] = [index]
    step = np.full(len(rows), np.nan)
    epoch = np.full(len(rows), np.nan)
    parts: dict[str, list[tuple[Any, FloatArray]]] = {}
    for keys, indices in groups.items():
        members = rows if len(indices) == len(rows) else list(map(rows.__getitem__, indices))
        where = np.array(indices)
        for key in keys:
            values, mask = _floats(members, key)
            logged = where if mask is None else where[mask]
            if key == "step":
                step[logged] = values
            elif key == "epoch":
                epoch[logged] = values
            else:
                parts.setdefault(str(key), []).append((logged, values))
    steps = _steps(step, logging_steps)
    columns = {}
    for key, pieces in parts.items():
        where, values = pieces[0]
        if len(pieces) > 1:
            where = np.concatenate([piece[0] for piece in pieces])
            values = np.concatenate([piece[1] for piece in pieces])
            order = np.argsort(where, kind="stable")
            where, values = where[order], values[order]
        if where.size:
            columns[key] = Column(steps[where], values, epoch[where])
    return columns


def _floats(rows: Sequence[dict[str, Any]], key: str) -> tuple[FloatArray, npt.NDArray[np.bool_] | None]:
    """The numbers under ``key``, and a mask of the rows that have one (None: all)."""
    try:
        values = np.fromiter(map(itemgetter(key), rows), dtype=np.float64, count=len(rows))
    except (TypeError, ValueError, OverflowError):  # text, lists, an integer beyond float64
        pass
    else:
        blank = np.flatnonzero(np.isnan(values)).tolist()  # numpy reads null as NaN, which is not what was logged
        if not any(rows[index][key] is None for index in blank):
            return values, None
    numbers = [number(row[key]) for row in rows]
    mask = np.array([item is not None for item in numbers], dtype=bool)
    return np.array([item for item in numbers if item is not None], dtype=np.float64), mask


def _steps(step: FloatArray, logging_steps: int) -> IntArray:
    """Steps as integers; a row without one takes that of the row before, or its place times ``logging_steps``."""
    good = np.isfinite(step) & (np.abs(step) < 2**53)
    if not bool(good.all()):
        if not bool(good.any()):
            return (np.arange(step.size, dtype=np.int64) + 1) * logging_steps
        last = np.maximum.accumulate(np.where(good, np.arange(step.size), -1))
        step = np.where(last >= 0, step[np.maximum(last, 0)], 0.0)
    return step.astype(np.int64)


def _context(run: Run, state: Mapping[str, Any], path: Path, root: Path) -> None:
    """Hyperparameters, plan, end and checkpoints that the state tells."""
    place = _place(path, root)

    def note(name: str, value: Any, key: str) -> None:
        run.hyperparameters[name] = Hyperparameter(value, file=place, key=key)

    global_step = _whole(state.get("global_step"))
    max_steps = _whole(state.get("max_steps"))
    if max_steps is not None and max_steps > 0:
        run.planned_steps = max_steps
        note("max_steps", max_steps, "max_steps")
    epochs = number(state.get("num_train_epochs"))
    if epochs is not None and math.isfinite(epochs) and epochs > 0:
        note("num_epochs", epochs, "num_train_epochs")
    run.checkpoints = _checkpoints(state, path, root)
    for name, seen in (
        ("logging_steps", _steps_of(run, "train/loss")),
        ("eval_steps", next((curve.step.tolist() for _, curve in run.eval_losses()), [])),
        ("save_steps", [checkpoint.step for checkpoint in run.checkpoints]),
    ):
        interval = _interval(state.get(name), max_steps)
        if interval and _fits(seen, interval, global_step):
            note(name, interval, name)
    batch = _whole(state.get("train_batch_size"))
    if batch:
        note("micro_batch_size", batch, "train_batch_size")
    if isinstance(trial := state.get("trial_params"), dict):
        from diag.configs import record

        record(run, trial, file=place)
    stopping = _callback(state, "EarlyStoppingCallback")
    patience = _whole(stopping.get("early_stopping_patience"))
    threshold = number(stopping.get("early_stopping_threshold"))
    if patience is not None:
        note("early_stopping_patience", patience, "stateful_callbacks.EarlyStoppingCallback.args.early_stopping_patience")
    if threshold is not None:
        note("early_stopping_threshold", threshold, "stateful_callbacks.EarlyStoppingCallback.args.early_stopping_threshold")
    run.finished = _finished(state, global_step, max_steps, path)
    if run.finished is False and any(checkpoint.step > (global_step or 0) for checkpoint in run.checkpoints):
        run.finished = None  # an older checkpoint was named; later ones tell that training went on


def _steps_of(run: Run, metric: str) -> list[int]:
    curve = run.curve(metric)
    return [] if curve is None else curve.step.tolist()


def _interval(value: Any, max_steps: int | None) -> int | None:
    """An interval in steps; below 1 it is a share of ``max_steps``, as in TrainingArguments."""
    interval = number(value)
    if interval is None or not math.isfinite(interval) or interval <= 0:
        return None
    if interval < 1:
        return math.ceil(interval * max_steps) if max_steps and max_steps > 0 else None
    return int(interval)


def _fits(steps: Sequence[int], interval: int, last: int | None) -> bool:
    """Whether most steps are multiples of the interval: a state says 500 even where the strategy was ``epoch`` or ``no``."""
    inner = [step for step in steps if step not in (1, last)]
    return bool(inner) and 2 * sum(step % interval == 0 for step in inner) >= len(inner)


def _whole(value: Any) -> int | None:
    result = number(value)
    return int(result) if result is not None and math.isfinite(result) else None


def _callback(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The saved arguments of a stateful callback; {} where there is none."""
    callbacks = state.get("stateful_callbacks")
    entry = callbacks.get(name) if isinstance(callbacks, dict) else None
    if isinstance(entry, list):
        entry = entry[0] if entry else None
    arguments = entry.get("args") if isinstance(entry, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _finished(state: Mapping[str, Any], global_step: int | None, max_steps: int | None, path: Path) -> bool | None:
    if any(isinstance(row, dict) and "train_runtime" in row for row in state["log_history"]):
        return True
    if _callback(state, "TrainerControl").get("should_training_stop") is True:
        return True
    if global_step is None or not max_steps or max_steps < 0:
        return None
    if global_step >= max_steps:
        return True
    return False if _CHECKPOINT.fullmatch(path.parent.name) else None


def _checkpoints(state: Mapping[str, Any], path: Path, root: Path) -> list[Checkpoint]:
    """Checkpoint folders of the same training, and the best one that the state names (by its last path component only)."""
    found: dict[str, bool] = {}
    try:
        names = sorted(entry.name for entry in root.iterdir() if _CHECKPOINT.fullmatch(entry.name))
    except OSError:
        names = []
    own = _first_row(_head(path)) if names else ""
    for name in names:
        theirs = _first_row(_head(root / name / path.name))
        if not own or not theirs or own == theirs:
            found[name] = True
    best = state.get("best_model_checkpoint")
    if isinstance(best, str):
        name = re.split(r"[/\\]", best.rstrip("/\\"))[-1]
        if _CHECKPOINT.fullmatch(name):
            found.setdefault(name, False)
    checkpoints = [Checkpoint(int(name.rpartition("-")[2]), name, exists) for name, exists in found.items()]
    return sorted(checkpoints, key=lambda checkpoint: (checkpoint.step, checkpoint.path))
