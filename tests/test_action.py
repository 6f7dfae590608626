"""The GitHub Action: its file is valid and safe, and its steps, run by bash as the runner runs them, do what the file says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import ROOT

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "a\nb & touch pwned",
    "${{ touch }}",
    "%0A::error::x",
]


class Result(NamedTuple):
    """What a step left behind."""

    code: int
    printed: str
    outputs: dict[str, str]
    summary: str


Step = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path, fixtures: Path) -> Path:
    """A checkout with a good and a bad run and a bad config."""
    place = tmp_path / "workspace"
    for name, folder in (("hf-healthy", "runs/a good one"), ("hf-overfit", "runs/bad")):
        (place / folder).mkdir(parents=True)
        shutil.copy(fixtures / name / "trainer_state.json", place / folder)
    shutil.copy(ROOT / "examples" / "mistral-lora.yaml", place)
    (place / "short.csv").write_text("step,loss\n1,2.0\n2,1.9\n3,1.8\n")
    return place


@pytest.fixture
def step(tmp_path: Path, workspace: Path) -> Step:
    """Run a ``run`` step of the action by its id, with some inputs, in the workspace."""

    def run(identifier: str, **inputs: str) -> Result:
        (found,) = (entry for entry in STEPS if entry.get("id") == identifier)
        values = {f"inputs.{name}": entry.get("default", "") for name, entry in ACTION["inputs"].items()}
        values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        assert values.keys() == {f"inputs.{name}" for name in ACTION["inputs"]}
        values["steps.install.outputs.bin"] = str(Path(sys.executable).parent)
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        script = tmp_path / "script.sh"
        script.write_text(found["run"])
        (tmp_path / "temp").mkdir(exist_ok=True)
        environment = {
            **os.environ,
            **{name: EXPRESSION.sub(lambda match: values[match[1]], value) for name, value in found.get("env", {}).items()},
            **{name: str(file) for name, file in files.items()},
            "GITHUB_ACTION_PATH": str(ROOT),
            "RUNNER_TEMP": str(tmp_path / "temp"),
            "PIP_NO_COMPILE": "1",
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],  # as the runner starts it
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

    return run


def consumer(*command: object) -> None:
    """Run a program of the tests' environment that must be content."""
    done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


