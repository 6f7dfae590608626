"""``diag watch`` as a process, on logs that other processes write."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import jsonschema
import pytest
from watch_writers import NAMES

import diag
from diag.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "watch_schema.json").read_text(encoding="utf-8"))
CHECKED = jsonschema.Draft202012Validator(SCHEMA)
DEADLINE = 2.0
"""Seconds within which a NaN is told after it was flushed: what is promised."""
ATTEMPTS = 4
"""Times it is tried: a machine that runs other tests may keep a process waiting for longer than that."""
SOON = 30.0
"""Seconds that anything else may take."""


class Watch:
    """A ``diag watch`` that runs, with its events and when each came."""

    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        environment = {**os.environ, "NO_COLOR": "1", **(env or {})}
        command = [sys.executable, "-m", "diag", "watch", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.events: Queue[tuple[float, dict[str, Any]]] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put((time.time(), json.loads(line, parse_constant=pytest.fail)))

    def until(self, kind: str) -> tuple[float, dict[str, Any]]:
        """When the next event of a kind came, and the event; all events are valid."""
        deadline = time.monotonic() + SOON
        while True:
            try:
                at, event = self.events.get(timeout=max(deadline - time.monotonic(), 0.01))
            except Empty:
                pytest.fail(f"no {kind} event; exit code {self.process.poll()}")
            CHECKED.validate(event)
            if event["event"] == kind:
                return at, event

    def end(self) -> tuple[int, str]:
        """The exit code and what was written to stderr."""
        assert self.process.stderr is not None
        code = self.process.wait(SOON)
        self._reader.join(SOON)
        with self.process.stderr as errors:
            said = errors.read()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code, said


class Writer:
    """A process that writes a log."""

    def __init__(self, kind: str, path: Path) -> None:
        command = [sys.executable, str(ROOT / "tests" / "watch_writers.py"), kind, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._flushed()

    def row(self, what: str = "") -> float:
        """Have a row written; when it was flushed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self._flushed()

    def _flushed(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate(timeout=SOON)


@pytest.fixture
def running() -> Iterator[list[Any]]:
    """Watches and writers of a test that are ended after it, whatever happens."""
    started: list[Any] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for stream in (one.process.stdin, one.process.stdout, one.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


def latency(kind: str, folder: Path, running: list[Any]) -> float:
    """Seconds from the flush of a NaN until it is told; the watch ends with 1 over it."""
    folder.mkdir()
    writer = Writer(kind, folder / NAMES[kind])
    running.append(writer)
    watch = Watch(folder)
    running.append(watch)
    watch.until("started")
    flushed = writer.row("nan")
    at, event = watch.until("finding")
    assert event["finding"]["code"] == "DIV001"
    assert event["finding"]["step_start"] == 41
    _, finished = watch.until("finished")
    assert (finished["reason"], finished["verdict"], finished["exit_code"]) == ("stopped", "DIVERGED", 1)
    assert watch.end() == (1, "")
    writer.end()
    return at - flushed


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(NAMES))
def test_a_nan_is_told_within_two_seconds_of_its_flush(kind: str, tmp_path: Path, running: list[Any]) -> None:
    took = []
    for attempt in range(ATTEMPTS):
        took.append(latency(kind, tmp_path / str(attempt), running))
        if took[-1] < DEADLINE:
            return
    pytest.fail(f"took {took} seconds")


@pytest.mark.slow
def test_it_waits_for_a_log_runs_a_command_and_is_interrupted(tmp_path: Path, running: list[Any]) -> None:
    told = tmp_path / "told.jsonl"
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, os, sys\n"
        f"with open({str(told)!r}, 'a') as file:\n"
        "    print(json.dumps([{k: v for k, v in os.environ.items() if k.startswith('DIAG_')}, sys.argv[1:]]), file=file)\n"
        "print('to stderr')\n"
    )
    command = f"{sys.executable} {script} 'two words' '$DIAG_CODE;ls'"
    watch = Watch(tmp_path / "run", "--exec", command, "--stop-on", "never", "--interval", "0.2")
    running.append(watch)
    time.sleep(0.5)
    assert watch.events.empty()
    (tmp_path / "run").mkdir()
    rows = [{"step": step, "loss": 1 + 1 / step if step < 30 else float("nan"), "lr": 1e-4} for step in range(1, 41)]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    watch.until("started")
    watch.until("finding")
    deadline = time.monotonic() + SOON
    while not told.exists() or not told.read_text(encoding="utf-8").endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ((environment, arguments),) = map(json.loads, told.read_text(encoding="utf-8").splitlines())
    assert arguments == ["two words", "$DIAG_CODE;ls"]
    assert environment["DIAG_RUN"] == str(tmp_path / "run")
    assert (environment["DIAG_CODE"], environment["DIAG_VERDICT"], environment["DIAG_STEP"]) == ("DIV001", "DIVERGED", "30")
    assert environment["DIAG_MESSAGE"].startswith("train/loss is not finite from step 30 on")
    watch.process.send_signal(signal.SIGINT)
    code, said = watch.end()
    assert code == 130
    assert "to stderr" in said  # what the command printed, which may come in between
    assert "diag: interrupted" in said
    assert "Traceback" not in said


HOSTILE = "loss \x1b[31m</script>\n::error::x\r=cmd()\u202e [bold]"


