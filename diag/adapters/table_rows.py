"""CSV text and JSON lines as Records: delimiters, restarts, ragged rows, nested objects, half-written tails."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Final

import numpy as np

from diag.adapters import tolerant_json
from diag.adapters.records import BOOKKEEPING, EPOCH_KEYS, STEP_KEYS, TIME_KEYS, Records, is_eval, is_loss, is_reward, words
from diag.errors import InputError

DELIMITERS: Final = (",", ";", "\t", "|")
NAME_KEYS: Final = ("metric", "tag", "key", "name")
"""Columns that name the metric in a long table or stream: one row a value, with ``step`` and ``value`` beside it."""
SPLIT_KEYS: Final = ("split", "phase", "mode", "stage", "subset", "set")
"""Columns that say for each row whether it was measured in training or in evaluation."""
EVAL_PREFIX: Final = "eval/"
MISSING: Final = frozenset({"", "na", "n/a", "none", "null", "-", "--", "<na>"})
"""Cells that say nothing was logged, lower case. ``nan`` is not one: a loss that was NaN was logged."""
MAX_COLUMNS: Final = 20_000
"""Columns beyond which a table is no training log (a data matrix)."""
MAX_DEPTH: Final = 6
"""Levels of nested JSON objects that are flattened into ``a/b`` keys; deeper ones hold no metric."""
MAX_BAD_SHARE: Final = 0.5
"""Share of undecodable lines above which a file is not JSON lines."""

_DECIMAL_COMMA: Final = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")


@dataclass(slots=True)
class Lines:
    """What a file of records holds.

    Attributes:
        records: the numeric part.
        configs: objects that describe the run instead of a step (JSON lines only), with their line number from 1.
        notes: what had to be repaired or skipped.
        comments: lines that start with ``#``, without it (CSV only).
        numbers: line number, from 1, of each row of ``records``.
        header: column names in the order of the file (CSV only).
    """

    records: Records = field(default_factory=Records)
    configs: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    header: tuple[str, ...] = ()


# --- CSV ---------------------------------------------------------------------------------------------------------


def split_header(line: str) -> tuple[str, tuple[str, ...]]:
    """The delimiter of a header line and its names, stripped of padding and quotes."""
    line = line.lstrip("\ufeff#").strip("\r\n")
    delimiter = max(DELIMITERS, key=lambda mark: (line.count(mark), -DELIMITERS.index(mark)))
    return delimiter, tuple(name.strip() for name in _split(line, delimiter))


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def is_number(cell: str) -> bool:
    """Whether a cell of a table is a number, ``nan`` and infinities included."""
    return tolerant_json.number(cell) is not None


def is_header(cells: Sequence[str]) -> bool:
    """Whether a row holds names and no values, and at least one of them is that of a metric or an axis."""
    named = [cell.strip() for cell in cells if cell.strip()]
    return (
        bool(named)
        and not any(is_number(cell) or cell.lower() in MISSING for cell in named)
        and any(is_loss(cell) or is_reward(cell) or cell.lower() in ("step", "epoch", "iteration", "iter", "global_step") for cell in named)
    )


def read_csv(text: str, path: object) -> Lines:
    """The rows of a CSV text.

    Comment lines are kept apart, a header that appears again (a restart) is skipped, a different header starts new
    columns, short rows are padded, and a last line without its end is dropped if it is shorter than the header.

    Raises:
        InputError: there is no header, or it has more than 20,000 columns.
    """
    result = Lines()
    lines = text.replace("\x00", "").splitlines()
    start = 0
    while start < len(lines) and (not lines[start].strip() or _is_comment(lines[start])):
        if lines[start].strip():
            result.comments.append(lines[start].strip().lstrip("#").strip())
        start += 1
    if start == len(lines):
        raise InputError(path, "has no header line", "check that it is the log of a training run")
    delimiter, header = split_header(lines[start])
    result.header = header
    if len(header) > MAX_COLUMNS:
        raise InputError(path, f"has {len(header)} columns", "a training log has one column a metric")
    body = lines[start + 1 :]
    rows = _rows(body, delimiter)
    if rows and not text.endswith(("\n", "\r")) and len(rows[-1]) < len(header):
        rows.pop()
        result.notes.append("the last line is cut off and was left out")
    segment: list[list[str]] = []
    headers = 0
    for number, row in zip(_first_lines(body, delimiter, len(rows), start + 2), rows, strict=False):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if not _starts_like_number(row[0]) and (row[0].strip() == header[0] or is_header(row)):
            names = tuple(cell.strip() for cell in row)
            if is_header(names):
                headers += 1
                _add_rows(result.records, header, segment, delimiter)
                header, segment = names, []
                continue
        segment.append(row)
        result.numbers.append(number)
    _add_rows(result.records, header, segment, delimiter)
    if headers:
        result.notes.append(
            f"the header is repeated {headers} times: {headers + 1} launches in one file"
            if headers > 1
            else "the header is repeated: two launches in one file"
        )
    return result


def _is_comment(line: str) -> bool:
    """``#{"t_start": …}`` and prose are comments; ``#step,loss`` is a header."""
    bare = line.lstrip("\ufeff").lstrip()
    return bare.startswith("#") and ("{" in bare or not is_header(split_header(bare)[1]))


