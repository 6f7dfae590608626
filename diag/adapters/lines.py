"""On which line of its log a value stands: text logs read once more, for reports that point at lines.

Adapters keep no line numbers, as most analyses never ask for them. Where a report does, the log is read again here, with the adapters' own
readers, and only for the metrics that are asked for. Whatever cannot be read, is binary, or is large has no lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from json import dumps, loads
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.adapters import tolerant_json
from diag.adapters.records import STEP_KEYS
from diag.errors import InputError

MAX_BYTES: Final = 32 << 20
"""Bytes above which a log is not read again for its lines; its findings then point at line 1. Reading that much takes seconds."""

FLAT_OBJECT: Final = re.compile(r"\{[^{}]*\}")
"""A JSON object that holds no other: a row of a history. Text with braces in it hides its row, which then has no line."""

SPLIT_PREFIX: Final = re.compile(r"^(?:val|valid|validation|eval|train|training)[_/]")
"""What adapters put before a metric's name, or take off, where the file or a column says what it was measured on."""


class Point(NamedTuple):
    """A logged value: its line, from 1, the step written beside it (NaN if none is) and the value."""

    line: int
    step: float
    value: float


@dataclass(slots=True)
class TextLog:
    """A log's text, and where its values stand.

    Attributes:
        lines: the text, line by line.
        points: native metric name to its points, in the order of the file.
    """

    lines: list[str] = field(default_factory=list)
    points: dict[str, list[Point]] = field(default_factory=dict)

    def clipped(self, line: int) -> int:
        """The line, or the last one there is."""
        return max(1, min(line, len(self.lines)))

    def width(self, line: int) -> int:
        """Characters on a line, from 1."""
        return len(self.lines[line - 1].rstrip("\r")) if 0 < line <= len(self.lines) else 0


Reader = Callable[[str, Path, Collection[str]], Mapping[str, list[Point]]]


def read(path: Path, adapter: str, metrics: Collection[str]) -> TextLog | None:
    """A log, and the points of some of its metrics.

    Args:
        path: the file.
        adapter: name of the adapter that read it.
        metrics: native metric names.

    Returns:
        None where the file is binary, larger than MAX_BYTES, cannot be read, or is read by an adapter that is not known here.
    """
    reader = READERS.get(adapter)
    try:
        if reader is None or path.stat().st_size > MAX_BYTES:
            return None
        text, _ = tolerant_json.decode(tolerant_json.read_bytes(path))
    except (OSError, InputError):
        return None
    log = TextLog(text.split("\n"))
    with suppress(InputError, ValueError, RecursionError):  # a text has lines, even if its values cannot be found again
        log.points.update(reader(text, path, metrics))
    return log


def locate(points: list[Point], step: int, value: float, position: float) -> int:
    """The line of a value of a curve; 0 if there is no point.

    Steps may be counted otherwise in the file than in the curve, so the value decides where it is unique; then the step written beside
    it, the later row of two (a resumed run logs steps again), and how far into the run it is.

    Args:
        points: the metric's points, in the order of the file.
        step: of the curve.
        value: of the curve at that step.
        position: how far into the curve that is, in [0, 1].
    """
    if not points:
        return 0
    alike = [point for point in points if _same(point.value, value)]
    at_step = [point for point in alike or points if point.step == step]
    if at_step:
        return at_step[-1].line
    if not alike:
        return points[0].line
    expected = position * points[-1].line
    return min(alike, key=lambda point: abs(point.line - expected)).line


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second)) or math.isclose(first, second, rel_tol=1e-9)


# --- one reader a kind of file -----------------------------------------------------------------------------------


