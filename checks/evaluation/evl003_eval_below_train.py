"""EVL003: the evaluation loss does not lie above the training loss where it must."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination, Series
from diag.vocabulary import INFO, WARNING

REPEATS = 8.0
"""Epochs after which a model has seen each sample so often that its training loss is lower than on samples it never saw.

From 3 epochs on overfitting is likely (S3-047), beyond 3 nearly certain on small sets (S1-077); this is more than twice that.
"""
SMALL = 5000
"""Training samples up to which the guides call a data set small (S1-077): repeated that often it is memorized."""
MANY_REPEATS = 12.0
"""The same with dropout, which raises the training loss only, and for runs of fewer than 100 steps."""
FEW_STEPS, MINIMUM_STEPS = 100, 60
"""Optimizer steps below which a model had little opportunity to memorize anything (guides: at least 100), and none at all."""
LEARNT = 0.2
"""Fall of the training loss, relative, below which there was nothing to memorize."""
PASSES = 100.0
"""Epochs above which an inferred data set size is not trusted to be one that can be memorized: so many passes are made over
generated, augmented or enumerated samples."""
NO_GAP = 0.05
"""Upper confidence limit of the relative gap below which there is none."""
ROSE = 0.1
"""Rise of the training loss from its best level, log units, that has a reason of its own, such as corrupt batches."""
BELOW = -0.05
"""Relative gap below which the evaluation loss lies clearly under the training loss."""
SKIPPED_SHARE = 1 / 3
"""Share of the run at its beginning that is not compared: the loss falls too fast there."""
Z = 1.645
"""Standard normal quantile of a one-sided 95% limit."""
MINIMUM_EVALUATIONS, MINIMUM_TRAIN = 5, 4
"""Fewest evaluations, and fewest training points to compare with them."""
FITTED = 0.15
"""Fall of the log training loss after its first tenth that shows samples being fitted; a net that only predicts the mean has no gap."""


class Gap(NamedTuple):
    """How far the evaluation loss lies above the training loss, in logarithms of the loss.

    Attributes:
        mean: the larger of the difference of the mean losses (in logarithms) and the mean difference of the logarithms: where losses are
            very noisy the two differ, and neither alone may show a leak.
        error: standard error of the mean.
        points: training points that were compared.
    """

    mean: float
    error: float
    points: int


class EvalBelowTrain(Check):
    """The evaluation loss stays at or below the training loss although the training data are repeated many times.

    ## What it does
    Compares the evaluation loss, interpolated, with each training loss at the middle of the window that the training
    loss was averaged over, leaving out the first third of the run. Where a small training set was repeated 8 times or
    more without dropout, a model fits its training samples better than others; if the evaluation loss is no higher
    beyond the noise, the evaluation samples were probably trained on. Elsewhere an evaluation loss clearly below the
    training loss is remarked on.

    ## Why is this bad?
    An evaluation on training samples measures memory. Checkpoints chosen by it overfit, and the true loss is unknown.

    ## When it stays silent
    With dropout, which raises the training loss only, and in runs of fewer than 100 steps below 12 epochs; below 60 steps and
    below 5 evaluations; when the training loss hardly fell, or rose again. Label smoothing, augmentation and an easier
    evaluation set also put the evaluation loss below the training loss: without the many repetitions it is a remark,
    not a warning.

    ## What to do
    Look for evaluation samples in the training data (duplicates, the same split, a split by row where samples belong
    together). Hold out a random 5-10% before anything else.

    ## References
    Guide rows S1-003, S1-077, S1-108, S3-047, S3-191.
    """

    code = "EVL003"
    name = "eval-below-train"
    severity = WARNING
    needs = ("train/loss", "eval/loss")
    rules = ("S1-003", "S1-077", "S1-108", "S3-047", "S3-191")
    premature = "a gap between training and evaluation loss may still open"
    thresholds = (
        Threshold("repeats", REPEATS, "epochs", 1.0, 1e6),
        Threshold("no_gap", NO_GAP, "log units", 0.0, 10.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, about the first evaluation loss."""
        series = examination.require_evals(MINIMUM_EVALUATIONS)[0]
        train = examination.require_train(MINIMUM_TRAIN + 2)
        if float(train.curve.value.min()) <= 0 or float(series.curve.value.min()) <= 0:
            raise Skip("a loss that reaches zero or below cannot be compared by ratio")
        gap = compare(train, series)
        if gap is None:
            raise Skip(f"fewer than {MINIMUM_TRAIN} training losses lie between the evaluations")
        if train.above_lowest > ROSE:
            raise Skip("the training loss rose again; what raised it need not be in the evaluation samples")
        fall = 1 - math.exp(train.level(0.85, 1.0) - train.level(0.0, 0.1))
        upper = gap.mean + Z * gap.error
        no_gap = examination.threshold(self, "no_gap")
        if fall < LEARNT or upper > no_gap:
            return
        repeats, samples = examination.passes, examination.number("dataset_size")
        wanted = examination.threshold(self, "repeats")
        if regularized(examination) or examination.updates < FEW_STEPS:
            wanted = max(wanted, MANY_REPEATS)
        enough = examination.updates >= MINIMUM_STEPS and repeats is not None and repeats >= wanted
        memorizes = enough and samples is not None and (samples <= SMALL or not examination.is_configured("dataset_size"))
        memorizes = memorizes and train.level(0.1, 0.25) - train.level(0.85, 1.0) > FITTED
        memorizes = memorizes and (examination.is_configured("dataset_size") or (repeats or 0.0) <= PASSES)
        if not memorizes and (regularized(examination) or not (gap.mean < BELOW and upper < 0)):
            return
        relation = "no higher than" if gap.mean > -no_gap / 2 else f"{100 * -math.expm1(gap.mean):.2g}% below"
        message = f"{series.name} stays {relation} the training loss"
        if memorizes:
            message += (
                f" after {repeats:.0f} epochs over {samples:.0f} samples: the evaluation samples seem to be among the training samples."
            )
        else:
            message += ": label smoothing, augmentation or easier samples can explain it, evaluating on training samples too."
        yield self.finding(
            message,
            severity=WARNING if memorizes else INFO,
            metric=series.name,
            step_start=int(series.curve.step[0]),
            step_end=int(series.curve.step[-1]),
            evidence={
                "relative_gap": round(math.expm1(gap.mean), 4),
                "upper_limit": round(math.expm1(upper), 4),
                "epochs": None if repeats is None else round(repeats, 2),
                "train_fall": round(fall, 4),
            },
            causes={"eval_leak": 4.0 if memorizes else 0.1},
        )


def compare(train: Series, series: Series) -> Gap | None:
    """The gap over the later part of the run; None where too few training points lie between the evaluations.

    A logged training loss is the mean since the last log, so it belongs half an interval before its step.
    """
    step = train.step
    interval = float(np.median(np.diff(step, prepend=0.0)))
    middle = step - interval / 2
    first, last = float(series.step[0]), float(series.step[-1])
    inside = (middle >= first + SKIPPED_SHARE * (last - first)) & (middle <= last)
    points = int(inside.sum())
    if points < MINIMUM_TRAIN:
        return None
    evaluated = np.interp(middle[inside], series.step, series.y)
    difference = evaluated - train.y[inside]
    mean = math.log(float(np.exp(evaluated).mean()) / float(np.exp(train.y[inside]).mean()))
    return Gap(max(mean, float(difference.mean())), float(difference.std(ddof=1)) / math.sqrt(points), points)


def regularized(examination: Examination) -> bool:
    """Whether dropout raises the training loss above the evaluation loss by itself."""
    return any((examination.number(name) or 0.0) > 0 for name in ("dropout", "lora_dropout"))
