"""NeMo AutoModel: one YAML file, every key of which can be given as ``--a.b value``.

Its scheduler checks ``init_lr <= max_lr``, ``0 <= min_lr <= max_lr`` and ``lr_warmup_steps < lr_decay_steps`` when it
starts, and its step scheduler that the local batch divides the global one: a change brings along what these need.
"""

from __future__ import annotations

import math
from typing import Any, Final

from diag.dialects import table
from diag.dialects.base import TableDialect, best_step, warmup_count
from diag.dialects.draft import Draft, argument, whole
from diag.dialects.values import as_float

PEFT_TARGET: Final = "nemo_automodel.components._peft.lora.PeftConfig"

MODEL_TARGET: Final = "nemo_automodel.NeMoAutoModelForCausalLM"
RECIPE: Final = "TrainFinetuneRecipeForNextTokenPrediction"
STYLES: Final = frozenset({"constant", "linear", "cosine", "inverse-square-root", "WSD"})
"""What ``lr_scheduler.lr_decay_style`` takes."""

LR, MAX_LR, INIT_LR, MIN_LR = "optimizer.lr", "lr_scheduler.max_lr", "lr_scheduler.init_lr", "lr_scheduler.min_lr"
WARMUP, DECAY, STYLE = "lr_scheduler.lr_warmup_steps", "lr_scheduler.lr_decay_steps", "lr_scheduler.lr_decay_style"
MAX_STEPS, EPOCHS = "step_scheduler.max_steps", "step_scheduler.num_epochs"
GLOBAL_BATCH, LOCAL_BATCH = "step_scheduler.global_batch_size", "step_scheduler.local_batch_size"


