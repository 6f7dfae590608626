"""UND008: a net trained from scratch hardly fits its own training data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold, percent
from diag.checks.learning_rate._bands import usual_band
from diag.checks.underfitting.und001_still_improving import SHORT_RUN
from diag.checks.underfitting.und002_no_progress import DEEP, saturating_depth
from diag.checks.underfitting.und007_narrow_layers import hidden_width
from diag.examination import Examination, generalization_gap
from diag.vocabulary import PLATEAU, UNDERFIT, WARNING

MINIMUM_TRAIN, MINIMUM_EVALS = 20, 4
"""Training losses and evaluations below which nothing is said."""
PASSES = 2.5
"""Epochs after which a net that can learn its data fits them better than others (over three, most healthy controls of the fault benchmark
do by a tenth and more)."""
GAP = 0.06
"""Generalization gap, log units, up to which there is none (healthy controls that fell as little: 0.09 and more)."""
FALL = 0.3
"""Fall of the log training loss over the run that is little for a net that began with random weights."""
MOST_DROPOUT = 0.3
"""Dropout above which a training loss is no lower than an evaluation loss for that reason alone."""
FIRST, LAST = 0.04, 0.83
"""Shares of the run up to which, and from which on, the levels are taken that the fall is measured between."""
MOVED = 0.05
"""Fall below which the loss did not move at all, which UND002 looks at."""
LOW = 30.0
"""A rate this many times below the upper end of the usual ones is the first suspect."""


class BarelyFitted(Check):
    """A net trained from scratch ends no better on its own training data than on other data, and good on neither.

    ## What it does
    Where the configuration spells the layers out, so that the net begins with random weights: compares training and evaluation loss
    at the end. Fires when after two and a half epochs or more there is no gap between them and the training loss fell by
    less than a quarter over the run.

    ## Why is this bad?
    A schedule that decays makes any curve flat at its end: it looks converged. A net with the room and the steps to learn
    begins to fit its own samples better than others; one that does not has learned only what is easiest.

    ## When it stays silent
    For fine-tuning, where little movement is usual; with dropout of more than 0.3; when the loss fell by more than a quarter, or
    a gap has opened.

    ## What to do
    Raise the learning rate where it is low for the optimizer, take a smaller batch where there were few updates; else check that all
    layers train and are wide enough.

    ## References
    Guide rows S1-059, S1-069, S1-073, S1-200; fixes F06, F08.
    """

    code = "UND008"
    name = "barely-fitted"
    severity = WARNING
    needs = ("train/loss", "eval/loss")
    rules = ("S1-059", "S1-069", "S1-073", "S1-200")
    premature = "a gap between training and evaluation loss may still open"
    thresholds = (
        Threshold("gap", GAP, "log units", 0.0, 10.0),
        Threshold("fall", FALL, "log units", 0.0, 10.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train, series = examination.require_train(MINIMUM_TRAIN), examination.require_evals(MINIMUM_EVALS)[0]
        if examination.is_fine_tuning or hidden_width(examination) is None:
            raise Skip("not known to be a net trained from scratch")
        if (examination.passes or 0.0) < PASSES or (examination.number("dropout") or 0.0) > MOST_DROPOUT:
            raise Skip(f"fewer than {PASSES:g} epochs, or much dropout: no gap is to be expected")
        gap = generalization_gap(series, train)
        if gap is None or examination.has_nonfinite_loss:
            raise Skip("the losses cannot be compared")
        fall = train.level(0.0, FIRST) - train.level(LAST, 1.0)
        error = 0.0 if math.isnan(train.sigma) else train.sigma / math.sqrt(max(1, train.points(0.0, FIRST)))
        if gap > examination.threshold(self, "gap") or fall + error > examination.threshold(self, "fall") or fall < MOVED:
            return
        yield self.finding(
            f"After {examination.passes:.3g} epochs the training loss has fallen by {percent(-max(fall, 0.0))} and is no lower than"
            f" {series.name}: the net hardly fits its own data.",
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[-1]),
            evidence={"generalization_gap": round(gap, 4), "fall": round(fall, 4), "updates": round(examination.updates)},
            causes=suspects(examination),
            verdicts={UNDERFIT: 3.0, PLATEAU: 2.0},
        )


def suspects(examination: Examination) -> dict[str, float]:
    """Weights of evidence for why: what the configuration shows first, then how many and how long the steps were."""
    rate, band = examination.learning_rate, usual_band(examination)
    if saturating_depth(examination) >= DEEP:
        return {"vanishing_gradients": 3.2}
    if rate is not None and rate < band.high / LOW:
        return {"lr_too_low": 2.6, "too_few_epochs": 1.4}
    if rate is not None and rate > band.high:
        return {"lr_too_high": 2.4, "capacity_too_low": 1.2}
    if examination.updates < SHORT_RUN:
        return {"batch_too_large": 2.4, "too_few_epochs": 2.2, "lr_too_low": 1.6}
    return {"frozen_parameters": 2.0, "capacity_too_low": 1.6, "lr_too_low": 1.2}
