"""CFG037: no checkpoint is kept that could be the best one."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._evaluation import CONFIGURED, evaluation, needs_matching_saves, strategy
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import INFO


class CheckpointsMissing(Lint):
    """The run saves nothing before its end, so no other checkpoint than the last can be chosen.

    ## What it does
    Compares the interval of checkpoints with the length of the run, and looks for checkpointing that is switched off.

    ## Why is this bad?
    The best model is the one with the lowest evaluation loss, and it is seldom the last. What was not saved cannot be chosen,
    and a crash at 95% costs the run.

    ## When it stays silent
    When the length of the run is not known, for short runs of under a hundred steps, and where the framework saves each epoch.

    ## What to do
    Save where you evaluate; limit the number that is kept if the disk is small.

    ## References
    Guide rows S1-186..188, S1-249, S1-251, S3-096.
    """

    code = "CFG037"
    name = "checkpoints-missing"
    severity = INFO
    whole = True
    rules = cite("S1-186 S1-187 S1-188 S1-249 S1-251 S3-096")

    SHORT = 100.0
    """Optimizer steps of a run that is soon repeated (profile table, steps guard)."""

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        total, every = plan.total_steps, plan.number("save_steps")
        if plan.native("checkpoint.enabled") is False or strategy(plan, "save") == "no":
            key = "checkpoint.enabled" if plan.dialect == "automodel" else "save_strategy"
            enabled = True if key == "checkpoint.enabled" else (strategy(plan) or "epoch")
            fixes = [self.set_key(plan, key, enabled, "Keep checkpoints to choose from.")] if enabled != "no" else []
            yield self.violation(plan, "No checkpoint is saved: the best one cannot be chosen afterwards.", at=key, fixes=fixes)
        elif total is not None and every is not None and total >= self.SHORT and every >= total and plan.is_set("save_steps"):
            bound = needs_matching_saves(plan)
            evaluated = plan.number("eval_steps") if bound or evaluation(plan) == CONFIGURED else None
            follows = evaluated is not None and 1 <= evaluated < total
            if bound and not follows:
                return  # saves have to fall on evaluations, which are too far apart themselves
            wanted = evaluated if evaluated is not None and follows else max(total // 4, 1)
            reason = "Where it evaluates, it should save." if follows else "Four checkpoints a run."
            yield self.violation(
                plan,
                f"Checkpoints every {show(every)} steps leave none but the last in a run of {counted(total, 'step')}: save every "
                f"{show(wanted)}.",
                at="save_steps",
                evidence={"save_steps": every, "total_steps": total},
                fixes=[self.fix(plan, "save_steps", int(wanted), reason)],
            )
