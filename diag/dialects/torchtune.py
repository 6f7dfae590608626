"""torchtune: one YAML file of components, ``key=value`` on the command line."""

from __future__ import annotations

from typing import Any, Final

from diag.dialects.draft import Draft
from diag.dialects.generic import GenericDialect
from diag.dialects.table import spelled

SCHEDULE, EPOCH_LIMIT = "lr_scheduler._component_", "max_steps_per_epoch"

ATTENTION: Final = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj", "output_proj": "output_proj"}
"""Names of the attention projections to torchtune's."""

MLP: Final = frozenset({"gate_proj", "up_proj", "down_proj"})


class Torchtune(GenericDialect):
    """Dotted keys."""

    def __init__(self) -> None:
        super().__init__("torchtune")
        self.writers |= {
            "lr_scheduler": self._scheduler,
            "optimizer": self._optimizer,
            "lora_target_modules": self._targets,
            "max_steps": self._max_steps,
            "min_lr": self._min_lr,
            "max_grad_norm": lambda draft, value: draft.set("clip_grad_norm", value or None),
        }

    def _scheduler(self, draft: Draft, value: Any) -> None:
        component = spelled(self.name, "lr_scheduler", str(value))
        if "." in component:
            draft.set(SCHEDULE, component)
        elif value != "constant":
            draft.note(f"torchtune has a cosine schedule with warmup, and none that is {value}.")
        elif not draft.is_whole:
            draft.note("A constant rate is what torchtune does without an lr_scheduler section: remove it.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        component = spelled(self.name, "optimizer", str(value))
        if "." in component or not draft.is_whole:
            draft.set("optimizer._component_", component)
        else:
            draft.note(f"optimizer._component_ names a class, and none is known for {value}.")

    def _targets(self, draft: Draft, value: Any) -> None:
        if value == "all-linear":
            names = [*dict.fromkeys(ATTENTION.values()), *sorted(MLP)]
        elif isinstance(value, str):
            draft.note("model.lora_attn_modules takes names, not a regular expression.")
            return
        else:
            names = [str(name).removeprefix("*.") for name in value]
        attention = [ATTENTION[name] for name in names if name in ATTENTION]
        strangers = sorted(name for name in names if name not in ATTENTION and name not in MLP and name != "lm_head")
        draft.set("model.lora_attn_modules", attention)
        if draft.is_whole or MLP & set(names) or draft.has("model.apply_lora_to_mlp"):
            draft.set("model.apply_lora_to_mlp", bool(MLP & set(names)))
        if "lm_head" in names:
            draft.set("model.apply_lora_to_output", True)
        if strangers:
            draft.note(f"torchtune adapts no {', '.join(strangers)}.")
        else:
            draft.rephrase("model.lora_attn_modules, apply_lora_to_mlp and apply_lora_to_output say it together.")

    def _max_steps(self, draft: Draft, value: Any) -> None:
        """There is a limit for an epoch only."""
        epochs = draft.number("num_epochs")
        if draft.is_whole and (epochs is None or epochs <= 1 or "num_epochs" not in draft.changes):
            draft.set("epochs", 1)
            draft.set(EPOCH_LIMIT, int(value))
        elif epochs and epochs >= 1:
            draft.set(EPOCH_LIMIT, max(int(value) // int(epochs), 1))
        else:
            draft.set(EPOCH_LIMIT, int(value))
        draft.rephrase(f"torchtune limits the steps of an epoch ({EPOCH_LIMIT}), not of the run.")

    def _min_lr(self, draft: Draft, value: Any) -> None:
        if value:
            draft.note("The schedules of torchtune end at zero.")

    def frame(self, draft: Draft) -> None:
        """The optimizer has to be named; without a schedule there is no warmup."""
        if draft.value("learning_rate") is not None:
            draft.keys.setdefault("optimizer._component_", "torch.optim.AdamW")
            draft.keys.setdefault(EPOCH_LIMIT, None)
        if SCHEDULE not in draft.keys and draft.keys.pop("lr_scheduler.num_warmup_steps", 0):
            draft.reasons["warmup_steps"] = "Without a schedule there is no warmup."


DIALECT = Torchtune()
