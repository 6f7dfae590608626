"""The moving average that is drawn over noisy curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.report.smoothing import smooth
from diag.run import Column, Curve, make_curve


def curve(step: object, value: object) -> Curve:
    return make_curve(Column(np.asarray(step), np.asarray(value, dtype=float)))[0]


def test_it_is_the_weighted_mean_that_it_says_it_is() -> None:
    random = np.random.default_rng(0)
    step = np.cumsum(random.integers(1, 9, 60))
    value = random.standard_normal(60)
    smoothed = smooth(curve(step, value), 0.1, 300.0).value
    for i in range(60):
        weight = np.exp(-(step[i] - step[: i + 1]) / 30.0)
        assert smoothed[i] == pytest.approx(float((weight * value[: i + 1]).sum() / weight.sum()))


def test_it_agrees_with_pandas_where_steps_are_even() -> None:
    pd = pytest.importorskip("pandas")
    value = np.random.default_rng(1).standard_normal(100)
    ours = smooth(curve(np.arange(100), value), 0.05, 100.0).value
    assert ours == pytest.approx(pd.Series(value).ewm(alpha=1 - math.exp(-1 / 5.0), adjust=True).mean().to_numpy())


def test_what_is_not_finite_stays_where_it_is_and_touches_nothing_else() -> None:
    broken = smooth(curve([1, 2, 3, 4], [1.0, math.nan, math.inf, 1.0]), 0.5, 4.0).value
    assert np.isnan(broken).tolist() == [False, True, True, False]
    assert broken[[0, 3]] == pytest.approx([1.0, 1.0])


def test_none_is_none() -> None:
    same = curve([1, 2], [3.0, 4.0])
    assert smooth(same, 0.0, 100.0) is same


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50), st.floats(0.001, 1.0))
def test_it_stays_within_the_values(values: list[float], share: float) -> None:
    smoothed = smooth(curve(np.arange(len(values)), values), share, float(len(values))).value
    assert min(values) - 1e-6 <= smoothed.min() <= smoothed.max() <= max(values) + 1e-6
