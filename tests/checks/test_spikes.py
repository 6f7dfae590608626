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


def test_swings_that_grow_while_the_loss_stops_falling_are_a_warning() -> None:
    builder = healthy(n=300, noise=0.005).plateau(at=0.1)
    growing = 0.02 * np.exp(4.0 * np.arange(300) / 300) * np.random.default_rng(0).standard_normal(300)
    assert severities(builder.losses(builder.train * np.exp(growing)), "SPK002") == ["warning"]


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
