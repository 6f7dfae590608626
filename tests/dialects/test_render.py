"""Overrides in the words of each framework: that they parse there, say what the fixes say, and bring along what must change too."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.configs import attach, from_mapping
from diag.dialects import Overrides, detect, load, render
from diag.dialects.draft import yaml_scalar
from diag.prescription import Fix
from diag.run import Curve, Hyperparameter, Run

HF: dict[str, Any] = {
    "learning_rate": 3e-05,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "lr_scheduler_type": "cosine",
    "eval_strategy": "steps",
    "eval_steps": 50,
    "save_steps": 100,
    "fp16": True,
}
AUTOMODEL: dict[str, Any] = {
    "model": {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
        "pretrained_model_name_or_path": "meta-llama/Llama-3.2-1B",
    },
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-4, "weight_decay": 0.0},
    "lr_scheduler": {"lr_decay_style": "cosine", "min_lr": 1e-5, "init_lr": 5e-5, "max_lr": 1e-4, "lr_warmup_steps": 30},
    "step_scheduler": {"global_batch_size": 32, "local_batch_size": 8, "num_epochs": 4, "val_every_steps": 25},
    "peft": {"_target_": "nemo_automodel.components._peft.lora.PeftConfig", "dim": 8, "alpha": 32, "match_all_linear": True},
}


def fix(parameter: str, new: Any = None, factor: float | None = None, rank: int = 1, **details: Any) -> Fix:
    return Fix(parameter, None, new, factor, rank, "ABC001", f"Change {parameter}.", **details)


def run_with(tmp_path: Path, native: dict[str, Any], *, losses: Sequence[float] = (), **known: Any) -> Run:
    """A run whose config lies beside its log; ``losses`` are evaluations every 10 steps."""
    (tmp_path / "config.json").write_text(json.dumps(native))
    steps = np.arange(1, len(losses) + 1, dtype=np.int64) * 10
    blank = np.full(steps.shape, np.nan)
    curves = {"eval/loss": Curve(steps, np.array(losses, dtype=np.float64), blank, blank)} if losses else {}
    run = Run("run", "run", "csv", curves)
    for name, value in known.items():
        run.hyperparameters[name] = Hyperparameter(value, "user")
    attach(run, tmp_path)
    return run


def overrides(run: Run, *fixes: Fix) -> Overrides:
    return render(run.dialect, run, fixes)


# Hugging Face


@pytest.fixture(scope="module")
def parser() -> Any:
    from transformers import HfArgumentParser, TrainingArguments

    return HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]


def parsed(parser: Any, arguments: Sequence[str]) -> Any:
    """The run's own arguments with the overrides appended, as its user would launch it again."""
    own = [token for key, value in HF.items() for token in (f"--{key}", str(value))]
    return parser.parse_args_into_dataclasses(["--output_dir", "out", "--use_cpu", "True", "--report_to", "none", *own, *arguments])[0]


def test_arguments_parse_with_the_hugging_face_parser(tmp_path: Path, parser: Any) -> None:
    run = run_with(tmp_path, HF, dataset_size=3200)
    found = overrides(
        run,
        fix("learning_rate", 5e-6),
        fix("num_epochs", 2),
        fix("warmup_ratio", 0.1),
        fix("global_batch_size", 64),
        fix("weight_decay", 0.05),
        fix("max_grad_norm", 0.5),
        fix("precision", "bf16"),
        fix("early_stopping_patience", 3),
        fix("early_stopping_threshold", 0.001),
        fix("min_lr", 5e-7),
    )
    args = parsed(parser, found.arguments)
    assert (args.learning_rate, args.num_train_epochs, args.warmup_steps) == (5e-6, 2.0, 20)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (8, 8)
    assert (args.weight_decay, args.max_grad_norm, args.bf16, args.fp16) == (0.05, 0.5, True, False)
    assert (args.load_best_model_at_end, args.metric_for_best_model, args.greater_is_better) == (True, "eval_loss", False)
    assert args.lr_scheduler_type == "cosine_with_min_lr"
    assert args.lr_scheduler_kwargs == {"min_lr": 5e-7}
    assert "EarlyStoppingCallback(early_stopping_patience=3, early_stopping_threshold=0.001)" in found.code
    assert "early_stopping_patience" not in found.config
    compile(found.code, "code", "exec")


