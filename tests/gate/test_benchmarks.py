"""Benchmarks of a tuned model beside those of its base."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import UsageError
from diag.gate.benchmarks import compare
from diag.gate.lm_eval import Key, Results, Score, read
from diag.gate.reference import Outcome
from diag.result import plain

COUNT = 1000


def results(scores: dict[str, float | Score], **changes: Any) -> Results:
    """Results with an accuracy a task, on 1,000 samples each."""
    made = {
        Key(task, "acc", "none"): value if isinstance(value, Score) else Score(value, math.sqrt(value * (1 - value) / COUNT), True)
        for task, value in scores.items()
    }
    base = Results(
        "results.json",
        "model",
        made,
        versions=dict.fromkeys(scores, 1),
        shots=dict.fromkeys(scores, 0),
        counts=dict.fromkeys(scores, COUNT),
    )
    return replace(base, **changes)


def said(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.severity, finding.metric) for finding in outcome.findings]


@pytest.mark.parametrize(
    ("tuned", "expected"),
    [
        (0.80, []),
        (0.785, []),
        (0.85, []),
        (0.76, [("GAT020", "error", "arc/acc")]),
        (0.60, [("GAT020", "error", "arc/acc")]),
    ],
)
def test_a_drop_counts_beyond_chance_and_tolerance(tuned: float, expected: list[tuple[str, str, str]]) -> None:
    assert said(compare(results({"arc": 0.8}), results({"arc": tuned}))) == expected


def test_a_drop_between_half_the_tolerance_and_all_of_it_is_a_warning() -> None:
    sure = [results({"arc": Score(value, 0.001, True)}) for value in (0.8, 0.77)]
    assert said(compare(*sure)) == [("GAT020", "warning", "arc/acc")]
    assert said(compare(*sure, tolerance=0.03)) == [("GAT020", "error", "arc/acc")]
    assert said(compare(*sure, tolerance=0.1)) == []


def test_a_large_drop_within_chance_is_none() -> None:
    unsure = [results({"arc": Score(value, 0.05, True)}) for value in (0.5, 0.42)]
    outcome = compare(*unsure)
    assert said(outcome) == []
    assert outcome.comparison.rows[0].verdict == "within noise"


def test_many_tasks_need_more() -> None:
    names = [f"task{i}" for i in range(60)]
    base = results(dict.fromkeys(names, 0.5))
    assert said(compare(base, results({**dict.fromkeys(names, 0.5), "task7": 0.455}))) == []
    assert said(compare(results({"task7": 0.5}), results({"task7": 0.455}))) == [("GAT020", "error", "task7/acc")]


def test_a_small_loss_on_every_task_shows_in_their_mean() -> None:
    names = [f"task{i}" for i in range(20)]
    outcome = compare(results(dict.fromkeys(names, 0.5)), results(dict.fromkeys(names, 0.47)))
    assert said(outcome) == [("GAT020", "error", "mean over tasks (20)")]
    assert outcome.comparison.rows[0].metric == "mean over tasks (20)"


def test_lower_is_better_for_perplexities() -> None:
    base, tuned = (results({"wiki": Score(value, 0.05, False)}) for value in (8.0, 9.0))
    assert said(compare(base, tuned)) == [("GAT020", "error", "wiki/acc")]
    assert said(compare(tuned, base)) == []


def test_improvements_are_shown() -> None:
    (row,) = compare(results({"arc": 0.5}), results({"arc": 0.7})).comparison.rows
    assert (row.verdict, row.value, row.reference) == ("better", 0.7, 0.5)


class TestNoStandardError:
    def test_of_a_share_it_follows_from_the_count(self) -> None:
        base, tuned = (results({"arc": Score(value, None, True)}) for value in (0.8, 0.7))
        assert said(compare(base, tuned)) == [("GAT020", "error", "arc/acc")]

    def test_of_anything_else_a_drop_is_a_warning(self) -> None:
        base, tuned = (results({"wiki": Score(value, None, False)}) for value in (8.0, 12.0))
        (found,) = compare(base, tuned).findings
        assert (found.code, found.severity) == ("GAT020", "warning")
        assert "not known" in found.message
        assert said(compare(base, base)) == []

    def test_all_right_is_not_known_without_error(self) -> None:
        few = {"counts": {"arc": 5}}
        base, tuned = (results({"arc": Score(value, 0.0, True)}, **few) for value in (1.0, 0.8))
        assert said(compare(base, tuned)) == []


class TestNotComparable:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"versions": {"arc": 2}}, "another version: 1 for the base model, 2 for the tuned one"),
            ({"shots": {"arc": 5}}, "number of examples in the prompt"),
            ({"counts": {"arc": 100}}, "number of samples: 1000 for the base model, 100 for the tuned one"),
        ],
    )
    def test_what_was_run_differently(self, change: dict[str, Any], words: str) -> None:
        outcome = compare(results({"arc": 0.8}), results({"arc": 0.2}, **change))
        assert said(outcome) == [("GAT002", "error", "")]
        assert words in outcome.findings[0].message
        assert not outcome.comparison.judged

    def test_a_limit_counts_where_the_samples_were_not_counted(self) -> None:
        uncounted: dict[str, Any] = {"counts": {}}
        outcome = compare(results({"arc": 0.8}, **uncounted), results({"arc": 0.8}, limit=10, **uncounted))
        assert "another --limit: None for the base model, 10 for the tuned one" in outcome.findings[0].message

    def test_a_task_that_is_missing_is_a_warning_where_others_are_there(self) -> None:
        outcome = compare(results({"arc": 0.8, "boolq": 0.7}), results({"arc": 0.8}))
        assert said(outcome) == [("GAT002", "warning", "")]
        assert "boolq/acc (not among the tuned model's results)" in outcome.findings[0].message

    def test_no_task_at_all(self) -> None:
        assert said(compare(results({}), results({"arc": 0.8}))) == [("GAT002", "error", "")]
        assert said(compare(results({"arc": 0.8}), results({}))) == [("GAT002", "error", "")]
        assert said(compare(results({}), results({}))) == [("GAT002", "error", "")]

    def test_a_group_is_as_comparable_as_its_tasks(self) -> None:
        groups: dict[str, Any] = {"groups": {"mmlu": ("law", "logic")}}
        base = results({"mmlu": 0.6, "law": 0.6, "logic": 0.6}, **groups)
        tuned = results({"mmlu": 0.4, "law": 0.6, "logic": 0.6}, **groups)
        assert said(compare(base, tuned)) == [("GAT020", "error", "mmlu/acc")]
        outcome = compare(base, replace(tuned, versions={"mmlu": 1, "law": 2, "logic": 1}))
        assert "of its tasks, law has another version" in outcome.findings[0].message
        assert {finding.code for finding in outcome.findings} == {"GAT002"}

    def test_a_group_that_holds_itself(self) -> None:
        groups: dict[str, Any] = {"groups": {"a": ("b", "a"), "b": ("a", "arc")}}
        base = results({"a": 0.6, "b": 0.6, "arc": 0.6}, **groups)
        assert said(compare(base, base)) == []

    def test_numbers_that_are_none(self) -> None:
        good, bad = results({"arc": 0.8}), results({"arc": Score(math.nan, None, True)})
        assert said(compare(bad, good)) == [("GAT002", "error", "")]
        assert said(compare(good, bad)) == [("GAT020", "error", "arc/acc")]
        assert "is not a number with the tuned model" in compare(good, bad).findings[0].message

    def test_a_metric_of_unknown_direction(self) -> None:
        odd = results({"arc": Score(0.5, 0.01, None)})
        assert "whether higher or lower is better is not known" in compare(odd, odd).findings[0].message


def test_other_settings_of_the_evaluation_are_told() -> None:
    outcome = compare(results({"arc": 0.8}), results({"arc": 0.8}, settings={"chat_template_sha": "abc"}))
    assert outcome.comparison.notes == (
        "The two were evaluated with different chat templates: a part of the differences may come from that.",
    )


def test_a_tolerance_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        compare(results({"arc": 0.8}), results({"arc": 0.8}), tolerance=0)


# Properties ----------------------------------------------------------------------------------------------------------------

SCORES = st.dictionaries(
    st.sampled_from([f"task{i}" for i in range(8)]),
    st.builds(Score, st.floats(0, 1), st.none() | st.floats(0, 0.2), st.sampled_from([True, False, None])),
    min_size=1,
)


@given(SCORES)
def test_a_model_against_itself_never_regresses(scores: dict[str, Score]) -> None:
    made = results(dict(scores))
    outcome = compare(made, made)
    assert all(finding.code == "GAT002" for finding in outcome.findings)
    assert {row.verdict for row in outcome.comparison.rows} <= {"same", "not compared"}


@given(SCORES, SCORES)
def test_every_finding_is_json_and_its_numbers_are_in_the_table(one: dict[str, Score], other: dict[str, Score]) -> None:
    outcome = compare(results(dict(one)), results(dict(other)))
    worse = {row.metric for row in outcome.comparison.rows if row.verdict == "worse"}
    for finding in outcome.findings:
        assert finding.metric in worse | {""}
        assert finding.message.endswith(".")


def test_models_that_are_alike_fail_at_most_at_the_nominal_rate() -> None:
    """5% of the pairs may fail; 32 of 400 is the upper 1% limit of that."""
    random = np.random.default_rng(0)
    names = [f"task{i}" for i in range(12)]
    failed = 0
    for _ in range(400):
        base, tuned = (results({name: random.binomial(COUNT, 0.6) / COUNT for name in names}) for _ in range(2))
        failed += bool(compare(base, tuned, tolerance=1e-3).findings)
    assert failed <= 32


# Samples -------------------------------------------------------------------------------------------------------------------


def with_samples(folder: Path, rows: list[dict[str, Any]], scores: dict[str, float]) -> Results:
    folder.mkdir()
    file = folder / "samples_arc_2026-01-01T00-00-00.jsonl"
    file.write_text(
        "".join(json.dumps({"filter": "none", "metrics": ["acc"], "doc_hash": str(row["doc_id"]), **row}) + "\n" for row in rows)
    )
    count = len(rows)
    made = {task: Score(value, math.sqrt(value * (1 - value) / (count - 1)), True) for task, value in scores.items()}
    return results(dict(made), samples={"arc": file}, counts={"arc": count})


def right(answers: list[float], **more: Any) -> list[dict[str, Any]]:
    return [{"doc_id": i, "acc": answer, **more} for i, answer in enumerate(answers)]


def test_pairs_see_what_standard_errors_cannot(tmp_path: Path) -> None:
    base_answers = [1.0] * 60 + [0.0] * 40
    tuned_answers = [1.0] * 52 + [0.0] * 48
    base = with_samples(tmp_path / "base", right(base_answers), {"arc": 0.6})
    tuned = with_samples(tmp_path / "tuned", right(tuned_answers), {"arc": 0.52})
    assert said(compare(replace(base, samples={}), tuned)) == []
    (found,) = compare(base, tuned).findings
    assert (found.code, found.evidence["test"], found.evidence["only_base_right"], found.evidence["only_tuned_right"]) == (
        "GAT020",
        "McNemar",
        8,
        0,
    )


def test_samples_of_other_documents_are_not_paired(tmp_path: Path) -> None:
    base = with_samples(tmp_path / "base", right([1.0] * 60 + [0.0] * 40), {"arc": 0.6})
    tuned = with_samples(tmp_path / "tuned", right([1.0] * 52 + [0.0] * 48, doc_hash="other"), {"arc": 0.52})
    assert said(compare(base, tuned)) == []


def test_the_recorded_fine_tuning_forgot_its_first_language(fixtures: Path) -> None:
    base, tuned = (read(fixtures / "lm-eval" / name) for name in ("base", "tuned"))
    outcome = compare(base, tuned)
    assert {finding.metric.partition("/")[0] for finding in outcome.findings} == {"known_spelling", "known_text", "known_words"}
    assert {finding.severity for finding in outcome.findings} == {"error"}
    better = {row.metric for row in outcome.comparison.rows if row.verdict == "better"}
    assert {"new_words/acc", "new_words/acc_norm"} <= better
    back = compare(tuned, base)
    assert {finding.metric.partition("/")[0] for finding in back.findings} == {"new_words", "words"}


WILD = st.dictionaries(
    st.sampled_from(["arc", "boolq", "wiki"]),
    st.builds(Score, st.floats(), st.none() | st.floats(0, 1e308), st.sampled_from([True, False, None])),
    max_size=3,
)


@given(WILD, WILD)
def test_whatever_the_numbers_are_there_is_an_answer(one: dict[str, Score], other: dict[str, Score]) -> None:
    outcome = compare(results(dict(one)), results(dict(other)))
    assert outcome.comparison.judged or {finding.code for finding in outcome.findings} == {"GAT002"}
    for finding in outcome.findings:
        json.dumps(plain(finding.evidence), allow_nan=False)
