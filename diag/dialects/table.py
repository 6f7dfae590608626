"""Fact tables of the dialects: native config keys and the canonical hyperparameters they stand for.

A table is a TSV file beside this module: every documented key of the framework, one row each. Reading, linting, fixing and
converting use the same rows. Columns, of which trailing empty ones may be left out:

- ``canonical``: a canonical hyperparameter, or a name with a leading underscore that ``resolve`` turns into some
  (``_bf16`` and ``_fp16`` together make ``precision``); empty for a key that stands for none;
- ``native``: the dotted key; the first row of a canonical name is the key to write where the run's config has none. A part
  ``*`` stands for any one name or list index, a last part ``**`` for anything below. In ``generic.tsv`` it is a pattern for
  the last parts of the key, ``*`` standing for any letters within one part;
- ``conversion``: how the value differs (see CONVERSIONS), empty for none;
- ``default``: what the framework uses where the key is absent, empty where that depends on its version, or is nothing;
- ``type``: ``int``, ``float``, ``number``, ``bool``, ``str``, ``list``, ``dict`` or several joined by ``|``; empty for any.
  ``float`` admits whole numbers, ``int`` does not admit fractions; ``null`` is admitted everywhere;
- ``values``: the accepted words of an enumeration, joined by ``|``; empty for any;
- ``since``, ``until``: versions of the framework, the first that knows the key and the first that no longer does;
- ``instead``: the key that took its place;
- ``scope``: the commands, functions or classes that know the key, separated by spaces; empty for all of the framework;
- ``cli``: how the key is given on a command line where that is not the framework's usual form; ``-`` where it cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.dialects.values import as_bool, as_float, as_int, canonical_value, is_missing


class Row(NamedTuple):
    """One row of a table; the module's page says what the columns mean."""

    canonical: str
    native: str
    conversion: str = ""
    default: str = ""
    type: str = ""
    values: str = ""
    since: str = ""
    until: str = ""
    instead: str = ""
    scope: str = ""
    cli: str = ""


class Reading(NamedTuple):
    """A canonical value and where it came from: the native key, or a note where it was worked out from other values."""

    value: Any
    key: str = ""
    note: str = ""


DETECTION_SCORE: Final = 4
"""Least sum of signature weights for a config to count as a framework's own (two telling keys)."""

FOREIGN_SECTIONS: Final = re.compile(
    r"^(?:val|valid|validation|eval|evaluation|test|predict|inference|generation|generate|sampling|_wandb|wandb|mlflow|ema|env|critic|discriminator|teacher)"
    r"(?:_\w+|\d+)?$"
)
"""Sections whose ``batch_size``, ``lr`` or ``seed`` are not those of the training itself."""

SEPARATOR: Final = re.compile(r"[./]")
"""Between the parts of a native key: dots, or the slashes of flattened dumps."""

MODEL_CONFIG_KEYS: Final = frozenset({"max_length", "dtype", "torch_dtype", "r", "method", "precision"})
"""Keys of a Hugging Face model config that mean something else than the training argument of the same name."""


def _negate(value: Any) -> Any:
    flag = as_bool(value)
    return None if flag is None else not flag


def _split(value: Any) -> Any:
    if value == "all":
        return "all-linear"
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _join(value: Any) -> Any:
    return ",".join(str(item) for item in value) if isinstance(value, (list, tuple)) else value


