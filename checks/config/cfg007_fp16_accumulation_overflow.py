"""CFG007: gradients accumulated over many passes in fp16 can overflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._aims import to_bf16
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted
from diag.vocabulary import WARNING

LARGEST_FP16_ACCUMULATION: Final = 16
"""Passes a step from which accumulated fp16 gradients can overflow (S3-168)."""


class Fp16AccumulationOverflow(Lint):
    """Gradients are accumulated over 16 or more passes in fp16.

    ## What it does
    Looks at the accumulation, as set or as it follows from the effective batch, and at the precision.

    ## Why is this bad?
    fp16 ends at 65,504. The sum of many gradients, multiplied by the loss scale, gets there: the step is skipped, or the loss
    turns into NaN.

    ## When it stays silent
    With bf16 and fp32, below 16 passes, and where accumulation is not known.

    ## What to do
    Train in bf16. On hardware without it, accumulate less than 16 passes, keep clipping at 1.0, and as a stopgap lower the
    learning rate in proportion.

    ## References
    Guide rows S3-168, S3-170..172.
    """

    code = "CFG007"
    name = "fp16-accumulation-overflow"
    severity = WARNING
    rules = ("S3-168", "S3-172")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        passes = plan.accumulation
        if plan.value("precision") != "fp16" or passes is None or passes < LARGEST_FP16_ACCUMULATION:
            return
        text = f"On hardware without bf16 accumulate fewer than {LARGEST_FP16_ACCUMULATION} passes and clip gradients at 1.0."
        yield self.violation(
            plan,
            f"Gradients are accumulated over {counted(passes, 'pass').replace('passs', 'passes')} in fp16, where a sum of "
            f"{LARGEST_FP16_ACCUMULATION} or more can overflow; train in bf16.",
            at="gradient_accumulation_steps" if plan.is_set("gradient_accumulation_steps") else "precision",
            evidence={"gradient_accumulation_steps": passes, "limit": LARGEST_FP16_ACCUMULATION},
            fixes=[
                to_bf16(self, plan, "bf16 has the range of fp32, so sums do not overflow.", ("S3-170",)),
                self.advise("gradient_accumulation_steps", text, rules=("S3-171", "S3-172")),
            ],
        )
