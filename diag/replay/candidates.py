"""The causes that a replay can test, each by one change that answers it. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from diag.diagnosis import Diagnosis
from diag.fixes import Fix
from diag.prescription import prescribe

if TYPE_CHECKING:
    from diag.result import RunReport

MOST: Final = 4
"""Causes that are tested: beyond the fourth, a cause of a log is the true one in few runs."""
LIKELY: Final = 0.5
"""Score from which on a cause is tested to the end, even if it falls behind early."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cause and the change that answers it.

    Attributes:
        cause: one of diag.vocabulary.CAUSES.
        score: what the log gives it, 0 where it does not name it.
        fixes: the change; those of the lowest rank that a training can show.
    """

    cause: str
    score: float
    fixes: tuple[Fix, ...]


def named(report: RunReport) -> list[Candidate]:
    """The leading causes that the log names, each with what would be prescribed if it were the only one."""
    found = []
    for cause in report.diagnosis.causes[:MOST]:
        alone = Diagnosis(report.diagnosis.verdict, report.diagnosis.confidence, (replace(cause, score=1.0),))
        if fixes := prescribe(report.run, alone, report.findings):
            found.append(Candidate(cause.cause, cause.score, tuple(fixes)))
    return found


class _Turn(NamedTuple):
    """One usual mistake, undone: multiply a hyperparameter, or set it where the run has none."""

    cause: str
    parameters: tuple[str, ...]
    factor: float | None = None
    value: float | None = None


USUAL: Final = (
    _Turn("lr_too_high", ("learning_rate",), 1 / 4),
    _Turn("lr_too_low", ("learning_rate",), 4.0),
    _Turn("too_few_epochs", ("num_epochs", "max_steps"), 3.0),
    _Turn("too_many_epochs", ("num_epochs", "max_steps"), 1 / 3),
    _Turn("batch_too_large", ("global_batch_size",), 1 / 4),
    _Turn("batch_too_small", ("global_batch_size",), 4.0),
    _Turn("weight_decay_too_high", ("weight_decay",), 1 / 20),
    _Turn("gradient_clipping_missing", ("max_grad_norm",), value=1.0),
    _Turn("gradient_clipping_too_tight", ("max_grad_norm",), 10.0),
    _Turn("warmup_too_short", ("warmup_ratio",), value=0.1),
    _Turn("regularization_too_weak", ("dropout", "lora_dropout"), value=0.1),
    _Turn("capacity_too_low", ("lora_rank",), 4.0),
)
"""What is tried where the log names nothing. The factors are those by which the fault benchmark tells whether a cause is the true one."""


def usual(hyperparameters: Mapping[str, Any]) -> list[Candidate]:
    """The usual mistakes that a run with these hyperparameters may have made."""
    found = []
    for turn in USUAL:
        name = next((name for name in turn.parameters if name in hyperparameters), turn.parameters[0])
        old = hyperparameters.get(name)
        fix = None
        if turn.value is not None and not old and not (name == "warmup_ratio" and hyperparameters.get("warmup_steps")):
            fix = Fix(name, old, turn.value, None, 1, turn.cause, turn.cause)
        elif turn.factor is not None and isinstance(old, (int, float)) and old > 0:
            new = old * turn.factor
            fix = Fix(name, old, max(1, round(new)) if isinstance(old, int) else new, None, 1, turn.cause, turn.cause)
        if fix is not None and fix.new != fix.old:
            found.append(Candidate(turn.cause, 0.0, (fix,)))
    return found
