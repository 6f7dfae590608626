"""JUnit XML: one suite a run or config, one case a check, for the test pages of Jenkins, GitLab, Azure and others.

A check that found something at or above the gate has failed; one whose findings are milder has passed and says so in its output; one that
could not judge is skipped with its reason. What could not be read, or crashed, is an error in a suite of its own. The elements are those of
the schema of Jenkins' xUnit plugin. There are no times in it: the same input gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from diag.report.issues import Issue, Sheet, Subject, sheet
from diag.report.rules import pages
from diag.result import NEVER
from diag.vocabulary import ERROR, SEVERITIES

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

DECLARATION: Final = "<?xml version='1.0' encoding='utf-8'?>\n"
PROBLEMS: Final = "diag: problems"
"""Name of the suite of what could not be judged."""


def render(report: Report | LintReport, layout: Layout) -> str:
    """The whole document."""
    made = sheet(report, layout)
    root = Element("testsuites", name="diag")
    for subject in made.subjects:
        _suite(root, subject, layout.fail_on)
    _problems(root, made)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    indent(root)
    text = (
        tostring(root, encoding="unicode") if layout.unicode else tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    )
    return f"{DECLARATION}{text}\n"


def fails(severity: str, fail_on: str) -> bool:
    """Whether a finding of this severity fails the gate."""
    return fail_on != NEVER and SEVERITIES.index(severity) >= SEVERITIES.index(fail_on)


def _suite(root: Element, subject: Subject, fail_on: str) -> None:
    issues: dict[str, list[Issue]] = {}
    for issue in (*subject.issues, *subject.accepted):
        issues.setdefault(issue.code, []).append(issue)
    skipped = dict(subject.skipped)
    suite = SubElement(root, "testsuite", name=subject.id)
    facts = {**subject.facts, **({"verdict": subject.verdict, "confidence": f"{subject.confidence:.4g}"} if subject.verdict else {})}
    properties = SubElement(suite, "properties")
    for name, value in sorted(facts.items()):
        SubElement(properties, "property", name=name, value=value)
    failures = 0
    for code in sorted({*subject.examined, *skipped, *issues}):
        found = issues.get(code, [])
        name = found[0].name if found else _name(code)
        case = SubElement(suite, "testcase", classname=subject.id, name=f"{code} {name}".strip())
        failing = [issue for issue in found if not issue.is_accepted and fails(issue.severity, fail_on)]
        if failing:
            failures += 1
            more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
            failure = SubElement(case, "failure", type=failing[0].severity, message=failing[0].message + more)
            failure.text = "\n".join(_lines(failing))
        elif code in skipped and not found:
            SubElement(case, "skipped", message=skipped[code])
        if milder := [issue for issue in found if issue not in failing]:
            SubElement(case, "system-out").text = "\n".join(_lines(milder))
    cases = suite.findall("testcase")
    counts = {"tests": len(cases), "failures": failures, "errors": 0, "skipped": sum(case.find("skipped") is not None for case in cases)}
    _count(suite, counts)


def _count(suite: Element, counts: dict[str, int]) -> None:
    for key, count in counts.items():
        suite.set(key, str(count))


def _name(code: str) -> str:
    return pages()[code].name if code in pages() else ""


def _lines(issues: list[Issue]) -> list[str]:
    """Findings as text, a paragraph each."""
    lines: list[str] = []
    for issue in issues:
        place = issue.place
        lines += [f"{place.shown}:{place.line}: {issue.severity} {issue.code} {issue.name}", f"  {issue.message}"]
        lines += [f"  {text}" for text in (issue.steps, issue.advice) if text]
        if issue.is_accepted:
            lines.append(f"  accepted in {issue.by}: {issue.reason}")
    return lines


def _problems(root: Element, made: Sheet) -> None:
    """What was named and could not be read, or crashed, as errors; what was passed over in a folder as skipped: the gate passes it too."""
    if not made.problems:
        return
    errors = sum(severity == ERROR for severity, _, _ in made.problems)
    counts = {"tests": len(made.problems), "failures": 0, "errors": errors, "skipped": len(made.problems) - errors}
    suite = SubElement(root, "testsuite", name=PROBLEMS)
    _count(suite, counts)
    for severity, path, message in made.problems:
        case = SubElement(suite, "testcase", classname=PROBLEMS, name=path)
        SubElement(case, "error" if severity == ERROR else "skipped", message=message)
