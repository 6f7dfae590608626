"""EVL002: too few evaluations to see a turn."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO

FEWEST = 4
"""Evaluations below which a rise cannot be told from noise."""
FEW = 8
"""Evaluations a long run should have at least (the guides' clip for evaluations a run; they aim at 12)."""
LONG = 1000
"""Optimizer steps from which a run counts as long: then an evaluation costs little beside them."""
SHORTEST = 20
"""Logged training losses below which a run is too short to ask for more evaluations (none logged: nothing is known of it)."""


class EvalTooSparse(Check):
    """Too few evaluations to see where the evaluation loss turned.

    ## What it does
    Counts the evaluations: fewer than 4, or fewer than 8 in a run of 1,000 steps or more.

    ## Why is this bad?
    Between two evaluations a model can go from its best to overfitted. With 12 evaluations and a patience of 3, a quarter
    of the run may already be lost before early stopping acts; with 3 evaluations there is nothing to stop on.

    ## When it stays silent
    In runs that logged fewer than 20 training losses, and when nothing was evaluated at all (EVL001 speaks of that).
    With 4 evaluations or more it is a remark about the log that no cause is drawn from.

    ## What to do
    Evaluate about 12 times a run: every total steps / 12 steps.

    ## References
    Guide rows S1-187, S3-177, S3-178, S3-179, S3-190.
    """

    code = "EVL002"
    name = "eval-too-sparse"
    severity = INFO
    needs = ("eval/loss",)
    rules = ("S1-187", "S3-177", "S3-178", "S3-179", "S3-190")
    premature = "more evaluations may follow"
    thresholds = (
        Threshold("fewest", FEWEST, "evaluations", 0, 1_000_000),
        Threshold("few", FEW, "evaluations", 0, 1_000_000),
        Threshold("long", LONG, "optimizer steps", 0, 1_000_000_000),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one remark, about the evaluation with the most points."""
        run = examination.run
        name, curve = max(run.eval_losses(), key=lambda item: len(item[1]))
        steps = max(run.steps, examination.total_steps if run.finished else 0)
        count = len(curve)
        rows = len(run.curves.get("train/loss", ()))
        fewest = examination.threshold(self, "fewest")
        enough = max(fewest, examination.threshold(self, "few")) if steps >= examination.threshold(self, "long") else fewest
        if 0 < rows < SHORTEST or count >= enough:
            return
        wanted = max(examination.total_steps // 12, 1)
        number = f"{count} evaluation{'s' if count > 1 else ''}"
        yield self.finding(
            f"{number} in {steps} steps, too few to see where {name} turns: evaluate every {wanted} steps.",
            metric=name,
            step_start=int(curve.step[0]),
            step_end=int(curve.step[-1]),
            evidence={"evaluations": count, "steps": steps, "suggested_eval_steps": wanted},
            causes={"eval_too_sparse": 0.5} if count < fewest else {},
        )
