from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diag.errors import UsageError
from diag.replay.arms import override
from diag.replay.command_line import CommandLine
from diag.replay.guard import ProbeError
from diag.replay.spelling import Spelling
from diag.replay.trainer import Job
from diag.run import Curve, Hyperparameter, Run

HF = {
    "learning_rate": ("learning_rate", 1e-3),
    "warmup_steps": ("warmup_steps", 10.0),
    "num_epochs": ("num_train_epochs", 3.0),
    "micro_batch_size": ("per_device_train_batch_size", 8),
    "gradient_accumulation_steps": ("gradient_accumulation_steps", 2),
    "global_batch_size": ("", 16),
    "seed": ("seed", 42),
}


def run_of(dialect: str, known: dict[str, tuple[str, Any]]) -> Run:
    hyperparameters = {
        name: Hyperparameter(value, "file", "args.json", key=key) if key else Hyperparameter(value, "inferred")
        for name, (key, value) in known.items()
    }
    curve = Curve(np.array([300]), np.array([1.0]), np.array([np.nan]), np.array([np.nan]))
    config = {entry.key: entry for entry in hyperparameters.values() if entry.key}
    return Run("run", "run", "jsonl", {"train/loss": curve}, hyperparameters, dialect, config=config)


def spell(run: Run, text: str, seed: int = 0, steps: int = 75, **changes: Any) -> list[str]:
    """The words of an arm that changes something, without the program."""
    recorded = {name: entry.value for name, entry in run.hyperparameters.items()}
    recorded.setdefault("max_steps", run.steps)
    arm = override(recorded, changes)
    spelling = Spelling(run, recorded, CommandLine(text, Path("/")))
    return spelling.words(Job("prescription", seed, arm, steps, arm["max_steps"]), "/out")[1:]


def test_the_recorded_arm_is_the_command_as_it_stands() -> None:
    assert spell(run_of("hf", HF), "prog -c x {overrides} --seed {seed}", seed=3) == ["-c", "x", "--seed", "3"]


def test_the_seed_is_an_override_where_the_command_has_none() -> None:
    assert spell(run_of("hf", HF), "prog {overrides}", seed=3) == ["--seed", "3"]
    known = {name: value for name, value in HF.items() if name != "seed"}
    assert spell(run_of("automodel", {"learning_rate": ("optimizer.lr", 0.1)}), "prog {overrides}", seed=3) == ["--seed", "3"]
    assert spell(run_of("generic", known), "prog {overrides}", seed=3) == []
    assert not Spelling(run_of("generic", known), {}, CommandLine("prog {overrides}", Path("/"))).has_seed


@pytest.mark.parametrize(
    ("dialect", "key", "spelled"),
    [
        ("hf", "learning_rate", ["--learning_rate", "0.0002"]),
        ("automodel", "optimizer.lr", ["--optimizer.lr", "0.0002"]),
        ("torchtune", "optimizer.lr", ["optimizer.lr=0.0002"]),
        ("llamafactory", "learning_rate", ["learning_rate=0.0002"]),
        ("axolotl", "learning_rate", ["--learning-rate", "0.0002"]),
        ("litgpt", "optimizer.init_args.lr", ["--optimizer.init_args.lr", "0.0002"]),
        ("megatron", "lr", ["--lr", "0.0002"]),
        ("nanogpt", "learning_rate", ["--learning_rate=0.0002"]),
        ("ultralytics", "lr0", ["lr0=0.0002"]),
        ("generic", "optim.lr", ["optim.lr=0.0002"]),
    ],
)
def test_every_dialect_with_a_command_line(dialect: str, key: str, spelled: list[str]) -> None:
    run = run_of(dialect, {"learning_rate": (key, 1e-3)})
    assert spell(run, "prog seed={seed} {overrides}", learning_rate=2e-4)[1:] == spelled


