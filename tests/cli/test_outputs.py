"""Several reports of one call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from diag.cli.outputs import Output, outputs
from diag.errors import UsageError

Command = Callable[..., "subprocess.CompletedProcess[str]"]
KNOWN = ("json", "sarif", "text")


@pytest.mark.parametrize(
    ("values", "format_", "expected"),
    [
        ((), "text", [("text", "-")]),
        (("report.txt",), "text", [("text", "report.txt")]),
        (("json=a.json",), "text", [("text", "-"), ("json", "a.json")]),
        (("json=a.json", "sarif=b.sarif", "c.txt"), "text", [("text", "c.txt"), ("json", "a.json"), ("sarif", "b.sarif")]),
        (("json=-",), "text", [("json", "-")]),
        (("./a=b.json",), "json", [("json", "./a=b.json")]),
        (("json=x=y.json",), "text", [("text", "-"), ("json", "x=y.json")]),
    ],
)
def test_what_is_written_where(values: tuple[str, ...], format_: str, expected: list[tuple[str, str]]) -> None:
    assert outputs(values, format_, KNOWN) == tuple(Output(*pair) for pair in expected)


@pytest.mark.parametrize(
    ("values", "format_", "words"),
    [
        (("sarfi=x",), "text", ["did you mean 'sarif'", "./sarfi=x"]),
        (("json=",), "text", ["names no file"]),
        (("a", "b"), "text", ["2 files"]),
        (("json=a", "sarif=./a"), "text", ["two reports"]),
        (("json=-", "sarif=-"), "text", ["two reports", "standard output"]),
        ((), "jsno", ["did you mean 'json'"]),
    ],
)
def test_what_is_refused(values: tuple[str, ...], format_: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        outputs(values, format_, KNOWN)
    assert [word for word in words if word not in str(error.value)] == []


def test_one_analysis_many_reports(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    run, file = fixtures / "hf-overfit", tmp_path / "report.json"
    done = diag_command("analyze", run, "--output", f"json={file}")
    assert done.returncode == 1
    assert done.stdout == diag_command("analyze", run).stdout
    assert file.read_text() == diag_command("analyze", run, "--format", "json").stdout
    assert json.loads(file.read_text())["runs"][0]["verdict"] == "OVERFIT"


def test_an_input_is_not_overwritten(diag_command: Command, tmp_path: Path) -> None:
    log = tmp_path / "trainer_state.json"
    log.write_text("{}")
    done = diag_command("analyze", log, "--output", f"json={log}")
    assert (done.returncode, done.stdout, log.read_text()) == (2, "", "{}")


def test_a_log_below_the_folder_that_was_given_is_not_overwritten(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    log = tmp_path / "run" / "trainer_state.json"
    log.parent.mkdir()
    log.write_bytes(before := (fixtures / "hf-healthy" / "trainer_state.json").read_bytes())
    done = diag_command("analyze", tmp_path, "--output", f"json={log}")
    assert (done.returncode, done.stdout, log.read_bytes()) == (2, "", before)
    assert "is what is read" in done.stderr


def test_the_checks_that_judged_are_listed(diag_command: Command, fixtures: Path) -> None:
    run = json.loads(diag_command("analyze", fixtures / "hf-overfit", "--format", "json").stdout)["runs"][0]
    skipped = [skip["code"] for skip in run["skipped"]]
    every = [entry["code"] for entry in json.loads(diag_command("checks", "--format", "json").stdout)["checks"] if entry["kind"] == "check"]
    assert sorted([*run["examined"], *skipped]) == every
    assert {finding["code"] for finding in run["findings"]} <= set(run["examined"])
