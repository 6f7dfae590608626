"""The whole line in one call, the report's order, its JSON and its gate."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag.analysis import Settings, analyze, judge
from diag.check import Finding
from diag.diagnosis import Diagnosis
from diag.result import Problem, Report, RunReport, plain, sort_findings
from diag.run import Run

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "schema.json").read_text(encoding="utf-8"))


def report_of(severities: list[str], verdict: str = "HEALTHY") -> RunReport:
    findings = tuple(Finding("OVF001", "overfit-gap", severity, "Something rose.") for severity in severities)
    return RunReport(Run("a", "a", "csv", {}), findings, (), Diagnosis(verdict, 0.9), None, (), None)


class TestAnalyze:
    def test_an_overfit_run(self, fixtures: Path) -> None:
        report = diag.analyze(fixtures / "hf-overfit")
        (entry,) = report.runs
        assert entry.diagnosis.verdict == "OVERFIT"
        assert entry.diagnosis.causes[0].cause == "too_many_epochs"
        assert entry.best_checkpoint is not None
        assert entry.best_checkpoint.exists
        assert report.problems == ()
        assert report.exit_code() == 1

    def test_a_healthy_run_passes_the_gate(self, fixtures: Path) -> None:
        report = analyze(fixtures / "hf-healthy")
        assert report.runs[0].diagnosis.verdict == "HEALTHY"
        assert report.exit_code("warning") == 0

    def test_a_tree_gives_every_run_once(self, fixtures: Path) -> None:
        report = analyze(fixtures, adapter="trainer_state")
        assert {"hf-healthy", "hf-overfit", "hf-nan"} <= {entry.run.id for entry in report.runs}
        assert len({entry.run.id for entry in report.runs}) == len(report.runs)

    def test_paths_that_hold_runs_of_one_name_get_ids_of_their_own(self, fixtures: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(fixtures / "hf-healthy", tmp_path / "hf-healthy")
        report = analyze([fixtures / "hf-healthy", copy])
        assert [entry.run.id for entry in report.runs] == ["hf-healthy", "hf-healthy#2"]

    def test_the_same_bytes_with_any_number_of_jobs(self, fixtures: Path) -> None:
        paths = [fixtures / "hf-overfit", fixtures / "hf-healthy", fixtures / "hf-nan"]
        assert analyze(paths, jobs=2).to_json() == analyze(paths).to_json()

    def test_progress_counts_up_to_the_total(self, fixtures: Path) -> None:
        seen: list[tuple[int, int]] = []
        analyze([fixtures / "hf-overfit", fixtures / "hf-healthy"], on_progress=lambda done, total, name: seen.append((done, total)))
        assert [done for done, _ in seen] == [1, 2, 3, 4]
        assert seen[-1] == (4, 4)

    def test_what_the_user_says_of_the_run_wins(self, fixtures: Path) -> None:
        (entry,) = analyze(fixtures / "hf-overfit", method="lora", model_parameters=7e9, dataset_size=1000, dialect="automodel").runs
        known = entry.run.hyperparameters
        assert (known["method"].value, known["method"].source) == ("lora", "given by the user")
        assert (known["model_parameters"].value, known["dataset_size"].value) == (7e9, 1000)
        assert entry.overrides is not None
        assert entry.overrides.dialect == "automodel"

    def test_select_and_ignore(self, fixtures: Path) -> None:
        (only,) = analyze(fixtures / "hf-overfit", select=["ovf"]).runs
        (without,) = analyze(fixtures / "hf-overfit", ignore=["OVF001"]).runs
        assert {finding.code[:3] for finding in only.findings} == {"OVF"}
        assert "OVF001" not in {finding.code for finding in without.findings}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"select": ["OVX"]}, ["OVX", "OVF"]),
            ({"ignore": ["OVF999"]}, ["OVF999", "did you mean"]),
            ({"select": [""]}, ["begins with"]),
            ({"method": "loar"}, ["loar", "lora"]),
            ({"dialect": "automodle"}, ["automodle", "automodel"]),
            ({"profile": "brave"}, ["brave", "balanced"]),
            ({"model_parameters": -1.0}, ["model_parameters", "positive"]),
            ({"model_parameters": math.nan}, ["model_parameters", "positive"]),
            ({"dataset_size": 0}, ["dataset_size", "positive"]),
            ({"jobs": 0}, ["jobs", "at least 1"]),
            ({"adapter": "tensorbord"}, ["tensorbord", "tensorboard"]),
        ],
    )
    def test_a_wrong_argument_says_what_would_be_right(self, fixtures: Path, options: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(diag.UsageError) as error:
            analyze(fixtures / "hf-overfit", **options)
        assert all(word in str(error.value) for word in words)

    def test_a_run_that_no_check_judged_has_no_verdict(self, fixtures: Path) -> None:
        (run,) = analyze(fixtures / "hf-overfit", select=["RLH"]).runs
        assert (run.examined, run.diagnosis.verdict, run.fixes) == ((), "INCONCLUSIVE", ())

    def test_no_path_at_all(self) -> None:
        with pytest.raises(diag.UsageError, match="no path"):
            analyze([])

    def test_one_unreadable_path_raises(self, tmp_path: Path) -> None:
        with pytest.raises(diag.InputError, match="missing"):
            analyze(tmp_path / "missing")
        with pytest.raises(diag.NothingToJudgeError):
            analyze(tmp_path)

    def test_one_unreadable_path_among_others_is_a_problem(self, fixtures: Path, tmp_path: Path) -> None:
        report = analyze([fixtures / "hf-healthy", tmp_path / "missing"])
        assert [entry.run.id for entry in report.runs] == ["hf-healthy"]
        (problem,) = report.problems
        assert problem.path.endswith("missing")
        assert report.exit_code() == 2

    def test_a_crashing_check_is_reported_and_the_others_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diag import battery

        class Broken(diag.Check):
            """Fails."""

            code = "ZZZ001"
            name = "broken"

            def examine(self, examination: object) -> Any:
                raise ZeroDivisionError("one\ntwo")

        real = battery.checks()
        monkeypatch.setattr(battery, "checks", lambda: (*real, Broken()))
        entry, problems = judge(healthy().run())
        assert entry.diagnosis.verdict == "HEALTHY"
        (problem,) = problems
        assert (problem.kind, "ZZZ001" in problem.message, "\n" in problem.message) == ("crash", True, False)
        assert Report((entry,), (problem,)).exit_code() == 4


class TestGate:
    """The exit code is a pure function of the report and the gate."""

    @pytest.mark.parametrize(
        ("severities", "fail_on", "code"),
        [
            ([], "info", 0),
            (["info"], "error", 0),
            (["info"], "warning", 0),
            (["info"], "info", 1),
            (["warning"], "error", 0),
            (["warning"], "warning", 1),
            (["error"], "error", 1),
            (["error"], "never", 0),
        ],
    )
    def test_severity_against_the_gate(self, severities: list[str], fail_on: str, code: int) -> None:
        assert Report((report_of(severities),)).exit_code(fail_on) == code

    @pytest.mark.parametrize(
        ("runs", "problems", "code"),
        [
            ([], [], 3),
            ([report_of([], "INCONCLUSIVE")], [], 3),
            ([report_of([], "INCONCLUSIVE"), report_of([])], [], 0),
            ([report_of([])], [Problem("input", "x", "is empty", named=False)], 0),
            ([report_of([])], [Problem("input", "x", "is empty", named=True)], 2),
            ([report_of(["error"])], [Problem("input", "x", "is empty", named=True)], 1),
            ([], [Problem("input", "x", "is empty", named=False)], 2),
            ([report_of([])], [Problem("crash", "x", "crashed")], 4),
            ([], [Problem("crash", "x", "crashed")], 4),
            ([report_of(["error"])], [Problem("crash", "x", "crashed")], 1),
            ([report_of([], "INCONCLUSIVE")], [Problem("crash", "x", "crashed")], 3),
        ],
    )
    def test_what_was_not_judged(self, runs: list[RunReport], problems: list[Problem], code: int) -> None:
        assert Report(tuple(runs), tuple(problems)).exit_code() == code

    def test_an_unknown_gate(self) -> None:
        with pytest.raises(diag.UsageError, match="fatal"):
            Report(()).failed("fatal")


class TestJson:
    def test_every_recorded_log_keeps_the_schema(self, fixtures: Path) -> None:
        document = json.loads(analyze(fixtures, jobs=2).to_json())
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        assert document["summary"]["runs"] == len(document["runs"]) > 4

    def test_the_schema_knows_the_vocabulary(self) -> None:
        from diag import vocabulary

        assert tuple(SCHEMA["$defs"]["cause"]["enum"]) == vocabulary.CAUSES
        assert tuple(SCHEMA["$defs"]["verdict"]["enum"]) == vocabulary.VERDICTS

    def test_same_input_same_bytes(self, fixtures: Path) -> None:
        assert analyze(fixtures / "hf-overfit").to_json() == analyze(fixtures / "hf-overfit").to_json()

    def test_non_finite_numbers_are_strings(self) -> None:
        entry = report_of(["error"])
        finding = replace(entry.findings[0], evidence={"a": math.nan, "b": [np.float64("inf"), -math.inf], "c": np.int64(3)})
        text = Report((replace(entry, findings=(finding,)),)).to_json()
        assert json.loads(text)["runs"][0]["findings"][0]["evidence"] == {"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 3}
        assert text.isascii()

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sets(st.integers()) | st.just(np.float32(1.5)),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
        )
    )
    def test_any_value_becomes_strict_json(self, value: Any) -> None:
        assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)


def test_findings_have_a_total_order() -> None:
    findings = [
        Finding("SPK001", "loss-spikes", "warning", "m", step_start=9),
        Finding("SPK001", "loss-spikes", "warning", "m", step_start=3),
        Finding("DIV001", "nonfinite-loss", "error", "m"),
        Finding("LOG001", "x", "info", "b"),
        Finding("LOG001", "x", "info", "a"),
    ]
    ordered = sort_findings(findings)
    assert ordered == sort_findings(findings[::-1])
    assert [(f.code, f.step_start, f.message) for f in ordered] == [
        ("DIV001", None, "m"),
        ("SPK001", 3, "m"),
        ("SPK001", 9, "m"),
        ("LOG001", None, "a"),
        ("LOG001", None, "b"),
    ]


def test_frame_has_a_row_a_finding(fixtures: Path) -> None:
    report = analyze(fixtures / "hf-overfit")
    frame = report.to_frame()
    assert list(frame["code"]) == [finding.code for finding in report.runs[0].findings]
    assert frame["step_start"].dtype == "Int64"
    assert list(Report(()).to_frame().columns) == list(frame.columns)


def test_html_escapes_what_the_log_says() -> None:
    run = healthy().run(id="<script>alert(1)</script>")
    html = Report((judge(run)[0],))._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_settings_reach_the_prescription() -> None:
    run = healthy(epochs=10).overfit().hyperparameters(num_epochs=10.0, learning_rate=1e-3).run()
    entry, _ = judge(run, Settings(dialect="hf"))
    assert [fix.parameter for fix in entry.fixes if fix.rank == 1] == ["num_epochs"]
    assert entry.overrides is not None
    assert any("num_train_epochs" in argument for argument in entry.overrides.arguments)


def test_public_names_exist_and_are_listed() -> None:
    assert all(getattr(diag, name) is not None for name in diag.__all__)
    assert set(diag.__all__) <= set(dir(diag))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = diag.nothing_of_the_kind


@pytest.mark.parametrize(
    ("dialect", "arguments"),
    [
        ("hf", ["--num_train_epochs", "7"]),
        ("axolotl", ["--num-epochs", "7"]),
        ("torchtune", ["epochs=7"]),
        ("lightning", ["--trainer.max_epochs", "7"]),
        ("generic", ["num_train_epochs=7"]),
    ],
)
def test_changes_for_another_framework_are_in_its_keys_not_in_those_of_the_config_that_was_read(
    dialect: str, arguments: list[str], fixtures: Path
) -> None:
    (entry,) = analyze(fixtures / "hf-overfit", dialect=dialect).runs
    assert entry.overrides is not None
    assert entry.overrides.arguments == arguments
    assert entry.run.hyperparameters["num_epochs"].source == "trainer_state.json num_train_epochs"
