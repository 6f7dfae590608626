"""SARIF: valid, taken by GitHub, read by others, and what is in it can be used: rules with their pages, suppressions, exact fixes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from builders import healthy
from consumers import read_sarif

import diag
from diag.analysis import judge
from diag.check import Finding
from diag.documents.editing import Edit, edited
from diag.linting import lint
from diag.report import Layout, sarif
from diag.result import Accepted, Problem, Report, RunReport


def run_of(report: Any, **layout: Any) -> dict[str, Any]:
    return read_sarif(sarif.render(report, Layout(**layout)))


@cache
def overfit() -> RunReport:
    return judge(healthy(epochs=10).overfit().lr().hyperparameters(num_epochs=10.0, learning_rate=2e-5).run(id="a-run"))[0]


@pytest.fixture
def log(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in a working copy, with a blank and an umlaut in its path."""
    shutil.copytree(fixtures / "hf-nan", tmp_path / "my runs" / "lauf ä")
    monkeypatch.chdir(tmp_path)
    return Path("my runs")


class TestRules:
    def test_are_all_that_judged_something(self) -> None:
        entry = overfit()
        rules = run_of(Report((entry,)))["tool"]["driver"]["rules"]
        assert [rule["id"] for rule in rules] == sorted({*entry.examined, *(found.code for found in entry.findings)})

    def test_have_the_page_of_the_check(self) -> None:
        from diag.battery import checks

        pages = {check.code: check for check in checks()}
        for rule in run_of(Report((overfit(),)))["tool"]["driver"]["rules"]:
            check = pages[rule["id"]]
            assert rule["name"] == check.name
            assert check.page() in rule["help"]["markdown"]
            assert rule["shortDescription"]["text"].split()[0] == check.summary().replace("`", "").split()[0]
            assert "## " not in rule["help"]["text"]
            assert rule["fullDescription"]["text"] != rule["shortDescription"]["text"]

    def test_findings_of_the_gate_have_theirs(self) -> None:
        found = Finding("GAT001", "requirement-not-met", "error", "eval/loss is 2.")
        rules = {rule["id"]: rule for rule in run_of(Report((replace(overfit(), findings=(found,)),)))["tool"]["driver"]["rules"]}
        assert "What it does" in rules["GAT001"]["help"]["text"]
        assert "gate" in rules["GAT001"]["properties"]["tags"]

    def test_lint_rules_have_theirs(self) -> None:
        rules = {rule["id"]: rule for rule in run_of(lint(["examples"]))["tool"]["driver"]["rules"]}
        assert "What it does" in rules["CFG001"]["help"]["text"]
        assert rules["CFG001"]["properties"]["tags"] == ["machine-learning", "config"]

    def test_a_finding_of_a_plug_in_without_a_page_is_described_by_itself(self) -> None:
        found = Finding("XYZ123", "their-own", "warning", "Something.")
        rules = run_of(Report((replace(overfit(), findings=(found,)),)))["tool"]["driver"]["rules"]
        (own,) = [rule for rule in rules if rule["id"] == "XYZ123"]
        assert (own["name"], own["defaultConfiguration"]["level"]) == ("their-own", "warning")

    def test_link_to_the_documentation_where_the_package_says_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "helpUri" not in json.dumps(run_of(Report((overfit(),))))
        told = Message()
        told["Project-URL"] = "Documentation, https://docs.example/diag/"
        monkeypatch.setattr("importlib.metadata.metadata", lambda name: told)
        driver = run_of(Report((overfit(),)))["tool"]["driver"]
        assert driver["informationUri"] == "https://docs.example/diag/"
        assert all(rule["helpUri"].endswith(f"/_generated/checks/{rule['id']}.html") for rule in driver["rules"])


