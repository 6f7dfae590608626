"""Whose words a config is written in, and what they say: for configs in files, where the program that runs them may tell too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from diag.dialects.table import DETECTION_SCORE, Reading, Row, documented, resolve, scores, table_read
from diag.dialects.table import read as read_table

PEFT: Final = "peft"
"""The dialect of PEFT's ``adapter_config.json``."""

DIALECTS: Final = (
    "hf",
    PEFT,
    "automodel",
    "training_hub",
    "axolotl",
    "llamafactory",
    "torchtune",
    "deepspeed",
    "lightning",
    "litgpt",
    "megatron",
    "nanogpt",
    "ultralytics",
)
"""Dialects of config files; where two fit equally well, the first."""

PROGRAMS: Final[tuple[tuple[str, str], ...]] = (
    (r"^(?:sft|osft|lora_sft|lora_grpo|thub\b.*|training[-_]hub\b.*)$", "training_hub"),
    (r"^(?:automodel|am)\b|nemo_automodel|llm_finetune/finetune\.py$|vlm_finetune/finetune\.py$", "automodel"),
    (r"^axolotl\b|axolotl\.cli", "axolotl"),
    (r"^(?:llamafactory-cli|lmf)\b|llamafactory|src/train(?:_bash)?\.py$", "llamafactory"),
    (r"^tune\b", "torchtune"),
    (r"^litgpt\b", "litgpt"),
    (r"^yolo\b", "ultralytics"),
    (r"pretrain_(?:gpt|bert|t5|mamba|vlm)\.py$", "megatron"),
    (r"^trl\b|^(?:Seq2Seq)?TrainingArguments$|^(?:SFT|DPO|GRPO|Reward|KTO|ORPO|CPO|PPO|RLOO|OnlineDPO)Config$|^LoraConfig$", "hf"),
    (r"^Trainer$", "lightning"),
)
"""What runs a config (``Document.entry``) to its dialect."""

OWN_COMMANDS: Final = frozenset({"axolotl", "llamafactory", "torchtune", "litgpt"})
"""Dialects whose configs are run by a command of their own: a script that nobody knows is not theirs, though the keys may be."""

KNOWN_SHARE: Final = 0.6
"""Least share of a fragment's keys that a dialect must document for the fragment to be taken for its own."""

SCOPES: Final[tuple[tuple[str, str], ...]] = (
    (r"^(?:thub )?osft\b", "osft"),
    (r"^(?:thub )?lora[-_]sft\b", "lora_sft"),
    (r"^(?:thub )?sft\b", "sft"),
    (r"^(?:thub )?(lora[-_]grpo|grpo|embedding[-_]sft|gepa)$", r"\1"),
    (r"^litgpt (\w+)", r"\1"),
    (r"(?:^|/)(run_\w+)\.py$", r"\1"),
    (r"^trl (\w+)", r"\1"),
)
"""What runs a config to the scope, as the tables name it."""

PREFERENCES: Final = re.compile(
    r"(?:^|\W)(?:dpo|kto|orpo|simpo|ipo|cpo|grpo|ppo|rloo|rm|reward|nca|online_?dpo|xpo|gkd|prm)(?:Config|Trainer|Loss)?(?:$|\W)", re.I
)
"""Names of trainings on preferences or rewards."""

PREFERENCE_KEYS: Final = frozenset(
    {
        "beta",
        "max_prompt_length",
        "num_generations",
        "max_completion_length",
        "precompute_ref_log_probs",
        "desirable_weight",
        "pref_beta",
        "pref_loss",
    }
)
"""Keys that only such trainings have."""

METHOD_OF_ENTRY: Final[tuple[tuple[str, str], ...]] = (
    (r"^(?:thub )?osft\b", "osft"),
    (r"^(?:thub )?lora[-_]sft\b|^litgpt finetune_lora|^tune run .*\blora", "lora"),
    (r"^(?:thub )?sft\b|^litgpt finetune(?:_full)?$|^tune run .*\bfull", "sft"),
    (r"^litgpt pretrain|pretrain_gpt\.py$", "pretraining"),
)
"""What runs a config to how it trains, where the keys do not tell."""


