"""CFG033: the run evaluates too seldom to see when it turns."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.checks.config._aims import divisor
from diag.checks.config._evaluation import CONFIGURED, evaluation, evaluations, is_reward_driven, needs_matching_saves, strategy
from diag.guides import band, cite
from diag.guides.formulas import samples_between_evaluations
from diag.lint import SAFE, Fix, Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import INFO, WARNING

BLIND = 3.0
"""Evaluations a run below which a rise and the noise of one evaluation cannot be told apart: a turn takes a point before and after."""


class EvaluationsARun(Lint):
    """The run evaluates too seldom, or far more often than helps.

    ## What it does
    Counts the evaluations the run will make: its steps over the interval. The guides aim at twelve or more; below eight there
    is a note, below three a warning. It also says how many samples lie between two evaluations.

    ## Why is this bad?
    Early stopping with a patience of 3 wastes a quarter of a run of 12 evaluations; with 4 it cannot act at all. The best
    checkpoint can only be one that was evaluated.

    ## When it stays silent
    When the length of the run or the interval is not known, and from 8 to 50 evaluations. More than 50 are a remark in fine-tuning only:
    pretraining, small models and models of vision run for long, and evaluate as often as they save.

    ## What to do
    Evaluate every steps/12.

    ## References
    Guide rows S1-187, S3-095, S3-177..179.
    """

    code = "CFG033"
    name = "evaluations-a-run"
    severity = WARNING
    rules = cite("S1-187 S3-095 S3-177..179")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        count, limits = evaluations(plan), band("evaluations", "sft")
        if count is None or limits is None or evaluation(plan) != CONFIGURED or is_reward_driven(plan):
            return
        if count > limits.clip_high and not (plan.is_fine_tuning and plan.is_guided):
            return  # the upper end is that of fine-tuning runs of an hour or a day, not of weeks of pretraining
        total = plan.total_steps
        if limits.clip_low <= count <= limits.clip_high or (total is not None and total < limits.clip_low):
            return
        every = None if total is None else max(math.floor(total / limits.start), 1)
        fixes: list[Fix] = []
        if every is not None and plan.is_set("eval_steps") and strategy(plan) in (None, "steps"):
            reason = f"{limits.start:.0f} evaluations in {counted(total or 0, 'step')}."
            if needs_matching_saves(plan) and (saved := plan.number("save_steps")) and saved >= 1:
                every = divisor(int(saved), every)  # saves must go on falling on evaluations
            if count < limits.clip_low:
                sum_ = f"{show(total)} / {limits.start:.0f}"
                fixes.append(self.fix(plan, "eval_steps", every, reason, applicability=SAFE, arithmetic=sum_))
        few = count < limits.clip_low
        at, epochs = "eval_steps", plan.number("num_epochs")
        if plan.dialect == "axolotl" and plan.native("evals_per_epoch") is not None:
            at, every = "evals_per_epoch", None
            if few and epochs:
                wanted = math.ceil(limits.start / epochs)
                reason = f"{limits.start:.0f} evaluations in {counted(epochs, 'epoch')}."
                fixes.append(self.set_key(plan, at, wanted, reason, applicability=SAFE))
        yield self.violation(
            plan,
            f"The run evaluates {counted(max(math.floor(count), 0), 'time')}{self._samples(plan)}; the guides aim at {limits.start:.0f} "
            f"or more, {limits.clip_low:.0f} to {limits.clip_high:.0f}" + (f": every {every} steps." if every is not None and few else "."),
            at=at,
            severity=WARNING if count < BLIND and strategy(plan) != "epoch" else INFO,
            evidence={"evaluations": math.floor(count), "aim": limits.start},
            fixes=fixes,
        )

    @staticmethod
    def _samples(plan: Plan) -> str:
        every, micro = plan.number("eval_steps"), plan.number("micro_batch_size")
        if not every or every < 1 or plan.global_batch is None:
            return ""
        samples = every * plan.global_batch
        if micro is not None and (accumulation := plan.number("gradient_accumulation_steps")) is not None:
            samples = samples_between_evaluations(int(every), int(micro), int(accumulation), int(plan.world_size or 1))
        return f", every {samples:,.0f} samples"
