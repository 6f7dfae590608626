"""UND002: the loss never moved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.checks.learning_rate._bands import usual_band
from diag.examination import Examination, Series
from diag.run import FloatArray
from diag.vocabulary import ERROR, PLATEAU, UNDERFIT

MINIMUM_POINTS = 6
"""Logged training losses below which nothing is said."""
MOVED = 0.03
"""Fall (log units, 0.03 is 3%) from the first losses below which the run has not learned anything (peers: 2 to 5%)."""
MOVED_TO_CHANCE = 0.06
"""The same for a net trained from scratch that ends at the loss of a guess: its first losses are those of a guess that is sure."""
MOVED_AT_MOST = 0.10
"""Noise may excuse a larger drop, but nobody calls a loss that fell by more than 10% unmoved."""
LATE_START = 0.05
"""A first loss after this share of the run may have missed the whole fall."""
JUMPY = 0.01
"""Change of the evaluation loss from one evaluation to the next, log units, that takes large steps at a loss that stays."""
PLAIN_REASON = 3.0
"""Weight of a reason that stands in the configuration or the log."""
CHANCE = (2, 5, 10, 20, 100, 1000, 32000, 50257, 50304, 100277, 128256, 151936)
"""Numbers of classes and vocabulary sizes whose logarithm is the loss of a guess."""
CHANCE_WIDTH = 0.02
"""Relative distance from the loss of a guess."""
ROSE = math.log(1.25)
"""A loss that ends this far above its start has moved, upward."""
UNCHANGED = 5e-3
"""Range of the evaluation loss, relative, that means the weights did not change."""
FAR_ABOVE = 3.0
"""Times the upper end of the usual rates from which on a flat loss is blamed on the rate."""
MOSTLY_IDLE = 0.3
"""Share of the run at a learning rate of zero that explains a flat loss by itself."""
SATURATING = ("sigmoid", "tanh")
"""Activations whose slope goes to zero far from zero."""
DEEP = 5
"""Layers from which on a saturating activation starves the first ones of gradient."""
TIGHT_RATIO = 5.0
"""Gradient norm over clipping threshold from which on clipping rather than the learning rate sets the step."""
HUGE_DECAY = 0.3
"""Weight decay that holds the weights at zero: three times the largest recommended one."""
LATE = 2 / 3
"""Share of the run from which on its loss is taken for the level that it reached."""
EARLY = (1 / 50, 1 / 24, 1 / 12)
"""Shares of the points whose mean is taken for the level at the start: a fall within the first steps shows in the shortest, a small
one under noise in the longest."""
CERTAIN, LIKELY = 3.0, 1.5
"""Standard errors by which a fall must exceed zero for any of three looks, and for the most certain one where it is large."""


class Fall(NamedTuple):
    """A difference of log losses and its standard error."""

    drop: float
    error: float


def early_falls(train: Series, late: FloatArray) -> list[Fall]:
    """The fall from the mean of the first points to that of the late ones, for each of EARLY; the last one is the most certain.

    Means rather than the best of several medians: of a loss that only varies, the best of eight noisy blocks lies below
    the first one by more than most fine-tunes gain.
    """
    sigma = 0.0 if math.isnan(train.sigma) else train.sigma
    counts = sorted({max(1, min(round(share * len(train)), len(train) // 3)) for share in EARLY})
    return [Fall(float(train.y[:n].mean() - late.mean()), sigma * math.sqrt(1 / n + 1 / late.size)) for n in counts]


class NoProgress(Check):
    """The training loss is as high at the end as at the start.

    ## What it does
    Compares the first losses with those of the last third. Fires when the drop is below 3% (and the evaluation loss did
    not move either), and then looks at what the log and the configuration say about the reason: a rate below every usual
    one, or (nearly) zero for much of the run, a clipping threshold far below the gradient norm, a deep net of saturating
    units, a huge weight decay, a rate so high that the net collapsed at once.

    ## Why is this bad?
    Nothing was trained.

    ## When it stays silent
    When the first loss was logged late, after most of the early fall, the drop cannot be seen; without a
    point in the first 5% of the run the check asks for the loss of a guess (ln 10 for ten classes) or a plain reason.

    ## What to do
    Check which parameters require gradients and whether labels are masked; then raise the learning rate five-fold.

    ## References
    Guide rows S1-059, S1-076, S1-198, S3-034; fix F06.
    """

    code = "UND002"
    name = "no-progress"
    severity = ERROR
    needs = ("train/loss",)
    rules = ("S1-059", "S1-076", "S3-034")
    patience = 0.5
    thresholds = (Threshold("moved", MOVED, "log units", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(MINIMUM_POINTS)
        if examination.has_nonfinite_loss:
            raise Skip("the loss is not finite")
        if float(train.step[0]) > 0.1 * examination.total_steps:
            raise Skip("the first loss was logged after a tenth of the run")
        if float(np.ptp(train.curve.value)) == 0 or float(train.curve.value.min()) <= 0:
            raise Skip("the loss is constant or not positive; see LOG003 and LOG004")
        late = train.y[train.progress >= LATE]
        falls = early_falls(train, late)
        evals = [one for one in examination.evals if len(one) >= 3]
        eval_drop = max((float(one.y[0] - one.y.min()) for one in evals), default=0.0)
        eval_noise = max((one.sigma for one in evals if not math.isnan(one.sigma)), default=0.0)
        drop = falls[-1].drop
        guesses = not examination.is_fine_tuning and at_chance(float(np.exp(late.mean())))
        moved = MOVED_TO_CHANCE if guesses else examination.threshold(self, "moved")
        if any(fall.drop > max(moved, CERTAIN * fall.error) for fall in falls) or drop > max(MOVED_AT_MOST, LIKELY * falls[-1].error):
            return
        if eval_drop > max(moved, min(3 * eval_noise, MOVED_AT_MOST)):
            return
        start, end = drop + float(late.mean()), float(late.mean())
        if drop > MOVED_AT_MOST or (not evals and drop + LIKELY * falls[-1].error > MOVED_AT_MOST):
            raise Skip("the loss is too noisy to tell")
        if end - start > ROSE:
            raise Skip("the loss rose; see DIV002")
        causes = self.reasons(examination, [one.curve.value for one in evals])
        begins_late = float(train.step[0]) > LATE_START * examination.total_steps
        if begins_late and not at_chance(float(np.exp(train.level(0.5, 1.0)))) and max(causes.values()) < PLAIN_REASON:
            raise Skip("the first loss was logged after 5% of the run, and nothing says why the loss should not have fallen before")
        yield self.finding(
            f"The training loss did not move: {float(np.exp(start)):.4g} at the start, {float(np.exp(end)):.4g} at the end.",
            metric="train/loss",
            step_start=int(train.curve.step[0]),
            step_end=int(train.curve.step[-1]),
            evidence={"relative_drop": round(drop, 4), "eval_drop": round(eval_drop, 4) if evals else None},
            causes=causes,
            verdicts={PLATEAU: 5.0, UNDERFIT: 2.5},
        )

    @staticmethod
    def reasons(examination: Examination, evals: list[np.ndarray]) -> dict[str, float]:
        """Weights of evidence for the causes of a flat loss."""
        clip, decay = examination.number("max_grad_norm"), examination.number("weight_decay")
        norm = examination.run.curve("grad_norm")
        median_norm = float(np.median(norm.finite().value)) if norm is not None and len(norm.finite()) else None
        unchanged = bool(evals) and all(float(np.ptp(value)) <= UNCHANGED * abs(float(np.mean(value))) / 5 for value in evals)
        causes = {"frozen_parameters": 1.5, "lr_too_low": 1.2, "vanishing_gradients": 0.8, "lr_too_high": 0.5}
        moves = max((float(np.std(np.diff(np.log(value)))) for value in evals), default=None)
        causes.update(by_rate(examination, moves, unchanged=unchanged))
        if examination.idle_share > MOSTLY_IDLE:
            causes.update(schedule_bug=2.5, frozen_parameters=0.0, lr_too_low=0.8)
        if median_norm is not None and median_norm == 0:
            causes.update(frozen_parameters=3.5)
        if clip and ((median_norm is not None and median_norm > TIGHT_RATIO * clip) or (median_norm is None and clip <= 0.05)):
            causes.update(gradient_clipping_too_tight=3.5, lr_too_high=-1.0, lr_too_low=0.5)
        if decay is not None and decay >= HUGE_DECAY:
            causes.update(weight_decay_too_high=3.5)
        if saturating_depth(examination) >= DEEP:
            causes.update(vanishing_gradients=3.5, lr_too_high=-1.0)
        return causes


def by_rate(examination: Examination, moves: float | None, *, unchanged: bool) -> dict[str, float]:
    """Which way the rate is wrong when the loss stays, if any: by its size, and by how far the evaluations move.

    A rate below every usual one explains a loss that stays; at a usual one the weights that matter do not get it; evaluations
    that jump at a loss that does not fall come from steps that are too long.
    """
    rate = examination.learning_rate
    if moves is not None and moves > JUMPY:
        return {"lr_too_high": 2.5, "lr_too_low": 0.0, "frozen_parameters": 0.5}
    if rate is None:
        return {"frozen_parameters": 3.0, "lr_too_low": 1.8, "lr_too_high": -2.0} if unchanged else {}
    band = usual_band(examination)
    if rate < band.low:
        return {"lr_too_low": 3.2, "frozen_parameters": 1.5, "lr_too_high": -2.0}
    if rate > FAR_ABOVE * band.high:
        return {"lr_too_high": 2.0, "lr_too_low": -1.0, "frozen_parameters": 2.5 if unchanged else 1.0}
    return {"frozen_parameters": 3.0 if unchanged else 2.2, "lr_too_low": 1.6, "lr_too_high": -2.0 if unchanged else 0.8}


def at_chance(loss: float) -> bool:
    """Whether a loss (nats or bits) is that of guessing among a usual number of classes."""
    return any(abs(value - math.log(k)) < CHANCE_WIDTH * math.log(k) for k in CHANCE for value in (loss, loss * math.log(2)))


def saturating_depth(examination: Examination) -> int:
    """Number of layers if the configuration names a saturating activation, else 0."""
    saturates, layers = False, 0
    for key, entry in examination.run.config.items():
        leaf = key.rsplit(".", 1)[-1].lower()
        if leaf in ("activation", "act", "nonlinearity", "activation_function", "hidden_act"):
            saturates = str(entry.value).lower() in SATURATING
        elif leaf in ("layers", "num_layers", "n_layers", "depth", "num_hidden_layers"):
            try:
                layers = int(float(entry.value))
            except (TypeError, ValueError):
                continue
    return layers if saturates else 0
