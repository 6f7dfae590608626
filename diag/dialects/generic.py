"""Any other config: overrides in the very keys that the run's own config uses.

Also the base of the dialects that are a table and little else (Axolotl, LLaMA-Factory, Lightning, torchtune, litgpt, …): their own
keys where the run's config has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from diag.dialects import table
from diag.dialects.base import TableDialect, split_batch, warmup_count, warmup_share
from diag.dialects.draft import Draft, argument, shortest, whole

PAIRS: Final = "key=value"
FLAGS: Final = "--key value"
HYPHEN_FLAGS: Final = "--a-key value"
EQUALS_FLAGS: Final = "--key=value"
NO_ARGUMENTS: Final = ""
"""Ways to give a key on a command line; "" for a framework that is configured by files only."""

PRECISION_STYLES: Final = {
    "bf16": ("bf16", "bf16-mixed", "bf16-true", "bfloat16", "mixed_bfloat16"),
    "fp16": ("fp16", "16-mixed", "16-true", "float16", "mixed_float16"),
    "fp32": ("fp32", "32-true", "32-true", "float32", "float32"),
}
"""Spellings of a precision: plain, Lightning's mixed and true, torch's, Keras's."""

LIGHTNING_STYLE: Final = 1


class GenericDialect(TableDialect):
    """``key=value`` overrides in the run's own keys; the base of the frameworks that are mostly a table."""

    style = PAIRS
    """How a key is given on the framework's command line."""

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
        usable = self.usable(draft, name)
        return usable[0] if usable else None

    def _warmup(self, draft: Draft, name: str, value: Any) -> None:
        """In whichever of the two forms the config has."""
        if draft.is_whole and name == "warmup_ratio" and {"warmup_steps", "warmup_ratio"} <= draft.changes.keys():
            return
        other = "warmup_ratio" if name == "warmup_steps" else "warmup_steps"
        form = name if draft.is_own(name) else other if draft.is_own(other) else name
        if not draft.is_own(form) and self.row(draft, form) is None and self.row(draft, other) is not None:
            form = other
        if form == "warmup_ratio":
            share = warmup_share(draft, name, float(value))
            epochs = draft.number("num_epochs")
            row = self.row(draft, form)
            if share is not None and row is not None and "warmup_epochs" in row.native and epochs:
                draft.set(row.native, shortest(share * epochs))
                return
            if share is not None:
                self.write_key(draft, form, share)
                return
        elif (count := warmup_count(draft, name, float(value))) is not None:
            self.write_key(draft, form, count)
            return
        if draft.is_whole:
            draft.note("The number of steps is unknown: say --dataset-size, or set it by hand.")
            return
        draft.note(f"Warm up for {argument(whole(float(value)))} {'steps' if value >= 1 else 'of all steps'}.")

    def _batch(self, draft: Draft, value: Any) -> None:
        if draft.is_own("global_batch_size") or (not draft.is_own("micro_batch_size") and self.usable(draft, "global_batch_size")):
            self.write_key(draft, "global_batch_size", int(value))
            return
        if {"micro_batch_size", "gradient_accumulation_steps"} <= draft.changes.keys():
            return
        if draft.is_whole:
            draft.note("It is the micro batch times the accumulation steps times the processes.")
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
            spelled = table.spelled(self.name, "precision", wanted)
            own_style = draft.has(row.native) or spelled == wanted
            draft.set(row.native, PRECISION_STYLES[wanted][self._style(draft, row.native)] if own_style else spelled)
        elif draft.is_whole:
            draft.note(f"There is no key for {wanted}.")
        else:
            draft.note(f"There is no key for precision: train in {wanted}.")

    def _switches(self, draft: Draft, wanted: str) -> None:
        for name in ("bf16", "fp16"):
            rows = self.rows(f"_{name}")
            key = next((key for key in (*(row.native for row in rows), name) if draft.has(key)), rows[0].native if rows else name)
            if draft.has(key) or wanted == name or (wanted == "fp32" and not draft.run.config):
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
        if draft.is_own("early_stopping_patience") or self.usable(draft, "early_stopping_patience"):
            self.write_key(draft, "early_stopping_patience", int(value))
            return
        if draft.is_whole:
            draft.note("There is no early stopping.")
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
                draft.set(own.key, shortest(float(value) / rate))
        elif own is None and ratio and rate:
            draft.set(ratio[0].native, shortest(float(value) / rate))
        elif draft.is_whole or (own is None and self.name != "generic" and self.usable(draft, "min_lr")):
            self.write_key(draft, "min_lr", value)
        elif own is None or own.kind != "file":
            if value:
                draft.note(f"Let the schedule end at {argument(value)}.")
        else:
            self.write_key(draft, "min_lr", value)

    def arguments(self, draft: Draft) -> list[str]:
        """``key=value`` (Hydra, OmegaConf), or the flags of the frameworks that take those."""
        return self.tokens(draft, self.style)

    def tokens(self, draft: Draft, style: str) -> list[str]:
        """The written keys in one of the ways to give a key."""
        tokens: list[str] = []
        for key, value in self.given(draft) if style else ():
            if style == PAIRS:
                tokens.append(f"{key}={_yaml_word(value)}")
            elif style == FLAGS:
                tokens += [f"--{key}", _yaml_word(value)]
            elif style == EQUALS_FLAGS:
                tokens.append(f"--{key}={argument(value)}")
            elif style == HYPHEN_FLAGS:
                tokens += self.hyphen_flag(key, value)
        return tokens

    def hyphen_flag(self, key: str, value: Any) -> list[str]:
        """``--a-key value``; a switch is ``--x`` or ``--no-x``."""
        flag = key.replace("_", "-")
        return [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", _yaml_word(value)]


def _yaml_word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(str(item) for item in value)}]"
    return argument(value)


DIALECT = GenericDialect()
