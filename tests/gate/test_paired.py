"""Tests of two models on the same samples, beside other ways to do them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diag.gate.lm_eval import Key, Sample
from diag.gate.paired import Samples, difference, mcnemar


def samples(values: list[tuple[float, ...]]) -> Samples:
    return {(str(i), "none"): Sample(f"hash{i}", {"m": value}) for i, value in enumerate(values)}


KEY = Key("task", "m", "none")


@given(worse=st.integers(0, 300), better=st.integers(0, 300))
def test_mcnemar_is_the_binomial_test(worse: int, better: int) -> None:
    n = worse + better
    expected = stats.binomtest(worse, n, alternative="greater").pvalue if n else 1.0
    assert mcnemar(worse, better) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_of_many_samples_is_about_the_same() -> None:
    assert mcnemar(560, 440) == pytest.approx(float(stats.binom.sf(559, 1000, 0.5)), rel=1e-9)
    assert mcnemar(580, 500) == pytest.approx(float(stats.binom.sf(579, 1080, 0.5)), rel=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=40))
def test_means_are_tested_as_scipy_tests_pairs(pairs: list[tuple[float, float]]) -> None:
    base, tuned = np.array(pairs).T
    found = difference(KEY, 1.0, (samples([(v,) for v in base]), samples([(v,) for v in tuned])), float(base.mean()), float(tuned.mean()))
    assert found is not None
    if found[2]["test"] == "McNemar" or np.std(base - tuned) < 1e-9:
        return
    assert found[1] == pytest.approx(float(stats.ttest_rel(base, tuned, alternative="greater").pvalue), abs=1e-9)


def test_a_number_that_is_no_mean_of_its_samples_is_not_tested_by_them() -> None:
    made = samples([(0.0,), (1.0,), (1.0,)])
    assert difference(KEY, 1.0, (made, made), 0.9, 0.9) is None


@pytest.mark.parametrize("values", [[], [(1.0,)], [(1.0,), (1.0, 2.0)], [(1.0, 2.0, 3.0)] * 3, [(math.nan,)] * 3, [()] * 3])
def test_samples_that_tell_nothing(values: list[tuple[float, ...]]) -> None:
    assert difference(KEY, 1.0, (samples(values), samples(values)), 1.0, 1.0) is None


@pytest.mark.parametrize("bits", [False, True])
def test_perplexities_have_the_error_that_a_bootstrap_finds(bits: bool) -> None:
    random = np.random.default_rng(0)
    length = random.integers(20, 200, 400).astype(float)
    base = -length * random.normal(1.0, 0.2, 400)
    tuned = base - length * random.normal(0.05, 0.1, 400)

    def number(likelihood: np.ndarray, weights: np.ndarray) -> float:
        level = -likelihood.sum() / weights.sum()
        return float(level / math.log(2) if bits else np.exp(level))

    both = samples(list(zip(base, length, strict=True))), samples(list(zip(tuned, length, strict=True)))
    found = difference(KEY, -1.0, both, number(base, length), number(tuned, length))
    assert found is not None
    drawn = random.integers(0, 400, (2000, 400))
    differences = [number(tuned[i], length[i]) - number(base[i], length[i]) for i in drawn]
    assert found[0] == pytest.approx(float(np.std(differences)), rel=0.15)
    assert found[1] < 1e-6


def test_perplexities_of_texts_of_other_lengths_are_not_paired() -> None:
    one, other = samples([(-10.0, 10.0), (-20.0, 20.0)]), samples([(-10.0, 10.0), (-20.0, 21.0)])
    assert difference(KEY, -1.0, (one, other), math.e, math.e) is None
