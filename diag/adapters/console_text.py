"""Console text to clean lines: carriage returns, colours, launcher prefixes, timestamps."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

MAX_LINE: Final = 40_000
"""Characters of a line that are looked at. Evaluation rows with two hundred metrics take about 12,000."""

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Terminal control sequences (ECMA-48): CSI, OSC, two-character escapes."""
_RANK: Final = re.compile(
    r"\s*(?:\[(?:rank|default)(\d{1,5})\]:?|\[(\d{1,4})\]:|rank[ =]?(\d{1,5})\s*[:|]|\((\w+) pid=\d+[^)]{0,60}\))\s?", re.IGNORECASE
)
"""``[rank0]:`` and ``[default0]:`` of torchrun, ``[0]:``, ``(RayTrainWorker pid=…)``."""
_NUMBERED: Final = re.compile(r"(\d{1,4}): ")
"""``0: `` of srun --label."""
_STAMP: Final = re.compile(
    r"\s*\[?(?:[A-Z]+\|)?(?:NeMo [A-Z] )?(?P<first>\d{4}|\d\d)[-/](?P<month>\d\d)[-/](?P<last>\d\d(?:\d\d)?)[ T]"
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?:Z|[+-]\d\d:?\d\d)?"
)
_LOGGER: Final = re.compile(
    r"[\]\s:|-]*(?:\[?(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\]?"
    r"(?:\s*\[[\w./<>]{1,60}(?::\d+)?(?::[\w<>]{1,60})?\]|[\s:|\]-]+(?!(?:step|epoch|iter|loss|train|val|eval|test)\b)[\w.<>]{1,60}(?::\d+)?(?=\s*(?:[:|\]-]|>>)))?)?(?:\s*>>)?[\]\s:|-]*",
    re.IGNORECASE,
)
"""Level and logger name as ``logging`` writes them in its usual layouts."""


class Line(NamedTuple):
    """One piece of a console log between line ends or carriage returns.

    Attributes:
        number: line number in the file, from 1.
        text: without control sequences and launcher prefix.
        rank: process rank or worker that wrote it, "" if not marked.
        time: Unix seconds of the line's timestamp (taken as UTC), None without one.
    """

    number: int
    text: str
    rank: str
    time: float | None


def clean(text: str) -> str:
    """Text with terminal control sequences removed and backspaces turned into carriage returns."""
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if "\x08" in text:
        text = re.sub("\x08+", "\r", text)
    return text


def has_numbered_ranks(text: str) -> bool:
    """Whether lines begin with ``<rank>: `` (srun --label): few numbers, each many times, on most lines."""
    sample = text[:200_000].split("\n")[:2000]
    numbers = [match[1] for line in sample if (match := _NUMBERED.match(line))]
    return len(numbers) >= 4 and 2 * len(numbers) > len(sample) and 3 * len(set(numbers)) <= len(numbers)


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """``(line number, piece)`` of cleaned text, split at line ends and carriage returns; empty ones are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if "\r" in line:
            for piece in line.split("\r"):
                if piece:
                    yield number, piece[:MAX_LINE]
        elif line:
            yield number, line[:MAX_LINE]


def strip_prefix(number: int, piece: str, numbered: bool) -> Line:
    """A Line: rank marks, timestamp, level and logger name taken off the front of a piece."""
    rank = ""
    if numbered and (match := _NUMBERED.match(piece)):
        rank = match[1]
        piece = piece[match.end() :]
    if match := _RANK.match(piece):
        rank = next(group for group in match.groups() if group)
        piece = piece[match.end() :]
    time = None
    if match := _STAMP.match(piece):
        time = timestamp(match)
        piece = piece[match.end() :]
        if rest := _LOGGER.match(piece):
            piece = piece[rest.end() :]
    elif piece.startswith(("INFO", "WARNING", "DEBUG", "ERROR")) and (rest := _LOGGER.match(piece)):
        piece = piece[rest.end() :]
    return Line(number, piece, rank, time)


def timestamp(match: re.Match[str]) -> float | None:
    """Unix seconds of a matched timestamp: year first, or month/day/year; None if it is no date."""
    first, last = match["first"], match["last"]
    if len(first) == 4:
        year, month, day = int(first), int(match["month"]), int(last[:2])
    elif len(last) == 4:
        year, month, day = int(last), int(first), int(match["month"])
    else:
        return None
    start = midnight(year, month, day)
    if start is None:
        return None
    seconds = int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"])
    fraction = match["fraction"]
    return start + seconds + (float(f"0.{fraction}") if fraction else 0.0)


@lru_cache(maxsize=512)
def midnight(year: int, month: int, day: int) -> float | None:
    """Unix seconds of a day's begin (UTC), None if there is no such day."""
    if not (1970 <= year <= 2200 and 1 <= month <= 12 and 1 <= day <= 31):
        return None
    return float(calendar.timegm((year, month, day, 0, 0, 0)))
