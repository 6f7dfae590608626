"""What a watch tells: one small object for each kind of event, and its form as strict JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from diag import __version__
from diag.check import Finding
from diag.result import EXIT_FAILED, EXIT_INPUT, EXIT_NOTHING_JUDGED, Problem, Report, RunReport, finding_to_dict, plain
from diag.vocabulary import ERROR, SEVERITIES

SCHEMA_VERSION: Final = 1

ENDED, CUT_OFF, STOPPED, IDLE, GONE, TIMEOUT, NO_LOG, LOST = "ended", "cut-off", "stopped", "idle", "gone", "timeout", "no-log", "lost"
REASONS: Final = {
    ENDED: "the log says that training ended",
    CUT_OFF: "the log says that training was cut off",
    STOPPED: "what it was to stop on was found",
    IDLE: "nothing more was written",
    GONE: "the process that trained is gone",
    TIMEOUT: "the time was up",
    NO_LOG: "no log appeared",
    LOST: "the log is gone, or can no longer be read",
}
"""Why a watch is over."""


@dataclass(frozen=True, slots=True)
class Started:
    """A log was found and read for the first time, or the one that is followed became another."""

    kind: ClassVar[str] = "started"
    report: RunReport

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        run = self.report.run
        return {
            "event": self.kind,
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "diag", "version": __version__},
            **_place(self.report),
            "path": run.path,
            "adapter": run.adapter,
            "dialect": run.dialect,
            **_verdict(self.report),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """The run went on; ``latest`` holds the newest value of the metrics that it is judged by."""

    kind: ClassVar[str] = "progress"
    report: RunReport
    latest: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {"event": self.kind, **_place(self.report), **_verdict(self.report), "metrics": plain(self.latest)}


@dataclass(frozen=True, slots=True)
class Found:
    """A finding that was not there before, or is more severe than before.

    ``partial`` says that it was told from the newest rows of a log that is too long to be read as often as it is written: the step
    holds, the counts are those of these rows.
    """

    kind: ClassVar[str] = "finding"
    report: RunReport
    finding: Finding
    partial: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {
            "event": self.kind,
            **_place(self.report),
            **_verdict(self.report),
            "finding": finding_to_dict(self.finding),
            "partial": self.partial,
        }


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was found before is there no longer: it was undone by what the run did since."""

    kind: ClassVar[str] = "resolved"
    report: RunReport
    finding: Finding

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {"event": self.kind, **_place(self.report), **_verdict(self.report), "finding": finding_to_dict(self.finding)}


@dataclass(frozen=True, slots=True)
class VerdictChanged:
    """The verdict so far is another one."""

    kind: ClassVar[str] = "verdict"
    report: RunReport
    previous: str

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        causes = [{"cause": c.cause, "score": plain(c.score), "because": list(c.because)} for c in self.report.diagnosis.causes]
        return {"event": self.kind, **_place(self.report), **_verdict(self.report), "previous": self.previous, "causes": causes}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something kept the run, or a part of it, from being read or judged; the watch goes on."""

    kind: ClassVar[str] = "problem"
    problem: Problem

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {"event": self.kind, "kind": self.problem.kind, "path": self.problem.path, "message": self.problem.message}


@dataclass(frozen=True, slots=True)
class Finished:
    """The watch is over.

    Attributes:
        reason: one of REASONS.
        report: the run as it was judged last, None where there was none.
        problems: what still stood in the way at the end.
        detail: what was stopped on, one phrase; "" for another reason.
    """

    kind: ClassVar[str] = "finished"
    reason: str
    report: RunReport | None
    problems: tuple[Problem, ...] = ()
    detail: str = ""

    def exit_code(self, fail_on: str = ERROR) -> int:
        """The exit code of ``diag watch``: 1 where it was stopped, else that of ``diag analyze`` for what was seen."""
        if self.reason == STOPPED:
            return EXIT_FAILED
        if self.report is None:
            return EXIT_INPUT if self.problems else EXIT_NOTHING_JUDGED
        return Report((self.report,), self.problems).exit_code(fail_on)

    def to_dict(self, fail_on: str = ERROR) -> dict[str, Any]:
        """The event as JSON values."""
        severities = [finding.severity for finding in self.report.findings] if self.report is not None else []
        return {
            "event": self.kind,
            **({"run": None, "step": None, "planned_steps": None} if self.report is None else _place(self.report)),
            **({"verdict": None, "confidence": None} if self.report is None else _verdict(self.report)),
            "reason": self.reason,
            "because": self.detail or REASONS[self.reason],
            "findings": {severity: severities.count(severity) for severity in reversed(SEVERITIES)},
            "exit_code": self.exit_code(fail_on),
        }


Event = Started | Progress | Found | Resolved | VerdictChanged | Trouble | Finished


def _place(report: RunReport) -> dict[str, Any]:
    planned = report.run.planned_steps
    return {"run": report.run.id, "step": report.run.steps, "planned_steps": None if planned is None else int(planned)}


def _verdict(report: RunReport) -> dict[str, Any]:
    return {"verdict": report.diagnosis.verdict, "confidence": plain(report.diagnosis.confidence)}
