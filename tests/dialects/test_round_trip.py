"""What is written in the words of a framework is read back as the same canonical values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from diag.converting import DECAYS
from diag.dialects import load, render
from diag.dialects.base import FACTS, TableDialect
from diag.dialects.draft import Draft, nest, yaml_lines
from diag.dialects.recognition import DIALECTS, read
from diag.dialects.table import equivalents, habits, native_rows, rows, spelled
from diag.documents import YAML, parse
from diag.fixes import Fix
from diag.run import Hyperparameter, Run
from diag.vocabulary import HYPERPARAMETERS

SCOPES = {"training_hub": ("sft", "osft", "lora_sft"), "litgpt": ("finetune_lora", "pretrain")}
"""The commands and functions whose keys differ; "" is all of the others."""

ENTRIES = {"litgpt": "litgpt ", "megatron": "pretrain_gpt.py"}

WORLD = 4

PHASES = (Phase.explicit, Phase.generate)

RATES = st.floats(1e-8, 1.0)
SHARES = st.floats(0.0, 0.99)
COUNTS = st.integers(1, 10**6)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": RATES,
    "lr_scheduler": st.sampled_from(
        ["constant", "linear", "cosine", "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay", "one_cycle", "polynomial"]
    ),
    "warmup_steps": st.integers(0, 500),
    "warmup_ratio": SHARES,
    "num_epochs": st.integers(1, 1000),
    "max_steps": st.integers(501, 10**6),
    "micro_batch_size": st.integers(1, 512),
    "gradient_accumulation_steps": st.integers(1, 512),
    "weight_decay": SHARES,
    "max_grad_norm": st.floats(0.0, 100.0),
    "optimizer": st.sampled_from(["adamw", "adam", "sgd", "adafactor", "adamw_torch_fused", "paged_adamw_8bit", "muon", "lamb"]),
    "dropout": SHARES,
    "lora_rank": st.integers(1, 512),
    "lora_alpha": st.integers(1, 1024),
    "lora_dropout": SHARES,
    "lora_target_modules": st.one_of(
        st.just("all-linear"), st.lists(st.sampled_from(["q_proj", "k_proj", "v_proj", "o_proj"]), min_size=1, unique=True)
    ),
    "use_dora": st.booleans(),
    "load_in_4bit": st.just(True),
    "load_in_8bit": st.just(True),
    "precision": st.sampled_from(["bf16", "fp16", "fp32"]),
    "max_seq_len": COUNTS,
    "packing": st.booleans(),
    "gradient_checkpointing": st.booleans(),
    "eval_steps": COUNTS,
    "save_steps": COUNTS,
    "logging_steps": COUNTS,
    "early_stopping_patience": st.integers(1, 100),
    "load_best_model_at_end": st.booleans(),
    "unfreeze_rank_ratio": st.floats(0.01, 1.0),
    "seed": st.integers(0, 2**31),
    "shuffle": st.booleans(),
}

EXCLUSIVE = (("warmup_ratio", "warmup_steps"), ("num_epochs", "max_steps"), ("load_in_8bit", "load_in_4bit"))
"""Of two the first is left out where both are drawn: they say the same thing, or cannot be together."""


def scoped() -> list[tuple[str, str]]:
    return [(dialect, scope) for dialect in DIALECTS for scope in SCOPES.get(dialect, ("",))]


def flat(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys as they are read from a YAML file that holds them."""
    return flat_config(nest(keys)) if keys else {}