def test_keys_that_the_config_has_already_are_not_repeated(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, HF), fix("load_best_model_at_end", True))
    assert found.config == {
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "save_strategy": "steps",
    }, "eval_strategy, eval_steps 50 and save_steps 100 stand as they are"


def test_saves_fall_on_evaluations_where_the_best_model_is_loaded(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, {**HF, "save_steps": 75}), fix("load_best_model_at_end", True))
    assert found.config["save_steps"] == 50
    by_epoch = overrides(run_with(tmp_path, {**HF, "eval_strategy": "epoch", "save_strategy": "no"}), fix("load_best_model_at_end", True))
    assert by_epoch.config["save_strategy"] == "epoch"
    assert "eval_steps" not in by_epoch.config


@pytest.mark.parametrize(("version", "key"), [("4.36.2", "evaluation_strategy"), ("4.41.0", "eval_strategy"), ("5.23.0", "eval_strategy")])
def test_name_of_the_evaluation_strategy_in_the_runs_own_version(tmp_path: Path, version: str, key: str) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    model = {"model_type": "bert", "architectures": ["BertModel"], "transformers_version": version}
    (tmp_path / "checkpoint-10" / "config.json").write_text(json.dumps(model))
    run = Run("run", "run", "trainer_state", {})
    attach(run, tmp_path)
    found = overrides(run, fix("eval_steps", 50))
    assert (found.config, found.notes) == ({key: "steps", "eval_steps": 50}, [])


def test_evaluations_an_epoch_apart_stay_by_epoch(tmp_path: Path) -> None:
    steps = np.arange(1, 5, dtype=np.int64) * 62
    curve = Curve(steps, np.ones(4), steps / 62, np.full(4, np.nan))
    run = Run("run", "run", "trainer_state", {"eval/loss": curve})
    attach(run, tmp_path)
    found = overrides(run, fix("load_best_model_at_end", True))
    assert found.config["eval_strategy"] == found.config["save_strategy"] == "epoch"
    assert "eval_steps" not in found.config


@pytest.mark.parametrize(
    ("own", "change", "written"),
    [
        ({"warmup_ratio": 0.03}, fix("warmup_ratio", 0.1), {"warmup_ratio": 0.1}),
        ({"warmup_ratio": 0.03}, fix("warmup_steps", 40), {"warmup_ratio": 0.1}),
        ({"warmup_steps": 5}, fix("warmup_ratio", 0.1), {"warmup_steps": 40}),
        ({"warmup_steps": 5, "warmup_ratio": 0.0}, fix("warmup_ratio", 0.1), {"warmup_ratio": 0.1, "warmup_steps": 0}),
        ({}, fix("warmup_steps", 25), {"warmup_steps": 25}),
    ],
)
def test_warmup_in_the_form_of_the_config(tmp_path: Path, own: dict[str, Any], change: Fix, written: dict[str, Any]) -> None:
    run = run_with(tmp_path, {**HF, **own}, dataset_size=3200)
    assert run.hyperparameter("max_steps") == 400
    assert overrides(run, change).config == written


def test_warmup_as_a_share_where_the_steps_are_unknown(tmp_path: Path, parser: Any) -> None:
    found = overrides(run_with(tmp_path, HF), fix("warmup_ratio", 0.1))
    assert parsed(parser, found.arguments).warmup_steps == 0.1
    assert "before, write warmup_ratio" in found.notes[0]


