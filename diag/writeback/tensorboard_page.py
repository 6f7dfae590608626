"""The page that TensorBoard's Text tab shows: Markdown with tables, as Python-Markdown reads it.

The Markdown report is made for GitHub: it folds what TensorBoard would show as tags, and escapes what Python-Markdown knows no escape for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diag import __version__
from diag.terminal import safe
from diag.writeback.content import change

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.result import RunReport

_MARKS = re.compile(r"[<>&~]|[\\`*_{}\[\]()#+\-.!|]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "~": "&#126;"}
"""Characters that a backslash does not escape (python-markdown.github.io: ``Markdown.ESCAPED_CHARS``)."""


def page(entry: RunReport) -> str:
    """Verdict, findings, causes and the first changes; nothing that came from the log acts as Markdown or HTML."""
    diagnosis = entry.diagnosis
    lines = [f"**{diagnosis.verdict}**, {diagnosis.confidence:.0%} confident (diag {escape(__version__)})"]
    if entry.findings:
        lines += ["", "| finding | severity | steps | what was found |", "| --- | --- | --- | --- |"]
        for finding in entry.findings:
            lines.append(f"| {_name(finding)} | {finding.severity} | {_steps(finding)} | {escape(finding.message)} |")
    first = [fix for fix in entry.fixes if fix.rank == 1]
    lines += _list("Likely causes", [f"{escape(cause.cause)} {cause.score:.0%}" for cause in diagnosis.causes])
    lines += _list("Change in the next run", [f"{escape(change(fix) or fix.parameter)}: {escape(fix.reason)}" for fix in first])
    lines += _list("Accepted", [f"{_name(a.finding)}: {escape(a.reason)} ({escape(a.by)})" for a in entry.accepted])
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text on one line that is shown as it is."""
    return _MARKS.sub(lambda match: _ENTITIES.get(match[0], "\\" + match[0]), safe(text))


def _list(title: str, items: list[str]) -> list[str]:
    return ["", f"**{title}**", "", *(f"- {item}" for item in items)] if items else []


def _name(finding: Finding) -> str:
    return escape(f"{finding.code} {finding.name}")


def _steps(finding: Finding) -> str:
    steps = [f"{step:,}" for step in dict.fromkeys((finding.step_start, finding.step_end)) if step is not None]
    return "–".join(steps)
