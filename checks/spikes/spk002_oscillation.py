"""SPK002: the loss swings up and down, more and more."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_POINTS = 30
"""Logged training losses below which swings are not measured."""
GROWTH = 2.5
"""Noise of the last third over that of the first third from which on the oscillation grows."""
NOISE_ERROR = 1.4
"""Standard error of the logarithm of a noise scale measured on n points, times sqrt(n): 1.40 to 1.43 for white noise, n = 8 to 300."""
SIGMAS = 3.0
"""Standard errors that the logarithm of the growth must exceed."""
MINIMUM_EVALS, LATE = 5, 0.7
"""Evaluations whose best, if it comes after this share of the run, shows that the swings cost nothing."""
AMPLITUDE = 0.05
"""Smallest amplitude that matters, relative."""
ALTERNATION = -0.4
"""Lag-1 autocorrelation below which successive points alternate; white noise around a trend lies near 0."""


class Oscillation(Check):
    """The training loss oscillates, or its swings grow.

    ## What it does
    Removes the trend and looks at what is left: successive points that alternate (lag-1 autocorrelation below -0.4),
    or swings in the last third at least 2.5 times as large as in the first (more on fewer than 150 points, where the
    measure of the swings is itself uncertain), without a loss that has fallen so far that the same absolute noise
    looks larger.

    ## Why is this bad?
    Swings that grow mean that the step is longer than the curvature allows.

    ## When it stays silent
    Steady noise, however strong, is NSE001. A coefficient of variation above 0.1 alone says nothing: a falling curve
    has one without being unstable. Where the evaluation loss reaches its best late in the run the swings cost nothing
    and are a remark.

    ## What to do
    Halve the learning rate; double the warmup.

    ## References
    Guide rows S1-062, S3-033, S3-120, S3-121; fix F05.
    """

    code = "SPK002"
    name = "oscillation"
    severity = WARNING
    needs = ("train/loss",)
    rules = ("S1-062", "S3-033", "S3-120", "S3-121")
    patience = 0.25
    thresholds = (
        Threshold("growth", GROWTH, "ratio of swings", 1.0, 1e6),
        Threshold("amplitude", AMPLITUDE, "log units", 0.0, 100.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(MINIMUM_POINTS)
        value = train.curve.value
        residual = train.y - train.smooth
        third = len(train) // 3
        early, late = slice(third // 4, third), slice(len(train) - third, None)
        first, last = stats.noise_scale(train.y[early]), stats.noise_scale(train.y[late])
        absolute_first, absolute_last = stats.noise_scale(value[early]), stats.noise_scale(value[late])
        uncertainty = NOISE_ERROR * math.sqrt(1 / (third - third // 4) + 1 / third)
        amplitude = examination.threshold(self, "amplitude")
        factor = max(examination.threshold(self, "growth"), math.exp(SIGMAS * uncertainty))
        alternates = stats.lag_one_autocorrelation(residual[third:]) < ALTERNATION and train.sigma > amplitude and len(train) >= 60
        grows = last > factor * first and absolute_last > factor * absolute_first and last > amplitude
        error = last / math.sqrt(max(1, train.points(0.8, 1.0)))
        rises = train.level(0.8, 1.0) >= train.level(0.4, 0.6) - max(0.01, 3 * error)
        if not grows and not alternates:
            return
        improves = any(len(one) >= MINIMUM_EVALS and one.progress[int(one.y.argmin())] > LATE for one in examination.evals)
        serious = (
            grows and rises and not improves and stats.rising_p_value(np.abs(stats.block_means(train.step, np.abs(residual), 10).y)) < 0.01
        )
        growth = last / first if first > 0 else math.inf
        yield self.finding(
            f"Swings of the training loss grow {growth:.2g}-fold over the run."
            if grows
            else "Successive training losses alternate up and down.",
            severity=WARNING if serious else INFO,
            metric="train/loss",
            step_start=int(train.curve.step[len(train) - third if grows else third]),
            step_end=int(train.curve.step[-1]),
            evidence={"noise_first_third": round(first, 4), "noise_last_third": round(last, 4), "severity_factor": 2.0},
            causes={"lr_too_high": 2.0} if serious else {},
            verdicts={UNSTABLE: 2.5} if serious else {},
        )
