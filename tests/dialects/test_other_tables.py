"""The tables of torchtune, DeepSpeed, Lightning, litgpt, Megatron, nanoGPT and Ultralytics: well-formed, and complete for real configs."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from diag import dialects
from diag.config_files import load
from diag.dialects import detect, recognition
from diag.dialects.table import CONVERSIONS, DETECTION_SCORE, Row, documented, rows, scores
from diag.dialects.values import canonical_value
from diag.vocabulary import HYPERPARAMETERS

DIALECTS: Final = ("torchtune", "deepspeed", "lightning", "litgpt", "megatron", "nanogpt", "ultralytics")
CONFIGS: Final = Path(__file__).parents[1] / "data" / "configs"
SAMPLES: Final = sorted(path for dialect in DIALECTS for path in (CONFIGS / dialect).iterdir() if path.is_file())
FILES: Final = [path for path in SAMPLES if path.suffix in {".yaml", ".json"}]
SCRIPTS: Final = [path for path in SAMPLES if path.suffix == ".sh"]

KINDS: Final[dict[str, tuple[type, ...]]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "number": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}
VERSION: Final = re.compile(r"\d+\.\d+\.\d+")

LEAST_SAMPLES: Final = {"torchtune": 12, "deepspeed": 12, "lightning": 12, "litgpt": 12, "megatron": 3, "nanogpt": 3, "ultralytics": 3}

LEAST_KEYS: Final = {
    "torchtune": 250,
    "deepspeed": 500,
    "lightning": 250,
    "litgpt": 150,
    "megatron": 200,
    "nanogpt": 35,
    "ultralytics": 100,
}
"""Sizes below which a table has lost keys: the frameworks document at least this many."""

MISTAKES: Final = {
    ("torchtune", "lora_with_mistakes.yaml"): {"dtype"},
}
"""Keys whose value is no word of the enumeration, on purpose."""


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def matches(native: str, key: str) -> bool:
    """Whether a row's key is this one: ``*`` for one part, a last ``**`` for anything below."""
    wanted, parts = native.split("."), key.split(".")
    if wanted[-1] == "**":
        return len(parts) >= len(wanted) and all(w in ("*", p) for w, p in zip(wanted[:-1], parts, strict=False))
    return len(parts) == len(wanted) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=True))


def row_of(dialect: str, key: str) -> Row | None:
    """The row of a key, exact ones before patterns and these before open sections."""
    found = [row for row in documented(dialect) if matches(row.native, key)]
    return min(found, key=lambda row: (row.native.endswith("**"), "*" in row.native), default=None)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key of every scalar, empty section and list of scalars; items of lists of mappings by their index."""
    nested = value
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        nested = dict(enumerate(value))
    if isinstance(nested, dict) and nested:
        for key, item in nested.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def content(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    data = json.loads(text) if path.suffix == ".json" else YAML(typ="safe").load(text)
    assert isinstance(data, dict)
    return data


def arguments(path: Path) -> list[str]:
    """Arguments of the commands of a script."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [word for line in text.splitlines() for word in shlex.split(re.sub(r"[()]", " ", line.replace('"', " ")), comments=True)]


def assignments(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)]


def admits(row: Row, value: Any) -> bool:
    """Whether a value is of the row's type and, where it is a word of an enumeration, one of its words."""
    if value is None or not row.type:
        return True
    kinds = row.type.split("|")
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, str) and re.fullmatch(r"-?\d+(?:\.\d+)?e[-+]?\d+", value):
        value = float(value)  # written as YAML 1.1 reads text; all of these frameworks read a number
    if isinstance(value, float) and value.is_integer() and "int" in kinds:
        return True
    if not any(isinstance(value, KINDS[kind]) for kind in kinds):
        return False
    return not row.values or isinstance(value, (list, dict)) or str(value) in row.values.split("|")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_is_well_formed(dialect: str) -> None:
    table = documented(dialect)
    natives = [row.native for row in table]
    assert len(natives) == len(set(natives)) >= LEAST_KEYS[dialect]
    for row in table:
        parts = row.native.split(".")
        assert all(parts) and "**" not in parts[:-1], row
        assert row.conversion in CONVERSIONS, row
        assert set(row.type.split("|")) <= {*KINDS, ""}, row
        assert all(word == word.strip() and word for word in row.values.split("|")) or not row.values, row
        assert all(not version or VERSION.fullmatch(version) for version in (row.since, row.until)), row
        if row.default and row.values and row.type == "str" and not row.canonical:
            assert row.default in row.values.split("|"), row
        if row.instead:
            assert row_of(dialect, row.instead) is not None, row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_canonical_rows_name_hyperparameters_and_read_their_defaults(dialect: str) -> None:
    for row in rows(dialect):
        assert row.canonical.startswith("_") or row.canonical in HYPERPARAMETERS, row
        if row.default and not row.canonical.startswith("_"):
            assert canonical_value(row.canonical, row.default) is not None, row