def hostile_log(folder: Path) -> Path:
    """A finished log whose metric names attack whoever shows them; one evaluation loss is NaN."""
    folder.mkdir()
    history = [{"loss": 1 + 1 / step, "learning_rate": 1e-4, "step": step, "epoch": step / 40} for step in range(1, 41)]
    name = f"eval_{HOSTILE}_loss"
    history += [{name: value, "step": step} for step, value in ((10, 1.5), (20, 1.4), (30, float("nan")))]
    state = {"global_step": 40, "max_steps": 40, "log_history": [*history, {"train_runtime": 1.0, "step": 40}]}
    (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


def test_hostile_names_are_harmless_in_json_lines(tmp_path: Path, running: list[Any]) -> None:
    watch = Watch(hostile_log(tmp_path / "run"), "--interval", "0.1")
    running.append(watch)
    _, event = watch.until("finding")
    assert "\x1b[31m</script>" in event["finding"]["metric"]
    code, said = watch.end()
    assert (code, said) == (1, "")


@pytest.mark.slow
def test_the_live_view_on_a_terminal(tmp_path: Path) -> None:
    run = hostile_log(tmp_path / "run")
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "diag", "watch", str(run), "--stop-on", "never", "--interval", "0.2"]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = read_terminal(controller, process)
    os.close(controller)
    assert process.returncode == 1
    assert "\x1b[?25l" in shown  # the cursor is hidden while the view is drawn,
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and shown again
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "DIVERGED" in text
    assert "DIV001" in text
    assert "The log says that training ended" in text
    assert "\\x1b[31m" in text  # what the log holds is shown as an escape,
    assert "\x1b[31m</script>" not in shown  # and reaches the terminal as none
    assert "\u202e" not in shown


@pytest.mark.slow
def test_the_live_view_is_left_in_order_by_a_signal(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    command = [sys.executable, "-m", "diag", "watch", str(tmp_path / "not-yet"), "--interval", "0.2"]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = read_terminal(controller, process, until="waiting for a log")
        process.terminate()
        shown += read_terminal(controller, process)
    os.close(controller)
    assert process.returncode == 130
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "diag: interrupted" in shown


def read_terminal(controller: int, process: subprocess.Popen[bytes], until: str = "") -> str:
    """What a program shows until it ends, or until a text appears."""
    shown = b""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if select.select([controller], [], [], 0.1)[0]:
            try:
                part = os.read(controller, 65536)
            except OSError:  # the terminal has no user any more
                break
            shown += part
            if not part or (until and until.encode() in shown):
                break
        elif process.poll() is not None:
            break
    return shown.decode("utf-8", "replace")


class TestEnds:
    def test_a_log_that_has_ended_is_judged_as_analyze_does(self, fixtures: Path, running: list[Any]) -> None:
        watch = Watch(fixtures / "hf-overfit", "--interval", "0.1")
        running.append(watch)
        _, finished = watch.until("finished")
        assert (finished["reason"], finished["verdict"], finished["exit_code"]) == ("ended", "OVERFIT", 1)
        assert watch.end() == (1, "")

    def test_no_log_appears(self, tmp_path: Path, running: list[Any]) -> None:
        watch = Watch(tmp_path, "--wait", "0.2", "--interval", "0.1")
        running.append(watch)
        _, finished = watch.until("finished")
        assert (finished["reason"], finished["run"]) == ("no-log", None)
        code, said = watch.end()
        assert (code, said) == (3, f"diag: {tmp_path}: no log appeared in 0.2 seconds; check the path, or give it longer with --wait\n")

    def test_the_process_is_gone(self, tmp_path: Path, running: list[Any]) -> None:
        (tmp_path / "log.jsonl").write_text("".join(json.dumps({"step": i, "loss": 1 / i}) + "\n" for i in range(1, 30)), encoding="utf-8")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as training:
            watch = Watch(tmp_path, "--pid", training.pid, "--interval", "0.1")
            running.append(watch)
            watch.until("started")
            training.communicate(b"\n")
            _, finished = watch.until("finished")
        assert finished["reason"] == "gone"

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--stop-on", "DIVERGENT"], "no check has a code that begins with 'DIVERGENT'"),
            (["--exec", "'"], "cannot be split into words"),
            (["--pid", "99999999"], "there is no process 99999999"),
            (["--adapter", "nothing"], "no adapter is called nothing"),
            (["--interval", "0"], "0.05"),
        ],
    )
    def test_wrong_usage(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
        assert main(["watch", str(tmp_path), *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert says in shown.err


class TestConfiguration:
    def test_what_was_decided_about_findings_holds(self, tmp_path: Path, fixtures: Path, running: list[Any]) -> None:
        settings = 'accept = [{code = "OVF001", reason = "known"}]\nrequire = ["eval/loss<=0.1"]\n[severity]\nOVF004 = "warning"\n'
        (tmp_path / "diag.toml").write_text(settings, encoding="utf-8")
        watch = Watch(fixtures / "hf-overfit", "--config", tmp_path / "diag.toml", "--interval", "0.1")
        running.append(watch)
        found = {}
        while True:
            _, event = watch.events.get(timeout=SOON)
            CHECKED.validate(event)
            if event["event"] == "finding":
                found[event["finding"]["code"]] = event["finding"]["severity"]
            if event["event"] == "finished":
                break
        assert "OVF001" not in found
        assert (found["OVF004"], found["GAT001"]) == ("warning", "error")
        assert event["reason"] == "ended"
        assert watch.end() == (1, "")

    def test_what_a_metric_must_be_is_asked_at_the_end(self, tmp_path: Path, diag_command: Any) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text("".join(json.dumps({"step": i, "loss": 1 + 1 / i}) + "\n" for i in range(1, 40)), encoding="utf-8")
        options = ["--require", "train/loss<=0.5", "--interval", "0.1"]
        assert diag_command("watch", log, *options, "--timeout", "0.5").returncode == 0
        done = diag_command("watch", log, *options, "--until-idle", "0.5")
        assert done.returncode == 1
        assert '"GAT001"' in done.stdout
