"""trainer_state.json, as the real Trainer writes it and as it reaches us."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.adapters import Folder, Source
from diag.adapters.trainer_state import ADAPTER, read_state
from diag.errors import InputError
from diag.loading import load
from diag.run import Checkpoint, Run

Train = Callable[..., Path]


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train a linear model with the real Trainer: ``train(poison_at=…, keep_best=…, resume=…, **arguments)`` gives the output folder."""
    import torch
    from torch import nn
    from transformers import EarlyStoppingCallback, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = [{"x": row, "labels": row.sum()} for row in inputs]

    class Net(nn.Module):
        def __init__(self, poison_at: int) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 1)
            self.calls, self.poison_at = 0, poison_at

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            loss = nn.functional.mse_loss(self.linear(x).squeeze(-1), labels)
            if self.training:
                self.calls += 1
                loss = loss * (math.nan if 0 < self.poison_at <= self.calls else 1.0)
            return {"loss": loss}

    def run(
        *, poison_at: int = 0, sets: bool = False, stopping: bool = False, evaluate: bool = False, resume: bool = False, **arguments: Any
    ) -> Path:
        out = arguments.pop("out", None) or tmp_path_factory.mktemp("trainer")
        torch.manual_seed(0)
        settings: dict[str, Any] = {
            "per_device_train_batch_size": 8,
            "max_steps": 20,
            "logging_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 4,
            "save_steps": 8,
            "learning_rate": 0.05,
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            **arguments,
        }
        trainer = Trainer(
            Net(poison_at),
            TrainingArguments(output_dir=str(out), **settings),
            train_dataset=data,
            eval_dataset={"a": data[:16], "b": data[16:32]} if sets else data[:16],
            callbacks=[EarlyStoppingCallback(1, 100.0)] if stopping else [],
        )
        trainer.train(resume_from_checkpoint=resume)
        if evaluate:
            trainer.evaluate()
        if not resume:
            trainer.save_state()
        return Path(out)

    return run


@pytest.fixture(scope="session")
def healthy(train: Train) -> Path:
    return train(sets=True)


def only(path: Path) -> Run:
    (run,) = load(path, adapter="trainer_state")
    return run


def state_of(rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"global_step": max((row.get("step", 0) for row in rows), default=0), "log_history": rows, "max_steps": 100, **fields}


