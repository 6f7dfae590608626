"""CFG003: the effective batch is outside what the guides call safe for this method and data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.guides import Band, disagreement
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import INFO, WARNING

NODE: Final = 8
"""Processes that a run of unknown size is granted before its batch is called small: one machine of eight GPUs."""


class BatchSizeOutOfRange(Lint):
    """The effective batch is outside the range of the guides for this method and data set.

    ## What it does
    Multiplies micro-batch, accumulation and processes (or takes the effective batch where the framework has a key for it) and
    compares with the range for the method and the number of samples. Where the number of processes is unknown it speaks of the
    batch of one process: one that is too large is then certainly too large, one that is too small is granted eight processes.

    ## Why is this bad?
    Small batches make noisy steps, which a high learning rate amplifies; large ones leave few updates, and the same number of
    epochs learns less.

    ## When it stays silent
    Within the range; when the method is not known; for models below half a billion parameters; and for a small batch where a
    larger one would leave fewer than 100 optimizer steps.

    ## What to do
    Change the accumulation, and scale the learning rate by the square root of the change.

    ## References
    Guide rows S0-019..022, S1-016..018, S1-046..048, S2-008..010, S3-036, S3-038, S3-039, S3-043; profile table B2.
    """

    code = "CFG003"
    name = "batch-size-out-of-range"
    severity = WARNING
    rules = ("S3-036", "S3-038")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        batch, band, target = plan.global_batch, plan.band("global_batch_size"), aims.batch(plan)
        if batch is None or band is None or not aims.is_mentioned(plan, *PARTS):
            return
        if plan.dialect in aims.DERIVED and plan.number("global_batch_size") is None:
            return  # a default that is not known
        granted = batch if plan.is_batch_certain else batch * NODE
        is_short = aims.is_run_short(plan)
        if batch > band.clip_high:
            severity, where = WARNING, f"above the {show(band.clip_low)} to {show(band.clip_high)} of the guides"
        elif granted < band.clip_low and not is_short:
            severity, where = WARNING, f"below the {_range(band.clip_low, band.clip_high)} of the guides"
        elif plan.samples is None or not plan.is_batch_certain or band.low <= batch <= band.high or is_short:
            return
        else:
            severity, where = INFO, f"off the {_range(band.low, band.high)} that the guides start from"
        if target == batch:
            return
        if plan.method == "pretraining" and plan.parameters is None:
            severity = INFO  # a small model trained from scratch is not what the guides speak of
        of = "" if plan.is_batch_certain else " a process (the number of processes is not known)"
        yield self.violation(
            plan,
            f"The effective batch is {counted(batch, 'sample')}{of}, {where} for {aims.described(plan)}; "
            + (f"set it to {target}." if target is not None else f"{counted(plan.world_size or 1, 'process')} cannot share one within.")
            + disagreement("global_batch_size", str(plan.method), plan.samples),
            at=next((name for name in PARTS if plan.is_set(name)), ""),
            severity=severity,
            evidence={"global_batch_size": batch, "low": band.clip_low, "high": band.clip_high, "target": target},
            fixes=[self.advise("world_size", "Train on fewer processes.")] if target is None else self._fixes(plan, target, band),
            rules=tuple(dict.fromkeys((*self.rules, *band.rules))),
        )

    def _fixes(self, plan: Plan, target: int, band: Band) -> list[Fix]:
        reason = f"An effective batch of {target} for {aims.described(plan)}."
        return aims.resized(self, plan, target, reason, rules=band.rules, arithmetic=f"limits {_range(band.clip_low, band.clip_high)}")


PARTS: Final = ("global_batch_size", "gradient_accumulation_steps", "micro_batch_size")


def _range(low: float, high: float) -> str:
    return f"{show(low)} or more" if high == float("inf") else f"{show(low)} to {show(high)}"