def detect(flat: Mapping[str, Any], entry: str = "", containers: Iterable[str] = ()) -> str | None:
    """The dialect of a config, None where no framework's keys stand out.

    The program that runs it decides, then telling keys (``signatures.tsv``), then the dialect that documents most of its keys:
    parts of configs seldom hold the telling ones.

    Args:
        flat: dotted native key to value.
        entry: what runs it, as ``Document.entry``.
        containers: its sections, empty ones included.
    """
    for pattern, dialect in PROGRAMS:
        if entry and re.search(pattern, entry):
            return dialect
    if is_adapter_config(flat):
        return PEFT
    found = scores(flat)
    best = max(DIALECTS, key=lambda name: found.get(name, 0))
    if found.get(best, 0) >= DETECTION_SCORE:
        return best
    return _by_known_keys(flat, found, [name for name in DIALECTS if not (entry.endswith(".py") and name in OWN_COMMANDS)])


def is_sure(dialect: str, flat: Mapping[str, Any], entry: str = "") -> bool:
    """Whether telling keys, or what runs it, name the dialect: enough to lint a file that the user did not name."""
    if entry and any(re.search(pattern, entry) for pattern, name in PROGRAMS if name == dialect):
        return True
    return is_adapter_config(flat) if dialect == PEFT else scores(flat).get(dialect, 0) >= DETECTION_SCORE


def is_adapter_config(flat: Mapping[str, Any]) -> bool:
    """Whether a config is PEFT's ``adapter_config.json``."""
    return "learning_rate" not in flat and ("peft_type" in flat or {"r", "lora_alpha", "target_modules"} <= flat.keys())


def _by_known_keys(flat: Mapping[str, Any], found: Mapping[str, int], dialects: Iterable[str]) -> str | None:
    if not flat:
        return None
    best, best_rank = None, (0.0, 0)
    for dialect in dialects:
        closed = sum(1 for key in flat if (known := row(dialect, key)) is not None and not known.native.endswith("**"))
        open_ = sum(1 for key in flat if (known := row(dialect, key)) is not None and known.native.endswith("**"))
        telling = sum(1 for key in flat if "." in key and row(dialect, key) is not None)
        if closed + telling < 2 or (closed + open_) / len(flat) < KNOWN_SHARE:
            continue
        rank = ((closed + open_) / len(flat) + closed / len(flat), found.get(dialect, 0))
        if rank > best_rank:
            best, best_rank = dialect, rank
    return best


@cache
def _index(dialect: str) -> tuple[dict[str, list[Row]], tuple[tuple[re.Pattern[str], Row], ...]]:
    """The rows of every key, and those of patterns: closed ones before open ones."""
    exact: dict[str, list[Row]] = {}
    patterns: list[tuple[re.Pattern[str], Row]] = []
    for entry in documented(dialect):
        if "*" in entry.native:
            patterns.append((_pattern(entry.native), entry))
        else:
            exact.setdefault(entry.native, []).append(entry)
    patterns.sort(key=lambda item: item[1].native.endswith("**"))
    return exact, tuple(patterns)


def _pattern(native: str) -> re.Pattern[str]:
    parts = [".+" if part == "**" else r"[^.]+" if part == "*" else re.escape(part).replace(r"\*", "[^.]*") for part in native.split(".")]
    return re.compile(r"\.".join(parts))


KEYS_KEPT: Final = 1 << 14
"""Keys whose row is remembered: configs use the same few hundred over and over."""


@lru_cache(KEYS_KEPT)
def row(dialect: str, key: str) -> Row | None:
    """The row of a native key: its own, else the first pattern that matches, closed patterns before open ones; None if there is none."""
    exact, patterns = _index(dialect)
    if key in exact:
        return exact[key][0]
    return next((entry for pattern, entry in patterns if pattern.fullmatch(key)), None)