class AutoModel(TableDialect):
    """Dotted arguments and YAML of NeMo AutoModel."""

    name = "automodel"

    def __init__(self) -> None:
        super().__init__()
        self.writers = {
            "learning_rate": self._learning_rate,
            "lr_scheduler": self._scheduler,
            "warmup_steps": lambda draft, value: self._warmup(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._warmup(draft, "warmup_ratio", value),
            "num_epochs": self._epochs,
            "max_steps": self._max_steps,
            "global_batch_size": lambda draft, value: draft.set(GLOBAL_BATCH, int(value)),
            "micro_batch_size": lambda draft, value: draft.set(LOCAL_BATCH, int(value)),
            "gradient_accumulation_steps": self._accumulation,
            "optimizer": self._optimizer,
            "lora_target_modules": self._targets,
            "precision": self._precision,
            "packing": self._packing,
            "early_stopping_patience": self._early_stopping,
            "early_stopping_threshold": lambda draft, value: None,
            "load_best_model_at_end": self._load_best,
            "lora_rank": self._adapter("lora_rank"),
            "lora_alpha": self._adapter("lora_alpha"),
            "lora_dropout": self._adapter("lora_dropout"),
            "load_in_4bit": self._quantize,
        }

    def _optimizer(self, draft: Draft, value: Any) -> None:
        target = table.spelled(self.name, "optimizer", str(value))
        if "." in target or not draft.is_whole:
            draft.set("optimizer._target_", target)
        else:
            draft.note(f"optimizer._target_ names a class, and none is known for {value}.")

    def _learning_rate(self, draft: Draft, value: Any) -> None:
        rate = float(value)
        draft.set(LR, rate)
        if draft.has(MAX_LR):
            draft.set(MAX_LR, rate)

    def _scheduler(self, draft: Draft, value: Any) -> None:
        style = table.spelled(self.name, "lr_scheduler", str(value))
        if style not in STYLES:
            draft.note(f"NeMo AutoModel has no {value} schedule; it has constant, linear, cosine, inverse-square-root and WSD.")
        else:
            draft.set(STYLE, style)

    def _warmup(self, draft: Draft, name: str, value: Any) -> None:
        count = warmup_count(draft, name, float(value))
        if count is None:
            draft.note(f"{WARMUP} takes a number of steps: set it to {argument(float(value))} of all steps.")
        else:
            draft.set(WARMUP, count)

    def _epochs(self, draft: Draft, value: Any) -> None:
        epochs = float(value)
        if not epochs.is_integer():
            steps = draft.total_steps()
            if steps is None:
                draft.note(f"{EPOCHS} takes whole epochs: {argument(epochs)} is rounded up; {MAX_STEPS} can end the run within an epoch.")
            else:
                draft.set(MAX_STEPS, max(round(steps), 1))
        draft.set(EPOCHS, math.ceil(epochs))
        limit = as_float(draft.native(MAX_STEPS))
        if limit is not None and limit > 0 and MAX_STEPS not in draft.keys and "max_steps" not in draft.changes:
            draft.set(MAX_STEPS, "none")
            draft.note(f"{MAX_STEPS} (was {argument(whole(limit))}) would end the run first, so it is switched off.")

    def _max_steps(self, draft: Draft, value: Any) -> None:
        """A run that ends earlier keeps the learning rate it had at each step; one that ends later decays over all of it."""
        draft.set(MAX_STEPS, int(value))
        old, warmup = draft.run.hyperparameter("max_steps") or draft.run.steps, draft.run.hyperparameter("warmup_steps")
        horizon = as_float(draft.native(DECAY))
        if not self._has_scheduler(draft) or not old:
            return
        if int(value) < old:
            if horizon is None:
                draft.set(DECAY, int(old))
            if not draft.has(WARMUP) and warmup is not None:
                draft.set(WARMUP, int(warmup))
        elif horizon is not None and horizon < int(value):
            draft.set(DECAY, int(value))

    def _accumulation(self, draft: Draft, value: Any) -> None:
        """Derived here: the global batch over what one pass holds."""
        if "micro_batch_size" in draft.changes or "global_batch_size" in draft.changes:
            return  # global / (local x ranks) follows
        micro = draft.number("micro_batch_size")
        if micro is None:
            steps = argument(whole(value))
            draft.note(
                f"Accumulation is {GLOBAL_BATCH} / ({LOCAL_BATCH} x data-parallel ranks): set {GLOBAL_BATCH} for {steps} steps of it."
            )
        else:
            draft.set(GLOBAL_BATCH, int(micro * float(value) * (draft.number("world_size") or 1)))

    def _targets(self, draft: Draft, value: Any) -> None:
        if value == "all-linear":
            draft.set("peft.match_all_linear", True)
        elif draft.is_whole and isinstance(value, str):
            draft.note("peft.target_modules takes wildcards, not a regular expression.")
        else:
            self.write_key(draft, "lora_target_modules", [value] if isinstance(value, str) else list(value))

    def _precision(self, draft: Draft, value: Any) -> None:
        name = table.spelled(self.name, "precision", str(value))
        if name == value:
            draft.note(f"NeMo AutoModel sets {value} under its own section; model.torch_dtype does not take it.")
        else:
            draft.set("model.torch_dtype", name)

    def _packing(self, draft: Draft, value: Any) -> None:
        length = draft.number("max_seq_len")
        if not value:
            draft.set("packed_sequence.packed_sequence_size", 0)
        elif length is None:
            draft.note("Packing is switched on by packed_sequence.packed_sequence_size: set it to the sequence length.")
        else:
            draft.set("packed_sequence.packed_sequence_size", int(length))

    def _early_stopping(self, draft: Draft, value: Any) -> None:
        """There is none: end at the step of the best evaluation, on the same schedule."""
        if {"max_steps", "num_epochs"} & draft.changes.keys():
            draft.note("NeMo AutoModel has no early stopping; resume or evaluate from the LOWEST_VAL checkpoint.")
            return
        best = best_step(draft.run)
        if best is None or best < 1:
            draft.note(f"NeMo AutoModel has no early stopping: set {MAX_STEPS} to the best step and use the LOWEST_VAL checkpoint.")
            return
        self._max_steps(draft, best)
        draft.note("NeMo AutoModel has no early stopping: the run ends at the step of the best evaluation; use the LOWEST_VAL checkpoint.")

    def frame(self, draft: Draft) -> None:
        """The classes that its sections name."""
        if draft.value("learning_rate") is not None or "optimizer._target_" in draft.keys:
            draft.keys.setdefault("optimizer._target_", "torch.optim.AdamW")
        if any(key.startswith("peft.") for key in draft.keys) or draft.value("method") in ("lora", "qlora"):
            draft.set("peft._target_", PEFT_TARGET)
        if draft.keys.get("quantization.load_in_4bit"):
            draft.keys.update(
                {
                    "quantization.bnb_4bit_compute_dtype": "bfloat16",
                    "quantization.bnb_4bit_quant_type": "nf4",
                    "quantization.bnb_4bit_use_double_quant": True,
                }
            )
        if draft.keys.get("model.pretrained_model_name_or_path") is not None:
            start = "from_config" if draft.value("method") == "pretraining" else "from_pretrained"
            draft.set("model._target_", f"{MODEL_TARGET}.{start}")
        if "step_scheduler.global_batch_size" in draft.keys:
            draft.set("recipe", RECIPE)

    def _load_best(self, draft: Draft, value: Any) -> None:
        if value:
            draft.note("NeMo AutoModel keeps the best checkpoint as LOWEST_VAL (checkpoint.restore_from: LOWEST_VAL).")

    def _adapter(self, name: str) -> Any:
        def write(draft: Draft, value: Any) -> None:
            self.write_key(draft, name, value)
            if draft.run.config and not any(key.startswith("peft.") for key in draft.run.config):
                draft.set("peft._target_", PEFT_TARGET)

        return write

    def _quantize(self, draft: Draft, value: Any) -> None:
        draft.set("quantization.load_in_4bit", bool(value))
        if value and draft.native("quantization.load_in_8bit"):
            draft.set("quantization.load_in_8bit", False)

    @staticmethod
    def _has_scheduler(draft: Draft) -> bool:
        """Whether the config has a scheduler section; without one the learning rate is constant, with no warmup."""
        if any(key.startswith("lr_scheduler.") for key in draft.run.config):
            return True
        return any(entry.key.startswith("lr_scheduler.") for entry in draft.run.hyperparameters.values())

    def complete(self, draft: Draft) -> None:
        """Bring along what the framework's own assertions need."""
        if draft.is_whole:
            self._complete_schedule(draft)
        self._keep_rates_ordered(draft)
        self._keep_batch_divisible(draft)
        if draft.is_whole:
            return
        new_section = any(key.startswith("lr_scheduler.") for key in draft.keys) and not self._has_scheduler(draft)
        if new_section and STYLE not in draft.keys:
            if draft.keys.get(WARMUP) is not None:
                # The section's own default would be cosine.
                draft.set(STYLE, "constant")
                draft.note("The config has no lr_scheduler section, so the learning rate was constant; it stays constant after the warmup.")
            else:
                for key in [key for key in draft.keys if key.startswith("lr_scheduler.")]:
                    del draft.keys[key]
        self._keep_warmup_short(draft)

    @staticmethod
    def _complete_schedule(draft: Draft) -> None:
        """A section of its own: without it the rate is constant, with it the rate decays by a cosine after a warmup."""
        if not any(key.startswith("lr_scheduler.") and key != MIN_LR for key in draft.keys):
            draft.keys.pop(MIN_LR, None)
        elif draft.keys.get(STYLE) == "constant":
            draft.keys.pop(MIN_LR, None)
            if not draft.keys.get(WARMUP):
                draft.keys.pop(WARMUP, None)
                draft.keys.pop(STYLE)
        if draft.keys.get(WARMUP):
            draft.set(INIT_LR, 0.0)  # others warm up from zero, this one from a tenth unless told

    @staticmethod
    def _keep_rates_ordered(draft: Draft) -> None:
        rate = as_float(draft.keys.get(LR, draft.keys.get(MAX_LR)))
        if rate is None:
            return
        for key in (INIT_LR, MIN_LR):
            old = as_float(draft.keys.get(key, draft.native(key)))
            if old is not None and old > rate:
                draft.set(key, rate)
                draft.note(f"{key} may not exceed the learning rate, so it is lowered along (was {argument(old)}).")

    @staticmethod
    def _keep_batch_divisible(draft: Draft) -> None:
        if not {GLOBAL_BATCH, LOCAL_BATCH} & draft.keys.keys():
            return
        total, local = draft.number("global_batch_size"), draft.number("micro_batch_size")
        total = as_float(draft.keys.get(GLOBAL_BATCH, total))
        local = as_float(draft.keys.get(LOCAL_BATCH, local))
        ranks = draft.number("world_size") or 1.0
        if not total or not local or total % (local * ranks) == 0:
            return
        share = int(total // ranks)
        if share < 1 or total % ranks:
            draft.note(f"{GLOBAL_BATCH} must be a multiple of {LOCAL_BATCH} x {argument(whole(ranks))} data-parallel ranks.")
            return
        fitting = next(size for size in range(int(min(local, share)), 0, -1) if share % size == 0)
        draft.set(LOCAL_BATCH, fitting)
        draft.note(f"{LOCAL_BATCH} must divide {GLOBAL_BATCH}, so it becomes {fitting} (was {argument(whole(local))}).")

    @staticmethod
    def _keep_warmup_short(draft: Draft) -> None:
        """``lr_warmup_steps < lr_decay_steps``, which is the number of steps unless it is set."""
        warmup = as_float(draft.keys.get(WARMUP, draft.native(WARMUP)))
        if not {WARMUP, DECAY, MAX_STEPS, EPOCHS} & draft.keys.keys() or warmup is None:
            return
        limit = draft.keys.get(MAX_STEPS)
        horizon = as_float(draft.keys.get(DECAY, draft.native(DECAY)))
        total = horizon if horizon is not None else (as_float(limit) if isinstance(limit, int) else draft.total_steps())
        if total is not None and warmup >= total:
            shorter = max(int(total * 0.1), 0)
            draft.set(WARMUP, shorter)
            length, old = argument(whole(total)), argument(whole(warmup))
            draft.note(f"{WARMUP} must be below the {length} steps of the schedule, so it becomes {shorter} (was {old}).")

    def arguments(self, draft: Draft) -> list[str]:
        """``--a.b value`` tokens; lists as Python literals."""
        tokens: list[str] = []
        for key, value in self.given(draft):
            tokens += [f"--{key}", repr(value) if isinstance(value, list) else argument(value)]
        return tokens


DIALECT = AutoModel()
