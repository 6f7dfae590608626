"""Any other config: overrides in the very keys that the run's own config uses.

Also writes the dialects that are a table only (Axolotl, LLaMA-Factory, Lightning, torchtune, litgpt, …): their own keys
where the run's config has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from diag.dialects import table
from diag.dialects.base import TableDialect, split_batch, warmup_count, warmup_share
from diag.dialects.draft import Draft, argument, whole
from diag.dialects.values import as_bool

FLAGS: Final = frozenset({"litgpt"})
"""Table dialects that take ``--key value``."""

EQUALS_FLAGS: Final = frozenset({"nanogpt"})
"""Table dialects that take ``--key=value``."""

HYPHEN_FLAGS: Final = frozenset({"axolotl", "megatron"})
"""Table dialects whose flags have hyphens for underscores."""

NO_ARGUMENTS: Final = frozenset({"deepspeed"})
"""Table dialects that are edited as files only."""

PRECISION_STYLES: Final = {
    "bf16": ("bf16", "bf16-mixed", "bf16-true", "bfloat16", "mixed_bfloat16"),
    "fp16": ("fp16", "16-mixed", "16-true", "float16", "mixed_float16"),
    "fp32": ("fp32", "32-true", "32-true", "float32", "float32"),
}
"""Spellings of a precision: plain, Lightning's mixed and true, torch's, Keras's."""

LIGHTNING_STYLE: Final = 1


