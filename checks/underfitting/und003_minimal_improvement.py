"""UND003: the best evaluation is hardly better than the first."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

MINIMAL = 0.05
"""Relative improvement over the first evaluation that is minimal (S3-123)."""
BASELINE_SHARE = 0.02
"""The first evaluation is a baseline only if it comes within the first 2% of the run."""


class MinimalImprovement(Check):
    """The evaluation loss improved by less than 5% on the untrained model.

    ## What it does
    Compares the best evaluation with one made before (or in the first 2% of) the training.

    ## Why is this bad?
    The training may not have reached what it was for: a template that does not match, masked labels, a rate too low.

    ## When it stays silent
    When the first evaluation came later: most of the improvement lies before it and cannot be seen. A strong base
    model improves little, so this is a remark, never a verdict.

    ## What to do
    Check the chat template and the label mask first; then multiply the learning rate by 2.5.

    ## References
    Guide rows S3-123, S3-124, S3-125; fix F14.
    """

    code = "UND003"
    name = "minimal-improvement"
    severity = INFO
    needs = ("eval/loss",)
    rules = ("S3-123", "S3-124", "S3-125")
    premature = "how much it improves on its first evaluation is known at its end"
    thresholds = (Threshold("minimal", MINIMAL, "relative fall", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        series = examination.require_evals(2)[0]
        if float(series.step[0]) > BASELINE_SHARE * examination.total_steps:
            raise Skip("the first evaluation came after the first 2% of the run; nothing to compare with")
        first, best = float(series.curve.value[0]), float(series.curve.value.min())
        if first <= 0 or (first - best) / first >= examination.threshold(self, "minimal"):
            return
        yield self.finding(
            f"{series.name} improved by only {100 * (first - best) / first:.2g}% on the untrained model ({first:.4g} to {best:.4g}).",
            metric=series.name,
            step_start=int(series.curve.step[0]),
            step_end=int(series.curve.step[-1]),
            evidence={"baseline": round(first, 6), "best": round(best, 6), "relative_improvement": round((first - best) / first, 4)},
            causes={"lr_too_low": 0.5},
        )
