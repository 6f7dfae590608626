"""LRS004: the warmup is longer than the run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import UNDERFIT, WARNING

LONGEST = 0.5
"""Warmup as a share of the run above which it is a mistake (guides: 10% at most)."""
RISING_SHARE = 0.95
"""Share of rising steps that makes a curve rise throughout."""
GROWTH = 3.0
"""Ratio of the last to the first logged rate that shows a warmup, not a drift."""
UNFINISHED = 0.8
"""A run that stopped before 80% of its plan was cut off, not misconfigured."""


class NeverWarmsUp(Check):
    """The learning rate is still warming up when the run ends.

    ## What it does
    Looks for a warmup longer than half of the run, in the configuration or in a logged learning rate that rises to
    the very end.

    ## Why is this bad?
    The rate that was asked for is never reached.

    ## When it stays silent
    When the rate reached its peak. A run that was cut off long before its planned end, still warming up, is told as
    such: its schedule was not at fault.

    ## What to do
    Warm up over 5% of the steps.

    ## References
    Guide rows S1-141, S1-142, S3-056, S3-058.
    """

    code = "LRS004"
    name = "lr-never-warms-up"
    severity = WARNING
    needs = ()
    rules = ("S1-142", "S3-056", "S3-058")
    premature = "the warmup may still be going on"
    thresholds = (Threshold("longest", LONGEST, "share of the run", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        run = examination.run
        warmup = examination.warmup_steps
        if examination.lr is None and warmup is None:
            raise Skip("neither a learning rate nor a warmup is known")
        planned = run.planned_steps
        rises = False
        if examination.lr is not None and len(examination.lr) >= 5:
            value = examination.lr.value
            rises = bool(
                np.mean(np.diff(value) > 0) >= RISING_SHARE and value[-1] > GROWTH * max(float(value[0]), 0.0) and value[-1] >= value.max()
            )
        if rises and planned and run.steps < UNFINISHED * planned:
            yield self.finding(
                f"The run stopped at step {run.steps} of {planned}, before the warmup had ended.",
                metric="lr",
                step_start=0,
                step_end=run.steps,
                evidence={"bug": "stopped_in_warmup", "steps": run.steps, "planned_steps": planned},
                causes={"too_few_epochs": 3.0},
                verdicts={UNDERFIT: 2.5},
            )
            return
        configured = warmup is not None and warmup > examination.threshold(self, "longest") * run.steps > 0
        if not rises and not (configured and examination.lr is None):
            return
        reached = float(examination.schedule(np.array([float(run.steps)]))[0]) if examination.lr is None else None
        peak = examination.number("learning_rate")
        if examination.lr is not None and peak:
            reached = float(examination.lr.value.max()) / peak
        yield self.finding(
            f"The learning rate rises to the last step {run.steps}"
            + (f": the warmup takes {warmup:g} steps" if warmup else "")
            + (f" and {100 * reached:.2g}% of the configured rate is reached." if reached is not None else "."),
            metric="lr",
            step_start=0,
            step_end=run.steps,
            evidence={"bug": "warmup_exceeds_run" if configured else "rises", "warmup_steps": warmup, "steps": run.steps},
            causes={"schedule_bug": 4.0, "lr_too_low": 1.8},
            verdicts={UNDERFIT: 3.5},
        )
