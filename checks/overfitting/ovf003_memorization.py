"""OVF003: the training loss has gone where only memorized text goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination, generalization_gap
from diag.vocabulary import INFO, OVERFIT, WARNING

LOW_LOSS = 0.3
"""Training loss, nats a token, that can coexist with garbage output (S3-188)."""
MINIMUM_EVALS = 4
"""Evaluations below which their best is not looked for."""
HARMFUL_GAP = math.log(5.0)
"""Generalization gap, log units, at which the training loss no longer says anything of the evaluation loss."""
EARLY, ROSE, FELL = 0.67, 0.02, math.log(3.0)
"""The best evaluation lies within this share of the run, the last one this far above it (log units), and the training loss has fallen to
a third since."""
FACTOR = 3.0
"""Evaluation loss over training loss that shows memorization."""


class Memorization(Check):
    """The training loss is so low that the model recites its training data.

    ## What it does
    Notes a final training loss below 0.3 nats a token in the fine-tuning of a language model, or one that is less
    than a third of the evaluation loss. It is a warning where the evaluation loss is five times the training loss, its best lies
    in the first two thirds of the run, and the training loss fell to a third after it.

    ## Why is this bad?
    The training loss measures memorization, the evaluation loss generalization; a model may look finished and
    produce garbage.

    ## When it stays silent
    For anything that is not known to be the fine-tuning of a language model, unless the evaluation loss is three
    times as large.

    ## What to do
    Judge by held-out data and by generated samples; use an earlier checkpoint.

    ## References
    Guide rows S3-012, S3-188, S3-189; fix F20.
    """

    code = "OVF003"
    name = "memorization"
    severity = INFO
    needs = ("train/loss",)
    rules = ("S3-012", "S3-188")
    patience = 0.1
    thresholds = (
        Threshold("low_loss", LOW_LOSS, "nats a token", 0.0, 100.0),
        Threshold("factor", FACTOR, "ratio of losses", 1.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(5)
        end = float(np.median(train.curve.value[-max(3, len(train) // 10) :]))
        held_out = float(examination.evals[0].curve.value[-1]) if examination.evals else None
        recites = held_out is not None and 0 < examination.threshold(self, "factor") * end < held_out
        if not recites and not examination.is_fine_tuning:
            raise Skip("not known to be the fine-tuning of a language model")
        if not recites and not 0 < end < examination.threshold(self, "low_loss"):
            return
        harmful = recites and harms(examination)
        yield self.finding(
            f"The training loss ends at {end:.3g}"
            + (f", the evaluation loss at {held_out:.3g}: " if held_out is not None else " and nothing was evaluated: ")
            + "judge by held-out data, not by this number.",
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[-1]),
            evidence={"train_loss": round(end, 6), "eval_loss": None if held_out is None else round(held_out, 6)},
            causes={"too_many_epochs": 2.6, "regularization_too_weak": 1.4, "capacity_too_high": 1.2}
            if harmful
            else {"too_many_epochs": 0.4}
            if recites
            else {},
            verdicts={OVERFIT: 2.8} if harmful else {},
            severity=WARNING if harmful else INFO,
        )


def harms(examination: Examination) -> bool:
    """Whether the first evaluation loss has become no better since an early best while the training loss fell to a fraction of it.

    The evaluations may rise too little, or be too few, for a test of the rise; with so wide a gap nothing else is left for the
    further steps to have done.
    """
    series, train = examination.evals[0], examination.train
    gap = generalization_gap(series, train)
    if len(series) < MINIMUM_EVALS or gap is None or train is None or gap < HARMFUL_GAP:
        return False
    best = int(np.argmin(series.y))
    before = train.y[train.step <= series.step[best]]
    fell = float(np.mean(before[-max(1, len(train) // 20) :])) - train.level(0.9, 1.0) if before.size else 0.0
    return series.progress[best] <= EARLY and float(series.y[-1] - series.y[best]) > ROSE and fell > FELL
