"""One line a finding, ``path:line:column: severity CODE message``: for editors, ``grep`` and problem matchers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from diag.report.issues import sheet
from diag.terminal import safe, to_ascii

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.report.places import Place
    from diag.result import Report


def render(report: Report | LintReport, layout: Layout) -> str:
    """The lines, never wrapped; nothing where nothing was found."""
    made = sheet(report, layout)
    lines = [f"{_shown(i.place)}:{i.place.line}:{i.place.column}: {i.severity} {i.code} {i.message}" for i in made.issues]
    text = "".join(f"{line}\n" for line in lines)
    return text if layout.unicode else to_ascii(text)


def _shown(place: Place) -> str:
    """The path from the working directory, as a terminal opens it; what else the place is called where it has no file."""
    if not place.file:
        return place.shown
    try:
        return safe(Path(os.path.relpath(place.file)).as_posix())
    except ValueError:  # another drive
        return place.shown
