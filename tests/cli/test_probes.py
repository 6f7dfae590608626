"""``diag replay`` and ``diag lr-find`` on a Hugging Face model and a file."""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_model, sentences, write_lines

import diag.cli
from diag.replay.huggingface import load
from diag.replay.pretrained import quiet
from diag.replay.probe import Probe
from diag.replay.training import train

Model = Callable[..., Path]
SHORT = ("--seeds", "3", "--steps", "24", "--stack", "never")
"""Enough for rates that are far too high."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def record(model: Path, data: Path, *, lora: dict[str, Any] | None = None, **arguments: Any) -> None:
    """A training by transformers.Trainer, in the folder ``run``: what it writes and the arguments it was started with."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

    arguments = {"logging_steps": 1, "eval_strategy": "steps", "eval_steps": 10, "save_strategy": "no", "seed": 1, **arguments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(model)
        rows = [tokenizer(json.loads(line)["text"] + " </s>") for line in data.read_text().splitlines()]
        trained: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        if lora is not None:
            trained = get_peft_model(trained, LoraConfig(**lora, task_type="CAUSAL_LM"))
        args = TrainingArguments("run", report_to=[], disable_tqdm=True, use_cpu=True, **arguments)
        split, collator = len(rows) * 9 // 10, DataCollatorForLanguageModeling(tokenizer, mlm=False)
        trainer = Trainer(trained, args, train_dataset=rows[:split], eval_dataset=rows[split:], data_collator=collator)
        trainer.train()
        trainer.save_state()
    Path("run", "training_args.json").write_text(json.dumps(arguments | {"peft": lora} if lora else arguments))


@pytest.mark.slow
def test_a_rate_far_too_high_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_model(tmp_path / "tiny")
    data = write_lines(tmp_path / "data.jsonl", ({"text": text} for text in sentences(320)))
    record(model, data, learning_rate=0.3, max_steps=96, per_device_train_batch_size=8, lr_scheduler_type="cosine", max_grad_norm=1.0)
    capsys.readouterr()
    assert diag.cli.main(["replay", "run", "--model", "tiny", "--data", "data.jsonl", "--out", "out", *SHORT]) == 0
    text, error = capsys.readouterr()
    assert error == "", "the libraries are silent"
    assert "CONFIRMED" in text and "tiny on data.jsonl on cpu" in text and "learning_rate 0.3" in text
    saved = json.loads(Path("out/replay.json").read_text())
    assert saved["result"] == "CONFIRMED" and saved["probe"] == "tiny on data.jsonl"
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("arm.json")}
    assert diag.cli.main(["replay", "run", "--model", "tiny", "--data", "data.jsonl", "--out", "out", *SHORT]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").rglob("arm.json")}, "nothing is trained again"


@pytest.mark.slow
def test_adapters_on_what_was_learned_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model learns a language; adapters then learn it backwards, with a rate that is far too high."""
    model = save_model(tmp_path / "tiny")
    function = load(str(model), write_lines(tmp_path / "before.jsonl", ({"text": text} for text in sentences(640))))
    made: list[Probe] = []

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made.append(function(hyperparameters, seed))
        return made[-1]

    train(probe, {"learning_rate": 5e-3, "micro_batch_size": 16}, seed=0, steps=150, total_steps=150)
    with quiet():
        made[0].model.save_pretrained(model)  # type: ignore[operator]
    data = write_lines(tmp_path / "data.jsonl", ({"text": " ".join(reversed(text.split()))} for text in sentences(320, seed=9)))
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    record(model, data, lora=lora, learning_rate=0.15, max_steps=160, per_device_train_batch_size=8, lr_scheduler_type="cosine")
    capsys.readouterr()
    assert diag.cli.main(["replay", "run", "--model", "tiny", "--data", "data.jsonl", "--out", "out", *SHORT]) == 0
    assert "CONFIRMED" in capsys.readouterr().out
    log = next(Path("out").glob("*/prescription/seed-0/*.jsonl"))
    assert '"lora_rank": 4' in log.read_text().splitlines()[0]


@pytest.mark.slow
def test_a_rate_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "tiny")
    write_lines(tmp_path / "data.jsonl", ({"text": text} for text in sentences(640)))
    code = diag.cli.main(["lr-find", "--model", "tiny", "--data", "data.jsonl", "--steps", "60", "--to", "10", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert 1e-4 < found["learning_rate"] < 0.1


@pytest.mark.parametrize("command", ["replay", "lr-find"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which training? Give --probe file.py:function, or --model and --data"),
        (["--model", "tiny"], "--model tiny: which data? Give --data FILE.jsonl"),
        (["--data", "x.jsonl"], "--data goes with --model"),
        (["--allow-download", "--probe", "x.py"], "--allow-download goes with --model"),
        (["--model", "tiny", "--probe", "x.py"], "--probe and --model are two trainings; give one of them"),
        (["--model", "tiny", "--data", "none.jsonl"], "none.jsonl: does not exist"),
        (["--model", "no/such/folder", "--data", "data.jsonl"], "no/such/folder: does not exist"),
        (["--model", "owner/name", "--data", "data.jsonl"], "owner/name: is no folder here, and not in the cache"),
        (["--model", ".", "--data", "data.jsonl"], ".: holds no config.json"),
        (["--model", "bin", "--data", "data.jsonl"], "bin: holds pickled weights (pytorch_model.bin), which are never loaded"),
        (["--model", "tiny", "--data", "bad.jsonl"], "bad.jsonl: line 2 is not JSON"),
    ],
)
def test_every_mistake_is_one_line_and_no_socket_is_opened(
    command: str,
    arguments: list[str],
    said: str,
    fixtures: Path,
    tiny_model: Model,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(socket, "socket", lambda *given, **named: opened.append(given))
    Path("tiny").symlink_to(tiny_model())
    Path("bin").mkdir()
    Path("bin", "config.json").write_text('{"model_type": "llama"}')
    Path("bin", "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    Path("data.jsonl").write_text('{"text": "the cat"}\n' * 20)
    Path("bad.jsonl").write_text('{"text": "the cat"}\n{"text": "the')
    run = [str(fixtures / "hf-lr-too-high")]
    assert diag.cli.main([command, *(run if command == "replay" else []), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not opened and not Path("pwned").exists()


def test_neither_the_data_nor_the_model_is_written_over(fixtures: Path, tiny_model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.jsonl").write_text('{"text": "the cat"}\n' * 20)
    run = str(fixtures / "hf-lr-too-high")
    for read in ("data.jsonl", str(tiny_model() / "model.safetensors")):
        assert diag.cli.main(["replay", run, "--model", str(tiny_model()), "--data", "data.jsonl", "-o", read]) == 2
        assert "is what is read; write to another file" in capsys.readouterr().err


def test_without_the_libraries_the_extra_is_named(
    fixtures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util
    import sys

    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "transformers" else find(name, *rest))
    Path("data.jsonl").write_text('{"text": "the cat"}\n' * 20)
    assert diag.cli.main(["replay", str(fixtures / "hf-lr-too-high"), "--model", "x", "--data", "data.jsonl"]) == 2
    assert "needs transformers; install it with: pip install 'diag[hf]'" in capsys.readouterr().err
