"""SPK003: the loss rises in the first tenth of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, percent
from diag.examination import EARLY_SHARE, Examination
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_EARLY_POINTS = 5
RISE = math.log(1.25)
"""Rise above the first loss that is more than a bad batch."""
SIGMAS = 4.0
SHORT_WARMUP = 0.03
"""A warmup below 3% of the steps is short (S3-025, S3-058)."""


class EarlyInstability(Check):
    """The loss rises above its starting value in the first steps.

    ## What it does
    Looks at the first tenth of the run for losses above the first one, beyond noise, and at the gradient norm there.

    ## Why is this bad?
    Large first steps throw away what the initial weights knew; warmup exists to prevent it.

    ## When it stays silent
    When fewer than 5 points were logged in the first tenth, and when the rise is within the noise of the series.

    ## What to do
    Warm up over 5 to 10% of the steps; if there is a warmup already, halve the learning rate.

    ## References
    Guide rows S1-144, S3-017, S3-157, S3-158; fix F03.
    """

    code = "SPK003"
    name = "early-instability"
    severity = WARNING
    needs = ("train/loss",)
    rules = ("S1-144", "S3-157", "S3-158")

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(20)
        early = max(train.points(0.0, EARLY_SHARE), 0)
        if early < MINIMUM_EARLY_POINTS:
            raise Skip(f"needs {MINIMUM_EARLY_POINTS} training losses in the first tenth of the run, has {early}")
        head = train.y[:early]
        start = float(np.median(head[: max(1, min(3, early // 3))]))
        above = head - start > max(RISE, SIGMAS * train.sigma)
        if not int(above.sum()) >= 2:
            return
        worst = int(np.argmax(head))
        warmup = examination.warmup_steps
        short = warmup is None or warmup < SHORT_WARMUP * examination.total_steps
        yield self.finding(
            f"The training loss rises {percent(float(head[worst]) - start)} above its start by step {int(train.curve.step[worst])}"
            + (" and there is no warmup to speak of." if warmup is not None and short else "."),
            severity=WARNING if int(above.sum()) >= 3 else INFO,
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[early - 1]),
            evidence={
                "relative_rise": round(math.expm1(min(float(head[worst]) - start, 50)), 4),
                "points": int(above.sum()),
                "severity_factor": 2.0,
            },
            causes={"warmup_too_short": 2.0 if short else 0.0, "lr_too_high": 1.8},
            verdicts={UNSTABLE: 2.0} if int(above.sum()) >= 3 else {},
        )
