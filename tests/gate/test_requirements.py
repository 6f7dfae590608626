"""What a metric must be."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import UsageError
from diag.gate.requirements import Outcome, Requirement, findings, outcomes, parse
from diag.run import Run


def outcome(text: str, run: Run) -> Outcome:
    (found,) = outcomes(run, [parse(text)])
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eval/loss<=1.2", ("eval/loss", "last", "<=", 1.2)),
        (" best( eval/loss ) <= 1.1 ", ("eval/loss", "best", "<=", 1.1)),
        ("max(grad_norm)<1e2", ("grad_norm", "max", "<", 100.0)),
        ("my metric (weird)>-3", ("my metric (weird)", "last", ">", -3.0)),
        ("eval/*/loss>=0", ("eval/*/loss", "last", ">=", 0.0)),
        ("MEAN(reward)>.5", ("reward", "mean", ">", 0.5)),
        ("lr<inf", ("lr", "last", "<", math.inf)),
    ],
)
def test_expressions(text: str, expected: tuple[str, str, str, float]) -> None:
    assert parse(text) == Requirement(text.strip(), *expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eval/loss", "is no requirement"),
        ("", "is no requirement"),
        ("<=1", "is no requirement"),
        ("eval/loss==1", "is no requirement"),
        ("eval/loss<=high", "'high' is no number"),
        ("eval/loss<=nan", "'nan' is no number"),
        ("bset(eval/loss)<=1", "did you mean 'best'"),
        ("best(gpu_memory)<=1", r"write min\(gpu_memory\) or max\(gpu_memory\)"),
    ],
)
def test_what_is_no_requirement(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse(text).operator in ("<=", ">=", "<", ">")
    except UsageError as error:
        assert str(error)


class TestOutcomes:
    def test_the_functions(self) -> None:
        values = [5.0, 1.0, 3.0, math.nan, 2.0]
        run = healthy(n=5, evals=5).losses(evals=values).run()
        assert outcome("eval/loss<=2", run).is_met
        assert not outcome("eval/loss<2", run).is_met
        assert outcome("best(eval/loss)<=1", run) == Outcome("best(eval/loss)<=1", "eval/loss", 1.0, 10, True)
        assert outcome("first(eval/loss)>=5", run).is_met
        assert outcome("max(eval/loss)<=5", run).is_met
        assert outcome("mean(eval/loss)<=2.75", run) == Outcome("mean(eval/loss)<=2.75", "eval/loss", 2.75, None, True)

    def test_the_best_of_an_accuracy_is_the_highest(self) -> None:
        run = healthy(n=3).metric("eval/accuracy", [0.1, 0.9, 0.5]).run()
        assert outcome("best(eval/accuracy)>=0.9", run).is_met

    @pytest.mark.parametrize("text", ["eval/loss<=100", "eval/loss>=-100"])
    def test_nan_meets_nothing(self, text: str) -> None:
        run = healthy(n=5, evals=5).losses(evals=[1, 1, 1, 1, math.nan]).run()
        assert not outcome(text, run).is_met
        everything = healthy(n=5, evals=5).losses(evals=[math.nan] * 5).run()
        assert not outcome(f"min({text[:9]}){text[9:]}", everything).is_met

    def test_native_names_and_patterns(self) -> None:
        run = healthy(n=4).metric("eval/a/loss", 1.0).metric("eval/b/loss", 3.0).run()
        run.native_names["eval/loss"] = "val_loss"
        assert outcome("val_loss<=5", run).metric == "eval/loss"
        assert [(o.metric, o.is_met) for o in outcomes(run, [parse("eval/*/loss<=2")])] == [("eval/a/loss", True), ("eval/b/loss", False)]

    def test_what_was_not_logged_is_an_error_of_its_own(self) -> None:
        run = healthy().no_eval().run()
        results = list(outcomes(run, [parse("eval/loss<=5"), parse("tran/loss<=5"), parse("zz/*<1")]))
        assert [(r.value, r.is_met) for r in results] == [(None, False)] * 3
        found = list(findings(run, results))
        assert [(f.code, f.severity) for f in found] == [("GAT002", "error")] * 3
        assert "did you mean 'train/loss'" in found[1].message

    def test_a_finding_names_the_number_and_the_step(self) -> None:
        run = healthy().run()
        (finding,) = findings(run, outcomes(run, [parse("best(eval/loss)<=0.5")]))
        assert (finding.code, finding.metric) == ("GAT001", "eval/loss")
        assert re.search(rf"is 1\.0\d* at step {finding.step_start}\.", finding.message)
        assert list(findings(run, outcomes(run, [parse("best(eval/loss)<=5")]))) == []

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(-1e6, 1e6))
    def test_a_bound_and_its_opposite(self, values: list[float], bound: float) -> None:
        run = healthy(n=len(values), evals=0).metric("x", np.array(values)).run()
        for function in ("last", "first", "min", "max", "mean"):
            assert outcome(f"{function}(x)<={bound!r}", run).is_met != outcome(f"{function}(x)>{bound!r}", run).is_met
