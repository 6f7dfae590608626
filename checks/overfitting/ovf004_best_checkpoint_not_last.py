"""OVF004: the best evaluation was not the last one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.check import Check, Finding, Threshold, percent
from diag.checks.overfitting._gap import gap
from diag.examination import Examination
from diag.vocabulary import INFO

WORTH = 0.01
"""Relative difference from which on the choice of checkpoint matters."""


class BestCheckpointNotLast(Check):
    """An earlier checkpoint evaluates better than the last one.

    ## What it does
    Names the best evaluation when the last one is more than 1% worse.

    ## Why is this bad?
    Deploying the last checkpoint by habit gives away what the run had already reached.

    ## When it stays silent
    When the difference is below 1% or within the noise of the evaluations.

    ## What to do
    Keep the checkpoint of the best step; set load_best_model_at_end with matching save and eval steps.

    ## References
    Guide rows S1-074, S3-176, S3-208.
    """

    code = "OVF004"
    name = "best-checkpoint-not-last"
    severity = INFO
    needs = ("eval/loss",)
    rules = ("S1-074", "S3-176")
    premature = "the evaluation loss may still improve"
    thresholds = (Threshold("worth", WORTH, "log units", 0.0, 10.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for the first evaluation loss."""
        series = examination.require_evals(3)[0]
        measured = gap(series, examination.train)
        rise = float(series.y[-1] - series.y[measured.best])
        if rise < max(examination.threshold(self, "worth"), 0.0 if math.isnan(series.sigma) else series.sigma):
            return
        step = int(series.curve.step[measured.best])
        yield self.finding(
            f"The best {series.name} is {float(series.curve.value[measured.best]):.4g} at step {step}; "
            f"the last one is {percent(rise)} worse.",
            metric=series.name,
            step_start=step,
            step_end=int(series.curve.step[-1]),
            evidence={
                "best_step": step,
                "best": round(float(series.curve.value[measured.best]), 6),
                "relative_gap": round(math.expm1(min(rise, 50)), 4),
            },
        )
