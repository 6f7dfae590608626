"""The gate of ``action.yml``: ``diag analyze`` for the logs and ``diag lint`` for the configs, each run once, with all reports written.

Reads the action's inputs from variables ``GATE_*``, writes its outputs to ``$GITHUB_OUTPUT`` and the summary to ``$GITHUB_STEP_SUMMARY``,
and exits with the code of the gate. Uses nothing but the standard library and the ``diag`` command beside this Python.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PRECEDENCE = (1, 2, 3, 4)
"""Exit codes of ``diag``, that which tells most first."""
MEANINGS = {2: "the call failed", 3: "nothing was judged", 4: "diag crashed"}
GRAVEST = ("DIVERGED", "UNSTABLE", "OVERFIT", "UNDERFIT", "PLATEAU", "INCONCLUSIVE", "HEALTHY")
"""Verdicts, what is worst first."""


class InputError(Exception):
    """An input of the action is wrong."""


def expanded(lines: str) -> list[str]:
    """The paths in an input, one a line: a pattern becomes what it matches; one that matches nothing stays, so that ``diag`` says so."""
    paths: list[str] = []
    for line in map(str.strip, lines.splitlines()):
        if line:
            found = [] if Path(line).exists() else sorted(glob.glob(line, recursive=True))  # noqa: PTH207 - takes absolute patterns too
            paths += found or [line]
    return list(dict.fromkeys(paths))


def words(name: str, text: str) -> list[str]:
    """The arguments in an input, quoted as in a shell; nothing is expanded or executed."""
    try:
        return shlex.split(text, comments=False)
    except ValueError as error:
        raise InputError(f"{name} cannot be split into arguments ({error}): {text!r}") from None


def run(command: str, paths: Iterable[str], arguments: Iterable[str], gate: Mapping[str, str], folder: Path) -> int:
    """Run one command of ``diag``; its reports go to ``folder``, what is printed to this process's output."""
    options = ["--format", gate["FORMAT"]]
    for name in ("json", "markdown", "sarif"):
        options += ["--output", f"{name}={folder / f'{command}.{name}'}"]
    for name in ("fail-on", "baseline"):
        if value := gate[name.upper().replace("-", "_")]:
            options += [f"--{name}", value]
    # What a log says must not be taken for a command to the runner; annotations are such commands, and escape what logs say.
    token = "" if gate["FORMAT"] == "github" else secrets.token_hex(16)
    if token:
        print(f"::stop-commands::{token}", flush=True)
    code = subprocess.run([str(Path(gate["BIN"]) / "diag"), command, *options, *arguments, "--", *paths], check=False).returncode
    if token:
        print(f"\n::{token}::", flush=True)
    return code


def reports(folder: Path, name: str) -> list[str]:
    """The texts of the reports in one format; a call that failed has left none."""
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"*.{name}"))]


def write_sarif(texts: Iterable[str], target: Path) -> bool:
    """Write one SARIF log with the runs of all; whether there were any."""
    logs: list[dict[str, Any]] = [json.loads(text) for text in texts]
    if not logs:
        return False
    runs = [run for log in logs for run in log["runs"]]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**logs[0], "runs": runs}, indent=2) + "\n", encoding="utf-8")
    return True


def outputs(documents: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The action's outputs that JSON reports tell."""
    subjects = [subject for document in documents for subject in document.get("runs", []) + document.get("configs", [])]
    verdicts = {subject["verdict"] for subject in subjects if "verdict" in subject}
    return {
        "verdict": next((verdict for verdict in GRAVEST if verdict in verdicts), ""),
        "findings": str(sum(len(subject["findings"]) for subject in subjects)),
    }


def gate(inputs: Mapping[str, str], output: Path, summary: Path | None) -> int:
    """Judge what the inputs name, write the reports and outputs, and return the exit code.

    Raises:
        InputError: an input is wrong.
    """
    paths, configs = expanded(inputs["PATHS"]), expanded(inputs["CONFIG_PATHS"])
    if not paths and not configs:
        raise InputError("neither paths nor config-paths names anything to judge")
    if "\n" in inputs["SARIF_FILE"]:
        raise InputError("sarif-file is more than one line")
    calls = [("analyze", paths, words("args", inputs["ARGS"])), ("lint", configs, words("config-args", inputs["CONFIG_ARGS"]))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes = [run(command, named, arguments, inputs, folder) for command, named, arguments in calls if named]
        code = min((code for code in codes if code), key=lambda code: PRECEDENCE.index(code) if code in PRECEDENCE else -1, default=0)
        told = outputs(map(json.loads, reports(folder, "json"))) | {"exit-code": str(code), "sarif-file": ""}
        target = Path(inputs["SARIF_FILE"])
        if inputs["SARIF_FILE"] and write_sarif(reports(folder, "sarif"), target):
            told["sarif-file"] = str(target.absolute())
        if summary is not None:
            with summary.open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in reports(folder, "markdown"))
    with output.open("a", encoding="utf-8") as file:
        file.writelines(f"{key}={value}\n" for key, value in told.items())
    if code in MEANINGS:
        print(f"::error title=diag::{MEANINGS[code]} (exit code {code}); the log says why", flush=True)
    return code


def main() -> int:
    """Run the gate with the inputs and files of the runner."""
    inputs = {name.removeprefix("GATE_"): value for name, value in os.environ.items() if name.startswith("GATE_")}
    summary = Path(os.environ["GITHUB_STEP_SUMMARY"]) if inputs["SUMMARY"] == "true" else None
    try:
        return gate(inputs, Path(os.environ["GITHUB_OUTPUT"]), summary)
    except InputError as error:
        print(f"::error title=diag::{str(error).replace('%', '%25')}".replace("\r", "%0D").replace("\n", "%0A"), flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
