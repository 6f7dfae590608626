"""From paths to runs: what is found, what is refused, how runs are told apart and named."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from diag import plugins
from diag.adapters import registry
from diag.errors import InputError, NothingToJudgeError, UsageError
from diag.loading import Problem, attempt, discover, load, settle

SUMMARY = {"train_runtime": 1.0, "train_loss": 2.0, "step": 40}


def losses(scale: float = 1.0) -> list[float]:
    return [scale * (2.0 + 1.5 / (1 + i)) for i in range(40)]


def state(folder: Path, scale: float = 1.0, name: str = "trainer_state.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [{"loss": loss, "learning_rate": 1e-4, "step": i + 1} for i, loss in enumerate(losses(scale))]
    path = folder / name
    path.write_text(json.dumps({"global_step": 40, "log_history": [*rows, SUMMARY], "max_steps": 40}))
    return path


def table(folder: Path, scale: float = 1.0, first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train_loss"])
        writer.writerows((i + first, loss) for i, loss in enumerate(losses(scale)))
    return path


def stream(folder: Path, scale: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"step": i + 1, "loss": round(loss, 4)}) + "\n" for i, loss in enumerate(losses(scale))))
    return path


def events(folder: Path, scale: float = 1.0) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for i, loss in enumerate(losses(scale)):
            writer.add_scalar("train/loss", loss, i + 1)
    return folder


def test_a_tree_of_runs_in_path_order_with_unique_ids(tmp_path: Path) -> None:
    state(tmp_path / "b" / "run")
    table(tmp_path / "a" / "lightning_logs" / "version_0", 1.1)
    table(tmp_path / "a" / "lightning_logs" / "version_1", 1.2)
    stream(tmp_path / "c", 1.3)
    runs = load(tmp_path)
    assert [run.id for run in runs] == ["a/lightning_logs/version_0", "a/lightning_logs/version_1", "b/run", "c"]
    assert [run.path for run in runs][2:] == ["b/run/trainer_state.json", "c/log.jsonl"]


def test_the_adapter_can_be_chosen(tmp_path: Path) -> None:
    state(tmp_path / "a")
    table(tmp_path / "b", 2.0)
    assert [run.adapter for run in load(tmp_path, adapter="csv")] == ["csv"]
    with pytest.raises(UsageError, match="no adapter is called sheep"):
        load(tmp_path, adapter="sheep")
    with pytest.raises(InputError, match="csv adapter"):
        load(tmp_path / "a" / "trainer_state.json", adapter="csv")


def test_formats_of_one_run_are_one_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    state(out)
    table(out / "csv", first=0)
    stream(out)
    events(out / "runs" / "Nov21_10-00-00_host")
    (run,) = load(out)
    assert run.adapter == "trainer_state"
    for name in ("metrics.csv", "log.jsonl", "tensorboard"):
        assert any(name in note for note in run.notes)


def test_other_runs_in_the_same_folder_stay(tmp_path: Path) -> None:
    state(tmp_path)
    table(tmp_path, 1.5)
    runs = load(tmp_path)
    assert [(run.id, run.adapter) for run in runs] == [("trainer_state.json", "trainer_state"), ("metrics.csv", "csv")]


def test_one_bad_source_does_not_stop_the_others(tmp_path: Path) -> None:
    state(tmp_path / "good")
    bad = tmp_path / "bad" / "trainer_state.json"
    bad.parent.mkdir()
    bad.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    problems: list[Problem] = []
    runs = load(tmp_path, on_problem=problems.append)
    assert [run.id for run in runs] == ["good"]
    (problem,) = problems
    assert "git lfs pull" in problem.message
    assert not problem.crashed


def test_a_bad_source_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text("")
    with pytest.raises(InputError, match="is empty"):
        load(tmp_path)
    with pytest.raises(InputError, match="is empty"):
        load(tmp_path / "trainer_state.json")


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"])
def test_named_files_with_nothing_in_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "training.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_logs_has_nothing_to_judge(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.py").write_text("loss = 1\n")
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "data.jsonl").write_text('{"text": "a", "label": 1}\n' * 5)
    with pytest.raises(NothingToJudgeError) as caught:
        load(tmp_path)
    assert caught.value.exit_code == 3


def test_paths_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"does not exist|cannot be opened"):
        load("a\0b")
    with pytest.raises(InputError, match=r"known schemes: .*mlflow"):
        load("gopher://somewhere")
    (tmp_path / "model.safetensors").write_bytes(b"\x00\x01" * 100)
    with pytest.raises(InputError, match="not a training log"):
        load(tmp_path / "model.safetensors")


def test_hidden_and_tool_folders_are_not_searched(tmp_path: Path) -> None:
    state(tmp_path / "run")
    for name in (".git", ".cache", "__pycache__", "node_modules", "venv/lib/site-packages"):
        state(tmp_path / name, 2.0)
    assert [run.id for run in load(tmp_path)] == ["run"]


def test_a_hidden_folder_that_was_named_is_searched(tmp_path: Path) -> None:
    state(tmp_path / ".runs")
    assert [run.id for run in load(tmp_path / ".runs")] == [".runs"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    state(tmp_path / "tree" / "run-1")
    state(tmp_path / "elsewhere", 2.0)
    (tmp_path / "tree" / "latest").symlink_to("run-1", target_is_directory=True)
    (tmp_path / "tree" / "loop").symlink_to(".", target_is_directory=True)
    (tmp_path / "tree" / "outside").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "tree" / "broken").symlink_to("nowhere")
    assert [run.id for run in load(tmp_path / "tree")] == ["run-1", "outside"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    state(tmp_path / "good")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    problems: list[Problem] = []
    try:
        assert [run.id for run in load(tmp_path, on_problem=problems.append)] == ["good"]
    finally:
        locked.chmod(0o700)
    assert problems[0].path == "locked"


def test_configs_beside_the_log_are_read(tmp_path: Path) -> None:
    state(tmp_path)
    (tmp_path / "training_args.json").write_text('{\n  "learning_rate": 0.0003,\n  "per_device_train_batch_size": 4\n}')
    (run,) = load(tmp_path)
    assert run.hyperparameter("learning_rate") == 3e-4
    assert run.hyperparameters["learning_rate"].line == 2


def test_sources_can_be_read_in_other_processes(tmp_path: Path) -> None:
    for index in range(3):
        state(tmp_path / f"run-{index}", 1.0 + index)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "trainer_state.json").write_text("{")
    sources = discover(tmp_path)
    assert pickle.loads(pickle.dumps(sources)) == sources
    with ProcessPoolExecutor(2) as pool:
        readings = list(pool.map(attempt, sources))
    problems: list[Problem] = []
    runs = settle(readings, tmp_path, on_problem=problems.append)
    assert [run.id for run in runs] == ["run-0", "run-1", "run-2"]
    assert len(problems) == 1
    assert [run.curves["train/loss"].value.tolist() for run in runs] == [losses(1.0 + index) for index in range(3)]


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    state(tmp_path / "a")
    table(tmp_path / "b")

    def seen() -> list[tuple[Any, ...]]:
        return [(run.id, run.path, sorted(run.curves), run.notes, run.hyperparameters) for run in load(tmp_path)]

    assert seen() == seen()


def test_nothing_is_written_beside_the_log(tmp_path: Path) -> None:
    state(tmp_path)
    table(tmp_path / "csv", 3.0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    load(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[importlib.metadata.EntryPoint]]:
    """The entry points the registry sees, to be changed by a test."""
    points = list(importlib.metadata.entry_points(group=registry.GROUP))
    monkeypatch.setattr(plugins, "points", lambda group: {point.name: point for point in points})
    registry.forget()
    yield points
    registry.forget()


def test_an_adapter_that_cannot_be_imported_does_not_break_the_others(
    tmp_path: Path, entry_points: list[importlib.metadata.EntryPoint]
) -> None:
    entry_points.append(importlib.metadata.EntryPoint("stranger", "no_such_module:ADAPTER", "diag.adapters"))
    state(tmp_path)
    problems: list[Problem] = []
    assert len(load(tmp_path, on_problem=problems.append)) == 1
    assert problems[0].crashed
    assert "stranger" in problems[0].message
    with pytest.raises(UsageError, match="cannot be imported"):
        load(tmp_path, adapter="stranger")


def test_a_tree_that_was_never_installed_says_so(tmp_path: Path, entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points.clear()
    with pytest.raises(UsageError, match="pip install"):
        load(tmp_path)


def test_adapters_are_imported_only_where_names_suggest_them(tmp_path: Path) -> None:
    state(tmp_path / "checkpoint-40")
    table(tmp_path / "csv", 2.0)
    code = (
        "import sys; from diag.loading import load; print(len(load(sys.argv[1])));"
        "print(sorted(n for n in sys.modules if n in ('diag.adapters.' + a for a in ('console', 'mlflow', 'tensorboard', 'wandb'))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["2", "[]"]


def test_every_built_in_adapter_loads() -> None:
    found = registry.registry()
    assert found.broken == {}
    assert {"trainer_state", "wandb", "mlflow", "csv", "jsonl", "tensorboard", "json_history", "console"} <= set(found.adapters)
    fidelities = [adapter.fidelity for adapter in found.adapters.values()]
    assert fidelities == sorted(fidelities, reverse=True)
