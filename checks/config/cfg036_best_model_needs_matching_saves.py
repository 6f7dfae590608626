"""CFG036: the best model cannot be loaded, as checkpoints do not fall on evaluations."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._evaluation import needs_matching_saves, strategy
from diag.guides import cite
from diag.lint import SAFE, Fix, Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR

DEFAULT_STEPS = 500.0
"""The Trainer's own interval of logs and saves, in steps; evaluations without an interval follow the logs."""

VALIDATION_SHARE = 0.05
"""Share of the samples to hold out (S1-003)."""


class BestModelNeedsMatchingSaves(Lint):
    """``load_best_model_at_end`` is set, but checkpoints do not fall on evaluations.

    ## What it does
    With ``load_best_model_at_end`` the Trainer requires the same strategy for evaluation and saving, and, by steps, a save
    interval that is a multiple of the evaluation interval. Early stopping in Axolotl requires the same.

    ## Why is this bad?
    The Trainer raises an error when it is built; the queue slot is gone.

    ## When it stays silent
    Without ``load_best_model_at_end``, with the save strategy ``best``, and where a script computes the settings.

    ## What to do
    Save with the evaluation, or every few evaluations.

    ## References
    The Trainer's own check of its arguments; guide rows S3-095..097, S3-176.
    """

    code = "CFG036"
    name = "best-model-needs-matching-saves"
    severity = ERROR
    dialects = ("hf", "llamafactory", "axolotl")
    rules = cite("S3-095 S3-096 S3-097 S3-176")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        computed = ("eval_strategy", "save_strategy", "eval_steps", "save_steps", "evaluation_strategy")
        if (
            not needs_matching_saves(plan)
            or plan.is_partial
            or any(key in plan.document.settings and key not in plan.flat for key in computed)
        ):
            return
        if plan.dialect == "axolotl":
            evaluated = strategy(plan) or ("steps" if plan.has("eval_steps") else "epoch" if not plan.has("evals_per_epoch") else "")
            saved = strategy(plan, "save") or ("steps" if plan.has("save_steps") else "epoch" if not plan.has("saves_per_epoch") else "")
        else:
            evaluated, saved = strategy(plan) or "no", strategy(plan, "save") or "steps"
        if saved == "best" or not evaluated or not saved:
            return
        if evaluated != saved or evaluated == "no":
            yield self._strategies(plan, evaluated, saved)
        elif evaluated == "steps":
            yield from self._steps(plan)

    def _strategies(self, plan: Plan, evaluated: str, saved: str) -> Violation:
        fixes: list[Fix] = []
        reason = "Saves must fall on evaluations."
        if evaluated != "no" and plan.dialect != "axolotl":
            fixes.append(self.set_key(plan, "save_strategy", evaluated, reason, applicability=SAFE))
            if evaluated == "steps":
                kept = plan.native("save_steps")
                new = matching(_interval(plan), kept if isinstance(kept, (int, float)) and kept > 0 else DEFAULT_STEPS)
                fixes.append(self.fix(plan, "save_steps", new, reason, applicability=SAFE))
        elif evaluated == "no":
            key = "evaluation_strategy" if plan.has("evaluation_strategy") else "eval_strategy"
            fixes.append(self.set_key(plan, key, saved if saved != "no" else "epoch", reason, applicability=SAFE))
            if plan.dialect == "llamafactory" and not plan.native("val_size") and not plan.native("eval_dataset"):
                fixes.append(self.set_key(plan, "val_size", VALIDATION_SHARE, "LLaMA-Factory refuses to evaluate without data for it."))
            if saved == "no":
                fixes.append(self.set_key(plan, "save_strategy", "epoch", reason, applicability=SAFE))
        why = f"the run evaluates by {evaluated} and saves by {saved}, and the Trainer requires the same for both"
        return self.violation(
            plan,
            f"The best model cannot be loaded at the end: {'the run never evaluates' if evaluated == 'no' else why}.",
            at="load_best_model_at_end",
            evidence={"eval_strategy": evaluated, "save_strategy": saved},
            fixes=fixes,
        )

    def _steps(self, plan: Plan) -> Iterator[Violation]:
        every, kept = _interval(plan), plan.number("save_steps") or DEFAULT_STEPS
        if every <= 0 or abs(kept / every - round(kept / every)) < 1e-9:
            return
        new = matching(every, kept)
        reason = f"{show(new)} is a multiple of the evaluation interval {show(every)}."
        yield self.violation(
            plan,
            f"The best model cannot be loaded at the end: checkpoints every {show(kept)} steps do not fall on evaluations every "
            f"{show(every)}; save every {show(new)}.",
            at="save_steps",
            evidence={"eval_steps": every, "save_steps": kept},
            fixes=[self.fix(plan, "save_steps", new, reason, applicability=SAFE)],
        )


def _interval(plan: Plan) -> float:
    """Steps between evaluations, as the Trainer counts them."""
    return plan.number("eval_steps") or plan.number("logging_steps") or DEFAULT_STEPS


def matching(every: float, kept: float) -> float | int:
    """The save interval nearest below ``kept`` that falls on evaluations every ``every`` steps, ``every`` itself at least."""
    new = round(round(max(kept // every, 1)) * every, 9)
    return int(new) if float(new).is_integer() else new