def _csv(text: str, path: Path, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    from diag.adapters.table_rows import read_csv

    return _of_records(read_csv(text, path), metrics)


def _jsonl(text: str, path: Path, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    from diag.adapters.table_rows import read_jsonl

    return _of_records(read_jsonl(text, path), metrics)


def _of_records(found: Any, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    """The points of columns, under the names that were asked for.

    An adapter may have said in a name which file it was measured in: ``loss`` of ``validation.jsonl`` is ``eval/loss``.
    """
    records = found.records
    bare = {SPLIT_PREFIX.sub("", key): key for key in reversed(records.columns)}
    steps = records.find(STEP_KEYS)
    step = records.full(steps) if steps is not None else None
    points: dict[str, list[Point]] = {}
    for metric in metrics:
        key = metric if metric in records.columns else bare.get(SPLIT_PREFIX.sub("", metric))
        if key is None:
            continue
        rows, values = records.columns[key]
        points[metric] = [
            Point(found.numbers[row], math.nan if step is None else float(step[row]), value)
            for row, value in zip(rows.tolist(), values.tolist(), strict=True)
            if row < len(found.numbers)
        ]
    return points


def _json(text: str, path: Path, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    from diag.adapters.json_history import is_json_lines

    if is_json_lines(text):
        return _jsonl(text, path, metrics)
    points: dict[str, list[Point]] = {}
    for line, written, row in _json_rows(text):
        step = next((number for key in STEP_KEYS if (number := tolerant_json.number(row.get(key))) is not None), math.nan)
        for metric in metrics:
            value = row.get(metric)
            if isinstance(value, list):
                points.setdefault(metric, []).extend(_items(value, metric, line, written))
            elif (number := tolerant_json.number(value)) is not None:
                points.setdefault(metric, []).append(Point(line + _line_within(written, metric), step, number))
    return points


def _json_rows(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Every innermost object: the line it begins on, its text, and what it holds."""
    line, last = 1, 0
    for match in FLAT_OBJECT.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        try:
            row = loads(match[0])
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield line, match[0], row


def _line_within(written: str, key: str) -> int:
    """How many lines below the beginning of an object its key stands."""
    at = written.find(f"{dumps(key)}")
    at = at if at >= 0 else written.find(f"{dumps(key, ensure_ascii=False)}")
    return written.count("\n", 0, max(at, 0))


def _items(values: list[Any], key: str, line: int, written: str) -> Iterator[Point]:
    """The points of a list of numbers under a key."""
    start = max(written.find(dumps(key)), 0)
    place = written.find("[", start)
    for value in values:
        if (number := tolerant_json.number(value)) is None:
            return
        while place + 1 < len(written) and written[place + 1].isspace():
            place += 1
        yield Point(line + written.count("\n", 0, place + 1), math.nan, number)
        place = written.find(",", place + 1)
        if place < 0:
            return


def _console(text: str, path: Path, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    from diag.adapters.console_log import parse
    from diag.adapters.console_text import clean

    parsed = parse(clean(text))
    points: dict[str, list[Point]] = {}
    for row in (*parsed.rows, *(parsed.mlperf.rows if parsed.mlperf is not None else ())):
        for metric in metrics:
            if metric in row.values:
                points.setdefault(metric, []).append(Point(row.line, math.nan if row.step is None else row.step, row.values[metric]))
    return points


def _mlflow(text: str, path: Path, metrics: Collection[str]) -> Mapping[str, list[Point]]:
    """A metric's own file in a file store: ``timestamp value step`` a line (MLflow, ``FileStore``)."""
    found = []
    for line, words in enumerate(map(str.split, text.split("\n")), 1):
        numbers = [tolerant_json.number(word) for word in words[1:3]]
        if len(numbers) == 2 and numbers[0] is not None and numbers[1] is not None:
            found.append(Point(line, numbers[1], numbers[0]))
    return {metric: found for metric in metrics if path.as_posix().endswith(f"/metrics/{metric}")}


READERS: Final[Mapping[str, Reader]] = {
    "console": _console,
    "csv": _csv,
    "json_history": _json,
    "jsonl": _jsonl,
    "mlflow": _mlflow,
    "trainer_state": _json,
}
"""Name of an adapter to the reader of its text files. Event files, W&B's records and SQLite have no lines."""
