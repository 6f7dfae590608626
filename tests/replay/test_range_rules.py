"""The rules of the range test, on curves whose turn is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.replay.range_rules import (
    COMPLETE,
    DIVERGED,
    NOT_FINITE,
    OVER,
    WINDOW,
    Answer,
    Sweep,
    answer,
    centred_mean,
    course,
    has_diverged,
    library_answers,
    moving_average,
    suggest,
    valley,
)
from diag.run import FloatArray

STEPS = 100
RATES = np.geomspace(1e-7, 1.0, STEPS)


def fall(rates: FloatArray, best: float, depth: float = 1.0) -> FloatArray:
    """A loss that falls by ``depth`` on the way to its lowest place at ``best`` and climbs steeply behind it."""
    decades = np.log10(rates / best)
    return np.asarray(3.0 - depth / (1 + np.exp(-4 * (decades + 1))) + depth * np.exp(4 * (decades - 0.5)))


def sweep(losses: FloatArray, untrained: FloatArray | None = None, ended: str = COMPLETE) -> Sweep:
    first = np.full(losses.size, 3.0) if untrained is None else untrained
    return Sweep(RATES[: losses.size], losses, first, ended)


def decades_apart(first: float | None, second: float) -> float:
    assert first is not None
    return abs(math.log10(first / second))


def test_both_rules_find_the_turn() -> None:
    losses = np.minimum(fall(RATES, 1e-2), 20.0)
    found = answer(sweep(losses))
    assert found.refusal == ""
    back = RATES[(losses > 3.0) & (losses.argmin() < np.arange(STEPS))][0]
    assert decades_apart(found.divergence, back / OVER) < 0.35
    assert found.minimum is not None
    assert RATES[losses.argmin()] < OVER * found.minimum < 3 * back
    assert found.value == pytest.approx(math.sqrt(found.minimum * (found.divergence or math.nan)))


@pytest.mark.parametrize("factor", [2, 3])
def test_more_steps_move_the_answer_little(factor: int) -> None:
    def found(steps: int) -> float:
        rates = np.geomspace(1e-7, 1.0, steps)
        value = answer(Sweep(rates, np.minimum(fall(rates, 1e-2), 20.0), np.full(steps, 3.0), steps=steps)).value
        assert value is not None
        return value

    assert decades_apart(found(factor * STEPS), found(STEPS)) < 0.2


@given(scale=st.floats(1e-3, 1e3), best=st.floats(1e-4, 1e-1))
def test_the_unit_of_the_loss_does_not_matter(scale: float, best: float) -> None:
    losses = np.minimum(fall(RATES, best), 20.0) + 0.01 * np.sin(7.0 * np.arange(STEPS))
    untrained = np.full(STEPS, 3.0)
    one, other = answer(sweep(losses, untrained)), answer(sweep(scale * losses, scale * untrained))
    assert one.minimum is not None
    assert decades_apart(one.minimum, other.minimum or math.nan) < 1e-9
    assert decades_apart(one.divergence, other.divergence or math.nan) < 1e-9


def test_hard_batches_are_told_from_a_rising_loss() -> None:
    # each batch is harder or easier than the others by much more than training gains, and the untrained weights know by how much
    luck = np.random.default_rng(3).normal(0, 1.0, STEPS)
    clean = np.minimum(fall(RATES, 1e-2, depth=0.3), 4.0)
    still_seen = 1 / (1 + np.exp(6 * (np.log10(RATES) + 1)))  # the trained weights see less of it
    found = answer(sweep(clean + luck * still_seen, 3.0 + luck))
    truth = answer(sweep(clean))
    assert found.refusal == ""
    assert decades_apart(found.minimum, truth.minimum or math.nan) < 0.3
    assert answer(Sweep(RATES, clean + luck * still_seen, np.full(STEPS, math.nan))).noise > 3 * found.noise


def test_what_the_untrained_weights_cannot_know_is_left_alone() -> None:
    random = np.random.default_rng(4)
    losses = np.minimum(fall(RATES, 1e-2, depth=2.0), 9.0) + random.normal(0, 0.1, STEPS)
    plain = course(sweep(losses, 3.0 + random.normal(0, 0.1, STEPS)))
    assert np.abs(plain.losses - losses).max() < 0.3
    assert np.abs(plain.mean - centred_mean(losses)).mean() < 0.03


@pytest.mark.parametrize("noise", ["gaussian", "heavy"])
def test_noise_alone_is_refused(noise: str) -> None:
    accepted = 0
    for seed in range(100):
        random = np.random.default_rng(seed)

        def draw(random: np.random.Generator = random) -> FloatArray:
            return np.asarray(random.normal(0, 0.2, STEPS) if noise == "gaussian" else 0.15 * random.standard_t(4, STEPS))

        answers = [answer(sweep(3.0 + draw(), 3.0 + draw())) for _ in range(3)]
        accepted += suggest(answers).value is not None
    assert accepted <= 5


def test_a_loss_that_still_falls_at_the_end_is_refused() -> None:
    found = answer(sweep(fall(RATES, 1e3)))
    assert found.value is None
    assert "further up" in found.refusal


def test_a_loss_that_only_rises_is_refused() -> None:
    found = answer(sweep(3.0 + np.linspace(0, 5, STEPS) ** 2))
    assert found.value is None
    assert "start lower" in found.refusal


def test_too_few_losses_are_refused() -> None:
    found = answer(sweep(fall(RATES, 1e-2)[: 2 * WINDOW - 1], ended=NOT_FINITE))
    assert found.value is None
    assert "NaN" in found.refusal


def test_a_loss_that_never_rises_again_is_answered_by_its_minimum() -> None:
    losses = 3.0 - 1 / (1 + np.exp(-4 * (np.log10(RATES) + 4)))
    losses[80:] += 0.01
    found = answer(sweep(losses))
    assert found.divergence is None
    assert found.value == found.minimum


def test_ending_in_nan_counts_as_diverging() -> None:
    losses = fall(RATES, 1e-2)
    cut = losses[: int(losses.argmin()) + 4]
    found = answer(sweep(cut, ended=NOT_FINITE))
    assert found.divergence == pytest.approx(RATES[cut.size - 1] / OVER)


def test_several_orders_together() -> None:
    answers = [Answer(1e-3, 2e-3, 1.0, 0.1), Answer(2e-3, 8e-3, 1.0, 0.1), Answer(None, None, 0.0, 0.1, "noise")]
    found = suggest(answers)
    assert found.value == pytest.approx(math.sqrt(math.sqrt(1e-3 * 2e-3) * math.sqrt(2e-3 * 8e-3)))
    assert (found.low, found.high) == (1e-3, 8e-3)
    assert found.spread == pytest.approx(math.log10(4e-3 / math.sqrt(2e-6)) / math.sqrt(2))


def test_most_orders_must_answer() -> None:
    refused = Answer(None, None, 0.0, 0.1, "the loss only rose; start lower")
    found = suggest([Answer(1e-3, 2e-3, 1.0, 0.1), refused])
    assert found.value is None
    assert found.refusal == refused.refusal


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_centred_mean_stays_within_its_values(values: list[float]) -> None:
    losses = np.array(values)
    mean = centred_mean(losses)
    assert mean.size == losses.size
    assert losses.min() - 1e-9 <= mean.min()
    assert mean.max() <= losses.max() + 1e-9
    assert mean[0] == losses[0]


def test_centred_mean_does_not_bend_a_line() -> None:
    line = np.linspace(3.0, 1.0, 40)
    assert np.allclose(centred_mean(line), line)


def test_the_sweep_ends_when_the_loss_is_out_of_bounds() -> None:
    losses = [2.0] * 20 + [1.0] * 10
    assert not has_diverged(losses)
    assert not has_diverged([*losses, *[3.0] * 5])
    assert has_diverged([*losses, *[9.0] * 9])


def test_a_small_loss_may_rise_to_four_times_its_best_without_ending_the_sweep() -> None:
    # 0.01 to 0.1 is nothing where the loss began at 2
    assert not has_diverged([2.0] * 20 + [0.01] * 20 + [0.1] * 20)


def test_the_moving_average_has_no_lag_at_its_start() -> None:
    assert np.allclose(moving_average(np.full(30, 5.0)), 5.0)


def test_the_valley_lies_half_way_down() -> None:
    smooth = np.concatenate([np.full(30, 3.0), np.linspace(3.0, 1.0, 61)[1:], np.linspace(1.0, 4.0, 11)[1:]])
    assert valley(RATES, smooth) == pytest.approx(RATES[59], rel=0.2)


def test_the_library_rules_say_nothing_of_a_few_losses() -> None:
    assert library_answers(sweep(np.full(14, 3.0), ended=DIVERGED)) == {}
    assert set(library_answers(sweep(fall(RATES, 1e-2)))) == {"fastai valley", "fastai steepest", "fastai minimum / 10"}
