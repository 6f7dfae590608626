"""Megatron-LM: arguments of ``pretrain_gpt.py``; switches that are only there or not."""

from __future__ import annotations

from typing import Any

from diag.dialects.draft import Draft
from diag.dialects.generic import HYPHEN_FLAGS, GenericDialect
from diag.dialects.table import spelled

STYLES = frozenset({"constant", "linear", "cosine", "inverse-square-root", "WSD"})
"""What ``--lr-decay-style`` takes."""


class Megatron(GenericDialect):
    """``--a-key value``."""

    style = HYPHEN_FLAGS

    def __init__(self) -> None:
        super().__init__("megatron")
        self.writers |= {"lr_scheduler": self._scheduler, "optimizer": self._optimizer}

    def _scheduler(self, draft: Draft, value: Any) -> None:
        style = spelled(self.name, "lr_scheduler", str(value))
        if style in STYLES:
            draft.set("lr_decay_style", style)
        else:
            draft.note(f"Megatron-LM has no {value} schedule; it has {', '.join(sorted(STYLES))}.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        name = spelled(self.name, "optimizer", str(value))
        if name in ("adam", "sgd", "muon", "dist_muon"):
            draft.set("optimizer", name)
        else:
            draft.note(f"Megatron-LM has no {value}.")

    def complete(self, draft: Draft) -> None:
        """A switch that is off is left out."""
        if draft.is_whole:
            for key in [key for key, value in draft.keys.items() if value is False]:
                del draft.keys[key]

    def hyphen_flag(self, key: str, value: Any) -> list[str]:
        """Switches are only there or not."""
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            return [f"--{flag}"] if value else []
        return super().hyphen_flag(key, value)


DIALECT = Megatron()