def _starts_like_number(cell: str) -> bool:
    return cell.lstrip()[:1] in tuple("0123456789-+.")


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:  # an unclosed quote swallowed more than a field may hold
        return [line.split(delimiter) for line in lines]


def _first_lines(lines: list[str], delimiter: str, rows: int, first: int) -> Iterable[int]:
    """The line number that each row begins on, where ``lines`` begin on line ``first``; a quoted cell may hold line ends."""
    if rows >= len(lines) - 1:  # one row a line; of the last one only a part may be written
        return range(first, first + rows)
    reader = csv.reader(lines, delimiter=delimiter)
    ends = [0, *(reader.line_num for _ in reader)]
    return [first + end for end in ends[:rows]]


def _add_rows(records: Records, header: Sequence[str], rows: list[list[str]], delimiter: str) -> None:
    if not rows:
        return
    width = len(header)
    if any(len(row) != width for row in rows):
        rows = [row[:width] + [""] * (width - len(row)) for row in rows]
    block = Records(len(rows))
    columns = dict(zip(reversed(header), reversed(list(zip(*rows, strict=True))), strict=True))
    if (names := long_keys(header)) is not None:
        _add_long(block, columns.pop(names[0]), columns.pop(names[1]), delimiter == ";")
    split = next((columns[name] for name in header if name.lower() in SPLIT_KEYS and name in columns), None)
    held_out = None if split is None else np.array([is_eval(cell) for cell in split], dtype=bool)
    for name in dict.fromkeys(header):
        cells = columns.get(name)
        if cells is None or not name:
            continue
        at, values = _numbers(cells, delimiter == ";", name.lower() in TIME_KEYS)
        if not values.size:
            continue
        if held_out is None or not bool(held_out.any()) or not is_measured(name):
            block.columns[name] = at, values
            continue
        for key, mask in ((name, ~held_out[at]), (f"{EVAL_PREFIX}{name}", held_out[at])):
            if bool(mask.any()):
                block.columns[key] = at[mask], values[mask]
    records.append(block)


def is_measured(key: str) -> bool:
    """Whether a column of a table with a split column differs by split: all but axes, times and what names its split."""
    lowered = key.lower()
    return (
        lowered not in STEP_KEYS + EPOCH_KEYS + TIME_KEYS + BOOKKEEPING
        and not {"train", "training", "lr"} & set(words(key))
        and not is_eval(key)
    )


def long_keys(header: Iterable[str]) -> tuple[str, str] | None:
    """The columns of names and of values of a long table (``step,metric,value``), None for a wide one."""
    keys = {name.lower(): name for name in header}
    name = next((keys[key] for key in NAME_KEYS if key in keys), None)
    return (name, keys["value"]) if name is not None and "value" in keys and "step" in keys else None


def _add_long(block: Records, names: Sequence[str], cells: Sequence[str], decimal_comma: bool) -> None:
    at, values = _numbers(cells, decimal_comma, False)
    rows: dict[str, list[int]] = {}
    for index, row in enumerate(at.tolist()):
        rows.setdefault(names[row].strip(), []).append(index)
    for name in sorted(rows):
        block.columns[name or "value"] = at[rows[name]], values[rows[name]]


def _numbers(cells: Sequence[str], decimal_comma: bool, dates: bool) -> tuple[Any, Any]:
    """Row indices and values of the cells that hold a number."""
    try:
        return np.arange(len(cells)), np.array(list(map(float, cells)))
    except ValueError:
        pass
    at: list[int] = []
    values: list[float] = []
    for index, cell in enumerate(cells):
        if not cell:
            continue
        try:
            value: float | None = float(cell)
        except ValueError:
            if cell.strip().lower() in MISSING:
                continue
            value = _odd_number(cell, decimal_comma, dates)
        if value is not None:
            at.append(index)
            values.append(value)
    return np.array(at, dtype=np.int64), np.array(values, dtype=np.float64)


