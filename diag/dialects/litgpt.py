"""litgpt: YAML or ``--key value`` for its commands, which do not know the same keys."""

from __future__ import annotations

from typing import Any, Final

from diag.dialects.draft import Draft
from diag.dialects.generic import FLAGS, GenericDialect
from diag.dialects.table import spelled

SWITCHES: Final[dict[str, tuple[str, ...]]] = {
    "lora_query": ("q_proj",),
    "lora_key": ("k_proj",),
    "lora_value": ("v_proj",),
    "lora_projection": ("o_proj", "output_proj"),
    "lora_mlp": ("gate_proj", "up_proj", "down_proj"),
    "lora_head": ("lm_head",),
}
"""litgpt's switches to the modules that they adapt."""

CHECKPOINTS: Final = "checkpoints/"
"""Folder that ``litgpt download`` puts models in."""


class LitGpt(GenericDialect):
    """Dotted keys; ``--key value``."""

    style = FLAGS

    def __init__(self) -> None:
        super().__init__("litgpt")
        self.writers |= {
            "max_grad_norm": self._clip,
            "load_in_4bit": lambda draft, value: self._quantize(draft, "bnb.nf4", value),
            "load_in_8bit": lambda draft, value: self._quantize(draft, "bnb.int8-training", value),
            "lora_target_modules": self._targets,
            "optimizer": self._optimizer,
            "min_lr": self._floor,
            "lr_scheduler": self._scheduler,
        }

    def _clip(self, draft: Draft, value: Any) -> None:
        if draft.scope == "pretrain" or draft.has("train.max_norm"):
            self.write_key(draft, "max_grad_norm", value)
        elif value or not draft.is_whole:
            draft.note("litgpt clips gradients in pretraining only (train.max_norm); its fine-tuning commands reject the key.")

    @staticmethod
    def _quantize(draft: Draft, kind: str, value: Any) -> None:
        if value or not draft.is_whole:
            draft.set("quantize", kind if value else None)

    def _targets(self, draft: Draft, value: Any) -> None:
        if isinstance(value, str) and value != "all-linear":
            draft.note("litgpt has a switch for each kind of layer, no regular expression.")
            return
        names = {name.removeprefix("*.") for name in value} if not isinstance(value, str) else set()
        for switch, modules in SWITCHES.items():
            draft.set(switch, bool(names & set(modules)) if names else switch != "lora_head")
        draft.rephrase("litgpt has a switch for each kind of layer.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        path = spelled(self.name, "optimizer", str(value))
        if draft.is_own("optimizer") or "." in path:
            self.write_key(draft, "optimizer", path) if draft.is_own("optimizer") else draft.set("optimizer.class_path", path)
        else:
            draft.note(f"optimizer.class_path names a class, and none is known for {value}.")

    def _floor(self, draft: Draft, value: Any) -> None:
        if draft.scope == "pretrain" or draft.has("train.min_lr"):
            self.write_key(draft, "min_lr", value)
        elif value:
            draft.note("The schedule of litgpt's fine-tuning ends at zero.")

    def _scheduler(self, draft: Draft, value: Any) -> None:
        if str(value) not in ("cosine", "cosine_with_min_lr"):
            draft.note("litgpt always uses a cosine schedule.")

    def frame(self, draft: Draft) -> None:
        """Settings of an optimizer need its class."""
        if any(key.startswith("optimizer.init_args.") for key in draft.keys):
            draft.keys.setdefault("optimizer.class_path", "torch.optim.AdamW")


DIALECT = LitGpt()
