"""PRC004: the loss of an fp16 run is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.run import Curve
from diag.vocabulary import DIVERGED, ERROR

GREW = 2.0
"""Growth of the loss over its lowest level before it was lost that speaks for a too high learning rate instead."""


class Fp16Nonfinite(Check):
    """The loss of a run in fp16 became NaN or infinite.

    ## What it does
    Looks at how the loss was lost. A loss that was still good, or was never finite at all, points at the number
    format; one that had blown up before points at the learning rate.

    ## Why is this bad?
    fp16 ends at 65,504. An activation or gradient beyond that is infinite, and the next sum of such values NaN.

    ## When it stays silent
    For bf16, fp32 and unknown precision (a logged loss scale above 1 means fp16), and where only single gradient norms
    are not finite (see PRC002).

    ## What to do
    Train in bf16, or in fp32 where there is no bf16; otherwise use a dynamic loss scaler and clip gradients at 1.0.

    ## References
    Guide rows S3-168 to S3-170; fixes F01, F18.
    """

    code = "PRC004"
    name = "fp16-nonfinite"
    severity = ERROR
    rules = ("S3-168", "S3-169", "S3-170")
    reward_logs = True
    patience = 0.0
    thresholds = (Threshold("grew", GREW, "ratio of losses", 1.0, 1e9),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        precision = examination.hyperparameter("precision")
        scale = examination.run.curve("loss_scale")
        if precision is None and scale is not None and bool((scale.value > 1).any()):
            precision = "fp16"  # only fp16 needs its loss scaled
        if precision is None:
            raise Skip("the precision is not known")
        losses = [("train/loss", examination.run.curve("train/loss")), *examination.run.eval_losses()]
        if precision != "fp16":
            return
        for name, curve in losses:
            if curve is None or not examination.is_lost(curve):
                continue
            first = int(np.argmax(~np.isfinite(curve.value)))
            grew = growth(curve, first)
            blown_up = grew is not None and grew >= examination.threshold(self, "grew")
            yield self.finding(
                f"{name} of a run in fp16 is not finite from step {int(curve.step[first])} on"
                + (
                    f", after it had grown {grew:.2g} times."
                    if blown_up
                    else ", without having grown before: the number format overflowed."
                ),
                metric=name,
                step_start=int(curve.step[first]),
                step_end=int(curve.step[-1]),
                evidence={"first_step": int(curve.step[first]), "growth_before": None if grew is None else round(grew, 4)},
                causes={"precision_overflow": 1.5 if blown_up else 3.5},
                verdicts={DIVERGED: 1.0},
            )
            return


def growth(curve: Curve, first: int) -> float | None:
    """The last finite loss before index ``first`` over the lowest one, None where there is none."""
    before = curve.value[:first]
    before = before[np.isfinite(before)]
    if not before.size or float(before.min()) <= 0:
        return None
    return float(before[-1] / before.min())
