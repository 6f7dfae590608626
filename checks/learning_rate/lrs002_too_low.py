"""LRS002: several signs together say that the learning rate is too low."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold, percent
from diag.checks.learning_rate._bands import excess, shortfall, usual_band
from diag.checks.underfitting._gain import gain
from diag.examination import Examination, generalization_gap
from diag.vocabulary import UNDERFIT, WARNING

EVIDENCE = 2.0
"""Nats of evidence from which on it is a warning."""
LITTLE = 0.35
"""Fall of the log loss over the whole run below which it moved little."""
STEADY = 0.6
"""The last quarter of the training brought at least this share of the one before: no saturation in sight."""
NARROW_GAP = 0.12
"""Generalization gap (log units) below which nothing has been memorized yet."""
BELOW_BAND = 1.0
"""Nats of a rate just below its band; the band says how much more each e-fold weighs."""


class LearningRateTooLow(Check):
    """The learning rate is too low, by several signs taken together.

    ## What it does
    Adds up the evidence: how far the peak rate lies below what is usual for the kind of training; a loss that moved
    little over the whole run; a fall that never slowed down; a training loss that is no lower than the evaluation
    loss, so nothing was memorized.

    ## Why is this bad?
    The run spends its budget on the way to a minimum that a higher rate reaches in a fraction of the steps.

    ## When it stays silent
    When there are spikes or swings, when the rate is above its band, when the loss saturated.

    ## What to do
    Multiply the rate by 2.5 if the fall was steady, by 5 if the loss was flat.

    ## References
    Guide rows S1-059, S1-060, S3-034, S3-124; fixes F06, F07.
    """

    code = "LRS002"
    name = "learning-rate-too-low"
    severity = WARNING
    needs = ()
    rules = ("S1-059", "S1-060", "S3-034")
    premature = "the loss has not had all of its steps to fall, nor the rate to rise"
    thresholds = (Threshold("evidence", EVIDENCE, "nats", 0.0, 100.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        below, above = shortfall(examination), excess(examination)
        if below is None or above is None:
            raise Skip("no learning rate is known")
        train, series = examination.train, examination.main
        if series is None or len(series) < 5 or examination.has_nonfinite_loss:
            raise Skip("needs 5 finite points of a loss")
        if above > 0:
            return
        band = usual_band(examination)
        score = BELOW_BAND + band.weight_below * below if below > 0 else max(-1.5, 0.5 * below)
        overfits = generalization_gap(series, train)
        moved = train if train is not None and len(train) >= 10 else series
        total_fall = moved.level(0.0, 0.03) - moved.level(0.9, 1.0)
        measured = gain(examination, series)
        if total_fall < LITTLE:
            score += 0.6
        if measured.earlier > 0 and measured.latest > max(STEADY * measured.earlier, 2 * measured.error):
            score += 0.5
        if overfits is not None and overfits < NARROW_GAP:
            score += 0.5
        elif overfits is not None and overfits > 2 * NARROW_GAP:
            score -= 1.0
        if score < examination.threshold(self, "evidence") or measured.latest < 0 or total_fall > 1.0:
            return
        rate = examination.learning_rate or 0.0
        yield self.finding(
            f"The learning rate of {rate:g} looks too low: the loss fell {percent(-max(total_fall, 0.0))}"
            f" in {examination.run.steps} steps" + (f" and the rate is below what is usual, {band.low:g}." if below > 0 else "."),
            metric="lr",
            step_start=0,
            step_end=examination.run.steps,
            evidence={
                "learning_rate": rate,
                "usual_low": band.low,
                "total_fall": round(total_fall, 4),
                "score": round(score, 3),
                "severity_factor": 2.5,
            },
            causes={"lr_too_low": min(3.5, 0.8 + score)},
            verdicts={UNDERFIT: 3.0},
        )
