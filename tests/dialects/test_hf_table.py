"""The tables of Hugging Face against the installed libraries, and configs as users write them against the tables."""

from __future__ import annotations

import ast
import dataclasses
import enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from diag.dialects.recognition import detect, row
from diag.dialects.table import Row, documented, scores
from diag.documents import read

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
COLUMN_TYPES = {"int", "float", "number", "bool", "str", "list", "dict"}
OTHER_FRAMEWORKS = ("axolotl", "llamafactory", "training_hub", "torchtune", "litgpt", "automodel", "deepspeed", "lightning")


def rows_by_key(table: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for entry in documented(table):
        found.setdefault(entry.native, []).append(entry)
    return found


def plain(default: Any) -> str:
    """A default as the tables write it."""
    value = default.value if isinstance(default, enum.Enum) else default
    if value is None or value == "" or isinstance(value, (dict, list)) or dataclasses.is_dataclass(value):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def kinds(hint: Any) -> set[str]:
    """Names of the types that an annotation admits and a file can hold; enumerations are given as words."""
    if get_args(hint) and get_origin(hint) not in (list, dict, tuple):
        found: set[str] = set()
        for part in get_args(hint):
            found |= kinds(part) if isinstance(part, type) or get_origin(part) else {type(part).__name__}
        return found & COLUMN_TYPES
    kind = get_origin(hint) or hint
    if dataclasses.is_dataclass(kind):
        return {"dict"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"str"}
    return {kind.__name__} & COLUMN_TYPES


def fields_of(owner: Any) -> list[tuple[str, str, set[str]]]:
    """Name, default as written in a table, and types of every field of a dataclass."""
    hints = get_type_hints(owner)
    found = []
    for item in dataclasses.fields(owner):
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        found.append((item.name, plain(None if default is dataclasses.MISSING else default), kinds(hints[item.name])))
    return found


def assert_documented(table: str, owner: Any, conflicting: frozenset[str] = frozenset()) -> None:
    known = rows_by_key(table)
    missing = [name for name, _, _ in fields_of(owner) if name not in known]
    assert not missing
    for name, default, types in fields_of(owner):
        entry = known[name][0]
        admitted = set(entry.type.split("|"))
        assert types <= admitted or (types - admitted == {"int"} and "float" in admitted), (name, types, entry.type)
        assert not entry.until, name
        if name not in conflicting and (entry.default or not entry.canonical):
            same = entry.default == default or float(entry.default) == float(default)
            assert same, (name, default, entry.default)


def test_every_training_argument_is_documented() -> None:
    from transformers import Seq2SeqTrainingArguments

    assert_documented("hf", Seq2SeqTrainingArguments)


def test_every_lora_setting_is_documented() -> None:
    from peft import LoraConfig

    # PEFT fills in the type of the adapter itself.
    assert_documented("peft", LoraConfig, frozenset({"peft_type"}))


@pytest.mark.parametrize("name", ["AdaLoraConfig", "IA3Config", "PrefixTuningConfig", "PromptTuningConfig", "LoHaConfig", "OFTConfig"])
def test_other_adapters_are_documented(name: str) -> None:
    import peft

    known = rows_by_key("peft")
    shared = {item.name for item in dataclasses.fields(peft.PeftConfig)}
    for item in dataclasses.fields(getattr(peft, name)):
        (entry,) = known[item.name]
        assert item.name in shared or name in entry.scope.split()


def test_quantization_settings_are_documented_flat_and_in_sections() -> None:
    import inspect

    from transformers import BitsAndBytesConfig

    known = rows_by_key("hf")
    for name, parameter in inspect.signature(BitsAndBytesConfig).parameters.items():
        if name == "kwargs":
            continue
        assert name in known
        for section in ("bnb_config", "quantization_config"):
            (entry,) = known[f"{section}.{name}"]
            assert entry.default == plain(parameter.default)


@pytest.mark.parametrize(
    ("key", "until", "instead"),
    [
        ("evaluation_strategy", "4.51", "eval_strategy"),
        ("warmup_ratio", "5.15", "warmup_steps"),
        ("group_by_length", "5.2", "train_sampling_strategy"),
        ("per_gpu_train_batch_size", "5.0", "per_device_train_batch_size"),
        ("no_cuda", "5.0", "use_cpu"),
        ("overwrite_output_dir", "5.0", ""),
        ("logging_dir", "5.15", ""),
        ("save_safetensors", "5.0", ""),
        ("fp16_backend", "5.0", ""),
        ("max_seq_length", "0.20", "max_length"),
        ("use_liger", "0.18", "use_liger_kernel"),
    ],
)
def test_removed_keys_say_since_when_and_what_took_their_place(key: str, until: str, instead: str) -> None:
    entry = rows_by_key("hf")[key][0]
    assert (entry.until, entry.instead) == (until, instead)


def test_removed_training_arguments_are_gone_from_the_installed_library() -> None:
    from transformers import TrainingArguments

    installed = {item.name for item in dataclasses.fields(TrainingArguments)}
    removed = [entry for entry in documented("hf") if entry.until and not entry.scope]
    assert len(removed) > 20
    assert not installed & {entry.native for entry in removed}


@pytest.mark.parametrize("table", ["hf", "peft"])
def test_tables_are_well_formed(table: str) -> None:
    known = rows_by_key(table)
    for native, found in known.items():
        scopes = [set(entry.scope.split()) for entry in found]
        # A key has a second entry only where other classes knew it as something else.
        assert len(found) == 1 or (all(scopes) and sum(map(len, scopes)) == len(set.union(*scopes))), native
    for entry in documented(table):
        assert set(entry.type.split("|")) <= COLUMN_TYPES | {""}, entry
        assert not entry.instead or entry.instead in known, entry
        assert entry.cli in ("", "-")
        words = entry.values.split("|") if entry.values else []
        assert len(set(words)) == len(words), entry
        if words and entry.default:
            assert entry.default in words, entry
        if entry.default and entry.type in ("int", "float", "bool"):
            value = ast.literal_eval(entry.default.capitalize() if entry.type == "bool" else entry.default)
            assert type(value).__name__ == entry.type or entry.type == "float", entry
        if entry.since and entry.until:
            assert [int(part) for part in entry.since.split(".")] < [int(part) for part in entry.until.split(".")], entry


def test_keys_of_sections_cannot_be_given_on_a_command_line() -> None:
    for entry in documented("hf"):
        assert "." not in entry.native or entry.cli == "-", entry


CASES = sorted([*CONFIGS.glob("hf/*"), *CONFIGS.glob("peft/*/adapter_config.json")])


def test_there_are_enough_configs() -> None:
    assert sum(path.parent.name == "hf" for path in CASES) >= 12
    assert sum(path.name == "adapter_config.json" for path in CASES) >= 10


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name if path.parent.name == "hf" else path.parent.name)
def test_configs_hold_documented_keys_only(path: Path) -> None:
    table = "hf" if path.parent.name == "hf" else "peft"
    documents = read(path)
    assert documents
    for document in documents:
        assert not document.problems
        assert not [key for key in document.settings if row(table, key) is None]
        assert detect(document.flat()) == table


def test_a_short_trl_config_is_told_from_other_frameworks() -> None:
    keys = ["learning_rate", "max_length", "dataset_name", "model_name_or_path", "use_peft", "lora_r"]
    found = scores(keys)
    assert found["hf"] >= 4
    assert max((found.get(name, 0) for name in OTHER_FRAMEWORKS), default=0) < 4
