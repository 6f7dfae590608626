"""diag reads what a training run left behind and says what to change.

The public interface; each name is imported when it is first used, so that ``import diag`` costs nothing.

    >>> import diag
    >>> report = diag.analyze("fixtures/overfit")  # doctest: +SKIP
    >>> report.runs[0].diagnosis.verdict  # doctest: +SKIP
    'OVERFIT'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diag.analysis import analyze
    from diag.check import Check, Finding, Skip
    from diag.errors import DiagError, InputError, MissingExtraError, NothingToJudgeError, UsageError
    from diag.loading import load
    from diag.result import Problem, Report, RunReport
    from diag.run import Curve, Run

__version__ = "0.1.0"

_HOMES = {
    "Check": "diag.check",
    "Curve": "diag.run",
    "DiagError": "diag.errors",
    "Finding": "diag.check",
    "InputError": "diag.errors",
    "MissingExtraError": "diag.errors",
    "NothingToJudgeError": "diag.errors",
    "Problem": "diag.result",
    "Report": "diag.result",
    "Run": "diag.run",
    "RunReport": "diag.result",
    "Skip": "diag.check",
    "UsageError": "diag.errors",
    "analyze": "diag.analysis",
    "load": "diag.loading",
}

__all__ = [
    "Check",
    "Curve",
    "DiagError",
    "Finding",
    "InputError",
    "MissingExtraError",
    "NothingToJudgeError",
    "Problem",
    "Report",
    "Run",
    "RunReport",
    "Skip",
    "UsageError",
    "analyze",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'diag' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
