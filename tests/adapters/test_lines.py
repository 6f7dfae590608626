"""The line of a logged value, for every kind of text log: the line that a reader would point at."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.adapters import lines
from diag.adapters.lines import Point, locate


def points(path: Path, adapter: str, metric: str) -> list[Point]:
    log = lines.read(path, adapter, [metric])
    assert log is not None
    return log.points.get(metric, [])


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


HISTORY = [{"loss": 2.5, "step": 10}, {"eval_loss": 2.25, "step": 10}, {"loss": math.nan, "step": 20}]


class TestJson:
    def test_a_pretty_history_gives_the_line_of_the_key(self, tmp_path: Path) -> None:
        path = write(tmp_path, "trainer_state.json", json.dumps({"best": None, "log_history": HISTORY}, indent=2))
        rows = path.read_text(encoding="utf-8").split("\n")
        (first, second) = points(path, "trainer_state", "loss")
        assert rows[first.line - 1].strip() == '"loss": 2.5,'
        assert (first.step, first.value) == (10, 2.5)
        assert rows[second.line - 1].strip() == '"loss": NaN,'
        (evaluation,) = points(path, "trainer_state", "eval_loss")
        assert rows[evaluation.line - 1].strip() == '"eval_loss": 2.25,'

    def test_a_history_on_one_line_is_on_line_one(self, tmp_path: Path) -> None:
        path = write(tmp_path, "trainer_state.json", json.dumps({"log_history": HISTORY}))
        assert [point.line for point in points(path, "trainer_state", "loss")] == [1, 1]

    def test_a_cut_off_history_keeps_the_rows_that_are_whole(self, tmp_path: Path) -> None:
        text = json.dumps({"log_history": HISTORY}, indent=2)
        path = write(tmp_path, "trainer_state.json", text[: text.index("NaN")])
        assert [point.value for point in points(path, "trainer_state", "loss")] == [2.5]

    def test_lists_of_numbers(self, tmp_path: Path) -> None:
        path = write(tmp_path, "history.json", json.dumps({"loss": [3.0, 2.0, 1.0], "val_loss": [3.5]}, indent=1))
        rows = path.read_text(encoding="utf-8").split("\n")
        assert [rows[point.line - 1].strip(" ,") for point in points(path, "json_history", "loss")] == ["3.0", "2.0", "1.0"]

    def test_json_lines_under_another_name(self, tmp_path: Path) -> None:
        path = write(tmp_path, "metrics.json", '{"iteration": 19, "total_loss": 1.5}\n{"iteration": 39, "total_loss": 1.25}\n')
        assert points(path, "json_history", "total_loss") == [Point(1, 19, 1.5), Point(2, 39, 1.25)]


class TestTables:
    def test_csv_counts_comments_headers_and_blank_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path, "m.csv", "# a comment\nstep,loss,note\n1,3.5,\n\n2,3.25,\nstep,loss,note\n3,3.0,\n")
        assert points(path, "csv", "loss") == [Point(3, 1, 3.5), Point(5, 2, 3.25), Point(7, 3, 3.0)]

    def test_csv_with_line_ends_in_cells(self, tmp_path: Path) -> None:
        path = write(tmp_path, "m.csv", 'step,note,loss\n1,"two\nlines",3.5\n2,"three\nmore\nlines",3.25\n3,,3.0\n')
        assert [point.line for point in points(path, "csv", "loss")] == [2, 4, 7]

    def test_csv_whose_last_line_is_cut_off(self, tmp_path: Path) -> None:
        path = write(tmp_path, "m.csv", "step,loss\n1,3.5\n2,3.25\n3")
        assert [point.line for point in points(path, "csv", "loss")] == [2, 3]

    def test_jsonl_counts_configs_blank_and_broken_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path, "m.jsonl", '{"step": 1, "train": {"loss": 3.5}}\n\nnoise\n{"step": 2, "train": {"loss": 3.25}}\n')
        assert points(path, "jsonl", "train/loss") == [Point(1, 1, 3.5), Point(4, 2, 3.25)]

    def test_a_validation_file_is_asked_under_the_name_it_was_given(self, tmp_path: Path) -> None:
        path = write(tmp_path, "validation.jsonl", '{"step": 9, "val_loss": 3.5}\n{"step": 19, "val_loss": 3.25}\n')
        assert [point.line for point in points(path, "jsonl", "eval/loss")] == [1, 2]


def test_console_and_mlflow_logs(fixtures: Path) -> None:
    log = fixtures / "console-hf" / "train.log"
    rows = log.read_text(encoding="utf-8").split("\n")
    found = points(log, "console", "loss")
    assert len(found) > 100
    assert all(
        f"'loss': '{point.value:g}" in rows[point.line - 1] or f"'loss': {point.value:g}" in rows[point.line - 1] for point in found[:20]
    )
    (metric,) = (fixtures / "mlflow-filestore").rglob("metrics/val/loss")
    values = [line.split() for line in metric.read_text(encoding="utf-8").splitlines()]
    assert points(metric, "mlflow", "val/loss") == [Point(n, float(v[2]), float(v[1])) for n, v in enumerate(values, 1)]
    assert points(metric, "mlflow", "train/loss") == []


class TestWhatHasNoLines:
    def test_binary_files_and_unknown_adapters(self, fixtures: Path) -> None:
        event_file = next((fixtures / "tensorboard-healthy").glob("events*"))
        assert lines.read(event_file, "tensorboard", ["loss"]) is None
        assert lines.read(event_file, "a-plug-in", ["loss"]) is None

    def test_files_that_are_gone_empty_or_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert lines.read(tmp_path / "gone.csv", "csv", ["loss"]) is None
        assert lines.read(write(tmp_path, "empty.csv", ""), "csv", ["loss"]) is None
        path = write(tmp_path, "m.csv", "step,loss\n1,2\n")
        monkeypatch.setattr(lines, "MAX_BYTES", 3)
        assert lines.read(path, "csv", ["loss"]) is None

    def test_a_file_that_is_no_longer_what_it_was(self, tmp_path: Path) -> None:
        log = lines.read(write(tmp_path, "m.csv", "\n\n"), "csv", ["loss"])
        assert log is None or log.points == {}
        log = lines.read(write(tmp_path, "m.jsonl", "no json\n" * 5), "jsonl", ["loss"])
        assert log is not None
        assert log.points == {}
        assert log.clipped(99) == 6
        assert log.width(1) == 7


class TestLocate:
    def test_a_value_that_is_there_once(self) -> None:
        found = [Point(2, 0, 5.0), Point(3, 1, 4.0), Point(4, 2, 3.0)]
        assert locate(found, 200, 4.0, 0.5) == 3  # the steps were rescaled

    def test_a_value_that_repeats_goes_by_the_step(self) -> None:
        found = [Point(2, 10, 5.0), Point(3, 20, 5.0), Point(4, 30, 5.0)]
        assert locate(found, 20, 5.0, 0.0) == 3

    def test_a_step_that_a_resumed_run_logged_again_is_the_later_one(self) -> None:
        found = [Point(2, 10, 5.0), Point(3, 20, 4.0), Point(4, 20, 4.0)]
        assert locate(found, 20, 4.0, 0.5) == 4

    def test_nan_and_infinity_are_values(self) -> None:
        found = [Point(2, 10, 5.0), Point(3, 20, math.nan), Point(4, 30, math.inf)]
        assert locate(found, 20, math.nan, 0.5) == 3
        assert locate(found, 30, math.inf, 1.0) == 4

    def test_without_steps_the_position_decides(self) -> None:
        found = [Point(line, math.nan, 1.0) for line in range(1, 101)]
        assert locate(found, 5, 1.0, 0.5) == 50

    def test_a_value_that_was_repaired_goes_by_the_step(self) -> None:
        assert locate([Point(2, 10, 8.0), Point(3, 20, 4.0)], 20, 1.0, 1.0) == 3

    def test_what_cannot_be_found(self) -> None:
        assert locate([], 5, 1.0, 0.5) == 0
        assert locate([Point(7, 1, 2.0)], 5, 1.0, 0.5) == 7

    @given(st.lists(st.floats(), min_size=1, max_size=30, unique_by=repr), st.data())
    def test_every_value_of_a_file_is_found_again(self, values: list[float], data: st.DataObject) -> None:
        found = [Point(line, line, value) for line, value in enumerate(values, 1)]
        index = data.draw(st.integers(0, len(values) - 1))
        assert locate(found, index + 1, values[index], index / max(len(values) - 1, 1)) == index + 1
