"""What an analysis found: the objects that reports are rendered from, and their JSON form (schema version 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from json import dumps
from typing import TYPE_CHECKING, Any

from diag import __version__
from diag.errors import UsageError
from diag.vocabulary import ERROR, HYPERPARAMETERS, INCONCLUSIVE, SEVERITIES, VERDICTS

if TYPE_CHECKING:
    import pandas as pd

    from diag.check import Finding
    from diag.comparison import Comparison
    from diag.diagnosis import Diagnosis
    from diag.dialects import Overrides
    from diag.fixes import Fix
    from diag.gate.requirements import Outcome
    from diag.replayed import Replayed
    from diag.run import Checkpoint, Run

SCHEMA_VERSION = 1
NEVER = "never"
FAIL_ON = (*reversed(SEVERITIES), NEVER)
"""What the gate can be set to: the mildest severity that fails it, or ``never``."""

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_NOTHING_JUDGED = 3
EXIT_CRASHED = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that kept a run, or a check of a run, from being judged.

    Attributes:
        kind: ``input`` (cannot be read) or ``crash`` (a bug in an adapter or a check).
        path: the run or file concerned.
        message: one line.
        named: the user named this path; False for a file that was come across in a folder.
        absent: nothing is wrong with the input, but it does not exist, is a Git LFS pointer, or holds no training log.
    """

    kind: str
    path: str
    message: str
    named: bool = True
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A finding that the user accepted: shown and counted, but it never fails the gate.

    Attributes:
        finding: what was found.
        reason: why that is fine, in the user's words.
        by: where it is accepted: a baseline, a ``.diagignore`` or a configuration, with its line where it has one.
    """

    finding: Finding
    reason: str
    by: str


@dataclass(frozen=True)
class RunReport:
    """One run and everything that was concluded about it.

    Attributes:
        run: the run in the common frame.
        findings: most severe first, then by code, steps, metric and message.
        skipped: code of every check that could not judge this run, and the reason.
        diagnosis: verdict, confidence and ranked causes.
        best_checkpoint: the checkpoint to keep, None where the log cannot tell.
        fixes: what to change, in order; those of rank 1 together make the first prescription.
        overrides: the rank-1 fixes in the words of the run's framework.
        replayed: the result of a replay that the causes were ranked by, None if there was none.
        examined: code of every check that judged this run: neither left out nor skipped nor crashed; sorted.
        accepted: findings that the user accepted; they are not among ``findings``.
        requirements: how the run stands to what the user requires of its metrics.
        comparisons: what it was compared with, by ``diag gate``.
    """

    run: Run
    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...]
    diagnosis: Diagnosis
    best_checkpoint: Checkpoint | None
    fixes: tuple[Fix, ...]
    overrides: Overrides | None
    replayed: Replayed | None = None
    examined: tuple[str, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    requirements: tuple[Outcome, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether anything could be said of the run: a verdict other than INCONCLUSIVE, a requirement, or a comparison."""
        compared = any(comparison.judged for comparison in self.comparisons)
        return self.diagnosis.verdict != INCONCLUSIVE or bool(self.requirements) or compared

    def to_dict(self) -> dict[str, Any]:
        """The run's object in the JSON report."""
        run, diagnosis = self.run, self.diagnosis
        order = {name: i for i, name in enumerate(HYPERPARAMETERS)}
        known = sorted(run.hyperparameters.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
        checkpoint, overrides = self.best_checkpoint, self.overrides
        return {
            "id": run.id,
            "path": run.path,
            "adapter": run.adapter,
            "dialect": run.dialect,
            "steps": run.steps,
            "verdict": diagnosis.verdict,
            "confidence": plain(diagnosis.confidence),
            "causes": [{"cause": c.cause, "score": plain(c.score), "because": list(c.because)} for c in diagnosis.causes],
            "questions": list(diagnosis.questions),
            "findings": [finding_to_dict(finding) for finding in self.findings],
            "accepted": [{"finding": finding_to_dict(a.finding), "reason": a.reason, "by": a.by} for a in self.accepted],
            "examined": list(self.examined),
            "requirements": [
                {"requirement": r.requirement, "metric": r.metric, "value": plain(r.value), "step": r.step, "met": r.is_met}
                for r in self.requirements
            ],
            "comparisons": [plain(asdict(comparison)) for comparison in self.comparisons],
            "skipped": [{"code": code, "reason": reason} for code, reason in self.skipped],
            "notes": list(run.notes),
            "best_checkpoint": None
            if checkpoint is None
            else {"step": int(checkpoint.step), "path": checkpoint.path, "exists": bool(checkpoint.exists)},
            "hyperparameters": {name: {"value": plain(entry.value), "source": entry.source} for name, entry in known},
            "fixes": [fix_to_dict(fix) for fix in self.fixes],
            "replayed": None if self.replayed is None else {"result": self.replayed.result, "reason": self.replayed.reason},
            "overrides": None if overrides is None else plain(overrides.to_json()),
        }


@dataclass(frozen=True)
class Report:
    """The result of ``diag.analyze``.

    Attributes:
        runs: one entry a run, by path and id.
        problems: what could not be read or crashed, by path and message.
    """

    runs: tuple[RunReport, ...]
    problems: tuple[Problem, ...] = ()

    @cached_property
    def by_verdict(self) -> dict[str, int]:
        """How many runs got each verdict, in the order of the vocabulary, without zeros."""
        verdicts = [entry.diagnosis.verdict for entry in self.runs]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}

    @property
    def judged(self) -> bool:
        """Whether something could be said of a run; see ``RunReport.judged``."""
        return any(entry.judged for entry in self.runs)

    def failed(self, fail_on: str = ERROR) -> bool:
        """Whether some finding is at least as severe as ``fail_on`` (``error``, ``warning``, ``info`` or ``never``).

        Raises:
            UsageError: ``fail_on`` is none of these.
        """
        if fail_on == NEVER:
            return False
        if fail_on not in SEVERITIES:
            raise UsageError(f"fail_on is {fail_on!r}; it must be one of {', '.join(FAIL_ON)}")
        bar = SEVERITIES.index(fail_on)
        return any(SEVERITIES.index(finding.severity) >= bar for entry in self.runs for finding in entry.findings)

    def exit_code(self, fail_on: str = ERROR, *, allow_unjudged: bool = False) -> int:
        """The exit code of ``diag analyze``; a pure function of the report and the gate.

        1 a finding at or above ``fail_on``; 2 an input that the user named, or every input, was unreadable;
        3 nothing could be judged, and no requirement was met either; 4 something crashed where the answer would have been 0; 0 otherwise.

        Args:
            fail_on: the mildest severity that fails, or ``never``.
            allow_unjudged: what could not be judged is no failure: 0 instead of 3, and instead of 2 for paths where there is nothing to
                judge (``Problem.absent``). What is broken still fails.
        """
        crashed = any(problem.kind == "crash" for problem in self.problems)
        unreadable = [problem for problem in self.problems if problem.kind == "input" and not (allow_unjudged and problem.absent)]
        if self.failed(fail_on):
            return EXIT_FAILED
        if any(problem.named for problem in unreadable) or (unreadable and not self.runs):
            return EXIT_INPUT
        if not self.runs and crashed:
            return EXIT_CRASHED
        if not self.judged and not allow_unjudged:
            return EXIT_NOTHING_JUDGED
        return EXIT_CRASHED if crashed else EXIT_PASSED

    def to_dict(self, fail_on: str = ERROR) -> dict[str, Any]:
        """The JSON report as plain Python values; ``diag/report/schema.json`` describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "diag", "version": __version__},
            "runs": [entry.to_dict() for entry in self.runs],
            "problems": [{"kind": p.kind, "path": p.path, "message": p.message} for p in self.problems],
            "summary": {"runs": len(self.runs), "by_verdict": self.by_verdict, "failed": self.failed(fail_on)},
        }

    def to_json(self, fail_on: str = ERROR) -> str:
        """The JSON report: strict JSON in ASCII, the same bytes for the same input; ends with a newline."""
        return dumps(self.to_dict(fail_on), indent=2, allow_nan=False) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """One row a finding.

        Columns: run, path, verdict, confidence, code, name, severity, metric, step_start and step_end (Int64, missing
        where the finding has no range), causes (comma separated, strongest first), message, fingerprint.
        """
        import pandas as pd

        rows = [
            {
                "run": entry.run.id,
                "path": entry.run.path,
                "verdict": entry.diagnosis.verdict,
                "confidence": float(entry.diagnosis.confidence),
                "code": finding.code,
                "name": finding.name,
                "severity": finding.severity,
                "metric": finding.metric,
                "step_start": finding.step_start,
                "step_end": finding.step_end,
                "causes": ", ".join(supported(finding)),
                "message": finding.message,
                "fingerprint": finding.fingerprint,
            }
            for entry in self.runs
            for finding in entry.findings
        ]
        columns = "run path verdict confidence code name severity metric step_start step_end causes message fingerprint"
        frame = pd.DataFrame(rows, columns=columns.split())
        return frame.astype({"step_start": "Int64", "step_end": "Int64", "confidence": "float64"})

    def _repr_html_(self) -> str:
        """A table for notebooks: one row a run, its findings and first changes under it; all text is escaped."""
        from html import escape

        parts = ["<table><thead><tr><th>run</th><th>verdict</th><th>likely causes</th><th>findings</th><th>change</th></tr></thead><tbody>"]
        for entry in self.runs:
            diagnosis = entry.diagnosis
            cells = (
                escape(entry.run.id),
                f"<b>{escape(diagnosis.verdict)}</b> {diagnosis.confidence:.0%}",
                "<br>".join(f"{escape(c.cause)} {c.score:.2f}" for c in diagnosis.causes[:3]),
                "<br>".join(f"<code>{escape(f.code)}</code> {escape(f.message)}" for f in entry.findings),
                "<br>".join(f"<code>{escape(describe_change(fix))}</code>" for fix in entry.fixes if fix.rank == 1),
            )
            parts.append("<tr>" + "".join(f'<td style="text-align:left;vertical-align:top">{cell}</td>' for cell in cells) + "</tr>")
        parts.extend(f'<tr><td colspan="5">{escape(problem.path)}: {escape(problem.message)}</td></tr>' for problem in self.problems)
        return "".join(parts) + "</tbody></table>"


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings in their total order: most severe first, then code, steps, metric, message."""

    def key(finding: Finding) -> tuple[Any, ...]:
        start = -1 if finding.step_start is None else finding.step_start
        end = -1 if finding.step_end is None else finding.step_end
        return (-SEVERITIES.index(finding.severity), finding.code, start, end, finding.metric, finding.message)

    return tuple(sorted(findings, key=key))


