"""GRD005: gradients are not clipped."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.vocabulary import INFO


class ClippingMissing(Check):
    """Gradient clipping is off.

    ## What it does
    Notes a configuration that switches clipping off (a threshold of 0 or null).

    ## Why is this bad?
    It is a safeguard that costs nothing; without it one bad batch can end a run.

    ## When it stays silent
    When the configuration says nothing about clipping: most frameworks then clip at 1.0.

    ## What to do
    Set max_grad_norm to 1.0.

    ## References
    Guide rows S1-087, S1-088, S1-250; fix F17.
    """

    code = "GRD005"
    name = "gradient-clipping-off"
    severity = INFO
    needs = ()
    rules = ("S1-087", "S1-088")
    patience = 0.0

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        entry = examination.run.hyperparameters.get("max_grad_norm")
        if entry is None:
            raise Skip("no clipping threshold is known")
        if entry.value:
            return
        yield self.finding(
            "Gradient clipping is switched off.",
            step_start=0,
            step_end=examination.run.steps,
            evidence={"max_grad_norm": entry.value},
            causes={"gradient_clipping_missing": 0.5},
        )
