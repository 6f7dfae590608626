"""Configs beside logs: which are read, what they give, where it stands, and that nothing in them can hurt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.config_files import MAX_JSON_BYTES, MAX_YAML_BYTES, flatten, load
from diag.configs import attach, from_mapping, record
from diag.dialects.interpret import parameters_from_shape
from diag.run import Hyperparameter, Run
from diag.vocabulary import HYPERPARAMETERS

HF = {
    "output_dir": "./out",
    "learning_rate": 3e-05,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.05,
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
    "bf16": True,
    "fp16": False,
    "eval_strategy": "steps",
    "eval_steps": 50,
    "optim": "adamw_torch",
    "seed": 7,
}

AUTOMODEL = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.2-1B
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-05
  weight_decay: 0.01
lr_scheduler:
  lr_decay_style: cosine
  min_lr: 1.0e-06
  lr_warmup_steps: 20
step_scheduler:
  global_batch_size: 32
  local_batch_size: 4
  num_epochs: 3
  val_every_steps: 25
clip_grad_norm:
  max_norm: 1.0
peft:
  _target_: nemo_automodel.components._peft.lora.PeftConfig
  match_all_linear: true
  dim: 8
  alpha: 32
"""

HYDRA = """\
model:
  name: mlp
  dropout: 0.1
optim:
  name: adamw
  lr: 1e-3
scheduler:
  name: cosine
  warmup_ratio: 0.1
trainer:
  max_epochs: 12
  gradient_clip_val: null
  precision: 16-mixed
  accumulate_grad_batches: 2
data:
  batch_size: 16
  train_size: 1200
  shuffle: true
seed: 42
"""


def read_run(folder: Path, adapter: str = "csv", **known: Any) -> Run:
    run = Run("run", "run", adapter, {}, hyperparameters=dict(known))
    attach(run, folder)
    return run


def values(run: Run) -> dict[str, Any]:
    return {name: entry.value for name, entry in run.hyperparameters.items()}


def subset(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in expected}


def test_hugging_face_arguments_give_values_with_file_and_line(tmp_path: Path) -> None:
    text = json.dumps(HF, indent=2)
    (tmp_path / "training_args.json").write_text(text)
    run = read_run(tmp_path)
    expected = {
        "learning_rate": 3e-05,
        "num_epochs": 4.0,
        "micro_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "global_batch_size": 32,
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.05,
        "weight_decay": 0.01,
        "max_grad_norm": 0.5,
        "precision": "bf16",
        "eval_steps": 50.0,
        "optimizer": "adamw_torch",
        "seed": 7,
    }
    assert subset(values(run), expected) == expected
    assert run.dialect == "hf"
    for entry in run.hyperparameters.values():
        if entry.kind == "file":
            assert entry.file == "training_args.json"
            assert f'"{entry.key}"' in text.splitlines()[entry.line - 1]
    assert run.hyperparameters["learning_rate"].source == "training_args.json:3 learning_rate"


