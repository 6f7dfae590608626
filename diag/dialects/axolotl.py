"""Axolotl: one YAML file, every key of which is a flag too."""

from __future__ import annotations

from typing import Any

from diag.dialects.draft import Draft, whole
from diag.dialects.generic import HYPHEN_FLAGS, GenericDialect


class Axolotl(GenericDialect):
    """YAML keys; ``--a-key value``, switches as ``--x`` and ``--no-x``."""

    style = HYPHEN_FLAGS

    def __init__(self) -> None:
        super().__init__("axolotl")
        self.writers["lora_target_modules"] = self._targets
        self.writers["lr_scheduler"] = self._scheduler

    def _targets(self, draft: Draft, value: Any) -> None:
        if value == "all-linear":
            draft.set("lora_target_linear", True)
        else:
            self.write_key(draft, "lora_target_modules", value)

    def _scheduler(self, draft: Draft, value: Any) -> None:
        warmed = draft.is_whole and (draft.number("warmup_steps") or draft.number("warmup_ratio"))
        self.write_key(draft, "lr_scheduler", "constant_with_warmup" if value == "constant" and warmed else value)

    def frame(self, draft: Draft) -> None:
        """``adapter`` says what is adapted."""
        method = draft.value("method")
        if method in ("lora", "qlora") or draft.value("lora_rank") is not None:
            draft.set("adapter", "qlora" if method == "qlora" else "lora")
        if method == "qlora":
            draft.set("load_in_4bit", True)
        if "datasets.0.path" in draft.keys:
            draft.keys.setdefault("datasets.0.type", "chat_template")

    def is_for_files(self, key: str, value: Any) -> bool:
        """Lists have no flag."""
        return isinstance(value, (list, tuple)) or super().is_for_files(key, value)

    def complete(self, draft: Draft) -> None:
        """Early stopping needs an evaluation set, and evaluations that saves fall on."""
        if "early_stopping_patience" in draft.keys and not draft.is_whole:
            if not draft.native("val_set_size") and not draft.native("test_datasets") and draft.run.config:
                draft.set("val_set_size", 0.05)
                draft.note("Early stopping needs an evaluation set: val_set_size is set along.")
            if not draft.has("eval_steps") and (steps := draft.number("eval_steps")) is not None:
                draft.set("eval_steps", whole(steps))
                draft.set("save_steps", whole(steps))


DIALECT = Axolotl()
