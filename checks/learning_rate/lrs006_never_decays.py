"""LRS006: the learning rate never decays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, OVERFIT, UNDERFIT, UNSTABLE, WARNING

CONSTANT = 0.9
"""A final rate above this share of the peak has not decayed."""
DECAYING = ("linear", "cosine", "polynomial", "exponential")
"""Schedulers that promise a decay."""
MINIMUM_POINTS = 8
"""Logged learning rates below which a decay may lie between the last one and the end of the run."""


class NeverDecays(Check):
    """The learning rate stays at its peak to the end.

    ## What it does
    Notes a final rate above 90% of the peak. It is a warning when the configuration asks for a scheduler that decays:
    then the scheduler is not stepped, or stepped once an epoch.

    ## Why is this bad?
    Decay usually gains a few percent at the end for nothing. It is not wrong: a constant rate keeps the run open for
    more steps.

    ## When it stays silent
    When the run was cut off before its planned end, and when fewer than 8 learning rates were logged.

    ## What to do
    Use cosine or linear decay, or decay over the last fifth.

    ## References
    Guide rows S0-007, S1-025, S3-015.
    """

    code = "LRS006"
    name = "lr-never-decays"
    severity = INFO
    needs = ()
    rules = ("S0-007", "S3-015")
    premature = "the rate may still decay"
    thresholds = (Threshold("constant", CONSTANT, "share of the peak", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        run = examination.run
        if examination.lr is None and examination.hyperparameter("lr_scheduler") is None:
            raise Skip("the schedule is not known")
        if examination.lr is not None and len(examination.lr) < MINIMUM_POINTS:
            raise Skip(f"needs {MINIMUM_POINTS} points of lr, has {len(examination.lr)}")
        if run.planned_steps and run.steps < 0.9 * run.planned_steps:
            raise Skip(f"the run stopped at step {run.steps} of {run.planned_steps}")
        final = float(examination.schedule(np.array([float(run.steps)]))[0])
        if final < examination.threshold(self, "constant"):
            return
        name = str(examination.hyperparameter("lr_scheduler") or "").lower()
        entry = run.hyperparameters.get("lr_scheduler")
        promised = examination.lr is not None and entry is not None and entry.kind != "inferred" and any(word in name for word in DECAYING)
        if promised and "min_lr" not in name:
            yield self.finding(
                f"The scheduler is {name}, but the logged learning rate is still at its peak when the run ends.",
                severity=WARNING,
                metric="lr",
                step_start=0,
                step_end=run.steps,
                evidence={"bug": "never_decays", "final_share": round(final, 4), "scheduler": name},
                causes={"schedule_bug": 4.0},
                verdicts={UNSTABLE: 4.0, UNDERFIT: 1.0, OVERFIT: -1.5},
            )
            return
        yield self.finding(
            "The learning rate is at its peak when the run ends.",
            metric="lr",
            step_start=0,
            step_end=run.steps,
            evidence={"bug": "never_decays", "final_share": round(final, 4)},
            causes={"schedule_bug": 0.2},
        )
