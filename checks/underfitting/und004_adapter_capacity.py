"""UND004: the adapter is too small for what it should learn."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.vocabulary import PLATEAU, WARNING

SMALLEST_RANK = 4
"""Smallest LoRA rank that any guide row recommends (S1-034, S3-067)."""
MINIMUM_POINTS = 5
"""Points of a loss below which it cannot be said to have levelled off."""


class AdapterCapacity(Check):
    """A LoRA rank below every recommendation, and a loss that levelled off.

    ## What it does
    Fires for a rank below 4 when the loss neither diverged nor overfits: at such a rank the adapter, not the data,
    sets the level where the loss stops.

    ## Why is this bad?
    The run converged, to the wrong level; more steps will not help.

    ## When it stays silent
    When the evaluation loss rises while the training loss falls: an adapter that overfits is not too small.

    ## What to do
    Raise the rank to at least 8 and keep the ratio of alpha to rank; adapt all linear layers.

    ## References
    Guide rows S0-048, S1-084, S2-044, S3-067; fix F08.
    """

    code = "UND004"
    name = "adapter-capacity"
    severity = WARNING
    needs = ()
    rules = ("S0-048", "S1-084", "S2-044", "S3-067")
    premature = "where the loss levels off is known at its end"

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        rank = examination.number("lora_rank")
        if rank is None:
            raise Skip("no LoRA rank is known")
        series = examination.require_main(MINIMUM_POINTS)
        if rank >= SMALLEST_RANK or examination.has_nonfinite_loss:
            return
        best = int(series.y.argmin())
        if series.name != "train/loss" and float(series.y[-1] - series.y[best]) > 0.05:
            return
        yield self.finding(
            f"The LoRA rank of {rank:g} is below every recommendation, "
            f"and {series.name} levels off at {float(series.curve.value[-1]):.4g}.",
            metric=series.name,
            step_start=int(series.curve.step[0]),
            step_end=int(series.curve.step[-1]),
            evidence={"lora_rank": rank, "smallest_recommended": SMALLEST_RANK, "final": round(float(series.curve.value[-1]), 6)},
            causes={"capacity_too_low": 3.5},
            verdicts={PLATEAU: 3.0},
        )