class TestResults:
    def test_stand_in_files_of_the_working_copy(self, log: Path) -> None:
        results = run_of(diag.analyze(log))["results"]
        first = results[0]["locations"][0]["physicalLocation"]
        assert first["artifactLocation"] == {"uri": "my%20runs/lauf%20%C3%A4/training_args.json", "uriBaseId": "%SRCROOT%"}
        assert first["region"]["startLine"] == 3
        (other,) = results[0]["relatedLocations"]
        assert other["physicalLocation"]["artifactLocation"]["uri"].endswith("trainer_state.json")
        assert results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].startswith("lauf ä::train/loss::steps ")

    def test_files_elsewhere_have_an_address(self, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        report = diag.analyze(log)
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        locations = [result["locations"][0]["physicalLocation"]["artifactLocation"] for result in run_of(report)["results"]]
        assert {location["uri"].split("/")[0] for location in locations} == {"file:"}
        (tmp_path / "work" / "diag.toml").write_text("", encoding="utf-8")
        result = run_of(report, declared_in="diag.toml")["results"][0]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "diag.toml", "uriBaseId": "%SRCROOT%"}
        assert result["relatedLocations"]

    def test_a_remote_run_has_a_name(self) -> None:
        entry = replace(overfit(), run=replace(overfit().run, path="wandb://team/pro ject/abc"))
        uri = run_of(Report((entry,)))["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == "wandb%3A//team/pro%20ject/abc"

    def test_keep_their_fingerprints_when_other_values_are_measured(self, log: Path) -> None:
        def prints() -> list[str]:
            return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run_of(diag.analyze(log))["results"]]

        before = prints()
        state = log / "lauf ä" / "trainer_state.json"
        state.write_text("\n\n" + state.read_text(encoding="utf-8").replace("2.7", "2.8"), encoding="utf-8")
        assert prints() == before

    def test_accepted_ones_are_suppressed(self) -> None:
        entry = overfit()
        accepted = (Accepted(entry.findings[0], "a smoke test", "diag-baseline.json"),)
        results = run_of(Report((replace(entry, findings=entry.findings[1:], accepted=accepted),)))["results"]
        told = [result["suppressions"] for result in results if result["suppressions"]]
        assert told == [[{"kind": "external", "status": "accepted", "justification": "a smoke test (diag-baseline.json)"}]]
        assert results[-1]["suppressions"]

    def test_silenced_ones_are_suppressed_in_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").write_text(
            "learning_rate: 0.01  # diag: ignore[CFG001] a test\nnum_train_epochs: 3\nuse_peft: true\nlora_r: 8\noutput_dir: o\n",
            encoding="utf-8",
        )
        kinds = {result["ruleId"]: result["suppressions"] for result in run_of(lint(["a.yaml"]))["results"]}
        assert [entry["kind"] for entry in kinds["CFG001"]] == ["inSource"]

    def test_brackets_make_no_links(self) -> None:
        found = replace(overfit().findings[0], message="See [this](https://evil.example) and [0, 1].")
        (result,) = run_of(Report((replace(overfit(), findings=(found,)),)))["results"]
        assert result["message"]["text"].startswith("See \\[this\\](https://evil.example) and \\[0, 1\\].")

    def test_of_too_many_the_mildest_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sarif, "MAX_RESULTS", 1)
        entry = overfit()
        assert entry.findings[0].severity == "error"
        run = run_of(Report((replace(entry, findings=tuple(reversed(entry.findings))),)))
        assert [result["level"] for result in run["results"]] == ["error"]
        (note,) = run["invocations"][0]["toolExecutionNotifications"]
        assert note["message"]["text"].startswith(f"{len(entry.findings) - 1} of the mildest findings")


class TestInvocation:
    def test_problems_are_notifications(self) -> None:
        problems = (Problem("input", "a.csv", "is empty", True), Problem("input", "b.csv", "is empty", False))
        invocation = run_of(Report((), problems))["invocations"][0]
        assert [note["level"] for note in invocation["toolExecutionNotifications"]] == ["error", "warning"]
        assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)

    def test_a_failed_gate_was_executed_well(self) -> None:
        invocation = run_of(Report((overfit(),)))["invocations"][0]
        assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 1)

    def test_the_commands_have_categories_of_their_own(self) -> None:
        ids = [run_of(report)["automationDetails"]["id"] for report in (Report((overfit(),)), lint(["examples"]))]
        assert ids == ["diag/analyze/", "diag/lint/"]


CONFIGS = ["examples/mistral-lora.yaml", "tests/data/configs/axolotl", "tests/data/configs/megatron"]


def test_fixes_are_exact_and_settle_the_finding(tmp_path: Path) -> None:
    seen = 0
    for result in run_of(lint(CONFIGS))["results"]:
        for fix in result.get("fixes", []):
            (change,) = fix["artifactChanges"]
            path = Path(change["artifactLocation"]["uri"])
            text = path.read_text(encoding="utf-8")
            target = tmp_path / path.name
            target.write_text(edited(text, [_edit(text, replacement) for replacement in change["replacements"]]), encoding="utf-8")
            key = (result["ruleId"], result["properties"].get("metric", ""))
            left = [(v.code, v.key) for entry in lint([target]).configs for v in entry.violations if v.severity != "info"]
            assert result["level"] == "note" or left.count(key) == 0, (path, key)
            seen += 1
    assert seen >= 10


def _edit(text: str, replacement: dict[str, Any]) -> Edit:
    rows = text.split("\n")

    def position(line: int, column: int) -> int:
        return sum(len(row) + 1 for row in rows[: line - 1]) + column - 1

    region = replacement["deletedRegion"]
    start, end = position(region["startLine"], region["startColumn"]), position(region["endLine"], region["endColumn"])
    return Edit(start, end, replacement.get("insertedContent", {}).get("text", ""))


def test_is_read_by_sarif_tools(log: Path, tmp_path: Path) -> None:
    from sarif import loader

    report = diag.analyze(log)
    path = tmp_path / "diag.sarif"
    path.write_text(sarif.render(report, Layout()), encoding="utf-8")
    records = loader.load_sarif_file(str(path)).get_records()
    assert [record["Code"] for record in records][:2] == ["DIV001", "DIV001"]
    assert {record["Tool"] for record in records} == {"diag"}
    assert records[0]["Line"] == 3
    assert records[0]["Severity"] == "error"
