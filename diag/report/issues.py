"""One flat view of a report on runs or on configs, from which every line-based format is rendered.

All that came from a log or a config is made harmless here, once: one line, with control, format and unassigned characters shown as escapes
(``diag.terminal.safe``). What is left for a format is its own syntax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from diag.fixes import DISPLAY
from diag.report import places
from diag.report.fingerprints import Fingerprints, run_key
from diag.report.places import Base, Place, RunPlaces
from diag.report.wording import steps
from diag.result import EXIT_FAILED, describe_change, plain, supported
from diag.terminal import safe
from diag.vocabulary import ERROR, SEVERITIES, WARNING

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.fixes import Fix
    from diag.lint import Violation
    from diag.linting import ConfigReport, LintReport
    from diag.report import Layout
    from diag.result import Problem, Report, RunReport


@dataclass(frozen=True, slots=True)
class Issue:
    """A finding of a run, or of a config, as a line of a report.

    Attributes:
        code, name, severity, message: of the finding.
        subject: id of the run, or path of the config.
        places: where it stands, the best place first; never empty.
        metric: the metric, or the native key, that it is about; "" for none.
        step_start, step_end: the steps it covers, None where it has none.
        fingerprint: 16 hex digits, the same from run to run and distinct within a report: made from the code, the path of the run or
            config, and what it is about, with a number where that repeats; never from what was measured.
        causes: what it speaks for, strongest first.
        fixes: what to change, a phrase each.
        rules: ids of the guide rows it rests on.
        evidence: the numbers behind it, as strict JSON.
        source: the finding itself.
        is_accepted: the user accepted it: it does not count.
        reason, by: why that is fine, in the user's words, and where it says so.
    """

    code: str
    name: str
    severity: str
    message: str
    subject: str
    places: tuple[Place, ...]
    metric: str
    step_start: int | None
    step_end: int | None
    fingerprint: str
    causes: tuple[str, ...]
    fixes: tuple[str, ...]
    rules: tuple[str, ...]
    evidence: Any
    source: Finding | Violation
    is_accepted: bool = False
    reason: str = ""
    by: str = ""

    @property
    def place(self) -> Place:
        """The best place."""
        return self.places[0]

    @property
    def steps(self) -> str:
        """``step 3``, ``steps 3-480``, or ""."""
        return steps(self, "-")

    @property
    def advice(self) -> str:
        """What to change, in one sentence; "" where there is nothing."""
        return f"Change: {'; '.join(self.fixes)}." if self.fixes else ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A run or a config, and what was found.

    Attributes:
        id: the run's id, or the config's path (with its line where a file holds several).
        path: what was read, as the user named it.
        home: its file.
        verdict, confidence: of a run; "" and None for a config.
        facts: what else there is to know, name to value.
        issues: those that count, in the report's order.
        accepted: those that the user accepted.
        examined, skipped: codes of the checks that judged it, requirements as their code; code and reason of those that could not.
        source: the report it was made from.
    """

    id: str
    path: str
    home: Place
    verdict: str
    confidence: float | None
    facts: Mapping[str, str]
    issues: tuple[Issue, ...]
    accepted: tuple[Issue, ...]
    examined: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    source: RunReport | ConfigReport


@dataclass(frozen=True, slots=True)
class Sheet:
    """A whole report, flat.

    Attributes:
        command: ``analyze`` or ``lint``.
        subjects: in the report's order.
        problems: what could not be read or judged: severity (``error`` or ``warning``), path and message.
        exit_code: what the command exits with under the layout's gate.
        base: what paths are told from.
    """

    command: str
    subjects: tuple[Subject, ...]
    problems: tuple[tuple[str, str, str], ...]
    exit_code: int
    base: Base = field(default_factory=Base)

    @property
    def failed(self) -> bool:
        """Whether a finding fails the gate."""
        return self.exit_code == EXIT_FAILED

    @property
    def issues(self) -> list[Issue]:
        """Every issue that counts, in the report's order."""
        return [issue for subject in self.subjects for issue in subject.issues]

    def worst_first(self) -> list[Issue]:
        """Every issue that counts, the most severe first, otherwise in the report's order."""
        return sorted(self.issues, key=lambda issue: -SEVERITIES.index(issue.severity))


def sheet(report: Report | LintReport, layout: Layout, *, with_lines: bool = True) -> Sheet:
    """The flat view of a report.

    Args:
        report: of runs or of configs.
        layout: the gate, and the file that declares it.
        with_lines: whether places need lines, for which logs are read again.
    """
    from diag.linting import LintReport

    base = Base()
    name = Fingerprints()
    if isinstance(report, LintReport):
        several = [entry.plan.document.path for entry in report.configs]
        subjects = tuple(_config(entry, several, base, layout.declared_in, name) for entry in report.configs)
        unrecognized = ((ERROR, safe(path), "is not recognized as a training config") for path in report.unrecognized)
        problems = (*map(_problem, report.problems), *unrecognized)
        return Sheet("lint", subjects, problems, report.exit_code(layout.fail_on), base)
    subjects = tuple(_run(RunPlaces(entry, base, layout.declared_in, with_lines=with_lines), entry, base, name) for entry in report.runs)
    return Sheet("analyze", subjects, tuple(map(_problem, report.problems)), report.exit_code(layout.fail_on), base)