@pytest.mark.parametrize(
    ("name", "text", "dialect", "expected"),
    [
        (
            "config.yaml",
            AUTOMODEL,
            "automodel",
            {
                "learning_rate": 1e-5,
                "min_lr": 1e-6,
                "lr_scheduler": "cosine",
                "warmup_steps": 20.0,
                "global_batch_size": 32,
                "micro_batch_size": 4,
                "gradient_accumulation_steps": 8,
                "num_epochs": 3.0,
                "eval_steps": 25.0,
                "max_grad_norm": 1.0,
                "optimizer": "adamw",
                "lora_rank": 8,
                "lora_alpha": 32.0,
                "lora_target_modules": "all-linear",
                "method": "lora",
                "model_parameters": 1e9,
            },
        ),
        (
            "config.yaml",
            HYDRA,
            "lightning",
            {
                "learning_rate": 1e-3,
                "num_epochs": 12.0,
                "micro_batch_size": 16,
                "global_batch_size": 32,
                "max_grad_norm": 0.0,
                "precision": "fp16",
                "dropout": 0.1,
                "dataset_size": 1200,
                "lr_scheduler": "cosine",
                "warmup_ratio": 0.1,
                "optimizer": "adamw",
                "shuffle": True,
                "seed": 42,
            },
        ),
        (
            "config.json",
            '{"learning_rate": 0.002, "epochs": 36, "batch_size": 24, "grad_accum_steps": 2, "scheduler": "wsd", "grad_clip": 1.0,'
            ' "optimizer": "adamw", "n_train": 1200, "dropout": 0.2, "weight_decay": 0.0, "warmup_ratio": 0.0}',
            "generic",
            {
                "learning_rate": 0.002,
                "num_epochs": 36.0,
                "micro_batch_size": 24,
                "gradient_accumulation_steps": 2,
                "global_batch_size": 48,
                "lr_scheduler": "warmup_stable_decay",
                "max_grad_norm": 1.0,
                "dataset_size": 1200,
                "dropout": 0.2,
                "weight_decay": 0.0,
            },
        ),
        (
            "axolotl.yml",
            "base_model: meta-llama/Llama-3.1-8B\nadapter: qlora\nload_in_4bit: true\nsequence_len: 4096\nsample_packing: true\n"
            "micro_batch_size: 2\ngradient_accumulation_steps: 4\nnum_epochs: 2\nlearning_rate: 2e-4\nlora_r: 32\nlora_alpha: 16\n"
            "lora_target_linear: true\nbf16: auto\nval_set_size: 0.05\ncosine_min_lr_ratio: 0.1\n",
            "axolotl",
            {
                "learning_rate": 2e-4,
                "min_lr": 2e-5,
                "method": "qlora",
                "lora_rank": 32,
                "max_seq_len": 4096,
                "packing": True,
                "global_batch_size": 8,
                "model_parameters": 8e9,
                "lora_target_modules": "all-linear",
            },
        ),
        (
            "training_args.yaml",
            "stage: sft\nfinetuning_type: lora\nlora_rank: 16\nlora_target: q_proj,v_proj\ncutoff_len: 2048\nquantization_bit: 4\n"
            "disable_gradient_checkpointing: true\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\nper_device_train_batch_size: 1\n"
            "gradient_accumulation_steps: 8\nlr_scheduler_type: cosine\nbf16: true\ntemplate: llama3\nearly_stopping_steps: 4\n",
            "llamafactory",
            {
                "lora_target_modules": ["q_proj", "v_proj"],
                "method": "qlora",
                "load_in_4bit": True,
                "gradient_checkpointing": False,
                "early_stopping_patience": 4,
                "max_seq_len": 2048,
            },
        ),
        (
            "torchtune_config.yaml",
            "tokenizer:\n  _component_: torchtune.models.llama3.llama3_tokenizer\n  max_seq_len: 1024\noptimizer:\n"
            "  _component_: torch.optim.AdamW\n  lr: 3e-4\n  weight_decay: 0.01\nlr_scheduler:\n"
            "  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n  num_warmup_steps: 100\n"
            "epochs: 1\nbatch_size: 4\ngradient_accumulation_steps: 8\nclip_grad_norm: null\ndtype: bf16\nmodel:\n  lora_rank: 64\n",
            "torchtune",
            {
                "learning_rate": 3e-4,
                "lr_scheduler": "cosine",
                "warmup_steps": 100.0,
                "max_grad_norm": 0.0,
                "precision": "bf16",
                "global_batch_size": 32,
                "lora_rank": 64,
                "optimizer": "adamw",
            },
        ),
        (
            "hyperparameters.yaml",
            "checkpoint_dir: checkpoints/EleutherAI/pythia-160m\nprecision: bf16-true\ntrain:\n  global_batch_size: 16\n"
            "  micro_batch_size: 4\n  lr_warmup_steps: 10\n  epochs: 2\n  max_seq_length: 512\n  save_interval: 200\n"
            "eval:\n  interval: 50\noptimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 0.0002\nlora_r: 8\n"
            "quantize: bnb.nf4\n",
            "litgpt",
            {
                "learning_rate": 2e-4,
                "global_batch_size": 16,
                "gradient_accumulation_steps": 4,
                "warmup_steps": 10.0,
                "eval_steps": 50.0,
                "load_in_4bit": True,
                "method": "qlora",
                "model_parameters": 1.6e8,
            },
        ),
        (
            "args.yaml",
            "task: detect\nepochs: 100\nbatch: 32\npatience: 30\nlr0: 0.01\nlrf: 0.01\nwarmup_epochs: 3.0\nweight_decay: 0.0005\n"
            "cos_lr: false\noptimizer: auto\nwarmup_bias_lr: 0.1\namp: true\nmosaic: 1.0\n",
            "ultralytics",
            {
                "learning_rate": 0.01,
                "min_lr": 1e-4,
                "num_epochs": 100.0,
                "global_batch_size": 32,
                "warmup_ratio": 0.03,
                "early_stopping_patience": 30,
                "precision": "fp16",
                "lr_scheduler": "linear",
            },
        ),
        (
            "training_params.json",
            '{"model_name_or_path": "ibm/granite-3b", "batch_size": 64, "max_tokens_per_gpu": 8192, "learning_rate": 5e-6,'
            ' "num_warmup_steps": 10, "lr_scheduler": "cosine", "osft": true, "osft_unfreeze_rank_ratio": 0.25, "max_epochs": 2}',
            "training_hub",
            {
                "learning_rate": 5e-6,
                "global_batch_size": 64,
                "warmup_steps": 10.0,
                "unfreeze_rank_ratio": 0.25,
                "method": "osft",
                "num_epochs": 2.0,
            },
        ),
        (
            "ds_config.json",
            '{"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "gradient_clipping": 1.0, "bf16": {"enabled": true},'
            ' "optimizer": {"type": "AdamW", "params": {"lr": 2e-5, "weight_decay": "auto"}}, "zero_optimization": {"stage": 2}}',
            "deepspeed",
            {"learning_rate": 2e-5, "micro_batch_size": 4, "max_grad_norm": 1.0, "precision": "bf16", "optimizer": "adamw"},
        ),
    ],
    ids=["automodel", "hydra", "flat-json", "axolotl", "llamafactory", "torchtune", "litgpt", "ultralytics", "training_hub", "deepspeed"],
)
def test_known_formats(tmp_path: Path, name: str, text: str, dialect: str, expected: dict[str, Any]) -> None:
    (tmp_path / name).write_text(text)
    run = read_run(tmp_path)
    assert run.dialect == dialect
    found = values(run)
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    assert run.notes == []
    lines = text.splitlines()
    for entry in run.hyperparameters.values():
        if entry.kind == "file":
            assert entry.file == name
            assert entry.key.rsplit(".", 1)[-1] in lines[entry.line - 1]