def test_there_are_enough_samples_of_each() -> None:
    for dialect, least in LEAST_SAMPLES.items():
        assert len([path for path in SAMPLES if path.parent.name == dialect]) >= least, dialect


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_key_of_a_config_is_documented_and_its_value_admitted(path: Path) -> None:
    dialect = path.parent.name
    wrong = set()
    for key, value in leaves(content(path)):
        row = row_of(dialect, key)
        assert row is not None, f"{key} is not in {dialect}.tsv"
        if not admits(row, value):
            wrong.add(key)
    assert wrong == MISTAKES.get((dialect, path.name), set())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_config_is_recognized_as_its_own_framework_s(path: Path) -> None:
    dialect = path.parent.name
    flat, _, problem = load(path)
    found = scores(flat)
    assert not problem
    assert found[dialect] >= DETECTION_SCORE
    assert all(score < found[dialect] for other, score in found.items() if other != dialect)
    assert detect(flat) == dialect


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_every_argument_of_a_script_is_documented(path: Path) -> None:
    dialect = path.parent.name
    if dialect == "torchtune":
        keys = [word.split("=", 1)[0] for word in arguments(path) if re.match(r"[a-z][\w.]*=", word)]
    elif dialect == "megatron":
        flags = {row.cli: row.native for row in documented(dialect)}
        launcher = {"--nproc_per_node", "--nnodes", "--master_addr", "--master_port"}
        written = [word for word in arguments(path) if word.startswith("--") and word not in launcher]
        assert [flag for flag in written if flag not in flags] == []
        keys = [flags[flag] for flag in written]
    else:
        launcher = {"config"}
        written = [word[2:].split("=", 1)[0].rstrip("+") for word in arguments(path) if word.startswith("--")]
        keys = [key for key in written if key not in launcher]
    assert len(keys) >= 10
    assert [key for key in keys if row_of(dialect, key) is None] == []


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.suffix == ".py"], ids=name)
def test_every_assignment_of_a_nanogpt_config_is_documented(path: Path) -> None:
    keys = assignments(path)
    assert len(keys) >= 10
    assert [key for key in keys if row_of("nanogpt", key) is None] == []


@cache
def parameters(module: str, owner: str) -> dict[str, Any]:
    """Parameters of a class of the installed Lightning and their defaults, read from its source: importing it takes seconds."""
    spec = find_spec("lightning")
    if spec is None or spec.origin is None:
        pytest.skip("lightning is not installed")
    tree = ast.parse(Path(spec.origin).with_name("pytorch").joinpath(module).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
    given = next(node.args for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    names = given.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(names) - len(given.defaults)) + list(given.defaults)
    found = dict(zip(names, defaults, strict=True)) | dict(zip(given.kwonlyargs, given.kw_defaults, strict=True))
    return {item.arg: literal(default) for item, default in found.items()}


def literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def plain(default: Any) -> str:
    """A default as the tables write it."""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_lightning_s_table_agrees_with_the_installed_trainer() -> None:
    trainer = parameters("trainer/trainer.py", "Trainer")
    table = {row.native.removeprefix("trainer."): row for row in documented("lightning") if re.fullmatch(r"trainer\.\w+", row.native)}
    current = {key: row for key, row in table.items() if not row.until}
    assert set(current) == set(trainer)
    for key, row in current.items():
        if not row.default:
            assert row.canonical or trainer[key] is None, row
        elif row.canonical:
            # None is how the Trainer says 32-true and no clipping.
            stated = {"precision": "32-true", "gradient_clip_val": 0.0}.get(key, trainer[key])
            assert canonical_value(row.canonical, row.default) == canonical_value(row.canonical, stated), row
        else:
            assert row.default == plain(trainer[key]), row


@pytest.mark.parametrize(
    ("module", "callback"),
    [
        ("early_stopping.py", "EarlyStopping"),
        ("model_checkpoint.py", "ModelCheckpoint"),
        ("lr_monitor.py", "LearningRateMonitor"),
        ("stochastic_weight_avg.py", "StochasticWeightAveraging"),
        ("lr_finder.py", "LearningRateFinder"),
    ],
)
def test_arguments_of_lightning_s_callbacks_are_those_of_the_classes_in_their_scope(module: str, callback: str) -> None:
    known = parameters(f"callbacks/{module}", callback)
    prefix = "trainer.callbacks.*.init_args."
    table = {row.native.removeprefix(prefix): row for row in documented("lightning") if row.native.startswith(prefix)}
    scoped = {key: row for key, row in table.items() if callback in row.scope.split()}
    unscoped = {key for key, row in table.items() if not row.scope} | {"avg_fn", "device"}  # the two that no file can hold
    assert set(scoped) <= set(known) <= set(scoped) | unscoped
    assert all(row.default == plain(known[key]) for key, row in scoped.items() if row.default)


def test_litgpt_s_refusals_are_scopes() -> None:
    table = {row.native: row for row in documented("litgpt")}
    for key in ("train.max_norm", "train.lr_warmup_fraction", "train.max_tokens", "train.tie_embeddings"):
        assert table[key].scope.split() == ["pretrain"]
    for key in ("train.epochs", "eval.max_new_tokens"):
        assert "pretrain" not in table[key].scope.split() and "finetune_lora" in table[key].scope.split()


@pytest.mark.parametrize("key", ["elasticity.enabled", "curriculum_learning.enabled", "compression_training.weight_quantization"])
def test_what_deepspeed_removed_is_said_to_be_removed(key: str) -> None:
    row = row_of("deepspeed", key)
    assert row is not None and row.until.startswith("0.19.")


def test_a_table_is_enough_for_a_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "DIALECTS", (*recognition.DIALECTS, "a-table"))
    assert dialects.load("a-table").name == "a-table"
