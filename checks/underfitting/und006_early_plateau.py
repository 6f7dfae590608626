"""UND006: a fast fall, then nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

MINIMUM_POINTS = 20
"""Logged training losses below which nothing is said."""
EARLY = 0.15
"""Share of the run within which the fall must have ended (S3-183 speaks of the first 5%)."""
FLAT = 0.01
"""Fall (log units, 0.01 is 1%) over the rest of the run that counts as flat."""


class EarlyPlateau(Check):
    """The loss falls fast in the first steps and stays flat for the rest of the run.

    ## What it does
    Notes a loss that falls by less than 1% after the first 15% of the run.

    ## Why is this bad?
    Either the task was learned at once, and most of the run was not needed, or the run is stuck: at a learning rate
    that is too high for anything finer, or at the limit of what the model can represent.

    ## When it stays silent
    When there is any significant downward trend.

    ## What to do
    If the level is good, shorten the run. If not, see LRS001 for the learning rate, then raise the capacity.

    ## References
    Guide rows S1-061, S1-076, S3-183; fixes F08, F09.
    """

    code = "UND006"
    name = "early-plateau"
    severity = INFO
    needs = ("train/loss",)
    rules = ("S1-061", "S1-076")
    premature = "a plateau may still be left"
    thresholds = (
        Threshold("early", EARLY, "share of the run", 0.0, 0.5),
        Threshold("flat", FLAT, "log units", 0.0, 10.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(MINIMUM_POINTS)
        early = examination.threshold(self, "early")
        fall, p_value = late_fall(train.y, train.progress, early)
        early_fall = float(train.y[0]) - train.level(early, 2 * early)
        if early_fall < 0.05 or fall > examination.threshold(self, "flat") or p_value < 0.01:
            return
        yield self.finding(
            f"After the first {100 * early:g}% of the run the training loss falls by no more than {100 * max(fall, 0.0):.2g}%.",
            metric="train/loss",
            step_start=int(train.curve.step[int(np.searchsorted(train.progress, early))]),
            step_end=int(train.curve.step[-1]),
            evidence={"early_fall": round(early_fall, 4), "late_fall": round(fall, 4)},
        )


def late_fall(y: stats.FloatArray, progress: stats.FloatArray, start: float) -> tuple[float, float]:
    """Fall of the log loss from ``start`` of the run to its end (Theil-Sen over block means), and its p-value."""
    late = y[progress >= start]
    if late.size < 8:
        return math.inf, 0.0
    blocks = stats.block_means(progress[progress >= start], late, 10)
    slope = stats.theil_sen(blocks.x, blocks.y)
    return -slope * (1 - start), stats.falling_p_value(blocks.y)