def test_epochs_count_only_without_max_steps(tmp_path: Path, parser: Any) -> None:
    found = overrides(run_with(tmp_path, {**HF, "max_steps": 1000}), fix("num_epochs", 2))
    args = parsed(parser, found.arguments)
    assert (args.num_train_epochs, args.max_steps) == (2.0, -1)
    assert found.notes == ["max_steps (was 1000) would override num_train_epochs, so it is switched off."]


def test_lora_settings_become_a_lora_config(tmp_path: Path) -> None:
    from peft import LoraConfig

    LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["q_proj", "v_proj"]).save_pretrained(str(tmp_path))
    run = run_with(tmp_path, HF)
    assert run.hyperparameter("lora_rank") == 8
    assert run.hyperparameter("method") == "lora"
    found = overrides(run, fix("lora_rank", 16), fix("lora_alpha", 32.0))
    assert found.config == {}
    scope: dict[str, Any] = {}
    exec(found.code, scope)
    assert (scope["lora_config"].r, scope["lora_config"].lora_alpha, scope["lora_config"].lora_dropout) == (16, 32, 0.05)
    assert scope["lora_config"].target_modules == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("own", "config"),
    [
        ({"lora_r": 8, "lora_alpha": 16}, {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.1}),
        ({"lora": {"r": 8, "lora_alpha": 16}}, {"lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1}}),
    ],
)
def test_lora_settings_in_the_keys_of_the_config(tmp_path: Path, own: dict[str, Any], config: dict[str, Any]) -> None:
    found = overrides(run_with(tmp_path, {**HF, **own}), fix("lora_rank", 16), fix("lora_alpha", 32), fix("lora_dropout", 0.1))
    assert (found.config, found.code) == (config, "")


def test_four_bit_is_code(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, HF), fix("load_in_4bit", True))
    assert 'bnb_4bit_quant_type="nf4"' in found.code
    compile(found.code, "code", "exec")


def test_the_saved_arguments_of_the_trainer_are_read(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    args = TrainingArguments(
        output_dir=str(tmp_path / "out"), learning_rate=2e-4, warmup_steps=0.1, use_cpu=True, report_to="none", save_strategy="epoch"
    )
    (tmp_path / "training_args.json").write_text(args.to_json_string())  # type: ignore[no-untyped-call]
    run = Run("run", "run", "trainer_state", {})
    attach(run, tmp_path)
    found = {name: entry.value for name, entry in run.hyperparameters.items() if entry.kind == "file"}
    assert found["learning_rate"] == 2e-4
    assert found["warmup_ratio"] == 0.1
    assert "eval_steps" not in found, "evaluation is off"
    assert "save_steps" not in found, "saves come once an epoch"
    assert (found["precision"], found["num_epochs"]) == ("fp32", 3.0)


# NeMo AutoModel


def automodel_values(arguments: Sequence[str]) -> dict[str, Any]:
    """What AutoModel's own parser makes of ``--a.b value`` tokens: Python literals, true, false and none, else text."""
    values: dict[str, Any] = {}
    for flag, token in zip(arguments[::2], arguments[1::2], strict=True):
        assert flag.startswith("--") and not token.startswith("--")
        words = {"true": True, "false": False, "none": None}
        try:
            values[flag[2:]] = words[token.lower()] if token.lower() in words else ast.literal_eval(token)
        except (ValueError, SyntaxError):
            values[flag[2:]] = token
    return values


def test_lower_learning_rate_takes_its_companions_along(tmp_path: Path) -> None:
    run = run_with(tmp_path, AUTOMODEL)
    assert run.dialect == "automodel"
    found = overrides(run, fix("learning_rate", 5e-6))
    assert automodel_values(found.arguments) == {
        "optimizer.lr": 5e-6,
        "lr_scheduler.max_lr": 5e-6,
        "lr_scheduler.init_lr": 5e-6,
        "lr_scheduler.min_lr": 5e-7,  # a tenth of the rate, as before
    }
    slightly = overrides(run, fix("learning_rate", 7e-5))
    assert automodel_values(slightly.arguments) == {"optimizer.lr": 7e-5, "lr_scheduler.max_lr": 7e-5, "lr_scheduler.min_lr": 7e-6}


def test_nested_config_and_yaml_say_the_same_as_the_arguments(tmp_path: Path) -> None:
    found = overrides(
        run_with(tmp_path, AUTOMODEL), fix("learning_rate", 5e-6), fix("lora_rank", 16), fix("lora_alpha", 64.0), fix("warmup_steps", 10)
    )
    assert found.config["peft"] == {"dim": 16, "alpha": 64}
    assert yaml.safe_load(found.to_yaml()) == found.config
    assert automodel_values(found.arguments)["peft.dim"] == 16


def test_keys_of_the_run_are_used(tmp_path: Path) -> None:
    native = {**AUTOMODEL, "peft": {"_target_": "x", "lora_rank": 8, "lora_alpha": 16}}
    found = overrides(run_with(tmp_path, native), fix("lora_rank", 4), fix("lora_alpha", 8))
    assert found.config == {"peft": {"lora_rank": 4, "lora_alpha": 8}}


def test_global_batch_stays_divisible(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, AUTOMODEL), fix("global_batch_size", 12))
    values = automodel_values(found.arguments)
    assert values == {"step_scheduler.global_batch_size": 12, "step_scheduler.local_batch_size": 6}
    assert "must divide" in found.notes[0]


