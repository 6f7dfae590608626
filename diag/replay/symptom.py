"""What the log of the run shows, to be looked for in the trainings of a replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diag.fixes import Fix
from diag.replay.trainer import NOT_FINITE
from diag.vocabulary import DIVERGED, HEALTHY, INCONCLUSIVE, OVERFIT, PLATEAU, UNDERFIT, UNSTABLE

if TYPE_CHECKING:
    from diag.result import RunReport

KINDS: Final = (frozenset({DIVERGED, UNSTABLE}), frozenset({PLATEAU, UNDERFIT}), frozenset({OVERFIT}))
"""Verdicts that are degrees of one thing: what only swings in a short training may diverge in a long one."""
LIKELY: Final = 0.5
"""Probability from which on a cause counts as diagnosed."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """What is wrong with a run.

    Attributes:
        verdict: of its log.
        codes: of the findings that the first prescription answers.
        cause: the leading one, "" if there is none.
        start: step from which on the log shows it, None if it does not say.
    """

    verdict: str
    codes: tuple[str, ...]
    cause: str
    start: int | None

    @classmethod
    def of(cls, report: RunReport, fixes: Iterable[Fix]) -> Symptom:
        """The symptom that some fixes of a run answer."""
        codes = tuple(sorted({fix.because for fix in fixes if fix.rank == 1}))
        starts = [finding.step_start for finding in report.findings if finding.code in codes and finding.step_start is not None]
        causes = report.diagnosis.causes
        return cls(report.diagnosis.verdict, codes, causes[0].cause if causes else "", min(starts, default=None))

    def is_seen(self, report: RunReport, stopped: str = "") -> bool:
        """Whether a training shows it: the same findings, a verdict of the same kind, or the same cause diagnosed.

        Args:
            report: the examination of the training.
            stopped: why the training ended early; one that diverged at once has too short a log for the checks.
        """
        diagnosis = report.diagnosis
        if stopped == NOT_FINITE and self.verdict in (DIVERGED, UNSTABLE):
            return True
        if any(finding.code in self.codes for finding in report.findings):
            return True
        if diagnosis.verdict in (HEALTHY, INCONCLUSIVE):
            return False
        if any({self.verdict, diagnosis.verdict} <= kind for kind in KINDS):
            return True
        return any(cause.cause == self.cause and cause.score >= LIKELY for cause in diagnosis.causes)

    def __str__(self) -> str:
        return ", ".join((self.verdict, *self.codes))
