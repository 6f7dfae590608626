"""Markdown for a pull-request comment or ``$GITHUB_STEP_SUMMARY``: verdicts, findings, the first change; the rest is folded away.

What is worst comes first, so that a report that is too long loses what matters least, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from diag.report.issues import Issue, Sheet, Subject, sheet
from diag.report.markdown_text import block, code, folded, table, text
from diag.result import EXIT_FAILED, EXIT_PASSED, RunReport, describe_change, describe_value
from diag.terminal import safe, to_ascii
from diag.text import counted
from diag.vocabulary import ERROR, SEVERITIES

if TYPE_CHECKING:
    from diag.dialects import Overrides
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

MAX_COMMENT: Final = 65_536
"""Characters that GitHub takes for the body of a comment; counted in bytes here, which are more."""

MAX_SUMMARY: Final = 1 << 20
"""Bytes that GitHub takes for a step's summary ("Step isolation and limits"); a longer one is not shown at all."""

ROOM: Final = 512
"""Bytes kept for the note that something was left out."""

SHOWN: Final = 20
"""Findings of one run shown where all of them would not fit."""

TABLE_SHARE: Final = 3
"""The table of runs may take one part in so many of the room."""


def render(report: Report | LintReport, layout: Layout) -> str:
    """The page; short enough for a comment, with ``--verbose`` short enough for a step's summary."""
    made = sheet(report, layout)
    limit = MAX_SUMMARY if layout.verbose else MAX_COMMENT
    page = _Page(limit - ROOM)
    subjects = sorted(made.subjects, key=_severity, reverse=True)
    page.add(f"## diag: {_outcome(made)}")
    rows = [_row(subject) for subject in subjects]
    kept = page.fitting(rows, limit // TABLE_SHARE)
    page.add("", *table(["config", "findings"] if made.command == "lint" else ["run", "verdict", "likely cause", "findings"], rows[:kept]))
    page.add(*(f"- **{severity}** {code(path)} {text(message)}" for severity, path, message in made.problems))
    left_out = 0
    for subject in subjects:
        if subject.issues or subject.accepted or subject.skipped:
            left_out += not (page.add(*_subject(subject)) or page.add(*_subject(subject, shown=SHOWN)))
    if left_out or kept < len(rows):
        how = "" if layout.verbose else "; with --verbose it may be as long as a step summary"
        page.force(
            "", f"*This page is as long as GitHub takes it: {max(left_out, len(rows) - kept):,} of {len(rows):,} are left out{how}.*"
        )
    return page.text() if layout.unicode else to_ascii(page.text())


class _Page:
    """Lines up to a number of bytes."""

    def __init__(self, room: int) -> None:
        self._lines: list[str] = []
        self._room = room

    def add(self, *lines: str) -> bool:
        """Add lines, all of them or none; whether they fitted."""
        size = sum(len(line.encode()) + 1 for line in lines)
        if size > self._room:
            return False
        self.force(*lines)
        self._room -= size
        return True

    def force(self, *lines: str) -> None:
        """Add lines for which room was kept."""
        self._lines += lines

    @staticmethod
    def fitting(rows: list[list[str]], room: int) -> int:
        """How many rows of a table fit into so many bytes."""
        for count, row in enumerate(rows):
            room -= sum(len(cell.encode()) + 3 for cell in row) + 2
            if room < 0:
                return count
        return len(rows)

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines) + "\n"


def _severity(subject: Subject) -> int:
    return max((SEVERITIES.index(issue.severity) for issue in subject.issues), default=-1)


def _outcome(made: Sheet) -> str:
    if made.exit_code == EXIT_FAILED:
        return "failed"
    if made.exit_code == EXIT_PASSED:
        return "passed"
    return "could not judge everything"


def _row(subject: Subject) -> list[str]:
    """A run or config in one line."""
    source = subject.source
    severities = [issue.severity for issue in subject.issues]
    counts = [counted(severities.count(name), name) for name in reversed(SEVERITIES) if name in severities]
    cells = [code(subject.id, in_table=True), ", ".join(counts) or "none"]
    if isinstance(source, RunReport):
        causes = source.diagnosis.causes
        cells[1:1] = [f"**{subject.verdict}** {subject.confidence:.0%}", text(causes[0].cause if causes else "")]
    return cells


