"""The flat view: one fingerprint a finding, the same from analysis to analysis; accepted findings apart; texts harmless."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag.analysis import judge
from diag.check import Finding
from diag.linting import LintReport, lint
from diag.report import Layout
from diag.report.issues import Sheet, sheet
from diag.result import Accepted, Problem, Report, RunReport
from diag.terminal import safe


def flat(report: Report | LintReport, **layout: str) -> Sheet:
    return sheet(report, Layout(**layout))  # type: ignore[arg-type]


def prints(report: Report | LintReport) -> dict[tuple[str, str, str], str]:
    return {(issue.subject, issue.code, issue.metric): issue.fingerprint for issue in flat(report).issues}


@cache
def overfit() -> RunReport:
    return judge(healthy(epochs=10).overfit().lr().hyperparameters(num_epochs=10.0, learning_rate=2e-5).run(id="a-run"))[0]


@pytest.fixture
def working_copy(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(fixtures / "hf-overfit", tmp_path / "fleet" / "one")
    shutil.copytree(fixtures / "hf-overfit", tmp_path / "fleet" / "two")
    shutil.copytree(fixtures / "mlflow-sqlite", tmp_path / "fleet" / "store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestFingerprints:
    def test_are_distinct_in_a_report_of_like_runs(self, working_copy: Path) -> None:
        issues = flat(diag.analyze("fleet")).issues
        assert len({issue.fingerprint for issue in issues}) == len(issues) > 8
        assert len({issue.source.fingerprint for issue in issues}) < len(issues)

    def test_do_not_depend_on_what_else_is_analyzed(self, working_copy: Path) -> None:
        together = prints(diag.analyze("fleet"))
        alone = prints(diag.analyze("fleet/one"))
        assert set(alone.values()) <= set(together.values())
        assert set(alone.values()) == set(prints(diag.analyze(working_copy / "fleet" / "one" / "trainer_state.json")).values())

    def test_do_not_depend_on_what_was_measured(self, working_copy: Path) -> None:
        before = prints(diag.analyze("fleet/one"))
        state = working_copy / "fleet" / "one" / "trainer_state.json"
        state.write_text(state.read_text(encoding="utf-8").replace("1.13", "1.15"), encoding="utf-8")
        assert prints(diag.analyze("fleet/one")) == before

    def test_outlive_a_checkpoint(self, working_copy: Path) -> None:
        folder = working_copy / "fleet" / "one"
        before = prints(diag.analyze(folder))
        (folder / "trainer_state.json").unlink()
        assert diag.analyze(folder).runs[0].run.path == "checkpoint-480/trainer_state.json"
        assert set(prints(diag.analyze(folder)).values()) == set(before.values())

    def test_outlive_the_name_of_an_event_file(self, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        folder = Path(shutil.copytree(fixtures / "tensorboard-divergence", tmp_path / "run"))
        before = prints(diag.analyze("run"))
        (file,) = folder.glob("events*")
        file.rename(folder / "events.out.tfevents.1900000000.other.7.0")
        assert prints(diag.analyze("run")) == before

    def test_number_what_repeats(self) -> None:
        entry = overfit()
        twice = replace(entry, findings=(entry.findings[0], replace(entry.findings[0], step_start=1)))
        first, second = flat(Report((twice,))).issues
        assert first.fingerprint == flat(Report((entry,))).issues[0].fingerprint
        assert second.fingerprint != first.fingerprint

    def test_of_configs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        text = "learning_rate: 5.0\nnum_train_epochs: 3\nper_device_train_batch_size: 8\noutput_dir: out\n"
        for name in ("a.yaml", "b.yaml"):
            Path(name).write_text(text, encoding="utf-8")
        before = prints(lint(["a.yaml", "b.yaml"]))
        assert len(set(before.values())) == len(before)
        Path("a.yaml").write_text(f"# moved down\n\n{text}", encoding="utf-8")
        assert prints(lint(["a.yaml", "b.yaml"])) == before


class TestSheet:
    def test_says_what_to_change(self) -> None:
        (issue, *_) = flat(Report((overfit(),))).issues
        assert issue.code == "OVF001"
        assert issue.advice.startswith("Change: num_epochs 10 → ")
        assert issue.steps.startswith("steps ")

    def test_accepted_findings_do_not_count(self) -> None:
        entry = overfit()
        accepted = tuple(Accepted(found, "known\n", "diag.toml:3") for found in entry.findings)
        report = Report((replace(entry, findings=(), accepted=accepted),))
        made = flat(report)
        assert made.issues == []
        assert not made.failed
        (first, *_) = made.subjects[0].accepted
        assert (first.is_accepted, first.reason, first.by) == (True, "known ", "diag.toml:3")

    def test_silenced_lint_findings_are_accepted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(
            "learning_rate: 0.01  # diag: ignore[CFG001] a test\nnum_train_epochs: 3\nuse_peft: true\nlora_r: 8\noutput_dir: o\n",
            encoding="utf-8",
        )
        (subject,) = flat(lint([path])).subjects
        assert [(issue.code, issue.reason) for issue in subject.accepted] == [("CFG001", "a test")]

    def test_rules_that_judged_a_config_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("learning_rate: 1.0e-5\nnum_train_epochs: 3\nper_device_train_batch_size: 8\noutput_dir: o\n", encoding="utf-8")
        (entry,) = lint([path]).configs
        assert "CFG001" in entry.examined
        assert list(entry.examined) == sorted(entry.examined)
        (chosen,) = lint([path], select=["CFG001"]).configs
        assert chosen.examined == ("CFG001",)

    def test_the_gate_decides(self) -> None:
        report = Report((overfit(),))
        assert flat(report, fail_on="error").failed
        assert not flat(report, fail_on="never").failed

    def test_worst_first_keeps_the_order_of_equals(self) -> None:
        issues = flat(Report((overfit(), replace(overfit(), run=replace(overfit().run, id="b-run"))))).worst_first()
        severities = [issue.severity for issue in issues]
        assert severities == sorted(severities, key=["error", "warning", "info"].index)
        assert [issue.subject for issue in issues if issue.code == "OVF001"] == ["a-run", "b-run"]

    def test_problems_are_errors_where_they_were_asked_for(self) -> None:
        problems = (Problem("input", "a", "a: is empty", True), Problem("input", "b", "is empty", False), Problem("crash", "c", "x", False))
        assert flat(Report((), problems)).problems == (("error", "a", "is empty"), ("warning", "b", "is empty"), ("error", "c", "x"))
        assert flat(LintReport((), (), ("what.yaml",))).problems[0][:2] == ("error", "what.yaml")

    @given(st.text(), st.text())
    def test_texts_are_on_one_line_and_can_be_seen(self, message: str, name: str) -> None:
        entry = overfit()
        found = Finding("OVF001", "overfit-gap", "error", message, name, evidence={name: [message]})
        run = replace(entry.run, id=name)
        (subject,) = flat(Report((replace(entry, run=run, findings=(found,)),))).subjects
        (issue,) = subject.issues
        for text in (issue.message, issue.metric, issue.subject, subject.id, *issue.evidence, *issue.evidence[safe(name)]):
            assert text == safe(text)
            assert "\n" not in text