def test_an_unknown_framework_takes_options_as_its_command_has_them() -> None:
    run = run_of("generic", {"learning_rate": ("learning_rate", 1e-3)})
    assert spell(run, "prog model=x {overrides} seed={seed}", learning_rate=2e-4)[1] == "learning_rate=0.0002"
    assert spell(run, "prog --model x {overrides}", learning_rate=2e-4)[-1] == "--learning_rate=0.0002"
    assert spell(run, "prog --my-model x {overrides}", learning_rate=2e-4)[-1] == "--learning-rate=0.0002"


def test_a_batch_is_one_change_and_the_number_of_steps_follows_it() -> None:
    assert spell(run_of("hf", HF), "prog {overrides} --seed {seed}", global_batch_size=32)[:-2] == ["--gradient_accumulation_steps", "4"]
    given = HF | {"max_steps": ("max_steps", 300)}
    assert spell(run_of("hf", given), "prog {overrides} --seed {seed}", global_batch_size=32)[:-2] == [
        "--gradient_accumulation_steps",
        "4",
        "--max_steps",
        "150",
    ]
    assert spell(run_of("hf", given), "prog {overrides} --max_steps {steps} --seed {seed}", global_batch_size=32)[2:4] == [
        "--max_steps",
        "75",
    ]


def test_the_length_that_the_command_is_given_wins() -> None:
    given = HF | {"max_steps": ("max_steps", 300)}
    words = spell(run_of("hf", given), "prog --max_steps {steps} --seed {seed} {overrides}", num_epochs=2.0)
    assert words == ["--max_steps", "75", "--seed", "0", "--num_train_epochs", "2"]


def test_a_hyperparameter_with_a_placeholder_is_no_override() -> None:
    run = run_of("hf", HF)
    assert spell(run, "prog --my-lr {learning_rate} --seed {seed} {overrides}", learning_rate=2e-4) == ["--my-lr", "0.0002", "--seed", "0"]
    assert spell(run, "prog --my-lr={learning_rate} --seed {seed}") == ["--my-lr=0.001", "--seed", "0"]


def test_what_has_no_option_is_named() -> None:
    with pytest.raises(ProbeError, match=r"deepspeed has no command-line option for learning_rate.*--option {learning_rate}"):
        spell(run_of("deepspeed", {"learning_rate": ("optimizer.params.lr", 1e-3)}), "prog {overrides}", learning_rate=1e-4)
    with pytest.raises(ProbeError, match="hf has no command-line option for lora_rank, which prescription changes"):
        spell(run_of("hf", HF | {"lora_rank": ("lora.r", 8)}), "prog {overrides}", lora_rank=16, learning_rate=1e-4)
    with pytest.raises(ProbeError, match="for warmup_steps"):
        spell(run_of("hf", HF), "prog --lr {learning_rate} --seed {seed}", learning_rate=1e-4, warmup_steps=20)
    with pytest.raises(UsageError, match="the run does not tell its dropout"):
        spell(run_of("hf", HF), "prog --dropout {dropout} {overrides}")


def test_an_option_behind_the_overrides_would_undo_them() -> None:
    with pytest.raises(ProbeError, match=r"gives learning_rate after \{overrides\}"):
        spell(run_of("hf", HF), "prog {overrides} --learning_rate 1e-3", learning_rate=1e-4)
    assert spell(run_of("hf", HF), "prog --learning_rate 1e-3 {overrides}", learning_rate=1e-4)[2:4] == ["--learning_rate", "0.0001"]


def test_hostile_values_stay_one_word() -> None:
    run = run_of("hf", HF | {"optimizer": ("optim", "adamw")})
    value = "x; touch /tmp/y $(id) `id` 'q' \"d\""
    assert spell(run, "prog {overrides} --seed {seed}", optimizer=value)[:2] == ["--optim", value]
    assert spell(run, "prog --optim={optimizer} --seed {seed}", optimizer=value)[0] == f"--optim={value}"
