"""Workflow commands of GitHub Actions: findings as annotations on the changed files of a pull request.

The escapes are those of the runner's toolkit: ``%``, carriage return and line feed everywhere, ``:`` and ``,`` in properties too
(GitHub, "Workflow commands for GitHub Actions").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from diag.report.issues import Issue, sheet
from diag.report.places import CONFIG
from diag.terminal import to_ascii
from diag.vocabulary import ERROR, INFO, SEVERITIES, WARNING

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

SHOWN: Final = 10
"""Annotations of one kind that GitHub shows of one step ("Usage limits" of annotations); what is more would be dropped silently."""

COMMANDS: Final = {ERROR: "error", WARNING: "warning", INFO: "notice"}


def render(report: Report | LintReport, layout: Layout) -> str:
    """The worst ten findings and problems as commands, then a notice of how many more there are."""
    made = sheet(report, layout)
    entries = [(severity, _command(COMMANDS[severity], f"{path}: {message}", title="diag")) for severity, path, message in made.problems]
    entries += [(issue.severity, _annotation(issue)) for issue in made.issues]
    entries.sort(key=lambda entry: -SEVERITIES.index(entry[0]))
    lines = [line for _, line in entries[:SHOWN]]
    more = len(entries) - SHOWN
    if more > 0:
        lines.append(_command("notice", f"{more} more; --output markdown=FILE has them all, for the step's summary", title="diag"))
    text = "".join(f"{line}\n" for line in lines)
    return text if layout.unicode else to_ascii(text)


def _annotation(issue: Issue) -> str:
    place = issue.place
    properties: dict[str, object] = {}
    if place.inside:
        properties = {"file": place.shown, "line": place.line}
        if place.kind == CONFIG and place.column > 1:
            properties["col"] = place.column
    where = ", ".join(part for part in (issue.subject, issue.steps) if part)
    message = "\n".join(part for part in (issue.message, issue.advice, f"[{where}]") if part)
    return _command(COMMANDS[issue.severity], message, **properties, title=f"diag ({issue.code} {issue.name})")


def _command(name: str, message: str, **properties: object) -> str:
    """One command on one line, whatever is in it."""
    told = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{name} {told}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
