"""A run beside known-good ones: what is found, what is not, and how often it is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag import comparison
from diag.check import Finding
from diag.errors import UsageError
from diag.gate import compare
from diag.gate.reference import Outcome
from diag.result import plain
from diag.run import Column, Run, make_curve


def findings(run: RunBuilder, *references: RunBuilder, **options: float) -> list[Finding]:
    return list(compare(run.run(), [reference.run(id=f"ref-{i}") for i, reference in enumerate(references)], **options).findings)


def said(run: RunBuilder, *references: RunBuilder, **options: float) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in findings(run, *references, **options)]


def worse(builder: RunBuilder, factor: float) -> RunBuilder:
    return builder.losses(builder.train * factor, builder.eval * factor)


QUIET = healthy(noise=0.002)


class TestFindings:
    def test_the_same_setting_with_another_seed_is_as_good(self) -> None:
        assert said(healthy(seed=1), healthy(seed=2)) == []

    @pytest.mark.parametrize(
        ("factor", "expected"),
        [
            (0.5, []),
            (1.02, []),
            (1.2, [("GAT010", "error"), ("GAT011", "error")]),
        ],
    )
    def test_a_run_that_is_worse(self, factor: float, expected: list[tuple[str, str]]) -> None:
        assert said(worse(QUIET, factor), QUIET) == expected

    @pytest.mark.parametrize(("factor", "expected"), [(1.02, []), (1.035, "warning"), (1.06, "error")])
    def test_severity_follows_the_size_where_the_noise_is_small(self, factor: float, expected: str) -> None:
        found = said(worse(QUIET, factor), QUIET, run_noise=0.001)
        assert found == ([("GAT010", expected), ("GAT011", expected)] if expected else [])

    def test_several_references_see_what_one_cannot(self) -> None:
        references = [healthy(noise=0.002, seed=seed) for seed in range(5)]
        run = worse(healthy(noise=0.002, seed=9), 1.035)
        assert said(run, references[0]) == []
        assert said(run, *references) == [("GAT010", "warning"), ("GAT011", "warning")]

    def test_references_that_scatter_explain_more(self) -> None:
        scattered = [worse(QUIET, factor) for factor in (0.9, 1.0, 1.1)]
        assert said(worse(QUIET, 1.15), *scattered) == []

    def test_a_run_noisier_than_its_reference_is_not_excused_by_its_noise(self) -> None:
        wild = QUIET.losses(evals=QUIET.eval * 1.5 * np.exp(0.5 * np.abs(np.random.default_rng(1).standard_normal(QUIET.eval.size))))
        assert said(wild, QUIET) == [("GAT010", "error"), ("GAT011", "error")]

    def test_a_few_evaluations_of_a_loss_that_falls_steeply_are_not_noise(self) -> None:
        steep = healthy(evals=6, noise=0.0).losses(evals=[9.0, 3.0, 1.5, 1.1, 1.02, 1.0])
        assert said(worse(steep, 1.12), steep) == [("GAT010", "error"), ("GAT011", "error")]

    def test_an_overfitted_run_is_behind_at_the_end_only(self) -> None:
        (found,) = findings(QUIET.overfit(at=0.5, rise=0.3), QUIET)
        assert (found.code, found.metric) == ("GAT011", "eval/loss")
        assert found.step_start is not None and 400 < found.step_start < 800
        assert found.step_end == 1000
        assert "behind from step" in found.message

    def test_a_run_that_is_not_a_number_at_the_end(self) -> None:
        (found,) = findings(QUIET.nan(at=0.9), QUIET)
        assert (found.code, found.severity, found.step_start) == ("GAT011", "error", 950)
        assert "not a number from step 950 on" in found.message

    def test_a_nan_that_a_filter_hid_is_no_low_loss(self) -> None:
        found = compare(QUIET.no_eval().nan(at=0.8, hidden=True).run(), [QUIET.no_eval().run()])
        assert [finding.code for finding in found.findings] == ["GAT011"]
        assert [row.verdict for row in found.comparison.rows] == ["same", "worse"]

    def test_a_run_that_never_was_a_number(self) -> None:
        (found,) = findings(QUIET.losses(evals=np.full(QUIET.eval.size, np.nan)), QUIET)
        assert (found.code, found.severity) == ("GAT011", "error")

    def test_a_reference_that_ends_in_nan_is_compared_as_far_as_it_goes(self) -> None:
        assert said(QUIET, QUIET.nan(at=0.9)) == []
        assert "GAT010" in dict(said(worse(QUIET, 1.3), QUIET.nan(at=0.9)))

    def test_accuracy_and_reward_are_better_when_higher(self) -> None:
        def accuracy(level: float) -> RunBuilder:
            base = healthy().no_eval().metric("eval/accuracy", level + 0.001 * np.sin(np.arange(200)))
            return replace(base, epochs=3.0)

        assert said(accuracy(0.9), accuracy(0.8)) == []
        assert said(accuracy(0.7), accuracy(0.8)) == [("GAT010", "error"), ("GAT011", "error")]

    def test_a_reward_around_zero(self) -> None:
        ramp = np.linspace(-1, 0.05, 200)
        base = healthy().metric("reward", ramp)
        assert said(base, healthy().metric("reward", ramp + 0.002)) == []
        assert said(healthy().metric("reward", np.minimum(ramp, -0.3)), base) == [("GAT010", "error"), ("GAT011", "error")]

    def test_it_never_speaks_of_causes_or_verdicts(self) -> None:
        assert all(not finding.causes and not finding.verdicts for finding in findings(worse(QUIET, 1.5), QUIET))

    def test_the_evidence_is_json_and_says_what_differs(self) -> None:
        run, reference = worse(QUIET, 1.5).hyperparameters(learning_rate=1e-3), QUIET.hyperparameters(learning_rate=2e-5)
        for found in findings(run, reference):
            json.dumps(found.evidence, allow_nan=False)
            assert found.evidence["differs"] == {"learning_rate": {"run": 1e-3, "references": [2e-5]}}


class TestNothingToCompare:
    def test_nothing_in_common_is_an_error(self) -> None:
        outcome = compare(healthy().metric("reward", 1.0).run(), [healthy().run()])
        assert [(f.code, f.severity) for f in outcome.findings] == [("GAT002", "error")]
        assert not outcome.comparison.judged

    def test_a_run_without_the_evaluation_of_its_reference(self) -> None:
        (found,) = findings(healthy().no_eval(), healthy())
        assert (found.code, found.severity, found.metric) == ("GAT002", "error", "eval/loss")

    def test_one_of_several_evaluations_missing_is_a_warning(self) -> None:
        def run(*names: str) -> Run:
            made = healthy().run()
            made.curves |= {f"eval/{name}/loss": made.curves["eval/loss"] for name in names}
            return made

        outcome = compare(run("code"), [run("code", "math")])
        assert [(f.code, f.severity, f.metric) for f in outcome.findings] == [("GAT002", "warning", "eval/math/loss")]

    def test_a_reference_without_a_number(self) -> None:
        (found,) = findings(QUIET, QUIET.losses(evals=np.full(QUIET.eval.size, np.nan)))
        assert (found.code, found.severity) == ("GAT002", "error")
        assert "eval/loss: the reference has no finite value of it" in found.message

    def test_an_empty_run(self) -> None:
        assert [f.code for f in compare(Run("a", "a", "x", {}), [healthy().run()]).findings] == ["GAT002"]
        assert [f.code for f in compare(Run("a", "a", "x", {}), [Run("b", "b", "x", {})]).findings] == ["GAT002"]


class TestLengths:
    def test_a_run_that_is_still_going_is_compared_up_to_its_step(self) -> None:
        going = healthy(noise=0.002, seed=3)
        half = replace(going, step=going.step[:100], train=going.train[:100], eval_step=going.eval_step[:10], eval=going.eval[:10])
        outcome = compare(half.run(planned_steps=1000, finished=None), [QUIET.run()])
        assert outcome.findings == ()
        assert (outcome.comparison.aligned, outcome.comparison.until) == ("step", 500)
        assert "at step 500 of the reference's 1,000" in outcome.comparison.notes[0]
        assert [row.reference_step for row in outcome.comparison.rows if row.at == comparison.END] == [500]

    def test_a_longer_schedule_is_compared_by_share(self) -> None:
        outcome = compare(healthy(n=400, epochs=6, noise=0.002).run(), [QUIET.run()])
        assert (outcome.comparison.aligned, outcome.findings) == ("share", ())

    def test_another_batch_size_is_compared_by_epoch(self) -> None:
        outcome = compare(healthy(n=400, noise=0.002).run(), [QUIET.run()])
        assert (outcome.comparison.aligned, outcome.findings) == ("epoch", ())
        assert "compared by epoch" in outcome.comparison.notes[0]

    def test_one_evaluation_at_the_end(self) -> None:
        assert said(healthy(evals=1, seed=1), healthy(evals=1, seed=2)) == []
        assert said(worse(healthy(evals=1), 1.3), healthy(evals=1)) == [("GAT010", "error"), ("GAT011", "error")]


class TestPace:
    @pytest.mark.parametrize(
        ("metric", "value", "expected"),
        [
            ("tokens_per_second", 900.0, []),
            ("tokens_per_second", 790.0, [("GAT010", "info")]),
            ("tokens_per_second", 500.0, [("GAT010", "warning")]),
            ("step_time", 1100.0, []),
            ("step_time", 1600.0, [("GAT010", "warning")]),
            ("samples_per_second", 5000.0, []),
        ],
    )
    def test_a_slower_pace(self, metric: str, value: float, expected: list[tuple[str, str]]) -> None:
        assert said(healthy().metric(metric, value), healthy().metric(metric, 1000.0)) == expected

    def test_a_pace_that_was_never_measured(self) -> None:
        assert said(healthy().metric("step_time", np.nan), healthy().metric("step_time", 1.0)) == []


class TestDifferences:
    def test_incidental_and_alike_values_are_left_out(self) -> None:
        run = healthy().hyperparameters(seed=1, learning_rate=2e-5, optimizer="adamw", num_epochs=3.0, lora_rank=8)
        reference = healthy().hyperparameters(seed=2, learning_rate=2e-5, optimizer="sgd", num_epochs=3, weight_decay=0.1)
        assert compare(run.run(), [reference.run()]).comparison.differs == {"optimizer": {"run": "adamw", "references": ["sgd"]}}

    def test_a_value_that_one_of_the_references_has_does_not_differ(self) -> None:
        references = [healthy().hyperparameters(learning_rate=rate).run() for rate in (1e-5, 2e-5, 1e-5)]
        outcome = compare(healthy().hyperparameters(learning_rate=2e-5).run(), references)
        assert outcome.comparison.differs == {}
        outcome = compare(healthy().hyperparameters(learning_rate=3e-5).run(), references)
        assert outcome.comparison.differs == {"learning_rate": {"run": 3e-5, "references": [1e-5, 2e-5]}}


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"tolerance": float("nan")}, {"run_noise": -0.1}])
def test_impossible_numbers_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        compare(healthy().run(), [healthy().run()], **options)


def test_no_reference_is_refused() -> None:
    with pytest.raises(UsageError):
        compare(healthy().run(), [])


# Properties ----------------------------------------------------------------------------------------------------------------

BUILDERS = st.builds(
    lambda n, evals, noise, seed, level: worse(healthy(n=n, evals=evals, noise=noise, seed=seed), level),
    n=st.sampled_from([8, 60, 200]),
    evals=st.integers(1, 25),
    noise=st.floats(0, 0.3),
    seed=st.integers(0, 1000),
    level=st.floats(0.3, 3),
)


def numbers(outcome: Outcome) -> list[tuple[str, str, str, float | None]]:
    return [(row.metric, row.at, row.verdict, row.p_value) for row in outcome.comparison.rows]


@given(builder=BUILDERS, run_noise=st.sampled_from([None, 0.0, 0.01]))
def test_a_run_against_itself_never_fails(builder: RunBuilder, run_noise: float | None) -> None:
    outcome = compare(builder.run(), [builder.run()], run_noise=run_noise)
    assert outcome.findings == ()
    assert {row.verdict for row in outcome.comparison.rows} == {"same"}


@given(a=BUILDERS, b=BUILDERS, unit=st.floats(1e-6, 1e6))
def test_the_unit_of_the_loss_does_not_matter(a: RunBuilder, b: RunBuilder, unit: float) -> None:
    plain, scaled = compare(a.run(), [b.run()]), compare(worse(a, unit).run(), [worse(b, unit).run()])
    assert [row[:3] for row in numbers(plain)] == [row[:3] for row in numbers(scaled)]
    assert [row[3] for row in numbers(plain)] == pytest.approx([row[3] for row in numbers(scaled)], abs=1e-6)


@given(a=BUILDERS, b=BUILDERS)
def test_what_is_worse_one_way_is_better_the_other_way(a: RunBuilder, b: RunBuilder) -> None:
    there, back = compare(a.run(), [b.run()]), compare(b.run(), [a.run()])
    turned = {"worse": "better", "better": "worse"}
    assert [turned.get(row.verdict, row.verdict) for row in there.comparison.rows] == [row.verdict for row in back.comparison.rows]
    for one, other in zip(there.comparison.rows, back.comparison.rows, strict=True):
        if one.p_value is not None and other.p_value is not None:
            assert one.p_value + other.p_value == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_runs_of_one_distribution_fail_at_most_at_the_nominal_rate(count: int, noise: float) -> None:
    """Seeds move the level by 1.2%, and the log has noise besides: 5% of the runs may fail, and 18 of 200 is its upper 1% limit."""
    random = np.random.default_rng([count, int(1000 * noise)])
    failed = 0
    for trial in range(200):
        runs = [
            worse(healthy(n=60, noise=noise, seed=1000 * trial + i), float(np.exp(0.012 * random.standard_normal()))).run()
            for i in range(count + 1)
        ]
        failed += bool(compare(runs[0], runs[1:], tolerance=0.001).findings)
    assert failed <= 18


def test_a_metric_with_a_hostile_name() -> None:
    name = "eval/\x1b[31m<script>::error::\n=cmd()/loss"
    run, reference = worse(QUIET, 1.5).run(), QUIET.run()
    for one in (run, reference):
        one.curves = {name: one.curves["eval/loss"]}
    assert {finding.metric for finding in compare(run, [reference]).findings} == {name}


# Recorded logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "reference", "codes"),
    [
        ("console-hf", "hf-healthy", set()),
        ("hf-healthy", "references/seed-1", set()),
        ("automodel-jsonl", "hf-overfit", set()),
        ("hf-overfit", "hf-healthy", {"GAT010", "GAT011"}),
        ("hf-nan", "hf-healthy", {"GAT010", "GAT011"}),
        ("hf-lr-too-high", "hf-healthy", {"GAT010", "GAT011"}),
        ("grpo", "hf-healthy", {"GAT002"}),
    ],
)
def test_recorded_runs(fixtures: Path, run: str, reference: str, codes: set[str]) -> None:
    (one,), (other,) = diag.load(fixtures / run), diag.load(fixtures / reference)
    assert {finding.code for finding in compare(one, [other]).findings} == codes


def test_recorded_references_of_one_setting_agree(fixtures: Path) -> None:
    (run,) = diag.load(fixtures / "hf-healthy")
    references = diag.load(fixtures / "references")
    assert len(references) == 3
    assert compare(run, references, run_noise=0.001, tolerance=0.01).findings == ()


VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -1.0, 1e308, 1e-308, -1e308])
METRICS = st.sampled_from(
    ["train/loss", "eval/loss", "eval/code/loss", "eval/accuracy", "reward", "tokens_per_second", "step_time", "eval_f1"]
)
CURVES = st.dictionaries(METRICS, st.lists(VALUES, min_size=1, max_size=12), max_size=4)


def raw(name: str, logged: dict[str, list[float]], spacing: int) -> Run:
    made = {metric: make_curve(Column([spacing * (i + 1) for i in range(len(values))], values))[0] for metric, values in logged.items()}
    return Run(name, name, "none", made)


@given(mine=CURVES, theirs=st.lists(CURVES, min_size=1, max_size=3), spacing=st.integers(1, 5))
def test_whatever_was_logged_there_is_an_answer(mine: dict[str, list[float]], theirs: list[dict[str, list[float]]], spacing: int) -> None:
    outcome = compare(raw("mine", mine, spacing), [raw(f"ref-{i}", logged, i + 1) for i, logged in enumerate(theirs)])
    assert outcome.comparison.judged or "GAT002" in {finding.code for finding in outcome.findings}
    for finding in outcome.findings:
        json.dumps(plain(finding.evidence), allow_nan=False)
