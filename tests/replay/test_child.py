from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diag.replay.child import Child

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
PARENT = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdout=subprocess.PIPE, start_new_session=sys.argv[2:] == ["away"])
child.stdout.readline()
new = pathlib.Path("pids.new")
new.write_text(str(child.pid))
new.rename("pids")
time.sleep(float(sys.argv[1]))
"""
"""Starts a process that ignores SIGTERM, and sleeps."""


def runs(pid: int) -> bool:
    """Whether a process is there, and not merely dead and not waited for."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if Path("/proc").is_dir() else ""
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in ("Z", "X")


def wait_for(file: Path) -> int:
    for _ in range(500):
        if file.exists():
            return int(file.read_text())
        time.sleep(0.02)
    raise AssertionError("nothing was started")


def child(folder: Path, *words: str, grace: float = 0.2) -> Child:
    return Child([sys.executable, "-c", *words], folder, os.environ, folder / "output.log", grace)


def test_output_and_exit_code(tmp_path: Path) -> None:
    with child(tmp_path, "import os, sys; print(os.getcwd(), flush=True); print('oh', file=sys.stderr); sys.exit(7)") as running:
        assert running.wait(30) == 7
    assert (tmp_path / "output.log").read_text().splitlines() == [str(tmp_path.resolve()), "oh"]


@pytest.mark.parametrize(
    "place", ["here", pytest.param("away", marks=pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc"))]
)
def test_waiting_ends_in_time_and_nothing_is_left(tmp_path: Path, place: str) -> None:
    with child(tmp_path, PARENT, "600", place) as running:
        grandchild = wait_for(tmp_path / "pids")
        assert running.wait(0.05) is None
        assert runs(grandchild)
    assert running.wait(0) == -signal.SIGTERM
    assert not runs(grandchild)


def test_what_a_command_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    with child(tmp_path, PARENT, "0") as running:
        assert running.wait(30) == 0
        assert runs(grandchild := wait_for(tmp_path / "pids"))
    assert not runs(grandchild)


def test_a_command_may_end_by_itself_when_told_to(tmp_path: Path) -> None:
    polite = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit('saved')); print('on', flush=True); time.sleep(600)"
    )
    with child(tmp_path, polite, grace=30) as running:
        while not (tmp_path / "output.log").read_text():
            running.wait(0.02)
    assert running.wait(0) == 1
    assert "saved" in (tmp_path / "output.log").read_text()


def test_an_error_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), child(tmp_path, PARENT, "600"):
        grandchild = wait_for(tmp_path / "pids")
        raise ZeroDivisionError
    assert not runs(grandchild)


def test_what_cannot_be_started(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(FileNotFoundError), Child(["no-such-program"], tmp_path, os.environ, tmp_path / "output.log"):
        pass
    with pytest.raises(ValueError, match="null"), Child(["true", "\0"], tmp_path, os.environ, tmp_path / "output.log"):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 5)], ids=["TERM", "HUP", "INT"]
)
def test_a_signal_to_this_process_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    script = f"""
import os, pathlib, signal, sys
from diag.replay.child import Child
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with Child([sys.executable, "-c", {PARENT!r}, "600"], pathlib.Path.cwd(), os.environ, pathlib.Path("output.log"), 0.2) as running:
        running.wait(600)
except KeyboardInterrupt:
    sys.exit(5)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as process:
        grandchild = wait_for(tmp_path / "pids")
        process.send_signal(number)
        assert process.wait(30) == code
    assert not runs(grandchild)