def test_early_stopping_ends_at_the_best_step_on_the_same_schedule(tmp_path: Path) -> None:
    run = run_with(tmp_path, AUTOMODEL, losses=[3.0, 2.0, 2.5, 2.9], max_steps=100)
    found = overrides(run, fix("early_stopping_patience", 3))
    values = automodel_values(found.arguments)
    assert values["step_scheduler.max_steps"] == 20
    assert values["lr_scheduler.lr_decay_steps"] == 100
    assert "lr_scheduler.lr_warmup_steps" not in values, "30 is below the horizon of 100"
    assert "LOWEST_VAL" in found.notes[0]


def test_warmup_stays_shorter_than_the_schedule(tmp_path: Path) -> None:
    run = run_with(tmp_path, AUTOMODEL, dataset_size=320)
    assert run.hyperparameter("max_steps") == 40
    values = automodel_values(overrides(run, fix("num_epochs", 2)).arguments)
    assert values == {"step_scheduler.num_epochs": 2, "lr_scheduler.lr_warmup_steps": 2}


def test_warmup_without_a_scheduler_section_keeps_the_rate_constant(tmp_path: Path) -> None:
    native = {key: value for key, value in AUTOMODEL.items() if key != "lr_scheduler"}
    run = run_with(tmp_path, native)
    assert run.hyperparameter("lr_scheduler") == "constant"
    found = overrides(run, fix("warmup_steps", 5))
    assert found.config == {"lr_scheduler": {"lr_warmup_steps": 5, "lr_decay_style": "constant"}}


def test_fractional_epochs_end_within_one(tmp_path: Path) -> None:
    run = run_with(tmp_path, AUTOMODEL, dataset_size=3200)
    values = automodel_values(overrides(run, fix("num_epochs", 1.5)).arguments)
    assert values["step_scheduler.num_epochs"] == 2
    assert values["step_scheduler.max_steps"] == 150


# Training Hub


def hub(tmp_path: Path, **native: Any) -> Run:
    return run_with(
        tmp_path,
        {"learning_rate": 1e-5, "effective_batch_size": 128, "max_tokens_per_gpu": 4096, "num_epochs": 3, "max_seq_len": 2048, **native},
    )


