"""UND001: the loss was still falling when the run ended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, percent
from diag.checks.underfitting._gain import QUARTERS, gain, generalization_gap
from diag.examination import Examination
from diag.vocabulary import UNDERFIT, WARNING

MINIMUM_POINTS = 5
MINIMUM_TRAIN_POINTS = 20
GAIN_HOT = 0.022
"""Predicted gain of as much training again, log units, above which a run at an undecayed rate is undertrained."""
GAIN_COLD = 0.24
"""The same where the learning rate has decayed or is unknown: annealing makes the last quarter, in terms of the cumulative
rate, steep in healthy runs as well (up to 0.2)."""
GAIN_COLD_REPEATED = 0.45
"""The same when the data were seen more than twice: each further pass gains less than the extrapolation says."""
ANNEALING = 4.0
"""Noise scales added to that: where evaluations swing at the peak rate, much of the late fall is the swings annealing away."""
GAIN_SMOOTH, SMOOTH_NOISE = 0.04, 80.0
"""Predicted gain that is enough in a short run whose evaluations are smooth: annealing can only take away noise, so where there
is none (80 noise scales are granted) a late fall is learning."""
SMOOTH_EVALS, SMOOTH_STEPS, SMOOTH_GAP = 8, 1000, 0.1
"""What such a run is: evaluations enough to know their noise, few optimizer steps, nothing memorized yet."""
GAP_HOT, GAP_COLD = 0.12, 0.2
"""Generalization gap (log units) above which further epochs feed memorization rather than the evaluation loss."""
SAME = 0.05
"""Generalization gap up to which training and evaluation loss measure the same thing."""
CERTAIN = 3.0
"""The last quarter's drop must exceed this many standard errors; twice that for a training loss."""
TREND_ALPHA = 0.02
"""At an undecayed rate a significant downward trend over the second half of the run is as good."""
QUIET = 0.15
"""Noise of a training loss (log units) up to which its fall can be read without evaluations."""
FEW_PASSES = 2.0
"""Epochs above which a training loss also falls by memorizing."""
SHORT_RUN = 150
"""Optimizer steps below which a fine-tune is short by itself (guides: at least 100)."""
UNFINISHED = 0.9
HOT = 0.5


class StillImproving(Check):
    """The loss was still falling at the end, and more steps would clearly gain.

    ## What it does
    Draws the evaluation loss (the training loss where nothing was evaluated) against the cumulative learning rate and
    compares the last two quarters. Fires when as much training again promises more than 2% at an undecayed rate, 4% in a
    short run with smooth evaluations, or a quarter of the loss after decay otherwise, beyond the noise.

    ## Why is this bad?
    The run was paid for and stopped before it was done.

    ## When it stays silent
    When the generalization gap is wide already (more steps would overfit), when the last quarter brought much less
    than the one before, when noise hides the trend. A fall of 0.05 over the last ten points, the naive test, fires on
    noise alone.

    ## What to do
    One or two more epochs, or a higher learning rate if the fall was slow throughout.

    ## References
    Guide rows S1-073, S3-118, S3-119; fix F13.
    """

    code = "UND001"
    name = "still-improving"
    severity = WARNING
    needs = ()
    rules = ("S1-073", "S3-118", "S3-119")

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        if examination.has_nonfinite_loss:
            raise Skip("the loss is not finite")
        series = next((one for one in examination.evals if len(one) >= MINIMUM_POINTS), None)
        evaluated = series is not None
        if series is None:
            series = examination.require_train(MINIMUM_TRAIN_POINTS)
            if series.sigma > QUIET:
                raise Skip("the training loss is too noisy to extrapolate, and nothing was evaluated")
            if (passes(examination) or 0.0) > FEW_PASSES:
                raise Skip("the data were repeated; without evaluations the training loss cannot tell learning from memorizing")
        measured = gain(examination, series)
        overfits = generalization_gap(series, examination.train)
        train = examination.train
        if evaluated and overfits is not None and abs(overfits) < SAME and train is not None and len(train) >= MINIMUM_TRAIN_POINTS:
            by_train = gain(examination, train)
            if by_train.error < measured.error:
                measured = by_train  # nothing was memorized: the training loss measures the same with more points
        hot = float(examination.schedule(series.step[-1:])[0]) >= HOT and schedule_is_known(examination)
        if hot and evaluated:
            enough = measured.predicted > GAIN_HOT
        else:
            annealing = ANNEALING * series.sigma if evaluated else 0.0
            repeated = (passes(examination) or 0.0) > FEW_PASSES
            threshold = GAIN_COLD_REPEATED if repeated else GAIN_COLD
            enough = measured.predicted - QUARTERS * measured.error > threshold + annealing
            if evaluated and len(series) >= SMOOTH_EVALS and examination.run.steps < SMOOTH_STEPS and (overfits or 0.0) < SMOOTH_GAP:
                enough = enough or measured.predicted > GAIN_SMOOTH + SMOOTH_NOISE * series.sigma
        certain = measured.latest > (CERTAIN if evaluated else 2 * CERTAIN) * measured.error
        if hot and evaluated and not certain:
            certain = stats.falling_p_value(series.y[series.progress >= 0.5]) < TREND_ALPHA
        memorizes = overfits is not None and overfits > (GAP_HOT if hot else GAP_COLD)
        if memorizes or not (enough and certain):
            return
        total = examination.run.steps
        short = total < SHORT_RUN
        unfinished = bool(examination.run.planned_steps and total < UNFINISHED * examination.run.planned_steps)
        yield self.finding(
            f"{series.name} was still falling: {percent(-measured.latest)} over the last quarter of the training, "
            f"and about {percent(-measured.predicted)} more to gain from as much again.",
            metric=series.name,
            step_start=int(series.curve.step[int(np.searchsorted(series.progress, 0.75))]),
            step_end=int(series.curve.step[-1]),
            evidence={
                "latest_gain": round(measured.latest, 4),
                "earlier_gain": round(measured.earlier, 4),
                "predicted_gain": round(measured.predicted, 4),
                "generalization_gap": None if overfits is None else round(overfits, 4),
                "steps": total,
                "unfinished": unfinished,
            },
            causes={"too_few_epochs": 3.0 if short or unfinished else 2.0, "lr_too_low": 1.2 if short else 1.6},
            verdicts={UNDERFIT: 3.5 if short else 3.0},
        )


def schedule_is_known(examination: Examination) -> bool:
    """Whether the learning rate at the end is known, from the log or the configuration."""
    return examination.lr is not None or examination.hyperparameter("lr_scheduler") is not None


def passes(examination: Examination) -> float | None:
    """Epochs trained, None if unknown."""
    train = examination.train
    if train is not None and bool(np.isfinite(train.curve.epoch).any()):
        return float(np.nanmax(train.curve.epoch))
    return examination.number("num_epochs")
