"""LRS001: several signs together say that the learning rate is too high."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Skip, Threshold
from diag.checks.learning_rate._bands import excess, usual_band
from diag.checks.spikes.spk004_eval_swings import MINIMUM_EVALS, NOTABLE, STILL_HOT, swing
from diag.checks.underfitting.und006_early_plateau import late_fall
from diag.examination import Examination, Series
from diag.vocabulary import PLATEAU, UNSTABLE, WARNING

EVIDENCE = 2.0
"""Nats of evidence from which on it is a warning: two independent signs, or a rate five times above its band."""
MOST_FROM_BAND = 3.0
"""Nats that a rate above its band weighs at most."""
SWING_WEIGHT = 0.4
"""Nats for each percent of noise of the evaluation loss at an undecayed rate, from 2.5% (weight 1) on: 5% are a warning by themselves.
Healthy controls of the fault benchmark swing by up to 3.5%, those with a rate ten times too high or a batch of 2 by 4.5% and more."""
MOST_FROM_SWINGS, MOST_FROM_SMALL = 2.4, 1.6
"""Nats that swings weigh at most, and those that are small beside the whole fall of the loss."""
LARGE_SHARE, FEW_NOISE = 0.05, 0.15
"""Share of the whole fall of the log loss that swings must make up to weigh more (a regression whose loss fell fiftyfold swings by
tenths), and the noise, log units, that they must have where there are few evaluations to know it by, or no training loss to know the
fall by."""
MANY_EVALS = 10
"""Evaluations from which on the noise of their second half is known well."""
SMALL_BATCH = 4
"""Samples an optimizer step up to which swings are blamed on the noise of so few (S1-068, S3-037)."""
FEW_SAMPLES = 1.0
"""Weight of so small a batch where the evaluations swing."""
WILD, WILD_SWINGS = 0.12, 2.0
"""Noise of the evaluation loss, log units, from which on part of it is that of a small evaluation set (a healthy run of 20% is known),
and its weight: with any other sign, or a rate at the upper end of its band, a warning."""
WITHIN_WEIGHT = 0.2
"""Nats against it for each e-fold that the rate lies below the upper end of its band, up to the band's own limit."""
ANNEALED = 2.4
"""Weight of an evaluation loss that rises at the peak rate and falls again with it: lowering the rate has been seen to help."""
HOT, HOT_EVALS, ROSE, ROSE_SHARE, CAME_BACK, CALMED = 0.4, 5, 0.03, 0.25, 0.5, 0.7
"""What that is: relative rate and number of evaluations of the hot part; the rise there in log units and as a share of the whole fall
(healthy controls: up to 0.14); the share of it that is gone at the end; and the most that is left of the noise."""
DIED, DIED_FALL, DIED_WEIGHT = 30.0, 0.35, 1.2
"""Times by which the gradient norm fell from its first values (the median of three) to the second half of the run, the fall of the log
training loss up to which that is no success, and what it weighs: steps too long carry the weights to where nothing moves them."""
MINIMUM_NORMS = 20
"""Logged gradient norms that their fall is read from."""
NO_CLIPPING, STUCK, RISING = 0.8, 0.8, 1.0
"""Nats of further signs: clipping is off beside another sign, the loss falls fast and then sticks, the training loss rises again."""
TURNED_UP = 0.03
"""Relative rise of the evaluation loss from its best at a constant rate that counts as a sign."""