def test_training_hub_takes_keyword_arguments(tmp_path: Path) -> None:
    run = hub(tmp_path)
    assert run.dialect == "training_hub"
    found = overrides(run, fix("learning_rate", 5e-6), fix("num_epochs", 1.6), fix("global_batch_size", 64), fix("warmup_steps", 20.0))
    assert found.config == {"learning_rate": 5e-6, "num_epochs": 2, "effective_batch_size": 64, "warmup_steps": 20}
    assert found.arguments == ["--learning-rate", "5e-06", "--num-epochs", "2", "--effective-batch-size", "64", "--warmup-steps", "20"]
    call = ast.parse(found.code, mode="eval").body
    assert isinstance(call, ast.Call) and {word.arg: ast.literal_eval(word.value) for word in call.keywords} == found.config


@pytest.mark.parametrize("method", [{}, {"unfreeze_rank_ratio": 0.5}])
@pytest.mark.parametrize(
    ("parameter", "value"), [("max_grad_norm", 0.5), ("optimizer", "adafactor"), ("lora_rank", 8), ("lora_alpha", 16.0)]
)
def test_what_sft_and_osft_cannot_take_is_refused(tmp_path: Path, method: dict[str, Any], parameter: str, value: Any) -> None:
    found = overrides(hub(tmp_path, **method), fix(parameter, value))
    assert (found.config, found.arguments, found.code) == ({}, [], "")
    assert len(found.notes) == 1


def test_a_schedule_is_for_osft_only(tmp_path: Path) -> None:
    assert overrides(hub(tmp_path), fix("lr_scheduler", "linear")).config == {}
    assert overrides(hub(tmp_path, unfreeze_rank_ratio=0.5), fix("lr_scheduler", "linear")).config == {"lr_scheduler": "linear"}


def test_lora_arguments_and_what_the_command_line_does_not_take(tmp_path: Path) -> None:
    found = overrides(hub(tmp_path, lora_r=16, lora_alpha=32), fix("lora_rank", 32), fix("max_grad_norm", 1.0), fix("precision", "bf16"))
    assert found.config == {"lora_r": 32, "max_grad_norm": 1.0, "bf16": True, "fp16": False}
    assert found.arguments == ["--lora-r", "32", "--bf16", "true", "--fp16", "false"]
    assert found.notes == ["max_grad_norm: from YAML or Python only, the command line does not take it."]
    assert found.code.startswith("lora_sft(")


def test_budget_of_tokens_holds_a_sequence(tmp_path: Path) -> None:
    found = overrides(hub(tmp_path), fix("max_seq_len", 8192))
    assert found.config == {"max_seq_len": 8192, "max_tokens_per_gpu": 8192}


# Everything else


def test_generic_overrides_use_the_keys_of_the_config(tmp_path: Path) -> None:
    native = {
        "learning_rate": 0.006,
        "epochs": 30,
        "batch_size": 32,
        "scheduler": "linear",
        "grad_clip": 2.0,
        "warmup_ratio": 0.0,
        "dropout": 0.0,
    }
    run = run_with(tmp_path, native)
    assert run.dialect == "generic"
    found = overrides(
        run,
        fix("learning_rate", 0.002),
        fix("num_epochs", 12.0),
        fix("global_batch_size", 64),
        fix("max_grad_norm", 1.0),
        fix("warmup_ratio", 0.1),
        fix("dropout", 0.1),
        fix("lr_scheduler", "cosine"),
        fix("weight_decay", 0.1),
        fix("early_stopping_patience", 3),
    )
    assert found.config == {
        "learning_rate": 0.002,
        "epochs": 12,
        "batch_size": 64,
        "grad_clip": 1.0,
        "warmup_ratio": 0.1,
        "dropout": 0.1,
        "scheduler": "cosine",
    }
    assert found.arguments[:2] == ["learning_rate=0.002", "epochs=12"]
    assert found.notes == [
        "There is no key for weight_decay: set it to 0.1 where the training is built.",
        "There is no key for early stopping: stop after 3 evaluations without a lower loss, keep the best.",
    ]


