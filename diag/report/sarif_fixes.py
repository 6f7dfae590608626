"""Fixes of SARIF results: the exact characters of a config that settle a lint finding."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from diag.errors import InputError
from diag.fixes import DISPLAY
from diag.vocabulary import INFO

if TYPE_CHECKING:
    from diag.documents.editing import Edit
    from diag.report.issues import Issue, Subject


def replacements(issue: Issue, subject: Subject) -> list[dict[str, Any]]:
    """The replacements that settle a lint finding, all of them together.

    None where the finding is a run's, where it only has advice, where the change cannot be written into the file, or where the framework
    would not take the result.
    """
    from diag.documents.editing import edits
    from diag.fixing import changes, of_plan, rewritten
    from diag.lint import Violation
    from diag.linting import ConfigReport

    entry, violation = subject.source, issue.source
    if not isinstance(entry, ConfigReport) or not isinstance(violation, Violation):
        return []
    if not any(fix.applicability != DISPLAY for fix in violation.fixes):
        return []
    document = entry.plan.document
    try:
        prescription = of_plan(entry.plan, level=INFO, violations=[violation])
        rewritten(prescription, document)  # refuses what would not be right
        found = edits(document, changes(prescription, document))
    except InputError:
        return []
    ends = [position for position, character in enumerate(document.text) if character == "\n"]
    return [_replacement(edit, ends) for edit in found]


def _replacement(edit: Edit, ends: list[int]) -> dict[str, Any]:
    """The characters to take out and what to write there; ``ends`` are the positions of the line feeds."""
    (line, column), (end_line, end_column) = _place(edit.start, ends), _place(edit.end, ends)
    region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
    return {"deletedRegion": region, **({"insertedContent": {"text": edit.text}} if edit.text else {})}


def _place(position: int, ends: list[int]) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    line = bisect_right(ends, position - 1)
    return line + 1, position - (ends[line - 1] + 1 if line else 0) + 1
