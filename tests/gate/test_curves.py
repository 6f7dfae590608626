"""Curves of several runs laid over each other."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.gate import curves
from diag.gate.directions import HIGHER, LOWER
from diag.run import Column, Curve, make_curve


def curve(steps: list[int], values: list[float]) -> Curve:
    return make_curve(Column(steps, values))[0]


@pytest.mark.parametrize(
    ("mine", "theirs", "by", "until"),
    [
        pytest.param(healthy(n=100), healthy(n=100), "step", 500, id="equally long"),
        pytest.param(healthy(n=100), healthy(n=102), "step", 500, id="the last step was not logged"),
        pytest.param(healthy(n=100, epochs=3), healthy(n=200, epochs=3), "epoch", 3, id="another batch size"),
        pytest.param(healthy(n=100, epochs=3), healthy(n=200, epochs=6), "share", 1, id="twice as long"),
        pytest.param(healthy(n=100, epochs=0), healthy(n=200, epochs=0), "share", 1, id="no epochs logged"),
        pytest.param(healthy(n=40).set(planned_steps=500, finished=None), healthy(n=100), "step", 200, id="still going"),
        pytest.param(healthy(n=40).set(planned_steps=500, finished=False), healthy(n=100), "step", 200, id="killed"),
        pytest.param(healthy(n=40, epochs=0).set(planned_steps=500), healthy(n=100, epochs=0), "share", 1, id="stopped early"),
        pytest.param(healthy(n=40, epochs=0).set(finished=False), healthy(n=100, epochs=0), "step", 200, id="cut off"),
    ],
)
def test_alignment(mine: RunBuilder, theirs: RunBuilder, by: str, until: float) -> None:
    found = curves.align([mine.run(), theirs.run()])
    assert found.by == by
    assert found.until == pytest.approx(until)


def test_a_loss_of_exactly_zero_is_lost() -> None:
    laid = curves.lay("train/loss", curve([1, 2, 3, 4, 5], [3.0, 2.0, 1.0, 0.0, 0.0]), LOWER, 1.0, 10.0, True)
    assert laid is not None
    assert laid.lost == 4
    assert laid.best[1] == 3


def test_a_reward_of_zero_is_none() -> None:
    laid = curves.lay("reward", curve([1, 2, 3], [0.0, 0.5, 0.0]), HIGHER, 1.0, 10.0, False)
    assert laid is not None
    assert laid.lost is None


def test_what_ends_in_nan_is_lost_from_there_on() -> None:
    laid = curves.lay("eval/loss", curve([10, 20, 30], [2.0, float("nan"), float("inf")]), LOWER, 1.0, 100.0, True)
    assert laid is not None
    assert (laid.lost, laid.y.tolist()) == (20, [pytest.approx(np.log(2))])
    assert curves.lay("eval/loss", curve([10], [float("nan")]), LOWER, 1.0, 100.0, True) is None


def test_evaluations_are_taken_point_by_point_and_training_is_smoothed() -> None:
    values = [1.0] * 10 + [0.2] + [1.0] * 10
    steps = list(range(1, 22))
    evaluated = curves.lay("eval/loss", curve(steps, values), LOWER, 1.0, 100.0, True)
    trained = curves.lay("train/loss", curve(steps, values), LOWER, 1.0, 100.0, True)
    assert evaluated is not None and trained is not None
    assert evaluated.best[0] == pytest.approx(np.log(0.2))
    assert trained.best[0] == pytest.approx(0.0)


def test_it_makes_no_difference_how_often_a_line_was_logged() -> None:
    often = curves.lay("eval/loss", curve(list(range(1, 101)), [3 - 0.02 * s for s in range(1, 101)]), LOWER, 1.0, 200.0, False)
    seldom = curves.lay("eval/loss", curve([1, 50, 100], [3 - 0.02 * s for s in (1, 50, 100)]), LOWER, 1.0, 200.0, False)
    assert often is not None and seldom is not None
    found = curves.ends([often, seldom])
    assert found is not None
    assert found.levels[0] == pytest.approx(found.levels[1])


def test_where_a_run_falls_behind() -> None:
    steps = list(range(10, 410, 10))
    mine = curves.lay("eval/loss", curve(steps, [1.0 if s <= 200 else 1.5 for s in steps]), LOWER, 1.0, 500.0, True)
    theirs = curves.lay("eval/loss", curve(steps, [1.1] * len(steps)), LOWER, 1.0, 500.0, True)
    assert mine is not None and theirs is not None
    found = curves.ends([mine, theirs])
    assert found is not None and found.behind is not None
    assert 200 < found.behind < 260
    assert found.share == pytest.approx(0.5)
    back = curves.ends([theirs, mine])
    assert back is not None
    assert back.behind is None


def test_curves_without_common_steps_have_no_end() -> None:
    early = curves.lay("eval/loss", curve([10, 20], [2.0, 1.0]), LOWER, 1.0, 500.0, True)
    late = curves.lay("eval/loss", curve([30, 40], [2.0, 1.0]), LOWER, 1.0, 500.0, True)
    assert early is not None and late is not None
    assert curves.ends([early, late]) is None


@given(
    a=st.lists(st.floats(0.1, 10), min_size=1, max_size=30),
    b=st.lists(st.floats(0.1, 10), min_size=1, max_size=30),
    spacing=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_levels_do_not_depend_on_the_order(a: list[float], b: list[float], spacing: tuple[int, int]) -> None:
    one = curves.lay("eval/loss", curve([spacing[0] * (i + 1) for i in range(len(a))], a), LOWER, 1.0, 1e9, True)
    two = curves.lay("eval/loss", curve([spacing[1] * (i + 1) for i in range(len(b))], b), LOWER, 1.0, 1e9, True)
    assert one is not None and two is not None
    there, back = curves.ends([one, two]), curves.ends([two, one])
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.levels == back.levels[::-1]
        assert there.variances == back.variances[::-1]
