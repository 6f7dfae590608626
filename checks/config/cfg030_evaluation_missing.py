"""CFG030: the training never evaluates."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.checks.config._evaluation import MISSING, evaluation, is_reward_driven
from diag.guides import cite
from diag.guides.profiles import band
from diag.lint import Fix, Lint, Violation
from diag.plan import Plan
from diag.text import counted

PLACES = {
    "automodel": ("validation_dataset", "Add a validation_dataset section with a held-out split, and step_scheduler.val_every_steps."),
    "training_hub": ("validation_split", "Hold out 5 to 10% of the samples: pass validation_split=0.05 with validation_frequency."),
    "axolotl": ("val_set_size", "Hold out 5% of the samples: val_set_size: 0.05, with eval_steps."),
    "llamafactory": ("val_size", "Hold out 5% of the samples: val_size: 0.05, with eval_strategy: steps and eval_steps."),
    "hf": ("eval_strategy", "Hold out 5 to 10% of the samples at random before training, and evaluate on them."),
    "lightning": ("trainer.limit_val_batches", "Let the validation loop run: remove trainer.limit_val_batches: 0."),
    "ultralytics": ("val", "Let it validate: val: true."),
    "megatron": ("eval_iters", "Evaluate on a held-out split: --eval-iters 100, with --eval-interval."),
}
"""Dialect to the key that turns evaluation on, and what to do."""


class EvaluationMissing(Lint):
    """The training never looks at samples it does not train on.

    ## What it does
    Looks for an evaluation set and for the setting that uses it, in the framework's own way: ``eval_strategy`` is ``no`` by
    default in Hugging Face, Axolotl needs ``val_set_size``, NeMo AutoModel a ``validation_dataset``.

    ## Why is this bad?
    A low training loss and a useless model go together. Without an evaluation nobody sees when a run overfits, no
    checkpoint can be called the best, and no two runs can be compared.

    ## When it stays silent
    Where a script computes the setting, for frameworks that evaluate by default, for parts of configs, and for trainings on
    rewards of the model's own samples.

    ## What to do
    Hold out 5 to 10% of the samples at random, and evaluate about twelve times a run.

    ## References
    Guide rows S1-003, S1-004, S3-112, S3-190..192.
    """

    code = "CFG030"
    name = "evaluation-missing"
    whole = True
    rules = cite("S1-003 S1-004 S3-112 S3-190 S3-191 S3-192")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if evaluation(plan) != MISSING or is_reward_driven(plan):
            return
        key, advice = PLACES[plan.dialect]
        fixes: list[Fix] = [self.advise("validation_set", advice)]
        if plan.dialect == "hf":
            reason = "Evaluate while training, so that overfitting shows."
            # Not safe: the Trainer refuses to evaluate where no evaluation data is handed to it.
            fixes.append(self.set_key(plan, _strategy_key(plan), "steps", reason))
            if plan.total_steps is not None:
                limits = band("evaluations", "sft")
                count = 12.0 if limits is None else limits.start
                every = max(math.floor(plan.total_steps / count), 1)
                fixes.append(self.fix(plan, "eval_steps", every, f"Twelve evaluations in {counted(plan.total_steps, 'step')}."))
        yield self.violation(plan, f"The training never evaluates: {_name(plan)} does so only if {key} says so.", at=key, fixes=fixes)


def _strategy_key(plan: Plan) -> str:
    return "evaluation_strategy" if plan.has("evaluation_strategy") else "eval_strategy"


def _name(plan: Plan) -> str:
    from diag.dialects.interpret import framework

    return framework(plan.dialect)