class TestFile:
    def test_is_valid_by_the_published_schema(self) -> None:
        consumer(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")

    def test_is_safe_in_the_eyes_of_zizmor(self) -> None:
        (zizmor,) = (file.locate() for file in metadata.files("zizmor") or () if file.stem == "zizmor")
        consumer(zizmor, "--offline", "--no-progress", "--persona", "pedantic", "action.yml")

    def test_puts_no_expression_into_a_command(self) -> None:
        assert [entry["name"] for entry in STEPS if EXPRESSION.search(entry.get("run", ""))] == []

    def test_pins_every_action_to_a_commit(self) -> None:
        used = re.findall(r"uses: (.*)", (ROOT / "action.yml").read_text(encoding="utf-8"))
        assert len(used) == 2
        assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []

    def test_every_input_is_used_and_every_output_is_set(self, step: Step) -> None:
        text = (ROOT / "action.yml").read_text(encoding="utf-8")
        assert [name for name in ACTION["inputs"] if text.count(f"inputs.{name}") == 0] == []
        assert step("gate", paths="short.csv").outputs.keys() == ACTION["outputs"].keys()


class TestGate:
    def test_a_bad_run(self, step: Step, workspace: Path) -> None:
        result = step("gate", paths="runs/bad")
        assert result.code == 1
        assert re.search(r"^::error file=runs/bad/trainer_state.json,line=\d+,title=diag \(OVF001", result.printed, re.MULTILINE)
        assert "**OVERFIT**" in result.summary
        sarif = workspace / "diag.sarif"
        assert result.outputs == {"verdict": "OVERFIT", "findings": "3", "exit-code": "1", "sarif-file": str(sarif)}
        (run,) = json.loads(sarif.read_text(encoding="utf-8"))["runs"]
        assert {entry["ruleId"] for entry in run["results"]} >= {"OVF001"}

    def test_a_good_run_without_reports(self, step: Step, workspace: Path) -> None:
        result = step("gate", paths="runs/a good one/trainer_state.json", summary="false", sarif_file="")
        assert (result.code, result.summary) == (0, "")
        assert result.outputs == {"verdict": "HEALTHY", "findings": "0", "exit-code": "0", "sarif-file": ""}
        assert not (workspace / "diag.sarif").exists()

    def test_several_lines_and_patterns(self, step: Step) -> None:
        result = step("gate", paths="\n  runs/**/trainer_state.json\n\nruns/a good one\n", format="json")
        report = json.loads(result.printed.split("\n", 1)[1].rsplit("\n::", 1)[0])
        assert sorted(run["path"] for run in report["runs"]) == ["runs/a good one/trainer_state.json", "runs/bad/trainer_state.json"]
        assert result.outputs["verdict"] == "OVERFIT"

    def test_logs_and_configs_give_one_sarif_log(self, step: Step, workspace: Path) -> None:
        result = step("gate", paths="runs/a good one", config_paths="*.yaml", sarif_file="out/all.sarif")
        assert (result.code, result.outputs["verdict"]) == (1, "HEALTHY")
        assert "CFG002" in result.printed
        assert result.summary.count("## diag") == 2
        runs = json.loads((workspace / "out" / "all.sarif").read_text(encoding="utf-8"))["runs"]
        assert len({run["automationDetails"]["id"] for run in runs}) == len(runs) == 2
        consumer(
            sys.executable,
            "-m",
            "check_jsonschema",
            "--schemafile",
            "tests/data/schemas/sarif-schema-2.1.0.json",
            workspace / "out" / "all.sarif",
        )

    def test_arguments_and_gate(self, step: Step, workspace: Path) -> None:
        (workspace / "my baseline.json").write_text("{")
        assert step("gate", paths="runs/bad", fail_on="never").code == 0
        assert step("gate", paths="runs/bad", args="--ignore 'OVF001, OVF003'").outputs["findings"] == "1"
        assert step("gate", config_paths="mistral-lora.yaml", config_args="--select CFG099").code == 0
        broken = step("gate", paths="runs/bad", baseline="my baseline.json")
        assert broken.code == 2
        assert "my baseline.json" in broken.printed

    @pytest.mark.parametrize(
        ("inputs", "code", "said"),
        [
            ({}, 2, "::error title=diag::neither paths nor config-paths names anything to judge"),
            ({"paths": "runs/*/nothing.csv"}, 2, "diag: runs/*/nothing.csv: does not exist"),
            ({"paths": "short.csv"}, 3, "::error title=diag::nothing was judged (exit code 3)"),
            ({"paths": "short.csv", "args": "'open"}, 2, "::error title=diag::args cannot be split into arguments"),
            ({"paths": "short.csv", "sarif_file": "a\nverdict=HEALTHY"}, 2, "sarif-file is more than one line"),
            ({"paths": "short.csv", "config_paths": "mistral-lora.yaml"}, 1, "CFG001"),
        ],
    )
    def test_what_cannot_be_judged_is_no_success(self, step: Step, inputs: dict[str, str], code: int, said: str) -> None:
        result = step("gate", **inputs)
        assert result.code == code
        assert said in result.printed

    def test_inputs_are_data(self, step: Step, workspace: Path) -> None:
        everything = "\n".join(HOSTILE)
        step("gate", paths=everything, config_paths=everything, args=HOSTILE[0], config_args=HOSTILE[1], summary=everything)
        step("gate", paths="short.csv", fail_on=everything, baseline=everything)
        step("gate", paths="short.csv", format=everything, sarif_file=HOSTILE[0])
        step("gate", paths="short.csv", args=everything)
        assert list(workspace.rglob("pwned")) == []

    def test_a_hostile_folder_is_a_folder(self, step: Step, workspace: Path) -> None:
        (workspace / "runs" / "bad").rename(workspace / "runs" / "$(touch pwned) --fail-on=never")
        result = step("gate", paths="runs/$*")
        assert (result.code, result.outputs["verdict"]) == (1, "OVERFIT")
        (workspace / "runs" / "$(touch pwned) --fail-on=never").rename(workspace / "--fail-on=never")
        assert step("gate", paths="--fail-on=never").code == 1
        assert list(workspace.rglob("pwned")) == []

    def test_what_a_log_says_is_no_command_to_the_runner(self, step: Step, workspace: Path) -> None:
        rows = "".join(f"{number},{2 / (number + 1)},1\n" for number in range(40))
        (workspace / "metrics.csv").write_text(f"step,loss,::error file=x::boo\n{rows}")
        result = step("gate", paths="metrics.csv", format="text", args="--verbose")
        stop = re.match(r"::stop-commands::([0-9a-f]{32})\n", result.printed)
        assert stop is not None
        before, after = result.printed.split(f"\n::{stop[1]}::\n")
        assert "metrics.csv" in before
        assert after == ""


@pytest.mark.slow
def test_the_action_installs_the_command(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_DEPS", "1")  # the hooks' tests install them all
    result = step("install")
    assert result.code == 0, result.printed
    assert Path(result.outputs["bin"], "diag").is_file()