def written(folder: Path, state: Any, name: str = "trainer_state.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(state), encoding="utf-8")
    return path


def test_a_real_run_in_the_common_frame(healthy: Path) -> None:
    run = only(healthy)
    raw = json.loads((healthy / "trainer_state.json").read_text())["log_history"]
    losses = [(row["step"], row["loss"]) for row in raw if "loss" in row]
    curve = run.curves["train/loss"]
    assert list(zip(curve.step.tolist(), curve.value.tolist(), strict=True)) == losses
    assert [name for name, _ in run.eval_losses()] == ["eval/a/loss", "eval/b/loss"]
    assert run.curves["eval/a/loss"].step.tolist() == [4, 8, 12, 16, 20]
    assert len(run.curves["lr"]) == len(run.curves["grad_norm"]) == 10
    assert run.native_names["lr"] == "learning_rate"
    assert np.isfinite(curve.epoch).all()
    assert "train_loss" not in run.curves
    assert run.finished is True
    assert run.planned_steps == 20
    assert run.checkpoints == [Checkpoint(step, f"checkpoint-{step}", True) for step in (8, 16, 20)]
    assert run.hyperparameter("micro_batch_size") == 8
    assert run.hyperparameter("eval_steps") == 4
    assert run.notes == []
    assert (run.id, run.path, run.adapter) == (healthy.name, "trainer_state.json", "trainer_state")


def test_the_same_run_from_file_checkpoints_and_tree(healthy: Path, tmp_path: Path) -> None:
    whole = only(healthy)
    assert only(healthy / "trainer_state.json").curves["train/loss"].step.tolist() == whole.curves["train/loss"].step.tolist()
    shutil.copytree(
        healthy, tmp_path / "project" / "lr" / "first", ignore=shutil.ignore_patterns("*.pt", "*.safetensors", "*.bin", "*.pth")
    )
    shutil.copytree(tmp_path / "project" / "lr" / "first", tmp_path / "project" / "lr" / "second")
    (tmp_path / "project" / "lr" / "second" / "trainer_state.json").unlink()
    runs = load(tmp_path / "project")
    assert [(run.id, run.path) for run in runs] == [
        ("lr/first", "lr/first/trainer_state.json"),
        ("lr/second", "lr/second/checkpoint-20/trainer_state.json"),
    ]
    assert [run.steps for run in runs] == [20, 20]


def test_one_checkpoint_named(healthy: Path) -> None:
    run = only(healthy / "checkpoint-8")
    assert run.steps == 8
    assert run.finished is None  # later checkpoints exist
    assert run.root == str(healthy)


def test_nan_hidden_by_the_filter_is_uncovered(train: Train) -> None:
    run = only(train(poison_at=13))
    raw = json.loads((Path(run.root) / "trainer_state.json").read_text())["log_history"]
    assert [row["loss"] for row in raw if "loss" in row][-1] == 0.0
    assert np.isnan(run.curves["train/loss"].value[-3:]).all()
    assert np.isnan(run.curves["eval/loss"].value[-1])
    assert any("from step 14 hides NaN" in note for note in run.notes)


def test_nan_without_the_filter_is_read_as_logged(train: Train) -> None:
    run = only(train(poison_at=13, logging_nan_inf_filter=False))
    assert np.isnan(run.curves["train/loss"].value[-1])
    assert run.notes == []


def test_early_stopping_and_the_reloaded_best_model(train: Train) -> None:
    out = train(stopping=True, load_best_model_at_end=True, evaluate=True, save_steps=4)
    state = json.loads((out / "trainer_state.json").read_text())
    run = only(out)
    evaluations = [(row["step"], row["eval_loss"]) for row in state["log_history"] if "eval_loss" in row]
    curve = run.curves["eval/loss"]
    assert evaluations[-1][0] == evaluations[-2][0]  # evaluate() after training repeats the last step
    assert list(zip(curve.step.tolist(), curve.value.tolist(), strict=True)) == evaluations[:-1]
    assert any("left out" in note for note in run.notes)
    assert run.hyperparameter("early_stopping_patience") == 1
    assert run.hyperparameter("early_stopping_threshold") == 100.0
    assert run.steps < 20
    assert run.finished is True


def test_after_a_resume_the_newest_state_counts(train: Train, tmp_path: Path) -> None:
    out = train(out=tmp_path / "out", max_steps=8)
    train(out=out, max_steps=20, resume=True)
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == 8
    run = only(out)
    assert run.path == "checkpoint-20/trainer_state.json"
    assert run.curves["train/loss"].step.tolist() == list(range(2, 21, 2))


def test_trainings_that_share_a_folder_stay_apart(tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, 3.0), (15, 5.0)):
        rows = [{"loss": loss - 0.01 * i, "step": i} for i in range(1, step + 1)]
        written(tmp_path / f"checkpoint-{step}", state_of(rows))
    written(tmp_path / "checkpoint-1", state_of([]))
    runs = load(tmp_path)
    assert sorted(run.steps for run in runs) == [15, 20]
    first = next(run for run in runs if run.steps == 20)
    assert [checkpoint.step for checkpoint in first.checkpoints] == [1, 10, 20]


def test_an_unreadable_newest_state_falls_back_to_the_one_before(healthy: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-8", "checkpoint-16"):
        (tmp_path / name).mkdir()
        shutil.copy(healthy / name / "trainer_state.json", tmp_path / name)
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"global_step": 20, "log_history"')
    run = only(tmp_path)
    assert run.steps == 16
    assert run.notes[0].startswith("checkpoint-20/trainer_state.json was passed over")


def test_a_truncated_state_gives_its_complete_rows(healthy: Path, tmp_path: Path) -> None:
    text = (healthy / "trainer_state.json").read_text()
    (tmp_path / "trainer_state.json").write_text(text[: text.index('"step": 10') + 5])
    run = only(tmp_path)
    assert run.curves["train/loss"].step.tolist() == [2, 4, 6, 8]
    assert "cut off" in run.notes[0]


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(healthy: Path, tmp_path: Path, mark: str) -> None:
    (tmp_path / "trainer_state.json").write_text((healthy / "trainer_state.json").read_text(), encoding=mark)
    assert only(tmp_path).steps == 20


def test_an_empty_history_is_a_run_with_a_note(tmp_path: Path) -> None:
    run = only(written(tmp_path, state_of([])))
    assert run.curves == {}
    assert "log_history is empty" in run.notes[0]


def test_odd_names_and_odd_values(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"loss": "1.5", "learning_rate": "1e-5", "step": 1, "epoch": "0.1"},
        {"loss": None, "learning_rate": 1e-5, "step": 2},
        {"learning_rate": 1e-5, "step": 3},
        {"loss": "NaN", "step": 4.0, "tags": ["x"], "nested": {"a": 1}},
        {"loss": "Infinity", "step": "5"},
        "not a row",
        {"loss": 10**400, "step": 6},
    ]
    path = written(tmp_path, {"log_history": rows, "global_step": "6", "max_steps": None}, "trainer_state.a599423.json")
    run = only(path)
    curve = run.curves["train/loss"]
    assert curve.step.tolist() == [1, 4, 5, 6]
    assert curve.value[0] == 1.5
    assert np.isnan(curve.value[1])
    assert np.isinf(curve.value[2:]).all()
    assert run.curves["lr"].step.tolist() == [1, 2, 3]
    assert any("not rows" in note for note in run.notes)


