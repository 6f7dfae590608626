"""The command of ``diag watch --exec``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builders import healthy

from diag.analysis import judge
from diag.check import Finding
from diag.cli.watch_exec import Hook
from diag.errors import UsageError
from diag.watching.events import Found


def found(message: str = "It is so.", metric: str = "train/loss") -> Found:
    return Found(judge(healthy(n=20).run())[0], Finding("DIV001", "nonfinite-loss", "error", message, metric=metric, step_start=7))


def test_it_is_run_once_for_each_finding(tmp_path: Path) -> None:
    script = "import os, sys; open(sys.argv[1], 'a').write(os.environ['DIAG_STEP'] + os.environ['DIAG_MESSAGE'] + '\\n')"
    hook = Hook(f'"{sys.executable}" -c "{script}" {tmp_path / "told"}')
    hook.start(found())
    hook.start(found("It is still so."))
    assert list(hook.ended(wait=True)) == []
    hook.start(found("And here.", metric="eval/loss"))
    assert list(hook.ended(wait=True)) == []
    assert (tmp_path / "told").read_text(encoding="utf-8") == "7It is so.\n7And here.\n"


def test_what_a_log_holds_is_no_control_sequence_in_the_environment(tmp_path: Path) -> None:
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['DIAG_MESSAGE'])"
    hook = Hook(f'"{sys.executable}" -c "{script}" {tmp_path / "told"}')
    hook.start(found("a\x00b\x1b[31m\n::error::c" + "x" * 10_000))
    assert list(hook.ended(wait=True)) == []
    told = (tmp_path / "told").read_text(encoding="utf-8")
    assert told.startswith("a\\x00b\\x1b[31m ::error::c")
    assert len(told) < 5000


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f'"{sys.executable}" -c "raise SystemExit(3)"', "ended with exit code 3"),
        (f'"{sys.executable}" -c "import os; os.kill(os.getpid(), 15)"', "was ended by signal 15"),
        ("no-such-program --flag", "cannot be run (No such file or directory)"),
    ],
)
def test_what_went_wrong_is_a_problem(command: str, says: str) -> None:
    hook = Hook(command)
    hook.start(found())
    (problem,) = hook.ended(wait=True)
    assert (problem.kind, problem.message) == ("exec", says)
    assert list(hook.ended(wait=True)) == []


def test_one_that_takes_too_long_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from diag.cli import watch_exec

    monkeypatch.setattr(watch_exec, "GRACE", 0.1)
    hook = Hook(f'"{sys.executable}" -c "import time; time.sleep(30)"')
    hook.start(found())
    (problem,) = hook.ended(wait=True)
    assert "still running" in problem.message
    for process in hook._running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", ["", "  ", "'open"])
def test_a_command_that_is_none(command: str) -> None:
    with pytest.raises(UsageError):
        Hook(command)
