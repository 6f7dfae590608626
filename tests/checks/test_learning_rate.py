"""Learning rate and schedule: what fires, and what is close to it and must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed, found, reason, severities

from diag.run import Hyperparameter


def hot(rate: float, **known: object) -> RunBuilder:
    return healthy().lr("constant", peak=rate, warmup=0.0).hyperparameters(learning_rate=rate, optimizer="adamw_torch", **known)


def test_a_rate_far_above_its_band_is_a_warning() -> None:
    assert severities(hot(0.08), "LRS001") == ["warning"]
    assert diagnosed(hot(0.08)).causes[0].cause == "lr_too_high"


@pytest.mark.parametrize(("rate", "method"), [(1e-3, None), (9e-3, None), (2e-4, "lora"), (5e-3, "lora"), (2e-5, "sft")])
def test_a_usual_rate_is_silent(rate: float, method: str | None) -> None:
    assert found(hot(rate, method=method), "LRS001") == []


def test_swings_and_missing_clipping_add_up_where_one_alone_does_not() -> None:
    builder = hot(4e-3)
    swinging = builder.losses(evals=builder.eval * np.exp(0.06 * np.random.default_rng(0).standard_normal(builder.eval.size)))
    assert found(swinging.hyperparameters(max_grad_norm=1.0), "LRS001") == []
    assert severities(swinging.hyperparameters(max_grad_norm=0.0), "LRS001") == ["warning"]


def swinging(noise: float, seed: int = 0, evals: int = 20, **known: Any) -> RunBuilder:
    """A usual rate, kept to the end, at which the evaluation loss swings."""
    builder = healthy(evals=evals).lr("constant", peak=3e-3, warmup=0.0).hyperparameters(learning_rate=3e-3, optimizer="adamw", **known)
    swings = np.where(np.arange(evals) % 2, 1.0, -1.0) * np.random.default_rng(seed).uniform(0.8, 1.2, evals)
    return builder.losses(evals=builder.eval * np.exp(noise * swings))


def test_swings_of_the_evaluation_loss_at_a_rate_that_is_kept_are_enough() -> None:
    assert severities(swinging(0.03), "LRS001") == ["warning"]
    assert found(swinging(0.015), "LRS001") == []
    assert found(swinging(0.03).lr("cosine", peak=3e-3), "LRS001") == []


def test_swings_are_measured_against_the_fall_of_the_loss() -> None:
    """A regression whose loss fell fiftyfold swings by tenths."""
    steep = healthy(evals=20, start=200.0).lr("constant", peak=3e-3, warmup=0.0).hyperparameters(learning_rate=3e-3, optimizer="adamw")
    evals = swinging(0.03).eval
    assert severities(swinging(0.03), "LRS001") == ["warning"]
    assert found(steep.losses(evals=evals), "LRS001") == []


def test_few_evaluations_must_swing_more() -> None:
    assert severities(swinging(0.03, evals=14), "LRS001") == ["warning"]
    assert found(swinging(0.03, evals=8), "LRS001") == []


@pytest.mark.parametrize(("noise", "evals", "fires"), [(0.07, 8, True), (0.055, 8, False), (0.055, 12, True)])
def test_few_evaluations_must_swing_by_much_however_little_the_loss_fell(noise: float, evals: int, fires: bool) -> None:
    """At the upper end of the band wild swings are enough."""
    builder = swinging(noise, evals=evals).hyperparameters(learning_rate=1e-2)
    little = healthy(evals=evals, start=1.5)
    assert bool(found(builder.losses(little.train, builder.eval), "LRS001")) is fires


@pytest.mark.parametrize(("batch", "first"), [(2, "batch_too_small"), (4, "batch_too_small"), (8, "lr_too_high")])
def test_swings_at_a_few_samples_a_step_are_their_noise(batch: int, first: str) -> None:
    (finding,) = found(swinging(0.03, global_batch_size=batch), "LRS001")
    assert max(finding.causes, key=lambda cause: finding.causes[cause]) == first
    assert diagnosed(swinging(0.03, global_batch_size=batch)).causes[0].cause == first


def test_few_samples_add_to_swings_that_are_not_enough_alone() -> None:
    assert severities(swinging(0.03, evals=8, global_batch_size=2), "LRS001") == ["warning"]
    assert found(swinging(0.03, evals=8, global_batch_size=32), "LRS001") == []


def test_wild_swings_may_come_from_a_small_evaluation_set_and_need_a_second_sign() -> None:
    assert found(swinging(0.1), "LRS001") == []
    assert severities(swinging(0.1, max_grad_norm=0.0), "LRS001") == ["warning"]
    assert severities(swinging(0.1).hyperparameters(learning_rate=2e-2), "LRS001") == ["warning"]


def test_few_samples_at_a_rate_above_its_band_are_the_second_suspect() -> None:
    builder = swinging(0.03, global_batch_size=2).hyperparameters(learning_rate=0.05)
    (finding,) = found(builder, "LRS001")
    assert finding.causes["lr_too_high"] > finding.causes["batch_too_small"] > 0


def test_few_samples_without_swings_are_no_sign() -> None:
    assert found(swinging(0.005, global_batch_size=1), "LRS001") == []


def risen(rise: float = 0.3, end: float = 0.95, calm: float = 0.2, start: float = 3.0) -> RunBuilder:
    """An evaluation loss that rises at the peak rate and comes back, to a share of its start and less noisy, as the rate decays."""
    builder = healthy(evals=20, start=start).lr("cosine", peak=3e-3, warmup=0.0).hyperparameters(learning_rate=3e-3, optimizer="adamw")
    at = builder.eval_step / builder.step[-1]
    noise = 0.04 * np.where(at < 0.6, 1.0, calm) * np.random.default_rng(0).standard_normal(20)
    level = 2.0 * np.interp(at, [0.05, 0.2, 0.45, 0.9, 1.0], [1.0, 0.9, 0.9 * (1 + rise), end, end])
    return builder.losses(evals=level * np.exp(noise))


def test_an_evaluation_loss_that_comes_back_only_as_the_rate_decays_is_a_sign() -> None:
    (finding,) = found(risen(), "LRS001")
    assert finding.severity == "warning"
    assert finding.evidence["signs"] == ["annealed"]


@pytest.mark.parametrize(
    "builder",
    [
        risen(rise=0.0),
        risen(start=100.0),
        risen(end=1.15),
        risen(calm=1.5),
        risen().lr("constant", peak=3e-3, warmup=0.0),
        swinging(0.0).lr("cosine", peak=3e-3),
    ],
    ids=["no rise", "little of the whole fall", "does not come back", "as noisy as before", "never decays", "falls throughout"],
)
def test_without_a_rise_and_a_return_there_was_nothing_to_anneal(builder: RunBuilder) -> None:
    assert all("annealed" not in finding.evidence["signs"] for finding in found(builder, "LRS001"))


def died(left: float = 0.02, fall: float = 0.2, rate: float = 0.021, n: int = 200, first: int = 5) -> RunBuilder:
    """A rate twice above its band; the gradient norm falls to ``left`` after the first rows, the loss by ``fall`` (log units)."""
    builder = healthy(n=n).lr("cosine", peak=rate, warmup=0.0).hyperparameters(learning_rate=rate, optimizer="adamw")
    index = np.arange(n)
    norm = np.where(index < first, 1.5, 1.5 * left) * np.exp(0.1 * np.random.default_rng(0).standard_normal(n))
    train, evals = (2.3 * np.exp(-fall * step / builder.step[-1]) for step in (builder.step, builder.eval_step))
    return builder.losses(train, evals).metric("grad_norm", norm)


def test_gradients_that_die_while_the_loss_hardly_falls_are_a_sign() -> None:
    (finding,) = found(died(), "LRS001")
    assert finding.severity == "warning"
    assert finding.evidence["signs"] == ["gradients died"]
    assert finding.evidence["score"] == pytest.approx(1.2 * np.log(2.1) + 1.2, abs=0.01)
    assert found(died(rate=0.01), "LRS001") == [], "it is one sign, and not enough alone"


@pytest.mark.parametrize(
    ("builder", "dead"),
    [
        (died(left=1 / 40), True),
        (died(left=1 / 22), False),
        (died(fall=0.37), True),
        (died(fall=0.42), False),
        (died(n=20), True),
        (died(n=19), False),
        (died(first=2), True),
        (died(first=1), False),
        (died(first=160), False),
    ],
    ids=["a fortieth", "a twentieth", "a third", "fell well", "20 norms", "19 norms", "two high norms", "one", "late"],
)
def test_only_a_norm_that_falls_far_and_for_most_of_the_run_has_died(builder: RunBuilder, dead: bool) -> None:
    assert bool(found(builder, "LRS001")) is dead


def test_without_a_rate_it_is_skipped() -> None:
    assert reason(healthy(), "LRS001") == "no learning rate is known"


def test_a_low_adapter_rate_and_a_small_fall_say_too_low() -> None:
    low = healthy(start=2.4, floor=2.0, offset=0.0, noise=0.01).still_falling(rate=0.15)
    known = low.lr("cosine", peak=5e-5).hyperparameters(learning_rate=5e-5, method="lora")
    assert severities(known, "LRS002") == ["warning"]
    assert diagnosed(known).verdict == "UNDERFIT"
    assert found(low.lr("cosine", peak=3e-4).hyperparameters(learning_rate=3e-4, method="lora"), "LRS002") == []
    assert found(healthy().hyperparameters(learning_rate=5e-5, method="lora").lr("cosine", peak=5e-5), "LRS002") == []


def test_a_rate_of_zero_throughout_is_an_error() -> None:
    (finding,) = found(healthy().metric("lr", 0.0).hyperparameters(learning_rate=1e-4), "LRS003")
    assert finding.severity == "error"
    assert finding.evidence["bug"] == "lr_zero"
    assert finding.causes["schedule_bug"] > finding.causes["lr_too_low"]


def test_a_tail_at_zero_is_a_warning_but_the_end_of_a_schedule_is_not() -> None:
    rate = np.where(np.arange(200) < 150, 1e-4, 0.0)
    (finding,) = found(healthy().metric("lr", rate), "LRS003")
    assert finding.step_start == 750
    assert found(healthy().lr("linear"), "LRS003") == []
    assert found(healthy().lr("cosine"), "LRS003") == []


def test_a_warmup_longer_than_the_run_is_named() -> None:
    rising = np.linspace(1e-7, 5e-7, 200)
    (finding,) = found(healthy().metric("lr", rising).hyperparameters(warmup_steps=14400, learning_rate=3e-5), "LRS004")
    assert finding.evidence["bug"] == "warmup_exceeds_run"
    assert finding.causes["schedule_bug"] > 2
    assert found(healthy().lr("cosine", warmup=0.1).hyperparameters(warmup_ratio=0.1), "LRS004") == []


def test_a_run_cut_off_in_its_warmup_is_short_and_not_misconfigured() -> None:
    builder = healthy().metric("lr", np.linspace(1e-7, 5e-7, 200)).set(planned_steps=50_000)
    (finding,) = found(builder, "LRS004")
    assert finding.evidence["bug"] == "stopped_in_warmup"
    assert "schedule_bug" not in finding.causes


def test_cycles_under_a_linear_scheduler_are_a_bug() -> None:
    cycles = 1e-3 * (0.5 + 0.5 * np.cos(np.arange(200) / 12))
    builder = healthy().metric("lr", cycles)
    assert severities(builder.hyperparameters(lr_scheduler="linear"), "LRS005") == ["warning"]
    assert found(builder.hyperparameters(lr_scheduler="cosine_with_restarts"), "LRS005") == []
    assert found(healthy().lr("cosine", warmup=0.1).hyperparameters(lr_scheduler="cosine"), "LRS005") == []


def test_a_constant_rate_is_a_remark_unless_a_decay_was_promised() -> None:
    builder = healthy().lr("constant", warmup=0.0)
    assert severities(builder, "LRS006") == ["info"]
    assert severities(builder.hyperparameters(lr_scheduler="constant"), "LRS006") == ["info"]
    assert severities(builder.hyperparameters(lr_scheduler="linear"), "LRS006") == ["warning"]
    assert found(healthy().lr("linear").hyperparameters(lr_scheduler="linear"), "LRS006") == []


@pytest.mark.parametrize("logging_steps", [1, 10])
def test_a_decay_that_was_promised_is_missed_in_short_runs_too(logging_steps: int) -> None:
    builder = healthy(n=60, logging_steps=logging_steps).lr("constant", warmup=0.0).hyperparameters(lr_scheduler="cosine")
    assert severities(builder, "LRS006") == ["warning"]
    assert found(healthy(n=60, logging_steps=logging_steps).lr("cosine").hyperparameters(lr_scheduler="cosine"), "LRS006") == []


def test_a_few_learning_rates_do_not_show_that_there_was_no_decay() -> None:
    assert "needs 8 points of lr" in reason(healthy(n=7).lr("constant").hyperparameters(lr_scheduler="cosine"), "LRS006")


def test_a_transformer_started_hot_without_warmup_is_a_warning() -> None:
    builder = healthy().lr("cosine", peak=0.03, warmup=0.0)
    known = builder.hyperparameters(learning_rate=0.03, warmup_ratio=0.0, method="pretraining", optimizer="adamw")
    (finding,) = found(known, "LRS007")
    assert finding.severity == "warning"
    assert finding.causes["warmup_too_short"] > finding.causes["lr_too_high"]
    assert severities(known.hyperparameters(learning_rate=1e-3), "LRS007") == ["info"]
    assert found(known.hyperparameters(warmup_ratio=0.05), "LRS007") == []


def test_other_architectures_need_no_warmup() -> None:
    known = healthy().hyperparameters(learning_rate=0.03, warmup_ratio=0.0, optimizer="adamw")
    assert "transformer" in reason(known, "LRS007")
    run = known.run()
    run.config = {"model.name": Hyperparameter("tiny-gpt")}
    assert severities(run, "LRS007") == ["warning"]
