"""LRS001: several signs together say that the learning rate is too high."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.check import Check, Finding, Skip
from diag.checks.learning_rate._bands import excess, usual_band
from diag.checks.spikes.spk004_eval_swings import MINIMUM_EVALS, NOTABLE, STILL_HOT, swing
from diag.checks.underfitting.und006_early_plateau import late_fall
from diag.examination import Examination
from diag.vocabulary import INFO, PLATEAU, UNSTABLE, WARNING

THRESHOLD = 2.0
"""Nats of evidence from which on it is a warning: two independent signs, or a rate five times above its band."""
MOST_FROM_BAND = 3.0
SWING_WEIGHT = 0.32
"""Nats for each percent of noise of the evaluation loss at an undecayed rate, from 2.5% (weight 0.8) on."""
MOST_FROM_SWINGS = 1.6
WILD, WILD_SWINGS = 0.12, 2.0
"""Noise of the evaluation loss, log units, that is a full warning by itself at an undecayed rate, and its weight."""
WITHIN_WEIGHT = 0.2
"""Nats against it for each e-fold that the rate lies below the upper end of its band, up to the band's own limit."""
NO_CLIPPING = 0.8
STUCK = 0.8
RISING = 1.0
TURNED_UP = 0.03
"""Relative rise of the evaluation loss from its best at a constant rate that counts as a sign."""


class LearningRateTooHigh(Check):
    """The learning rate is too high, by several signs taken together.

    ## What it does
    Adds up the evidence: how far the peak rate lies above what is usual for the optimizer and the kind of training;
    swings of the evaluation loss at an undecayed rate; missing gradient clipping along with them; a loss that falls
    fast and then sticks; a training loss that rises again. No single mild sign is enough.

    ## Why is this bad?
    Steps longer than the loss is smooth keep the run from the minimum it could reach, or throw it out.

    ## When it stays silent
    When there is one sign only. Adapters tolerate rates far above the guides when nothing else is wrong.

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
        if score < THRESHOLD:
            return
        rate = examination.learning_rate or 0.0
        stuck = "stuck" in signs
        phrases = {
            "eval swings": "the evaluation loss swings at an undecayed rate",
            "no clipping": "gradients are not clipped",
            "stuck": "the loss falls fast and then sticks",
            "rising": "the training loss rises again",
            "eval turned up": "the evaluation loss turns up",
        }
        told = [phrases[name] for name in signs]
        if above > 0:
            told.insert(0, f"{rate:g} is {math.exp(above):.2g} times the upper end of what is usual, {band.high:g}")
        yield self.finding(
            f"The learning rate looks too high: {'; '.join(told)}.",
            severity=WARNING if score >= THRESHOLD else INFO,
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
            causes={"lr_too_high": min(3.5, 1.2 + score / 1.5)},
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
                signs["eval swings"] = WILD_SWINGS if noise >= WILD else min(MOST_FROM_SWINGS, SWING_WEIGHT * 100 * noise)
            rise = float(series.y[-1] - series.y.min())
            if rise > max(math.log1p(TURNED_UP), 2 * series.sigma) and noise < NOTABLE:
                signs["eval turned up"] = 0.5
        clip = examination.run.hyperparameters.get("max_grad_norm")
        if signs and clip is not None and not clip.value:
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
