"""LRS003: the learning rate is zero, throughout or from some step on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.examination import IDLE_LR, Examination
from diag.vocabulary import ERROR, PLATEAU, UNDERFIT, WARNING

TAIL_SHARE = 0.05
"""Share of the run at zero that wastes enough to speak of."""


class ZeroLearningRate(Check):
    """The learning rate is zero for all or for the last part of the run.

    ## What it does
    Looks at the logged learning rate: zero everywhere, or at most 1/100,000 of its peak for the last 5% of the run
    or more.

    ## Why is this bad?
    Steps at a rate of zero cost the same and change nothing.

    ## When it stays silent
    When the rate reaches zero in the last few steps, as linear and cosine schedules do.

    ## What to do
    Set a positive rate; make the decay end where the training ends (decay steps equal to the planned steps).

    ## References
    Guide rows S1-198, S3-034, S3-057; fix F06.
    """

    code = "LRS003"
    name = "learning-rate-zero"
    severity = WARNING
    needs = ("lr",)
    rules = ("S1-198", "S3-057")
    thresholds = (Threshold("tail_share", TAIL_SHARE, "share of the run", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("lr", 3)
        peak = float(curve.value.max())
        configured = examination.number("learning_rate")
        if peak <= 0:
            meant = bool(configured)
            yield self.finding(
                "The learning rate is zero at every logged step.",
                severity=ERROR,
                metric="lr",
                step_start=int(curve.step[0]),
                step_end=int(curve.step[-1]),
                evidence={"bug": "lr_zero", "configured": configured},
                causes={"schedule_bug": 3.0, "lr_too_low": 1.5}
                if meant
                else {"lr_too_low": 3.0, "frozen_parameters": 2.5, "schedule_bug": 0.5},
                verdicts={PLATEAU: 4.0, UNDERFIT: 2.0},
            )
            return
        alive = np.flatnonzero(curve.value > IDLE_LR * peak)
        last = int(curve.step[alive[-1]])
        end = int(curve.step[-1])
        interval = float(np.median(np.diff(curve.step)))
        idle = end - last
        if idle <= max(examination.threshold(self, "tail_share") * end, 2 * interval):
            return
        yield self.finding(
            f"The learning rate is zero from step {last} on: the last {100 * idle / end:.2g}% of the run changed nothing.",
            metric="lr",
            step_start=last,
            step_end=end,
            evidence={"bug": "zero_tail", "idle_share": round(idle / end, 4)},
            causes={"schedule_bug": 3.0},
            verdicts={UNDERFIT: 2.5},
        )
