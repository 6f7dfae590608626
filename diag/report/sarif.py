"""SARIF 2.1.0 (OASIS), in the subset that code scanning shows.

One run of the tool, with every check that judged something as a rule and every finding as a result; what could not be read, or crashed, is
a notification. Accepted findings stay in, suppressed. Fixes are exact replacements, which only configs have. What GitHub asks for beyond
the standard (both ends of a region, a fingerprint under its name, its limits) is in GitHub, "SARIF support for code scanning".
"""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from diag import __version__
from diag.report.issues import Issue, Sheet, Subject, sheet
from diag.report.places import CONFIG, GATE, LOG, RUN, Place
from diag.report.rules import FAMILIES, address, pages, plain_text, section, site
from diag.report.sarif_fixes import replacements
from diag.result import EXIT_FAILED, EXIT_NOTHING_JUDGED, EXIT_PASSED
from diag.vocabulary import ERROR, INFO, SEVERITIES, WARNING

if TYPE_CHECKING:
    from diag.linting import LintReport
    from diag.report import Layout
    from diag.result import Report

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""The standard's own schema, to which every report is held in the tests."""

MAX_RESULTS: Final = 5000
"""Results that GitHub keeps of a run; of more it would choose by itself (GitHub, "SARIF results exceed one or more limits")."""

MAX_DESCRIPTION: Final = 1024
"""Characters that GitHub shows of a rule's descriptions."""

ROOT: Final = "%SRCROOT%"
"""What paths in the repository are relative to."""

LEVELS: Final = {ERROR: "error", WARNING: "warning", INFO: "note"}
PROBLEM_SEVERITY: Final = {ERROR: "error", WARNING: "warning", INFO: "recommendation"}
"""The same in the words of ``problem.severity``, by which GitHub sorts."""

PRECISION: Final = "high"
"""How often a result is right, in GitHub's words; see the false alarms in ``docs/calibration.md``."""

PLACES: Final = {CONFIG: "The setting to change", LOG: "Where the log shows it", GATE: "Where the gate is declared", RUN: "The run"}
"""What the other places of a finding are."""


def render(report: Report | LintReport, layout: Layout) -> str:
    """Strict JSON in ASCII, the same bytes for the same input."""
    return dumps(_log(sheet(report, layout)), indent=2, allow_nan=False) + "\n"


