"""THR001: the run stood still for a long time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.checks.throughput._pace import clock, evaluated_between
from diag.examination import Examination
from diag.vocabulary import INFO, WARNING

MINIMUM_POINTS = 20
"""Timed rows below which nothing is said."""
STALL_SECONDS = 1800.0
"""Seconds between two rows that are a stall (SageMaker Debugger's StalledTraining waits as long)."""
STALL_FACTOR = 10.0
"""Multiple of the median gap that a stall must also exceed."""
REPEATED = 3
"""Stalls from which on it is no pause for the night."""
LOST_SHARE = 0.2
"""Share of the run's time lost in stalls that is worth a warning."""


class Stall(Check):
    """Nothing was logged for half an hour or more, far longer than usual.

    ## What it does
    Compares the time between log rows with its median: a stall exceeds ten medians and 30 minutes. Gaps in which the
    run was evaluated count only where they are ten times as long as the usual gap with an evaluation.

    ## Why is this bad?
    The hardware was paid for and idle: a slow file system, a hung data loader, a waiting rank, a preempted job.

    ## When it stays silent
    One or two stalls are a remark (info): the run may have been paused and resumed. It never changes the verdict.

    ## What to do
    Look at the data loader and at the storage at those times; for a cluster, at the job's preemption log.

    ## References
    Stalls: a gap above ten medians or 1800 s.
    """

    code = "THR001"
    name = "stall"
    severity = INFO
    reward_logs = True
    thresholds = (
        Threshold("stall_seconds", STALL_SECONDS, "seconds", 0.0, 1e9),
        Threshold("stall_factor", STALL_FACTOR, "ratio of gaps", 1.0, 1e9),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for all stalls."""
        curve, gaps = clock(examination)
        if len(curve) < MINIMUM_POINTS:
            raise Skip(f"needs {MINIMUM_POINTS} timed rows, has {len(curve)}")
        evaluated = evaluated_between(examination, curve.step)
        usual = np.full(gaps.size, float(np.median(gaps)))
        if bool(evaluated.any()):
            # An evaluation at a logged step may fall into the gap before or after it, so half of these gaps hold none.
            usual[evaluated] = max(float(np.quantile(gaps[evaluated], 0.75)), float(usual[0]))
        long = gaps > examination.threshold(self, "stall_seconds")
        stalled = np.flatnonzero(long & (gaps > examination.threshold(self, "stall_factor") * usual))
        if not stalled.size:
            return
        lost = float((gaps - usual)[stalled].sum())
        share = lost / float(gaps.sum())
        serious = stalled.size >= REPEATED and share >= LOST_SHARE
        longest = int(stalled[np.argmax(gaps[stalled])])
        yield self.finding(
            f"The run stood still {'once' if stalled.size == 1 else f'{stalled.size} times'}, longest for {gaps[longest] / 3600:.1f} h "
            f"after step {int(curve.step[longest])}: {100 * share:.0f}% of its time.",
            severity=WARNING if serious else INFO,
            step_start=int(curve.step[stalled[0]]),
            step_end=int(curve.step[stalled[-1] + 1]),
            evidence={
                "stalls": int(stalled.size),
                "longest_seconds": round(float(gaps[longest]), 1),
                "median_seconds": round(float(np.median(gaps)), 3),
                "lost_share": round(share, 4),
            },
            causes={"throughput_degraded": 2.0} if serious else {},
        )
