"""A report format of one line a run: for a terminal, or for ``cut`` and ``sort``."""

from __future__ import annotations

from collections import Counter

from diag.report import Layout
from diag.result import Report
from diag.terminal import safe


def render(report: Report, layout: Layout) -> str:
    """Name, verdict and number of findings of each severity, separated by tabs; names come from logs, so they are escaped."""
    lines = []
    for entry in report.runs:
        found = Counter(finding.severity for finding in entry.findings)
        counts = (f"{found[severity]} {severity}" for severity in ("error", "warning", "info"))
        lines.append("\t".join([safe(entry.run.id), entry.diagnosis.verdict, *counts]))
    return "".join(f"{line}\n" for line in lines)
