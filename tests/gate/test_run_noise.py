"""What one more run may show by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from diag.gate.run_noise import KNOWN, USUAL, USUAL_WORTH, critical, holm, spread, student


@given(t=st.floats(-50, 50), freedom=st.integers(1, 200))
def test_student_is_scipys(t: float, freedom: int) -> None:
    assert student(t, freedom) == pytest.approx(float(scipy_stats.t.sf(t, freedom)), abs=1e-12)


@given(t=st.floats(-8, 8))
def test_known_noise_makes_it_the_normal_distribution(t: float) -> None:
    assert student(t, KNOWN) == pytest.approx(float(scipy_stats.norm.sf(t)), rel=1e-9)


def test_student_of_what_is_no_number() -> None:
    assert math.isnan(student(math.nan, 3))
    assert (student(math.inf, 3), student(-math.inf, 3)) == (0.0, 1.0)


@given(alpha=st.floats(1e-4, 0.4), freedom=st.integers(1, 50))
def test_critical_is_the_inverse(alpha: float, freedom: int) -> None:
    assert critical(alpha, freedom) == pytest.approx(float(scipy_stats.t.isf(alpha, freedom)), rel=1e-6)


def test_one_reference_leaves_the_usual_noise() -> None:
    found = spread([0.0], [0.0, 0.0])
    assert found.error == pytest.approx(USUAL * math.sqrt(2))
    assert found.freedom == USUAL_WORTH


def test_noisy_logs_explain_more_but_a_noisy_run_is_no_excuse() -> None:
    assert spread([0.0], [0.001**2, 0.001**2]).error == pytest.approx(math.sqrt(2) * USUAL)
    assert spread([0.0], [0.03**2, 0.03**2]).error == pytest.approx(math.sqrt(2) * 0.03)
    assert spread([0.0], [0.5**2, 0.001**2]).error == pytest.approx(math.sqrt(2) * USUAL)
    assert spread([0.0], [0.001**2, 0.5**2]).error == pytest.approx(math.sqrt(2) * USUAL)


def test_many_references_outweigh_what_is_usual() -> None:
    values = np.random.default_rng(1).normal(0, 0.001, 200)
    found = spread(list(values), [0.0] * 201)
    assert found.error == pytest.approx(0.001, rel=1.0)
    assert found.error < USUAL / 5


def test_a_known_noise_is_taken_as_it_is() -> None:
    found = spread([0.0, 5.0], [0.0, 0.0, 0.0], known=0.002)
    assert found.error == pytest.approx(0.002 * math.sqrt(1.5))
    assert found.explains(0.05) == pytest.approx(1.6449 * found.error, rel=1e-3)


def test_without_any_noise_every_difference_counts() -> None:
    found = spread([1.0], [0.0, 0.0], known=0.0)
    assert (found.p_value(1e-9), found.p_value(0.0), found.p_value(-1.0)) == (0.0, 1.0, 1.0)


@given(p_values=st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_step_down_rejects(p_values: list[float]) -> None:
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > 0.05 / (len(p_values) - rank):
            break
        rejected.add(i)
    levels = holm(p_values, 0.05)
    assert {i for i, level in enumerate(levels) if p_values[i] <= level} == rejected
    assert all(0.05 / len(p_values) <= level <= 0.05 for level in levels)
