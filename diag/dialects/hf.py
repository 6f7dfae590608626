"""Hugging Face: TrainingArguments (and TRL's configs, which extend them), PEFT, bitsandbytes.

Early stopping is a callback, an adapter is a LoraConfig, quantization is a BitsAndBytesConfig: none of them is a
TrainingArguments key, so they are rendered as code unless the run's own config has a key for them (TRL, scripts).
"""

from __future__ import annotations

import re
from typing import Any, Final

from diag.dialects.base import TableDialect, warmup_count, warmup_share, write_batch
from diag.dialects.draft import Draft, argument, whole
from diag.inference import steps_per_epoch

LORA: Final = {
    "lora_rank": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "use_dora": "use_dora",
}
"""Canonical names to LoraConfig arguments."""

TRL_KEYS: Final = frozenset({*LORA, "load_in_4bit", "load_in_8bit", "max_seq_len", "packing"})
"""What ``trl sft`` has keys for, and TrainingArguments has not."""

PRECISIONS: Final[dict[str, dict[str, bool]]] = {
    "bf16": {"bf16": True, "fp16": False},
    "fp16": {"fp16": True, "bf16": False},
    "fp32": {"bf16": False, "fp16": False},
    "tf32": {"tf32": True, "bf16": False, "fp16": False},
}

COSINE_WITH_FLOOR: Final = "cosine_with_min_lr"
DEFAULT_PATIENCE_METRIC: Final = "eval_loss"