def test_every_native_key_is_kept_on_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HYDRA)
    run = read_run(tmp_path)
    assert run.config["trainer.precision"].value == "16-mixed"
    assert run.config["model.name"] == Hyperparameter("mlp", "file", "config.yaml", 2, "model.name")


def test_values_written_as_text_are_numbers(tmp_path: Path) -> None:
    dialect, found = from_mapping(
        {
            "optim.lr": "5e-6",
            "trainer.max_epochs": "3",
            "trainer.gradient_clip_val": "None",
            "data.shuffle": "False",
            "trainer.max_steps": "-1",
        },
        file="params",
    )
    assert dialect == "lightning"
    assert {name: entry.value for name, entry in found.items()} == {
        "learning_rate": 5e-6,
        "num_epochs": 3.0,
        "max_grad_norm": 0.0,
        "shuffle": False,
    }


def test_wandb_wrapping_and_namespaces_are_undone() -> None:
    wrapped = {name: {"value": value, "desc": None} for name, value in HF.items()}
    assert from_mapping(wrapped, file="wandb") == from_mapping(HF, file="wandb")
    _, found = from_mapping({"args": "Namespace(learning_rate=0.00025, batch_size=128, device='cuda', seed=1)"}, file="wandb")
    assert found["learning_rate"].value == 0.00025
    assert found["micro_batch_size"].value == 128
    assert found["learning_rate"].key == "args.learning_rate"


def test_model_config_inside_a_dump_is_not_taken_for_training_arguments() -> None:
    dump = {
        **HF,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "attention_dropout": 0.3,
        "max_length": 20,
        "torch_dtype": "float16",
    }
    _, found = from_mapping(dump, file="wandb")
    assert "dropout" not in found
    assert "max_seq_len" not in found
    assert found["precision"].value == "bf16"


def test_a_models_own_config_gives_only_its_size(tmp_path: Path) -> None:
    shape = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_dropout": 0.1,
        "dropout": 0.1,
    }
    (tmp_path / "config.json").write_text(json.dumps(shape))
    run = read_run(tmp_path)
    assert set(run.hyperparameters) == {"model_parameters"}
    assert run.hyperparameter("model_parameters") == pytest.approx(8.03e9, rel=0.01)
    assert run.hyperparameters["model_parameters"].source == "inferred from the model's shape in config.json"


