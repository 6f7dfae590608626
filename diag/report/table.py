"""Findings as a table, for fleets: ``csv`` for spreadsheets, ``parquet`` for programs.

One row a finding; a run or config without any has one row with no code, so that runs can be counted. The first thirteen columns are those
of ``Report.to_frame``.
"""

from __future__ import annotations

import csv as csv_module
from collections.abc import Iterator
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Final

from diag.errors import UsageError
from diag.report.issues import Issue, Subject, sheet
from diag.report.places import CONFIG
from diag.terminal import to_ascii

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

COLUMNS: Final = {
    "run": "string",
    "path": "string",
    "verdict": "string",
    "confidence": "float64",
    "code": "string",
    "name": "string",
    "severity": "string",
    "metric": "string",
    "step_start": "Int64",
    "step_end": "Int64",
    "causes": "string",
    "message": "string",
    "fingerprint": "string",
    "line": "Int64",
    "fixes": "string",
    "accepted": "string",
}
"""Name of each column and its pandas type. ``line`` is that of a config; ``accepted`` is the reason, or "yes" where none was given."""

FORMULA: Final = frozenset("=+-@＝＋－＠")
"""First characters, blanks aside, of a cell that a spreadsheet takes for a formula (OWASP, "CSV Injection")."""


def csv(report: Report | LintReport, layout: Layout) -> str:
    """The table as CSV (RFC 4180, but lines end in a line feed): text that begins like a formula gets an apostrophe in front."""
    out = StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(report, layout):
        writer.writerow([_cell(row[column]) for column in COLUMNS])
    return out.getvalue() if layout.unicode else to_ascii(out.getvalue())


def parquet(report: Report | LintReport, layout: Layout) -> bytes:
    """The table as a Parquet file, with types: missing steps are null, text is as it is.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401 (pandas would say this with less)
    except ImportError:
        raise UsageError("the parquet format needs pyarrow; install it with: pip install 'diag[parquet]'") from None
    import pandas as pd

    frame = pd.DataFrame(list(_rows(report, layout)), columns=list(COLUMNS)).astype(COLUMNS)
    out = BytesIO()
    frame.to_parquet(out, engine="pyarrow", index=False)
    return out.getvalue()


def _rows(report: Report | LintReport, layout: Layout) -> Iterator[dict[str, Any]]:
    for subject in sheet(report, layout, with_lines=False).subjects:
        for issue in (*subject.issues, *subject.accepted) or (None,):
            yield _row(subject, issue)


def _row(subject: Subject, issue: Issue | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"run": subject.id, "path": subject.path, "verdict": subject.verdict, "confidence": subject.confidence}
    row |= dict.fromkeys(("step_start", "step_end", "line"))
    if issue is not None:
        row |= {name: getattr(issue, name) for name in ("code", "name", "severity", "metric", "message", "fingerprint")}
        row |= {"step_start": issue.step_start, "step_end": issue.step_end}
        row |= {"causes": ", ".join(issue.causes), "fixes": "; ".join(issue.fixes)}
        row["line"] = issue.place.line if issue.place.kind == CONFIG and not subject.verdict else None
        row["accepted"] = (issue.reason or "yes") if issue.is_accepted else ""
    return row


def _cell(value: Any) -> str:
    """A cell of the CSV: numbers as they are, text made harmless for spreadsheets."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return f"'{value}" if value.lstrip()[:1] in FORMULA and value.strip() else value
