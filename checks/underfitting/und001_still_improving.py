"""UND001: the loss was still falling when the run ended."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, Threshold, percent
from diag.checks.underfitting._gain import QUARTERS, gain
from diag.examination import Examination, Series, generalization_gap
from diag.vocabulary import UNDERFIT, WARNING

MINIMUM_POINTS, MINIMUM_TRAIN_POINTS = 5, 20
"""Evaluations, and training losses where nothing was evaluated, below which nothing is extrapolated."""
GAIN_HOT = 0.022
"""Predicted gain of as much training again, log units, above which a run at an undecayed rate is undertrained."""
GAIN_UNKNOWN = 0.1
"""The same after several epochs without a training loss, where a gap that eats the gain up would not be seen."""
GAIN_COLD = 0.24
"""Predicted gain, log units, above which a run is undertrained whose learning rate has decayed or is unknown: annealing makes the last
quarter, in terms of the cumulative rate, steep in healthy runs as well (up to 0.2)."""
GAIN_COLD_REPEATED = 0.45
"""The same when the data were seen more than twice: each further pass gains less than the extrapolation says."""
ANNEALING = 4.0
"""Noise scales added to that: where evaluations swing at the peak rate, much of the late fall is the swings annealing away."""
GAIN_SMOOTH, SMOOTH_NOISE = 0.04, 80.0
"""Predicted gain that is enough in a short run whose evaluations are smooth: annealing can only take away noise, so where there
is none (80 noise scales are granted) a late fall is learning."""
SMOOTH_EVALS, SMOOTH_PASSES, SMOOTH_GAP = 8, 10.0, 0.1
"""What such a run is: evaluations enough to know their noise, few epochs, nothing memorized yet."""
GAP_HOT, GAP_COLD = 0.08, 0.2
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
MANY_PASSES = 4.0
"""Epochs after which a loss that still falls, with nothing memorized, says more of the size of the steps than of their number."""
LARGE_BATCH = 16
"""Samples an optimizer step from which on a smaller batch is worth its noise for the updates that it brings (S1-068, S1-069)."""
SHORT_RUN = 150
"""Optimizer steps below which a fine-tune is short by itself (guides: at least 100)."""
UNFINISHED = 0.9
"""Share of the planned steps below which the run was cut off."""
HOT = 0.5
"""Share of its peak from which on the learning rate at the end is undecayed."""
LOST = 0.1
"""Distance of the end from the lowest level, log units, from which on a loss that falls only comes back from where it rose to."""
FEW_UPDATES, GAIN_FEW_UPDATES = 100, 0.02
"""Optimizer steps that the guides ask for at least, and a fall over the last quarter of fewer, log units, that says they were too few."""
ONE_PASS = 2.0
"""Epochs up to which nothing can have been memorized yet: what the loss still gains, it gains on samples it sees for the first time."""
GAIN_ONE_PASS = 0.05
"""Fall over the last quarter of such a run, log units, that a decayed rate does not explain (healthy controls of several epochs: 0.055
at most)."""


class StillImproving(Check):
    """The loss was still falling at the end, and more steps would clearly gain.

    ## What it does
    Draws the evaluation loss (the training loss where nothing was evaluated) against the cumulative learning rate and
    compares the last two quarters. Fires when as much training again promises more than 2% at an undecayed rate, 4% in a
    run of few epochs with smooth evaluations, or a quarter of the loss after decay otherwise, beyond the noise; within two
    epochs also when the last quarter alone brought 5%.

    ## Why is this bad?
    The run was paid for and stopped before it was done.

    ## When it stays silent
    When the generalization gap is wide already (more steps would overfit), when the last quarter brought much less
    than the one before, when noise hides the trend, when the loss ends 10% above its lowest level. A fall of 0.05
    over the last ten points, the naive test, fires on noise alone.

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
    premature = "a loss that still falls is what it should do"
    thresholds = (
        Threshold("gain_hot", GAIN_HOT, "log units", 0.0, 10.0),
        Threshold("gain_cold", GAIN_COLD, "log units", 0.0, 10.0),
    )

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
            if (examination.passes or 0.0) > FEW_PASSES:
                raise Skip("the data were repeated; without evaluations the training loss cannot tell learning from memorizing")
        if series.above_lowest > LOST:
            raise Skip(f"{series.name} ends far above its lowest level: what it gains late it had lost before")
        measured = gain(examination, series)
        train, passes = examination.train, examination.passes
        overfits = generalization_gap(series, train)
        unmemorized = (overfits or 0.0) < SAME
        if evaluated and overfits is not None and abs(overfits) < SAME and train is not None and len(train) >= MINIMUM_TRAIN_POINTS:
            by_train = gain(examination, train)
            if by_train.error < measured.error:
                measured = by_train  # nothing was memorized: the training loss measures the same with more points
        hot = float(examination.schedule(series.step[-1:])[0]) >= HOT and schedule_is_known(examination)
        if hot and evaluated:
            unknown = overfits is None and (passes or math.inf) > FEW_PASSES
            sure = measured.predicted * (1 - measured.error / measured.latest) if measured.latest > 0 else 0.0
            enough = sure > (GAIN_UNKNOWN if unknown else examination.threshold(self, "gain_hot"))
        else:
            annealing = ANNEALING * series.sigma if evaluated else 0.0
            repeated = (passes or 0.0) > FEW_PASSES
            threshold = GAIN_COLD_REPEATED if repeated else examination.threshold(self, "gain_cold")
            enough = measured.predicted - QUARTERS * measured.error > threshold + annealing
            if evaluated and len(series) >= SMOOTH_EVALS and (passes or math.inf) < SMOOTH_PASSES and (overfits or 0.0) < SMOOTH_GAP:
                enough = enough or measured.predicted > GAIN_SMOOTH + SMOOTH_NOISE * series.sigma
            if evaluated and unmemorized and examination.updates < FEW_UPDATES:
                enough = enough or measured.latest > GAIN_FEW_UPDATES
            if evaluated and unmemorized and (passes or math.inf) <= ONE_PASS:
                enough = enough or measured.latest > GAIN_ONE_PASS
        certain = measured.latest > (CERTAIN if evaluated else 2 * CERTAIN) * measured.error
        if hot and evaluated and not certain:
            certain = stats.falling_p_value(series.y[series.progress >= 0.5]) < TREND_ALPHA
        memorizes = overfits is not None and overfits - gap_error(train) > (GAP_HOT if hot else GAP_COLD)
        if memorizes or not (enough and certain):
            return
        total = examination.run.steps
        short = examination.updates < SHORT_RUN
        crawls = unmemorized and (passes or 0.0) >= MANY_PASSES
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
            causes=causes_of(
                short=short, unfinished=unfinished, crawls=crawls, large=(examination.number("global_batch_size") or 0.0) >= LARGE_BATCH
            ),
            verdicts={UNDERFIT: 3.5 if short else 3.0},
        )


def schedule_is_known(examination: Examination) -> bool:
    """Whether the learning rate at the end is known, from the log or the configuration."""
    return examination.lr is not None or examination.hyperparameter("lr_scheduler") is not None


def gap_error(train: Series | None) -> float:
    """Standard error of the training level that a generalization gap is measured from."""
    if train is None or math.isnan(train.sigma):
        return 0.0
    return train.sigma / math.sqrt(max(3, train.points(0.8, 1.0)))


def causes_of(*, short: bool, unfinished: bool, crawls: bool, large: bool) -> dict[str, float]:
    """Weights of evidence for why the loss still falls: too few epochs, too few updates in them, or updates that are too small."""
    if short and crawls and large and not unfinished:
        return {"batch_too_large": 2.8, "lr_too_low": 2.0, "too_few_epochs": 2.2}
    if short or unfinished:
        return {"too_few_epochs": 3.0, "lr_too_low": 1.2}
    return {"too_few_epochs": 1.8, "lr_too_low": 2.2} if crawls else {"too_few_epochs": 2.0, "lr_too_low": 1.6}
