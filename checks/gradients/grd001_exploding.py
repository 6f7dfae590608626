"""GRD001: the gradient norm explodes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.run import Curve, FloatArray, IntArray
from diag.vocabulary import ERROR, INFO, UNSTABLE, WARNING

MINIMUM_POINTS = 10
"""Logged norms below which nothing is said."""
GROWTH = 5.0
"""Ratio of the late to the early norm of a trend that counts as growth."""
JUMP = 10.0
"""Ratio of a norm to its local median that counts as a jump."""
BURST = 5.5
"""Ratio of the first norm to the median of the run that, without clipping, throws the initial weights away."""
LEARNT = 0.5
"""Fall of the log training loss, log units, that shows that the large first steps did not throw the weights out."""
HUGE = 100.0
"""Growth that is an error rather than a warning."""
WARMUP_SHARE = 0.03
"""Share of the points, at the start, that is not searched for jumps: norms are large while the loss is."""


class ExplodingGradients(Check):
    """The gradient norm grows without bound, or jumps together with the loss.

    ## What it does
    Relative to the run's own level: a significant upward trend by a factor of 5 while the loss does not fall, jumps
    to ten times the local median within two points of a jump of the loss, or a first norm of more than five times the median
    of the run when clipping is switched off.

    ## Why is this bad?
    One such step can undo thousands.

    ## When it stays silent
    Absolute norms say nothing (the scale depends on how the loss is reduced); norms that grow while the loss falls
    steadily are usual at the end of training.

    ## What to do
    Clip at 1.0; if it is clipped already, halve the learning rate.

    ## References
    Guide rows S1-088, S3-173; fix F17.
    """

    code = "GRD001"
    name = "exploding-gradients"
    severity = WARNING
    needs = ("grad_norm",)
    rules = ("S1-088", "S3-173")
    patience = 0.1
    thresholds = (
        Threshold("growth", GROWTH, "ratio of norms", 1.0, 1e9),
        Threshold("jump", JUMP, "ratio of norms", 1.0, 1e9),
        Threshold("burst", BURST, "ratio of norms", 1.0, 1e9),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding: growth, else a burst at the start, else jumps."""
        curve = examination.require("grad_norm", MINIMUM_POINTS)
        positive = curve.value[curve.value > 0]
        if not positive.size:
            return
        y = np.log(np.maximum(curve.value, float(positive.min())))
        finding = self.growth(examination, curve, y) or self.burst(examination, curve, y) or self.jumps(examination, curve, y)
        if finding is not None:
            yield finding

    def growth(self, examination: Examination, curve: Curve, y: FloatArray) -> Finding | None:
        """An upward trend of the norm while the loss does not fall."""
        blocks = stats.block_means(curve.step.astype(np.float64), y, 10)
        growth = float(np.median(blocks.y[-2:]) - np.median(blocks.y[1:4]))
        train = examination.train
        if (
            growth <= math.log(examination.threshold(self, "growth"))
            or stats.rising_p_value(blocks.y) >= 0.01
            or train is None
            or len(train) < 10
        ):
            return None
        if train.level(0.8, 1.0) <= train.level(0.2, 0.4) - 0.02:
            return None
        return self.finding(
            f"The gradient norm grows {math.exp(growth):.2g}-fold over the run while the loss does not fall.",
            severity=ERROR if growth > math.log(HUGE) else WARNING,
            metric="grad_norm",
            step_start=int(curve.step[0]),
            step_end=int(curve.step[-1]),
            evidence={"growth": round(math.exp(min(growth, 50.0)), 3)},
            causes={"exploding_gradients": 2.0, "lr_too_high": 1.2, "gradient_clipping_missing": 1.5 if examination.is_unclipped else 0.0},
            verdicts={UNSTABLE: 2.5},
        )

    def burst(self, examination: Examination, curve: Curve, y: FloatArray) -> Finding | None:
        """A first norm far above the rest without clipping."""
        first = max(2, y.size // 50)
        burst = float(y[:first].max() - np.median(y))
        if burst <= math.log(examination.threshold(self, "burst")) or not examination.is_unclipped:
            return None
        return self.finding(
            f"The first gradient norm is {math.exp(burst):.2g} times the median of the run, and gradients are not clipped.",
            metric="grad_norm",
            step_start=int(curve.step[0]),
            step_end=int(curve.step[first - 1]),
            evidence={"burst": round(math.exp(min(burst, 50.0)), 3)},
            causes={"exploding_gradients": 3.4, "gradient_clipping_missing": 2.6, "warmup_too_short": 0.5}
            if learns(examination)
            else {"lr_too_high": 3.2, "gradient_clipping_missing": 3.0, "exploding_gradients": 1.5, "warmup_too_short": 0.5},
            verdicts={UNSTABLE: 3.5},
        )

    def jumps(self, examination: Examination, curve: Curve, y: FloatArray) -> Finding | None:
        """Lone jumps; two that come with a jump of the loss are a warning, but SPK001 speaks for the verdict."""
        above = y - stats.running_median(y, stats.SPIKE_WINDOW)
        index = np.flatnonzero(above > math.log(examination.threshold(self, "jump")))
        index = index[index > max(3, int(WARMUP_SHARE * y.size))]
        if not index.size:
            return None
        together = with_loss(examination, curve.step[index])
        peak = int(index[np.argmax(above[index])])
        return self.finding(
            f"The gradient norm jumps to {math.exp(float(above[peak])):.3g} times its local median at step {int(curve.step[peak])}"
            + (f", {together} times together with the loss." if together else "."),
            severity=WARNING if together >= 2 else INFO,
            metric="grad_norm",
            step_start=int(curve.step[index[0]]),
            step_end=int(curve.step[index[-1]]),
            evidence={"jumps": int(index.size), "with_loss": together},
        )


def learns(examination: Examination) -> bool:
    """Whether the loss falls well in spite of the burst, so that the initial weights, not the steps, were too large."""
    train = examination.train
    return train is None or (not examination.has_nonfinite_loss and train.level(0.0, 0.05) - train.level(0.8, 1.0) > LEARNT)


def with_loss(examination: Examination, steps: IntArray) -> int:
    """How many of the steps lie within two logged points of a spike of the training loss."""
    train = examination.train
    if train is None:
        return 0
    index = stats.spikes(train.y)
    if not index.size:
        return 0
    reach = 2 * float(np.median(np.diff(train.step)))
    return int((np.abs(steps[:, None] - train.step[index][None, :]).min(axis=1) <= reach).sum())
