"""What the line formats of a console produce: rows of named numbers, and the state that later lines lean on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from diag.adapters.console_text import Line

NUMBER: Final = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|(?:[nN][aA][nN]|[iI]nf(?:inity)?|INF)\b)"
"""A number as programs print it, NaN and infinities included."""


@dataclass(slots=True)
class Row:
    """What one line (or block of lines) measured.

    Attributes:
        line: line number, from 1.
        values: metric name to value.
        step: step or iteration as printed, None if the line names none.
        total: number of steps printed with it (``5/30``), None without.
        epoch: epoch as printed, None if unknown.
        rank: process that wrote it, "" if not marked.
        time: Unix seconds, None without a timestamp.
        by_epoch: the line is known to sum up a whole epoch.
        before, after: position of every progress bar last drawn before, and first drawn after, by the bar's total.
    """

    line: int
    values: dict[str, float]
    step: int | None = None
    total: int | None = None
    epoch: float | None = None
    rank: str = ""
    time: float | None = None
    by_epoch: bool = False
    before: dict[int, int] = field(default_factory=dict)
    after: dict[int, int] = field(default_factory=dict)


@dataclass
class State:
    """What earlier lines said.

    Attributes:
        epoch, epochs: the current epoch and how many there are, from headers such as ``Epoch 3/10``.
        bars: the last position of every progress bar, by its total.
        waiting: rows since which no bar was drawn.
        block: the row that a block of lines is filling.
        section: heading inside a block.
        carried: values that a progress bar shows again and again.
        columns: names of the columns of the table that is being printed.
        templates: line shapes that were understood, see ``console_pairs``.
        finished: a line said that training ended by itself.
    """

    epoch: float | None = None
    epochs: int | None = None
    bars: dict[int, int] = field(default_factory=dict)
    waiting: list[Row] = field(default_factory=list)
    block: Row | None = None
    section: str = ""
    carried: dict[str, float] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    templates: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


class Format(NamedTuple):
    """A line format.

    Attributes:
        name: for tests and notes.
        markers: a text without any of these does not hold the format.
        hints: a line without any of these does not, either; empty for any line.
        parse: line and state to a Row; None if the line is not of this format; a Row without values if it is, but
            says nothing.
    """

    name: str
    markers: tuple[str, ...]
    hints: tuple[str, ...]
    parse: Callable[[Line, State], Row | None]


def make_row(line: Line, values: dict[str, float], **details: Any) -> Row:
    """A Row with the line's number, rank and time."""
    return Row(line.number, values, rank=line.rank, time=line.time, **details)
