"""The robust statistics: against SciPy where it has them, and their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy import stats as reference

from diag import stats

values = arrays(np.float64, st.integers(5, 60), elements=st.floats(-1e3, 1e3, width=32))
positive = arrays(np.float64, st.integers(3, 60), elements=st.floats(1e-3, 1e6))


@pytest.mark.parametrize("n", [50, 200, 2000])
def test_noise_scale_recovers_the_standard_deviation_around_a_trend(n: int) -> None:
    random = np.random.default_rng(n)
    estimates = [stats.noise_scale(np.linspace(0, 5, n) + 0.1 * random.standard_normal(n)) for _ in range(200)]
    assert np.median(estimates) == pytest.approx(0.1, rel=0.1)


def test_noise_scale_of_a_rounded_constant_is_its_rounding() -> None:
    y = np.round(1.0 + 1e-9 * np.arange(50), 4)
    y[25:] += 1e-4
    assert stats.noise_scale(y) == pytest.approx(1e-4 / math.sqrt(12))
    assert math.isnan(stats.noise_scale(np.array([1.0, 2.0])))


@given(positive)
def test_log_scale_turns_a_change_of_unit_into_a_shift(value: np.ndarray) -> None:
    shifted = stats.log_scale(value / math.log(2)) - stats.log_scale(value)
    assert np.allclose(shifted, -math.log(math.log(2)))


@given(values)
def test_log_scale_is_finite_and_keeps_the_order(value: np.ndarray) -> None:
    y = stats.log_scale(value)
    assert np.isfinite(y).all()
    order = np.argsort(value, kind="stable")
    assert (np.diff(y[order]) >= 0).all()


@given(values, st.sampled_from([3, 5, 9, 31]))
def test_running_median_is_scipys_away_from_the_ends(y: np.ndarray, window: int) -> None:
    ours = stats.running_median(y, window)
    half = min(window // 2, (y.size - 1) // 2)
    inside = slice(half, y.size - half)
    assert np.allclose(ours[inside], ndimage.median_filter(y, 2 * half + 1)[inside])


def test_running_median_does_not_bend_a_line_at_its_ends() -> None:
    y = np.linspace(0, 1, 41)
    assert np.allclose(stats.running_median(y, 11), y)


@given(values)
def test_theil_sen_is_scipys(y: np.ndarray) -> None:
    x = np.arange(y.size, dtype=np.float64)
    assert stats.theil_sen(x, y) == pytest.approx(reference.theilslopes(y, x).slope, abs=1e-9)


@given(arrays(np.float64, st.integers(10, 40), elements=st.floats(-10, 10, width=16), unique=True))
def test_trend_p_values_are_those_of_kendalls_tau(y: np.ndarray) -> None:
    expected = reference.kendalltau(np.arange(y.size), y, alternative="greater", method="asymptotic").pvalue
    assert stats.rising_p_value(y) == pytest.approx(expected, abs=0.05)
    assert stats.falling_p_value(y) == stats.rising_p_value(-y)


def test_three_points_have_no_trend() -> None:
    assert stats.rising_p_value(np.array([1.0, 2.0, 3.0])) == 1.0
    assert stats.rising_p_value(np.ones(20)) == 1.0


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_lower_is_scipys(k: int, n: int) -> None:
    k = min(k, n)
    expected = reference.binomtest(k, n).proportion_ci(0.95, method="wilson").low
    assert stats.wilson_lower(k, n) == pytest.approx(expected, abs=1e-3)


def test_block_means_cover_every_point_once() -> None:
    y = np.arange(23, dtype=np.float64)
    blocks = stats.block_means(y, y, 10)
    assert blocks.y.size == 10
    assert (np.diff(blocks.y) > 0).all()
    assert stats.block_means(y[:4], y[:4], 10).y.tolist() == [0, 1, 2, 3]


def test_spikes_are_found_where_they_are() -> None:
    y = 0.05 * np.random.default_rng(0).standard_normal(300) - np.linspace(0, 1, 300)
    y[[100, 200]] += 1.0
    assert stats.spikes(y).tolist() == [100, 200]


def test_many_spikes_in_one_half_do_not_pass_for_its_noise() -> None:
    """The noise is that of the quieter half."""
    random = np.random.default_rng(0)
    y = 0.05 * random.standard_normal(400)
    at = 200 + random.choice(200, 40, replace=False)
    y[at] += 0.45
    found = stats.spikes(y)
    assert set(found) <= set(at)
    assert found.size >= 38


@pytest.mark.parametrize("n", [60, 200, 600])
def test_gaussian_noise_has_no_spikes(n: int) -> None:
    random = np.random.default_rng(n)
    false = sum(bool(stats.spikes(0.1 * random.standard_normal(n)).size) for _ in range(200))
    assert false <= 2


def test_large_drops_are_the_null_for_large_jumps() -> None:
    y = 0.05 * np.random.default_rng(0).standard_normal(300)
    y[100], y[200] = 1.0, -1.0
    assert stats.spikes(y).size == 0


@given(values)
def test_autocorrelation_lies_between_minus_one_and_one(y: np.ndarray) -> None:
    assert -1.0 - 1e-9 <= stats.lag_one_autocorrelation(y) <= 1.0 + 1e-9


def test_alternation_has_a_negative_autocorrelation() -> None:
    assert stats.lag_one_autocorrelation(np.tile([1.0, -1.0], 20)) < -0.9
