"""``watch`` in this process, on logs that are rewritten, cut off, rotated, removed, unreadable, half written, and many in one folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from diag import watching
from diag.errors import UsageError
from diag.watching import loop, watch
from diag.watching.events import Event, Finished, Found, Progress, Resolved, Started, Trouble, VerdictChanged
from diag.watching.follow import Follower
from diag.watching.newest import HEAD, TAIL

FAST = 0.02
"""Seconds between looks, in tests."""
LIMIT = 30.0
"""Seconds after which a watch gives up, so that a test never hangs."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are made for people and processes, shortened."""
    for name in ("QUIET", "CRASH_QUIET", "PATIENCE"):
        monkeypatch.setattr(loop, name, 0.1)
    monkeypatch.setattr(loop, "SHARE", 0.9)


def watched(path: Path, **options: object) -> Iterator[Event]:
    settings: dict[str, Any] = {"interval": FAST, "timeout": LIMIT, "stop_on": None, **options}
    return watch(path, **settings)


def until(events: Iterator[Event], kind: type[Event] | Sequence[type[Event]]) -> Event:
    """The next event of a kind."""
    for event in events:
        assert not (isinstance(event, Finished) and kind is not Finished), event
        if isinstance(event, kind if isinstance(kind, type) else tuple(kind)):
            return event
    raise AssertionError("the watch is over")


def rows(first: int, last: int, loss: Callable[[int], float] = lambda step: 1 + 2 * math.exp(-step / 10)) -> str:
    return "".join(
        json.dumps({"step": step, "loss": loss(step) + 0.001 * (step % 3), "lr": 1e-4}) + "\n" for step in range(first, last + 1)
    )


def nan(step: int) -> float:
    return math.nan


