"""``diag config``: what is in force, and from where."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from diag.configuration import OPTIONS

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.diag]\nfail-on = "warning"\ndataset_size = "52k"\n[tool.diag.severity]\nOVF001 = "info"\n'
        '[[tool.diag.accept]]\ncode = "SPK"\nreason = "noisy data"\n'
    )
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_every_key_and_its_origin(diag_command: Command, project: Path) -> None:
    done = diag_command("config", "runs", "--format", "json", cwd=project, env={"DIAG_PROFILE": "aggressive"})
    content = json.loads(done.stdout)
    assert (done.returncode, content["file"]) == (0, "pyproject.toml")
    settings = content["settings"]
    assert list(settings) == list(OPTIONS)
    assert settings["fail-on"] == {"value": "warning", "source": "pyproject.toml:2"}
    assert settings["dataset-size"] == {"value": 52000, "source": "pyproject.toml:3"}
    assert settings["severity"] == {"value": {"OVF001": "info"}, "source": "pyproject.toml:4"}
    assert settings["accept"]["value"] == [{"code": "SPK", "reason": "noisy data", "place": "pyproject.toml:6"}]
    assert settings["profile"] == {"value": "aggressive", "source": "DIAG_PROFILE"}
    assert settings["jobs"] == {"value": 1, "source": "default"}


def test_as_text(diag_command: Command, project: Path) -> None:
    lines = diag_command("config", cwd=project / "runs").stdout.splitlines()
    assert lines[0] == "file: ../pyproject.toml"
    assert next(line for line in lines if line.startswith("fail-on")).split() == ["fail-on", "warning", "pyproject.toml:2"]
    assert diag_command("config", "--isolated", cwd=project).stdout.startswith("file: none was found\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nope"], "does not exist"), (["--config", "nope.toml"], "does not exist"), (["--config", "x.toml"], "did you mean 'select'")],
)
def test_mistakes(diag_command: Command, project: Path, arguments: list[str], words: str) -> None:
    (project / "x.toml").write_text("selct = []\n")
    done = diag_command("config", *arguments, cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
