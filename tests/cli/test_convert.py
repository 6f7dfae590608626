"""``diag convert`` on the command line: what it writes where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from diag.cli import main

TRAIN = """\
model_name_or_path: meta-llama/Llama-3.1-8B
learning_rate: 2.0e-4
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
num_train_epochs: 2
lr_scheduler_type: cosine
neftune_noise_alpha: 5.0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(TRAIN)
    return path


def test_yaml_goes_to_the_terminal_and_the_lists_to_stderr(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(config), "--to", "automodel", "--world-size", "2"]) == 0
    said = capsys.readouterr()
    written = yaml.safe_load(said.out)
    assert written["optimizer"]["lr"] == 2e-4
    assert written["step_scheduler"]["global_batch_size"] == 64
    assert "#   neftune_noise_alpha: 5\n" in said.out
    assert "diag: missing: neftune_noise_alpha: 5\n" in said.err
    assert "diag: default: weight_decay 0" in said.err


def test_json_is_pure(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(config), "--to", "deepspeed", "--dataset-size", "12.8k", "--world-size", "2"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["train_batch_size"] == 64
    assert "neftune_noise_alpha" in said.err


def test_the_result_can_be_written_to_a_file_but_not_over_the_source(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = config.with_name("axolotl.yml")
    assert main(["convert", str(config), "--to", "axolotl", "--output", str(target)]) == 0
    assert yaml.safe_load(target.read_text())["base_model"] == "meta-llama/Llama-3.1-8B"
    assert capsys.readouterr().out == ""
    link = config.with_name("link.yaml")
    link.symlink_to(config)
    for path in (config, link):
        assert main(["convert", str(config), "--to", "axolotl", "--output", str(path)]) == 2
    assert config.read_text() == TRAIN


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("learning_rate: [", 2, "is not valid YAML"),
        ("name: ann\nage: 3\n", 3, "is not recognized as a training config"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert main(["convert", str(path), "--to", "hf"]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "axolotel"], "axolotl"),
        (["--to", "hf", "--format", "ymal"], "yaml"),
        (["--to", "peft", "--format", "args"], "takes no args"),
        ([], "--to"),
        (["--to", "hf", "--dialect", "axolotel"], "axolotl"),
    ],
)
def test_wrong_usage(config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["convert", str(config), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path / "no.yaml"), "--to", "hf"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_of_several_trainings_one_is_named_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "from training_hub import sft, osft\n"
        "sft(model_path='m', data_path='d.jsonl', learning_rate=1e-5, num_epochs=1, effective_batch_size=32)\n"
        "osft(model_path='m', data_path='d.jsonl', learning_rate=5e-6, num_epochs=2, effective_batch_size=64, unfreeze_rank_ratio=0.3)\n"
    )
    assert main(["convert", str(script), "--to", "hf"]) == 2
    assert "holds 2 training configs (lines 2, 3)" in capsys.readouterr().err
    assert main(["convert", f"{script}:3", "--to", "hf"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["learning_rate"] == 5e-6


def test_arguments_and_calls_are_ready_to_use(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(config), "--to", "megatron", "--dataset-size", "12800", "--world-size", "2"]) == 0
    command = capsys.readouterr().out
    assert "torchrun --nproc_per_node 2 pretrain_gpt.py \\\n" in command
    assert "--train-iters 400 \\\n" in command
    assert main(["convert", str(config), "--to", "training_hub"]) == 0
    compile(capsys.readouterr().out, "call", "exec")


def test_a_config_may_come_through_a_pipe() -> None:
    arguments = [sys.executable, "-m", "diag", "convert", "-", "--to", "automodel"]
    done = subprocess.run(arguments, input=TRAIN, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["optimizer"]["lr"] == 2e-4
