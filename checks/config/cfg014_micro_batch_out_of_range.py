"""CFG014: more samples in one pass than a GPU holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

LARGE_MODEL: Final = 6e9
"""Parameters from which the guides give four to eight samples a pass on 80 GB (S3-040)."""


class MicroBatchOutOfRange(Lint):
    """The micro-batch is larger than the guides use on any hardware.

    ## What it does
    Compares the samples that one device holds in one pass with the limit of 16. For models of 6 billion parameters or more it is a
    warning, for smaller or unknown ones a remark.

    ## Why is this bad?
    The job runs out of memory, often not at the first step but at the first long batch. On 80 GB a 7B model with adapters holds
    four to eight samples.

    ## When it stays silent
    Up to 16 samples; for models below half a billion parameters; where the method is not known.

    ## What to do
    Halve the micro-batch and double the accumulation until it fits: the effective batch, and the training, stay the same.

    ## References
    Guide rows S0-023..026, S0-046, S0-047, S1-019..021, S3-040, S3-088, S3-089.
    """

    code = "CFG014"
    name = "micro-batch-out-of-range"
    severity = WARNING
    rules = ("S0-046", "S3-040")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        micro, band = plan.number("micro_batch_size"), plan.band("micro_batch_size")
        if micro is None or band is None or micro <= band.clip_high or not plan.is_set("micro_batch_size"):
            return
        if plan.dialect == "training_hub" and plan.has("effective_batch_size"):
            return  # which decides there, and the micro-batch is ignored
        is_large = plan.parameters is not None and plan.parameters >= LARGE_MODEL
        fixes = self._smaller(plan, int(micro), int(band.start), int(band.clip_high))
        yield self.violation(
            plan,
            f"{show(micro)} samples a pass are more than the {show(band.clip_high)} that the guides use for {aims.described(plan)}; "
            f"take {fixes[0].new} and accumulate, so that the effective batch stays the same.",
            at="micro_batch_size",
            severity=WARNING if is_large else INFO,
            evidence={"micro_batch_size": micro, "high": band.clip_high},
            fixes=fixes,
            rules=tuple(dict.fromkeys((*self.rules, *band.rules))),
        )

    def _smaller(self, plan: Plan, micro: int, start: int, high: int) -> list[Fix]:
        """A divisor of the micro-batch, and as many more passes."""
        size = max(divisor for divisor in range(1, high + 1) if micro % divisor == 0)
        preferred = [divisor for divisor in range(1, start + 1) if micro % divisor == 0 and divisor * 2 > start]
        size = preferred[-1] if preferred else size
        reason = f"{size} samples a pass fit where {micro} may not."
        fixes = [self.fix(plan, "micro_batch_size", size, reason, rules=("S0-046", "S0-047", "S3-040"))]
        if plan.dialect not in aims.DERIVED:
            passes = int(plan.number("gradient_accumulation_steps") or 1) * micro // size
            arithmetic = f"{micro} / {size} times as many"
            text = "As many more passes keep the effective batch."
            fixes.append(self.fix(plan, "gradient_accumulation_steps", passes, text, rules=("S0-047",), arithmetic=arithmetic))
        return fixes
