"""Native values to canonical ones: numbers written as text, enum names, dotted class paths.

Everything a config holds may be a string (MLflow parameters, TensorBoard HParams, command lines, YAML 1.1 ``5e-6``),
so every reader here takes any object and answers None for what it cannot read as the type it should have.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from diag.vocabulary import HYPERPARAMETERS, METHODS

MISSING: Final = frozenset({"", "none", "null", "~", "auto", "default", "nan", "undefined"})
"""Lower-case texts that say "not set"."""

TRUE: Final = frozenset({"true", "yes", "on", "1"})
FALSE: Final = frozenset({"false", "no", "off", "0"})

SCHEDULERS: Final[dict[str, str]] = {
    "none": "constant",
    "null": "constant",
    "cosineannealinglr": "cosine",
    "cosineannealing": "cosine",
    "cosine_annealing": "cosine",
    "cosinelrscheduler": "cosine",
    "cosine_with_warmup": "cosine",
    "warmup_cosine": "cosine",
    "linear_warmup_cosine": "cosine",
    "warmupcosinelr": "cosine",
    "get_cosine_schedule_with_warmup": "cosine",
    "cosine_schedule_with_warmup": "cosine",
    "linear_warmup_cosine_annealing": "cosine",
    "linearwarmupcosineannealinglr": "cosine",
    "cosineannealingwarmrestarts": "cosine_with_restarts",
    "get_cosine_with_hard_restarts_schedule_with_warmup": "cosine_with_restarts",
    "linearlr": "linear",
    "linear_with_warmup": "linear",
    "linear_schedule_with_warmup": "linear",
    "get_linear_schedule_with_warmup": "linear",
    "warmupdecaylr": "linear",
    "constantlr": "constant",
    "get_constant_schedule": "constant",
    "get_constant_schedule_with_warmup": "constant_with_warmup",
    "warmuplr": "constant_with_warmup",
    "wsd": "warmup_stable_decay",
    "warmupstabledecay": "warmup_stable_decay",
    "get_wsd_schedule": "warmup_stable_decay",
    "inverse-square-root": "inverse_sqrt",
    "inverse_square_root": "inverse_sqrt",
    "get_inverse_sqrt_schedule": "inverse_sqrt",
    "polynomiallr": "polynomial",
    "poly": "polynomial",
    "get_polynomial_decay_schedule_with_warmup": "polynomial",
    "steplr": "step",
    "multisteplr": "multistep",
    "exponentiallr": "exponential",
    "onecyclelr": "one_cycle",
    "onecycle": "one_cycle",
    "1cycle": "one_cycle",
    "reducelronplateau": "reduce_lr_on_plateau",
    "plateau": "reduce_lr_on_plateau",
}
"""Spellings of schedules (lower case, last part of a dotted path) to the Hugging Face name, where there is one."""

PRECISIONS: Final[dict[str, str]] = {
    "fp32": "fp32",
    "float32": "fp32",
    "float": "fp32",
    "32": "fp32",
    "32-true": "fp32",
    "no": "fp32",
    "full": "fp32",
    "64": "fp32",
    "64-true": "fp32",
    "tf32": "tf32",
    "fp16": "fp16",
    "float16": "fp16",
    "half": "fp16",
    "16": "fp16",
    "16-mixed": "fp16",
    "16-true": "fp16",
    "mixed_float16": "fp16",
    "amp_fp16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "bf16-mixed": "bf16",
    "bf16-true": "bf16",
    "mixed_bfloat16": "bf16",
    "amp_bf16": "bf16",
    "fp8": "fp8",
    "transformer-engine": "fp8",
    "transformer-engine-float16": "fp8",
    "amp_fp8": "fp8",
}
"""Spellings of the compute precision (lower case) to the canonical one. Double precision has no overflow trouble either: ``fp32``."""

SCHEDULE_WORDS: Final = re.compile(
    r"cos|lin|const|warm|step|decay|poly|exp|plateau|cycl|noam|sqrt|wsd|rex|lambda|flat|anneal|^lr|lr$|greedy|multiplicative|swa"
)
"""What the name of a learning-rate schedule holds; a ``scheduler`` may also be one of noise (diffusion) or of jobs."""

POSITIVE: Final = frozenset(
    {
        "num_epochs",
        "max_steps",
        "global_batch_size",
        "micro_batch_size",
        "gradient_accumulation_steps",
        "lora_rank",
        "lora_alpha",
        "max_seq_len",
        "eval_steps",
        "save_steps",
        "logging_steps",
        "model_parameters",
        "dataset_size",
        "world_size",
    }
)
"""Hyperparameters for which zero or less means "not set" (``max_steps: -1``)."""

NON_NEGATIVE: Final = frozenset(
    {
        "learning_rate",
        "min_lr",
        "warmup_steps",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "dropout",
        "lora_dropout",
        "early_stopping_patience",
        "unfreeze_rank_ratio",
    }
)
"""Hyperparameters that cannot be below zero; a negative value is not read."""

SHARES: Final = frozenset({"warmup_ratio", "dropout", "lora_dropout", "unfreeze_rank_ratio"})
"""Hyperparameters that lie in [0, 1]."""

MAX_TARGETS: Final = 512
"""Most entries of ``lora_target_modules`` that are kept; a model has fewer kinds of linear layers."""


def is_missing(value: Any) -> bool:
    """Whether a native value says "not set"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in MISSING)


