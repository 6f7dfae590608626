"""The gate: what the user asks of runs beyond what the checks look for, and what the user has accepted.

    requirements.py   what a metric must be (GAT001, GAT002)
    acceptance.py     findings that are fine, and why (GAT090)
    baseline.py       findings that were there before
    enforcement.py    all of it, applied to a report

Its findings have codes as those of checks have, and a page each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diag.check import Documented


def pages() -> list[type[Documented]]:
    """The pages of all findings of the gate, by code."""
    from diag.gate.acceptance import UnusedAcceptance
    from diag.gate.requirements import RequirementNotMeasured, RequirementNotMet

    return [RequirementNotMet, RequirementNotMeasured, UnusedAcceptance]
