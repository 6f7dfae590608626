"""GitLab's Code Quality report: a JSON array that a job hands over as ``artifacts: reports: codequality``.

The fields are those that GitLab reads (GitLab, "Code Quality report format"): ``description``, ``check_name``, ``fingerprint``,
``severity`` and ``location``. Of two entries with one fingerprint the second vanishes. Accepted findings are left out, as the format cannot
say that they are.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Any, Final

from diag.report.issues import Issue, sheet
from diag.vocabulary import ERROR, INFO, WARNING

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

SEVERITY: Final = {ERROR: "major", WARNING: "minor", INFO: "info"}
"""Severities in GitLab's words, as the reports of ESLint and others have them; ``critical`` and ``blocker`` are left to security."""


def render(report: Report | LintReport, layout: Layout) -> str:
    """The array, in the report's order; empty where nothing was found."""
    entries = [_entry(issue) for issue in sheet(report, layout).issues]
    return dumps(entries, indent=2, allow_nan=False) + "\n"


def _entry(issue: Issue) -> dict[str, Any]:
    """One finding; the code goes into the description too, as GitLab does not show ``check_name``."""
    words = [f"{issue.code} {issue.name}: {issue.message}", issue.advice]
    return {
        "description": " ".join(word for word in words if word),
        "check_name": issue.code,
        "fingerprint": issue.fingerprint,
        "severity": SEVERITY[issue.severity],
        "location": {"path": issue.place.shown.lstrip("/") or "diag", "lines": {"begin": issue.place.line}},
    }
