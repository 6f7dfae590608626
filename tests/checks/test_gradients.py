"""Gradients: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
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


@pytest.mark.parametrize(("first", "fires"), [(5.2, False), (6.0, True)])
def test_a_burst_is_more_than_five_times_the_median(first: float, fires: bool) -> None:
    builder = healthy().grad_norm(noise=0.0).hyperparameters(max_grad_norm=0.0)
    norm = builder.other["grad_norm"].copy()
    norm[0] = first
    assert bool(found(builder.metric("grad_norm", norm), "GRD001")) is fires


@pytest.mark.parametrize(
    ("builder", "cause"),
    [
        (healthy(), "exploding_gradients"),
        (healthy(start=2.4, floor=2.3), "lr_too_high"),
        (healthy().nan(at=0.5), "lr_too_high"),
    ],
    ids=["learns", "does not learn", "is lost"],
)
def test_after_a_burst_at_the_start_learning_tells_the_weights_from_the_steps(builder: RunBuilder, cause: str) -> None:
    norm = np.ones(200)
    norm[:3] = 20.0
    (finding,) = found(builder.metric("grad_norm", norm).hyperparameters(max_grad_norm=0.0), "GRD001")
    assert finding.severity == "warning"
    assert max(finding.causes, key=lambda name: finding.causes[name]) == cause


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


def test_norms_that_stay_large_where_little_is_learned_and_nothing_is_clipped_are_a_warning() -> None:
    builder = healthy(start=2.35, floor=2.3).grad_norm(level=30.0).hyperparameters(max_grad_norm=0.0)
    (finding,) = found(builder, "GRD003")
    assert finding.severity == "warning"
    assert max(finding.causes, key=lambda name: finding.causes[name]) == "exploding_gradients"
    assert diagnosed(builder).causes[0].cause == "exploding_gradients"


@pytest.mark.parametrize(
    "builder",
    [
        healthy().grad_norm(level=30.0).hyperparameters(max_grad_norm=0.0),
        healthy(start=2.35, floor=2.3).grad_norm(level=30.0).hyperparameters(max_grad_norm=1.0),
        healthy(start=2.35, floor=2.3).grad_norm(level=30.0),
        healthy(start=2.35, floor=2.3).grad_norm(level=30.0).hyperparameters(max_grad_norm=0.0, method="lora"),
        healthy(start=2.35, floor=2.3).grad_norm(level=8.0).hyperparameters(max_grad_norm=0.0),
        healthy(start=2.35, floor=2.3).grad_norm(level=30.0, growth=0.1).hyperparameters(max_grad_norm=0.0),
    ],
    ids=["learns", "clipped", "perhaps clipped", "fine-tuned", "not twice the limit", "large at the start"],
)
def test_large_norms_are_a_remark_where_one_of_the_signs_is_missing(builder: RunBuilder) -> None:
    (finding,) = found(builder, "GRD003")
    assert finding.severity == "info"
    assert not finding.causes
    assert not finding.verdicts


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
