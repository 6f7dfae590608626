"""LOG003: a loss that does not change at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.run import Curve
from diag.vocabulary import ERROR, PLATEAU

MINIMUM_TRAIN = 20
"""Training points with at most two different values among them (dead run: unique <= 2 over 20 points)."""
MINIMUM_EVALS = 3
"""Evaluations that must agree within 0.01%; two may do so by chance."""
ROUNDED_EVALS = 8
"""Evaluations that must agree where they were printed with four digits or fewer: these agree by rounding once a run has converged."""
FLAT = 1e-4
"""Relative spread of evaluation losses on the same data that shows unchanged weights; rounding to four digits."""
MOSTLY_IDLE = 0.3
"""Share of the run at a learning rate of zero from which on that, and nothing about the weights, makes the loss constant."""
SMALL = 1e-3
"""Losses below this are constant because they were rounded, not because nothing was learned."""


class ConstantLoss(Check):
    """A loss is exactly, or to the printed digits, the same throughout.

    ## What it does
    Looks for a training loss with at most two different values in 20 points or more, and for three or more
    evaluations (eight where they were rounded to four digits) that agree within 0.01%. Evaluations see the same data
    each time: when they agree, the weights did not change.

    ## Why is this bad?
    Nothing is being trained: all parameters frozen, the optimizer built from other parameters, a learning rate of
    zero, gradients cut off, or a metric that is not the loss.

    ## When it stays silent
    A flat loss with noise is not constant. Losses below 0.001 are constant by rounding. A training loss that moves
    away from its noise says that the evaluation is what is wrong.

    ## What to do
    Check which parameters require gradients and that the optimizer holds them; check the learning rate. A rate that was zero
    for a third of the run is the reason by itself: repair the schedule.

    ## References
    Dead run: at most two distinct values over 20 points.
    """

    code = "LOG003"
    name = "constant-loss"
    severity = ERROR
    thresholds = (
        Threshold("minimum_train", MINIMUM_TRAIN, "points", 3, 1_000_000),
        Threshold("minimum_evals", MINIMUM_EVALS, "evaluations", 2, 1_000_000),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding: the training loss if it is constant, else the evaluation loss."""
        train, evals = examination.train, examination.evals
        if train is None and not evals:
            raise Skip("no loss was logged")
        if train is not None and is_constant(train.curve, examination.threshold(self, "minimum_train"), 0.0):
            yield self.constant(examination, "train/loss", train.curve, 3.0)
            return
        minimum = examination.threshold(self, "minimum_evals")
        for series in evals[:1]:
            if not is_constant(series.curve, max(ROUNDED_EVALS, minimum) if is_rounded(series.curve) else minimum, FLAT):
                continue
            if train is not None and len(train) >= 8:
                moved = abs(train.level(0.0, 0.25) - train.level(0.75, 1.0))
                if moved > 4 * train.sigma / np.sqrt(max(len(train) / 4, 1)) and moved > 0.05:
                    continue
            yield self.constant(examination, series.name, series.curve, 2.5)

    def constant(self, examination: Examination, name: str, curve: Curve, weight: float) -> Finding:
        """The finding for one loss."""
        value = float(np.median(curve.value))
        rate = examination.learning_rate
        causes = {"frozen_parameters": weight, "lr_too_low": 1.0}
        if rate is not None and rate <= 0:
            causes["lr_too_low"] = 2.0
        if examination.idle_share > MOSTLY_IDLE:
            causes = {"schedule_bug": weight}
        return self.finding(
            f"{name} is {value:.5g} at all {len(curve)} points: the weights do not change.",
            metric=name,
            step_start=int(curve.step[0]),
            step_end=int(curve.step[-1]),
            evidence={"value": value, "points": len(curve), "distinct": int(np.unique(curve.value).size)},
            causes=causes,
            verdicts={PLATEAU: 4.0},
        )


def is_constant(curve: Curve, minimum: float, spread: float) -> bool:
    """Whether at least ``minimum`` points take at most two values, or lie within a relative ``spread``."""
    if len(curve) < minimum:
        return False
    low, high = float(curve.value.min()), float(curve.value.max())
    if max(abs(low), abs(high)) < SMALL:
        return False
    if spread > 0:
        return high - low <= spread * max(abs(low), abs(high))
    return int(np.unique(curve.value).size) <= 2


def is_rounded(curve: Curve) -> bool:
    """Whether all values have at most four significant digits."""
    return all(value == float(f"{value:.4g}") for value in curve.value.tolist())
