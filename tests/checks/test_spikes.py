"""Spikes and oscillation: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed, found, reason, severities


def spiky(positions: tuple[float, ...], height: float = 3.0, width: int = 1) -> RunBuilder:
    builder = healthy()
    for position in positions:
        builder = builder.spike(at=position, height=height, width=width)
    return builder


def test_repeated_spikes_that_return_at_once_point_to_the_data() -> None:
    builder = spiky((0.3, 0.45, 0.6, 0.8))
    (finding,) = found(builder, "SPK001")
    assert finding.severity == "warning"
    assert finding.evidence["spikes"] == 4
    assert max(finding.causes, key=lambda cause: finding.causes[cause]) == "data_corruption"
    assert diagnosed(builder).verdict == "UNSTABLE"


def test_wide_spikes_point_to_the_learning_rate() -> None:
    (finding,) = found(spiky((0.3, 0.5, 0.7), width=5), "SPK001")
    assert max(finding.causes, key=lambda cause: finding.causes[cause]) == "lr_too_high"


@pytest.mark.parametrize("rows", [100, 200, 400])
def test_a_decay_over_a_hundredth_of_the_run_points_to_the_learning_rate_however_often_it_is_logged(rows: int) -> None:
    builder = healthy(n=rows, noise=0.05)
    since = [np.arange(rows) / rows - at for at in (0.3, 0.45, 0.6, 0.8)]
    decaying = sum(np.where(s >= 0, 2.2 * np.exp(-np.clip(s, 0, None) / 0.015), 0.0) for s in since)
    (finding,) = found(builder.losses(builder.train * np.exp(decaying)), "SPK001")
    assert max(finding.causes, key=lambda cause: finding.causes[cause]) == "lr_too_high"
    assert not finding.evidence["brief"]


def test_a_coarse_log_cannot_tell_a_bad_batch_from_a_bad_step() -> None:
    builder = healthy(n=50)
    for position in (0.3, 0.5, 0.8):
        builder = builder.spike(at=position, height=5.0)
    (finding,) = found(builder, "SPK001")
    assert finding.causes["lr_too_high"] == finding.causes["data_corruption"] > 0


def test_one_recovered_spike_is_a_remark_and_the_run_healthy() -> None:
    builder = spiky((0.5,))
    assert severities(builder, "SPK001") == ["info"]
    assert diagnosed(builder).verdict == "HEALTHY"


@pytest.mark.parametrize("seed", range(10))
def test_gaussian_noise_has_no_spikes(seed: int) -> None:
    assert found(healthy(noise=0.15, seed=seed), "SPK001") == []


def test_downward_outliers_are_not_spikes() -> None:
    assert found(spiky((0.3, 0.5, 0.7), height=0.3), "SPK001") == []


def test_few_points_are_skipped() -> None:
    assert "needs 20 points" in reason(healthy(n=15), "SPK001")


@pytest.mark.parametrize("n", [60, 300])
def test_swings_that_grow_while_the_loss_stops_falling_are_a_warning(n: int) -> None:
    builder = healthy(n=n, noise=0.005).plateau(at=0.1)
    growing = 0.02 * np.exp(4.0 * np.arange(n) / n) * np.random.default_rng(0).standard_normal(n)
    assert severities(builder.losses(builder.train * np.exp(growing)), "SPK002") == ["warning"]


@pytest.mark.parametrize("seed", [19, 26, 29, 44, 53])  # thirds of white noise that differ 2.7 to 3.9 times
def test_a_growth_that_few_points_show_by_chance_is_none(seed: int) -> None:
    assert found(healthy(n=36, noise=0.3, seed=seed).plateau(at=0.0), "SPK002") == []


def test_a_falling_curve_with_a_high_coefficient_of_variation_does_not_oscillate() -> None:
    builder = healthy(n=60).still_falling(rate=3.0)
    tail = builder.train[-20:]
    assert float(tail.std() / tail.mean()) > 0.1
    assert found(builder, "SPK002") == []


def test_a_rise_in_the_first_tenth_without_warmup_names_the_warmup() -> None:
    builder = healthy().hyperparameters(warmup_ratio=0.0)
    train = builder.train.copy()
    train[2:14] *= 2.5
    (finding,) = found(builder.losses(train), "SPK003")
    assert finding.severity == "warning"
    assert finding.causes["warmup_too_short"] > finding.causes["lr_too_high"]


def test_a_steep_start_is_not_early_instability() -> None:
    assert found(healthy().hyperparameters(warmup_ratio=0.0), "SPK003") == []


def test_evaluations_that_jump_by_factors_are_a_warning() -> None:
    builder = healthy(evals=20)
    wild = builder.eval * np.exp(2.0 * np.random.default_rng(1).standard_normal(20))
    assert severities(builder.losses(evals=wild), "SPK004") == ["warning"]


def test_a_noisy_evaluation_set_is_at_most_a_remark() -> None:
    builder = healthy(evals=20).lr("constant")
    noisy = builder.eval * np.exp(0.1 * np.random.default_rng(1).standard_normal(20))
    assert severities(builder.losses(evals=noisy), "SPK004") == ["info"]
    assert found(healthy(evals=20).lr("constant"), "SPK004") == []


def stretched(*stretches: tuple[int, int], height: float = 2.0, noise: float = 0.03) -> RunBuilder:
    """Rows from one number up to another at a higher level, in a loss that falls little otherwise."""
    builder = healthy(noise=noise, start=1.3, floor=1.0)
    train = builder.train.copy()
    for start, end in stretches:
        train[start:end] *= height
    return builder.losses(train)


def test_stretches_with_an_abrupt_beginning_and_end_point_to_the_data() -> None:
    builder = stretched((60, 66), (120, 127))
    (finding,) = found(builder, "SPK005")
    assert finding.severity == "warning"
    assert finding.evidence["stretches"] == 2
    assert finding.evidence["steps"] == [305, 605]
    assert finding.evidence["median_height"] == pytest.approx(1.0, abs=0.2)
    assert (finding.step_start, finding.step_end) == (305, 635)
    verdict = diagnosed(builder)
    assert (verdict.verdict, verdict.causes[0].cause) == ("UNSTABLE", "data_corruption")


def test_what_comes_and_goes_within_a_step_is_the_data_even_at_a_rate_far_above_its_band() -> None:
    builder = stretched((60, 66), (120, 127)).lr("constant", peak=0.08, warmup=0.0)
    known = builder.hyperparameters(learning_rate=0.08, optimizer="adamw")
    assert severities(known, "LRS001") == ["warning"]
    scores = {cause.cause: cause.score for cause in diagnosed(known).causes}
    assert scores["data_corruption"] > 0.9
    assert scores["lr_too_high"] < 0.5


@pytest.mark.parametrize(("stretch", "fires"), [((60, 70), True), ((60, 65), False), ((190, 200), False), ((8, 18), False)])
def test_a_lone_stretch_must_last_and_lie_within_the_run(stretch: tuple[int, int], fires: bool) -> None:
    assert bool(found(stretched(stretch), "SPK005")) is fires


@pytest.mark.parametrize("height", [1.3, 0.5])
def test_a_small_or_a_lower_stretch_is_none(height: float) -> None:
    assert found(stretched((60, 66), (120, 127), height=height, noise=0.02), "SPK005") == []


def test_a_level_that_is_lost_slowly_comes_from_a_step_that_was_too_large() -> None:
    builder = healthy(noise=0.05)
    since = [np.arange(200) - at for at in (60, 120)]
    recovering = sum(np.where(s >= 0, 1.2 * np.exp(-np.clip(s, 0, None) / 8), 0.0) for s in since)
    assert found(builder.losses(builder.train * np.exp(recovering)), "SPK005") == []


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_stretches(noise: float, seed: int) -> None:
    assert found(healthy(noise=noise, seed=seed), "SPK005") == []


def test_stretches_cannot_be_told_in_a_coarse_log() -> None:
    assert reason(healthy(n=39), "SPK005") == "needs 40 points of train/loss, has 39"


def damaged(rise: float, until: float = 0.25, noise: float = 0.05, seed: int = 0) -> RunBuilder:
    """A fine-tune that starts from 2.0, loses what it knew after its first two rows, and has learnt it again ``until``."""
    builder = healthy(noise=noise, seed=seed)
    t = np.arange(200) / 200
    level = np.where(np.arange(200) < 2, 0.0, rise * np.clip(1 - t / (2 * until), 0, None)) - 0.3 * t
    return builder.losses(2.0 * builder.train / healthy(noise=0.0).train * np.exp(level))


def test_a_start_that_is_not_reached_again_for_a_while_was_damaged() -> None:
    builder = damaged(0.3)
    (finding,) = found(builder.hyperparameters(warmup_ratio=0.0), "SPK003")
    assert finding.severity == "warning"
    assert 0.1 < finding.evidence["relative_rise"] < 0.35
    assert finding.causes["lr_too_high"] > finding.causes["warmup_too_short"] > 0
    assert diagnosed(builder).verdict == "UNSTABLE"
    (finding,) = found(builder.hyperparameters(warmup_ratio=0.1), "SPK003")
    assert finding.causes["warmup_too_short"] == 0


def test_a_first_row_that_noise_put_high_does_not_hide_the_damage() -> None:
    builder = damaged(0.4, noise=0.02)
    assert severities(builder.losses(builder.train * np.where(np.arange(200) < 1, 1.4, 1.0)), "SPK003") == ["warning"]


@pytest.mark.parametrize("seed", range(20))
def test_a_start_that_noise_put_low_was_not_damaged(seed: int) -> None:
    assert found(damaged(0.0, noise=0.3, seed=seed), "SPK003") == []
    assert found(damaged(0.12, noise=0.01, seed=seed), "SPK003") == []


def test_a_loss_that_never_comes_back_is_a_blow_up_and_no_early_instability() -> None:
    builder = damaged(1.0, until=1e6)
    assert found(builder, "SPK003") == []
    assert severities(builder, "DIV002") == ["error"]
    assert diagnosed(builder).verdict == "DIVERGED"