def test_size_of_gpt2_from_its_shape() -> None:
    assert parameters_from_shape({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}) == pytest.approx(124e6, rel=0.02)
    assert parameters_from_shape({"n_embd": 768, "n_layer": 12}) is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9),
        ("EleutherAI/pythia-160m", 1.6e8),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("gpt2", None),
        ("./base", None),
    ],
)
def test_size_from_a_models_name(name: str, parameters: float | None) -> None:
    _, found = from_mapping({**HF, "model_name_or_path": name}, file="args")
    assert (found["model_parameters"].value if "model_parameters" in found else None) == parameters
    assert found["method"].value == "sft"


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "training_args.json").write_text(json.dumps(HF))
    run = read_run(
        tmp_path,
        learning_rate=Hyperparameter(1e-4, "user"),
        num_epochs=Hyperparameter(5, "file", "trainer_state.json", 3, "num_train_epochs"),
        weight_decay=Hyperparameter(0.1, "file", "wandb", 0, "weight_decay"),
        seed=Hyperparameter(1, "inferred", note="nothing"),
    )
    assert run.hyperparameters["learning_rate"].kind == "user"
    assert run.hyperparameter("num_epochs") == 4.0, "trainer_state.json rounds its epochs up"
    assert run.hyperparameter("weight_decay") == 0.1, "what was recorded while training counts more than a file beside the log"
    assert run.hyperparameter("seed") == 7
    assert run.notes == ["weight_decay is 0.1 in wandb weight_decay and 0.01 in training_args.json:1 weight_decay; the first is used"]


def test_adapter_config_beside_arguments(tmp_path: Path) -> None:
    (tmp_path / "training_args.json").write_text(json.dumps(HF))
    adapter = {
        "peft_type": "LORA",
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "target_modules": ["v_proj", "q_proj"],
        "base_model_name_or_path": None,
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter, indent=1))
    run = read_run(tmp_path)
    assert (run.hyperparameter("lora_rank"), run.hyperparameter("lora_alpha"), run.hyperparameter("method")) == (16, 32.0, "lora")
    assert run.hyperparameters["lora_rank"].source == "adapter_config.json:3 r"
    assert run.dialect == "hf"


@pytest.mark.parametrize(("adapter", "rank"), [({"peft_type": "LORA", "r": 16}, 16), ({"peft_type": "LORA"}, None), ({"r": 16}, None)])
def test_adapter_config_that_does_not_name_its_base_model(tmp_path: Path, adapter: dict[str, Any], rank: int | None) -> None:
    (tmp_path / "training_args.json").write_text(json.dumps(HF))
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    run = read_run(tmp_path)
    assert run.hyperparameter("lora_rank") == rank
    assert run.hyperparameter("method") == ("lora" if rank else None)


def test_defaults_of_the_framework_are_known_but_marked(tmp_path: Path) -> None:
    (tmp_path / "train_config.yaml").write_text("learning_rate: 1.0e-5\nper_device_train_batch_size: 4\nlr_scheduler_type: cosine\n")
    run = read_run(tmp_path)
    entry = run.hyperparameters["max_grad_norm"]
    assert (entry.value, entry.kind) == (1.0, "inferred")
    assert entry.note == "the default of Hugging Face TrainingArguments (train_config.yaml does not set it)"


def test_newest_checkpoint_first(tmp_path: Path) -> None:
    for step, rate in ((5, 1e-3), (100, 1e-4), (20, 1e-5)):
        folder = tmp_path / f"epoch_0_step_{step}"
        folder.mkdir()
        (folder / "config.yaml").write_text(AUTOMODEL.replace("1.0e-05", str(rate)))
    run = read_run(tmp_path)
    assert run.hyperparameter("learning_rate") == 1e-4
    assert run.hyperparameters["learning_rate"].file == "epoch_0_step_100/config.yaml"


@pytest.mark.parametrize(
    "inner",
    [
        "runs/Nov21_21-44-17_host",
        "tb",
        "wandb/offline-run-20261121_214417-z1qojlv0",
        "mlruns/855829751328513120/45f4e08489e34c26afd34f245cdd79a8",
    ],
)
def test_config_above_a_loggers_own_folder(tmp_path: Path, inner: str) -> None:
    (tmp_path / "config.yaml").write_text(HYDRA)
    folder = tmp_path / inner
    folder.mkdir(parents=True)
    assert read_run(folder).hyperparameter("learning_rate") == 1e-3


