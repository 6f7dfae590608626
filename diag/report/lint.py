"""The report of ``diag lint``: for people, with a place to click on, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from json import dumps
from typing import TYPE_CHECKING, Final

from diag.choices import choose
from diag.dialects.draft import yaml_scalar
from diag.dialects.interpret import framework
from diag.fixes import DISPLAY, REMOVE, RENAME, REWRITE
from diag.report import LINE_FORMATS
from diag.report.text import SEVERITY_COLOURS
from diag.terminal import paint, safe, to_ascii, wrap
from diag.text import counted, show
from diag.vocabulary import SEVERITIES

if TYPE_CHECKING:
    from diag.fixes import Fix
    from diag.lint import Violation
    from diag.linting import ConfigReport, LintReport
    from diag.report import Layout

INDENT = "    "

Renderer = Callable[["LintReport", "Layout"], str | bytes]


def json(report: LintReport, layout: Layout) -> str:
    """Strict JSON in ASCII, the same bytes for the same input."""
    return dumps(report.to_dict(layout.fail_on), indent=2, allow_nan=False) + "\n"


def text(report: LintReport, layout: Layout) -> str:
    """One paragraph a violation, its place first: ``config.yaml:12:3: error CFG001 learning-rate-out-of-range``."""
    lines: list[str] = []
    for entry in report.configs:
        if entry.violations or layout.verbose:
            lines += [*_config(entry, layout), ""]
    if report.configs:
        lines += list(_closing(report))
    result = "\n".join(lines) + "\n" if lines else ""
    return result if layout.unicode else to_ascii(result)


def _config(entry: ConfigReport, layout: Layout) -> Iterator[str]:
    plan = entry.plan
    if layout.verbose:
        yield _painted(f"{safe(plan.document.path)}: {_summary(entry)}", layout, "bold")
        for problem in plan.document.problems:
            yield f"{INDENT}note: {safe(problem)}"
    for violation in entry.violations:
        yield from _violation(violation, plan.document.path, layout)
    for violation, reason in entry.silenced if layout.verbose else ():
        yield f"{safe(plan.document.path)}:{violation.line}: silenced {violation.code}" + (f" ({safe(reason)})" if reason else "")


def _summary(entry: ConfigReport) -> str:
    """What the config amounts to, in one line."""
    plan = entry.plan
    facts = [framework(plan.dialect)]
    if plan.document.entry:
        facts.append(safe(plan.document.entry))
    if plan.method:
        facts.append(plan.method)
    if plan.total_steps:
        facts.append(counted(plan.total_steps, "step"))
    if plan.global_batch:
        facts.append(f"{counted(plan.global_batch, 'sample')} a step" + ("" if plan.is_batch_certain else " and process"))
    return f"{', '.join(facts)}; profile {plan.profile}"


def _violation(violation: Violation, path: str, layout: Layout) -> Iterator[str]:
    place = f"{safe(path)}:{violation.line}:{violation.column}:"
    severity = _painted(violation.severity, layout, SEVERITY_COLOURS[violation.severity])
    yield f"{_painted(place, layout, 'bold')} {severity} {violation.code} {violation.name}"
    yield from _paragraph(violation.message, layout)
    for fix in violation.fixes:
        yield from _paragraph(change(fix), layout, "→ " if layout.unicode else "-> ")
    if layout.verbose and violation.rules:
        yield from _paragraph(f"guide rows: {', '.join(violation.rules)}", layout)


def change(fix: Fix) -> str:
    """A change in one phrase, with how sure it is: ``learning_rate: 0.001 → 1e-5 (unsafe)``."""
    if fix.applicability == DISPLAY or (fix.new is None and fix.action not in (REMOVE, RENAME)):
        return fix.reason
    if fix.action == REMOVE:
        return f"remove {fix.key} ({fix.applicability})"
    if fix.action == RENAME:
        return f"rename {fix.key} to {fix.new} ({fix.applicability})"
    before = "" if fix.old is None else f"{show(fix.old)} → "
    after = yaml_scalar(fix.new) if fix.action == REWRITE else show(fix.new)
    return f"{fix.key or fix.parameter}: {before}{after} ({fix.applicability})"


def _paragraph(words: str, layout: Layout, first: str = "") -> Iterator[str]:
    for number, line in enumerate(wrap(safe(words), max(layout.width - len(INDENT) - len(first), 20))):
        yield f"{INDENT}{first if not number else ' ' * len(first)}{line}"


def _painted(words: str, layout: Layout, style: str) -> str:
    return paint(words, style) if layout.colour else words


def _closing(report: LintReport) -> Iterator[str]:
    severities = [violation.severity for entry in report.configs for violation in entry.violations]
    counts = [counted(severities.count(name), name) for name in reversed(SEVERITIES) if name in severities]
    silenced = sum(len(entry.silenced) for entry in report.configs)
    if silenced:
        counts.append(f"{silenced} silenced")
    yield f"{counted(len(report.configs), 'config')}: {', '.join(counts) or 'nothing found'}"
    if any(fix.applicability != DISPLAY for entry in report.configs for violation in entry.violations for fix in violation.fixes):
        yield "`diag fix CONFIG` writes the changes; `diag explain CODE` tells more of a rule"


def _shared(name: str) -> Renderer:
    """A format that takes both kinds of report, imported when it is used."""

    def render(report: LintReport, layout: Layout) -> str | bytes:
        from diag.report import renderer

        return renderer(name)(report, layout)

    return render


FORMATS: Final[dict[str, Renderer]] = {"text": text, "json": json, **{name: _shared(name) for name in LINE_FORMATS}}
"""Report formats of configs, by name."""


def renderer(name: str) -> Renderer:
    """The render function of a format.

    Raises:
        UsageError: there is no such format.
    """
    return FORMATS[choose("the report format", name, list(FORMATS))]