def rows_of(dialect: str, key: str) -> list[Row]:
    """Every row of a native key: one for each scope that documents it."""
    own = _index(dialect)[0].get(key)
    return own or [entry for entry in (row(dialect, key),) if entry is not None]


def scope_of(entry: str) -> str:
    """The scope, as the tables name it, of what runs a config; "" if it does not tell."""
    for pattern, scope in SCOPES:
        if match := re.search(pattern, entry):
            return match.expand(scope).replace("-", "_")
    return entry if re.fullmatch(r"\w*(?:Config|Arguments)", entry) else ""


def read(dialect: str, flat: Mapping[str, Any], entry: str = "") -> dict[str, Reading]:
    """Canonical readings of a config in a file; see ``diag.dialects.table.read``.

    Args:
        dialect: its dialect.
        flat: dotted native key to value.
        entry: what runs it: where the keys leave the method open, it tells.
    """
    found = resolve("hf", table_read(PEFT, flat)) if dialect == PEFT else read_table(dialect, flat)
    if "method" not in found or (found["method"].value == "sft" and entry):
        for pattern, method in METHOD_OF_ENTRY:
            if re.search(pattern, entry):
                four_bit = method == "lora" and (bits := found.get("load_in_4bit")) is not None and bits.value is True
                found["method"] = Reading("qlora" if four_bit else method, "", f"what runs it, {entry}")
                break
    if "method" not in found and (reading := _method_of_keys(dialect, flat, entry)) is not None:
        found["method"] = reading
    if "method" in found and found["method"].value == "sft" and continues_pretraining(flat):
        del found["method"]  # neither fine-tuning on examples nor training from scratch
    return found


def _method_of_keys(dialect: str, flat: Mapping[str, Any], entry: str) -> Reading | None:
    """How a framework trains where its keys tell only by what they leave out; None where they do not tell."""
    if dialect == "torchtune" and str(flat.get("model._component_", "")).startswith("torchtune.models."):
        return None if "ora_" in str(flat["model._component_"]) else Reading("sft", "model._component_", "all weights: no adapters")
    if dialect == "litgpt" and flat.get("checkpoint_dir") and not _ADAPTED_LITGPT & flat.keys():
        return Reading("sft", "checkpoint_dir", BY_OMISSION)
    if dialect == "litgpt" and flat.get("model_name") and not flat.get("initial_checkpoint_dir"):
        return Reading("pretraining", "model_name", "no checkpoint to start from")
    if dialect == "hf" and re.search(FROM_SCRATCH, entry) and flat.get("model_type") and not flat.get("model_name_or_path"):
        return Reading("pretraining", "model_type", "no model to start from")
    return None


BY_OMISSION: Final = "neither adapters nor quantization"
"""What a method rests on that other commands with the same keys need not use: litgpt's ``finetune_adapter`` knows them all."""

FROM_SCRATCH: Final = r"run_(?:clm|mlm|plm)(?:_no_trainer)?\.py$"
"""Scripts that train a language model from scratch if they are given a type of model instead of a model."""

_ADAPTED_LITGPT: Final = frozenset({"quantize", "lora_r", "lora_alpha"})
"""Keys of litgpt's commands for adapters; the one for all weights knows none of them."""


def continues_pretraining(flat: Mapping[str, Any]) -> bool:
    """Whether a pretrained model goes on learning from plain text (LLaMA-Factory's stage ``pt``, Axolotl's ``pretraining_dataset``)."""
    return flat.get("stage") == "pt" or any(key.partition(".")[0] == "pretraining_dataset" for key in flat)


def learns_from_preferences(flat: Mapping[str, Any], entry: str = "") -> bool:
    """Whether a config is of a training on preferences or rewards (DPO, KTO, GRPO, PPO, reward models)."""
    words = [str(flat[key]) for key in ("stage", "rl", "loss_type", "trainer", "loss._component_") if isinstance(flat.get(key), str)]
    if flat.get("reward_model") is True:
        return True
    if any(flat.get(key) for key in ("reward_model", "process_reward_model")):
        return True
    return any(PREFERENCES.search(word) for word in (entry, *words)) or not PREFERENCE_KEYS.isdisjoint(flat)


