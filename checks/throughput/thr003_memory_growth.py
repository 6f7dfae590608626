"""THR003: GPU memory keeps growing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

MINIMUM_POINTS = 20
"""Logged values below which nothing is said."""
WARMUP_SHARE = 0.1
"""First share of the run that is left out: optimizer states and caches are allocated there."""
GROWTH = 1.1
"""Ratio of the last to the first memory that is worth a remark (SageMaker Debugger's GPUMemoryIncrease: 10%)."""
ALPHA = 0.01
"""p-value at which the growth is significant."""


class MemoryGrowth(Check):
    """GPU memory grows through the run.

    ## What it does
    Compares the last fifth of the logged memory with the first fifth after the first tenth of the run: growth of 10%
    that goes on from block to block (Mann-Kendall, p < 0.01).

    ## Why is this bad?
    It ends in an out-of-memory crash if the run is long enough.

    ## When it stays silent
    Peaks that were reached once and then held; memory that rises and falls with the sequence length. It is a remark and never
    changes the verdict.

    ## What to do
    Detach what is kept between steps; pad or bucket sequences so that their lengths do not creep up.

    ## References
    Growth of 10%, as SageMaker Debugger's GPUMemoryIncrease.
    """

    code = "THR003"
    name = "memory-growth"
    severity = INFO
    needs = ("gpu_memory",)
    reward_logs = True
    thresholds = (Threshold("growth", GROWTH, "ratio of memory", 1.0, 1e6),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("gpu_memory", MINIMUM_POINTS)
        start = int(np.ceil(WARMUP_SHARE * len(curve)))
        value = curve.value[start:]
        fifth = max(1, value.size // 5)
        low, high = float(np.median(value[:fifth])), float(np.median(value[-fifth:]))
        blocks = stats.block_means(np.arange(value.size, dtype=np.float64), value, 10)
        rising = int((np.diff(blocks.y) > 0).sum())
        if (
            low <= 0
            or high < examination.threshold(self, "growth") * low
            or stats.rising_p_value(blocks.y) > ALPHA
            or rising < 0.7 * (blocks.y.size - 1)
        ):
            return
        yield self.finding(
            f"GPU memory grows through the run, from {low:.4g} to {high:.4g} ({high / low - 1:+.0%}).",
            metric="gpu_memory",
            step_start=int(curve.step[start]),
            step_end=int(curve.step[-1]),
            evidence={"first": low, "last": high, "growth": round(high / low - 1, 4)},
        )
