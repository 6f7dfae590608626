"""What all tests share: the path to the helpers beside this file, hypothesis' profile, the recorded logs, tiny models, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a tiny Hugging Face model, made once: the arguments are those of ``tiny_models.save_model``."""
    from tiny_models import save_model

    made: dict[str, Path] = {}

    def find(*arguments: Any, **settings: Any) -> Path:
        key = repr((arguments, settings))
        if key not in made:
            made[key] = save_model(tmp_path_factory.mktemp("model") / "tiny", *arguments, **settings)
        return made[key]

    return find


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of three hundred sentences that a tiny model can learn."""
    from tiny_models import sentences, write_lines

    return write_lines(tmp_path_factory.mktemp("data") / "texts.jsonl", ({"text": text} for text in sentences(300)))