def test_a_remote_run_takes_no_config_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(HYDRA)
    monkeypatch.chdir(tmp_path)
    assert read_run(Path()).hyperparameters == {}
    local = Run("run", "run", "csv", {}, root=".")
    attach(local, Path())
    assert local.hyperparameters["learning_rate"].file == "config.yaml"


def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "args.json").symlink_to(tmp_path / "args.json")
    run = read_run(tmp_path)
    assert (run.hyperparameters, run.notes) == ({}, [])


def test_implementations_of_one_optimizer_do_not_disagree(tmp_path: Path) -> None:
    (tmp_path / "training_args.json").write_text(json.dumps(HF))
    assert read_run(tmp_path, optimizer=Hyperparameter("adamw_torch_fused", "file", "wandb", 0, "optim")).notes == []


def test_config_above_an_ordinary_folder_is_someone_elses(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HYDRA)
    (tmp_path / "experiment").mkdir()
    assert read_run(tmp_path / "experiment").hyperparameters == {}


def test_hydra_folder(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(HYDRA)
    assert read_run(tmp_path).hyperparameters["learning_rate"].file == ".hydra/config.yaml"


def test_a_single_config_of_any_name_is_found_and_several_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text(HYDRA)
    assert read_run(tmp_path).hyperparameter("learning_rate") == 1e-3
    (tmp_path / "other.yaml").write_text(HYDRA.replace("1e-3", "1e-2"))
    run = read_run(tmp_path)
    assert "learning_rate" not in run.hyperparameters
    assert run.notes == ["2 configs lie beside the log (baseline.yaml, other.yaml) and none is named for it, so none was read"]
    named = Run("other", "logs/other.csv", "csv", {})
    attach(named, tmp_path)
    assert named.hyperparameter("learning_rate") == 1e-2


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "all_results.json", "tokenizer_config.json", "wandb-summary.json", "generation_config.json"]
)
def test_files_that_are_no_configs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"learning_rate": 1.0, "num_train_epochs": 3, "seed": 1}))
    assert read_run(tmp_path).hyperparameters == {}


def test_record_keeps_what_is_known_and_names_the_dialect() -> None:
    run = Run("run", "run", "wandb", {}, hyperparameters={"seed": Hyperparameter(1, "user")})
    record(run, HF, file="config", lines={"learning_rate": 4})
    assert run.hyperparameters["learning_rate"] == Hyperparameter(3e-05, "file", "config", 4, "learning_rate")
    assert run.hyperparameter("seed") == 1
    assert (run.dialect, run.config["optim"].value) == ("hf", "adamw_torch")


# What a file can do to a reader.


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("config.yaml", "optim:\n\tlr: 0.1\n", "config.yaml is not valid YAML (line 2), not read as a config"),
        ("config.json", '{"lr": 0.1,', "config.json is not valid JSON, not read as a config"),
        ("config.json", "", "config.json is not valid JSON, not read as a config"),
        ("config.json", "[" * 100_000, "config.json nested too deeply, not read as a config"),
        ("config.json", '{"a":' * 100_000, "config.json nested too deeply, not read as a config"),
        ("config.yaml", "a: " + "[" * 5_000, "config.yaml nested too deeply, not read as a config"),
        ("config.yaml", "lr: 0.1\nepochs: 3\nlr: 0.2\n", "config.yaml sets lr more than once, the last one counts"),
        ("config.json", '{"lr": 0.1, "epochs": 3, "lr": 0.2}', "config.json sets lr more than once, the last one counts"),
    ],
    ids=["tab", "truncated", "empty", "deep-array", "deep-object", "deep-yaml", "repeated-yaml", "repeated-json"],
)
def test_bad_files_give_a_note(tmp_path: Path, name: str, text: str, note: str) -> None:
    (tmp_path / name).write_text(text)
    run = read_run(tmp_path)
    assert run.notes == [note]
    if "more than once" in note:
        assert (run.hyperparameter("learning_rate"), run.hyperparameter("num_epochs")) == (0.2, 3)


