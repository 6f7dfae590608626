from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.replay.decision import (
    ALPHA,
    BETTER,
    LARGEST,
    SAME,
    UNDECIDED,
    WORSE,
    compare,
    differences,
    likelihood_ratio,
    sign_flip,
    t_quantile,
)

losses = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)
INFINITE = math.inf


def test_sign_flip_is_exact() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0]) == 2**-5
    assert sign_flip([-1.0, 2.0, 3.0]) == 2 / 8  # of eight sign patterns, only + + + and - + + have a sum of 4 or more
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=10))
def test_all_wins_give_two_to_the_minus_n(values: list[float]) -> None:
    assert sign_flip(values) == pytest.approx(2.0 ** -len(values))


@given(st.data())
def test_swapping_the_arms_swaps_the_answer(data: st.DataObject) -> None:
    recorded = data.draw(losses)
    other = data.draw(st.lists(st.floats(1e-3, 1e3), min_size=len(recorded), max_size=len(recorded)))
    there, back = compare(recorded, other, last=True), compare(other, recorded, last=True)
    assert there.decision == {BETTER: WORSE, WORSE: BETTER}.get(back.decision, back.decision)
    assert (there.p_better, there.p_worse) == (back.p_worse, back.p_better)
    assert there.evidence == pytest.approx(back.evidence)


@given(losses, st.floats(1e-3, 1e3))
def test_the_unit_of_the_loss_does_not_matter(recorded: list[float], unit: float) -> None:
    other = [value * (0.9 + 0.01 * i) for i, value in enumerate(recorded)]
    one = compare(recorded, other, last=True)
    two = compare([unit * value for value in recorded], [unit * value for value in other], last=True)
    assert one.effect == pytest.approx(two.effect)
    assert one.decision == two.decision


def test_losing_to_infinity_counts_the_same_as_any_collapse() -> None:
    assert differences([INFINITE, 2.0, INFINITE, 1e9], [2.0, INFINITE, INFINITE, 1.0]) == [LARGEST, -LARGEST, 0.0, LARGEST]
    saved = compare([INFINITE] * 3, [1.0, 1.01, 0.99], last=False)
    assert (saved.decision, saved.wins) == (BETTER, 3)
    assert compare([1.0, 1.01, 0.99], [INFINITE] * 3, last=False).decision == WORSE


def test_negative_losses_are_compared_by_difference() -> None:
    assert differences([-1.0, -1.0], [-2.0, -1.0]) == pytest.approx([0.8, 0.0])


def test_equal_arms_are_the_same_and_few_seeds_decide_nothing() -> None:
    assert compare([1.0, 1.1, 1.2], [1.0, 1.1, 1.2], last=True).decision == SAME
    assert compare([10.0, 10.0], [1.0, 1.0], last=True).decision == UNDECIDED
    with pytest.raises(ValueError, match="no seed"):
        compare([], [], last=True)


def test_five_small_wins_decide_at_the_last_look_only() -> None:
    recorded, other = [1.0, 1.05, 0.96, 1.02, 0.98], [0.96, 1.04, 0.95, 0.97, 0.975]
    assert compare(recorded, other, last=False).decision == UNDECIDED
    assert compare(recorded, other, last=True).decision == BETTER


@pytest.mark.parametrize("noise", [0.012, 0.3])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_looking_after_every_seed_keeps_the_error_rate(noise: float, seeds: int) -> None:
    """Two equal arms whose losses share three quarters of their variance, as common random numbers make them."""
    random, wrong, trials = np.random.default_rng([seeds, int(noise * 1000)]), 0, 200
    for _ in range(trials):
        shared, own = random.standard_normal(seeds), random.standard_normal((2, seeds))
        one, two = np.exp(noise * (math.sqrt(0.77) * shared + math.sqrt(0.23) * own))
        looks = (compare(one[:n].tolist(), two[:n].tolist(), last=n == seeds).decision for n in range(3, seeds + 1))
        wrong += next((decision for decision in looks if decision), UNDECIDED) == BETTER
    assert wrong <= trials * ALPHA + 2.3 * math.sqrt(trials * ALPHA * (1 - ALPHA))


def test_a_large_effect_is_found_with_three_seeds() -> None:
    random = np.random.default_rng(1)
    for _ in range(100):
        recorded = np.exp(0.012 * random.standard_normal(3))
        other = 0.9 * np.exp(0.012 * random.standard_normal(3))
        assert compare(recorded.tolist(), other.tolist(), last=False).decision == BETTER


def test_the_likelihood_ratio_rises_with_the_effect_and_never_overflows() -> None:
    ratios = [likelihood_ratio(effect, 0.01, 5) for effect in (0.0, 0.01, 0.02, 0.05, 100.0)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1 and math.isfinite(ratios[-1])


def test_t_quantiles_agree_with_scipy() -> None:
    from scipy import special

    for degrees in (1, 2, 4, 9, 10, 11, 15, 30):
        assert t_quantile(degrees) == pytest.approx(float(special.stdtrit(degrees, 0.975)), rel=2e-3)
