"""CFG010: the weight decay is outside what the guides call safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

FULL: Final = ("sft", "osft")
"""Methods that train the model's own weights; adapters do without weight decay (S0-028, S3-076)."""


class WeightDecayOutOfRange(Lint):
    """The weight decay is above what the guides use, or missing where a small data set needs it.

    ## What it does
    Compares with the limits, 0 to 0.1. In full fine-tuning on fewer than 5,000 samples it remarks that there is none.

    ## Why is this bad?
    A strong decay pulls the weights away from what pretraining found faster than few samples can pull them back; with adapters
    it acts on the two small matrices only, and shrinks what they learn.

    ## When it stays silent
    Within the limits; when the method is not known; for models below half a billion parameters.

    ## What to do
    Set the value it names: less for larger data sets, none or 0.01 for most adapters.

    ## References
    Guide rows S0-027..030, S1-010..012, S1-051, S3-076..079, S3-092; profile table B2.
    """

    code = "CFG010"
    name = "weight-decay-out-of-range"
    severity = WARNING
    rules = ("S3-076", "S3-077")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        decay, band = plan.number("weight_decay"), plan.band("weight_decay")
        if decay is None or band is None:
            return
        if decay > band.clip_high * 1.001 and plan.is_set("weight_decay"):
            severity, why = WARNING, f"above the {show(band.clip_high)} that the guides allow"
        elif decay < band.low and plan.samples is not None and self._is_small_missing(plan):
            severity, why = INFO, f"below the {show(band.low)} to {show(band.high)} that the guides start from"
        else:
            return
        default = ", the default," if plan.is_default("weight_decay") else ""
        start = float(f"{band.start:.2g}")
        yield self.violation(
            plan,
            f"The weight decay {show(decay)}{default} is {why} for {aims.described(plan)}; the {plan.profile} profile has {show(start)}.",
            at="weight_decay",
            severity=severity,
            evidence={"weight_decay": decay, "low": band.low, "high": band.clip_high, "start": start},
            fixes=[self.fix(plan, "weight_decay", start, f"The {plan.profile} profile's for {aims.described(plan)}.", rules=band.rules)],
            rules=tuple(dict.fromkeys((*self.rules, *band.rules))),
        )

    @staticmethod
    def _is_small_missing(plan: Plan) -> bool:
        """Whether a value below what the guides start from is for this config to change: its own, or the default of a whole one."""
        own = plan.is_set("weight_decay") or (plan.is_whole and not aims.is_mentioned(plan, "weight_decay"))
        return own and plan.method in FULL
