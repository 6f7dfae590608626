"""The tables of Axolotl and LLaMA-Factory: well-formed, and they know every key of configs as people write them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from diag.config_files import load
from diag.dialects.table import Row, documented, rows, scores

DIALECTS: Final = ("axolotl", "llamafactory")
CONFIGS: Final = Path(__file__).parents[1] / "data" / "configs"
SAMPLES: Final = sorted(path for dialect in DIALECTS for path in (CONFIGS / dialect).iterdir())
FILES: Final = [path for path in SAMPLES if path.suffix != ".sh"]

KINDS: Final = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "number": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}
VERSION: Final = re.compile(r"\d+\.\d+\.\d+")

MISTAKES: Final[dict[str, set[str]]] = {
    "axolotl/wrong-types.yml": {
        "load_in_8bit",
        "lora_r",
        "lora_alpha",
        "datasets",
        "val_set_size",
        "sequence_len",
        "num_epochs",
        "optimizer",
        "lr_scheduler",
        "warmup_steps",
        "gradient_checkpointing",
        "eval_strategy",
    },
    "llamafactory/wrong-types.yaml": {
        "stage",
        "do_train",
        "finetuning_type",
        "lora_rank",
        "lora_alpha",
        "template",
        "cutoff_len",
        "packing",
        "logging_steps",
        "save_strategy",
        "per_device_train_batch_size",
        "learning_rate",
        "lr_scheduler_type",
        "optim",
        "warmup_ratio",
        "bf16",
    },
}
"""Keys whose values are wrong on purpose, by sample: of another type, or no word of the enumeration."""


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def matches(pattern: str, key: str) -> bool:
    """Whether a native key of a table stands for a dotted key: ``*`` for one part, a last ``**`` for one or more."""
    wanted, given = pattern.split("."), key.split(".")
    if wanted[-1] == "**":
        wanted, given = wanted[:-1], given[: len(wanted) - 1] if len(given) >= len(wanted) else given
    return len(wanted) == len(given) and all(want in ("*", part) for want, part in zip(wanted, given, strict=True))


def find(dialect: str, key: str) -> Row | None:
    """The row of a key: its own, or else of the most particular pattern."""
    found = [row for row in documented(dialect) if matches(row.native, key)]
    return min(found, key=lambda row: ("**" in row.native, row.native.count("*")), default=None)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key and its value; items of a list of mappings by index."""
    for part, child in value.items() if isinstance(value, dict) else enumerate(value):
        key = f"{prefix}{part}"
        if isinstance(value, dict):
            yield key, child
        if isinstance(child, dict) or (isinstance(child, list) and any(isinstance(item, dict) for item in child)):
            yield from leaves(child, f"{key}.")


def settings(path: Path) -> dict[str, Any]:
    """Everything a sample sets, by dotted key: of a file, or as ``key=value`` in a launch command."""
    parser = YAML(typ="safe", pure=True)
    if path.suffix != ".sh":
        return dict(leaves(parser.load(path.read_text(encoding="utf-8"))))
    command = path.read_text(encoding="utf-8").split("llamafactory-cli train", 1)[1].replace("\\\n", " ")
    pairs = (word.split("=", 1) for word in shlex.split(command) if "=" in word)
    return {key: parser.load(value) for key, value in pairs}


def agrees(row: Row, value: Any) -> bool:
    """Whether a value is what the row says: null anywhere, else of one of its types and, if a word, one of its words."""
    types = row.type.split("|") if row.type else []
    if value is None or not types:
        return True
    if isinstance(value, bool):
        return "bool" in types
    return any(isinstance(value, KINDS[kind]) for kind in types if kind != "bool") and (
        not isinstance(value, str) or not row.values or value in row.values.split("|")
    )


@pytest.mark.parametrize("dialect", DIALECTS)
class TestTable:
    def test_every_key_stands_once(self, dialect: str) -> None:
        natives = [row.native for row in documented(dialect)]
        assert len(natives) > 400
        assert len(set(natives)) == len(natives)

    def test_the_keys_of_hyperparameters_come_first(self, dialect: str) -> None:
        canonical = rows(dialect)
        assert documented(dialect)[: len(canonical)] == canonical

    def test_cells_hold_what_their_columns_are_for(self, dialect: str) -> None:
        for row in documented(dialect):
            assert re.fullmatch(r"[\w.*]+", row.native), row
            assert set(row.type.split("|")) <= {*KINDS, ""}, row
            assert not row.values or "str" in row.type.split("|"), row
            assert all(not version or VERSION.fullmatch(version) for version in (row.since, row.until)), row
            assert row.instead == "" or find(dialect, row.instead) is not None, row

    def test_defaults_are_values_of_their_own_type(self, dialect: str) -> None:
        parser = YAML(typ="safe", pure=True)
        for row in documented(dialect):
            # Words such as 0.0.0.0 and none are text in the tables' own terms.
            value = parser.load(row.default) if row.default and row.type != "str" else row.default or None
            assert agrees(row, value), row

    def test_a_key_that_went_away_never_replaces_another(self, dialect: str) -> None:
        for row in documented(dialect):
            target = find(dialect, row.instead) if row.instead else None
            assert target is None or not target.until, row


def test_there_are_samples_of_both_frameworks() -> None:
    assert all(sum(path.parent.name == dialect for path in FILES) >= 12 for dialect in DIALECTS)


@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_every_key_of_a_sample_is_documented(path: Path) -> None:
    keys = settings(path)
    assert len(keys) >= 4
    assert [key for key in keys if find(path.parent.name, key) is None] == []


@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_values_are_of_the_documented_types_but_for_deliberate_mistakes(path: Path) -> None:
    rows_of = {key: find(path.parent.name, key) for key in settings(path)}
    wrong = {key for key, value in settings(path).items() if (row := rows_of[key]) is not None and not agrees(row, value)}
    assert wrong == MISTAKES.get(name(path), set())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_sample_is_taken_for_its_own_framework(path: Path) -> None:
    flat, _, problem = load(path)
    assert problem == ""
    found = scores(flat)
    own = found.pop(path.parent.name)
    assert own >= 4
    assert own > max(found.values(), default=0)


def test_the_launch_command_changes_keys_of_the_config_it_names() -> None:
    command = settings(CONFIGS / "llamafactory" / "train.sh")
    assert command["learning_rate"] == pytest.approx(1e-5)
    assert command.keys() <= settings(CONFIGS / "llamafactory" / "sft-lora.yaml").keys()
