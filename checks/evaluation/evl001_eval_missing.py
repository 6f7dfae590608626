"""EVL001: no evaluation was logged."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.vocabulary import INFO

EVALUATION_WORDS = ("eval", "val", "valid", "validation", "test", "dev")
"""Words whose presence in a metric's name shows that something was evaluated on held-out samples."""


class EvalMissing(Check):
    """No evaluation loss was logged.

    ## What it does
    Remarks that a run logged a training loss but no evaluation loss, nor any other metric of a held-out set.

    ## Why is this bad?
    The training loss measures memorization as well as learning. Without an evaluation nobody can tell the two apart,
    choose the best checkpoint, or stop in time; a training loss below 0.3 goes well together with useless output.

    ## When it stays silent
    In reward-driven runs (GRPO, PPO), which are judged by their reward; when an evaluation accuracy or another metric of
    a held-out set was logged.

    ## What to do
    Hold out a random 5-10% of the data before training and evaluate about 12 times a run.

    ## References
    Guide rows S1-003, S1-004, S3-112, S3-188, S3-190 to S3-192; fix F21.
    """

    code = "EVL001"
    name = "eval-missing"
    severity = INFO
    needs = ("train/loss",)
    rules = ("S1-003", "S1-004", "S3-112", "S3-188", "S3-190", "S3-191", "S3-192")
    premature = "it may yet be evaluated"

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one remark."""
        run = examination.run
        if next(run.eval_losses(), None) is not None:
            return
        if any(word in EVALUATION_WORDS for name in run.curves for word in name.lower().replace("_", "/").replace("-", "/").split("/")):
            raise Skip("a held-out metric was logged, though no evaluation loss")
        wanted = max(examination.total_steps // 12, 1)
        yield self.finding(
            f"No evaluation was logged in {run.steps} steps: whether the run generalizes cannot be told. "
            f"Hold out 5-10% of the data and evaluate every {wanted} steps.",
            metric="eval/loss",
            evidence={"evaluations": 0, "steps": run.steps, "suggested_eval_steps": wanted},
            causes={"eval_missing": 1.0},
        )
