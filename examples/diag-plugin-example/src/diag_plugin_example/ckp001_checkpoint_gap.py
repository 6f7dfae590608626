"""CKP001: a long stretch of the run without a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import WARNING

LONGEST = 0.25
"""Share of the run between two checkpoints from which on a crash costs too much: what a night of a four-night run costs."""


class CheckpointGap(Check):
    """Too much of the run lies between two checkpoints.

    ## What it does
    Takes the longest stretch without a checkpoint, from the first step to the last, and compares it with the length of the run.

    ## Why is this bad?
    A crash loses the stretch, and the best model may lie in it.

    ## When it stays silent
    When no checkpoint is known, and when the configuration keeps only the last few (`save_total_limit`): the others were
    there, and were removed.

    ## What to do
    Save as often as you evaluate.

    ## References
    None; the share is this example's own.
    """

    code = "CKP001"
    name = "checkpoint-gap"
    severity = WARNING
    reward_logs = True
    thresholds = (Threshold("longest", LONGEST, "share of the run", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for the longest stretch."""
        run = examination.run
        if not run.checkpoints or not run.steps:
            raise Skip("no checkpoint is known")
        if "save_total_limit" in run.config:
            raise Skip("older checkpoints were removed")
        marks = sorted({0, *(checkpoint.step for checkpoint in run.checkpoints), run.steps})
        start, end = max(pairwise(marks), key=lambda stretch: stretch[1] - stretch[0])
        share = (end - start) / run.steps
        if share < examination.threshold(self, "longest"):
            return
        yield self.finding(
            f"{end - start} of {run.steps} steps ({share:.0%}) lie between two checkpoints, from step {start} to {end}.",
            step_start=start,
            step_end=end,
            evidence={"share": round(share, 4), "checkpoints": len(run.checkpoints)},
        )
