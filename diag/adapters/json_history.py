"""JSON histories: Keras ``history``, detectron2 ``metrics.json``, MMEngine ``scalars.json``, lists of epoch rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from diag.adapters import Folder, Source
from diag.adapters.aliases import canonical_names
from diag.adapters.records import Records, is_eval, is_loss, is_reward, to_columns
from diag.adapters.table_rows import read_jsonl
from diag.adapters.table_steps import find_axes, recognize
from diag.adapters.tolerant_json import decode, load, number, read_bytes
from diag.errors import InputError, NothingThereError
from diag.run import Run, make_curves

HEAD: Final = 64 * 1024
"""Bytes of a file that are looked at before it is claimed."""
MAX_DEPTH: Final = 4
"""Nesting of ``{"train": {"loss": […]}}`` that is followed."""
MIN_POINTS: Final = 2
"""Values that make a list a history; one value is a result."""
NO_LOGS: Final = re.compile(
    r"(?:trainer_state.*|config|.*_config|args|hparams|params|package.*|tsconfig.*|tokenizer.*|special_tokens_map|vocab|generation_config|adapter_config|.*\.index"
    r"|training_params|wandb-(?:metadata|summary)|results_\d{4}-.*|samples_.*|all_results|(?:train|eval|predict|test)_results|dataset_infos?)\.json",
    re.IGNORECASE,
)
"""JSON files that are configs, model parts, or results."""
_OWN_REPORT: Final = re.compile(rb'"tool":\s*\{\s*"name":\s*"diag"')
"""A report of this program, which may lie in the folder of the run that it is about."""
_LOSS_LIST: Final = re.compile(rb'"[^"]{0,80}(?:loss|reward|return|perplexity)[^"]{0,40}"\s*:\s*(?:\[|\{\s*"\d)', re.IGNORECASE)
_LOSS_VALUE: Final = re.compile(rb'"[^"]{0,80}(?:loss|reward)[^"]{0,40}"\s*:\s*"?[-+]?(?:\d|\.\d|nan|inf)', re.IGNORECASE)
_ROWS_KEYS: Final = (
    "history",
    "log",
    "logs",
    "log_history",
    "train_log",
    "metrics",
    "epochs",
    "records",
    "training_history",
    "results",
    "data",
)
"""Members that hold the rows of a history."""
_AXES: Final = frozenset({"epoch", "epochs", "step", "steps", "iteration", "iterations", "iter", "global_step"})


class JsonHistoryAdapter:
    """Reads ``.json`` files that hold a training history."""

    name = "json_history"
    fidelity = 33
    schemes: tuple[str, ...] = ()

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a file whose beginning looks like a history."""
        for name in folder.files:
            if name.lower().endswith(".json") and (source := self.find_file(folder.path / name)) is not None:
                yield source

    def find_file(self, path: Path) -> Source | None:
        """The source for a ``.json`` file, None for configs, data sets, results, Hugging Face states and reports of diag."""
        if path.suffix.lower() != ".json" or NO_LOGS.fullmatch(path.name):
            return None
        try:
            with path.open("rb") as file:
                head = file.read(HEAD)
        except OSError:
            return None
        if _OWN_REPORT.search(head) is not None:
            return None
        if _LOSS_LIST.search(head) is None and len(_LOSS_VALUE.findall(head)) < MIN_POINTS:
            return None
        return Source(self.name, path.parent, (path,))

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """Never called: a history has no URI."""
        raise InputError(uri, "a JSON history is read from a path")

    def read(self, source: Source) -> list[Run]:
        """The run that the history tells.

        Raises:
            InputError: the file cannot be read or holds no history.
        """
        path = source.files[0]
        records, notes = read_history(path)
        measured = [key for key in records.columns if is_loss(key) or is_reward(key)]
        if not measured:
            raise NothingThereError(path, "holds no list of losses", "name the file the trainer logged its loss to")
        axes = find_axes(records, recognize(path.name, path.parent.name, list(records.columns), ()))
        columns = to_columns(records, axes.step, axes.epoch, axes.wall_time, skip=axes.keys)
        curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
        run = Run(
            id="", path=str(path), adapter=self.name, curves=curves, overlaps=overlaps, native_names=native_names, root=str(source.root)
        )
        run.planned_steps = axes.planned
        run.notes = notes + axes.notes
        return [run]


ADAPTER: Final = JsonHistoryAdapter()


def read_history(path: Path) -> tuple[Records, list[str]]:
    """The records of a JSON history, and remarks.

    Raises:
        InputError: unreadable, or not a history.
    """
    text, notes = decode(read_bytes(path))
    if is_json_lines(text):
        lines = read_jsonl(text, path)
        return lines.records, notes + lines.notes
    value, more = load(path)
    notes = list(dict.fromkeys(notes + more))
    rows = rows_of(value)
    if rows is not None:
        return from_rows(rows), notes
    if isinstance(value, Mapping):
        series: dict[str, list[Any]] = {}
        collect(value, "", 0, series)
        if series:
            return from_series(series, notes), notes
    raise NothingThereError(path, "holds no training history", "name the file the trainer logged its loss to")


