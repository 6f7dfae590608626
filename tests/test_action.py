"""The GitHub Action: its file is valid and safe, and its steps, run by bash as the runner runs them, do what the file says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT
from running import ACTION, EXPRESSION, STEPS, Result, Step, consumer, run_step, schema_check

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
    """Run a step of the action by its id, with some inputs, in the workspace."""

    def run(identifier: str, **inputs: str) -> Result:
        return run_step(identifier, {name.replace("_", "-"): value for name, value in inputs.items()}, workspace, tmp_path)

    return run


class TestFile:
    def test_is_valid_by_the_published_schema(self) -> None:
        schema_check("github-actions", "action.yml")

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