def _subject(subject: Subject, shown: int | None = None) -> list[str]:
    """A section: findings, changes, and behind a click what they rest on."""
    source = subject.source
    title = f"### {code(subject.id)}"
    lines = ["", f"{title}: {subject.verdict}, {subject.confidence:.0%} confident" if subject.verdict else title]
    issues = subject.issues[:shown]
    rows = [[f"**{i.severity}**" if i.severity == ERROR else i.severity, i.code, text(i.message), _where(i)] for i in issues]
    lines += ["", *table(["", "code", "finding", "where"], rows)]
    if more := len(subject.issues) - len(issues):
        lines += ["", f"and {more:,} more"]
    lines += _changes(subject) if not isinstance(source, RunReport) else _prescription(source)
    if shown is None:
        for summary, details in (*(_reasons(source) if isinstance(source, RunReport) else ()), *_folded(subject)):
            lines += ["", *folded(summary, details)] if details else []
    return lines


def _where(issue: Issue) -> str:
    place = code(f"{issue.place.shown}:{issue.place.line}", in_table=True)
    return f"{place} {issue.steps}".strip()


def _changes(subject: Subject) -> list[str]:
    """What settles the findings of a config."""
    lines = [f"- {issue.code}: {code(fix)}" for issue in subject.issues for fix in issue.fixes]
    return ["", "**Change**", "", *lines] if lines else []


def _prescription(entry: RunReport) -> list[str]:
    """The first prescription of a run, and how to write it."""
    first = [fix for fix in entry.fixes if fix.rank == 1]
    if not first:
        return []
    lines = ["", "**Change in the next run**", ""]
    for fix in first:
        words = safe(fix.reason)
        change = code(safe(describe_change(fix))) if fix.new is not None or fix.factor is not None else ""
        lines.append(f"- {change}{': ' if change else ''}{text(words)}")
    return lines + (_override(entry.overrides) if entry.overrides is not None else [])


def _override(overrides: Overrides) -> list[str]:
    import shlex

    lines: list[str] = []
    if overrides.config:
        lines += ["", *block("yaml", [safe(line) for line in overrides.to_yaml().splitlines()])]
    if overrides.arguments:
        lines += ["", *block("sh", [safe(" ".join(map(shlex.quote, overrides.arguments)))])]
    if overrides.code:
        lines += ["", *block("python", [safe(line) for line in overrides.code.splitlines()])]
    return lines


def _reasons(entry: RunReport) -> Iterable[tuple[str, list[str]]]:
    """How a run stands to what is required of it, its causes, and the checkpoint to keep."""
    required = [
        [
            code(safe(o.requirement), in_table=True),
            "not logged" if o.value is None else f"{o.value:.4g}",
            "met" if o.is_met else "**not met**",
        ]
        for o in entry.requirements
    ]
    yield "Requirements", table(["requirement", "value", ""], required)
    causes = [[text(cause.cause), f"{cause.score:.0%}", text(" ".join(cause.because))] for cause in entry.diagnosis.causes]
    yield "Likely causes", [*table(["cause", "score", "because"], causes), *(f"\n{text(safe(q))}" for q in entry.diagnosis.questions)]
    best = entry.best_checkpoint
    if best is not None:
        words = code(safe(best.path)) if best.path else "no checkpoint of that step was found"
        yield "Checkpoint to keep", [f"Step {best.step:,}: {words}"]


def _folded(subject: Subject) -> Iterable[tuple[str, list[str]]]:
    """What the findings of a run or config rest on, what was accepted, and what could not be judged."""
    yield "Evidence", [f"- {issue.code} {code(_evidence(issue.evidence))}" for issue in subject.issues if issue.evidence]
    accepted = [f"- {i.code} {text(i.message)} ({text(i.reason or 'no reason was given')}, {text(i.by)})" for i in subject.accepted]
    yield counted(len(accepted), "accepted finding"), accepted
    reasons: dict[str, list[str]] = {}
    for check, reason in subject.skipped:
        reasons.setdefault(reason, []).append(check)
    skipped = [f"- {' '.join(checks)}: {text(reason)}" for reason, checks in reasons.items()]
    yield f"{counted(len(subject.skipped), 'check')} could not judge this run", skipped


def _evidence(evidence: dict[str, Any]) -> str:
    return ", ".join(f"{name} {describe_value(value)}" for name, value in evidence.items())