def _odd_number(cell: str, decimal_comma: bool, dates: bool) -> float | None:
    if (value := tolerant_json.number(cell.rstrip("% "))) is not None:
        return value
    if decimal_comma and _DECIMAL_COMMA.fullmatch(cell):
        return float(cell.replace(",", "."))
    if dates:
        return unix_time(cell)
    if cell.startswith("tensor("):  # a tensor that a script wrote without .item()
        return tolerant_json.number(cell[7:].split(",")[0].rstrip(")"))
    return None


def unix_time(text: str) -> float | None:
    """Unix seconds of an ISO date, None if it is not one. A date without a zone is taken as UTC."""
    if len(text) < 10 or not text.lstrip()[:4].isdigit():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# --- JSON lines --------------------------------------------------------------------------------------------------

_DECODER: Final = json.JSONDecoder()


def objects(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line number from 1 and object of every JSON object in the text; None for a line that holds none.

    Several objects on one line (two writers, a lost line end) are all given.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip("\r\x00\ufeff \t,")
        if not line or line in "[]":
            continue
        try:
            value = json.loads(line)
            yield number, value if type(value) is dict else None
            continue
        except (ValueError, RecursionError):
            pass
        yield from zip(repeat(number), _odd_objects(line))


def _odd_objects(line: str) -> list[dict[str, Any] | None]:
    found: list[dict[str, Any] | None] = []
    position = 0
    while (position := line.find("{", position)) >= 0:
        try:
            value, position = _DECODER.raw_decode(line, position)
        except (ValueError, RecursionError):
            found = []
            break
        found.append(value if type(value) is dict else None)
    if found:
        return found
    if not line.startswith("{"):
        return [None]
    try:
        value, notes = tolerant_json.loads(line)
    except InputError:
        return [None]
    return [value if type(value) is dict and not notes else None]


def read_jsonl(text: str, path: object, is_config: Any = None) -> Lines:
    """The records of a JSON-lines text; nested objects become ``a/b`` keys, numbers in quotes count as numbers.

    ``is_config(object, rows so far)`` tells objects that describe the run; they go to ``configs``.

    Raises:
        InputError: most lines are not JSON objects.
    """
    result = Lines()
    columns: dict[str, tuple[list[int], list[float]]] = {}
    row = bad = last = last_bad = 0
    for number, record in objects(text):
        last = number
        if record is None:
            bad, last_bad = bad + 1, number
            continue
        if is_config is not None and is_config(record, row):
            result.configs.append((number, record))
            continue
        if (names := long_keys(record)) is not None and type(record[names[0]]) is str:
            record[record.pop(names[0])] = record.pop(names[1])
        if any(is_eval(str(record.get(key))) for key in SPLIT_KEYS):
            record = {f"{EVAL_PREFIX}{key}" if is_measured(key) else key: value for key, value in record.items()}
        _add_record(columns, row, record, "", 0)
        result.numbers.append(number)
        row += 1
    if bad and bad > MAX_BAD_SHARE * (row + bad + len(result.configs)) and not (bad == 1 and last_bad == last and result.configs):
        raise InputError(path, f"{bad} of {bad + row} lines are not JSON objects", "check that it is a JSON-lines log")
    if bad == 1 and last_bad == last:
        result.notes.append("the last line is cut off and was left out")
    elif bad:
        result.notes.append(f"{bad} lines are not JSON objects and were left out")
    result.records.rows = row
    for key, (at, values) in columns.items():
        result.records.columns[key] = np.array(at, dtype=np.int64), np.array(values, dtype=np.float64)
    return result


def _add_record(columns: dict[str, tuple[list[int], list[float]]], row: int, record: dict[str, Any], prefix: str, depth: int) -> None:
    for key, value in record.items():
        kind = type(value)
        if kind is float:
            pass
        elif kind is dict:
            if depth < MAX_DEPTH:
                _add_record(columns, row, value, f"{prefix}{key}/", depth + 1)
            continue
        elif kind is bool or value is None or kind is list:
            continue
        else:
            parsed = tolerant_json.number(value.rstrip("% ") if kind is str else value)
            if parsed is None and kind is str and key.lower() in TIME_KEYS:
                parsed = unix_time(value)
            if parsed is None:
                continue
            value = parsed
        name = prefix + key
        column = columns.get(name)
        if column is None:
            if len(columns) >= MAX_COLUMNS:
                continue
            column = columns[name] = ([], [])
        column[0].append(row)
        column[1].append(value)
