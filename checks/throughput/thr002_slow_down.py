"""THR002: steps take longer and longer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, Threshold
from diag.checks.throughput._pace import pace
from diag.examination import Examination
from diag.vocabulary import INFO, WARNING

MINIMUM_POINTS = 25
"""Timed intervals below which nothing is said."""
WARMUP_SHARE = 0.05
"""First share of the run that is left out: compilation, cold caches, autotuning."""
SLOWER = 1.5
"""Ratio of the last fifth's median step time to the first fifth's from which on it is a warning."""
NOTICEABLE = 1.2
"""Ratio of the last fifth's median step time to the first fifth's from which on it is a remark."""
ALPHA = 0.01
"""p-value at which the rise of the step time is significant."""
SHORT = 1800.0
"""Seconds below which a run is too short for its pace to matter, and other load on the machine too likely a reason."""


class SlowDown(Check):
    """Steps became slower over the run, and stayed so.

    ## What it does
    Compares the median step time of the last fifth with that of the first fifth after warm-up, asks that the quartiles
    of the two do not overlap, and that the block means rise throughout (Mann-Kendall, p < 0.01).

    ## Why is this bad?
    The later steps cost more for nothing: a leak, growing logs or caches, a throttled device, a fragmented allocator.

    ## When it stays silent
    Runs under half an hour; single slow steps; intervals with an evaluation. Reward-driven runs, whose generations
    grow longer by themselves, get a remark at most. It never changes the verdict.

    ## What to do
    Compare a profile of an early and a late step; look for tensors kept between steps (a loss accumulated without
    ``.item()``), and for thermal throttling.

    ## References
    Guide row S1-071 for step time in general; the robust comparison is this project's own.
    """

    code = "THR002"
    name = "slow-down"
    severity = WARNING
    rules = ("S1-071",)
    reward_logs = True
    thresholds = (
        Threshold("noticeable", NOTICEABLE, "ratio of step times", 1.0, 1e6),
        Threshold("slower", SLOWER, "ratio of step times", 1.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        measured = pace(examination, MINIMUM_POINTS)
        if not measured.duration >= SHORT:
            raise Skip("the run is too short, or its times are not known, for its pace to matter")
        start = int(np.ceil(WARMUP_SHARE * measured.step.size))
        step, seconds = measured.step[start:], measured.seconds[start:]
        fifth = max(1, step.size // 5)
        first, last = seconds[:fifth], seconds[-fifth:]
        ratio = float(np.median(last) / np.median(first))
        blocks = stats.block_means(step.astype(np.float64), np.log(seconds), 10)
        if (
            ratio < examination.threshold(self, "noticeable")
            or float(np.quantile(last, 0.25)) <= float(np.quantile(first, 0.75))
            or stats.rising_p_value(blocks.y) > ALPHA
        ):
            return
        serious = ratio >= examination.threshold(self, "slower") and not examination.is_reward_driven
        yield self.finding(
            f"Steps take {ratio:.2g} times as long at the end of the run as at its start ({measured.source}).",
            severity=WARNING if serious else INFO,
            metric=measured.source if measured.source != "wall_time" else "",
            step_start=int(step[0]),
            step_end=int(step[-1]),
            evidence={"ratio": round(ratio, 3), "source": measured.source, "duration_seconds": round(measured.duration, 1)},
            causes={"throughput_degraded": 2.5} if serious else {},
        )
