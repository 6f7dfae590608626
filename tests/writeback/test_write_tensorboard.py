"""The verdict among a run's event files, read back by TensorBoard itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from tracking import free_port

import diag
from diag.adapters.tensorboard import OWN_FILE
from diag.result import Problem
from diag.writeback import Written, write_back
from diag.writeback.tensorboard import TAG
from diag.writeback.tensorboard_page import page

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

START_SECONDS = 120.0
"""Seconds that TensorBoard may take to show its first text."""


def write(folder: Path) -> list[Written]:
    written = list(write_back(diag.analyze(folder), ["tensorboard"]))
    assert all(isinstance(outcome, Written) for outcome in written)
    return written  # type: ignore[return-value]


def log(folder: Path, **losses: list[float]) -> None:
    with SummaryWriter(str(folder)) as writer:
        for name, values in losses.items():
            for step, value in enumerate(values):
                writer.add_scalar(f"{name}/loss", value, step, walltime=1_700_000_000 + step)


@contextmanager
def board(folder: Path) -> Iterator[Any]:
    """A real TensorBoard on a folder: a function from the path of a request to the JSON of its answer."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def get(path: str) -> Any:
        with urllib.request.urlopen(address + path, timeout=5) as answer:
            return json.load(answer)

    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if get("/data/plugin/text/tags"):
                    break
            except OSError:
                pass
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        yield get
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_the_text_tab_shows_the_verdict_of_each_run(fixtures: Path, tmp_path: Path) -> None:
    for name in ("tensorboard-healthy", "tensorboard-divergence"):
        shutil.copytree(fixtures / name, tmp_path / name)
    assert len(write(tmp_path)) == 2
    with board(tmp_path) as get:
        assert get("/data/plugin/text/tags") == {"tensorboard-healthy": [TAG], "tensorboard-divergence": [TAG]}
        (shown,) = get("/data/plugin/text/text?run=tensorboard-divergence&tag=diag/report")
        (healthy,) = get("/data/plugin/text/text?run=tensorboard-healthy&tag=diag/report")
        assert "val/loss" in get("/data/plugin/scalars/tags")["tensorboard-divergence"]
    assert shown["text"].startswith("<p><strong>DIVERGED</strong>")
    assert "<td>DIV002 loss-blow-up</td>" in shown["text"]
    assert "<strong>HEALTHY</strong>" in healthy["text"]


def test_the_text_stands_at_the_end_of_the_run_and_moves_nothing(tmp_path: Path) -> None:
    log(tmp_path, train=[1.0 / (step + 1) for step in range(30)])
    (entry,) = diag.analyze(tmp_path).runs
    (written,) = write(tmp_path)
    assert written.place == f"TensorBoard: {tmp_path / OWN_FILE}"
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    (text,) = accumulator.Tensors(TAG)
    assert (text.step, text.wall_time) == (entry.run.steps, 1_700_000_029)
    assert text.tensor_proto.string_val == [page(entry).encode()]
    assert accumulator.SummaryMetadata(TAG).plugin_data.plugin_name == "text"
    assert len(accumulator.Scalars("train/loss")) == 30
    assert accumulator.FirstEventTimestamp() == 1_700_000_000


def test_a_second_verdict_replaces_the_first_and_the_run_reads_as_before(fixtures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fixtures / "tensorboard-divergence", tmp_path / "run")
    before = diag.analyze(folder).to_json()
    write(folder)
    once = (folder / OWN_FILE).read_bytes()
    assert diag.analyze(folder).to_json() == before
    assert diag.analyze(tmp_path).runs[0].run.path == next(folder.glob("*.host.1.0")).relative_to(tmp_path).as_posix()
    write(folder)
    assert (folder / OWN_FILE).read_bytes() == once
    names = {path.name for path in (fixtures / "tensorboard-divergence").iterdir()}
    assert {path.name for path in folder.iterdir()} == {*names, OWN_FILE}


def test_a_run_split_by_data_set_has_one_verdict_beside_its_files(tmp_path: Path) -> None:
    log(tmp_path / "train", epoch=[1.0 / (step + 1) for step in range(30)])
    log(tmp_path / "validation", epoch=[1.1 / (step + 1) for step in range(30)])
    before = diag.analyze(tmp_path).to_json()
    write(tmp_path)
    assert [path.parent.name for path in tmp_path.rglob(OWN_FILE)] == ["train"]
    assert diag.analyze(tmp_path).to_json() == before


def test_a_trainer_s_event_files_get_the_verdict_of_the_run_they_belong_to(fixtures: Path, tmp_path: Path) -> None:
    run = shutil.copytree(fixtures / "hf-overfit", tmp_path / "run")
    (entry,) = diag.analyze(run).runs
    with SummaryWriter(str(run / "runs" / "Nov21_22-30-00_host")) as writer:
        for metric, name in (("train/loss", "train/loss"), ("eval/loss", "eval/loss")):
            curve = entry.run.curves[metric]
            for step, value in zip(curve.step.tolist(), curve.value.tolist(), strict=True):
                writer.add_scalar(name, value, step)
    (entry,) = diag.analyze(run).runs
    assert entry.run.adapter == "trainer_state"
    write(run)
    (path,) = run.rglob(OWN_FILE)
    assert path.parent.name == "Nov21_22-30-00_host"
    assert b"**OVERFIT**" in path.read_bytes()


def test_the_verdict_itself_is_no_log(fixtures: Path, tmp_path: Path, diag_command: Command) -> None:
    folder = shutil.copytree(fixtures / "tensorboard-healthy", tmp_path / "run")
    write(folder)
    done = diag_command("analyze", folder / OWN_FILE)
    assert done.returncode == 2
    assert done.stderr.endswith("holds a verdict that diag wrote, not a training; name the event files beside it, or their folder\n")
    for path in folder.iterdir():
        if path.name != OWN_FILE:
            path.unlink()
    assert diag_command("analyze", folder).returncode == 3


def test_a_run_without_times_or_values(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_text("note", "nothing was logged")
    (written,) = write(tmp_path)
    assert Path(written.place.removeprefix("TensorBoard: ")).is_file()


def test_where_nothing_can_be_written_one_line_says_so(fixtures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fixtures / "tensorboard-healthy", tmp_path / "run")
    (folder / OWN_FILE).mkdir()  # holds off the superuser too
    (outcome,) = write_back(diag.analyze(folder), ["tensorboard"])
    assert isinstance(outcome, Problem)
    assert outcome.message == f"{folder}: cannot be written (Is a directory); check its permissions"
    assert not list(folder.glob(".*"))