class HuggingFace(TableDialect):
    """TrainingArguments keys; ``--key value`` for scripts built on HfArgumentParser, and ``trl``."""

    name = "hf"

    def __init__(self) -> None:
        super().__init__()
        self.writers = {
            "min_lr": self._min_lr,
            "warmup_steps": lambda draft, value: self._warmup(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._warmup(draft, "warmup_ratio", value),
            "num_epochs": self._epochs,
            "max_steps": self._max_steps,
            "global_batch_size": lambda draft, value: write_batch(self, draft, value),
            "precision": self._precision,
            "eval_steps": self._eval_steps,
            "save_steps": self._save_steps,
            "early_stopping_patience": self._early_stopping,
            "early_stopping_threshold": self._early_stopping,
            "load_best_model_at_end": self._load_best,
            "load_in_4bit": self._quantize,
            "load_in_8bit": self._quantize,
            "max_seq_len": self._trl_only("max_seq_len", "max_length"),
            "packing": self._trl_only("packing", "packing"),
            **dict.fromkeys(LORA, self._lora),
        }

    def scopes(self, draft: Draft) -> set[str]:
        """``trl sft`` takes the arguments of these three; a whole config is written for it."""
        return {"SFTConfig", "ModelConfig", "ScriptArguments"}

    def write(self, draft: Draft, name: str, value: Any) -> None:
        """TRL has keys for what is code with a plain Trainer."""
        if draft.is_whole and name in TRL_KEYS:
            self.write_key(draft, name, value)
        else:
            super().write(draft, name, value)

    def frame(self, draft: Draft) -> None:
        """Adapters are switched on by TRL's ``use_peft``."""
        if draft.value("method") in ("lora", "qlora") or draft.value("lora_rank") is not None:
            draft.set("use_peft", True)
            draft.set("lora_task_type", "CAUSAL_LM")

    def write_key(self, draft: Draft, name: str, value: Any) -> None:
        """As ever; a constant rate that is warmed up has a name of its own."""
        if (
            name == "lr_scheduler"
            and value == "constant"
            and draft.is_whole
            and (draft.number("warmup_steps") or draft.number("warmup_ratio"))
        ):
            value = "constant_with_warmup"
        super().write_key(draft, name, value)

    def _min_lr(self, draft: Draft, value: Any) -> None:
        scheduler = str(draft.value("lr_scheduler") or "")
        if draft.is_whole and not value and scheduler != COSINE_WITH_FLOOR:
            return  # the schedules end at zero by themselves
        if scheduler in {"cosine", COSINE_WITH_FLOOR}:
            draft.set("lr_scheduler_type", COSINE_WITH_FLOOR)
            draft.set("lr_scheduler_kwargs", {"min_lr": value})
        elif value:
            draft.note(f"A lowest learning rate ({argument(value)}) needs lr_scheduler_type {COSINE_WITH_FLOOR}.")

    def _warmup(self, draft: Draft, name: str, value: Any) -> None:
        ratio_key = draft.has("warmup_ratio")
        if ratio_key and (share := warmup_share(draft, name, float(value))) is not None:
            draft.set("warmup_ratio", share)
            if draft.native("warmup_steps"):
                draft.set("warmup_steps", 0)  # a count wins over the ratio
            return
        count = None if draft.is_whole and name == "warmup_ratio" else warmup_count(draft, name, float(value))
        if count is not None:
            draft.set("warmup_steps", count)
        else:
            draft.set("warmup_steps", float(value))
            if draft.is_whole:
                return
            draft.note("warmup_steps below 1 is a share of all steps from transformers 5.0 on; before, write warmup_ratio instead.")

    def _epochs(self, draft: Draft, value: Any) -> None:
        draft.set("num_train_epochs", whole(float(value)))
        if "max_steps" not in draft.changes and (steps := draft.native("max_steps")) is not None and _positive(steps):
            draft.set("max_steps", -1)
            draft.note(f"max_steps (was {steps}) would override num_train_epochs, so it is switched off.")

    def _max_steps(self, draft: Draft, value: Any) -> None:
        draft.set("max_steps", int(value))
        scheduler = str(draft.value("lr_scheduler") or "linear")
        if not scheduler.startswith("constant") and not draft.is_whole:
            draft.note(f"A {scheduler} schedule is stretched over max_steps: the learning rate at each step changes with it.")

    def _precision(self, draft: Draft, value: Any) -> None:
        flags = PRECISIONS.get(str(value))
        if flags is None:
            draft.note(f"TrainingArguments has no key for {value}.")
            return
        own = draft.run.hyperparameter("precision")
        for key, flag in flags.items():
            if flag or own in (None, key):
                draft.set(key, flag)

    def _eval_steps(self, draft: Draft, value: Any) -> None:
        draft.set(self._evaluation_key(draft), "steps")
        draft.set("eval_steps", whole(value))

    def _save_steps(self, draft: Draft, value: Any) -> None:
        draft.set("save_strategy", "steps")
        draft.set("save_steps", whole(value))

    def _early_stopping(self, draft: Draft, value: Any) -> None:
        own = draft.run.hyperparameters.get("early_stopping_patience")
        if own is not None and own.kind == "file" and own.key in ("early_stopping_patience", "early_stopping_steps"):
            for name in ("early_stopping_patience", "early_stopping_threshold"):
                entry = draft.run.hyperparameters.get(name)
                if name in draft.changes and entry is not None and entry.kind == "file" and entry.key:
                    draft.set(entry.key, whole(draft.changes[name]))
        else:
            patience = draft.number("early_stopping_patience") or 3
            threshold = draft.number("early_stopping_threshold")
            if draft.is_whole:
                draft.note(f"It is a callback, EarlyStoppingCallback(early_stopping_patience={int(patience)}), which only code can add.")
                return
            limit = "" if threshold is None else f", early_stopping_threshold={argument(threshold)}"
            line = f"trainer.add_callback(EarlyStoppingCallback(early_stopping_patience={int(patience)}{limit}))"
            _code(draft, "from transformers import EarlyStoppingCallback", line)
        self._load_best(draft, True)

    def _load_best(self, draft: Draft, value: Any) -> None:
        """Keep the best checkpoint: evaluations and saves must fall on the same steps."""
        draft.set("load_best_model_at_end", bool(value))
        if not value or draft.is_whole:
            return
        if draft.native("metric_for_best_model") in (None, "", "None"):
            draft.set("metric_for_best_model", DEFAULT_PATIENCE_METRIC)
            draft.set("greater_is_better", False)
        evaluation = draft.number("eval_steps")
        by_epoch = self._evaluates_by_epoch(draft)
        key = self._evaluation_key(draft)
        if (by_epoch and "eval_steps" not in draft.changes) or not evaluation:
            draft.set(key, "epoch")
            draft.set("save_strategy", "epoch")
            return
        draft.set(key, "steps")
        draft.set("eval_steps", whole(evaluation))
        saves = draft.number("save_steps")
        multiple = saves is not None and saves >= evaluation and (saves / evaluation).is_integer()
        draft.set("save_strategy", "steps")
        draft.set("save_steps", whole(saves) if multiple else whole(evaluation))

    @staticmethod
    def _evaluation_key(draft: Draft) -> str:
        version = _version(draft)
        old = draft.has("evaluation_strategy") or (version is not None and version < RENAMED_EVALUATION and not draft.has("eval_strategy"))
        return "evaluation_strategy" if old else "eval_strategy"

    @staticmethod
    def _evaluates_by_epoch(draft: Draft) -> bool:
        """Whether the run evaluated once an epoch: its config says so, or where none does, its evaluations are an epoch apart."""
        stated = draft.native("eval_strategy") or draft.native("evaluation_strategy")
        if stated is not None:
            return str(stated).rsplit(".", 1)[-1].lower() == "epoch"
        entry, pace = draft.run.hyperparameters.get("eval_steps"), steps_per_epoch(draft.run)
        return entry is not None and entry.kind == "inferred" and pace is not None and abs(entry.value - pace) < 1

    def _lora(self, draft: Draft, value: Any) -> None:
        names = [name for name in LORA if name in draft.changes]
        if all(self._own_lora_key(draft, name) for name in names):
            for name in names:
                draft.set(self._own_lora_key(draft, name), self.spell(name, draft.changes[name]))
            return
        told = {argument_name: whole(draft.value(name)) for name, argument_name in LORA.items() if draft.value(name) not in (None, False)}
        call = f"lora_config = LoraConfig({', '.join(f'{key}={value!r}' for key, value in told.items())})"
        _code(draft, "from peft import LoraConfig", call)

    @staticmethod
    def _own_lora_key(draft: Draft, name: str) -> str:
        """The key of the run's own config, "" where the value comes from PEFT's ``adapter_config.json``.

        A changed setting that has no value yet takes its place beside the others (``lora.r`` gives ``lora.lora_dropout``).
        """
        entry = draft.run.hyperparameters.get(name)
        if entry is not None and entry.kind == "file":
            return "" if entry.file.endswith("adapter_config.json") else entry.key
        rank = draft.run.hyperparameters.get("lora_rank")
        if rank is None or rank.kind != "file" or rank.file.endswith("adapter_config.json"):
            return ""
        if rank.key == "lora_r":
            return {"lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "lora_target_modules": "lora_target_modules"}.get(
                name, name
            )
        section = rank.key.rpartition(".")[0]
        return f"{section}.{LORA[name]}" if section else ""

    def _quantize(self, draft: Draft, value: Any) -> None:
        name = "load_in_4bit" if "load_in_4bit" in draft.changes else "load_in_8bit"
        if draft.is_own(name):
            draft.set(draft.run.hyperparameters[name].key, bool(draft.changes[name]))
        elif name == "load_in_4bit":
            call = (
                'quantization_config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", '
                "bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True)"
            )
            _code(draft, "import torch\nfrom transformers import BitsAndBytesConfig", call)
        else:
            _code(draft, "from transformers import BitsAndBytesConfig", "quantization_config = BitsAndBytesConfig(load_in_8bit=True)")

    def _trl_only(self, name: str, key: str) -> Any:
        def write(draft: Draft, value: Any) -> None:
            own = draft.run.hyperparameters.get(name)
            if own is not None and own.kind == "file" and own.key:
                draft.set(own.key, value)
            else:
                draft.note(f"{key} {argument(value)} is for TRL's SFTConfig; with a plain Trainer change it where the data are tokenized.")

        return write

    def complete(self, draft: Draft) -> None:
        """Keep the key names that the run's transformers knows."""
        if draft.is_whole:
            return
        if draft.keys.get("eval_strategy") and not draft.has("eval_strategy") and _version(draft) is None:
            draft.note("eval_strategy was called evaluation_strategy before transformers 4.41.")
        for key in [key for key in draft.keys if "." in key and key.split(".", 1)[0] not in NESTED]:
            draft.note(f"{key} is a key of the run's own config, not of TrainingArguments.")

    def arguments(self, draft: Draft) -> list[str]:
        """``--key value`` tokens; nested keys of the run's own config have no command-line form."""
        tokens: list[str] = []
        for key, value in draft.keys.items():
            if "." in key:
                continue
            tokens.append(f"--{key}")
            tokens += [str(item) for item in value] if isinstance(value, list) else [argument(value)]
        return tokens


NESTED: Final = frozenset({"lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "optim_args"})


RENAMED_EVALUATION: Final = (4, 41)
"""Version of transformers from which evaluation_strategy is called eval_strategy."""


def _version(draft: Draft) -> tuple[int, int] | None:
    """Major and minor version of transformers, where a config was saved with it."""
    match = re.match(r"(\d{1,3})\.(\d{1,3})", str(draft.native("transformers_version") or ""))
    return (int(match[1]), int(match[2])) if match else None


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _code(draft: Draft, imports: str, line: str) -> None:
    for text in (*imports.split("\n"), line):
        if text not in draft.code:
            draft.code.append(text)


DIALECT = HuggingFace()
