"""The callback in real trainings of ``transformers.Trainer``."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import diag
from diag.check import Finding
from diag.errors import UsageError
from diag.result import RunReport

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "schema.json").read_text(encoding="utf-8"))

TRAIN = """
def train(model_folder, output, rate, callback, steps=40, **settings):
    import torch
    from tiny_models import sentences
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments
    from diag.replay.pretrained import quiet

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = [dict(tokenizer(text, truncation=True, max_length=16)) for text in sentences(96)]
    options = dict(
        output_dir=str(output), max_steps=steps, per_device_train_batch_size=4, learning_rate=rate, logging_steps=2,
        eval_strategy="steps", eval_steps=10, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, seed=0,
    )
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(model_folder)
    trainer = Trainer(
        model=model, args=TrainingArguments(**{**options, **settings}), train_dataset=rows[:80], eval_dataset=rows[80:],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False), callbacks=[callback],
    )
    trainer.train()
    return trainer
"""
names: dict[str, Any] = {}
exec(compile(TRAIN, "train.py", "exec"), names)  # the same text is the script of the distributed training
train: Callable[..., Any] = names["train"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model is trained faster by one thread than by several that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen() -> list[tuple[Finding, RunReport]]:
    return []


def callback(seen: list[tuple[Finding, RunReport]], **options: Any) -> Any:
    from diag.integrations import HuggingFaceCallback

    return HuggingFaceCallback(on_finding=lambda finding, report: seen.append((finding, report)), **options)


def test_a_healthy_training_is_not_stopped(tiny_model: Callable[..., Path], tmp_path: Path, seen: list[tuple[Finding, RunReport]]) -> None:
    watch = callback(seen, stop_on=["DIVERGED", "warning"], write_report=tmp_path / "reports" / "report.json")
    trainer = train(tiny_model(), tmp_path / "out", 1e-3, watch)
    assert trainer.state.global_step == 40
    assert [finding.code for finding, report in seen if finding.severity != "info" and report.run.ongoing] == []
    report = json.loads((tmp_path / "reports" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, SCHEMA)
    (run,) = report["runs"]
    assert (run["adapter"], run["dialect"], run["steps"]) == ("trainer_state", "hf", 40)
    known = {name: (entry["value"], entry["source"]) for name, entry in run["hyperparameters"].items()}
    assert known["learning_rate"] == (1e-3, "TrainingArguments learning_rate")
    assert known["micro_batch_size"] == (4, "TrainingArguments per_device_train_batch_size")
    assert known["dataset_size"] == (80, "the training")
    assert known["global_batch_size"][0] == 4
    assert known["model_parameters"][0] == sum(one.numel() for one in trainer.model.parameters())


@pytest.mark.parametrize("hidden", [True, False])
def test_a_nan_stops_the_training_at_the_log_that_holds_it(
    tiny_model: Callable[..., Path],
    tmp_path: Path,
    seen: list[tuple[Finding, RunReport]],
    caplog: pytest.LogCaptureFixture,
    hidden: bool,
) -> None:
    """With the Trainer's filter the first loss beside a NaN is an ordinary number; the gradient norm tells."""
    caplog.set_level(logging.INFO, logger="diag")
    watch = callback(seen, stop_on="DIVERGED", write_report=tmp_path / "report.txt")
    trainer = train(tiny_model(), tmp_path / "out", 1e9, watch, max_grad_norm=0.0, logging_nan_inf_filter=hidden)
    first = next(row for row in trainer.state.log_history if str(row.get("grad_norm")) == "nan")
    assert trainer.state.global_step == first["step"] < 10
    assert (str(first["loss"]) == "nan") is not hidden
    finding, report = seen[0]
    assert (finding.code, finding.metric, finding.step_start) == ("DIV001", "train/loss", first["step"])
    assert report.diagnosis.verdict == "DIVERGED"
    assert report.overrides is not None
    assert report.overrides.arguments == ["--max_grad_norm", "1.0", "--learning_rate", "100000000.0"]
    assert any(record.levelname == "ERROR" and "DIV001" in record.message for record in caplog.records)
    assert any("stopping the training" in record.message for record in caplog.records)
    assert "DIVERGED" in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_a_loss_that_blows_up_stops_it(tiny_model: Callable[..., Path], tmp_path: Path, seen: list[tuple[Finding, RunReport]]) -> None:
    trainer = train(tiny_model(), tmp_path, 3.0, callback(seen, stop_on="error"), steps=120, lr_scheduler_type="constant", logging_steps=1)
    assert 10 <= trainer.state.global_step < 100
    assert "DIV002" in {finding.code for finding, _ in seen}


def test_it_only_tells_unless_asked_to_stop(tiny_model: Callable[..., Path], tmp_path: Path, seen: list[tuple[Finding, RunReport]]) -> None:
    trainer = train(tiny_model(), tmp_path, 1e9, callback(seen), steps=12, max_grad_norm=0.0)
    assert trainer.state.global_step == 12
    assert [finding.metric for finding, _ in seen if finding.code == "DIV001"] == ["train/loss", "eval/loss"]


def test_what_goes_wrong_inside_is_told_once_and_does_not_reach_the_training(
    tiny_model: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diag.integrations import huggingface

    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(huggingface, "read_state", fail)
    trainer = train(tiny_model(), tmp_path, 1e-3, callback([], stop_on="DIVERGED"), steps=6)
    assert trainer.state.global_step == 6
    failures = [record for record in caplog.records if "diag failed" in record.message]
    assert [record.exc_info is not None for record in failures] == [True]


def test_wrong_arguments() -> None:
    for options in ({"stop_on": "nothing"}, {"write_report": "report.nothing"}, {"method": "none"}):
        with pytest.raises(UsageError):
            callback([], **options)


def test_all_processes_of_a_distributed_training_stop_together(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    ending = f"""
        if __name__ == "__main__":
            from pathlib import Path
            from diag.integrations import HuggingFaceCallback

            watch = HuggingFaceCallback(stop_on="DIVERGED")
            options = dict(max_grad_norm=0.0, ddp_backend="gloo", eval_strategy="no", ddp_find_unused_parameters=False)
            trainer = train({str(tiny_model())!r}, {str(tmp_path / "out")!r}, 1e9, watch, **options)
            told = f"{{trainer.args.world_size}} {{trainer.state.global_step}} {{watch.session.report is not None}}"
            Path({str(tmp_path)!r}, f"rank-{{trainer.args.process_index}}").write_text(told)
        """
    script.write_text(TRAIN + textwrap.dedent(ending), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port), str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [(tmp_path / f"rank-{rank}").read_text(encoding="utf-8") for rank in (0, 1)] == ["2 2 True", "2 2 False"]


def test_a_missing_library_is_one_clear_line() -> None:
    code = "import sys; sys.modules['transformers'] = None\nfrom diag.integrations import HuggingFaceCallback"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "ImportError: diag.integrations.huggingface needs transformers; install it with: pip install 'diag[hf]'"
    assert done.stderr.splitlines()[-1] == expected
