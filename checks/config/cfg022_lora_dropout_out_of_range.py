"""CFG022: the adapters' dropout does not fit the amount of data, or costs the fast path of the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import LORA_HUB, hub_algorithm, is_on
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

SMALL_DATA: Final = 5_000
"""Samples below which the guides want dropout on the adapters (S1-040)."""

LEAST_ON_SMALL_DATA: Final = 0.05
"""The least dropout they want then, and always for QLoRA (S1-040, S1-054)."""

HIGHEST_START: Final = 0.1
"""The most dropout that any guide starts from (S1-040, S3-080)."""


class LoraDropoutOutOfRange(Lint):
    """The dropout of the low-rank adapters does not fit the amount of data.

    ## What it does
    A warning above 0.15; information between 0.1 and 0.15, for no dropout at all on fewer than 5,000 samples or with 4-bit
    weights, and for any dropout with the Unsloth backend, whose fast kernels need zero.

    ## Why is this bad?
    Dropout is what keeps an adapter from learning a small data set by heart; too much of it leaves nothing to learn with.

    ## When it stays silent
    When the config does not set it, within 0.05 to 0.1, and for zero on more data or with Unsloth.

    ## What to do
    Set the value it names. The guides disagree about small data: two want 0.05 to 0.1, the one of the Unsloth backend zero.

    ## References
    Guide rows S1-040..042, S1-054, S2-048, S3-080, S3-084.
    """

    code = "CFG022"
    name = "lora-dropout-out-of-range"
    severity = WARNING
    rules = cite("S1-040..042 S1-054 S2-048 S3-080 S3-084")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        dropout, band = plan.number("lora_dropout"), plan.band("lora_dropout")
        if dropout is None or band is None or not plan.is_adapter or not plan.is_set("lora_dropout"):
            return
        fast = is_unsloth(plan)
        small = plan.samples is not None and plan.samples < SMALL_DATA
        wanted = 0.0 if fast else LEAST_ON_SMALL_DATA
        severity = INFO
        if dropout > band.clip_high:
            severity, why = WARNING, f"above {show(band.clip_high)}, the most that the guides allow"
        elif fast and dropout > 0:
            why = "above 0, which switches the fast path of the Unsloth backend off"
        elif dropout > HIGHEST_START:
            why = f"above the {show(LEAST_ON_SMALL_DATA)} to {show(HIGHEST_START)} that the guides start from"
        elif fast or dropout >= LEAST_ON_SMALL_DATA:
            return
        elif plan.method == "qlora" or small:
            on = "4-bit weights" if plan.method == "qlora" else f"{plan.samples:,.0f} samples"
            why = f"below the {show(LEAST_ON_SMALL_DATA)} to {show(HIGHEST_START)} that the guides want for {on}"
        else:
            return
        yield self.violation(
            plan,
            f"The adapters' dropout {show(dropout)} is {why}; {show(wanted)} is within what they use.",
            at="lora_dropout",
            severity=severity,
            evidence={"lora_dropout": dropout, "limit": band.clip_high, "start": wanted},
            fixes=[self.fix(plan, "lora_dropout", wanted, f"Set the adapters' dropout to {show(wanted)}.")],
        )


def is_unsloth(plan: Plan) -> bool:
    """Whether Unsloth's kernels train the adapters."""
    return hub_algorithm(plan) == LORA_HUB or is_on(plan, "use_unsloth") or "FastLanguageModel" in plan.document.entry
