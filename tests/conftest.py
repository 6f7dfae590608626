"""What all tests share: the path to the helpers beside this file, hypothesis' profile, the recorded logs, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for `from builders import healthy`

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("suite")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of recorded logs."""
    return ROOT / "fixtures"


@pytest.fixture(scope="session")
def diag_command() -> Command:
    """Run ``diag`` as a process of its own: ``diag_command("analyze", path, env={...})``, text in and out."""

    def run(*arguments: object, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **(env or {})}
        command = [sys.executable, "-m", "diag", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)  # type: ignore[call-overload,no-any-return]

    return run
