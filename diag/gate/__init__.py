"""The gate: what the user asks of runs beyond what the checks look for, and what the user has accepted.

    requirements.py   what a metric must be (GAT001, GAT002)
    acceptance.py     findings that are fine, and why (GAT090)
    baseline.py       findings that were there before
    enforcement.py    these three, applied to a report
    reference.py      a run beside known-good ones (GAT010, GAT011)
    benchmarks.py     a model's benchmarks beside those of its base (GAT020)
    against.py        these two, applied to a report

Its findings have codes as those of checks have, and a page each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diag.check import Documented
    from diag.gate.reference import compare as compare


def pages() -> list[type[Documented]]:
    """The pages of all findings of the gate, by code."""
    from diag.gate.acceptance import UnusedAcceptance
    from diag.gate.regressions import BenchmarkRegression, FallsBehindReference, WorseThanReference
    from diag.gate.requirements import RequirementNotMeasured, RequirementNotMet

    return [
        RequirementNotMet,
        RequirementNotMeasured,
        WorseThanReference,
        FallsBehindReference,
        BenchmarkRegression,
        UnusedAcceptance,
    ]


def __getattr__(name: str) -> Any:
    """Import ``compare`` on first use, so that the rest of the gate does not pay for it."""
    if name != "compare":
        raise AttributeError(f"module 'diag.gate' has no attribute {name!r}")
    from diag.gate.reference import compare

    return compare
