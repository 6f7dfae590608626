"""GRD003: the gradient norm is above 5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding
from diag.examination import Examination
from diag.vocabulary import INFO

LIMIT = 5.0
"""Gradient norm that the lesson asks to stay below (S3-173)."""
SHARE = 0.1
"""Share of the logged norms above the limit that is worth telling; a third of real runs passes it."""


class NormAboveFive(Check):
    """The gradient norm is often above 5.0.

    ## What it does
    Tells how often the logged norm exceeds the limit that the guides name.

    ## Why is this bad?
    By itself it is not: the scale of the norm depends on the size of the model and on how the loss is reduced. It is
    context for the other checks.

    ## When it stays silent
    When fewer than 10% of the norms exceed 5.0.

    ## What to do
    Nothing, as long as the loss behaves. Otherwise clip at 1.0 and see GRD001.

    ## References
    Guide row S3-173; fix F17.
    """

    code = "GRD003"
    name = "gradient-norm-above-five"
    severity = INFO
    needs = ("grad_norm",)
    rules = ("S3-173",)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("grad_norm", 5)
        above = curve.value > LIMIT
        share = float(np.mean(above))
        if share < SHARE:
            return
        yield self.finding(
            f"The gradient norm exceeds {LIMIT:g} at {100 * share:.3g}% of the logged steps (median {float(np.median(curve.value)):.3g}).",
            metric="grad_norm",
            step_start=int(curve.step[np.argmax(above)]),
            step_end=int(curve.step[np.flatnonzero(above)[-1]]),
            evidence={"share": round(share, 4), "median": round(float(np.median(curve.value)), 6)},
        )
