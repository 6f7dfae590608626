"""The key tables of NeMo AutoModel and Training Hub: sound in themselves, and they know every key of the sample configs."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from diag.dialects.table import DETECTION_SCORE, Row, documented, rows, scores
from diag.dialects.values import as_float

SAMPLES = Path(__file__).parents[1] / "data" / "configs"
DIALECTS = ("automodel", "training_hub")
TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "number": (int, float),
    "bool": bool,
    "str": str,
    "list": list,
    "dict": dict,
}
FUNCTIONS = {"sft", "osft", "lora_sft", "lora_grpo", "grpo", "embedding_sft", "gepa"}
LOG_ONLY = "log"
"""Scope of keys that Training Hub's logs have and no function takes."""

YAML_FILES = [pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}") for path in sorted(SAMPLES.glob("*/*.yaml"))]
YAML_FILES = [parameter for parameter in YAML_FILES if parameter.values[0] in DIALECTS]


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; items of a list of mappings by their index."""
    if isinstance(node, dict) and (node or not prefix):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for index, item in enumerate(node):
            yield from leaves(item, f"{prefix}.{index}")
    else:
        yield prefix, node


@cache
def patterns(dialect: str) -> list[tuple[re.Pattern[str], Row]]:
    """Every row as a pattern, exact ones before those with wildcards, the more telling wildcard first."""
    words = {"**": r".+", "*": r"[^.]+"}
    ordered = sorted(documented(dialect), key=lambda row: (row.native.count("*"), -len(row.native)))
    return [(re.compile(r"\.".join(words.get(part, re.escape(part)) for part in row.native.split("."))), row) for row in ordered]


def known(dialect: str, key: str, scope: str = "") -> Row | None:
    """The row of a key, None where there is none (for the scope)."""
    fitting = (row for pattern, row in patterns(dialect) if pattern.fullmatch(key))
    return next((row for row in fitting if not scope or not row.scope or scope in row.scope.split()), None)


def agrees(row: Row, value: Any) -> bool:
    if value is None or not row.type or (isinstance(value, str) and value.lower() == "none"):
        return True
    for name in row.type.split("|"):
        kind = TYPES[name]
        if isinstance(value, bool):
            if name == "bool":
                return True
        elif isinstance(value, kind) or (name == "float" and isinstance(value, str) and as_float(value) is not None):
            return True  # YAML 1.1 reads 1e-5 as text; both frameworks make it a number
    return False


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_are_sound(dialect: str) -> None:
    version = re.compile(r"\d+(\.\d+)*")
    for row in documented(dialect):
        assert row.native and row.native == row.native.strip()
        assert set(row.type.split("|")) <= {*TYPES, ""}, row
        for stated in (row.since, row.until):
            assert not stated or version.fullmatch(stated), row
        if row.values and row.default:
            assert row.default in row.values.split("|"), row
        if row.default and not row.values and row.type in ("int", "float"):
            assert as_float(row.default) is not None, row
        if row.default and row.type == "bool":
            assert row.default in ("true", "false"), row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_key_has_one_row_for_each_scope(dialect: str) -> None:
    counted = Counter((row.native, scope) for row in documented(dialect) for scope in row.scope.split() or [""])
    assert [pair for pair, number in counted.items() if number > 1] == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_key_that_took_a_place_is_known_itself(dialect: str) -> None:
    for row in documented(dialect):
        if row.instead:
            successor = known(dialect, row.instead)
            section = any(other.native.startswith(f"{row.instead}.") for other in documented(dialect))
            assert section or (successor is not None and not successor.until), row


def test_every_key_of_training_hub_says_which_functions_take_it() -> None:
    for row in documented("training_hub"):
        assert row.scope and set(row.scope.split()) <= {*FUNCTIONS, LOG_ONLY}, row


def test_training_hub_states_no_default_that_only_one_function_has() -> None:
    """What ``defaults`` reads for every run may not depend on the function that was called."""
    assert [row.native for row in rows("training_hub") if row.default] == []


def test_automodel_states_no_default_of_a_section_that_a_run_may_not_have() -> None:
    """Without a ``peft`` section there is no adapter, whatever rank its class would take."""
    assert [row.native for row in rows("automodel") if row.default and row.native.startswith(("peft.", "quantization."))] == []


@pytest.mark.parametrize(("dialect", "path"), YAML_FILES)
def test_every_key_of_a_sample_is_documented_with_its_type(dialect: str, path: Path) -> None:
    for key, value in leaves(yaml.safe_load(path.read_text())):
        row = known(dialect, key)
        assert row is not None, f"{path.name}: {key} is not in the table"
        assert row.until != "0", f"{path.name}: {key} never was a key"
        assert agrees(row, value), f"{path.name}: {key}: {value!r} is not {row.type}"
        if row.values and isinstance(value, str):
            assert value in row.values.split("|"), f"{path.name}: {key}: {value!r} is not one of {row.values}"


@pytest.mark.parametrize(("dialect", "path"), [p for p in YAML_FILES if not str(p.values[1]).split("/")[-1].startswith("fragment")])
def test_a_whole_sample_scores_highest_for_its_own_framework(dialect: str, path: Path) -> None:
    found = scores(dict(leaves(yaml.safe_load(path.read_text()))))
    assert found[dialect] >= DETECTION_SCORE
    assert all(score < found[dialect] for other, score in found.items() if other != dialect), found


@pytest.mark.parametrize("path", sorted((SAMPLES / "training_hub").glob("*.py")), ids=lambda path: path.stem)
def test_every_keyword_of_a_sample_call_is_taken_by_the_function(path: Path) -> None:
    tree = ast.parse(path.read_text())
    renamed = {
        alias.asname or alias.name: alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = 0
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else renamed.get(getattr(call.func, "id", ""), "")
        if name not in FUNCTIONS:
            continue
        found += 1
        for keyword in call.keywords:
            if keyword.arg is None:
                continue
            row = known("training_hub", keyword.arg, name)
            assert row is not None and row.until != "0", f"{path.name}: {name} takes no {keyword.arg}"
            if isinstance(keyword.value, ast.Constant):
                assert agrees(row, keyword.value.value), f"{path.name}: {keyword.arg}={keyword.value.value!r}"
    assert found, "the sample calls none of the functions"


def commands(path: Path) -> Iterator[list[str]]:
    for line in path.read_text().replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] in ("thub", "automodel", "torchrun"):
            yield words


def test_flags_of_the_sample_scripts_are_known() -> None:
    checked = 0
    for words in [words for name in DIALECTS for path in sorted((SAMPLES / name).glob("*.sh")) for words in commands(path)]:
        dialect, scope = ("training_hub", words[1].replace("-", "_")) if words[0] == "thub" else ("automodel", "")
        for word in words:
            key = word.removeprefix("--").split("=")[0]
            if not word.startswith("--") or key == "config" or (dialect == "automodel" and key == "nproc-per-node"):
                continue
            row = known(dialect, key.replace("-", "_") if dialect == "training_hub" else key, scope)
            assert row is not None and row.cli != "-", f"{word} of {words[:2]}"
            checked += 1
    assert checked > 25


@pytest.mark.parametrize(
    ("misspelt", "dialect"),
    [
        ("step_scheduler.global_batchsize", "automodel"),
        ("lr_scheduler.min_learning_rate", "automodel"),
        ("clip_grad_norm.norm", "automodel"),
        ("packed_sequence.size", "automodel"),
        ("optimizer.weight_deacy", "automodel"),
        ("checkpoint.dir", "automodel"),
        ("stepscheduler.num_epochs", "automodel"),
        ("lerning_rate", "training_hub"),
        ("max_token_per_gpu", "training_hub"),
    ],
)
def test_a_misspelt_key_is_not_taken_for_a_documented_one(misspelt: str, dialect: str) -> None:
    assert known(dialect, misspelt) is None


@pytest.mark.parametrize(
    ("key", "function", "command_line"),
    [
        ("learning_rate", "sft", True),
        ("random_seed", "sft", False),
        ("seed", "sft", None),
        ("seed", "osft", True),
        ("seed", "lora_sft", False),
        ("weight_decay", "osft", True),
        ("weight_decay", "lora_sft", False),
        ("max_grad_norm", "osft", None),
        ("unfreeze_rank_ratio", "lora_sft", None),
        ("eval_data_path", "lora_sft", False),
        ("warmup_ratio", "sft", None),
    ],
)
def test_which_function_takes_a_key_and_whether_its_command_line_does(key: str, function: str, command_line: bool | None) -> None:
    row = known("training_hub", key, function)
    assert (None if row is None else row.cli != "-") is command_line


def test_optimizers_of_torch_are_documented() -> None:
    import torch

    for name in ("Adam", "AdamW", "SGD", "NAdam", "RMSprop"):
        for argument in [*inspect.signature(getattr(torch.optim, name)).parameters][1:]:
            assert known("automodel", f"optimizer.{argument}") is not None, (name, argument)
