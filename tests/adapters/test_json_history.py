"""JSON histories of Keras, detectron2, MMEngine and of hand-written loops."""
# ruff: noqa: E501 - histories stand as they are written

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag.adapters import Folder
from diag.adapters.json_history import ADAPTER
from diag.errors import InputError
from diag.run import Run


def read(tmp_path: Path, content: Any, name: str = "history.json") -> Run:
    """The run in a JSON file; text is written as it is."""
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    source = ADAPTER.find_file(path)
    assert source is not None
    (run,) = ADAPTER.read(source)
    return run


def points(run: Run, metric: str) -> list[tuple[int, Any]]:
    curve = run.curves[metric]
    return [(int(s), float(v)) for s, v in zip(curve.step, curve.value, strict=True)]


HISTORIES: dict[str, tuple[Any, str]] = {
    "keras": ({"loss": [0.9, 0.7, 0.6], "val_loss": [0.95, 0.8, 0.75]}, "history.json"),
    "keras in a history member": ({"history": {"loss": [0.9, 0.7, 0.6], "val_loss": [0.95, 0.8, 0.75]}, "params": {"epochs": 3}}, "h.json"),
    "nested": ({"train": {"loss": [0.9, 0.7, 0.6]}, "val": {"loss": [0.95, 0.8, 0.75]}}, "metrics.json"),
    "with epochs": ({"epoch": [1, 2, 3], "train_loss": [0.9, 0.7, 0.6], "val_loss": [0.95, 0.8, 0.75]}, "log.json"),
    "rows": ([{"epoch": e, "train_loss": t, "val_loss": v} for e, t, v in ((1, 0.9, 0.95), (2, 0.7, 0.8), (3, 0.6, 0.75))], "log.json"),
    "rows in a member": ({"config": {"lr": 0.1}, "history": [{"epoch": e, "train": {"loss": t}, "val": {"loss": v}} for e, t, v in ((0, 0.9, 0.95), (1, 0.7, 0.8), (2, 0.6, 0.75))]}, "log.json"),
    "rows by epoch": ({"epoch_1": {"train_loss": 0.9, "val_loss": 0.95}, "epoch_2": {"train_loss": 0.7, "val_loss": 0.8}, "epoch_3": {"train_loss": 0.6, "val_loss": 0.75}}, "log.json"),
    "pandas columns": ({"loss": {"0": 0.9, "1": 0.7, "2": 0.6}, "val_loss": {"0": 0.95, "1": 0.8, "2": 0.75}}, "history.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str, tmp_path: Path) -> None:
    content, file = HISTORIES[name]
    run = read(tmp_path, content, file)
    assert points(run, "train/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert points(run, "eval/loss") == [(1, 0.95), (2, 0.8), (3, 0.75)]


def test_detectron2_metrics_with_a_restart(tmp_path: Path) -> None:
    lines = [{"iteration": i, "lr": 1e-3, "total_loss": 5.0 - 0.01 * i} for i in (19, 39, 59)] + [
        {"iteration": i, "lr": 1e-3, "total_loss": 3.0 - 0.01 * i} for i in (19, 39, 59, 79)
    ]
    run = read(tmp_path, "\n".join(map(json.dumps, lines)) + "\n", "metrics.json")
    assert points(run, "train/loss") == [
        (20, pytest.approx(2.81)),
        (40, pytest.approx(2.61)),
        (60, pytest.approx(2.41)),
        (80, pytest.approx(2.21)),
    ]
    assert [(o.step_from, o.step_to) for o in run.overlaps if o.metric == "train/loss"] == [(60, 20)]


def test_mmengine_scalars(tmp_path: Path) -> None:
    lines = [{"lr": 0.01, "loss": 2.0 - 0.1 * i, "loss_cls": 1.0, "epoch": 1, "step": 50 * i, "memory": 1000} for i in range(1, 6)]
    run = read(tmp_path, "\n".join(map(json.dumps, lines)), "scalars.json")
    assert [step for step, _ in points(run, "train/loss")] == [50, 100, 150, 200, 250]
    assert "loss_cls" in run.curves


def test_sparse_evaluations_are_spread(tmp_path: Path) -> None:
    run = read(tmp_path, {"train_loss": [1.0 - 0.1 * i for i in range(8)], "val_loss": [1.1, 0.8]})
    assert [step for step, _ in points(run, "eval/loss")] == [4, 8]


def test_nan_null_and_text_numbers(tmp_path: Path) -> None:
    run = read(tmp_path, '{"loss": [0.9, NaN, "0.5", null, Infinity], "val_loss": [1, 2, 3, 4, 5]}')
    curve = run.curves["train/loss"]
    assert list(curve.step) == [1, 2, 3, 5]
    assert math.isnan(curve.value[1]) and curve.value[2] == 0.5 and math.isinf(curve.value[3])


def test_truncated_history_is_read_up_to_the_break(tmp_path: Path) -> None:
    text = json.dumps([{"epoch": i, "loss": 1.0 / i, "val_loss": 1.1 / i} for i in range(1, 30)])
    run = read(tmp_path, text[: int(len(text) * 0.8)])
    assert 15 < len(run.curves["train/loss"]) < 29
    assert run.notes


NO_LOGS = {
    "config.json": {"loss": [1.0, 2.0], "model_type": "llama"},
    "data.json": [{"text": "the loss was 5", "label": 1}, {"text": "b", "label": 0}],
    "results_2024-01-01T00-00-00.json": {"results": {"arc": {"acc,none": 0.5}}, "configs": {}},
    "trainer_state.json": {"global_step": 1, "log_history": [{"loss": 1.0, "step": 1}, {"loss": 0.9, "step": 2}]},
    "all_results.json": {"train_loss": 0.5, "eval_loss": 0.4},
    "model.json": {"layers": [1, 2, 3], "name": "mlp"},
}


@pytest.mark.parametrize("name", NO_LOGS)
def test_other_json_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(NO_LOGS[name]))
    assert list(ADAPTER.find(Folder(tmp_path, (name,), ()))) == []


def test_a_claimed_file_without_history_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"loss_weight": 1.0, "aux_loss": 0.5, "name": "x"}))
    source = ADAPTER.find_file(path)
    if source is not None:
        with pytest.raises(InputError, match="holds no"):
            ADAPTER.read(source)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["loss", "val_loss", "epoch", "step", "train", "history", "x"]), inner, max_size=5)
    ),
    max_leaves=25,
)


@given(value=JSON)
def test_no_json_makes_it_fail(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("h") / "history.json"
    path.write_text(json.dumps({"loss": [1.0, 0.5], "more": value}))
    source = ADAPTER.find_file(path)
    assert source is not None
    (run,) = ADAPTER.read(source)
    assert len(run.curves)


@pytest.mark.parametrize("text", ["", "   ", "{", "[1, 2", "null", '"loss"'])
def test_broken_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text(text)
    source = ADAPTER.find_file(path)
    assert source is None


def test_a_report_of_diag_in_the_folder_of_its_run_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(json.dumps({"loss": [2.0 / (step + 1) for step in range(30)]}))
    before = diag.analyze(tmp_path)
    (tmp_path / "report.json").write_text(before.to_json())
    assert diag.analyze(tmp_path).to_json() == before.to_json()
