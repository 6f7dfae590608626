"""The steps of a composite action, run by bash as GitHub's runner runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from conftest import ROOT

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


class Result(NamedTuple):
    """What a step left behind."""

    code: int
    printed: str
    outputs: dict[str, str]
    summary: str


Step = Callable[..., Result]


def run_step(identifier: str, inputs: dict[str, str], workspace: Path, temp: Path) -> Result:
    """Run a ``run`` step of the action.

    Args:
        identifier: the step's id.
        inputs: by their names; the others have their defaults.
        workspace: what was checked out.
        temp: a folder for the runner's own files.
    """
    (found,) = (entry for entry in STEPS if entry.get("id") == identifier)
    values = {f"inputs.{name}": inputs.get(name, entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
    assert inputs.keys() <= ACTION["inputs"].keys()
    values["steps.install.outputs.bin"] = str(Path(sys.executable).parent)
    files = {name: temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    script = temp / "script.sh"
    script.write_text(found["run"])
    (temp / "temp").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        **{name: EXPRESSION.sub(lambda match: values[match[1]], value) for name, value in found.get("env", {}).items()},
        **{name: str(file) for name, file in files.items()},
        "GITHUB_ACTION_PATH": str(ROOT),
        "RUNNER_TEMP": str(temp / "temp"),
        "PIP_NO_COMPILE": "1",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=workspace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    pairs = [line.partition("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines()]
    return Result(done.returncode, done.stdout, {name: value for name, _, value in pairs}, files["GITHUB_STEP_SUMMARY"].read_text())


def consumer(*command: object) -> None:
    """Run a program of the tests' environment that must be content."""
    done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def schema_check(schema: str, *arguments: object) -> None:
    """Validate a file against one of the schemas that check-jsonschema ships."""
    consumer(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *arguments)
