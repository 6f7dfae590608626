"""PEFT: ``adapter_config.json``, which describes an adapter and nothing of its training."""

from __future__ import annotations

from diag.dialects.draft import Draft
from diag.dialects.generic import NO_ARGUMENTS, GenericDialect


class Peft(GenericDialect):
    """Flat keys of a ``LoraConfig``."""

    style = NO_ARGUMENTS

    def __init__(self) -> None:
        super().__init__("peft")

    def scopes(self, draft: Draft) -> set[str]:
        """Adapters are LoRA's."""
        return {"LoraConfig"}

    def frame(self, draft: Draft) -> None:
        """What kind of adapter it is."""
        if draft.keys:
            draft.keys = {"peft_type": "LORA", "task_type": "CAUSAL_LM", **draft.keys}


DIALECT = Peft()
