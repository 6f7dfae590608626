"""Ultralytics: flat YAML, ``key=value``; lengths are in epochs."""

from __future__ import annotations

from typing import Any

from diag.dialects.base import warmup_share
from diag.dialects.draft import Draft, shortest
from diag.dialects.generic import GenericDialect
from diag.dialects.table import spelled


class Ultralytics(GenericDialect):
    """Flat keys."""

    def __init__(self) -> None:
        super().__init__("ultralytics")
        self.writers |= {
            "lr_scheduler": self._scheduler,
            "optimizer": self._optimizer,
            "precision": self._amp,
            "warmup_steps": lambda draft, value: self._warm_up(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._warm_up(draft, "warmup_ratio", value),
        }

    @staticmethod
    def _warm_up(draft: Draft, name: str, value: Any) -> None:
        share, epochs = warmup_share(draft, name, float(value)), draft.number("num_epochs")
        if value == 0 or (share is not None and epochs):
            draft.set("warmup_epochs", shortest((share or 0.0) * (epochs or 0.0)))
            draft.rephrase("warmup_epochs counts epochs.")
        else:
            draft.note("warmup_epochs counts epochs, and their number is unknown.")

    def _scheduler(self, draft: Draft, value: Any) -> None:
        if str(value) in ("cosine", "cosine_with_min_lr", "linear"):
            draft.set("cos_lr", str(value) != "linear")
        else:
            draft.note(f"Ultralytics decays linearly or by a cosine, there is no {value} schedule.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        name = spelled(self.name, "optimizer", str(value))
        if draft.is_whole and name == str(value):
            draft.note(f"Ultralytics has no {value}.")
        else:
            draft.set("optimizer", name)

    def _amp(self, draft: Draft, value: Any) -> None:
        if value in ("fp16", "fp32"):
            draft.set("amp", value == "fp16")
        else:
            draft.note("amp has no choice of type: it is fp16.")

    def complete(self, draft: Draft) -> None:
        """``auto`` would choose the rate itself."""
        if "lr0" in draft.keys and str(draft.keys.get("optimizer", draft.native("optimizer")) or "auto").lower() == "auto":
            draft.note("optimizer=auto overrides lr0: name an optimizer too.")


DIALECT = Ultralytics()
