"""OVF002: the evaluation loss stopped improving while the training loss kept falling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold, percent
from diag.checks.overfitting._gap import gap
from diag.checks.overfitting.ovf001_overfit_gap import OverfitGap
from diag.examination import Examination
from diag.vocabulary import INFO

MINIMUM_EVALS = 6
"""Evaluations below which a flat stretch cannot be told from noise."""
TAIL_SHARE = 0.3
"""Share of the run without a better evaluation that makes an onset."""
TRAIN_FALL = 1.03
"""Ratio of the training loss at the best evaluation to that at the end from which on it has fallen meanwhile."""


class OverfitOnset(Check):
    """The evaluation loss is flat or slightly up while the training loss keeps falling.

    ## What it does
    Looks for a best evaluation before the last 30% of the run, less than 5% of rise since, and a training loss that
    fell by 3% or more in the meantime.

    ## Why is this bad?
    It is not yet harm, but the steps after the flat point bought nothing.

    ## When it stays silent
    When the rise is a problem already (OVF001), or when the training loss is flat as well (converged).

    ## What to do
    Stop at the flat point and use that checkpoint; one epoch less next time.

    ## References
    Guide row S1-074; fix F12.
    """

    code = "OVF002"
    name = "overfit-onset"
    severity = INFO
    needs = ("eval/loss", "train/loss")
    rules = ("S1-074",)
    patience = 0.1
    thresholds = (
        Threshold("tail_share", TAIL_SHARE, "share of the run", 0.0, 1.0),
        Threshold("train_fall", TRAIN_FALL, "ratio of losses", 1.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for the first evaluation loss."""
        train = examination.require_train(10)
        series = examination.require_evals(MINIMUM_EVALS)[0]
        measured = gap(series, train)
        late = series.progress[measured.best] > 1 - examination.threshold(self, "tail_share")
        if late or math.expm1(measured.rise) > examination.threshold(OverfitGap, "problem") or measured.rise < -measured.noise:
            return
        since = train.y[train.step >= float(series.curve.step[measured.best])]
        if since.size < 6:
            return
        blocks = stats.block_means(np.arange(since.size, dtype=np.float64), since, 8)
        if stats.falling_p_value(blocks.y) > 0.05 or float(blocks.y[0] - blocks.y[-1]) < math.log(
            examination.threshold(self, "train_fall")
        ):
            return
        step = int(series.curve.step[measured.best])
        yield self.finding(
            f"{series.name} has not improved since step {step} while the training loss fell another "
            f"{percent(float(blocks.y[-1] - blocks.y[0]))}.",
            metric=series.name,
            step_start=step,
            step_end=int(series.curve.step[-1]),
            evidence={"best_step": step, "train_fall": round(float(blocks.y[0] - blocks.y[-1]), 4)},
            causes={"too_many_epochs": 0.5},
        )
