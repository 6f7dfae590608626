from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from diag import loading
from diag.errors import UsageError
from diag.replay import work
from diag.replay.command_line import CommandLine


def line(text: str, here: Path) -> CommandLine:
    return CommandLine(f"prog {text} {{overrides}}", here)


def log(path: Path, last: int, every: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"step": step, "loss": 3 - step / 100} for step in range(every, last + 1, every)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_earlier_attempt_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    folder, mine = tmp_path / "work", tmp_path / "mine"
    mine.mkdir()
    (mine / "kept").write_text("")
    work.prepare(folder, line("", tmp_path))
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("")
    (folder / "link").symlink_to(mine)
    work.prepare(folder, line("", tmp_path))
    assert [entry.name for entry in folder.iterdir()] == [loading.WORK_MARK]
    assert (mine / "kept").exists()
    with pytest.raises(UsageError, match="holds something that no replay made"):
        work.prepare(mine, line("", tmp_path))
    (tmp_path / "other").symlink_to(folder)
    with pytest.raises(UsageError, match="holds something that no replay made"):
        work.prepare(tmp_path / "other", line("", tmp_path))


def test_what_a_config_reads_is_found_from_the_folder_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text("samples")
    (tmp_path / "more").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "cfg.yaml").write_text("train: data/train.txt\nall: [data, more, ../x, /etc/passwd]\noutput_dir: out\nmodel: nothing\n")
    work.prepare(tmp_path / "work", line("-c cfg.yaml", tmp_path))
    assert (tmp_path / "work" / "data" / "train.txt").read_text() == "samples"
    assert sorted(entry.name for entry in (tmp_path / "work").iterdir()) == [loading.WORK_MARK, "data", "more"]


def test_one_folder_for_all_trainings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "cfg.yaml").write_text(f"output_dir: {tmp_path}/out\n")
    with pytest.raises(UsageError, match=r"output_dir is .*/out, one folder for all trainings"):
        work.inputs(line("-c cfg.yaml", tmp_path))
    assert work.inputs(line("-c cfg.yaml --output_dir {out}", tmp_path)) == []
    with pytest.raises(UsageError, match="names the folder of the run itself"):
        work.refuse_folder(line("--there out", tmp_path), str(tmp_path / "out"))
    work.refuse_folder(line("--there .", tmp_path), str(tmp_path))


def test_the_log_that_comes_as_far_as_it_should_is_read(tmp_path: Path) -> None:
    log(tmp_path / "out" / "metrics.jsonl", 20)
    log(tmp_path / "validation" / "metrics.jsonl", 40, every=10)
    run = work.read(tmp_path, 40)
    assert run is not None and work.reached(run) == 40
    log(tmp_path / "out" / "metrics.jsonl", 38)
    run = work.read(tmp_path, 40)
    assert run is not None and work.reached(run) == 38
    assert [row["step"] for row in work.rows(run, 5)] == [1, 2, 3, 4, 5]


def test_what_is_only_linked_to_is_not_read(tmp_path: Path) -> None:
    log(tmp_path / "elsewhere" / "metrics.jsonl", 40)
    folder = tmp_path / "work"
    work.prepare(folder, line("", tmp_path))
    (folder / "data").symlink_to(tmp_path / "elsewhere")
    (folder / "metrics.jsonl").symlink_to(tmp_path / "elsewhere" / "metrics.jsonl")
    assert work.read(folder, 40) is None
    log(folder / "own" / "metrics.jsonl", 10)
    run = work.read(folder, 40)
    assert run is not None and work.reached(run) == 10


def test_a_search_from_above_passes_it_over(tmp_path: Path) -> None:
    folder = tmp_path / "recorded" / "seed-0" / "work"
    work.prepare(folder, line("", tmp_path))
    log(folder / "metrics.jsonl", 20)
    log(tmp_path / "recorded" / "seed-0" / "metrics.jsonl", 10)
    assert [run.steps for run in loading.load(tmp_path)] == [10]
    assert [run.steps for run in loading.load(folder)] == [20]


def test_a_loss_that_ended_the_training_without_being_logged(tmp_path: Path) -> None:
    lines = [f"step {step}: loss {2 - step / 10:.4f}\n" for step in range(1, 9)]
    (tmp_path / work.OUTPUT).write_text("".join([*lines, "ERROR: loss is nan, stopping training\n"]))
    run = work.read(tmp_path, 20)
    assert run is not None
    logged = work.rows(run, 20)
    assert work.is_finite(logged)
    found = list(work.crash(run, logged, 20))
    assert len(found) == 1 and found[0]["step"] == 9 and math.isnan(found[0]["train/loss"])


def test_the_last_lines_of_a_progress_bar(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n 10%|#\r 20%|##\r\n\xff last \n\n")
    assert work.tail(tmp_path / "log") == ["one", "10%|#", "20%|##", "� last"]
    assert work.tail(tmp_path / "none") == []
