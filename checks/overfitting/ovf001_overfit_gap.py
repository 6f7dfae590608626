"""OVF001: the evaluation loss rose from its best."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.checks.learning_rate._bands import excess
from diag.checks.overfitting._gap import best_epoch, gap
from diag.examination import Examination, Series, generalization_gap
from diag.vocabulary import ERROR, INFO, OVERFIT, WARNING

PROBLEM = 0.05
"""Relative rise from the best evaluation to the end that is a problem (S3-114, S3-205)."""
SIGNIFICANT = 0.10
"""Relative rise from the best evaluation to the end that is an error (S3-114, S3-205)."""
FEW_EVALS = 6
"""Below this many evaluations the noise cannot be measured; a rise then needs to be larger, or to hold over two evaluations."""
FEW_EVALS_RISE = 0.10
"""Relative rise that is large enough for that."""
TRAIN_SIGMAS = 2.0
"""With few evaluations the noise of the training loss is an upper bound of theirs: a small rise must exceed twice that."""
TREND_ALPHA, TREND_SHARE = 0.05, 0.5
"""p-value at which an upward trend since the best is significant, and the share of what noise alone would show that the rise then needs:
such a trend may stand in for the rest."""
MEMORIZED = 0.3
"""Generalization gap (log units) at the end that makes a steady rise of few evaluations one of memorizing."""
MEMORIZED_RISES = 3
"""Rises in a row that such a steady rise has."""
EARLY_POINTS = 5
"""Points that the noise of the early training loss is measured on at least."""
KEPT_BEST_RISE = 0.10
"""With early stopping and the best model restored, the part after the best is the patience: a rise below this is its price."""


class OverfitGap(Check):
    """The evaluation loss rises from its best while the training loss keeps falling.

    ## What it does
    Compares the end of each evaluation loss with its best, three evaluations averaged on either side, and asks for a
    rise of 5% that exceeds what noise alone would show after so many looks, or for a significant upward trend since
    the best. 10% and more is severe. Of a few evaluations single ones are compared: a rise must be large beside the noise of
    the training loss, or consist of three in a row far above the training loss.

    ## Why is this bad?
    Every step after the best evaluation made the model worse on data it has not seen.

    ## When it stays silent
    When the rise is within noise, when the training loss rises as well (that is instability), and when early stopping
    with the best model restored ended the run: the rise is then the price of its patience.

    ## What to do
    Keep the best checkpoint. Next time stop there: fewer epochs or early stopping with patience 3; then a smaller
    rank, more dropout, more weight decay, more data.

    ## References
    Guide rows S0-045, S1-064, S1-075, S3-054, S3-114, S3-205; fix F11. The rise is Prechelt's generalization loss
    (1998) at the end of training.
    """

    code = "OVF001"
    name = "overfit-gap"
    severity = WARNING
    needs = ("eval/loss",)
    rules = ("S0-045", "S1-075", "S3-114", "S3-205")
    patience = 0.1
    thresholds = (
        Threshold("problem", PROBLEM, "relative rise", 0.0, 100.0),
        Threshold("significant", SIGNIFICANT, "relative rise", 0.0, 100.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """One finding an evaluation loss that overfits; the first carries the verdict."""
        weighed = False
        problem, significant = examination.threshold(self, "problem"), examination.threshold(self, "significant")
        for series in examination.require_evals(2):
            measured = gap(series, examination.train)
            rise = math.expm1(min(measured.rise, 50.0))
            few = len(series) < FEW_EVALS
            beyond_noise = measured.rise > measured.noise or (
                measured.p_value < TREND_ALPHA and measured.rise > TREND_SHARE * measured.noise
            )
            if few:
                steady = len(series) - measured.best > 2 and bool(np.all(np.diff(series.y[measured.best :]) > 0))
                bound = 0.0 if examination.train is None else early_noise(examination.train)
                large = rise > FEW_EVALS_RISE and measured.rise > bound
                memorized = (generalization_gap(series, examination.train) or 0.0) > MEMORIZED
                memorized = memorized and len(series) - measured.best > MEMORIZED_RISES
                beyond_noise = len(series) >= 3 and (large or (steady and (memorized or measured.rise > TRAIN_SIGMAS * bound)))
            if rise <= problem or not beyond_noise or measured.best >= len(series) - 1:
                continue
            best_step = int(series.curve.step[measured.best])
            stopped = (
                bool(examination.hyperparameter("load_best_model_at_end")) and examination.number("early_stopping_patience") is not None
            )
            kept = stopped and rise < KEPT_BEST_RISE
            if not measured.train_falls:
                continue
            severity = INFO if kept else ERROR if rise > significant and not few else WARNING
            epoch = best_epoch(examination, series, measured.best)
            early = series.progress[measured.best] <= 1 / 3
            yield self.finding(
                f"{series.name} rises {100 * rise:.3g}% from its best {float(series.curve.value[measured.best]):.4g} at step {best_step} "
                f"to {float(series.curve.value[-1]):.4g} while the training loss keeps falling.",
                severity=severity,
                metric=series.name,
                step_start=best_step,
                step_end=int(series.curve.step[-1]),
                evidence={
                    "best": round(float(series.curve.value[measured.best]), 6),
                    "final": round(float(series.curve.value[-1]), 6),
                    "relative_gap": round(rise, 4),
                    "noise": round(math.expm1(min(measured.noise, 50.0)), 4),
                    "best_step": best_step,
                    "best_epoch": None if epoch is None else round(epoch, 3),
                    "early": bool(early),
                },
                causes={}
                if weighed
                else {
                    "too_many_epochs": 3.0,
                    "regularization_too_weak": 1.2,
                    "capacity_too_high": 0.9,
                    "lr_too_high": (0.8 if early else 0.2) + max(0.0, min(2.0, excess(examination) or 0.0)),
                },
                verdicts={} if weighed or kept else {OVERFIT: 2.2 if few else 4.0 if rise > significant else 3.0},
            )
            weighed = True


def early_noise(train: Series) -> float:
    """Noise of the training loss before it is memorized: near zero a loss varies by factors, which says nothing of the evaluations."""
    third = stats.noise_scale(train.y[: max(EARLY_POINTS, len(train) // 3)])
    return float(np.nanmin([third, train.sigma, np.inf]))
