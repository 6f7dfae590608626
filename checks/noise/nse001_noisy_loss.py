"""NSE001: the training loss is so noisy that single steps say nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_POINTS = 30
"""Logged training losses below which their noise is not judged."""
NOTABLE = 0.35
"""Noise (log units) worth a remark; the 90th percentile of real fine-tunes is 0.32."""
EXTREME = 1.0
"""Noise (log units) at which single losses differ by factors of three."""
SMALL_BATCH = 4
"""Samples a step up to which the batch is the likely reason; the smallest recommendation is 8 (guides, part B)."""


class NoisyLoss(Check):
    """The training loss is extremely noisy.

    ## What it does
    Measures the noise around the trend from second differences of the log loss. A warning when it exceeds a factor of
    e from point to point with a batch of at most four samples (0.6 with two or less); otherwise a remark.

    ## Why is this bad?
    The gradient is as noisy as the loss; most of each step is undone by the next.

    ## When it stays silent
    A loss near zero has a high relative noise without meaning anything; the evaluation loss must not have come
    within a tenth of zero of where it started.

    ## What to do
    Double the batch (or the accumulation) until the noise is below 0.3, with the rate times the square root of
    the factor.

    ## References
    Guide rows S1-068, S3-120, S3-122, S3-200; fix F10.
    """

    code = "NSE001"
    name = "noisy-loss"
    severity = WARNING
    needs = ("train/loss",)
    rules = ("S1-068", "S3-120", "S3-122")
    patience = 0.1
    thresholds = (
        Threshold("notable", NOTABLE, "log units", 0.0, 100.0),
        Threshold("extreme", EXTREME, "log units", 0.0, 100.0),
        Threshold("small_batch", SMALL_BATCH, "samples a step", 1, 1_000_000),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(MINIMUM_POINTS)
        half = train.y[len(train) // 4 :]
        if half.size < 10 or math.isnan(train.sigma):
            return
        sigma = train.sigma
        if sigma < examination.threshold(self, "notable"):
            return
        batch = examination.number("global_batch_size") or examination.number("micro_batch_size")
        small = batch is not None and batch <= examination.threshold(self, "small_batch")
        solved = bool(examination.evals) and float(examination.evals[0].curve.value[-1]) < 0.1 * float(examination.evals[0].curve.value[0])
        serious = (
            small and not solved and (sigma > examination.threshold(self, "extreme") or (batch is not None and batch <= 2 and sigma > 0.6))
        )
        yield self.finding(
            f"The training loss is noisy: single points lie a factor of {math.exp(min(sigma, 20.0)):.2g} around the trend"
            + (f" with {batch:g} samples a step." if batch is not None else "."),
            severity=WARNING if serious else INFO,
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[-1]),
            evidence={
                "noise": round(sigma, 4),
                "batch": batch,
                "coefficient_of_variation": round(
                    float(np.std(train.curve.value[-20:]) / max(abs(float(np.mean(train.curve.value[-20:]))), 1e-12)), 4
                ),
            },
            causes={"batch_too_small": 3.5, "lr_too_high": 1.0} if serious else {},
            verdicts={UNSTABLE: 3.5} if serious else {},
        )
