"""Gradients: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
from builders import healthy
from checking import diagnosed, found, reason, severities


def test_growth_without_a_falling_loss_is_explosion() -> None:
    builder = healthy().plateau(at=0.1).grad_norm(growth=20.0)
    (finding,) = found(builder, "GRD001")
    assert finding.severity == "warning"
    assert finding.causes["exploding_gradients"] > 0


def test_growth_while_the_loss_falls_is_usual() -> None:
    assert found(healthy(noise=0.01).still_falling(rate=1.0).grad_norm(growth=20.0), "GRD001") == []


def test_a_first_norm_far_above_the_rest_matters_without_clipping_only() -> None:
    builder = healthy().grad_norm()
    norm = builder.other["grad_norm"].copy()
    norm[0] = 20.0
    burst = builder.metric("grad_norm", norm)
    assert severities(burst.hyperparameters(max_grad_norm=0.0), "GRD001") == ["warning"]
    assert found(burst.hyperparameters(max_grad_norm=1.0), "GRD001") == []
    assert found(burst, "GRD001") == []


def test_a_lone_jump_of_the_norm_is_a_remark() -> None:
    builder = healthy().grad_norm()
    norm = builder.other["grad_norm"].copy()
    norm[120] = 60.0
    assert severities(builder.metric("grad_norm", norm), "GRD001") == ["info"]


def test_no_gradient_and_no_learning_is_vanishing() -> None:
    builder = healthy().losses(np.full(200, 2.303) + 0.001 * np.random.default_rng(0).standard_normal(200), np.full(20, 2.303))
    assert severities(builder.grad_norm(level=1e-8), "GRD002") == ["warning"]
    assert found(builder.grad_norm(level=0.5), "GRD002") == []
    assert found(healthy().grad_norm(level=1e-8), "GRD002") == []


def test_large_norms_are_context() -> None:
    assert severities(healthy().grad_norm(level=8.0), "GRD003") == ["info"]
    assert found(healthy().grad_norm(level=1.0), "GRD003") == []
    assert diagnosed(healthy().grad_norm(level=8.0)).verdict == "HEALTHY"


def test_a_threshold_far_below_the_norm_is_too_tight() -> None:
    tight = healthy().grad_norm(level=1.0).hyperparameters(max_grad_norm=0.01, optimizer="sgd")
    assert severities(tight, "GRD004") == ["warning"]
    assert diagnosed(tight).causes[0].cause == "gradient_clipping_too_tight"


def test_clipping_most_steps_a_little_is_usual() -> None:
    assert severities(healthy().grad_norm(level=2.5).hyperparameters(max_grad_norm=1.0), "GRD004") == ["info"]
    assert found(healthy().grad_norm(level=0.5).hyperparameters(max_grad_norm=1.0), "GRD004") == []


def test_a_tiny_threshold_is_named_even_without_norms() -> None:
    assert severities(healthy().hyperparameters(max_grad_norm=0.02), "GRD004") == ["warning"]
    assert reason(healthy().hyperparameters(max_grad_norm=1.0), "GRD004") == "grad_norm was not logged"


def test_clipping_that_is_off_is_a_remark() -> None:
    assert severities(healthy().hyperparameters(max_grad_norm=0.0), "GRD005") == ["info"]
    assert found(healthy().hyperparameters(max_grad_norm=1.0), "GRD005") == []
    assert reason(healthy(), "GRD005") == "no clipping threshold is known"