def test_hydra_keys_and_lightning_precision(tmp_path: Path) -> None:
    native = {
        "optim": {"lr": 0.01, "name": "adamw"},
        "trainer": {"max_epochs": 5, "precision": "16-mixed", "gradient_clip_val": None, "accumulate_grad_batches": 2},
        "data": {"batch_size": 16},
    }
    found = overrides(
        run_with(tmp_path, native),
        fix("learning_rate", 1e-3),
        fix("precision", "bf16"),
        fix("max_grad_norm", 1.0),
        fix("global_batch_size", 64),
    )
    assert found.arguments == [
        "optim.lr=0.001",
        "trainer.precision=bf16-mixed",
        "trainer.gradient_clip_val=1.0",
        "trainer.accumulate_grad_batches=4",
    ]
    assert found.config["trainer"] == {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "accumulate_grad_batches": 4}


def test_lightning_writes_hparams_that_are_read(tmp_path: Path) -> None:
    from lightning.pytorch.core.saving import save_hparams_to_yaml

    save_hparams_to_yaml(str(tmp_path / "hparams.yaml"), {"lr": 1e-5, "batch_size": 16, "max_epochs": 3, "optimizer": "AdamW"})
    run = Run("run", "run", "csv", {})
    attach(run, tmp_path)
    assert run.hyperparameters["learning_rate"].source == "hparams.yaml:2 lr"
    assert (run.hyperparameter("micro_batch_size"), run.hyperparameter("optimizer")) == (16, "adamw")
    found = overrides(run, fix("learning_rate", 1e-6))
    assert found.arguments == ["lr=1e-06"]
    assert yaml.safe_load(found.to_yaml()) == {"lr": 1e-6}


@pytest.mark.parametrize(
    ("native", "changes", "config"),
    [
        (
            {
                "finetuning_type": "lora",
                "cutoff_len": 1024,
                "stage": "sft",
                "lora_rank": 8,
                "learning_rate": 1e-4,
                "disable_gradient_checkpointing": True,
            },
            [
                fix("lora_rank", 16),
                fix("lora_alpha", 32),
                fix("gradient_checkpointing", True),
                fix("early_stopping_patience", 3),
                fix("load_in_4bit", True),
            ],
            {"lora_rank": 16, "lora_alpha": 32, "disable_gradient_checkpointing": False, "early_stopping_steps": 3, "quantization_bit": 4},
        ),
        (
            {
                "base_model": "x",
                "sequence_len": 512,
                "sample_packing": True,
                "micro_batch_size": 2,
                "cosine_min_lr_ratio": 0.1,
                "learning_rate": 1e-4,
                "bf16": False,
                "fp16": True,
            },
            [fix("learning_rate", 2e-5), fix("min_lr", 1e-6), fix("precision", "bf16"), fix("global_batch_size", 8)],
            {"learning_rate": 2e-5, "cosine_min_lr_ratio": 0.05, "bf16": True, "fp16": False, "gradient_accumulation_steps": 4},
        ),
        (
            {
                "tokenizer": {"_component_": "x"},
                "optimizer": {"_component_": "torch.optim.AdamW", "lr": 3e-4},
                "batch_size": 4,
                "gradient_accumulation_steps": 8,
                "clip_grad_norm": None,
            },
            [fix("learning_rate", 1e-4), fix("max_grad_norm", 1.0), fix("num_epochs", 2)],
            {"optimizer": {"lr": 1e-4}, "clip_grad_norm": 1.0, "epochs": 2},
        ),
        (
            {"train": {"global_batch_size": 16, "micro_batch_size": 4, "epochs": 5}, "eval": {"interval": 100}},
            [fix("max_grad_norm", 1.0), fix("num_epochs", 3), fix("lora_rank", 16)],
            {"train": {"epochs": 3}, "lora_r": 16},
        ),
    ],
    ids=["llamafactory", "axolotl", "torchtune", "litgpt"],
)
def test_table_dialects(tmp_path: Path, native: dict[str, Any], changes: list[Fix], config: dict[str, Any]) -> None:
    assert overrides(run_with(tmp_path, native), *changes).config == config


