"""SPK003: the loss rises in the first tenth of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold, percent
from diag.examination import EARLY_SHARE, Examination, Series
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_EARLY_POINTS = 5
"""Training losses in the first tenth of the run below which a rise there is not looked for."""
RISE = 1.25
"""Ratio to the first loss that is more than a bad batch."""
SIGMAS = 4.0
"""Noise scales that such a rise must exceed."""
DAMAGE = 1.08
"""Ratio of the mean loss between 5 and 20% of the run to that of the first points that means the first steps undid what the initial
weights knew."""
DAMAGE_ERRORS = 3.3
"""Standard errors that its logarithm must exceed."""
DAMAGE_PART = (0.05, 0.2)
"""That part, as shares of the run."""
FIRST_POINTS = 3
"""Points at most whose mean is taken for the loss of the initial weights: one alone is noisy, a third one may be damaged already."""
SHORT_WARMUP = 0.03
"""A warmup below 3% of the steps is short (S3-025, S3-058)."""


class EarlyInstability(Check):
    """The loss rises above its starting value in the first steps.

    ## What it does
    Looks at the first tenth of the run for losses above the first one, beyond noise. Compares the mean between 5 and 20% of
    the run with the first points as well: a model that lost what its initial weights knew takes that long to learn it again.

    ## Why is this bad?
    Large first steps throw away what the initial weights knew; warmup exists to prevent it.

    ## When it stays silent
    When fewer than 5 points were logged in the first tenth, when the rise is within the noise of the series, and when the loss
    stays up to the end of the run (DIV002 speaks of that).

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
    thresholds = (
        Threshold("rise", RISE, "ratio of losses", 1.0, 1e6),
        Threshold("damage", DAMAGE, "ratio of losses", 1.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(20)
        rise = math.log(examination.threshold(self, "rise"))
        if train.level(0.8, 1.0) > float(train.y[:FIRST_POINTS].mean()) + rise:
            raise Skip("the loss stays above its start; see DIV002")
        if (damaged := self.damage(examination, train)) is not None:
            yield damaged
            return
        early = max(train.points(0.0, EARLY_SHARE), 0)
        if early < MINIMUM_EARLY_POINTS:
            raise Skip(f"needs {MINIMUM_EARLY_POINTS} training losses in the first tenth of the run, has {early}")
        head = train.y[:early]
        start = float(np.median(head[: max(1, min(3, early // 3))]))
        above = head - start > max(rise, SIGMAS * train.sigma)
        if not int(above.sum()) >= 2:
            return
        worst = int(np.argmax(head))
        warmup, short = examination.warmup_steps, is_short(examination)
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

    def damage(self, examination: Examination, train: Series) -> Finding | None:
        """A loss that the first steps raise for a good part of the run: the knowledge of the initial weights is lost and learned again."""
        part = (train.progress >= DAMAGE_PART[0]) & (train.progress <= DAMAGE_PART[1])
        count = int(part.sum())
        if count < FIRST_POINTS or math.isnan(train.sigma):
            return None
        level, least = float(train.y[part].mean()), math.log(examination.threshold(self, "damage"))
        starts = {first: float(train.y[:first].mean()) for first in range(1, FIRST_POINTS + 1)}
        errors = {first: train.sigma * math.sqrt(1 / first + 1 / count) for first in starts}
        seen = [start for first, start in starts.items() if level - start > max(least, DAMAGE_ERRORS * errors[first])]
        if not seen:
            return None
        start, rise = seen[0], level - seen[0]
        return self.finding(
            f"The training loss of the first steps, {float(np.exp(start)):.4g}, is not reached again for a while: between 5 and"
            f" 20% of the run it lies {percent(rise)} above.",
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[int(np.flatnonzero(part)[-1])]),
            evidence={"relative_rise": round(math.expm1(min(rise, 50)), 4), "points": count, "severity_factor": 3.0},
            causes={"warmup_too_short": 2.0 if is_short(examination) else 0.0, "lr_too_high": 2.4},
            verdicts={UNSTABLE: 2.8},
        )


def is_short(examination: Examination) -> bool:
    """Whether the warmup is too short to count, or unknown."""
    return examination.warmup_steps is None or examination.warmup_steps < SHORT_WARMUP * examination.total_steps
