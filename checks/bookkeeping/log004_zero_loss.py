"""LOG004: a training loss of exactly zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import ERROR, PLATEAU, WARNING

MINIMUM_POINTS = 5
"""Logged training losses below which nothing is said."""
SHARE = 0.05
"""Share of points at exactly zero, among others well above it, that is no accident."""
CLEARLY_ABOVE = 0.01
"""Median of the other points below which zeros are a loss that was rounded, not one that was masked."""


class ZeroLoss(Check):
    """The training loss is exactly zero, throughout or at many points among ordinary ones.

    ## What it does
    Counts training losses of exactly 0.0 that do not come from a loss that had fallen that far.

    ## Why is this bad?
    A cross entropy is zero only when there is nothing to predict: every label of the batch is masked (a prompt
    longer than the sequence limit, a chat template that does not match, an ignored padding token that is the end token).
    Such batches train nothing.

    ## When it stays silent
    Losses that approach zero and are rounded to it (see the memorization check); reward-driven runs, whose loss is about
    zero by construction; zeros that hide a NaN, which are shown as NaN.

    ## What to do
    Print the labels of one batch: at least some must differ from the ignored value. Lengthen the sequence limit or mend
    the template.

    ## References
    The Hugging Face loss over no labels is exactly 0.0.
    """

    code = "LOG004"
    name = "zero-loss"
    severity = WARNING
    needs = ("train/loss",)
    thresholds = (Threshold("share", SHARE, "share of the points", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("train/loss", MINIMUM_POINTS)
        zero = curve.value == 0
        count = int(zero.sum())
        if count < max(3, examination.threshold(self, "share") * len(curve)):
            return
        all_zero = count == len(curve)
        if not all_zero:
            others = np.abs(curve.value[~zero])
            neighbours = others[np.clip(np.cumsum(~zero)[zero] - 1, 0, None)]
            if float(np.median(others)) < CLEARLY_ABOVE or float(np.median(neighbours)) < CLEARLY_ABOVE:
                return
        index = np.flatnonzero(zero)
        yield self.finding(
            f"The training loss is exactly 0 at {'all' if all_zero else f'{count} of'} {len(curve)} points: "
            "every label of those batches is masked, or the loss is not the one being trained.",
            severity=ERROR if all_zero else WARNING,
            metric="train/loss",
            step_start=int(curve.step[index[0]]),
            step_end=int(curve.step[index[-1]]),
            evidence={"zeros": count, "of": len(curve)},
            causes={"data_corruption": 2.5, **({"frozen_parameters": 1.0} if all_zero else {})},
            verdicts={PLATEAU: 3.0} if all_zero else {},
        )
