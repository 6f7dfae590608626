"""Training Hub: keyword arguments of ``sft``, ``osft`` and ``lora_sft``.

Unknown keyword arguments are dropped without a word, so only those that the algorithm takes are written. What its
backend takes beyond the function's own arguments goes through YAML or Python, not through the command line.
"""

from __future__ import annotations

import math
from typing import Any, Final

from diag.dialects import table
from diag.dialects.base import TableDialect, best_step, warmup_count
from diag.dialects.draft import Draft, argument, whole

SFT, OSFT, LORA = "sft", "osft", "lora_sft"

ACCEPTED: Final[dict[str, frozenset[str]]] = {
    SFT: frozenset(
        {
            "learning_rate",
            "warmup_steps",
            "num_epochs",
            "effective_batch_size",
            "weight_decay",
            "max_seq_len",
            "max_tokens_per_gpu",
            "save_samples",
        }
    ),
    OSFT: frozenset(
        {
            "learning_rate",
            "lr_scheduler",
            "lr_scheduler_kwargs",
            "warmup_steps",
            "num_epochs",
            "effective_batch_size",
            "weight_decay",
            "max_seq_len",
            "max_tokens_per_gpu",
            "unfreeze_rank_ratio",
            "seed",
        }
    ),
    LORA: frozenset(
        {
            "learning_rate",
            "lr_scheduler",
            "warmup_steps",
            "num_epochs",
            "effective_batch_size",
            "micro_batch_size",
            "gradient_accumulation_steps",
            "lora_r",
            "lora_alpha",
            "lora_dropout",
            "target_modules",
            "load_in_4bit",
            "load_in_8bit",
            "bf16",
            "fp16",
            "max_seq_len",
            "sample_packing",
            "eval_steps",
            "save_steps",
            "logging_steps",
        }
    ),
}
"""Arguments of the function itself, which the command line takes too."""

PASSED: Final[dict[str, frozenset[str]]] = {
    SFT: frozenset({"random_seed", "validation_split", "validation_frequency"}),
    OSFT: frozenset(
        {
            "max_steps",
            "training_mode",
            "train_dtype",
            "validation_frequency",
            "validation_split",
            "save_best_val_loss",
            "min_samples_per_checkpoint",
        }
    ),
    LORA: frozenset({"weight_decay", "max_grad_norm", "use_dora", "use_rslora", "seed"}),
}
"""Arguments passed on to the backend: from Python or YAML only."""

KEYS: Final = {
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "lora_rank": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "use_dora": "use_dora",
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "max_seq_len": "max_seq_len",
    "packing": "sample_packing",
    "unfreeze_rank_ratio": "unfreeze_rank_ratio",
    "micro_batch_size": "micro_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "logging_steps": "logging_steps",
    "lr_scheduler": "lr_scheduler",
}
"""Canonical names whose argument only differs in name; others have a writer."""

FIXED: Final = {
    "max_grad_norm": "clips gradients at 1.0, which cannot be changed",
    "optimizer": "always trains with AdamW",
    "lr_scheduler": "always uses a cosine schedule",
    "precision": "chooses the precision itself (bf16)",
    "packing": "always packs by a budget of tokens",
    "gradient_checkpointing": "manages activation checkpointing itself",
}
"""Why a setting is refused, for the algorithms that have no argument for it."""


def algorithm(draft: Draft) -> str:
    """The function that the run was (or should be) launched with."""
    if draft.scope is not None:
        return draft.scope if draft.scope in ACCEPTED else SFT
    method = draft.run.hyperparameter("method")
    if "unfreeze_rank_ratio" in draft.run.hyperparameters or method == "osft":
        return OSFT
    return LORA if method in ("lora", "qlora") or "lora_rank" in draft.run.hyperparameters else SFT


