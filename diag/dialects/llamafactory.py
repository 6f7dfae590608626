"""LLaMA-Factory: the arguments of the Trainer and its own, in one YAML file or as ``key=value``."""

from __future__ import annotations

from typing import Any

from diag.dialects.draft import Draft, whole
from diag.dialects.generic import GenericDialect
from diag.dialects.values import as_bool

COSINE_WITH_FLOOR = "cosine_with_min_lr"


class LlamaFactory(GenericDialect):
    """YAML keys; ``key=value``."""

    def __init__(self) -> None:
        super().__init__("llamafactory")
        self.writers |= {
            "min_lr": self._min_lr,
            "lr_scheduler": self._scheduler,
            "load_in_4bit": lambda draft, value: self._quantize(draft, 4, value),
            "load_in_8bit": lambda draft, value: self._quantize(draft, 8, value),
            "lora_rank": self._rank,
            "lora_target_modules": self._targets,
            "eval_steps": lambda draft, value: self._cadence(draft, "eval", value),
            "save_steps": lambda draft, value: self._cadence(draft, "save", value),
        }

    def _min_lr(self, draft: Draft, value: Any) -> None:
        scheduler = str(draft.value("lr_scheduler") or "")
        if draft.is_whole and not value and scheduler != COSINE_WITH_FLOOR:
            return  # the schedules end at zero by themselves
        if scheduler in ("cosine", COSINE_WITH_FLOOR):
            draft.set("lr_scheduler_type", COSINE_WITH_FLOOR)
        elif draft.is_whole or not draft.is_own("min_lr"):
            draft.note(f"A lowest learning rate needs lr_scheduler_type {COSINE_WITH_FLOOR}.")
            return
        self.write_key(draft, "min_lr", value)

    def _scheduler(self, draft: Draft, value: Any) -> None:
        warmed = draft.is_whole and (draft.number("warmup_steps") or draft.number("warmup_ratio"))
        self.write_key(draft, "lr_scheduler", "constant_with_warmup" if value == "constant" and warmed else value)

    @staticmethod
    def _quantize(draft: Draft, bits: int, value: Any) -> None:
        if value or not draft.is_whole:
            draft.set("quantization_bit", bits if value else None)

    def _rank(self, draft: Draft, value: Any) -> None:
        """Without ``lora_alpha`` alpha is twice the rank: a new rank must not change it."""
        self.write_key(draft, "lora_rank", int(value))
        if "lora_alpha" not in draft.changes and (alpha := draft.number("lora_alpha")) is not None and not draft.is_own("lora_alpha"):
            self.write_key(draft, "lora_alpha", alpha)

    def _targets(self, draft: Draft, value: Any) -> None:
        if value == "all-linear":
            draft.set("lora_target", "all")
        else:
            self.write_key(draft, "lora_target_modules", value)

    def _cadence(self, draft: Draft, what: str, value: Any) -> None:
        strategy = f"{what}_strategy"
        if draft.is_whole or str(draft.native(strategy) or "").lower() in ("no", "epoch") or (what == "eval" and draft.run.config):
            draft.set(strategy, "steps")
        draft.set(f"{what}_steps", whole(value))

    def frame(self, draft: Draft) -> None:
        """What is trained, and how."""
        method = draft.value("method")
        adapted = method in ("lora", "qlora") or draft.value("lora_rank") is not None
        if draft.keys:
            draft.set("stage", "pt" if method == "pretraining" else "sft")
            draft.set("do_train", True)
            draft.set("finetuning_type", "lora" if adapted else "full")

    def complete(self, draft: Draft) -> None:
        """The switch for checkpointing is turned round, and stays a switch."""
        if "disable_gradient_checkpointing" in draft.keys:
            draft.set("disable_gradient_checkpointing", as_bool(draft.keys["disable_gradient_checkpointing"]))


DIALECT = LlamaFactory()
