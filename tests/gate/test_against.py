"""Comparisons as a part of a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from builders import RunBuilder, healthy

import diag
from diag.analysis import judge
from diag.errors import UsageError
from diag.gate.against import against_benchmarks, against_runs
from diag.gate.lm_eval import Results, read
from diag.result import Report, RunReport
from diag.run import Run

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "schema.json").read_text(encoding="utf-8"))


def judged(builder: RunBuilder | Run, **fields: object) -> RunReport:
    return judge(builder if isinstance(builder, Run) else builder.run(**fields))[0]


def worse(builder: RunBuilder, factor: float = 1.5) -> RunBuilder:
    return builder.losses(builder.train * factor, builder.eval * factor)


@pytest.fixture
def results(fixtures: Path) -> tuple[Results, Results]:
    return read(fixtures / "lm-eval" / "base"), read(fixtures / "lm-eval" / "tuned")


def test_the_findings_join_those_of_the_run_and_the_verdict_stays() -> None:
    alone = judged(worse(healthy()))
    (compared,) = against_runs(Report((alone,)), [judged(healthy(), id="good")]).runs
    assert compared.diagnosis == alone.diagnosis
    assert [finding.code for finding in compared.findings][:2] == ["GAT010", "GAT011"]
    assert {"GAT002", "GAT010", "GAT011"} <= set(compared.examined)
    assert compared.comparisons[0].references == ("good",)


def test_the_report_keeps_its_schema(results: tuple[Results, Results]) -> None:
    report = against_runs(Report((judged(worse(healthy()).nan(0.9)),)), [judged(healthy())])
    for made in (against_benchmarks(report, *results), against_benchmarks(Report(()), *results)):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(made.to_json()))
        assert made.to_json() == made.to_json()


def test_a_run_among_its_references_is_left_out_of_them() -> None:
    runs = [judged(worse(healthy(seed=i)) if i == 0 else healthy(seed=i), id=f"run-{i}", root=f"/runs/{i}") for i in range(3)]
    compared = against_runs(Report(tuple(runs)), runs)
    assert [entry.comparisons[0].references for entry in compared.runs] == [
        ("run-1", "run-2"),
        ("run-0", "run-2"),
        ("run-0", "run-1"),
    ]
    golden, other = against_runs(Report((runs[1], runs[2])), [runs[1]]).runs
    assert (golden, other.comparisons[0].references) == (runs[1], ("run-1",))
    with pytest.raises(UsageError, match="its own reference"):
        against_runs(Report((runs[1],)), [runs[1]])


def test_two_trainings_in_one_folder_are_two(tmp_path: Path) -> None:
    one, other = judged(healthy(seed=1), id="a", root="/store"), judged(healthy(seed=2), id="b", root="/store")
    assert against_runs(Report((one,)), [other]).runs[0].comparisons[0].judged


def test_a_sick_reference_is_doubted() -> None:
    (compared,) = against_runs(Report((judged(healthy()),)), [judged(healthy().nan(0.5), id="bad")]).runs
    assert compared.comparisons[0].notes[0] == "bad is DIVERGED itself: a doubtful reference."


def test_unwanted_codes_are_left_out() -> None:
    report = Report((judged(worse(healthy())),))
    (compared,) = against_runs(report, [judged(healthy())], wanted=lambda run, code: code != "GAT010").runs
    codes = {finding.code for finding in compared.findings}
    assert "GAT011" in codes and "GAT010" not in codes
    assert "GAT010" not in compared.examined


def test_a_comparison_is_a_judgement() -> None:
    short = judged(healthy(n=3, evals=3))
    assert short.diagnosis.verdict == "INCONCLUSIVE"
    assert Report((short,)).exit_code() == 3
    assert against_runs(Report((short,)), [judged(healthy(n=3, evals=3, seed=1))]).exit_code() == 0
    nothing = against_runs(Report((judged(Run("empty", "", "none", {})),)), [judged(healthy())])
    assert nothing.exit_code() == 1


class TestForgetting:
    def test_the_changes_come_from_the_runs_own_values(self, results: tuple[Results, Results]) -> None:
        known = healthy().lr().hyperparameters(method="sft", learning_rate=2e-5, num_epochs=3.0)
        (treated,) = against_benchmarks(Report((judged(known.set(dialect="hf")),)), *results).runs
        assert [(fix.rank, fix.parameter, fix.old, fix.new) for fix in treated.fixes] == [
            (1, "method", "sft", "lora"),
            (2, "method", "sft", "osft"),
            (3, "learning_rate", 2e-5, 1e-5),
            (4, "num_epochs", 3, 2),
        ]
        assert "2e-4 instead of 2e-5" in treated.fixes[0].reason
        assert {fix.because for fix in treated.fixes} == {"GAT020"}

    def test_adapters_are_not_advised_where_there_are_some(self, results: tuple[Results, Results]) -> None:
        known = healthy().lr(peak=2e-4).hyperparameters(method="lora", learning_rate=2e-4, num_epochs=3.0, lora_rank=16)
        (treated,) = against_benchmarks(Report((judged(known.set(dialect="hf")),)), *results).runs
        assert [(fix.rank, fix.parameter, fix.new) for fix in treated.fixes] == [(1, "learning_rate", 1e-4), (2, "num_epochs", 2)]
        assert treated.overrides is not None
        assert treated.overrides.arguments == ["--learning_rate", "0.0001"]

    @pytest.mark.parametrize(("old", "new"), [(0.5, 0.3), (0.25, 0.1), (0.1, None)])
    def test_the_unfreeze_ratio_of_osft(self, results: tuple[Results, Results], old: float, new: float | None) -> None:
        known = healthy().lr(peak=5e-6).hyperparameters(method="osft", learning_rate=5e-6, unfreeze_rank_ratio=old)
        (treated,) = against_benchmarks(Report((judged(known),)), *results).runs
        ratios = [fix.new for fix in treated.fixes if fix.parameter == "unfreeze_rank_ratio"]
        assert ratios == ([] if new is None else [new])

    def test_the_prescription_of_a_sick_run_stays_the_first(self, results: tuple[Results, Results]) -> None:
        sick = judged(healthy().overfit(0.3, 0.5).lr().hyperparameters(method="sft", learning_rate=2e-5, num_epochs=6.0))
        (treated,) = against_benchmarks(Report((sick,)), *results).runs
        first = [fix for fix in sick.fixes if fix.rank == 1]
        assert [fix for fix in treated.fixes if fix.rank == 1] == first
        assert [fix.because for fix in treated.fixes if fix.rank == 2] == ["GAT020"]
        assert [fix.rank for fix in treated.fixes] == sorted(fix.rank for fix in treated.fixes)
        assert max(fix.rank for fix in treated.fixes) <= 5
        turned = {fix.parameter for fix in first}
        assert not turned & {fix.parameter for fix in treated.fixes if fix.because == "GAT020"}

    def test_nothing_changes_where_nothing_was_forgotten(self, results: tuple[Results, Results]) -> None:
        base, _ = results
        entry = judged(healthy().lr().hyperparameters(method="sft", learning_rate=2e-5))
        (compared,) = against_benchmarks(Report((entry,)), base, replace(base, path="again")).runs
        assert compared.fixes == entry.fixes
        assert "GAT020" not in {finding.code for finding in compared.findings}


def test_a_model_without_its_run(results: tuple[Results, Results]) -> None:
    report = against_benchmarks(Report(()), *results)
    (entry,) = report.runs
    assert (entry.run.id, entry.diagnosis.verdict, entry.fixes) == ("models/tuned", "INCONCLUSIVE", ())
    assert report.exit_code() == 1
    assert against_benchmarks(Report(()), results[0], replace(results[0], path="again")).exit_code() == 0
    with pytest.raises(UsageError, match="are both"):
        against_benchmarks(Report(()), results[0], results[0])
