"""LOG007: the training loss falls in steps at the epoch boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, Threshold, percent
from diag.examination import Examination
from diag.run import FloatArray, IntArray
from diag.vocabulary import INFO

PER_EPOCH = 10
"""Points an epoch below which a boundary cannot be told from noise."""
SIDE = 5
"""Points on each side of a boundary."""
DROP = 1.03
"""Smallest ratio of the loss before and after the boundaries worth explaining."""
SCORE = 4.0
"""Robust standard scores by which the boundaries must stand out from all other places."""


class EpochStairs(Check):
    """The training loss drops at each epoch boundary and is level in between.

    ## What it does
    Compares the drop over each epoch boundary (median of 5 points after against 5 before) with the same quantity at
    every other place of the run.

    ## Why is this bad?
    It is not. From the second pass on the model has seen every example once, so its training loss drops as soon as
    the data repeat. This check explains the shape so that nobody mistakes it for a jump of the learning rate or a resume.

    ## When it stays silent
    With fewer than 10 points an epoch, fewer than two epochs, or drops below 3%.

    ## What to do
    Nothing. How much was memorized is told by the evaluation loss alone.

    ## References
    Epoch staircases in fine-tuning come from memorizing each example at its first presentation.
    """

    code = "LOG007"
    name = "epoch-stairs"
    severity = INFO
    needs = ("train/loss",)
    thresholds = (Threshold("drop", DROP, "ratio of losses", 1.0, 100.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(2 * PER_EPOCH)
        epoch = train.curve.epoch
        if not bool(np.isfinite(epoch).all()):
            raise Skip("the epoch of each row is not known")
        borders = boundaries(epoch)
        span = float(epoch[-1] - epoch[0])
        if not borders.size or len(train) < PER_EPOCH * span:
            raise Skip(f"needs {PER_EPOCH} points an epoch and an epoch boundary within the run")
        change = changes(train.y)
        at = borders - SIDE
        at = at[(at >= 0) & (at < change.size)]
        away = np.ones(change.size, dtype=bool)
        for border in at:
            away[max(0, border - SIDE) : border + SIDE + 1] = False
        if at.size < 1 or int(away.sum()) < 2 * SIDE:
            raise Skip("needs more points between the epoch boundaries")
        usual = float(np.median(change[away]))
        spread = max(stats.MAD_TO_SIGMA * float(np.median(np.abs(change[away] - usual))), train.sigma / math.sqrt(SIDE), 1e-9)
        drop = usual - float(np.mean(change[at]))
        if drop < math.log(examination.threshold(self, "drop")) or drop < SCORE * spread / math.sqrt(at.size):
            return
        yield self.finding(
            f"The training loss drops by {percent(drop)} at epoch boundaries and not elsewhere: the data repeat, which is no fault.",
            metric="train/loss",
            step_start=int(train.curve.step[borders[0]]),
            step_end=int(train.curve.step[borders[-1]]),
            evidence={
                "boundaries": int(at.size),
                "drop": round(-math.expm1(-drop), 4),
                "steps": [int(train.curve.step[b]) for b in borders[:20]],
            },
        )


def boundaries(epoch: FloatArray) -> IntArray:
    """Indices of the first point after each whole epoch within the run, shape (m,)."""
    return np.flatnonzero(np.diff(np.ceil(np.round(epoch, 6))) >= 1).astype(np.int64) + 1


def changes(y: FloatArray) -> FloatArray:
    """Median of SIDE points from each place on minus the median of the SIDE points before it, shape (n - 2 SIDE + 1,)."""
    medians = np.median(np.lib.stride_tricks.sliding_window_view(y, SIDE), axis=1)
    return np.asarray(medians[SIDE:] - medians[:-SIDE], dtype=np.float64)
