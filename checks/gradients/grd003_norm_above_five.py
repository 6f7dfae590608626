"""GRD003: the gradient norm is above 5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.run import Curve
from diag.vocabulary import INFO, PLATEAU, UNSTABLE, WARNING

LIMIT = 5.0
"""Gradient norm that the lesson asks to stay below (S3-173)."""
LARGE = 2.0
"""Times the limit that nine norms of ten must exceed to be large throughout."""
LITTLE = 0.15
"""Fall of the log training loss over the run up to which little was learned."""
MINIMUM_POINTS = 20
"""Logged training losses from which on it can be said that little was learned."""
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
    When fewer than 10% of the norms exceed 5.0. It is a remark unless nine norms of ten are twice that, gradients are not
    clipped, and a net trained from scratch learned little.

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
    thresholds = (
        Threshold("limit", LIMIT, "gradient norm", 0.0, 1e9),
        Threshold("share", SHARE, "share of the norms", 0.0, 1.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("grad_norm", 5)
        limit = examination.threshold(self, "limit")
        above = curve.value > limit
        share = float(np.mean(above))
        if share < examination.threshold(self, "share"):
            return
        large = stays_large(examination, curve, limit)
        yield self.finding(
            f"The gradient norm exceeds {limit:g} at {100 * share:.3g}% of the logged steps (median {float(np.median(curve.value)):.3g})"
            + (", gradients are not clipped, and little was learned." if large else "."),
            severity=WARNING if large else INFO,
            metric="grad_norm",
            step_start=int(curve.step[np.argmax(above)]),
            step_end=int(curve.step[np.flatnonzero(above)[-1]]),
            evidence={"share": round(share, 4), "median": round(float(np.median(curve.value)), 6)},
            causes={"exploding_gradients": 4.0, "gradient_clipping_missing": 1.5, "lr_too_high": 1.0} if large else {},
            verdicts={UNSTABLE: 3.0, PLATEAU: 2.5} if large else {},
        )


def stays_large(examination: Examination, curve: Curve, limit: float) -> bool:
    """Whether norms stay at twice the limit for nearly the whole run, unclipped, in a net trained from scratch that learns little."""
    train = examination.train
    if train is None or len(train) < MINIMUM_POINTS or not examination.is_unclipped or examination.is_fine_tuning:
        return False
    fall = float(train.y[: max(2, len(train) // 24)].mean()) - train.level(0.8, 1.0)
    return float(np.quantile(curve.value, 0.1)) > LARGE * limit and fall < LITTLE
