"""GRD002: the gradient norm vanishes while the loss is high."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import PLATEAU, WARNING

MINIMUM_POINTS = 10
"""Logged norms, and training losses, below which nothing is said."""
TINY = 1e-6
"""Gradient norm that is nothing, whatever the reduction of the loss."""
FALL = 100.0
"""Fall of the norm over the run, with a loss that did not fall, that counts as vanishing."""
LEARNED = 0.1
"""Relative fall of the loss above which a small gradient means convergence."""


class VanishingGradients(Check):
    """The gradient norm goes to zero although the loss does not.

    ## What it does
    Fires when the median norm is below 1e-6, or has fallen a hundredfold, while the training loss fell by less
    than 10%.

    ## Why is this bad?
    Without a gradient there is no learning; the loss stays where it is.

    ## When it stays silent
    When the loss has fallen: a converged model has small gradients.

    ## What to do
    Check which parameters require gradients; use normalization, residual connections or ReLU-like activations; in
    fp16, check the loss scale.

    ## References
    Guide rows S1-198, S1-199; fix F06.
    """

    code = "GRD002"
    name = "vanishing-gradients"
    severity = WARNING
    needs = ("grad_norm", "train/loss")
    rules = ("S1-198", "S1-199")
    thresholds = (
        Threshold("tiny", TINY, "gradient norm", 0.0, 1e9),
        Threshold("fall", FALL, "ratio of norms", 1.0, 1e12),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("grad_norm", MINIMUM_POINTS)
        train = examination.require_train(MINIMUM_POINTS)
        third = max(2, len(curve) // 3)
        first, last = float(np.median(curve.value[:third])), float(np.median(curve.value[-third:]))
        fell = first > 0 and last >= 0 and last < first / examination.threshold(self, "fall")
        learned = train.level(0.0, 0.05) - train.level(0.8, 1.0) > LEARNED
        if learned or not (last < examination.threshold(self, "tiny") or fell):
            return
        p_value = stats.falling_p_value(stats.block_means(train.step, train.y, 10).y)
        frozen = last == 0
        yield self.finding(
            f"The gradient norm is {last:.3g} at the end ({first:.3g} at the start) and the loss has not fallen.",
            metric="grad_norm",
            step_start=int(curve.step[-third]),
            step_end=int(curve.step[-1]),
            evidence={"first": first, "last": last, "loss_trend_p": round(p_value, 4) if math.isfinite(p_value) else None},
            causes={"frozen_parameters": 3.0, "vanishing_gradients": 1.5}
            if frozen
            else {"vanishing_gradients": 3.0, "frozen_parameters": 0.5},
            verdicts={PLATEAU: 3.0},
        )
