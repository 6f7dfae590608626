"""``--write-back``: what is common to its targets, from the command line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from conftest import Command

import diag
from diag.adapters.tensorboard import OWN_FILE
from diag.cli import main
from diag.errors import UsageError
from diag.result import Problem
from diag.writeback import NAMES, Written, check, write_back

SOURCES = {
    "mlflow-filestore": "mlflow",
    "mlflow-sqlite": "mlflow",
    "wandb-overfit": "wandb",
    "tensorboard-healthy": "tensorboard",
    "tensorboard-divergence": "tensorboard",
}
"""Recorded logs and where they were logged to."""


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def tree(fixtures: Path, tmp_path: Path) -> Path:
    """A folder with a run from each source, and one that no tracker has."""
    for name in (*SOURCES, "hf-healthy"):
        shutil.copytree(fixtures / name, tmp_path / "tree" / name)
    return tmp_path / "tree"


def test_nothing_is_written_unless_asked(tree: Path) -> None:
    before = contents(tree)
    diag.analyze(tree, jobs=1)
    assert main(["analyze", str(tree), "--output", os.devnull]) == 1
    assert contents(tree) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_each_run_is_written_to_its_own_and_the_rest_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*options: str) -> tuple[str, list[str]]:
        assert main(["analyze", str(tree), "--format", "json", *options]) == 1
        out, err = capsys.readouterr()
        return out, err.splitlines()

    plain, _ = printed()
    before = contents(tree)
    out, lines = printed(*(option for name in NAMES for option in ("--write-back", name)))
    assert out == plain
    assert len(lines) == len(NAMES) * len(json.loads(plain)["runs"])
    assert sum(line.startswith("diag: wrote the verdict to ") for line in lines) == 6
    of_healthy = {line.partition(": was not read from ")[0] for line in lines if "hf-healthy" in line}
    assert of_healthy == {"diag: hf-healthy/trainer_state.json"}
    after = contents(tree)
    assert {Path(path).suffix for path in before if before[path] != after[path]} == {".db", ".wandb"}
    assert sum(path.endswith((OWN_FILE, "report.json")) for path in set(after) - set(before)) == 6
    assert printed()[0] == plain


def test_where_a_run_is_kept_comes_from_a_worker_too(fixtures: Path) -> None:
    alone, shared = (diag.analyze(fixtures / "mlflow-sqlite", jobs=jobs).runs for jobs in (1, 2))
    assert [entry.run.origins for entry in shared] == [entry.run.origins for entry in alone]
    assert all(entry.run.origins for entry in alone)


RUNS = (("tensorboard-healthy", "tensorboard", 0), ("hf-healthy", "tensorboard", 2), ("hf-overfit", "mlflow", 1))
"""Recorded logs, a target, and the exit code."""


@pytest.mark.parametrize(("name", "target", "code"), RUNS)
def test_a_failed_write_is_code_2_unless_a_finding_fails_the_gate(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, target: str, code: int
) -> None:
    folder = shutil.copytree(fixtures / name, tmp_path / name)
    assert main(["analyze", str(folder), "--write-back", target]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_run_from_elsewhere_is_told_how_to_name_one(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(fixtures / "hf-healthy"), "--write-back", "mlflow"]) == 2
    assert capsys.readouterr().err == (
        "diag: trainer_state.json: was not read from MLflow, so it cannot be written there "
        "(--write-back mlflow:RUN_ID names the run to write to)\n"
    )


def test_a_named_run_takes_the_verdict_of_one(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"mlflow:{'0' * 32}"
    assert main(["analyze", str(fixtures / "mlflow-sqlite"), "--write-back", target]) == 2
    assert capsys.readouterr().err == f"diag: {target}: names one run, but 2 were analyzed\n"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tensorbord", "did you mean 'tensorboard'?"),
        ("tensorboard:runs", "there are: mlflow, wandb, tensorboard, and the URI of a run"),
        ("", "there are: "),
    ],
)
def test_an_unknown_target_is_refused_before_anything_is_read(target: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "nowhere", "--write-back", target]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "nowhere" not in error


def test_targets_by_name_or_address() -> None:
    addresses = ("mlflow:", "mlflow://h/r", "mlflow+https://h//r", "wandb://e/p/r", *NAMES)
    assert [check(target) for target in addresses] == ["mlflow"] * 3 + ["wandb", *NAMES]
    with pytest.raises(UsageError):
        check("http://h")


@pytest.mark.parametrize("target", NAMES)
def test_a_missing_library_is_one_line_with_the_command(
    target: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, target, None)
    assert main(["analyze", str(fixtures / "mlflow-sqlite"), "--write-back", target]) == 2
    assert capsys.readouterr().err == (
        f"diag: {NAMES[target]}: writing back needs {target}; install it with: pip install 'diag[{target}]'\n"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_local_runs_are_written_without_the_network(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name, target in SOURCES.items():
        assert all(isinstance(outcome, Written) for outcome in write_back(diag.analyze(tree / name), [target]))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser")
@pytest.mark.parametrize(("name", "target"), SOURCES.items())
def test_a_folder_that_cannot_be_written_is_one_line(tree: Path, name: str, target: str, capfd: pytest.CaptureFixture[str]) -> None:
    report = diag.analyze(tree / name)
    places = [path for path in (tree / name).rglob("*") if not path.is_symlink()] + [tree / name]
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for outcome in write_back(report, [target]):
            assert isinstance(outcome, Problem)
            assert len(outcome.message.splitlines()) == 1
    finally:
        for path in reversed(places):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert capfd.readouterr() == ("", "")


def test_a_small_log_is_analyzed_without_any_of_it(diag_command: Command, fixtures: Path) -> None:
    script = "import sys; from diag.cli import main; main(['analyze', sys.argv[1]]); print(*sorted(sys.modules), file=sys.stderr)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", script, str(fixtures / "hf-healthy")], capture_output=True, text=True, check=True)
    assert not {"diag.writeback", "mlflow", "wandb", "tensorboard"} & set(done.stderr.split())