def _log(made: Sheet) -> dict[str, Any]:
    results = [(issue, subject) for subject in made.subjects for issue in (*subject.issues, *subject.accepted)]
    # a stable sort: of those that are cut off, the mildest come last in the report's order
    kept = sorted(results, key=lambda entry: (entry[0].is_accepted, -SEVERITIES.index(entry[0].severity)))[:MAX_RESULTS]
    codes = {code for subject in made.subjects for code in subject.examined} | {issue.code for issue, _ in results}
    rules = {code: index for index, code in enumerate(sorted(codes))}
    examples = {issue.code: issue for issue, _ in reversed(results)}
    documentation = site()
    driver = {"name": "diag", "version": __version__, "semanticVersion": __version__}
    if documentation:
        driver["informationUri"] = documentation
    run = {
        "tool": {"driver": {**driver, "rules": [_rule(code, examples.get(code), documentation) for code in rules]}},
        "automationDetails": {"id": f"diag/{made.command}/"},
        "invocations": [_invocation(made, len(results) - len(kept))],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {
            ROOT: {"description": {"text": "The root of the repository, or the working directory where there is none."}}
        },
        "results": [_result(issue, subject, rules) for issue, subject in kept],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _invocation(made: Sheet, dropped: int) -> dict[str, Any]:
    notes = [
        {"level": "error" if severity == ERROR else "warning", "message": {"text": f"{path}: {message}"}}
        for severity, path, message in made.problems
    ]
    if dropped:
        text = f"{dropped} of the mildest findings are left out, as code scanning keeps {MAX_RESULTS:,} of an upload."
        notes.append({"level": "warning", "message": {"text": text}})
    return {
        "executionSuccessful": made.exit_code in (EXIT_PASSED, EXIT_FAILED, EXIT_NOTHING_JUDGED),
        "exitCode": made.exit_code,
        "toolExecutionNotifications": notes,
    }


# --- rules -------------------------------------------------------------------------------------------------------


def _rule(code: str, example: Issue | None, documentation: str) -> dict[str, Any]:
    """The descriptor of a rule, from its page; from a finding of it where it has none, as those of plug-ins may."""
    page = pages().get(code)
    name = page.name if page is not None else example.name if example is not None else code
    severity = page.severity if page is not None else example.severity if example is not None else WARNING
    text = page.page() if page is not None else name
    summary = plain_text(text.split("\n", 1)[0])
    what = " ".join(plain_text(section(text, "What it does")).split()) or summary
    rule: dict[str, Any] = {
        "id": code,
        "name": name,
        "shortDescription": {"text": _cut(summary)},
        "fullDescription": {"text": _cut(what)},
        "help": {"text": plain_text(text), "markdown": f"# {code} {name}\n\n{text}"},
        "defaultConfiguration": {"level": LEVELS[severity]},
        "properties": {
            "tags": ["machine-learning", FAMILIES.get(code[:3], "plug-in")],
            "precision": PRECISION,
            "problem.severity": PROBLEM_SEVERITY[severity],
        },
    }
    if documentation and page is not None:
        rule["helpUri"] = address(code, documentation)
    return rule


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "…"


# --- results -----------------------------------------------------------------------------------------------------


def _result(issue: Issue, subject: Subject, rules: dict[str, int]) -> dict[str, Any]:
    first, *others = issue.places
    properties: dict[str, Any] = {
        "subject": issue.subject,
        "metric": issue.metric,
        "stepStart": issue.step_start,
        "stepEnd": issue.step_end,
    }
    properties |= {"causes": list(issue.causes), "evidence": issue.evidence, "guideRows": list(issue.rules)}
    result: dict[str, Any] = {
        "ruleId": issue.code,
        "ruleIndex": rules[issue.code],
        "level": LEVELS[issue.severity],
        "message": {"text": _message(" ".join(part for part in (issue.message, issue.advice) if part))},
        "locations": [{"physicalLocation": _physical(first), "logicalLocations": [_logical(issue, subject)]}],
        "partialFingerprints": {"primaryLocationLineHash": f"{issue.fingerprint}:1", "diag/v1": issue.fingerprint},
        "suppressions": _suppressions(issue, subject),
        "properties": {key: value for key, value in properties.items() if value not in (None, "", [], {})},
    }
    if others:
        result["relatedLocations"] = [
            {"id": number, "message": {"text": PLACES[place.kind]}, "physicalLocation": _physical(place)}
            for number, place in enumerate(others, start=1)
        ]
    config = next((place for place in issue.places if place.kind == CONFIG and place.file), None)
    if config is not None and (changes := replacements(issue, subject)):
        change = {"artifactLocation": _artifact(config), "replacements": changes}
        result["fixes"] = [{"description": {"text": _message(issue.advice)}, "artifactChanges": [change]}]
    return result


def _message(text: str) -> str:
    """Text in which nothing is taken for a link (SARIF 2.1.0, 3.11.6, "Messages with embedded links")."""
    return text.replace("[", "\\[").replace("]", "\\]") if "](" in text else text


def _physical(place: Place) -> dict[str, Any]:
    region = {"startLine": place.line, "startColumn": place.column, "endLine": place.line, "endColumn": place.end_column}
    return {"artifactLocation": _artifact(place), "region": region}


def _artifact(place: Place) -> dict[str, Any]:
    """A file of the repository by its path there, another by its address on this machine, a run without a file by its name."""
    if place.inside:
        return {"uri": quote(place.path.encode("utf-8", "surrogateescape"), safe="/"), "uriBaseId": ROOT}
    if place.file:
        return {"uri": Path(place.file).as_uri()}
    return {"uri": quote(place.path.lstrip("/").encode("utf-8", "surrogateescape"), safe="/"), "uriBaseId": ROOT}


def _logical(issue: Issue, subject: Subject) -> dict[str, Any]:
    """The real place: run or config, metric or key, and steps."""
    parts = [part for part in (issue.subject, issue.metric, issue.steps) if part]
    whole, part = ("run", "metric") if subject.verdict else ("config", "key")
    return {"name": issue.metric or issue.subject, "fullyQualifiedName": "::".join(parts), "kind": part if issue.metric else whole}


def _suppressions(issue: Issue, subject: Subject) -> list[dict[str, Any]]:
    """Why an accepted finding does not count; an empty list says of the others that they do."""
    if not issue.is_accepted:
        return []
    document = getattr(getattr(subject.source, "plan", None), "document", None)
    inline = document is not None and any(entry.line in (0, issue.place.line) for entry in document.ignores)
    reason = issue.reason or "no reason was given"
    return [{"kind": "inSource" if inline else "external", "status": "accepted", "justification": f"{reason} ({issue.by})"}]