class TestChanges:
    def test_a_growing_log(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        events = watched(log, progress=0.0)
        log.write_text(rows(1, 30), encoding="utf-8")
        started = until(events, Started)
        assert isinstance(started, Started)
        assert (started.report.run.steps, started.report.diagnosis.verdict) == (30, "HEALTHY")
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(31, 40))
        progress = until(events, Progress)
        assert isinstance(progress, Progress)
        assert (progress.report.run.steps, set(progress.latest)) == (40, {"train/loss", "lr"})
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(41, 41, nan))
        found = until(events, Found)
        assert isinstance(found, Found)
        assert (found.finding.code, found.finding.step_start) == ("DIV001", 41)
        changed = until(events, VerdictChanged)
        assert isinstance(changed, VerdictChanged)
        assert changed.report.diagnosis.verdict == "DIVERGED"

    def test_half_a_line_is_not_read(self, tmp_path: Path) -> None:
        log = tmp_path / "metrics.csv"
        lines = "".join(f"{step},{1 + 1 / step:.5f},0.00010{step % 10}\n" for step in range(1, 41))
        log.write_text("step,loss,lr\n" + lines, encoding="utf-8")
        events = watched(log, progress=0.0)
        until(events, Started)
        with log.open("a", encoding="utf-8") as file:
            file.write("41,1.0244,1e-4\n42,1.0238,2.5")  # of 2.5e-5
        progress = until(events, Progress)
        assert isinstance(progress, Progress)
        assert (progress.report.run.steps, progress.latest["lr"]) == (41, 1e-4)
        log.write_text("step,loss,lr\n" + lines + "41,1.0244,1e-4\n42,1.0238,2.5e-5", encoding="utf-8")
        finished = list(watched(log, until_idle=0.2))[-1]
        assert isinstance(finished, Finished)
        assert finished.report is not None
        assert finished.report.run.steps == 42  # nobody writes any more: the last line is whole

    def test_a_log_that_gets_shorter_must_stay_so(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 60), encoding="utf-8")
        events = watched(log, progress=0.0)
        until(events, Started)
        log.write_text(rows(1, 20), encoding="utf-8")  # begun anew
        started = until(events, (Started, Found, Resolved))
        assert isinstance(started, Started)
        assert started.report.run.steps == 20

    def test_a_rotated_log_is_another_training(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 60) + rows(61, 62, nan), encoding="utf-8")
        events = watched(log)
        assert isinstance(until(events, Found), Found)
        log.rename(tmp_path / "log.jsonl.1")
        log.write_text(rows(1, 20), encoding="utf-8")
        started = until(events, Started)
        assert isinstance(started, Started)
        assert (started.report.run.steps, started.report.diagnosis.verdict) == (20, "HEALTHY")
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(21, 22, nan))
        found = until(events, Found)
        assert isinstance(found, Found)
        assert found.finding.step_start == 21

    def test_a_resumed_run_goes_on_being_the_same(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 60), encoding="utf-8")
        events = watched(log, progress=0.0, timeout=1.0)
        until(events, Started)
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(41, 50))
        kinds = [type(event) for event in events]
        assert Started not in kinds
        assert kinds[-1] is Finished

    def test_a_log_that_is_removed_and_comes_back(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "log.jsonl").write_text(rows(1, 30), encoding="utf-8")
        events = watched(folder, progress=0.0)
        until(events, Started)
        shutil.rmtree(folder)
        trouble = until(events, Trouble)
        assert isinstance(trouble, Trouble)
        assert "is gone" in trouble.problem.message
        folder.mkdir()
        (folder / "log.jsonl").write_text(rows(1, 30) + rows(31, 31, nan), encoding="utf-8")
        assert isinstance(until(events, Found), Found)

    def test_a_log_that_stays_away_ends_the_watch(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 30), encoding="utf-8")
        events = watched(log, wait=0.3)
        until(events, Started)
        log.unlink()
        finished = list(events)[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.exit_code()) == ("lost", 2)

    def test_an_unreadable_log_that_becomes_readable(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text("no JSON at all\n" * 10, encoding="utf-8")
        events = watched(log)
        trouble = until(events, Trouble)
        assert isinstance(trouble, Trouble)
        assert "are not JSON objects" in trouble.problem.message
        log.write_text(rows(1, 30), encoding="utf-8")
        assert isinstance(until(events, Started), Started)

    @pytest.mark.parametrize("content", ["", "step,loss\n", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"])
    def test_what_is_no_log_yet_is_waited_for(self, content: str, tmp_path: Path) -> None:
        log = tmp_path / "metrics.csv"
        log.write_text(content, encoding="utf-8")
        (finished,) = watched(log, wait=0.4)
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.exit_code()) == ("no-log", 3)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_permissions_that_are_given_later(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 30), encoding="utf-8")
        log.chmod(0)
        events = watched(log)
        assert isinstance(until(events, Trouble), Trouble)
        log.chmod(0o600)
        assert isinstance(until(events, Started), Started)


class TestWhichRun:
    def test_the_one_written_last_until_another_appears(self, tmp_path: Path) -> None:
        for name, written in (("old", 1000), ("new", 2000)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "log.jsonl").write_text(rows(1, 30), encoding="utf-8")
            os.utime(tmp_path / name / "log.jsonl", (written, written))
        events = watched(tmp_path)
        started = until(events, Started)
        assert isinstance(started, Started)
        assert started.report.run.id == "new"
        (tmp_path / "third").mkdir()
        (tmp_path / "third" / "log.jsonl").write_text(rows(1, 25), encoding="utf-8")
        started = until(events, Started)
        assert isinstance(started, Started)
        assert started.report.run.id == "third"

    def test_only_new_passes_over_what_was_written_before(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 30, nan), encoding="utf-8")
        events = watched(tmp_path, only_new=True, wait=0.3)
        assert [type(event) for event in events] == [Finished]
        events = watched(tmp_path, only_new=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(31, 31, nan))
        assert isinstance(until(events, Started), Started)

    def test_the_source_that_has_come_furthest(self, tmp_path: Path) -> None:
        """A Trainer writes its state at checkpoints and its console at every log: the console is ahead."""
        history = [{"loss": 1 + 1 / step, "learning_rate": 1e-4, "step": step, "epoch": step / 100} for step in range(10, 110, 10)]
        (tmp_path / "checkpoint-100").mkdir()
        state = {"global_step": 100, "max_steps": 1000, "log_history": history}
        (tmp_path / "checkpoint-100" / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
        log = tmp_path / "train.log"
        lines = [f"step {row['step']}/1000 | loss {row['loss']:.4f} | lr 1.0e-04\n" for row in history]
        log.write_text("".join(lines) + "step 110/1000 | loss nan | lr 1.0e-04\n", encoding="utf-8")
        events = watched(tmp_path)
        started = until(events, Started)
        assert isinstance(started, Started)
        assert (started.report.run.steps, started.report.run.planned_steps) == (110, 1000)
        assert isinstance(until(events, Found), Found)


class TestEnd:
    def test_idle(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 60, lambda step: 3.0 - step / 40), encoding="utf-8")
        finished = list(watched(log, until_idle=0.2))[-1]
        assert isinstance(finished, Finished)
        assert finished.reason == "idle"
        assert finished.report is not None
        assert "UND001" in {finding.code for finding in finished.report.findings}  # it is over, so this can be said

    def test_timeout_does_not_end_the_run(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 60, lambda step: 3.0 - step / 40), encoding="utf-8")
        finished = list(watched(log, timeout=0.3))[-1]
        assert isinstance(finished, Finished)
        assert finished.reason == "timeout"
        assert finished.report is not None
        assert "UND001" not in {finding.code for finding in finished.report.findings}

    def test_a_crash(self, tmp_path: Path) -> None:
        log = tmp_path / "train.log"
        lines = [f"step {step}/1000 | loss {1 + 1 / step:.4f} | lr 1.0e-04\n" for step in range(1, 40)]
        log.write_text("".join(lines) + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n", encoding="utf-8")
        events = list(watched(log))
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.exit_code()) == ("cut-off", 1)
        assert "LOG006" in {event.finding.code for event in events if isinstance(event, Found)}

    def test_stop(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 30) + rows(31, 31, nan), encoding="utf-8")
        finished = list(watched(log, stop_on=watching.DEFAULT))[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.exit_code()) == ("stopped", 1)
        assert finished.detail.startswith("DIV001 nonfinite-loss: ")

    def test_a_finished_event_without_a_run(self, tmp_path: Path) -> None:
        finished = list(watched(tmp_path, wait=0.1))[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.report, finished.exit_code()) == ("no-log", None, 3)
        assert finished.to_dict()["verdict"] is None


