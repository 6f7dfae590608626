"""Lightning: the Trainer's arguments in a LightningCLI file; models and data have whatever keys their author gave them."""

from __future__ import annotations

from typing import Any, Final

from diag.dialects.draft import Draft, argument
from diag.dialects.generic import FLAGS, PAIRS, GenericDialect
from diag.dialects.table import Row, spelled

CALLBACK: Final = "lightning.pytorch.callbacks.EarlyStopping"

COMMON: Final = {
    "learning_rate": "optimizer.init_args.lr",
    "weight_decay": "optimizer.init_args.weight_decay",
    "micro_batch_size": "data.init_args.batch_size",
}
"""The keys of LightningCLI's own form, where the config has none."""


class Lightning(GenericDialect):
    """``--trainer.key value`` with LightningCLI, ``trainer.key=value`` with Hydra."""

    def __init__(self) -> None:
        super().__init__("lightning")
        self.writers |= {
            "lr_scheduler": self._scheduler,
            "optimizer": self._optimizer,
            "early_stopping_patience": self._early_stopping,
            "eval_steps": self._evaluations,
            "max_grad_norm": lambda draft, value: self.write_key(draft, "max_grad_norm", value if value or not draft.is_whole else None),
        }

    def usable(self, draft: Draft, name: str) -> list[Row]:
        """As ever, the form of LightningCLI first."""
        rows = super().usable(draft, name)
        return sorted(rows, key=lambda row: row.native != COMMON.get(name, row.native))

    def _early_stopping(self, draft: Draft, value: Any) -> None:
        threshold = draft.number("early_stopping_threshold") or 0.0
        if draft.is_whole:
            draft.set("trainer.callbacks.0.class_path", CALLBACK)
            draft.set("trainer.callbacks.0.init_args.monitor", "val_loss")
            draft.set("trainer.callbacks.0.init_args.patience", int(value))
            draft.set("trainer.callbacks.0.init_args.min_delta", float(threshold))
            draft.rephrase("It is a callback, under trainer.callbacks; val_loss is the name that the evaluation loss is logged with.")
            return
        if draft.is_own("early_stopping_patience"):
            self.write_key(draft, "early_stopping_patience", int(value))
            return
        draft.code += [
            "from lightning.pytorch.callbacks import EarlyStopping",
            f'EarlyStopping(monitor="val_loss", patience={int(value)}, min_delta={argument(threshold)})',
        ]
        draft.note("Give the callback to the Trainer, under the name that the evaluation loss is logged with.")

    def _evaluations(self, draft: Draft, value: Any) -> None:
        """``val_check_interval`` counts batches; beyond an epoch it needs ``check_val_every_n_epoch`` off."""
        batches = round(float(value) * (draft.number("gradient_accumulation_steps") or 1))
        draft.set("trainer.val_check_interval", max(batches, 1))
        draft.set("trainer.check_val_every_n_epoch", None)
        if batches != value:
            draft.rephrase("trainer.val_check_interval counts batches, accumulated ones singly.")

    def _scheduler(self, draft: Draft, value: Any) -> None:
        if draft.is_own("lr_scheduler"):
            self.write_key(draft, "lr_scheduler", value)
        elif value != "constant" or not draft.is_whole:
            draft.note(f"A {value} schedule is built in configure_optimizers.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        path = spelled(self.name, "optimizer", str(value))
        if draft.is_own("optimizer"):
            self.write_key(draft, "optimizer", path)
        elif "." in path:
            draft.set("optimizer.class_path", path)
        else:
            draft.note(f"No class is known for {value}.")

    def frame(self, draft: Draft) -> None:
        """The settings of an optimizer need its class."""
        if any(key.startswith("optimizer.init_args.") for key in draft.keys):
            draft.keys.setdefault("optimizer.class_path", "torch.optim.AdamW")

    def arguments(self, draft: Draft) -> list[str]:
        """LightningCLI's files hold ``seed_everything`` and class paths; others are Hydra's."""
        cli = not draft.run.config or any(key == "seed_everything" or key.endswith("class_path") for key in draft.run.config)
        return self.tokens(draft, FLAGS if cli else PAIRS)


DIALECT = Lightning()