def _plain_names(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [item.removeprefix("*.") if isinstance(item, str) and item.count("*") == 1 else item for item in value]
    return value


def _wildcards(value: Any) -> Any:
    return (
        [f"*.{item}" if isinstance(item, str) and "*" not in item else item for item in value]
        if isinstance(value, (list, tuple))
        else value
    )


CONVERSIONS: Final[dict[str, tuple[Any, Any]]] = {
    "": (lambda value: value, lambda value: value),
    "negate": (_negate, _negate),
    "comma_list": (_split, _join),
    "wildcards": (_plain_names, _wildcards),
}
"""Name of a conversion to the functions that read (native to canonical) and write (canonical to native)."""


@cache
def documented(dialect: str) -> tuple[Row, ...]:
    """Every documented key of a dialect, () for one that has no table."""
    path = Path(__file__).with_name(f"{dialect}.tsv")
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return tuple(Row(*line.split("\t")) for line in lines if line.strip())


@cache
def rows(dialect: str) -> tuple[Row, ...]:
    """The keys of a dialect that stand for a canonical hyperparameter, () for a dialect that has no table."""
    return tuple(row for row in documented(dialect) if row.canonical)


def _lines(name: str) -> list[list[str]]:
    lines = Path(__file__).with_name(f"{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines if line.strip()]


@cache
def _spellings() -> dict[tuple[str, str, str], str]:
    return {(dialect, name, value): native for dialect, name, value, native in _lines("spellings")}


def spelled(dialect: str, name: str, value: Any) -> Any:
    """A canonical word as a framework spells it (``spellings.tsv``): ``adamw`` as ``torch.optim.AdamW``; anything else as it is.

    Implementations of one optimizer (``adamw_torch_fused``) are spelled as the optimizer where the framework knows no closer one.
    """
    if not isinstance(value, str):
        return value
    known = _spellings()
    if (dialect, name, value) in known:
        return known[dialect, name, value]
    return known.get((dialect, name, value.split("_", 1)[0]), value) if name == "optimizer" and dialect not in TRAINER_NAMES else value


TRAINER_NAMES: Final = frozenset({"hf", "llamafactory", "axolotl"})
"""Dialects that name optimizers by their implementations, as the canonical names do."""


@cache
def habits(dialect: str, scope: str = "") -> dict[str, Any]:
    """What a framework does where its config is silent, beyond the defaults of its keys (``habits.tsv``): it always decays by a cosine,
    or it does so unless another key says otherwise.

    Args:
        dialect: name of the dialect.
        scope: the command, function or class, as the tables name it.

    Returns:
        Canonical name to value.
    """
    return {
        name: canonical_value(name, value) for owner, known, name, value in _lines("habits") if owner == dialect and known in ("", scope)
    }


@cache
def equivalents(dialect: str) -> dict[str, str]:
    """Keys that stand for no hyperparameter but mean the same in several frameworks (``equivalents.tsv``): meaning to native key.

    A last part that is a number is an item of a list: ``optimizer.betas.0``.
    """
    return {meaning: native for meaning, owner, native in _lines("equivalents") if owner == dialect}


@cache
def signatures() -> tuple[tuple[str, str, int], ...]:
    """Telling keys: dialect, key (``a.*`` for any key of a section, ``*.b`` for a last part), weight."""
    lines = Path(__file__).with_name("signatures.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple((dialect, key, int(weight)) for dialect, key, weight in (line.split("\t") for line in lines if line.strip()))


def scores(keys: Iterable[str]) -> dict[str, int]:
    """Sum of the signature weights of every dialect that has some, in table order."""
    present = set(keys)
    heads = {key.split(".", 1)[0] for key in present if "." in key}
    tails = {key.rsplit(".", 1)[1] for key in present if "." in key}
    found: dict[str, int] = {}
    for dialect, key, weight in signatures():
        if key.endswith(".*"):
            hit = key[:-2] in heads
        elif key.startswith("*."):
            hit = key[2:] in tails
        else:
            hit = key in present
        if hit:
            found[dialect] = found.get(dialect, 0) + weight
    return found


def native_rows(dialect: str, canonical: str) -> list[Row]:
    """The rows of a canonical name, the preferred native key first."""
    return [row for row in rows(dialect) if row.canonical == canonical]


@cache
def _generic_index() -> dict[str, list[tuple[int, Row, tuple[str, ...]]]]:
    index: dict[str, list[tuple[int, Row, tuple[str, ...]]]] = {}
    for order, row in enumerate(rows("generic")):
        parts = tuple(row.native.split("."))
        index.setdefault(parts[-1], []).append((order, row, parts))
    return index


def _normal(part: str) -> str:
    return part.lstrip("-").replace("-", "_").lower()


def generic_read(flat: Mapping[str, Any]) -> dict[str, Reading]:
    """Readings by the names that configs of no known framework use, the more telling key first."""
    found: dict[str, tuple[tuple[int, int, int], Reading]] = {}
    index = _generic_index()
    model_config = _holds_model_config(flat)
    for position, (key, value) in enumerate(flat.items()):
        parts = tuple(_normal(part) for part in SEPARATOR.split(key))
        if any(FOREIGN_SECTIONS.match(part) for part in parts[:-1]) or (model_config and key in MODEL_CONFIG_KEYS):
            continue
        in_scheduler = any("sched" in part for part in parts[:-1])
        in_adapter = any(part.startswith(("lora", "peft")) for part in parts[:-1])
        for order, row, pattern in index.get(parts[-1], ()):
            if len(pattern) > len(parts) or not all(
                fnmatchcase(p, q) for p, q in zip(parts[-len(pattern) : -1], pattern[:-1], strict=True)
            ):
                continue
            if in_scheduler and row.native in {"patience", "lr", "learning_rate", "seed"}:
                continue
            if in_adapter and row.canonical in {"dropout", "max_seq_len"}:
                continue
            rank = (order, len(parts), position)
            value_read = _read_value(row, value)
            if value_read is not None and (row.canonical not in found or rank < found[row.canonical][0]):
                found[row.canonical] = (rank, Reading(value_read, key))
    return {name: reading for name, (_, reading) in found.items()}


def _holds_model_config(flat: Mapping[str, Any]) -> bool:
    return "model_type" in flat or "architectures" in flat


def _read_value(row: Row, value: Any) -> Any:
    value = CONVERSIONS[row.conversion][0](value)
    if row.canonical.startswith("_"):
        return None if value is None else value
    return canonical_value(row.canonical, value)


def table_read(dialect: str, flat: Mapping[str, Any]) -> dict[str, Reading]:
    """Readings by a dialect's own table: exact keys, the first row that says something wins."""
    found: dict[str, Reading] = {}
    foreign = MODEL_CONFIG_KEYS if _holds_model_config(flat) and "packing" not in flat else frozenset()
    for row in rows(dialect):
        if row.canonical in found or row.native not in flat or row.native in foreign:
            continue
        value = _read_value(row, flat[row.native])
        if value is not None:
            found[row.canonical] = Reading(value, row.native)
    return found


def read(dialect: str, flat: Mapping[str, Any]) -> dict[str, Reading]:
    """Canonical readings of a flat config: the dialect's own keys first, then the usual names for what it has no key for.

    Args:
        dialect: name of the table.
        flat: dotted native key to value.

    Returns:
        Canonical name to Reading, in the order of the tables.
    """
    found = table_read(dialect, flat) if dialect != "generic" else {}
    for name, reading in generic_read(flat).items():
        found.setdefault(name, reading)
    return resolve(dialect, found)


BILLION: Final = 1e9
MODEL_SIZE: Final = re.compile(r"(?<![a-z0-9.])(?:(\d{1,2})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")
"""A parameter count in a model's name: ``Llama-3.1-8B``, ``pythia-160m``, ``Mixtral-8x7B``."""


def parameters_from_name(name: str) -> float | None:
    """Number of parameters that a model's name states, None if it states none (or several)."""
    text = name.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].lower().replace("_", "-")
    sizes = [
        float(times or 1) * float(number) * (BILLION if unit == "b" else BILLION / 1000) for times, number, unit in MODEL_SIZE.findall(text)
    ]
    return sizes[0] if len(sizes) == 1 else None


def resolve(dialect: str, found: dict[str, Reading]) -> dict[str, Reading]:
    """Turn the readings with a leading underscore into canonical ones and drop what another value switches off."""
    extra = {name: found.pop(name) for name in [name for name in found if name.startswith("_")]}

    def flag(name: str) -> bool:
        return name in extra and as_bool(extra[name].value) is True

    def put(name: str, value: Any, key: str, note: str = "") -> None:
        if value is not None:
            found.setdefault(name, Reading(value, key, note))

    _resolve_precision(found, extra, put)
    if (steps := found.get("warmup_steps")) is not None and 0 < steps.value < 1:
        found["warmup_ratio"] = found.pop("warmup_steps")
    if "warmup_steps" in found and (ratio := found.get("warmup_ratio")) is not None:
        # Where both are set the count wins, unless it is the default 0.
        del found["warmup_ratio" if found["warmup_steps"].value > 0 or ratio.value == 0 else "warmup_steps"]
    if (ratio := extra.get("_min_lr_ratio")) is not None and (rate := found.get("learning_rate")) is not None:
        share = as_float(ratio.value)
        put("min_lr", None if share is None else share * rate.value, ratio.key)
    if (
        (warmup := extra.get("_warmup_epochs")) is not None
        and (epochs := found.get("num_epochs")) is not None
        and "warmup_steps" not in found
    ):
        length = as_float(warmup.value)
        put("warmup_ratio", None if length is None or length < 0 else min(1.0, length / epochs.value), warmup.key)
    for strategy, steps_name in (("_eval_strategy", "eval_steps"), ("_save_strategy", "save_steps")):
        if strategy in extra and str(extra[strategy].value).rsplit(".", 1)[-1].lower() != "steps":
            found.pop(steps_name, None)
    if "_val_check_interval" in extra:
        put(
            "eval_steps",
            as_int(extra["_val_check_interval"].value) if not isinstance(extra["_val_check_interval"].value, float) else None,
            extra["_val_check_interval"].key,
        )
    if "_cosine" in extra:
        put("lr_scheduler", "cosine" if flag("_cosine") else "linear", extra["_cosine"].key)
    if "_decay_lr" in extra:
        put("lr_scheduler", "cosine" if flag("_decay_lr") else "constant", extra["_decay_lr"].key)
    if (bits := extra.get("_quantization_bit")) is not None and (number := as_int(bits.value)) in (4, 8):
        put(f"load_in_{number}bit", True, bits.key)
    if (quantize := extra.get("_quantize")) is not None and not is_missing(quantize.value):
        put("load_in_8bit" if "int8" in str(quantize.value) else "load_in_4bit", True, quantize.key)
    if (pack := extra.get("_pack_size")) is not None and (size := as_int(pack.value)) is not None:
        put("packing", size > 0, pack.key)
    if flag("_all_linear"):
        put("lora_target_modules", "all-linear", extra["_all_linear"].key)
    if dialect in {"hf", "llamafactory"} and "max_steps" in found:
        # The Trainer ignores num_train_epochs then, and a dump still shows its default.
        found.pop("num_epochs", None)
    _resolve_method(dialect, found, extra, put)
    if (model := extra.get("_model_name")) is not None and "model_parameters" not in found and isinstance(model.value, str):
        put("model_parameters", parameters_from_name(model.value), model.key, f"the model's name, {model.key}")
    return found


def _resolve_precision(found: dict[str, Reading], extra: Mapping[str, Reading], put: Any) -> None:
    switches = [(name, extra[name]) for name in ("_bf16", "_fp16", "_amp") if name in extra]
    for name, reading in switches:
        if as_bool(reading.value) is True or str(reading.value).lower() in {"full", "fp16", "bf16"}:
            # torch's autocast takes fp16 unless told otherwise, so a bare "amp" means fp16.
            found["precision"] = Reading({"_bf16": "bf16", "_fp16": "fp16", "_amp": "fp16"}[name], reading.key)
            return
    if switches and "precision" not in found and all(as_bool(reading.value) is False for _, reading in switches):
        put("precision", "fp32", switches[0][1].key)


def _starts_from(dialect: str, key: str) -> bool:
    """Whether a key names the weights that a training starts from; in configs of no known framework it may name a shape only."""
    leaf = key.rsplit(".", 1)[-1]
    return leaf == "pretrained_model_name_or_path" or (
        dialect in FINE_TUNING and leaf in {"model_name_or_path", "base_model", "model_path"}
    )


FINE_TUNING: Final = frozenset({"hf", "axolotl", "llamafactory", "training_hub"})
PRETRAINED: Final = "from_pretrained"
FROM_SCRATCH: Final = "from_config"
OTHER_ADAPTERS: Final = frozenset({"oft", "boft", "llama-adapter", "ia3", "vera", "loha", "lokr", "prompt", "prefix"})
"""Adapters of which the guides say nothing: neither LoRA nor a training of all weights."""


def _resolve_method(dialect: str, found: dict[str, Reading], extra: Mapping[str, Reading], put: Any) -> None:
    """``method`` from what the config adapts: adapters, a rank ratio, pretrained weights, or nothing at all."""
    if "method" in found:
        return
    quantized = found.get("load_in_4bit")
    four_bit = quantized is not None and quantized.value is True
    named = extra.get("_method")
    word = str(named.value).strip().lower() if named is not None else ""
    adapter = found.get("lora_rank") or found.get("lora_target_modules") or found.get("lora_alpha")
    if "unfreeze_rank_ratio" in found:
        put("method", "osft", found["unfreeze_rank_ratio"].key)
    elif word in {"full", "freeze", "sft"} and named is not None:
        put("method", "sft", named.key)
    elif word in OTHER_ADAPTERS:
        return
    elif word in {"lora", "qlora", "dora"} and named is not None:
        put("method", "qlora" if four_bit or word == "qlora" else "lora", named.key)
    elif adapter is not None:
        put("method", "qlora" if four_bit else "lora", adapter.key)
    else:
        model, target = extra.get("_model_name"), str(extra["_model_target"].value) if "_model_target" in extra else ""
        named_model = model is not None and isinstance(model.value, str) and not is_missing(model.value)
        if FROM_SCRATCH in target:
            put("method", "pretraining", extra["_model_target"].key)
        elif named_model and model is not None and (PRETRAINED in target or (not target and _starts_from(dialect, model.key))):
            put("method", "sft", model.key)
