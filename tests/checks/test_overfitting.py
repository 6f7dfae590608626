"""Overfitting: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed, found, reason, severities


def test_a_rise_of_a_fifth_is_overfitting_with_the_best_step() -> None:
    builder = healthy(noise=0.002).overfit(at=0.4, rise=0.2)
    (finding,) = found(builder, "OVF001")
    assert finding.severity == "error"
    assert finding.step_start == 400
    assert finding.evidence["best_step"] == 400
    verdict = diagnosed(builder)
    assert verdict.verdict == "OVERFIT"
    assert verdict.causes[0].cause == "too_many_epochs"


def test_between_five_and_ten_percent_is_a_warning() -> None:
    assert severities(healthy(noise=0.005).overfit(at=0.4, rise=0.08), "OVF001") == ["warning"]


def test_below_five_percent_is_no_problem() -> None:
    assert found(healthy(noise=0.002).overfit(at=0.4, rise=0.03), "OVF001") == []


def test_every_evaluation_set_is_looked_at_and_one_carries_the_verdict() -> None:
    run = healthy().overfit(at=0.4, rise=0.3).run()
    run.curves["eval/a/loss"] = run.curves["eval/b/loss"] = run.curves.pop("eval/loss")
    findings = found(run, "OVF001")
    assert [finding.metric for finding in findings] == ["eval/a/loss", "eval/b/loss"]
    assert [bool(finding.verdicts) for finding in findings] == [True, False]


def test_the_minimum_of_many_noisy_evaluations_is_not_overfitting() -> None:
    """By the naive rule a quarter of healthy runs with 50 evaluations at 2% noise end 5% above their minimum."""
    alarms = 0
    for seed in range(40):
        builder = healthy(n=100, evals=50, noise=0.04, seed=seed)
        alarms += bool(found(builder, "OVF001"))
    assert alarms <= 1


def test_a_training_loss_that_rises_too_is_not_overfitting() -> None:
    assert found(healthy().blow_up(at=0.5, to=4.0), "OVF001") == []


def test_a_small_rise_that_early_stopping_contained_is_a_remark() -> None:
    builder = healthy(noise=0.005).overfit(at=0.6, rise=0.08)
    assert severities(builder.hyperparameters(load_best_model_at_end=True, early_stopping_patience=3), "OVF001") == ["info"]
    assert severities(builder.hyperparameters(load_best_model_at_end=True), "OVF001") == ["warning"]


def test_three_evaluations_are_enough_for_a_large_rise_only() -> None:
    few = healthy(n=60, evals=3, noise=0.005)
    assert severities(few.losses(evals=[1.2, 1.0, 1.5]), "OVF001") == ["warning"]
    assert severities(healthy(n=60, evals=4, noise=0.005).losses(evals=[1.2, 1.0, 1.04, 1.08]), "OVF001") == ["warning"]
    assert found(few.losses(evals=[1.2, 1.0, 1.07]), "OVF001") == []


def memorizing(evals: list[float], train_end: float = 0.4, noise: float = 0.05) -> RunBuilder:
    """A few evaluations over a training loss that falls from 2.0 to ``train_end``."""
    builder = healthy(n=60, evals=len(evals))
    random = np.random.default_rng(0)
    return builder.losses(2.0 * (train_end / 2.0) ** np.linspace(0, 1, 60) * np.exp(noise * random.standard_normal(60)), evals)


def test_a_steady_rise_of_a_few_evaluations_counts_where_the_training_loss_is_far_below() -> None:
    steady = [1.2, 1.0, 1.02, 1.04, 1.07]
    assert severities(memorizing(steady), "OVF001") == ["warning"]
    assert found(memorizing(steady, train_end=0.95), "OVF001") == []
    assert found(memorizing([1.2, 1.1, 1.0, 1.03, 1.07]), "OVF001") == []
    assert found(memorizing([1.2, 1.0, 1.02, 1.015, 1.07]), "OVF001") == []


def test_the_noise_of_a_training_loss_near_zero_says_nothing_of_the_evaluations() -> None:
    builder = memorizing([1.2, 1.0, 1.06, 1.12], train_end=0.7, noise=0.01)
    late = np.where(np.arange(60) > 30, 0.5, 0.0) * np.random.default_rng(1).standard_normal(60)
    assert severities(builder.losses(builder.train * np.exp(late)), "OVF001") == ["warning"]
    throughout = 0.5 * np.random.default_rng(1).standard_normal(60)
    assert found(builder.losses(builder.train * np.exp(throughout)), "OVF001") == []


def test_without_evaluations_the_family_is_skipped() -> None:
    assert reason(healthy().no_eval(), "OVF001") == "no evaluation loss was logged"


def test_flat_evaluations_over_a_falling_training_loss_are_the_onset() -> None:
    builder = healthy(noise=0.005).overfit(at=0.4, rise=0.02)
    assert severities(builder, "OVF002") == ["info"]
    assert found(healthy(noise=0.005), "OVF002") == []
    assert diagnosed(builder).verdict == "HEALTHY"


def test_memorization_needs_a_language_model_or_a_wide_gap() -> None:
    low = healthy(start=2.0, floor=0.1)
    assert severities(low.hyperparameters(method="sft"), "OVF003") == ["info"]
    assert "not known" in reason(low, "OVF003")


def recited(best: float = 0.4, last: float = 1.03, train_end: float = 0.05, evals: int = 10) -> RunBuilder:
    """Evaluations that are best after a share of the run, under a training loss that is recited at the end."""
    builder = healthy(n=100, evals=evals, noise=0.02)
    t = np.arange(1, 101) / 100
    at = builder.eval_step / builder.step[-1]
    losses = np.where(at <= best, 2.0 - (at / best), 1.0 + (last - 1.0) * (at - best) / (1 - best + 1e-9))
    return builder.losses(2.0 * (train_end / 2.0) ** t, losses)


def test_reciting_the_training_set_while_the_evaluations_gain_nothing_is_overfitting() -> None:
    builder = recited()
    assert found(builder, "OVF001") == []
    (finding,) = found(builder, "OVF003")
    assert finding.severity == "warning"
    assert max(finding.causes, key=lambda name: finding.causes[name]) == "too_many_epochs"
    assert diagnosed(builder).verdict == "OVERFIT"


@pytest.mark.parametrize(
    "builder",
    [recited(best=0.8), recited(last=1.01), recited(train_end=0.25), recited(best=1 / 3, evals=3)],
    ids=["best late", "no rise", "gap below five", "three evaluations"],
)
def test_a_wide_gap_alone_is_a_remark(builder: RunBuilder) -> None:
    assert severities(builder, "OVF003") == ["info"]
    assert diagnosed(builder).verdict != "OVERFIT"


def test_a_best_evaluation_late_in_the_run_leaves_little_time_for_harm() -> None:
    builder = recited(best=0.8)
    late = builder.train * np.where(np.arange(100) > 85, 0.2, 1.0)
    assert severities(builder.losses(late), "OVF003") == ["info"]


def test_a_training_loss_that_was_recited_before_the_best_evaluation_does_no_harm() -> None:
    builder = recited()
    early = np.where(np.arange(100) < 35, builder.train, builder.train[35] * 0.1) * np.linspace(1, 0.9, 100)
    assert severities(builder.losses(early), "OVF003") == ["info"]


def test_the_better_earlier_checkpoint_is_named() -> None:
    (finding,) = found(healthy(noise=0.002).overfit(at=0.5, rise=0.1), "OVF004")
    assert finding.evidence["best_step"] == 500
    assert found(healthy(noise=0.001), "OVF004") == []