KNOWN_MODELS: Final[tuple[tuple[str, float], ...]] = (
    (r"distilbert|distilroberta", 8e7),
    (r"(?:^|/|-)(?:bert|roberta|electra|deberta(?:-v\d)?|mpnet|ernie)-(?:tiny|mini|small|medium)", 5e7),
    (r"(?:^|/|-)(?:bert|roberta|electra|deberta(?:-v\d)?|xlm-roberta|mpnet|albert|camembert|modernbert)-base", 1.5e8),
    (r"(?:^|/|-)(?:bert|roberta|electra|deberta(?:-v\d)?|xlm-roberta|albert|modernbert)-large", 4e8),
    (r"(?:^|/)(?:distil)?gpt2$", 1.24e8),
    (r"(?:^|/)gpt2-medium$", 3.55e8),
    (r"(?:^|/)gpt2-large$", 7.74e8),
    (r"(?:^|/)(?:google/)?(?:flan-)?t5-small", 6e7),
    (r"(?:^|/)(?:google/)?(?:flan-)?t5-base", 2.2e8),
    (r"(?:^|/)(?:facebook/)?bart-base", 1.4e8),
    (r"(?:^|/)(?:facebook/)?bart-large", 4.1e8),
    (r"whisper-(?:tiny|base)", 7e7),
    (r"whisper-small", 2.4e8),
    (r"(?:^|/)(?:google/)?vit-base", 8.6e7),
    (r"wav2vec2-base", 9.5e7),
    (r"phi-2$", 2.7e9),
    (r"phi-3-mini|phi-3\.5-mini|phi-4-mini", 3.8e9),
    (r"phi-3-medium", 1.4e10),
    (r"phi-4$", 1.47e10),
    (r"mistral-nemo", 1.22e10),
    (r"mistral-small", 2.4e10),
    (r"mistral-large", 1.23e11),
)
"""Models whose names do not state a size, by a pattern of the lower-case name, and their parameters (from their model cards, rounded)."""

MODEL_KEYS: Final = re.compile(
    r"(?:^|\.)(?:(?:base_|pretrained_)?model_name_or_path|base_model(?:_name_or_path)?|model_path|model_name|checkpoint_dir|model_id)$"
)
"""Keys that name the model."""


def parameters_of_known_model(flat: Mapping[str, Any]) -> float | None:
    """Parameters of the model a config names, where the name is known but states no size."""
    for key, value in flat.items():
        if isinstance(value, str) and MODEL_KEYS.search(key):
            name = value.strip().rstrip("/").lower()
            for pattern, parameters in KNOWN_MODELS:
                if re.search(pattern, name):
                    return parameters
    return _parameters_of_type(flat)


TYPES: Final = {"gpt2": 1.24e8, "bert": 1.1e8, "roberta": 1.25e8, "distilbert": 6.6e7, "electra": 1.4e7, "albert": 2.2e8}
"""Parameters of the models that a bare ``model_type`` makes in the example scripts, from the defaults of their configs."""


def _parameters_of_type(flat: Mapping[str, Any]) -> float | None:
    """Parameters of a model that is made from its type: those of the layers, 12 x layers x width^2, where the command overrides both."""
    if flat.get("model_name_or_path") or flat.get("config_name") or flat.get("model_type") not in TYPES:
        return None
    overrides = str(flat.get("config_overrides") or "")
    width, layers = (re.search(rf"\b(?:{names})=(\d{{1,6}})\b", overrides) for names in ("n_embd|hidden_size", "n_layer|num_hidden_layers"))
    if width and layers:
        return 12.0 * int(layers[1]) * int(width[1]) ** 2
    return TYPES[str(flat["model_type"])]
