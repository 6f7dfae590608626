"""LOG002: the same step was logged more than once."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

SHARE = 0.02
"""Share of rows that repeat a step from which on it is worth telling; a final evaluation alone repeats one."""
MINIMUM = 3
"""Repeated rows below which it is an accident."""


class DuplicateSteps(Check):
    """Several rows carry the same step.

    ## What it does
    Counts the rows of the losses whose step was logged again later in the same launch; the last row of each step is
    the one that is judged.

    ## Why is this bad?
    Two writers in one log, a counter of micro-batches or epochs in place of optimizer steps, or a loop that logs twice:
    whatever the reason, curves drawn from such a log zigzag.

    ## When it stays silent
    For up to two repeated rows, or 2% of them: an evaluation after training repeats the last step. A resumed run's
    overlap is LOG001.

    ## What to do
    Log the optimizer step (global_step), once a step, from one process.

    ## References
    Step semantics differ by framework; the newest row of a step is the one to keep.
    """

    code = "LOG002"
    name = "duplicate-steps"
    severity = INFO
    reward_logs = True
    thresholds = (
        Threshold("share", SHARE, "share of the rows", 0.0, 1.0),
        Threshold("minimum", MINIMUM, "rows", 1, 1_000_000),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """One finding a loss curve with repeated steps."""
        run = examination.run
        curves = [(name, curve) for name in ("train/loss",) if (curve := run.curve(name)) is not None] + list(run.eval_losses())
        if not curves:
            raise Skip("no loss was logged")
        minimum, share = examination.threshold(self, "minimum"), examination.threshold(self, "share")
        for name, curve in curves:
            rows = len(curve) + curve.repeated
            if curve.repeated < minimum or curve.repeated < share * rows:
                continue
            yield self.finding(
                f"{curve.repeated} of {rows} rows of {name} repeat a step; the last row of each step was judged.",
                metric=name,
                step_start=int(curve.step[0]),
                step_end=int(curve.step[-1]),
                evidence={"repeated": curve.repeated, "rows": rows},
            )
