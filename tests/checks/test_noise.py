"""Noise and batch size: what fires, and what is close to it and must not."""

from __future__ import annotations

from builders import healthy
from checking import diagnosed, found, severities


def test_extreme_noise_with_two_samples_a_step_is_the_batch() -> None:
    builder = healthy(noise=1.5).hyperparameters(global_batch_size=2)
    assert severities(builder, "NSE001") == ["warning"]
    assert diagnosed(builder).causes[0].cause == "batch_too_small"


def test_the_same_noise_with_a_large_or_unknown_batch_is_a_remark() -> None:
    assert severities(healthy(noise=1.5).hyperparameters(global_batch_size=64), "NSE001") == ["info"]
    assert severities(healthy(noise=1.5), "NSE001") == ["info"]


def test_usual_noise_is_silent() -> None:
    assert found(healthy(noise=0.2).hyperparameters(global_batch_size=2), "NSE001") == []