class GenericDialect(TableDialect):
    """``key=value`` overrides in the run's own keys."""

    def __init__(self, name: str = "generic") -> None:
        super().__init__()
        self.name = name
        self.writers: dict[str, Callable[[Draft, Any], None]] = {
            "warmup_steps": lambda draft, value: self._warmup(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._warmup(draft, "warmup_ratio", value),
            "global_batch_size": self._batch,
            "precision": self._precision,
            "early_stopping_patience": self._early_stopping,
            "min_lr": self._min_lr,
            "max_grad_norm": self._clip,
            "load_in_4bit": self._quantize,
            "lora_rank": self._rank,
            "lora_target_modules": self._targets,
        }

    def rows(self, name: str) -> list[table.Row]:
        """The rows of a canonical name; the generic table's are patterns to read by, none to write with."""
        return super().rows(name) if self.name != "generic" else []

    def row(self, draft: Draft, name: str) -> table.Row | None:
        """The run's own key; else the table's, but never a pattern of the generic table."""
        own = draft.run.hyperparameters.get(name)
        key = own.key if own is not None and own.kind == "file" else ""
        rows = self.rows(name)
        if key:
            return next((row for row in rows if row.native == key), table.Row(name, key))
        return rows[0] if rows else None

    def _warmup(self, draft: Draft, name: str, value: Any) -> None:
        """In whichever of the two forms the config has."""
        other = "warmup_ratio" if name == "warmup_steps" else "warmup_steps"
        form = name if draft.is_own(name) else other if draft.is_own(other) else name
        if not draft.is_own(form) and self.row(draft, form) is None and self.row(draft, other) is not None:
            form = other
        if form == "warmup_ratio":
            share = warmup_share(draft, name, float(value))
            epochs = draft.number("num_epochs")
            row = self.row(draft, form)
            if share is not None and row is not None and "warmup_epochs" in row.native and epochs:
                draft.set(row.native, float(f"{share * epochs:.3g}"))
                return
            if share is not None:
                self.write_key(draft, form, share)
                return
        elif (count := warmup_count(draft, name, float(value))) is not None:
            self.write_key(draft, form, count)
            return
        draft.note(f"Warm up for {argument(whole(float(value)))} {'steps' if value >= 1 else 'of all steps'}.")

    def _batch(self, draft: Draft, value: Any) -> None:
        if draft.is_own("global_batch_size") or (not draft.is_own("micro_batch_size") and self.rows("global_batch_size")):
            self.write_key(draft, "global_batch_size", int(value))
            return
        if {"micro_batch_size", "gradient_accumulation_steps"} <= draft.changes.keys():
            return
        micro, accumulation, world = (draft.number(name) for name in ("micro_batch_size", "gradient_accumulation_steps", "world_size"))
        has_accumulation = draft.is_own("gradient_accumulation_steps") or self.rows("gradient_accumulation_steps")
        if has_accumulation and (pair := split_batch(draft, float(value))) is not None:
            if pair[0] != micro:
                self.write_key(draft, "micro_batch_size", pair[0])
            if pair[1] != (accumulation or 1):
                self.write_key(draft, "gradient_accumulation_steps", pair[1])
            return
        size = float(value) / ((accumulation or 1.0) * (world or 1.0))
        if size >= 1 and size.is_integer() and self.row(draft, "micro_batch_size") is not None:
            self.write_key(draft, "micro_batch_size", int(size))
        else:
            draft.note(f"Set the global batch to {argument(whole(value))} samples: batch size x accumulation steps x processes.")

    def _precision(self, draft: Draft, value: Any) -> None:
        """Spelled as the run's own value is; switches for configs that have ``bf16`` and ``fp16`` keys."""
        own, wanted = draft.run.hyperparameters.get("precision"), str(value)
        key = own.key if own is not None and own.kind == "file" else ""
        row = self.row(draft, "precision")
        leaf = key.rsplit(".", 1)[-1]
        if leaf in ("bf16", "fp16", "enabled") or (not key and self.rows("_bf16")):
            self._switches(draft, wanted)
        elif leaf in ("amp", "use_amp"):
            if wanted == "fp32":
                draft.set(key, False)
            else:
                draft.note(f"{key} has no choice of type: train in {wanted} through torch.autocast(dtype=…).")
        elif row is not None and wanted in PRECISION_STYLES:
            draft.set(row.native, PRECISION_STYLES[wanted][self._style(draft, row.native)])
        else:
            draft.note(f"There is no key for precision: train in {wanted}.")

    def _switches(self, draft: Draft, wanted: str) -> None:
        for name in ("bf16", "fp16"):
            rows = self.rows(f"_{name}")
            key = next((key for key in (*(row.native for row in rows), name) if draft.has(key)), rows[0].native if rows else name)
            if draft.has(key) or wanted == name:
                draft.set(key, wanted == name)

    @staticmethod
    def _style(draft: Draft, key: str) -> int:
        spelled = str(draft.native(key) or "").lower()
        for style in range(len(PRECISION_STYLES["bf16"])):
            if any(spelled == names[style] for names in PRECISION_STYLES.values()):
                # "32-true" is what both of Lightning's styles call it
                return LIGHTNING_STYLE if spelled == "32-true" else style
        return LIGHTNING_STYLE if key.startswith("trainer.") else 0

    def _early_stopping(self, draft: Draft, value: Any) -> None:
        if draft.is_own("early_stopping_patience") or self.rows("early_stopping_patience"):
            self.write_key(draft, "early_stopping_patience", int(value))
            return
        threshold = draft.number("early_stopping_threshold") or 0.0
        if self.name == "lightning":
            draft.code += [
                "from lightning.pytorch.callbacks import EarlyStopping",
                f'EarlyStopping(monitor="val_loss", patience={int(value)}, min_delta={argument(threshold)})',
            ]
            draft.note("Give the callback to the Trainer, under the name that the evaluation loss is logged with.")
        else:
            draft.note(f"There is no key for early stopping: stop after {int(value)} evaluations without a lower loss, keep the best.")

    def _min_lr(self, draft: Draft, value: Any) -> None:
        own, rate = draft.run.hyperparameters.get("min_lr"), draft.number("learning_rate")
        ratio = self.rows("_min_lr_ratio")
        is_ratio = (
            own is not None
            and own.kind == "file"
            and own.key.rsplit(".", 1)[-1] in {"min_lr_ratio", "min_lr_rate", "cosine_min_lr_ratio", "lrf"}
        )
        if is_ratio and own is not None:
            if rate:
                draft.set(own.key, float(f"{float(value) / rate:.6g}"))
        elif own is None and ratio and rate:
            draft.set(ratio[0].native, float(f"{float(value) / rate:.6g}"))
        elif own is None or own.kind != "file":
            if value:
                draft.note(f"Let the schedule end at {argument(value)}.")
        else:
            self.write_key(draft, "min_lr", value)

    def _clip(self, draft: Draft, value: Any) -> None:
        if self.name == "litgpt" and not draft.has("train.max_norm"):
            draft.note("litgpt clips gradients in pretraining only (train.max_norm); its fine-tuning commands reject the key.")
        else:
            self.write_key(draft, "max_grad_norm", value)

    def _quantize(self, draft: Draft, value: Any) -> None:
        if self.name == "llamafactory":
            draft.set("quantization_bit", 4 if value else None)
        elif self.name == "litgpt":
            draft.set("quantize", "bnb.nf4" if value else None)
        else:
            self.write_key(draft, "load_in_4bit", value)

    def _rank(self, draft: Draft, value: Any) -> None:
        self.write_key(draft, "lora_rank", int(value))
        if (
            self.name == "llamafactory"
            and "lora_alpha" not in draft.changes
            and (alpha := draft.number("lora_alpha")) is not None
            and not draft.is_own("lora_alpha")
        ):
            self.write_key(draft, "lora_alpha", alpha)

    def _targets(self, draft: Draft, value: Any) -> None:
        """``all-linear`` has its own spelling in some frameworks."""
        if value == "all-linear" and self.name == "axolotl":
            draft.set("lora_target_linear", True)
        elif value == "all-linear" and self.name == "llamafactory":
            draft.set("lora_target", "all")
        else:
            self.write_key(draft, "lora_target_modules", value)

    def complete(self, draft: Draft) -> None:
        """What the frameworks of the tables refuse."""
        if self.name == "axolotl" and "early_stopping_patience" in draft.keys:
            if not draft.native("val_set_size") and not draft.native("test_datasets") and draft.run.config:
                draft.set("val_set_size", 0.05)
                draft.note("Early stopping needs an evaluation set: val_set_size is set along.")
            if not draft.has("eval_steps") and (steps := draft.number("eval_steps")) is not None:
                draft.set("eval_steps", whole(steps))
                draft.set("save_steps", whole(steps))
        if self.name == "ultralytics" and "lr0" in draft.keys and str(draft.native("optimizer") or "auto").lower() == "auto":
            draft.note("optimizer=auto overrides lr0: name an optimizer too.")
        if self.name == "llamafactory" and "disable_gradient_checkpointing" in draft.keys:
            draft.set("disable_gradient_checkpointing", as_bool(draft.keys["disable_gradient_checkpointing"]))
        if self.name == "nanogpt" and "max_iters" in draft.keys and "lr_decay_iters" not in draft.keys:
            draft.note("lr_decay_iters does not follow max_iters: the learning rate at each step stays as it was.")

    def arguments(self, draft: Draft) -> list[str]:
        """``key=value`` (Hydra, OmegaConf), or the flags of the frameworks that take those."""
        if self.name in NO_ARGUMENTS:
            return []
        cli = self.name == "lightning" and any(key == "seed_everything" or key.endswith("class_path") for key in draft.run.config)
        tokens: list[str] = []
        for key, value in draft.keys.items():
            if self.name in FLAGS or cli:
                tokens += [f"--{key}", _yaml_word(value)]
            elif self.name in HYPHEN_FLAGS:
                flag = key.replace("_", "-")
                tokens += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", _yaml_word(value)]
            elif self.name in EQUALS_FLAGS:
                tokens.append(f"--{key}={argument(value)}")
            else:
                tokens.append(f"{key}={_yaml_word(value)}")
        return tokens


def _yaml_word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(str(item) for item in value)}]"
    return argument(value)


DIALECT = GenericDialect()
AXOLOTL = GenericDialect("axolotl")
LLAMAFACTORY = GenericDialect("llamafactory")
LIGHTNING = GenericDialect("lightning")
TORCHTUNE = GenericDialect("torchtune")
LITGPT = GenericDialect("litgpt")
DEEPSPEED = GenericDialect("deepspeed")
ULTRALYTICS = GenericDialect("ultralytics")
NANOGPT = GenericDialect("nanogpt")
MEGATRON = GenericDialect("megatron")
