"""GRD004: nearly every step is clipped, by a lot."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, UNDERFIT, WARNING

SHARE = 0.9
"""Lower confidence bound of the share of clipped steps from which on clipping is saturated."""
RATIO = 8.0
"""Median norm over threshold from which on clipping, not the learning rate, sets the length of the step."""
SMALLEST = 0.1
"""Smallest clipping threshold that any guide row recommends."""
TINY = 0.05
"""Clipping threshold below which the gradient is cut whatever its norm, where none was logged: half of the smallest recommended one."""


class ClippingSaturated(Check):
    """Gradient clipping cuts nearly every step to a fraction of its length.

    ## What it does
    Compares the logged norms with the clipping threshold. A remark when more than 90% exceed it; a warning when they
    exceed it eightfold, or when the threshold is below 0.05 and no norm was logged.

    ## Why is this bad?
    With plain SGD such a threshold divides the learning rate by the ratio; with Adam it mostly hides the true norms.

    ## When it stays silent
    A norm around or a few times above the threshold is usual: over half of real runs exceed 1.0 most of the time.

    ## What to do
    Set the threshold to 1.0 and keep the learning rate.

    ## References
    Guide rows S1-022, S1-087, S3-173; fix F17.
    """

    code = "GRD004"
    name = "clipping-saturated"
    severity = WARNING
    needs = ()
    rules = ("S1-022", "S1-087")
    thresholds = (
        Threshold("share", SHARE, "share of the steps", 0.0, 1.0),
        Threshold("ratio", RATIO, "norm over clipping threshold", 1.0, 1e9),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        clip = examination.number("max_grad_norm")
        if not clip:
            raise Skip("no clipping threshold is known")
        norm = examination.run.curve("grad_norm")
        finite = norm.finite() if norm is not None else None
        if finite is None or len(finite) < 5:
            if clip > TINY:
                raise Skip("grad_norm was not logged")
            ratio, lower = None, None
        else:
            ratio = float(np.median(finite.value)) / clip
            lower = stats.wilson_lower(int((finite.value > clip).sum()), len(finite))
        most = examination.threshold(self, "ratio")
        if ratio is not None and lower is not None and (lower < examination.threshold(self, "share") and ratio < most):
            return
        tight = clip < SMALLEST if ratio is None else (ratio >= most and clip <= 0.5) or ratio >= 5 * most
        adam = examination.optimizer == "adam"
        tight = tight and not (adam and clip >= SMALLEST)
        yield self.finding(
            f"Gradients are clipped at {clip:g}"
            + (f", and the median norm is {ratio:.3g} times that." if ratio is not None else ", far below the usual 1.0."),
            severity=WARNING if tight else INFO,
            metric="grad_norm",
            step_start=0,
            step_end=examination.run.steps,
            evidence={"max_grad_norm": clip, "median_ratio": None if ratio is None else round(ratio, 3)},
            causes={"gradient_clipping_too_tight": 3.5, "lr_too_low": 0.3} if tight else {},
            verdicts={UNDERFIT: 3.5} if tight else {},
        )