class TrainingHub(TableDialect):
    """Keyword arguments and ``thub`` flags."""

    name = "training_hub"

    def __init__(self) -> None:
        super().__init__()
        self.writers = {
            "warmup_steps": lambda draft, value: self._warmup(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._warmup(draft, "warmup_ratio", value),
            "num_epochs": self._epochs,
            "max_steps": self._max_steps,
            "global_batch_size": self._batch,
            "micro_batch_size": self._micro_batch,
            "gradient_accumulation_steps": self._accumulation,
            "min_lr": self._min_lr,
            "precision": self._precision,
            "eval_steps": lambda draft, value: self._put(
                draft, "eval_steps", "eval_steps" if algorithm(draft) == LORA else "validation_frequency", int(value)
            ),
            "save_steps": self._save_steps,
            "seed": lambda draft, value: self._put(draft, "seed", "random_seed" if algorithm(draft) == SFT else "seed", int(value)),
            "early_stopping_patience": self._early_stopping,
            "early_stopping_threshold": lambda draft, value: None,
            "load_best_model_at_end": self._load_best,
        }

    def frame(self, draft: Draft) -> None:
        """The budget of tokens that stands for a micro batch."""
        length, micro = draft.number("max_seq_len"), draft.number("micro_batch_size")
        if algorithm(draft) != LORA and length is not None:
            draft.set("max_tokens_per_gpu", int(length * (micro or 1)))
        if algorithm(draft) == LORA and draft.value("load_in_4bit") is True:
            draft.keys.update({"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_use_double_quant": True})

    def write_key(self, draft: Draft, name: str, value: Any) -> None:
        """Write an argument that the algorithm takes; refuse with a reason what it does not."""
        self._put(draft, name, KEYS.get(name, name), self.spell(name, value))

    @staticmethod
    def _put(draft: Draft, name: str, key: str, value: Any) -> None:
        kind = algorithm(draft)
        if key in ACCEPTED[kind] or key in PASSED[kind]:
            draft.set(key, value)
        else:
            why = f"{kind} {FIXED.get(name, f'takes no {key}')}"
            draft.note(f"{why}." if draft.is_whole else f"{why}: {name} {argument(value)} is not written.")

    def _warmup(self, draft: Draft, name: str, value: Any) -> None:
        count = warmup_count(draft, name, float(value))
        if count is None:
            draft.note(f"warmup_steps takes a number of steps: set it to {argument(float(value))} of all steps.")
        else:
            draft.set("warmup_steps", count)

    @staticmethod
    def _epochs(draft: Draft, value: Any) -> None:
        epochs = max(math.ceil(float(value)), 1)
        if epochs != float(value):
            draft.note(
                f"num_epochs takes whole epochs, so {argument(float(value))} becomes {epochs}; pick the earlier samples_<N> checkpoint."
            )
        draft.set("num_epochs", epochs)

    @staticmethod
    def _max_steps(draft: Draft, value: Any) -> None:
        if algorithm(draft) == OSFT:
            draft.set("training_mode", "step")
            draft.set("max_steps", int(value))
            return
        epochs, steps = draft.run.hyperparameter("num_epochs"), draft.run.hyperparameter("max_steps")
        if isinstance(epochs, (int, float)) and isinstance(steps, (int, float)) and steps > 0 and "num_epochs" not in draft.changes:
            draft.set("num_epochs", max(math.ceil(epochs * float(value) / steps), 1))
        draft.note(f"{algorithm(draft)} counts epochs, not steps: step {int(value)} is the checkpoint to keep.")

    @staticmethod
    def _batch(draft: Draft, value: Any) -> None:
        if draft.is_whole and algorithm(draft) == LORA and {"micro_batch_size", "gradient_accumulation_steps"} <= draft.changes.keys():
            return  # what the two make
        draft.set("effective_batch_size", int(value))

    def _micro_batch(self, draft: Draft, value: Any) -> None:
        counts = draft.is_whole or ("global_batch_size" not in draft.changes and not draft.has("effective_batch_size"))
        if algorithm(draft) == LORA and counts:
            draft.set("micro_batch_size", int(value))
        elif algorithm(draft) == LORA:
            draft.note("micro_batch_size is ignored where effective_batch_size is set: raise gradient_accumulation_steps to save memory.")
        else:
            draft.note("Memory is bounded by max_tokens_per_gpu, not by a micro batch: lower that, but not below max_seq_len.")

    def _accumulation(self, draft: Draft, value: Any) -> None:
        if algorithm(draft) == LORA:
            draft.set("gradient_accumulation_steps", int(value))

    def _min_lr(self, draft: Draft, value: Any) -> None:
        if algorithm(draft) == OSFT:
            draft.set("lr_scheduler_kwargs", {"min_lr": value})
        elif value:
            draft.note(f"{algorithm(draft)} takes no lowest learning rate.")

    def _precision(self, draft: Draft, value: Any) -> None:
        kind, name = algorithm(draft), str(value)
        if kind == LORA and name in ("bf16", "fp16", "fp32"):
            draft.set("bf16", name == "bf16")
            draft.set("fp16", name == "fp16")
        elif kind == OSFT and name in ("bf16", "fp32"):
            draft.set("train_dtype", table.spelled(self.name, "precision", name))
        else:
            why = f"{kind} {FIXED['precision']}"
            draft.note(f"{why}." if draft.is_whole else f"{why}: precision {name} is not written.")

    def _save_steps(self, draft: Draft, value: Any) -> None:
        kind, batch = algorithm(draft), draft.number("global_batch_size")
        if kind == LORA:
            draft.set("save_steps", int(value))
        elif batch is None:
            draft.note(f"{kind} saves by samples: multiply {int(value)} steps by effective_batch_size.")
        else:
            key = "save_samples" if kind == SFT else "min_samples_per_checkpoint"
            draft.set(key, int(float(value) * batch))
            if draft.is_whole:
                draft.rephrase(f"{key} counts samples, {int(value)} steps of {int(batch)}.")

    def _early_stopping(self, draft: Draft, value: Any) -> None:
        best, batch = best_step(draft.run), draft.run.hyperparameter("global_batch_size")
        which = f" (samples_{int(best * batch)})" if best and isinstance(batch, (int, float)) else ""
        draft.note(f"{algorithm(draft)} has no early stopping: save often and keep the checkpoint of the best evaluation{which}.")
        if not draft.is_whole:
            self._load_best(draft, True)

    def _load_best(self, draft: Draft, value: Any) -> None:
        if value and algorithm(draft) == OSFT:
            draft.set("save_best_val_loss", True)
            if draft.is_whole:
                draft.rephrase("save_best_val_loss keeps the best checkpoint, in a folder of its own.")
        elif value:
            draft.note(f"{algorithm(draft)} loads no checkpoint by itself.")

    def factor_note(self, draft: Draft, name: str, factor: float) -> str:
        """A change of an unknown value, as a sentence."""
        key = {"global_batch_size": "effective_batch_size"}.get(name, KEYS.get(name, name))
        return f"Divide {key} by {1 / factor:.4g}." if 0 < factor < 1 else f"Multiply {key} by {factor:.4g}."

    def complete(self, draft: Draft) -> None:
        """``max_tokens_per_gpu`` must hold one sequence; the call itself as code."""
        length, budget = draft.keys.get("max_seq_len"), draft.native("max_tokens_per_gpu")
        if isinstance(length, int) and isinstance(budget, (int, float)) and budget < length and algorithm(draft) in (SFT, OSFT):
            draft.set("max_tokens_per_gpu", length)
            draft.note("max_tokens_per_gpu must hold one sequence, so it is raised along.")
        ratio = draft.keys.get("unfreeze_rank_ratio")
        if isinstance(ratio, (int, float)) and not 0 <= ratio <= 1:
            draft.set("unfreeze_rank_ratio", min(max(float(ratio), 0.0), 1.0))
        if draft.keys and not draft.is_whole:
            call = ", ".join(
                f"{key}={whole(value)!r}" if key in ("num_epochs",) else f"{key}={value!r}" for key, value in draft.keys.items()
            )
            draft.code.append(f"{algorithm(draft)}(..., {call})")

    def arguments(self, draft: Draft) -> list[str]:
        """``--learning-rate 1e-5`` flags, only those that the command line knows."""
        kind = algorithm(draft)
        tokens: list[str] = []
        passed = []
        for key, value in draft.keys.items():
            if key not in ACCEPTED[kind] or isinstance(value, dict):
                passed.append(key)
                continue
            tokens.append(f"--{key.replace('_', '-')}")
            tokens += (
                [str(item) for item in value]
                if isinstance(value, list)
                else [argument(value).lower() if isinstance(value, bool) else argument(value)]
            )
        if passed:
            draft.note(
                f"{', '.join(passed)}: from YAML or Python only, the command line does not take {'it' if len(passed) == 1 else 'them'}."
            )
        return tokens


DIALECT = TrainingHub()