def is_json_lines(text: str) -> bool:
    """Whether a text is one JSON object a line rather than one JSON value."""
    lines = text.lstrip().split("\n", 2)
    return (
        len(lines) > 1
        and all(line.strip().startswith("{") and line.strip().endswith("}") for line in lines[:2])
        and lines[1].strip() != "}"
    )


def rows_of(value: Any) -> Sequence[Any] | None:
    """A list of row objects, at the top or in a member that holds the history; None for none."""
    if isinstance(value, list):
        return value if sum(isinstance(row, Mapping) for row in value) >= MIN_POINTS else None
    if isinstance(value, Mapping):
        for key in _ROWS_KEYS:
            inner = value.get(key)
            if isinstance(inner, list) and sum(isinstance(row, Mapping) for row in inner) >= MIN_POINTS:
                return inner
        keys = [key for key in value if isinstance(key, str) and re.fullmatch(r"(?:epoch[ _]?)?\d{1,9}", key, re.IGNORECASE)]
        if len(keys) >= MIN_POINTS and len(keys) * 2 > len(value) and all(isinstance(value[key], Mapping) for key in keys):
            return [
                {"epoch": int(re.sub(r"\D", "", key)), **value[key]} for key in sorted(keys, key=lambda key: int(re.sub(r"\D", "", key)))
            ]
    return None


def from_rows(rows: Sequence[Any]) -> Records:
    """Row objects as Records; nested objects give ``outer/inner`` names, anything that is no number is left out."""
    columns: dict[str, tuple[list[int], list[float]]] = {}
    count = 0
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        for key, value in leaves(row, "", 0):
            at, values = columns.setdefault(key, ([], []))
            if not at or at[-1] != count:
                at.append(count)
                values.append(value)
        count += 1
    return Records(
        count, {key: (np.asarray(at, dtype=np.int64), np.asarray(values, dtype=np.float64)) for key, (at, values) in columns.items()}
    )


def leaves(row: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    """Numbers of a row by name."""
    for key, value in row.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if depth < MAX_DEPTH:
                yield from leaves(value, f"{name}/", depth + 1)
        elif not isinstance(value, (bool, list, tuple)) and (converted := number(value)) is not None:
            yield name, converted


def collect(value: Mapping[Any, Any], prefix: str, depth: int, series: dict[str, list[Any]]) -> None:
    """Lists of numbers by name, also nested, also ``{"0": 1.2, "1": 1.1}`` as pandas writes a column."""
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, list):
            if len(inner) >= MIN_POINTS and is_series(inner):
                series.setdefault(name, inner)
        elif isinstance(inner, Mapping) and depth < MAX_DEPTH:
            if len(inner) >= MIN_POINTS and all(isinstance(k, str) and k.isdigit() for k in inner) and is_series(list(inner.values())):
                series.setdefault(name, [inner[k] for k in sorted(inner, key=int)])
            else:
                container = depth == 0 and str(key).lower() in _ROWS_KEYS
                collect(inner, prefix if container else f"{name}/", depth + 1, series)


def is_series(values: Sequence[Any]) -> bool:
    """Whether a list is mostly numbers (or ``[step, value]`` pairs) and no text."""
    good = sum(number(value) is not None or is_pair(value) for value in values if not isinstance(value, bool))
    return good * 2 > len(values) and good + sum(value is None for value in values) >= 0.9 * len(values)


def is_pair(value: Any) -> bool:
    """Whether a value is a ``[step, value]`` or ``[time, step, value]`` entry."""
    return isinstance(value, (list, tuple)) and len(value) in (2, 3) and all(number(item) is not None for item in value[-2:])


def from_series(series: Mapping[str, list[Any]], notes: list[str]) -> Records:
    """Lists as Records: the lists as long as the longest loss list share its rows, shorter ones are spread over it.

    An evaluation list that is shorter by a whole factor was written every so many rows; other lengths end where the
    longest one ends, with a note.
    """
    length = max((len(values) for name, values in series.items() if is_loss(name) or is_reward(name)), default=0)
    records = Records(length)
    for name, values in series.items():
        pairs = [value for value in values if is_pair(value)]
        if not length or len(values) > length:
            continue
        plain = [value[-1] for value in pairs] if len(pairs) == len(values) else values
        every = length // len(plain)
        known = [(index, x) for index, value in enumerate(plain) if (x := number(value)) is not None]
        if len(plain) == length:
            at = [index for index, _ in known]
        elif length % len(plain) == 0:
            at = [every * (index + 1) - 1 for index, _ in known]
        else:
            at = [round((index + 1) * length / len(plain)) - 1 for index, _ in known]
            if is_loss(name):
                notes.append(f"{name} has {len(plain)} values to {length}; they were spread evenly")
        short = name.lower().rsplit("/", 1)[-1]
        key = short if short in _AXES and short not in records.columns and len(plain) == length else name
        records.columns[key] = np.asarray(at, dtype=np.int64), np.asarray([value for _, value in known], dtype=np.float64)
    evaluated = any(is_eval(name) and at.size == length for name, (at, _) in records.columns.items())
    if evaluated and not _AXES & set(records.columns):  # one evaluation for every training value: the rows are epochs
        records.columns["epoch"] = np.arange(length, dtype=np.int64), np.arange(1.0, length + 1.0)
    return records