def test_a_factor_is_told_not_written(tmp_path: Path) -> None:
    run = run_with(tmp_path, AUTOMODEL)
    found = overrides(run, fix("learning_rate", factor=0.2), fix("lora_rank", factor=2.0))
    assert (found.config, found.arguments) == ({}, [])
    assert found.notes == ["Divide lr_scheduler.max_lr by 5.", "Multiply peft.dim by 2."]


def test_only_the_first_prescription_is_rendered(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, HF), fix("learning_rate", 1e-6), fix("weight_decay", 0.1, rank=2))
    assert found.config == {"learning_rate": 1e-6}


def test_advice_becomes_a_note(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, HF), fix("validation_set", None, applicability="display"))
    assert (found.config, found.notes) == ({}, ["Change validation_set."])


def test_a_default_that_was_not_in_the_file_is_told(tmp_path: Path) -> None:
    found = overrides(run_with(tmp_path, HF), fix("weight_decay", 0.1))
    assert found.notes == ["weight_decay was 0, the default of Hugging Face TrainingArguments (config.json does not set it)."]


def test_report_object_has_code_and_notes_only_where_there_are_some() -> None:
    assert Overrides("hf", ["--seed", "1"], {"seed": 1}).to_json() == {"dialect": "hf", "arguments": ["--seed", "1"], "config": {"seed": 1}}
    assert set(Overrides("hf", code="x", notes=["y"]).to_json()) == {"dialect", "arguments", "config", "code", "notes"}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_yaml_floats_are_numbers_to_every_parser(value: float) -> None:
    from ruamel.yaml import YAML

    text = f"x: {yaml_scalar(value)}\n"
    assert yaml.safe_load(text) == {"x": value}
    assert type(yaml.safe_load(text)["x"]) is float
    assert float(YAML(typ="safe", pure=True).load(text)["x"]) == value


@given(st.text(max_size=12))
@settings(deadline=None)
def test_yaml_text_stays_text(value: str) -> None:
    found = Overrides("generic", config={"key": value}).to_yaml()
    try:
        assert yaml.safe_load(found) == {"key": value}
    except yaml.reader.ReaderError:
        assert not value.isprintable()


# Round trips: what is written is read back as what was meant.

NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": st.floats(1e-8, 1.0),
    "weight_decay": st.floats(0.0, 1.0),
    "max_grad_norm": st.floats(0.01, 10.0),
    "num_epochs": st.integers(1, 50).map(float),
    "max_steps": st.integers(1, 10**6),
    "micro_batch_size": st.integers(1, 512),
    "gradient_accumulation_steps": st.integers(1, 64),
    "global_batch_size": st.integers(1, 4096),
    "warmup_steps": st.integers(1, 5000).map(float),
    "eval_steps": st.integers(1, 5000).map(float),
    "logging_steps": st.integers(1, 500).map(float),
    "lora_rank": st.integers(1, 256),
    "lora_alpha": st.integers(1, 512).map(float),
    "lora_dropout": st.floats(0.0, 0.5),
    "use_dora": st.booleans(),
    "load_in_8bit": st.booleans(),
    "gradient_checkpointing": st.booleans(),
    "max_seq_len": st.integers(1, 10**6),
    "seed": st.integers(0, 2**31),
    "min_lr": st.floats(1e-9, 1e-3),
    "unfreeze_rank_ratio": st.floats(0.0, 1.0),
}
DIALECTS = (
    "hf",
    "automodel",
    "training_hub",
    "axolotl",
    "llamafactory",
    "torchtune",
    "litgpt",
    "lightning",
    "deepspeed",
    "ultralytics",
    "nanogpt",
    "megatron",
)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_native_key_is_written_back_under_its_own_name(dialect: str, data: st.DataObject) -> None:
    from diag.dialects.draft import Draft
    from diag.dialects.table import CONVERSIONS, Row, read, rows

    usable = [row for row in rows(dialect) if row.canonical in NUMBERS]
    row: Row = data.draw(st.sampled_from(usable))
    old, new = data.draw(NUMBERS[row.canonical]), data.draw(NUMBERS[row.canonical])
    write = CONVERSIONS[row.conversion][1]
    flat = {row.native: write(old)}
    before = read(dialect, flat)
    assert before[row.canonical].value == old
    run = Run("run", "run", "csv", {}, hyperparameters={row.canonical: Hyperparameter(old, "file", "config", 1, row.native)})
    run.config = {row.native: Hyperparameter(write(old), "file", "config", 1, row.native)}
    draft = Draft(dialect, run, [fix(row.canonical, new)])
    load(dialect).write_key(draft, row.canonical, new)  # type: ignore[attr-defined]
    if draft.keys:  # Training Hub refuses what an algorithm does not take
        assert read(dialect, {**flat, **draft.keys})[row.canonical].value == pytest.approx(new)
        assert row.native in draft.keys or dialect == "training_hub"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tables_are_sound(dialect: str) -> None:
    from diag.dialects.table import CONVERSIONS, rows
    from diag.dialects.values import canonical_value
    from diag.vocabulary import HYPERPARAMETERS

    table = rows(dialect)
    assert len({(row.canonical, row.native) for row in table}) == len(table)
    for row in table:
        assert row.canonical in HYPERPARAMETERS or row.canonical.startswith("_")
        assert row.conversion in CONVERSIONS
        if row.default:
            assert canonical_value(row.canonical, row.default) is not None


@pytest.mark.parametrize("native", [HF, AUTOMODEL], ids=["hf", "automodel"])
def test_detection_survives_flattening_to_text(native: dict[str, Any]) -> None:
    from diag.config_files import flatten

    flat = flatten(native)
    assert detect({key: str(value) for key, value in flat.items()}) == detect(flat) != "generic"
    assert from_mapping({key: str(value) for key, value in flat.items()}, file="f")[1].keys() == from_mapping(native, file="f")[1].keys()


def test_every_dialect_renders_every_fix_without_failing(tmp_path: Path) -> None:
    fixes = [
        *(
            fix(name, 2)
            for name in ("num_epochs", "max_steps", "global_batch_size", "micro_batch_size", "gradient_accumulation_steps", "lora_rank")
        ),
        *(
            fix(name, 0.1)
            for name in ("learning_rate", "min_lr", "warmup_ratio", "weight_decay", "max_grad_norm", "dropout", "lora_dropout")
        ),
        *(
            fix(name, True)
            for name in ("use_dora", "load_in_4bit", "packing", "gradient_checkpointing", "load_best_model_at_end", "shuffle")
        ),
        *(
            fix(name, 50)
            for name in ("warmup_steps", "eval_steps", "save_steps", "logging_steps", "max_seq_len", "early_stopping_patience", "seed")
        ),
        fix("precision", "bf16"),
        fix("optimizer", "adamw"),
        fix("lr_scheduler", "cosine"),
        fix("lora_target_modules", "all-linear"),
        fix("lora_alpha", 32.0),
        fix("unfreeze_rank_ratio", 0.25),
        fix("lr_decay_steps", 100, applicability="display"),
    ]
    bare = Run("run", "run", "csv", {})
    for dialect in (*DIALECTS, "generic", "unheard_of"):
        for run in (bare, run_with(tmp_path, HF), run_with(tmp_path, AUTOMODEL)):
            found = render(dialect, run, fixes)
            assert found.dialect == dialect
            assert found == render(dialect, run, fixes)
            assert yaml.safe_load(found.to_yaml()) == (found.config or None)
            assert all(isinstance(token, str) for token in found.arguments)
            json.dumps(found.to_json(), allow_nan=False)
            compile(found.code, "code", "exec")
