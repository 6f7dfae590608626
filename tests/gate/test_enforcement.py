"""Requirements, severities, acceptances and a baseline, as a user of the command meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path, fixtures: Path) -> Path:
    (tmp_path / ".git").mkdir()
    for name in ("hf-overfit", "hf-healthy"):
        shutil.copytree(fixtures / name, tmp_path / "runs" / name)
    return tmp_path


@pytest.fixture
def analyze(project: Path, diag_command: Command) -> Callable[..., tuple[int, dict[str, Any], str]]:
    def run(*arguments: str, **options: Any) -> tuple[int, dict[str, Any], str]:
        done = diag_command("analyze", *(arguments or ("runs/hf-overfit",)), "--format", "json", cwd=project, **options)
        runs = json.loads(done.stdout)["runs"] if done.stdout else []
        return done.returncode, {run["id"]: run for run in runs}, done.stderr

    return run


Analyze = Callable[..., tuple[int, dict[str, Any], str]]


def codes(run: dict[str, Any], severity: str = "") -> list[str]:
    return [finding["code"] for finding in run["findings"] if severity in ("", finding["severity"])]


def test_a_requirement_fails_a_healthy_run(analyze: Analyze) -> None:
    code, runs, _ = analyze("runs/hf-healthy", "--require", "best(eval/loss)<=1e-3")
    assert code == 1
    assert codes(runs["hf-healthy"], "error") == ["GAT001"]
    assert [entry["met"] for entry in runs["hf-healthy"]["requirements"]] == [False]
    assert analyze("runs/hf-healthy", "--require", "best(eval/loss)<=1e3")[0] == 0
    assert analyze("runs/hf-healthy", "--require", "eval/f1>=0.5")[0] == 1


def test_a_requirement_can_be_judged_where_the_run_cannot(analyze: Analyze, project: Path) -> None:
    (project / "runs" / "short").mkdir()
    rows = "".join(json.dumps({"step": step, "loss": 2.0 - step / 10, "eval_loss": 2.0}) + "\n" for step in (1, 2))
    (project / "runs" / "short" / "log.jsonl").write_text(rows)
    assert analyze("runs/short")[0] == 3
    assert analyze("runs/short", "--require", "train/loss<2")[0] == 0


def test_severities(analyze: Analyze, project: Path) -> None:
    assert analyze("runs/hf-overfit", "--severity", "OVF=info")[0] == 0
    (project / "diag.toml").write_text('[severity]\nOVF = "warning"\nOVF001 = "info"\n')
    code, runs, _ = analyze()
    assert (code, codes(runs["hf-overfit"], "warning")) == (0, ["OVF003", "OVF004"])
    assert analyze("runs/hf-overfit", "--severity", "OVF001=error")[0] == 1
    code, _, errors = analyze("runs/hf-overfit", "--severity", "OVG001=error")
    assert code == 2
    assert "did you mean" in errors


def test_a_run_accepts_with_a_reason(analyze: Analyze, project: Path) -> None:
    ignore = project / "runs" / "hf-overfit" / ".diagignore"
    ignore.write_text("OVF001 trained for too long on purpose\nSPK001 never there\n")
    code, runs, _ = analyze()
    run = runs["hf-overfit"]
    assert code == 0
    assert [(a["finding"]["code"], a["reason"], a["by"]) for a in run["accepted"]] == [
        ("OVF001", "trained for too long on purpose", ".diagignore:1")
    ]
    assert run["verdict"] == "OVERFIT"
    assert "GAT090" in codes(run, "info")
    ignore.write_text("OVF001\n")
    code, runs, errors = analyze()
    assert (code, "OVF001" in codes(runs["hf-overfit"])) == (1, True)
    assert errors == "diag: runs/hf-overfit/.diagignore: line 1 gives no reason; write it like: OVF001 why that is fine\n"
    assert analyze("runs/hf-healthy")[0] == 0


def test_the_list_lies_in_the_folder_of_the_run_whatever_folders_loggers_make(project: Path, diag_command: Command, fixtures: Path) -> None:
    shutil.copytree(fixtures / "wandb-overfit", project / "tracked")
    assert diag_command("analyze", "tracked", cwd=project).returncode == 1
    (project / "tracked" / ".diagignore").write_text("OVF001 a demo\n")
    assert diag_command("analyze", "tracked", cwd=project).returncode == 0
    (project / ".diagignore").write_text("DIV no list of this run\n")
    (project / "tracked" / ".diagignore").unlink()
    assert diag_command("analyze", "tracked", cwd=project).returncode == 1


def test_a_bad_diagignore_fails_an_otherwise_healthy_run(analyze: Analyze, project: Path) -> None:
    (project / "runs" / "hf-healthy" / ".diagignore").write_text("all is fine\n")
    assert analyze("runs/hf-healthy")[0] == 2


def test_the_configuration_accepts_and_ignores_by_path(analyze: Analyze, project: Path) -> None:
    (project / "diag.toml").write_text('[[accept]]\ncode = "OVF001"\nrun = "runs/hf-*"\nmetric = "eval/loss"\nreason = "demo"\n')
    code, runs, _ = analyze()
    assert (code, [a["by"] for a in runs["hf-overfit"]["accepted"]]) == (0, ["diag.toml:1"])
    (project / "diag.toml").write_text('[[accept]]\ncode = "OVF001"\nrun = "other/"\nreason = "demo"\n')
    assert analyze()[0] == 1
    (project / "diag.toml").write_text('[per-path-ignores]\n"runs/hf-overfit" = ["OVF", "CFG001"]\n')
    code, runs, _ = analyze("runs")
    assert code == 0
    assert [c for c in runs["hf-overfit"]["examined"] if c.startswith("OVF")] == []
    assert [c for c in runs["hf-healthy"]["examined"] if c.startswith("OVF")] != []


def test_two_runs_two_configurations(analyze: Analyze, project: Path) -> None:
    (project / "runs" / "hf-overfit" / "diag.toml").write_text('select = ["GRD", "CFG"]\n')
    (project / "runs" / "diag.toml").write_text('profile = "aggressive"\n')
    code, runs, _ = analyze("runs")
    assert code == 0
    assert {c[:3] for c in runs["hf-overfit"]["examined"]} == {"GRD"}
    assert len({c[:3] for c in runs["hf-healthy"]["examined"]}) > 3
    (project / "runs" / "hf-overfit" / "diag.toml").write_text('ignore = ["OVG"]\n')
    code, _, errors = analyze("runs")
    assert code == 2
    assert errors.startswith("diag: ")
    assert "runs/hf-overfit/diag.toml:1: no check or rule has a code that begins with 'OVG'" in errors


def test_variables_and_isolation(analyze: Analyze, project: Path) -> None:
    (project / "diag.toml").write_text('fail-on = "never"\n')
    assert analyze()[0] == 0
    assert analyze("runs/hf-overfit", "--isolated")[0] == 1
    assert analyze(env={"DIAG_FAIL_ON": "error"})[0] == 1
    assert analyze(env={"DIAG_SELECT": "GRD", "DIAG_FAIL_ON": "error"})[0] == 0
    (project / "gate.toml").write_text('select = ["OVF"]\nfail-on = "error"\n')
    assert analyze("runs/hf-overfit", "--config", "gate.toml")[0] == 1
    assert analyze("runs/hf-overfit", "--config", "gate.toml", "--isolated")[0] == 2
    assert analyze("runs/hf-overfit", "--config", "no.toml")[0] == 2


def test_a_baseline_reports_only_what_is_new(analyze: Analyze, project: Path, diag_command: Command) -> None:
    done = diag_command("baseline", "write", "runs", cwd=project)
    assert (done.returncode, done.stdout) == (0, "5 findings of 2 runs written to diag-baseline.json\n")
    before = (project / "diag-baseline.json").read_bytes()
    code, runs, _ = analyze("runs", "--baseline", "diag-baseline.json", "--fail-on", "info")
    assert code == 0
    assert {a["by"] for a in runs["hf-overfit"]["accepted"]} == {"diag-baseline.json"}
    assert analyze("runs/hf-overfit", "--baseline", "diag-baseline.json", "--fail-on", "info")[0] == 0
    shutil.copytree(project / "runs" / "hf-overfit", project / "runs" / "another")
    code, runs, _ = analyze("runs", "--baseline", "diag-baseline.json")
    assert (code, codes(runs["another"], "error"), codes(runs["hf-overfit"])) == (1, ["OVF001"], [])
    assert diag_command("baseline", "write", "runs/hf-healthy", cwd=project).returncode == 0
    assert (project / "diag-baseline.json").read_bytes() == before


def test_a_baseline_in_the_configuration_lies_beside_it(analyze: Analyze, project: Path, diag_command: Command) -> None:
    (project / "diag.toml").write_text('baseline = "ci/known.json"\n')
    (project / "ci").mkdir()
    assert analyze()[0] == 2
    assert diag_command("baseline", "write", "runs", cwd=project).returncode == 0
    assert (project / "ci" / "known.json").exists()
    assert analyze()[0] == 0
    done = diag_command("analyze", "hf-overfit", cwd=project / "runs")
    assert done.returncode == 0
    assert "3 accepted" in done.stdout or "4 accepted" in done.stdout


def test_pruning(project: Path, diag_command: Command) -> None:
    assert diag_command("baseline", "write", "runs", cwd=project).returncode == 0
    shutil.rmtree(project / "runs" / "hf-overfit")
    shutil.copytree(project / "runs" / "hf-healthy", project / "runs" / "hf-overfit")
    done = diag_command("baseline", "prune", "runs/hf-overfit", cwd=project)
    assert (done.returncode, done.stdout) == (0, "3 findings removed from diag-baseline.json\n")
    rows = json.loads((project / "diag-baseline.json").read_text())["findings"]
    assert {row["run"] for row in rows} == {"runs/hf-healthy", "runs/hf-overfit"}


@pytest.mark.parametrize(
    "arguments", [["write"], ["write", "nope"], ["prune", "runs", "-o", "nope.json"], ["write", "runs", "-o", "no/x.json"]]
)
def test_wrong_calls_of_baseline(project: Path, diag_command: Command, arguments: list[str]) -> None:
    done = diag_command("baseline", *arguments, cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


class TestConfigs:
    @pytest.fixture
    def config(self, project: Path) -> Path:
        root = Path(__file__).resolve().parents[2]
        return Path(shutil.copy(root / "examples" / "mistral-lora.yaml", project / "train.yaml"))

    def lint(self, diag_command: Command, config: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = diag_command("lint", config.name, "--format", "json", *arguments, cwd=config.parent)
        return done.returncode, json.loads(done.stdout)["configs"][0] if done.stdout else {}

    def test_severities_and_acceptances(self, diag_command: Command, config: Path) -> None:
        (config.parent / "diag.toml").write_text('[severity]\nCFG = "info"\n[[accept]]\ncode = "CFG001"\nreason = "a test of high rates"\n')
        code, entry = self.lint(diag_command, config)
        assert code == 0
        assert {finding["severity"] for finding in entry["findings"]} == {"info"}
        assert [silenced["reason"] for silenced in entry["silenced"]] == ["a test of high rates"]

    def test_a_severity_of_a_code_that_is_nobodys(self, diag_command: Command, config: Path) -> None:
        done = diag_command("lint", config.name, "--severity", "CFX001=info", cwd=config.parent)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "did you mean 'CFG" in done.stderr

    def test_what_the_configuration_says_of_the_training(self, diag_command: Command, config: Path) -> None:
        assert self.lint(diag_command, config)[1]["profile"] == "balanced"
        (config.parent / "diag.toml").write_text('profile = "conservative"\nselect = ["CFG001", "OVF"]\n')
        code, entry = self.lint(diag_command, config)
        assert (code, entry["profile"], {f["code"] for f in entry["findings"]}) == (1, "conservative", {"CFG001"})
        assert self.lint(diag_command, config, "--profile", "aggressive")[1]["profile"] == "aggressive"

    def test_ignored_by_path(self, diag_command: Command, config: Path) -> None:
        (config.parent / "diag.toml").write_text('[per-path-ignores]\n"train.yaml" = ["CFG0", "OVF"]\n')
        assert self.lint(diag_command, config)[0] == 0

    def test_a_baseline(self, diag_command: Command, config: Path) -> None:
        done = diag_command("baseline", "write", "--lint", config.name, cwd=config.parent)
        assert (done.returncode, done.stdout) == (0, "6 findings of 1 config written to diag-baseline.json\n")
        assert self.lint(diag_command, config, "--baseline", "diag-baseline.json")[0] == 0
        text = config.read_text().replace("save_strategy: epoch", "save_strategy: epoch\nwarmup_steps: 100000")
        config.write_text(text)
        assert self.lint(diag_command, config, "--baseline", "diag-baseline.json", "--fail-on", "info")[0] == 1

    def test_a_second_config_of_a_file_is_new(self, diag_command: Command, project: Path) -> None:
        script = project / "train.py"
        call = 'args = TrainingArguments(output_dir="out", eval_strategy="steps", save_strategy="epoch", load_best_model_at_end=True)\n'
        script.write_text(f"from transformers import TrainingArguments\n{call}")
        assert self.lint(diag_command, script)[0] == 1
        assert diag_command("baseline", "write", "--lint", script.name, cwd=project).returncode == 0
        assert self.lint(diag_command, script, "--baseline", "diag-baseline.json")[0] == 0
        script.write_text(f"from transformers import TrainingArguments\n{call}{call.replace('args', 'more', 1)}")
        assert self.lint(diag_command, script, "--baseline", "diag-baseline.json")[0] == 1