def _problem(problem: Problem) -> tuple[str, str, str]:
    severity = ERROR if problem.kind == "crash" or problem.named else WARNING
    return severity, safe(problem.path), safe(problem.message.removeprefix(f"{problem.path}: "))


# --- runs --------------------------------------------------------------------------------------------------------


def _run(where: RunPlaces, entry: RunReport, base: Base, name: Fingerprints) -> Subject:
    run = entry.run
    key = run_key(run, base)
    facts = {"adapter": run.adapter, "path": run.path, "steps": str(run.steps), "dialect": run.dialect}

    def made(findings: Iterable[Finding]) -> Iterator[Issue]:
        for finding in findings:
            about = name(finding.code, key, finding.metric)
            changes = [fix for fix in entry.fixes if fix.rank == 1 and fix.because == finding.code]
            yield _issue(finding, run.id, where.of(finding), finding.metric, about, map(_change, changes), supported(finding))

    issues = tuple(made(entry.findings))
    accepted = tuple(
        replace(issue, is_accepted=True, reason=safe(known.reason), by=safe(known.by))
        for known, issue in zip(entry.accepted, made(known.finding for known in entry.accepted), strict=True)
    )
    return Subject(
        safe(run.id),
        safe(run.path),
        where.home,
        entry.diagnosis.verdict,
        float(entry.diagnosis.confidence),
        {label: safe(value) for label, value in facts.items()},
        issues,
        accepted,
        tuple(sorted({*entry.examined, *(["GAT001"] if entry.requirements else [])})),
        tuple((code, safe(reason)) for code, reason in entry.skipped),
        entry,
    )


def _change(fix: Fix) -> str:
    return fix.reason.rstrip(".") if fix.applicability == DISPLAY or (fix.new is None and fix.factor is None) else describe_change(fix)


# --- configs -----------------------------------------------------------------------------------------------------


def _config(entry: ConfigReport, paths: list[str], base: Base, declared_in: str, name: Fingerprints) -> Subject:
    from diag.report.lint import change

    plan, document = entry.plan, entry.plan.document
    alone = paths.count(document.path) == 1
    own = safe(document.path if alone else f"{document.path}:{document.line}")
    home = base.place(places.CONFIG, entry.file, entry.file.name, document.line) if entry.file.is_file() else None
    home = home or Place(places.CONFIG, document.path, line=document.line)
    key = home.path if alone else f"{home.path}#{document.entry}"

    def made(violations: Iterable[Violation]) -> Iterator[Issue]:
        for violation in violations:
            where = places.of_violation(violation, entry, base, declared_in)
            about = name(violation.code, key, violation.key)
            yield _issue(violation, own, where, violation.key, about, map(change, violation.fixes))

    facts = {"dialect": plan.dialect, "profile": plan.profile, "method": plan.method or "", "entry": document.entry}
    issues = tuple(made(entry.violations))
    accepted = tuple(
        replace(issue, is_accepted=True, reason=safe(reason), by=own)
        for (_, reason), issue in zip(entry.silenced, made(violation for violation, _ in entry.silenced), strict=True)
    )
    shown = {label: safe(value) for label, value in facts.items() if value}
    return Subject(own, safe(document.path), home, "", None, shown, issues, accepted, entry.examined, (), entry)


def _issue(
    found: Finding | Violation,
    subject: str,
    where: tuple[Place, ...],
    about: str,
    fingerprint: str,
    fixes: Iterable[str],
    causes: Iterable[str] = (),
) -> Issue:
    return Issue(
        code=found.code,
        name=safe(found.name),
        severity=found.severity,
        message=safe(found.message),
        subject=safe(subject),
        places=where,
        metric=safe(about),
        step_start=None if (start := getattr(found, "step_start", None)) is None else int(start),
        step_end=None if (end := getattr(found, "step_end", None)) is None else int(end),
        fingerprint=fingerprint,
        causes=tuple(causes),
        fixes=tuple(safe(fix) for fix in fixes),
        rules=found.rules,
        evidence=_clean(plain(found.evidence)),
        source=found,
    )


def _clean(value: Any) -> Any:
    """Strict JSON whose texts are harmless."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return {safe(key): _clean(item) for key, item in value.items()} if isinstance(value, dict) else value