def as_float(value: Any) -> float | None:
    """A finite float from a number or a numeric text; None otherwise (booleans are not numbers)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not value or len(value) > 64:
            return None
    elif not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_int(value: Any) -> int | None:
    """An int from a whole number or its text (``8``, ``8.0``, ``"8"``); None otherwise."""
    number = as_float(value)
    if number is None or not number.is_integer():
        return None
    return int(number)


def as_bool(value: Any) -> bool | None:
    """A bool from a bool, 0 or 1, or the usual words; None otherwise."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
    return None


def last_part(value: str) -> str:
    """The last part of a dotted path, lower case: ``torch.optim.AdamW`` to ``adamw``, ``SchedulerType.COSINE`` to ``cosine``."""
    text = value.strip().strip("'\"<>")
    return text.split(":", 1)[0].strip().rstrip(".").rsplit(".", 1)[-1].lower()


def as_scheduler(value: Any) -> str | None:
    """The Hugging Face name of a schedule, the lower-case native one where there is none; None for what is not a name."""
    if isinstance(value, bool) or not isinstance(value, str) or not value.strip() or len(value) > 200 or as_float(value) is not None:
        return None
    if value.strip().lower() == "auto":
        return None
    name = last_part(value)
    return SCHEDULERS.get(name) or (name if SCHEDULE_WORDS.search(name) else None)


OPTIMIZERS: Final = {
    "adamw8bit": "adamw_8bit",
    "pagedadamw": "paged_adamw_32bit",
    "pagedadamw32bit": "paged_adamw_32bit",
    "pagedadamw8bit": "paged_adamw_8bit",
    "lion8bit": "lion_8bit",
    "pagedlion8bit": "paged_lion_8bit",
}
"""Classes of bitsandbytes (lower case) to the Hugging Face name."""


def as_optimizer(value: Any) -> str | None:
    """The lower-case name of an optimizer, the Hugging Face one where there is one; None for what is not a name."""
    if not isinstance(value, str) or is_missing(value) or len(value) > 200 or as_float(value) is not None:
        return None
    name = last_part(value.split("(", 1)[0])
    return OPTIMIZERS.get(name, name) or None


def as_precision(value: Any) -> str | None:
    """One of ``fp32``, ``tf32``, ``fp16``, ``bf16``, ``fp8``; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip().lower()
    return PRECISIONS.get(text) or PRECISIONS.get(text.rsplit(".", 1)[-1])


def as_targets(value: Any) -> list[str] | str | None:
    """Module names to adapt: a list of texts, or one text (a regular expression, ``all-linear``)."""
    if isinstance(value, str):
        text = value.strip()
        if is_missing(text):
            return None
        if text.startswith("[") and text.endswith("]"):
            names = [part.strip(" '\"") for part in text[1:-1].split(",")]
            return [name for name in names if name][:MAX_TARGETS] or None
        return text
    if isinstance(value, (list, tuple, set, frozenset)):
        names = [str(item) for item in value if isinstance(item, str)][:MAX_TARGETS]
        return sorted(names) if isinstance(value, (set, frozenset)) else names or None
    return None


def canonical_value(name: str, value: Any) -> Any:
    """A native value as the canonical hyperparameter ``name`` holds it, None where it says nothing.

    ``max_grad_norm`` is 0.0 where the config switches clipping off (``null``, ``false``, 0): that is known, not missing.
    """
    if name == "max_grad_norm" and (
        value is None or value is False or (isinstance(value, str) and value.strip().lower() in {"none", "null", "false"})
    ):
        return 0.0
    if name == "lr_scheduler":
        return "constant" if value is None else as_scheduler(value)
    if is_missing(value):
        return None
    if name == "optimizer":
        return as_optimizer(value)
    if name == "precision":
        return as_precision(value)
    if name == "lora_target_modules":
        return as_targets(value)
    if name == "method":
        word = str(value).strip().lower()
        return word if word in METHODS else None
    if name == "world_size" and isinstance(value, (list, tuple)):
        value = len(value)
    kind = HYPERPARAMETERS.get(name, object)
    if kind is bool:
        return as_bool(value)
    if kind not in (int, float):
        return value if isinstance(value, (str, int, float)) else None
    number = as_int(value) if kind is int else as_float(value)
    if number is None or (name in POSITIVE and number <= 0) or (name in NON_NEGATIVE and number < 0):
        return None
    if (name in SHARES and number > 1) or (name == "dataset_size" and number <= 1):
        # A train_size of 0.8 or 1 is a share of the data, not a number of samples.
        return None
    return number
