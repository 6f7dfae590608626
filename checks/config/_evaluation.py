"""What a config says about evaluation and checkpoints, in each framework's way of saying it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from diag.documents import PYTHON
from diag.plan import Plan

CONFIGURED: Final = "configured"
MISSING: Final = "missing"
UNKNOWN: Final = "unknown"

REWARD_DRIVEN: Final = ("grpo", "ppo", "rloo", "online_dpo", "reinforce")
"""Trainings that sample their own data: their loss is no measure of progress, evaluation is another matter there."""


def strategy(plan: Plan, kind: str = "eval") -> str | None:
    """``no``, ``steps``, ``epoch`` or ``best`` of a Trainer's config (``kind`` is eval or save); None where it is computed or absent."""
    names = ("eval_strategy", "evaluation_strategy") if kind == "eval" else (f"{kind}_strategy", f"{kind}_strategy")
    for name in names:
        if name in plan.document.settings:
            value = plan.native(name)
            if value is False:
                return "no"  # YAML 1.1 reads an unquoted no as false
            return None if value is None else str(value).rsplit(".", 1)[-1].lower()
    return None


def is_reward_driven(plan: Plan) -> bool:
    """Whether a policy is trained on rewards for its own samples."""
    words = " ".join(str(plan.native(key) or "") for key in ("stage", "rl", "trainer_type")) + f" {plan.document.entry}"
    return any(word in words.lower() for word in REWARD_DRIVEN) or plan.has("num_generations")


def evaluation(plan: Plan) -> str:
    """Whether the training evaluates: CONFIGURED, MISSING, or UNKNOWN where the config cannot say."""
    say: Callable[[Plan], str] | None = {
        "hf": _trainer,
        "llamafactory": _llamafactory,
        "axolotl": _axolotl,
        "automodel": _automodel,
        "training_hub": _training_hub,
        "ultralytics": _ultralytics,
        "lightning": _lightning,
        "nanogpt": _always,
        "litgpt": _always,
        "megatron": _megatron,
    }.get(plan.dialect)
    found = UNKNOWN if say is None else say(plan)
    return UNKNOWN if found == MISSING and plan.is_partial else found


def _computed(plan: Plan, *keys: str) -> bool:
    """Whether a script computes one of these, so that the config cannot say."""
    return any(key in plan.document.settings and key not in plan.flat for key in keys)


def _trainer(plan: Plan) -> str:
    if _computed(plan, "eval_strategy", "evaluation_strategy", "do_eval"):
        return UNKNOWN
    named = strategy(plan)
    if named not in (None, "no") or plan.native("evaluate_during_training") is True:
        return CONFIGURED
    if named is None and plan.native("do_eval") is True:
        return CONFIGURED  # once, at the end
    return MISSING


def _always(plan: Plan) -> str:
    return CONFIGURED  # evaluates by default, on a split of its own


def _ultralytics(plan: Plan) -> str:
    return MISSING if plan.native("val") is False else CONFIGURED


def _lightning(plan: Plan) -> str:
    return MISSING if plan.native("trainer.limit_val_batches") == 0 else UNKNOWN


def _megatron(plan: Plan) -> str:
    return MISSING if plan.native("eval_iters") == 0 else UNKNOWN


def _llamafactory(plan: Plan) -> str:
    has_data = bool(plan.native("eval_dataset")) or _positive(plan.native("val_size"))
    if _computed(plan, "eval_dataset", "val_size", "eval_strategy"):
        return UNKNOWN
    return CONFIGURED if has_data and strategy(plan) not in (None, "no") else MISSING


def _axolotl(plan: Plan) -> str:
    return CONFIGURED if _positive(plan.native("val_set_size")) or plan.has("test_datasets") else MISSING


def _automodel(plan: Plan) -> str:
    return CONFIGURED if plan.has("validation_dataset") else MISSING


def _training_hub(plan: Plan) -> str:
    keys = ("validation_split", "validation_data_path", "eval_data_path")
    if _computed(plan, *keys):
        return UNKNOWN
    return CONFIGURED if any(plan.native(key) for key in keys) else MISSING


def evaluations(plan: Plan) -> float | None:
    """Evaluations in the run; None where length or interval are unknown."""
    every, total = plan.number("eval_steps"), plan.total_steps
    if plan.dialect in ("hf", "llamafactory") and strategy(plan) == "epoch":
        return plan.number("num_epochs")
    if plan.dialect == "axolotl" and isinstance(plan.native("evals_per_epoch"), (int, float)):
        epochs = plan.number("num_epochs")
        return None if epochs is None else epochs * plan.native("evals_per_epoch")
    if not every or total is None:
        return None
    return 1 / every if every < 1 else total / every


def needs_matching_saves(plan: Plan) -> bool:
    """Whether the trainer refuses checkpoints that do not fall on evaluations: it is to load the best model at the end."""
    return plan.value("load_best_model_at_end") is True or (plan.dialect == "axolotl" and plan.is_set("early_stopping_patience"))


def early_stopping(plan: Plan) -> bool:
    """Whether the training may stop when the evaluation loss no longer falls."""
    if plan.is_set("early_stopping_patience"):
        return True
    return any(isinstance(value, str) and "EarlyStopping" in value for value in plan.flat.values())


def can_stop_early(plan: Plan) -> bool:
    """Whether the framework's config has a key for it, or the script can hold the callback."""
    return plan.dialect in ("axolotl", "llamafactory", "lightning") or (plan.dialect == "hf" and plan.document.form == PYTHON)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
