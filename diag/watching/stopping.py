"""What a watch or a callback stops on, as the user names it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from diag.battery import checks
from diag.check import Finding
from diag.choices import checked_codes, choose, prefixed
from diag.diagnosis import SICK
from diag.result import FAIL_ON, NEVER
from diag.vocabulary import DIVERGED, ERROR, SEVERITIES

DEFAULT: Final = (DIVERGED, "DIV")
"""What a watch stops on where the user does not say: nothing that is computed after a divergence is worth keeping."""


class StopRule(NamedTuple):
    """When to stop.

    Attributes:
        verdicts: verdicts so far that stop it (those of a sick run).
        codes: codes of findings, or their beginnings, that stop it where they are at least as severe as ``fail_on``.
        severity: the mildest severity of which any finding stops it; ``never`` for none.
        fail_on: the mildest severity that fails the gate.
    """

    verdicts: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    severity: str = NEVER
    fail_on: str = ERROR

    @classmethod
    def parse(cls, names: str | Iterable[str] | None, fail_on: str = ERROR) -> StopRule:
        """The rule of words: verdicts of a sick run, codes or their beginnings, severities, or ``never``; None for never.

        Raises:
            UsageError: a word is none of these, or ``fail_on`` is no setting of the gate.
        """
        choose("fail_on", fail_on, FAIL_ON)
        words = [] if names is None else [names] if isinstance(names, str) else list(names)
        verdicts = tuple(word.upper() for word in words if word.upper() in SICK)
        severities = [word.lower() for word in words if word.lower() in SEVERITIES]
        codes = [word for word in words if word.upper() not in verdicts and word.lower() not in FAIL_ON]
        return cls(
            verdicts,
            checked_codes(codes, [check.code for check in checks()]) if codes else (),
            min(severities, key=SEVERITIES.index) if severities else NEVER,
            fail_on,
        )

    def reason(self, verdict: str, findings: Iterable[Finding]) -> str:
        """What there is to stop on, in one phrase; "" if there is nothing."""
        for finding in findings:
            if is_at_least(finding, self.severity):
                return f"{finding.code} {finding.name}: {finding.message}"
            if self.codes and prefixed(finding.code, self.codes) and is_at_least(finding, self.fail_on):
                return f"{finding.code} {finding.name}: {finding.message}"
        return f"the verdict so far is {verdict}" if verdict in self.verdicts else ""


def is_at_least(finding: Finding, severity: str) -> bool:
    """Whether a finding is at least as severe; never for ``never``."""
    return severity != NEVER and SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity)
