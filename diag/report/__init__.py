"""Report formats: one module a format, each a function from a Report and a Layout to text.

A format is found through the ``diag.reports`` entry point group; the entry point names a function
``render(report: Report, layout: Layout) -> str``, or to bytes where the format is none of text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from diag.errors import UsageError
from diag.terminal import speaks_unicode, wants_colour
from diag.vocabulary import ERROR

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.result import Report

    Renderer = Callable[[Report | LintReport, "Layout"], str | bytes]

GROUP = "diag.reports"
"""Entry point group of the report formats."""

LINE_FORMATS = ("concise", "csv", "github", "gitlab", "junit", "markdown", "parquet", "sarif")
"""The formats that take reports on runs and reports on configs alike; see ``diag.report.issues``."""

DEFAULT_WIDTH = 80
"""Columns where the output is no terminal and COLUMNS is not set: the classic width, which diffs and mails expect."""
NARROWEST = 60
WIDEST = 120
"""Columns beyond which lines are hard to read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a report is to look.

    Attributes:
        width: columns.
        colour: whether ANSI colours may be used.
        unicode: whether characters outside ASCII may be used.
        quiet: whether to leave out the runs that pass.
        verbose: whether to show everything rather than what matters most.
        fail_on: the gate, for formats that say whether it failed.
        declared_in: the file that declares the gate, "" if there is none: where findings without a file of their own are shown.
    """

    width: int = DEFAULT_WIDTH
    colour: bool = False
    unicode: bool = True
    quiet: bool = False
    verbose: bool = False
    fail_on: str = ERROR
    declared_in: str = ""

    @classmethod
    def of_stream(cls, stream: TextIO) -> Layout:
        """What suits a stream: its terminal's width, colours and encoding."""
        return cls(width=_columns(stream), colour=wants_colour(stream), unicode=speaks_unicode(stream))

    @classmethod
    def of_file(cls) -> Layout:
        """What suits a UTF-8 file: the default width, no colours."""
        return cls()

    @classmethod
    def of_output(cls, output: str | None) -> Layout:
        """What suits an ``--output`` option: a file, or stdout for None and ``-``."""
        return cls.of_stream(sys.stdout) if output in (None, "-") else cls.of_file()

    def with_(self, **changes: Any) -> Layout:
        """A copy with some attributes changed."""
        return replace(self, **changes)


def _columns(stream: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        width = int(columns)
    else:
        try:
            width = os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
        except (OSError, ValueError):
            width = DEFAULT_WIDTH
    return min(max(width, NARROWEST), WIDEST)


def formats() -> list[str]:
    """The names of the registered report formats, sorted."""
    from diag import plugins

    return sorted(plugins.points(GROUP))


def renderer(name: str) -> Renderer:
    """The render function of a format; of those that LINE_FORMATS does not name, one that takes reports on runs alone.

    Raises:
        UsageError: there is no such format, or its plug-in cannot be used.
    """
    from diag import plugins
    from diag.choices import choose

    point = plugins.points(GROUP)[choose("the report format", name, formats())]
    made: dict[plugins.Point, Renderer]
    made, broken = plugins.use([point], lambda render: render)
    if broken:
        raise UsageError(broken[0].message)
    return made[point]
