"""Divergence: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import healthy
from checking import diagnosed, found, reason, severities


def test_nan_from_the_middle_on_is_an_error_with_its_first_step() -> None:
    findings = found(healthy().nan(at=0.5), "DIV001")
    assert [finding.metric for finding in findings] == ["train/loss", "eval/loss"]
    assert findings[0].severity == "error"
    assert findings[0].step_start == 505
    assert diagnosed(healthy().nan(at=0.5)).verdict == "DIVERGED"


def test_infinity_counts_as_nan() -> None:
    builder = healthy()
    train = builder.train.copy()
    train[100:] = np.inf
    assert severities(builder.losses(train), "DIV001") == ["error"]


def test_an_early_nan_asks_for_a_larger_cut_of_the_rate_than_a_late_one() -> None:
    early, late = found(healthy().nan(at=0.02), "DIV001")[0], found(healthy().nan(at=0.8), "DIV001")[0]
    assert early.evidence["severity_factor"] > late.evidence["severity_factor"]


def test_missing_clipping_is_named_only_where_the_configuration_says_so() -> None:
    assert "gradient_clipping_missing" in found(healthy().nan().hyperparameters(max_grad_norm=0.0), "DIV001")[0].causes
    assert "gradient_clipping_missing" not in found(healthy().nan().hyperparameters(max_grad_norm=1.0), "DIV001")[0].causes
    assert "gradient_clipping_missing" not in found(healthy().nan(), "DIV001")[0].causes


def test_a_nan_gradient_norm_alone_is_not_a_lost_loss() -> None:
    builder = healthy().grad_norm()
    norm = builder.other["grad_norm"].copy()
    norm[50] = np.nan
    assert found(builder.metric("grad_norm", norm), "DIV001") == []


def test_a_loss_that_climbs_and_stays_up_is_divergence() -> None:
    builder = healthy().blow_up(at=0.6, to=8.0)
    assert severities(builder, "DIV002") == ["error"]
    assert diagnosed(builder).verdict == "DIVERGED"


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_a_blow_up(noise: float, seed: int) -> None:
    assert found(healthy(noise=noise, seed=seed), "DIV002") == []


def test_a_spike_that_recovers_is_not_a_blow_up() -> None:
    assert found(healthy().spike(at=0.5, height=6, width=4), "DIV002") == []


def test_a_last_row_that_is_an_average_is_not_a_blow_up() -> None:
    builder = healthy()
    train = builder.train.copy()
    train[-1] = float(train.mean())
    assert found(builder.losses(train), "DIV002") == []


def test_short_logs_are_skipped_with_a_reason() -> None:
    assert reason(healthy(n=6), "DIV002") == "needs 10 points of train/loss, has 6"


@pytest.mark.parametrize("n", [100, 400, 1000])
def test_a_blow_up_at_the_very_end_is_divergence(n: int) -> None:
    builder = healthy(n=n).lr().blow_up(at=0.92, to=6.0)
    assert severities(builder, "DIV002") == ["error"]
    assert diagnosed(builder).verdict == "DIVERGED"


def test_a_run_lost_in_its_first_steps_is_divergence() -> None:
    builder = healthy()
    train = np.full(builder.train.size, 1e6) * np.exp(1.5 * np.random.default_rng(0).standard_normal(builder.train.size))
    train[0] = 3.0
    assert severities(builder.losses(train), "DIV002") == ["error"]
    assert diagnosed(builder.losses(train)).verdict == "DIVERGED"