def test_wrong_arguments_are_refused_by_the_call(tmp_path: Path) -> None:
    for options in ({"stop_on": "nothing"}, {"select": ["XYZ"]}, {"pid": 2**22 + 1}, {"adapter": "nothing"}):
        with pytest.raises(UsageError):
            watched(tmp_path, **options)


class TestLongLogs:
    @pytest.mark.parametrize("name", ["log.jsonl", "metrics.csv", "train.log"])
    def test_the_newest_rows_are_looked_at_while_the_whole_may_not_be_read(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "SHARE", 1e-6)  # one reading, and no other for a long time
        log, count = tmp_path / name, 2 * (HEAD + TAIL) // 40

        def line(step: int, loss: float) -> str:
            if name.endswith("csv"):
                return f"{step},{loss:.6f},0.0001000000000000000000\n"
            if name.endswith("log"):
                return f"step {step}/{2 * count} | loss {loss:.6f} | lr 1.0e-04\n"
            return json.dumps({"step": step, "loss": loss, "lr": 1e-4}) + "\n"

        header = "step,loss,lr\n" if name.endswith("csv") else ""
        log.write_text(header + "".join(line(step, 1 + 2 * math.exp(-step / 2000)) for step in range(1, count)), encoding="utf-8")
        assert log.stat().st_size > HEAD + TAIL
        events = watched(log)
        until(events, Started)
        with log.open("a", encoding="utf-8") as file:
            file.write(line(count, math.nan))
        found = next(event for event in events if isinstance(event, Found) and event.finding.severity == "error")
        assert (found.finding.code, found.finding.step_start, found.partial) == ("DIV001", count, True)
        assert found.report.diagnosis.verdict == "DIVERGED"

    def test_only_what_changed_is_read_again(self, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text(rows(1, 30), encoding="utf-8")
        follower = Follower(tmp_path)
        assert follower.has_changed()
        first = follower.look().run
        assert not follower.has_changed()
        (tmp_path / "model.bin").write_bytes(b"weights")
        assert follower.has_changed()
        second = follower.look().run
        with log.open("a", encoding="utf-8") as file:
            file.write(rows(31, 31))
        third = follower.look().run
        assert first is not None
        assert second is not None
        assert third is not None
        assert second is not first
        assert second.curves["train/loss"] is first.curves["train/loss"]  # from memory
        assert third.steps == 31
