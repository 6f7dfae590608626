"""What the user decided about the findings of one run or config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diag.configuration.options import Acceptance
from diag.gate.acceptance import F

if TYPE_CHECKING:
    from diag.gate.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Policy:
    """What was decided about one run.

    Attributes:
        requirements: what its metrics must be.
        severities: code, or beginning of one, and the severity of what it finds; the longest match counts.
        accepted: findings that are fine.
    """

    requirements: tuple[Requirement, ...] = ()
    severities: tuple[tuple[str, str], ...] = ()
    accepted: tuple[Acceptance, ...] = ()


def with_severity(finding: F, severities: Iterable[tuple[str, str]]) -> F:
    """A finding with the severity that was decided for its code: that of the longest match."""
    matching = [(code, severity) for code, severity in severities if finding.code.startswith(code)]
    return replace(finding, severity=max(matching, key=lambda pair: len(pair[0]))[1]) if matching else finding