def supported(finding: Finding) -> list[str]:
    """The causes a finding speaks for, strongest first."""
    return [cause for cause, weight in sorted(finding.causes.items(), key=lambda item: (-item[1], item[0])) if weight > 0]


def describe_value(value: Any) -> str:
    """A hyperparameter's value for people: short floats, lists joined by commas, "unknown" for None."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(describe_value(item) for item in value)
    return str(value)


def describe_change(fix: Fix) -> str:
    """A change in one phrase: ``num_epochs 3 → 1``, or ``learning_rate divide by 5`` where the value is unknown."""
    if fix.new is None and fix.factor is not None:
        factor = fix.factor
        return f"{fix.parameter} divide by {1 / factor:.4g}" if 0 < factor < 1 else f"{fix.parameter} multiply by {factor:.4g}"
    return f"{fix.parameter} {describe_value(fix.old)} → {describe_value(fix.new)}"


def plain(value: Any) -> Any:
    """A value as strict JSON can hold it: numpy scalars and arrays unwrapped, non-finite floats as strings."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """A finding as strict JSON."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "causes": supported(finding),
        "message": finding.message,
        "metric": finding.metric,
        "step_start": None if finding.step_start is None else int(finding.step_start),
        "step_end": None if finding.step_end is None else int(finding.step_end),
        "evidence": plain(finding.evidence),
        "rules": list(finding.rules),
        "fingerprint": finding.fingerprint,
    }


def fix_to_dict(fix: Fix) -> dict[str, Any]:
    """A change as strict JSON; ``key``, ``action`` and ``arithmetic`` only where there are some."""
    report = {
        "parameter": fix.parameter,
        "from": plain(fix.old),
        "to": plain(fix.new),
        "factor": plain(fix.factor),
        "rank": int(fix.rank),
        "because": fix.because,
        "reason": fix.reason,
        "rules": list(fix.rules),
        "applicability": fix.applicability,
    }
    if fix.key:
        report |= {"key": fix.key, "action": fix.action}
    if fix.arithmetic:
        report["arithmetic"] = fix.arithmetic
    return report