class LearningRateTooHigh(Check):
    """The learning rate is too high, by several signs taken together.

    ## What it does
    Adds up the evidence: how far the peak rate lies above what is usual for the optimizer and the kind of training;
    swings of the evaluation loss at an undecayed rate, against what the loss fell in all; missing gradient clipping
    or a step of four samples or fewer along with them; an evaluation loss that rises at the peak rate and comes back
    only as the rate decays; a loss that falls fast and then sticks; a training loss that rises again. No single mild
    sign is enough.

    ## Why is this bad?
    Steps longer than the loss is smooth keep the run from the minimum it could reach, or throw it out.

    ## When it stays silent
    When there is one mild sign only. Swings above 12% may come from a small evaluation set as well and need a second
    sign. Adapters tolerate rates far above the guides when nothing else is wrong.

    ## What to do
    Divide the rate by 3 to 5 (by 2 for mere oscillation); warm up over 5 to 10% of the steps.

    ## References
    Guide rows S0-044, S1-062, S3-003, S3-027, S3-183, S3-184.
    """

    code = "LRS001"
    name = "learning-rate-too-high"
    severity = WARNING
    needs = ()
    rules = ("S0-044", "S1-062", "S3-183", "S3-184")
    patience = 0.5
    thresholds = (Threshold("evidence", EVIDENCE, "nats", 0.0, 100.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        above = excess(examination)
        if above is None:
            raise Skip("no learning rate is known")
        if examination.main is None or len(examination.main) < 5:
            raise Skip("needs 5 points of a loss")
        band = usual_band(examination)
        signs = self.signs(examination)
        from_band = min(MOST_FROM_BAND, band.weight_above * above) if above > 0 else max(-band.weight_within, WITHIN_WEIGHT * above)
        score = from_band + sum(signs.values())
        if score < examination.threshold(self, "evidence"):
            return
        rate = examination.learning_rate or 0.0
        stuck = "stuck" in signs
        phrases = {
            "eval swings": "the evaluation loss swings at an undecayed rate",
            "few samples": f"a step sees {examination.number('global_batch_size') or 0:g} samples",
            "annealed": "the evaluation loss rises at the peak rate and comes back only as the rate decays",
            "gradients died": "the gradient norm fell to a thirtieth of the first ones while the loss did not fall much",
            "no clipping": "gradients are not clipped",
            "stuck": "the loss falls fast and then sticks",
            "rising": "the training loss rises again",
            "eval turned up": "the evaluation loss turns up",
        }
        told = [phrases[name] for name in signs]
        if above > 0:
            told.insert(0, f"{rate:g} is {math.exp(above):.2g} times the upper end of what is usual, {band.high:g}")
        causes = {"lr_too_high": min(3.5, 1.2 + score / 1.5)}
        if "few samples" in signs:
            causes["batch_too_small"] = causes["lr_too_high"] + (0.8 if above <= 0 else -0.5)
        yield self.finding(
            f"The learning rate looks too high: {'; '.join(told)}.",
            metric="lr",
            step_start=0,
            step_end=examination.run.steps,
            evidence={
                "learning_rate": rate,
                "usual_high": band.high,
                "score": round(score, 3),
                "signs": sorted(signs),
                "severity_factor": 3.0 if above < 2 else 5.0,
            },
            causes=causes,
            verdicts={PLATEAU: 2.5, UNSTABLE: 2.0} if stuck else {UNSTABLE: min(4.0, 0.8 + score), PLATEAU: 1.0},
        )

    @staticmethod
    def signs(examination: Examination) -> dict[str, float]:
        """The signs seen in the curves, with their weights."""
        signs: dict[str, float] = {}
        series = next((one for one in examination.evals if len(one) >= MINIMUM_EVALS), None)
        hot = float(examination.schedule(series.step[-1:] if series else examination.main.step[-1:])[0]) >= STILL_HOT  # type: ignore[union-attr]
        if series is not None and hot:
            noise = swing(series.y)
            if noise >= NOTABLE:
                share = noise / max(fallen(examination, series), NOTABLE)
                known = len(series) >= MANY_EVALS and examination.train is not None
                large = share >= LARGE_SHARE if known else noise >= FEW_NOISE
                most = MOST_FROM_SWINGS if large else MOST_FROM_SMALL
                signs["eval swings"] = WILD_SWINGS if noise >= WILD and large else min(most, SWING_WEIGHT * 100 * noise)
            rise = float(series.y[-1] - series.y.min())
            if rise > max(math.log1p(TURNED_UP), 2 * series.sigma) and noise < NOTABLE:
                signs["eval turned up"] = 0.5
        elif series is not None and annealed(examination, series):
            signs["annealed"] = ANNEALED
        if gradients_died(examination):
            signs["gradients died"] = DIED_WEIGHT
        batch = examination.number("global_batch_size")
        if "eval swings" in signs and batch is not None and batch <= SMALL_BATCH:
            signs["few samples"] = FEW_SAMPLES
        if signs and examination.is_unclipped:
            signs["no clipping"] = NO_CLIPPING
        train = examination.train
        if train is not None and len(train) >= 20 and float(train.curve.value.min()) > 0:
            fall, p_value = late_fall(train.y, train.progress, 0.2)
            if fall < 0.015 and p_value > 0.001 and train.sigma < 0.2:
                signs["stuck"] = STUCK
            middle, end = train.level(0.3, 0.5), train.level(0.8, 1.0)
            if end - middle > max(0.05, 3 * train.sigma / math.sqrt(max(1, train.points(0.8, 1.0)))):
                signs["rising"] = RISING
        return signs


def fallen(examination: Examination, series: Series) -> float:
    """The fall of the log loss over the run, from the first training or evaluation loss."""
    starts = [float(series.y[0])] if examination.train is None else [float(series.y[0]), examination.train.level(0.0, 0.02)]
    return max(starts) - float(series.y.min())


def annealed(examination: Examination, series: Series) -> bool:
    """Whether the evaluation loss rose while the rate was high, by a good part of what it fell in all, and calmed down with its decay."""
    hot = np.flatnonzero(examination.schedule(series.step) >= HOT)
    hot = hot[hot > 0]  # the first evaluation may lie in the warmup
    if examination.lr is None or hot.size < HOT_EVALS:
        return False
    y, rest = series.y[hot[0] : hot[-1] + 1], series.y[hot[-1] + 1 :]
    if rest.size >= HOT_EVALS and stats.noise_scale(rest) > CALMED * stats.noise_scale(y):
        return False
    above = y - np.minimum.accumulate(y)
    rise, peak = float(above.max()), float(y[int(above.argmax())])
    return rise > max(ROSE, ROSE_SHARE * fallen(examination, series)) and float(series.y[-1]) < peak - CAME_BACK * rise


def gradients_died(examination: Examination) -> bool:
    """Whether the gradient norm fell to a fraction of its first values without a loss that fell in proportion."""
    curve, train = examination.run.curve("grad_norm"), examination.train
    if curve is None or train is None or len(curve.finite()) < MINIMUM_NORMS:
        return False
    norm = curve.finite().value
    first, late = float(np.median(norm[:3])), float(np.median(norm[norm.size // 2 :]))
    return 0 < late * DIED < first and float(train.y[0]) - train.level(0.8, 1.0) < DIED_FALL