def read_back(dialect: str, scope: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    entry = scope if dialect == "training_hub" else f"litgpt {scope}" if dialect == "litgpt" else ENTRIES.get(dialect, "")
    return {name: reading.value for name, reading in read(dialect, flat(keys), entry).items()}


def written(dialect: str, scope: str, values: Mapping[str, Any]) -> Draft:
    writer = load(dialect)
    assert isinstance(writer, TableDialect)
    return writer.compose(values, scope=scope, length=float(values.get("max_steps", 1000)))


def same(dialect: str, name: str, first: Any, second: Any) -> bool:
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return isinstance(second, (int, float)) and math.isclose(first, second, rel_tol=1e-9)
    if name == "lr_scheduler":
        return bool(DECAYS.get(first, first) == DECAYS.get(second, second))
    if name == "optimizer":
        return bool(spelled(dialect, name, first) == spelled(dialect, name, second)) or first.split("_")[0] == str(second).split("_")[0]
    return bool(first == second)


def check(dialect: str, scope: str, values: Mapping[str, Any]) -> None:
    """Everything comes back that was not refused with a reason."""
    draft, writer = written(dialect, scope, values), load(dialect)
    assert isinstance(writer, TableDialect)
    found = {**habits(dialect, scope), **read_back(dialect, scope, draft.keys)}
    for name, value in values.items():
        if name in draft.reasons or name in draft.rephrased or name in FACTS:
            continue
        if not writer.usable(draft, name) and name in DERIVED:
            continue  # said by the names that follow from it
        if name not in found and (value in (False, 0, 0.0) or name in IMPLIED.get(dialect, ())):
            continue
        assert name in found, (dialect, scope, name, draft.keys)
        assert same(dialect, name, value, found[name]), (dialect, scope, name, value, found[name], draft.keys)


DERIVED = ("global_batch_size", "gradient_accumulation_steps", "micro_batch_size", "warmup_ratio", "warmup_steps", "max_steps")
"""Hyperparameters that others amount to: a batch has two sizes of three, a warmup one of two."""

IMPLIED = {
    # sizes that follow from the two others, or that the function chooses
    "training_hub": (
        "global_batch_size",
        "micro_batch_size",
        "gradient_accumulation_steps",
    ),
    "automodel": ("lr_scheduler", "packing", "gradient_accumulation_steps"),
    "lightning": ("lr_scheduler",),
    "megatron": ("precision", "gradient_accumulation_steps"),
    "litgpt": ("gradient_accumulation_steps", "lr_scheduler"),
    "torchtune": ("lr_scheduler",),
    "nanogpt": ("lr_scheduler", "optimizer"),
}
"""What a framework does without being told, or works out from other keys."""


@pytest.mark.parametrize(("dialect", "scope"), scoped())
@pytest.mark.parametrize("name", VALUES)
def test_every_hyperparameter_comes_back_by_itself(dialect: str, scope: str, name: str) -> None:
    writer = load(dialect)
    assert isinstance(writer, TableDialect)
    blank = Draft(dialect, Run("", "", "config", {}), (), scope)
    if not writer.usable(blank, name):
        return

    @settings(max_examples=12, deadline=None, derandomize=True, phases=PHASES)
    @given(value=VALUES[name])
    def property_(value: Any) -> None:
        check(dialect, scope, {name: value})

    property_()


@pytest.mark.parametrize(("dialect", "scope"), scoped())
def test_many_hyperparameters_come_back_together(dialect: str, scope: str) -> None:
    @settings(max_examples=30, deadline=None, derandomize=True, phases=PHASES)
    @given(
        values=st.fixed_dictionaries(
            {"learning_rate": RATES}, optional={name: drawn for name, drawn in VALUES.items() if name != "learning_rate"}
        )
    )
    def property_(values: dict[str, Any]) -> None:
        for first, second in EXCLUSIVE:
            if {first, second} <= values.keys():
                del values[first]
        if "lora_rank" not in values:
            values = {name: value for name, value in values.items() if not name.startswith(("lora_", "use_dora"))}
        if {"micro_batch_size", "gradient_accumulation_steps"} <= values.keys():
            values["global_batch_size"] = values["micro_batch_size"] * values["gradient_accumulation_steps"] * WORLD
            values["world_size"] = WORLD
        if str(values.get("lr_scheduler", "constant")).startswith("constant"):
            values.pop("min_lr", None)
        check(dialect, scope, values)

    property_()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", VALUES)
def test_a_fix_is_written_in_words_that_are_read_back(dialect: str, name: str) -> None:
    """On a run whose config is unknown: as keys, as code, or as a remark, but never as something else."""

    @settings(max_examples=6, deadline=None, derandomize=True, phases=PHASES)
    @given(value=VALUES[name])
    def property_(value: Any) -> None:
        run = Run("run", "run", "csv", {}, dialect=dialect)
        found = render(dialect, run, [Fix(name, None, value, None, 1, "ABC001", f"Change {name}.")])
        if not found.config:
            nothing_to_say = value is False or name in IMPLIED.get(dialect, ())
            assert found.code or found.notes or nothing_to_say
            return
        if found.notes:
            return  # the remark says what is different
        again = {key: reading.value for key, reading in read(dialect, flat_config(found.config)).items()}
        if name in again:
            assert same(dialect, name, value, again[name]), found.config

    property_()


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    text = "".join(f"{line}\n" for line in yaml_lines(config))
    return parse(text, name="config.yaml", form=YAML)[0].flat()


def test_every_built_in_dialect_writes_by_its_own_table() -> None:
    for dialect in DIALECTS:
        writer = load(dialect)
        assert writer.name == dialect
        assert isinstance(writer, TableDialect)
        assert rows(dialect)


@pytest.mark.parametrize(
    ("dialect", "name", "value", "config"),
    [
        (
            "torchtune",
            "lr_scheduler",
            "cosine",
            {"lr_scheduler": {"_component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"}},
        ),
        ("torchtune", "optimizer", "adamw", {"optimizer": {"_component_": "torch.optim.AdamW"}}),
        ("deepspeed", "lr_scheduler", "cosine", {"scheduler": {"type": "WarmupCosineLR"}}),
        ("deepspeed", "optimizer", "adamw", {"optimizer": {"type": "AdamW"}}),
        ("lightning", "precision", "bf16", {"trainer": {"precision": "bf16-mixed"}}),
        ("litgpt", "precision", "bf16", {"precision": "bf16-true"}),
        ("litgpt", "load_in_4bit", True, {"quantize": "bnb.nf4"}),
        ("axolotl", "precision", "bf16", {"bf16": True}),
        ("axolotl", "lora_target_modules", "all-linear", {"lora_target_linear": True}),
        ("llamafactory", "load_in_4bit", True, {"quantization_bit": 4}),
        ("llamafactory", "gradient_checkpointing", True, {"disable_gradient_checkpointing": False}),
        ("llamafactory", "lora_target_modules", ["q_proj", "v_proj"], {"lora_target": "q_proj,v_proj"}),
        ("automodel", "lora_target_modules", ["q_proj"], {"peft": {"target_modules": ["*.q_proj"]}}),
        ("automodel", "precision", "bf16", {"model": {"torch_dtype": "bfloat16"}}),
        ("megatron", "lr_scheduler", "inverse_sqrt", {"lr_decay_style": "inverse-square-root"}),
        ("nanogpt", "precision", "bf16", {"dtype": "bfloat16"}),
        ("ultralytics", "optimizer", "adamw", {"optimizer": "AdamW"}),
        ("peft", "lora_rank", 16, {"r": 16}),
    ],
)
def test_words_of_each_framework(dialect: str, name: str, value: Any, config: dict[str, Any]) -> None:
    run = Run("run", "run", "csv", {}, dialect=dialect)
    assert render(dialect, run, [Fix(name, None, value, None, 1, "ABC001", "Change it.")]).config == config


@pytest.mark.parametrize("dialect", DIALECTS)
def test_keys_with_equivalents_are_documented(dialect: str) -> None:
    from diag.dialects.recognition import row

    for meaning, key in equivalents(dialect).items():
        parent, _, leaf = key.rpartition(".")
        assert row(dialect, parent if leaf.isdecimal() else key) is not None, (meaning, key)
    for name in habits(dialect, "sft"):
        assert name in HYPERPARAMETERS


@pytest.mark.parametrize("dialect", ["peft", "deepspeed"])
def test_files_without_a_command_line_take_no_arguments(dialect: str) -> None:
    run = Run("run", "run", "csv", {}, dialect=dialect)
    name = next(row.canonical for row in rows(dialect) if native_rows(dialect, row.canonical))
    assert render(dialect, run, [Fix(name, None, 8, None, 1, "ABC001", "Change it.")]).arguments == []


@pytest.mark.parametrize(
    ("dialect", "arguments"),
    [
        ("hf", ["--learning_rate", "0.001"]),
        ("automodel", ["--optimizer.lr", "0.001"]),
        ("training_hub", ["--learning-rate", "0.001"]),
        ("axolotl", ["--learning-rate", "0.001"]),
        ("llamafactory", ["learning_rate=0.001"]),
        ("torchtune", ["optimizer.lr=0.001"]),
        ("lightning", ["--optimizer.init_args.lr", "0.001"]),
        ("litgpt", ["--optimizer.init_args.lr", "0.001"]),
        ("megatron", ["--lr", "0.001"]),
        ("nanogpt", ["--learning_rate=0.001"]),
        ("deepspeed", []),
    ],
)
def test_arguments_in_the_syntax_of_each_framework(dialect: str, arguments: list[str]) -> None:
    run = Run("run", "run", "csv", {}, dialect=dialect)
    assert render(dialect, run, [Fix("learning_rate", None, 1e-3, None, 1, "ABC001", "Change it.")]).arguments == arguments


@pytest.mark.parametrize(
    ("dialect", "native", "keys"),
    [
        ("hf", {"learning_rate": 1e-3, "lr_scheduler_kwargs": {"min_lr": 1e-4}}, {"learning_rate", "lr_scheduler_kwargs.min_lr"}),
        ("llamafactory", {"learning_rate": 1e-3, "lr_scheduler_kwargs": {"min_lr": 1e-4}}, {"learning_rate", "lr_scheduler_kwargs.min_lr"}),
        ("litgpt", {"optimizer": {"init_args": {"lr": 1e-3}}, "train": {"min_lr": 1e-4}}, {"optimizer.init_args.lr", "train.min_lr"}),
        ("megatron", {"lr": 1e-3, "min_lr": 1e-4}, {"lr", "min_lr"}),
        ("nanogpt", {"learning_rate": 1e-3, "min_lr": 1e-4}, {"learning_rate", "min_lr"}),
        (
            "deepspeed",
            {"optimizer": {"params": {"lr": 1e-3}}, "scheduler": {"params": {"warmup_max_lr": 1e-3}}},
            {"optimizer.params.lr", "scheduler.params.warmup_max_lr"},
        ),
        (
            "automodel",
            {"optimizer": {"lr": 1e-3}, "lr_scheduler": {"max_lr": 1e-3, "init_lr": 1e-4, "min_lr": 1e-4}},
            {"optimizer.lr", "lr_scheduler.max_lr", "lr_scheduler.init_lr", "lr_scheduler.min_lr"},
        ),
    ],
)
def test_a_lower_rate_takes_its_companions_along(dialect: str, native: dict[str, Any], keys: set[str]) -> None:
    known = flat_config(native)
    config = {key: Hyperparameter(value, "file", "config.yaml", 1, key) for key, value in known.items()}
    own = {name: Hyperparameter(reading.value, "file", "config.yaml", 1, reading.key) for name, reading in read(dialect, known).items()}
    run = Run("run", "run", "csv", {}, own, dialect, config=config)
    found = flat_config(render(dialect, run, [Fix("learning_rate", None, 1e-5, None, 1, "ABC001", "Lower it.")]).config)
    floors = {key for key in keys if key.endswith("min_lr")}
    assert found == {**dict.fromkeys(keys - floors, 1e-5), **dict.fromkeys(floors, 1e-6)}  # the lowest rate keeps its ratio


def test_llamafactory_keeps_alpha_where_the_rank_changes() -> None:
    known = {"lora_rank": Hyperparameter(8, "file", "c.yaml", 1, "lora_rank"), "lora_alpha": Hyperparameter(16.0, "inferred")}
    run = Run("run", "run", "csv", {}, known, "llamafactory", config={"lora_rank": known["lora_rank"]})
    found = render("llamafactory", run, [Fix("lora_rank", 8, 16, None, 1, "ABC001", "Raise it.")]).config
    assert found == {"lora_rank": 16, "lora_alpha": 16}
