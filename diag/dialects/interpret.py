"""What a flat config says: whose it is, and which hyperparameters it sets.

Besides training configs there are two kinds of Hugging Face files: PEFT's ``adapter_config.json``, and the model's own
``config.json``, which says nothing of the training but the model's size.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from diag.dialects import detect
from diag.dialects.table import Reading, generic_read, read, resolve, rows, scores
from diag.dialects.values import as_float, canonical_value


class Interpretation(NamedTuple):
    """Name of the dialect, canonical readings in the order of its table, and how telling the keys were."""

    dialect: str
    readings: dict[str, Reading]
    score: int


def interpret(flat: Mapping[str, Any]) -> Interpretation:
    """Read a flat config (dotted native key to value)."""
    if _is_adapter_config(flat):
        return Interpretation("hf", _adapter_readings(flat), 0)
    if is_model_config(flat):
        return Interpretation("generic", _model_facts(flat), 0)
    dialect = detect(flat)
    return Interpretation(dialect, read(dialect, flat), scores(flat).get(dialect, 0))


def _is_adapter_config(flat: Mapping[str, Any]) -> bool:
    named = str(flat.get("peft_type", "")).upper().endswith("LORA")
    return named and ("base_model_name_or_path" in flat or "r" in flat) and "learning_rate" not in flat


def is_model_config(flat: Mapping[str, Any]) -> bool:
    """Whether a config describes an architecture (``config.json`` of a model) rather than a training."""
    return ("model_type" in flat or "architectures" in flat) and "learning_rate" not in flat and "lr" not in flat


def _adapter_readings(flat: Mapping[str, Any]) -> dict[str, Reading]:
    """PEFT's ``adapter_config.json``."""
    found: dict[str, Reading] = {}
    for row in rows("peft"):
        if row.native not in flat:
            continue
        value = flat[row.native] if row.canonical.startswith("_") else canonical_value(row.canonical, flat[row.native])
        if value is not None:
            found[row.canonical] = Reading(value, row.native)
    return resolve("hf", found)


def _model_facts(flat: Mapping[str, Any]) -> dict[str, Reading]:
    """What a model's own ``config.json`` says of its size."""
    known = generic_read({key: value for key, value in flat.items() if key in {"num_parameters", "n_params"}})
    if "model_parameters" in known:
        return {"model_parameters": known["model_parameters"]}
    if (size := parameters_from_shape(flat)) is not None:
        return {"model_parameters": Reading(size, "", "the model's shape in config.json")}
    return {}


def parameters_from_shape(flat: Mapping[str, Any]) -> float | None:
    """Parameters of a decoder from its Hugging Face config, None where the shape is not given.

    Per layer: the query, key, value and output projections, and a gated (three matrices) or plain (two) MLP; plus the
    token embeddings, counted once where they are tied. Biases, norms and position embeddings are below 1%.
    """

    def whole(*names: str) -> float | None:
        return next((number for name in names if (number := as_float(flat.get(name))) is not None and number > 0), None)

    hidden, layers, vocabulary = (
        whole("hidden_size", "n_embd", "d_model"),
        whole("num_hidden_layers", "n_layer", "num_layers"),
        whole("vocab_size"),
    )
    if (
        hidden is None
        or layers is None
        or vocabulary is None
        or any(key in flat for key in ("num_local_experts", "n_routed_experts", "num_experts"))
    ):
        return None
    heads = whole("num_attention_heads", "n_head") or 1.0
    head = whole("head_dim") or hidden / heads
    shared = whole("num_key_value_heads") or heads
    inner = whole("intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden
    gated = (
        3
        if str(flat.get("hidden_act", "")).lower() in {"silu", "swiglu"} or "gelu_pytorch_tanh" in str(flat.get("hidden_activation", ""))
        else 2
    )
    embeddings = vocabulary * hidden * (1 if flat.get("tie_word_embeddings", True) is True else 2)
    total = embeddings + layers * (2 * hidden * heads * head + 2 * hidden * shared * head + gated * hidden * inner)
    return float(round(total)) if math.isfinite(total) else None


FRAMEWORKS: Final = {
    "hf": "Hugging Face TrainingArguments",
    "automodel": "NeMo AutoModel",
    "training_hub": "Training Hub",
    "axolotl": "Axolotl",
    "llamafactory": "LLaMA-Factory",
    "torchtune": "torchtune",
    "lightning": "Lightning",
    "peft": "PEFT adapter",
    "deepspeed": "DeepSpeed",
    "megatron": "Megatron-LM",
    "nanogpt": "nanoGPT",
    "ultralytics": "Ultralytics",
}
"""Names of the dialects for people, where they differ from the dialect's own."""


def framework(dialect: str) -> str:
    """The name of a dialect's framework for people."""
    return FRAMEWORKS.get(dialect, dialect)


def defaults(dialect: str, keys: Collection[str], file: str) -> dict[str, Reading]:
    """What a framework uses where its config has no such key; every reading has a note that says so.

    Args:
        dialect: name of the dialect.
        keys: native keys that the config has.
        file: name of the config, for the note.
    """
    name = framework(dialect)
    found: dict[str, Reading] = {}
    if dialect == "automodel" and not any(key.startswith("lr_scheduler.") for key in keys):
        note = f"the default of {name} ({file} has no lr_scheduler section)"
        found = {"lr_scheduler": Reading("constant", "", note), "warmup_steps": Reading(0.0, "", note)}
    for row in rows(dialect):
        value = canonical_value(row.canonical, row.default) if row.default and row.native not in keys else None
        if value is not None:
            found.setdefault(row.canonical, Reading(value, row.native, f"the default of {name} ({file} does not set it)"))
    return found