@pytest.mark.parametrize(("name", "limit"), [("config.json", MAX_JSON_BYTES), ("config.yaml", MAX_YAML_BYTES)])
def test_huge_files_are_not_read(tmp_path: Path, name: str, limit: int) -> None:
    (tmp_path / name).write_text(" " * (limit + 1))
    assert read_run(tmp_path).notes == [f"{name} larger than {limit >> 10} KiB, not read as a config"]


def test_yaml_bomb_and_cyclic_alias_end(tmp_path: Path) -> None:
    levels = ["a0: &a0 {lr: 0.1}"] + [f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}" for n in range(1, 12)]
    (tmp_path / "config.yaml").write_text("\n".join(["lr: 0.5", "epochs: 2", *levels]))
    run = read_run(tmp_path)
    assert run.hyperparameter("learning_rate") == 0.5
    assert run.notes == ["config.yaml holds more than 20000 keys, the rest was not read"]
    (tmp_path / "config.yaml").write_text("lr: 0.5\nepochs: 2\nself: &x\n  one: *x\n  two: *x\n")
    assert read_run(tmp_path).hyperparameter("num_epochs") == 2


def test_tags_construct_nothing(tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").write_text(
        "lr: 0.1\nepochs: 3\nbad: !!python/object/apply:os.system ['touch pwned']\n"
        "args: !!python/object:argparse.Namespace\n  batch_size: 4\n"
    )
    run = read_run(tmp_path)
    assert (run.hyperparameter("learning_rate"), run.hyperparameter("micro_batch_size")) == (0.1, 4)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "config.json").write_bytes(json.dumps({"lr": 0.1, "epochs": 3, "note": "é"}, ensure_ascii=False).encode(encoding))
    assert read_run(tmp_path).hyperparameter("learning_rate") == 0.1


def test_impossible_values_are_left_out() -> None:
    native = {
        "learning_rate": float("nan"),
        "epochs": -1,
        "batch_size": True,
        "weight_decay": -0.1,
        "dropout": 1.5,
        "train_size": 0.8,
        "seed": [1],
        "grad_clip": "x",
    }
    assert from_mapping(native, file="config") == ("generic", {})


def test_sections_of_other_models_and_sets_are_not_the_trainings_own() -> None:
    native = {
        "val": {"batch_size": 7},
        "eval_data": {"batch_size": 9},
        "scheduler": {"patience": 3, "type": "DDPMScheduler"},
        "train": {"batch_size": 4},
    }
    _, found = from_mapping(native, file="config")
    assert {name: entry.value for name, entry in found.items()} == {"micro_batch_size": 4}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lr", "value", "optim", "name", "r", "x.y"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
NATIVE_KEYS = """learning_rate optim optimizer trainer epochs bf16 fp16 peft lora warmup_steps warmup_ratio max_steps devices lrf lr0
step_scheduler per_device_train_batch_size num_train_epochs lr_scheduler_type model_name_or_path quantization_bit"""
native_keys = st.sampled_from(NATIVE_KEYS.split())


@given(st.dictionaries(native_keys, json_values, max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_mapping_gives_values_of_the_right_type(native: dict[str, Any]) -> None:
    dialect, found = from_mapping(native, file="config")
    assert dialect
    for name, entry in found.items():
        kind = HYPERPARAMETERS[name]
        assert kind is object or type(entry.value) is kind
        assert entry.value == entry.value, "never NaN"


@given(
    st.binary(max_size=200) | st.text(alphabet=":-{}[]&*!|>\"'\t\n lr0e1.%@`#,?~<", max_size=60).map(str.encode),
    st.sampled_from(["json", "yaml"]),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, raw: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    path.write_bytes(raw)
    flat, lines, problem = load(path)
    assert set(lines) >= set(flat) or suffix == "json"
    assert "\n" not in problem


def test_flatten_bounds_depth_and_keeps_order() -> None:
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(100):
        deep = {"a": deep}
    assert flatten(deep) == {}
    assert list(flatten({"b": {"y": 1, "x": 2}, "a": 3})) == ["b.y", "b.x", "a"]


def test_comments_and_anchors_keep_their_lines(tmp_path: Path) -> None:
    text = dedent(
        """\
        # a comment
        base: &base
          lr: 0.1

        optim:
          <<: *base
          weight_decay: 0.01  # per step
        epochs: 3
        """
    )
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert run.hyperparameters["weight_decay"].line == 7
    assert run.hyperparameters["num_epochs"].line == 8
    assert run.hyperparameter("learning_rate") == 0.1