def test_lr_for_learning_rate_and_rows_without_a_step(tmp_path: Path) -> None:
    rows = [{"loss": 2.0, "lr": 1e-4}, {"loss": 1.5, "lr": 5e-5}]
    run = only(written(tmp_path, {"log_history": rows, "logging_steps": 10}))
    assert run.curves["lr"].value.tolist() == [1e-4, 5e-5]
    assert run.curves["train/loss"].step.tolist() == [10, 20]


def test_the_best_checkpoint_is_known_by_name_when_it_is_gone(tmp_path: Path) -> None:
    for separator in ("/", "\\"):
        best = separator.join(("", "home", "someone", "out", "checkpoint-50"))
        run = only(written(tmp_path, state_of([{"loss": 1.0, "step": 100}], best_model_checkpoint=best)))
        assert run.checkpoints == [Checkpoint(50, "checkpoint-50", False)]


def test_intervals_count_only_where_the_log_shows_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"loss": 1.0, "step": step} for step in range(10, 101, 10)] + [
        {"eval_loss": 1.0, "step": 33},
        {"eval_loss": 1.0, "step": 66},
    ]
    state = state_of(rows, logging_steps=0.1, eval_steps=500, save_steps=500)
    run = only(written(tmp_path, state))
    assert run.hyperparameters["logging_steps"].value == 10
    assert run.hyperparameters["logging_steps"].kind == "file"
    assert run.hyperparameter("save_steps") is None
    assert run.hyperparameter("eval_steps") != 500  # evaluated every epoch


def test_a_trial_of_a_search_tells_its_hyperparameters(tmp_path: Path) -> None:
    trial = {"learning_rate": 3e-5, "per_device_train_batch_size": 16, "num_train_epochs": 4}
    run = only(written(tmp_path, state_of([{"loss": 1.0, "step": 100}], trial_params=trial)))
    assert run.hyperparameter("learning_rate") == 3e-5
    assert run.hyperparameters["learning_rate"].file == "trainer_state.json"


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    written(tmp_path, state_of([{"loss": 1.0, "step": 1}]))
    marker = tmp_path / "opened"
    (tmp_path / "training_args.bin").write_bytes(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    assert only(tmp_path).steps == 1
    assert not marker.exists()


@pytest.mark.parametrize("content", ["[]", '{"log_history": 3}', '{"other": []}', "null"])
def test_json_that_is_no_state_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(content)
    with pytest.raises(InputError, match="log_history"):
        ADAPTER.read(Source("trainer_state", tmp_path, (path,)))


def test_other_json_is_not_claimed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 8}')
    assert ADAPTER.find_file(path) is None
    assert list(ADAPTER.find(Folder(tmp_path, ("config.json", "training_args.bin"), ("model",)))) == []


rows_of_any_shape = st.lists(
    st.dictionaries(
        st.sampled_from(["loss", "eval_loss", "step", "epoch", "grad_norm", "learning_rate", "eval_x_loss", "train_runtime", "reward"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    )
    | st.none()
    | st.integers(),
    max_size=12,
)


@given(
    rows_of_any_shape,
    st.dictionaries(
        st.sampled_from(["global_step", "max_steps", "logging_steps", "stateful_callbacks"]), st.none() | st.floats() | st.text()
    ),
)
def test_any_history_gives_a_sorted_run(rows: list[Any], fields: dict[str, Any]) -> None:
    here = Path("nowhere")
    run = read_state({**fields, "log_history": rows}, here / "trainer_state.json", here)
    for curve in run.curves.values():
        assert (np.diff(curve.step) > 0).all()
        assert len(curve.value) == len(curve.step) == len(curve.epoch)


def test_a_state_under_any_json_name(healthy: Path, tmp_path: Path) -> None:
    shutil.copy(healthy / "trainer_state.json", tmp_path / "training_logs.json")
    (run,) = load(tmp_path / "training_logs.json")
    assert (run.adapter, run.steps) == ("trainer_state", 20)
