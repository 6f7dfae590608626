"""CFG034: nothing keeps the best checkpoint of a run of several epochs."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._evaluation import CONFIGURED, can_stop_early, early_stopping, evaluation, is_reward_driven, strategy
from diag.guides import cite
from diag.lint import SAFE, Fix, Lint, Violation
from diag.plan import PRETRAINING, Plan
from diag.text import show
from diag.vocabulary import INFO

BEST = ("hf", "axolotl", "llamafactory")
"""Dialects that can load the best checkpoint at the end."""

PATIENCE = 3
"""Evaluations without a lower loss before the run stops (S3-174)."""


class EarlyStoppingMissing(Lint):
    """The run evaluates, but neither stops early nor keeps its best checkpoint.

    ## What it does
    For runs of more than one epoch that evaluate: looks for early stopping and for ``load_best_model_at_end``, where the
    framework has them.

    ## Why is this bad?
    The best epoch count is not known beforehand. Without either, the last checkpoint is used, and it is the most overfitted one.

    ## When it stays silent
    For a single epoch, without evaluation, for pretraining, and for frameworks without a setting for it; NeMo AutoModel keeps
    the checkpoint with the lowest validation loss by itself.

    ## What to do
    Load the best model at the end, by the evaluation loss; stop after 3 evaluations without a gain of 0.001.

    ## References
    Guide rows S3-053, S3-097, S3-098, S3-135, S3-174, S3-175, S3-208.
    """

    code = "CFG034"
    name = "early-stopping-missing"
    severity = INFO
    whole = True
    rules = cite("S3-053 S3-097 S3-098 S3-135 S3-174 S3-175 S3-208")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        epochs = plan.epochs
        if plan.method == PRETRAINING:
            return  # a pass over its data, seldom more
        if evaluation(plan) != CONFIGURED or early_stopping(plan) or is_reward_driven(plan) or (epochs is not None and epochs <= 1):
            return
        best = plan.value("load_best_model_at_end")
        if best is True or not (can_stop_early(plan) or plan.dialect in BEST) or (plan.dialect == "axolotl" and best is None):
            return  # Axolotl loads the best model by itself where saves fall on evaluations
        fixes: list[Fix] = []
        if plan.dialect in BEST and plan.dialect != "axolotl":
            fixes += self._best(plan)
        if plan.dialect == "llamafactory":
            fixes.append(self.set_key(plan, "early_stopping_steps", PATIENCE, "It counts evaluations.", applicability=SAFE))
        elif not fixes:
            fixes.append(self.advise("early_stopping", f"Add early stopping on the evaluation loss with a patience of {PATIENCE}."))
        of = "" if epochs is None else f" of {show(round(epochs, 2))} epochs"
        yield self.violation(
            plan,
            f"The run{of} neither stops early nor keeps its best checkpoint: the last is what is left.",
            at="load_best_model_at_end" if plan.dialect in BEST else "early_stopping_patience",
            fixes=fixes,
        )

    def _best(self, plan: Plan) -> list[Fix]:
        """The settings that the Trainer needs together: it refuses saves that do not fall on evaluations."""
        if strategy(plan) not in (None, "no", "steps", "epoch"):
            return []
        why = "The Trainer loads the checkpoint with the lowest evaluation loss."
        fixes = [self.set_key(plan, "load_best_model_at_end", True, why, applicability=SAFE)]
        if not plan.has("metric_for_best_model"):
            fixes.append(self.set_key(plan, "metric_for_best_model", "eval_loss", "The loss decides which is best.", applicability=SAFE))
        evaluated, saved = strategy(plan), strategy(plan, "save") or "steps"
        if evaluated in (None, "no"):  # it evaluates only after the training
            evaluated, key = "epoch", "evaluation_strategy" if plan.has("evaluation_strategy") else "eval_strategy"
            fixes.append(self.set_key(plan, key, evaluated, "The best can only be one that was evaluated.", applicability=SAFE))
        if evaluated != saved:
            fixes.append(self.set_key(plan, "save_strategy", evaluated, "Saves must fall on evaluations.", applicability=SAFE))
        every, kept = plan.number("eval_steps"), plan.number("save_steps")
        if evaluated == "steps" and every and (kept is None or kept % every):
            fixes.append(self.fix(plan, "save_steps", _multiple(every, kept), "Saves must fall on evaluations.", applicability=SAFE))
        return fixes


def _multiple(every: float, kept: float | None) -> float | int:
    """The multiple of ``every`` next above ``kept``, ``every`` itself for shares and where nothing was set."""
    if every < 1 or kept is None or kept < 1:
        return every if every < 1 else int(every)
    return int(every * max(-(-kept // every), 1))
