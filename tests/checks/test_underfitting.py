"""Underfitting and plateaus: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed, found, reason, severities

from diag.checks.underfitting._gain import gain
from diag.examination import Examination
from diag.run import Hyperparameter


def test_a_steady_fall_at_a_constant_rate_is_undertrained() -> None:
    builder = healthy(offset=0.0, noise=0.01).still_falling(rate=1.0).lr("constant", warmup=0.0)
    assert severities(builder, "UND001") == ["warning"]
    verdict = diagnosed(builder)
    assert verdict.verdict == "UNDERFIT"
    assert {verdict.causes[0].cause, verdict.causes[1].cause} == {"too_few_epochs", "lr_too_low"}


def test_noisy_evaluations_that_fall_one_after_the_other_at_a_constant_rate_are_enough() -> None:
    builder = healthy(n=100, evals=10, noise=0.02, offset=0.0, epochs=2).lr("constant", warmup=0.0)
    falling = np.array([1.40, 1.33, 1.31, 1.25, 1.24, 1.22, 1.20, 1.17, 1.165, 1.14])
    train = np.interp(builder.step, builder.eval_step, falling)
    assert severities(builder.losses(train, falling), "UND001") == ["warning"]
    flat = np.where(np.arange(10) < 5, falling, 1.24 + 0.01 * np.array([0, 0, 0, 0, 0, 1, -1, 1, -1, 0]))
    assert found(builder.losses(train, flat), "UND001") == []


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("seed", range(5))
def test_a_converged_run_is_not_undertrained(schedule: str, seed: int) -> None:
    assert found(healthy(noise=0.05, seed=seed).lr(schedule), "UND001") == []


def test_a_wide_generalization_gap_silences_it() -> None:
    builder = healthy(offset=0.0, noise=0.01).still_falling(rate=1.0).lr("constant", warmup=0.0)
    apart = builder.losses(train=builder.train * 0.5)
    assert found(apart, "UND001") == []


def test_a_late_fall_of_smooth_evaluations_in_a_short_run_is_learning_and_with_noise_it_may_be_annealing() -> None:
    short = healthy(n=60, evals=12, noise=0.0, offset=0.0, logging_steps=5).lr("cosine")
    falling = short.losses(*(2.0 * np.exp(-0.25 * step / short.step[-1]) for step in (short.step, short.eval_step)))
    assert severities(falling, "UND001") == ["warning"]
    noisy = falling.losses(evals=falling.eval * np.exp(0.01 * np.random.default_rng(0).standard_normal(12)))
    assert found(noisy, "UND001") == []


def test_a_drop_of_a_twentieth_in_ten_noisy_points_is_not_underfitting() -> None:
    builder = healthy(noise=0.1).plateau(at=0.2).no_eval()
    assert float(np.ptp(builder.train[-10:])) > 0.05
    assert found(builder, "UND001") == []


def test_the_extrapolation_of_an_exponential_approach_is_its_geometric_series() -> None:
    builder = healthy(noise=0.0, offset=0.0)
    level = 0.2 * np.exp(-4 * builder.eval_step / builder.step[-1])
    run = builder.losses(evals=np.exp(level)).lr("constant", warmup=0.0).run()
    examination = Examination(run)
    measured = gain(examination, examination.evals[0])
    truth = 0.2 * (np.exp(-4.0) - np.exp(-8.0))
    assert measured.predicted == pytest.approx(truth, rel=0.25)


def flat(level: float, noise: float = 0.01, **known: object) -> RunBuilder:
    builder = healthy().hyperparameters(**known)
    random = np.random.default_rng(0)
    return builder.losses(
        level * np.exp(noise * random.standard_normal(builder.train.size)),
        level * np.exp(0.005 * random.standard_normal(builder.eval.size)),
    )


def test_a_loss_that_never_moves_is_a_plateau() -> None:
    assert severities(flat(2.303), "UND002") == ["error"]
    assert diagnosed(flat(2.303)).verdict == "PLATEAU"
    assert found(healthy(), "UND002") == []


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ({"learning_rate": 1e-10}, "frozen_parameters"),
        ({"weight_decay": 10.0}, "weight_decay_too_high"),
        ({"max_grad_norm": 0.01}, "gradient_clipping_too_tight"),
    ],
)
def test_the_reason_of_a_plateau_is_read_from_the_configuration(known: dict[str, float], cause: str) -> None:
    assert diagnosed(flat(2.303, **known)).causes[0].cause == cause


def test_a_deep_net_of_saturating_units_is_recognised() -> None:
    run = flat(2.303).run()
    run.config = {"model.activation": Hyperparameter("sigmoid"), "model.layers": Hyperparameter(9)}
    (finding,) = found(run, "UND002")
    assert max(finding.causes, key=lambda cause: finding.causes[cause]) == "vanishing_gradients"


def test_a_log_that_begins_after_the_fall_is_not_judged() -> None:
    late = flat(1.7).run()
    late.planned_steps = 1000
    for name, curve in late.curves.items():
        late.curves[name] = curve.select(curve.step > 80)
    assert "first loss was logged after" in reason(late, "UND002")


def test_minimal_improvement_needs_a_baseline() -> None:
    builder = healthy(evals=100)
    assert "nothing to compare with" in reason(healthy(), "UND003")
    assert severities(builder.losses(evals=np.linspace(1.0, 0.97, 100)), "UND003") == ["info"]
    assert found(builder.losses(evals=np.linspace(1.0, 0.5, 100)), "UND003") == []


def test_a_rank_below_every_recommendation_limits_capacity() -> None:
    assert diagnosed(healthy().hyperparameters(lora_rank=1)).causes[0].cause == "capacity_too_low"
    assert found(healthy().hyperparameters(lora_rank=4), "UND004") == []
    assert found(healthy().overfit(rise=0.3).hyperparameters(lora_rank=1), "UND004") == []
    assert reason(healthy(), "UND004") == "no LoRA rank is known"


def test_weight_decay_far_above_the_recommended_is_a_warning() -> None:
    assert severities(healthy().hyperparameters(weight_decay=3.0), "UND005") == ["warning"]
    assert severities(healthy().hyperparameters(weight_decay=0.2), "UND005") == ["info"]
    assert found(healthy().hyperparameters(weight_decay=0.1), "UND005") == []
    assert severities(healthy().overfit(rise=0.3).hyperparameters(weight_decay=0.6), "UND005") == ["info"]
    assert severities(healthy().overfit(rise=0.3).hyperparameters(weight_decay=10.0), "UND005") == ["warning"]


def test_an_early_plateau_is_a_remark_and_the_run_healthy() -> None:
    builder = healthy().plateau(at=0.08)
    assert severities(builder, "UND006") == ["info"]
    assert diagnosed(builder).verdict == "HEALTHY"
    assert found(healthy(noise=0.01).still_falling(rate=1.0), "UND006") == []
