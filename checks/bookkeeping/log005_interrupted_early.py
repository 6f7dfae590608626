"""LOG005: the run ended before its planned steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

COMPLETE = 0.95
"""Share of the planned steps from which a run counts as complete: the last rows are often not logged."""


class InterruptedEarly(Check):
    """The log ends before the planned number of steps.

    ## What it does
    Compares the last logged step with the planned steps, leaving one logging interval of slack.

    ## Why is this bad?
    A run that was cut off never saw the end of its learning-rate schedule, where much of the loss is gained, and its
    last checkpoint is older than its last step.

    ## When it stays silent
    When the trainer said that it ended by itself, or early stopping is configured. It is a remark (info): the run may
    still be going, or the log be that of an intermediate checkpoint; crashes are told by LOG006.

    ## What to do
    Resume from the newest checkpoint with optimizer and schedule; for a shorter run, plan fewer steps, so that the
    schedule decays within them.

    ## References
    The trainer's own plan (max_steps), and whether it reported the end of training.
    """

    code = "LOG005"
    name = "interrupted-early"
    severity = INFO
    reward_logs = True
    premature = "it has not ended"
    thresholds = (Threshold("complete", COMPLETE, "share of the planned steps", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        run = examination.run
        if not run.planned_steps or not run.curves:
            raise Skip("the number of planned steps is not known")
        if run.finished is True or examination.number("early_stopping_patience"):
            return
        longest = max(run.curves.values(), key=len)
        interval = float(np.median(np.diff(longest.step))) if len(longest) > 1 else 0.0
        if run.steps + interval >= examination.threshold(self, "complete") * run.planned_steps:
            return
        share = run.steps / run.planned_steps
        yield self.finding(
            f"The log ends at step {run.steps} of {run.planned_steps} planned ({100 * share:.0f}%)"
            + (": the run was cut off." if run.finished is False else "; the run was cut off or is still going."),
            step_start=run.steps,
            step_end=run.planned_steps,
            evidence={"steps": run.steps, "planned": run.planned_steps, "share": round(share, 4)},
        )
