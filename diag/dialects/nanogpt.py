"""nanoGPT: assignments in a Python file, ``--key=value``."""

from __future__ import annotations

from typing import Any

from diag.dialects.draft import Draft
from diag.dialects.generic import EQUALS_FLAGS, GenericDialect

HORIZON = "lr_decay_iters"


class NanoGpt(GenericDialect):
    """Plain names."""

    style = EQUALS_FLAGS

    def __init__(self) -> None:
        super().__init__("nanogpt")
        self.writers |= {"lr_scheduler": self._scheduler, "optimizer": self._optimizer}

    def _scheduler(self, draft: Draft, value: Any) -> None:
        known = str(value).startswith(("cosine", "constant"))
        if known:
            draft.set("decay_lr", not str(value).startswith("constant"))
        else:
            draft.note(f"nanoGPT decays by a cosine or not at all, there is no {value} schedule.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        if str(value).split("_")[0] != "adamw":
            draft.note("nanoGPT always trains with AdamW.")

    def complete(self, draft: Draft) -> None:
        """The decay does not follow the length of the run."""
        if draft.is_whole:
            if "max_iters" in draft.keys:
                draft.keys.setdefault(HORIZON, draft.keys["max_iters"])
        elif "max_iters" in draft.keys and HORIZON not in draft.keys:
            draft.note(f"{HORIZON} does not follow max_iters: the learning rate at each step stays as it was.")


DIALECT = NanoGpt()
