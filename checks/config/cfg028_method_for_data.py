"""CFG028: all weights are trained on little data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import key_of
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO

SMALL_DATA: Final = 5_000
"""Samples below which the guides call a data set small and prefer adapters (S1-248; the first band of S1-007)."""

ENOUGH_FOR_FULL: Final = 50_000
"""Samples from which they call full fine-tuning viable (S1-193)."""

CLASSIFIERS: Final = ("task_name", "label_column_name", "image_column_name", "audio_column_name")
"""Keys of scripts that do not train a language model."""


class MethodForData(Lint):
    """All weights of the model are trained on a small data set; the guides would train adapters.

    ## What it does
    Says so for full fine-tuning on fewer than 5,000 samples.

    ## Why is this bad?
    Full fine-tuning has billions of numbers to learn a few thousand samples by heart with, and forgets what the model could
    do. Adapters of rank 4 to 16 learn the same with less than 1% of the parameters.

    ## When it stays silent
    For adapters and OSFT, from 5,000 samples up (full fine-tuning is at its best from 50,000), for models below half a
    billion parameters, and where the method or the number of samples is not known, or most layers are frozen.

    ## What to do
    Train LoRA, with about ten times the learning rate. Mind the model you start from, too: instruction-tuned and base models
    answer the same settings differently.

    ## References
    Guide rows S1-179, S1-193, S1-248, S1-255, S2-059.
    """

    code = "CFG028"
    name = "method-for-data"
    severity = INFO
    rules = cite("S1-179 S1-193 S1-248 S1-255 S2-059")
    whole = True

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if plan.method != "sft" or plan.samples is None or plan.samples >= SMALL_DATA or not plan.is_guided:
            return
        if plan.native("finetuning_type") == "freeze" or key_of(plan, *CLASSIFIERS) is not None:
            return
        advice = "Train LoRA adapters of rank 4 to 16 with about ten times the learning rate."
        yield self.violation(
            plan,
            f"All weights are trained on {plan.samples:,.0f} samples; below {SMALL_DATA:,} the guides prefer adapters, "
            f"and full fine-tuning comes into its own above {ENOUGH_FOR_FULL:,}.",
            evidence={"samples": plan.samples},
            fixes=[self.advise("method", advice)],
        )
