"""UND005: weight decay holds the weights down."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, PLATEAU, WARNING

RECOMMENDED = 0.1
"""Largest weight decay that any guide row recommends (S1-010, S3-077)."""
EXCESSIVE = 0.5
"""Weight decay from which on it is a warning, five times the largest recommended one: with decoupled decay at usual rates it competes with
the gradient."""
ABSURD = 1.0
"""Ten times that, which no overfitting calls for."""
MINIMUM_POINTS = 5
"""Points of a loss below which nothing is said of where it stops."""


class WeightDecay(Check):
    """The weight decay is far above every recommendation.

    ## What it does
    Compares the configured weight decay with the largest recommended one (0.1). A remark above 0.1, a warning from
    0.5 on when the loss did not overfit.

    ## Why is this bad?
    Decay of that size pulls the weights to zero as fast as the gradient builds them up; the loss stops too high.

    ## When it stays silent
    When no weight decay is known, and up to a decay of 1 when the run overfits.

    ## What to do
    Set it to 0.01, or to 0 while looking for the reason of a plateau.

    ## References
    Guide rows S1-079, S1-081, S1-082, S3-077; fix F08.
    """

    code = "UND005"
    name = "weight-decay-excessive"
    severity = WARNING
    needs = ()
    rules = ("S1-081", "S1-082", "S3-077")
    premature = "where the loss stops is known at its end"
    thresholds = (Threshold("excessive", EXCESSIVE, "weight decay", 0.0, 1e6),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        decay = examination.number("weight_decay")
        if decay is None:
            raise Skip("no weight decay is known")
        series = examination.require_main(MINIMUM_POINTS)
        if decay <= RECOMMENDED or examination.has_nonfinite_loss:
            return
        overfits = series.name != "train/loss" and float(series.y[-1] - series.y.min()) > 0.05
        excessive = decay >= ABSURD or (decay >= examination.threshold(self, "excessive") and not overfits)
        yield self.finding(
            f"The weight decay of {decay:g} is {decay / RECOMMENDED:.3g} times the largest recommended one, "
            f"and {series.name} stops at {float(series.curve.value[-1]):.4g}.",
            severity=WARNING if excessive else INFO,
            metric=series.name,
            step_start=int(series.curve.step[0]),
            step_end=int(series.curve.step[-1]),
            evidence={"weight_decay": decay, "largest_recommended": RECOMMENDED},
            causes={"weight_decay_too_high": 5.0, "lr_too_high": -1.5}
            if decay >= ABSURD
            else {"weight_decay_too_high": 3.5}
            if excessive
            else {},
            verdicts={PLATEAU: 5.0 if decay >= ABSURD else 3.5} if excessive else {},
        )
