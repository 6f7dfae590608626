"""What is prescribed: numbers from the run's own values, inside the guides' limits, free of contradictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.check import Finding
from diag.diagnosis import Diagnosis, RankedCause
from diag.guides import band, rules
from diag.prescription import LADDERS, MAX_RANK, Fix, best_checkpoint, prescribe
from diag.run import Checkpoint, Run
from diag.vocabulary import CAUSES, HYPERPARAMETERS, METHODS, VERDICTS

LLM = {"method": "lora", "model_parameters": 7e9, "dataset_size": 15_000}


def treat(run: Run, *causes: str, verdict: str = "UNSTABLE", score: float = 0.9, findings: Sequence[Finding] = ()) -> list[Fix]:
    ranked = tuple(RankedCause(cause, score - 0.01 * index) for index, cause in enumerate(causes))
    return prescribe(run, Diagnosis(verdict, 0.9, ranked), findings)


def first(fixes: Sequence[Fix]) -> dict[str, Fix]:
    return {fix.parameter: fix for fix in fixes if fix.rank == 1}


def known(**values: Any) -> Run:
    return healthy().hyperparameters(**values).run()


def test_a_healthy_run_needs_nothing() -> None:
    assert prescribe(known(learning_rate=1e-4), Diagnosis("HEALTHY", 0.9), []) == []
    assert treat(known(learning_rate=1e-4), "gradient_clipping_missing", verdict="HEALTHY", score=0.3) == []


def test_a_healthy_run_without_evaluation_is_told_to_evaluate() -> None:
    run = healthy(n=120).no_eval().run()
    fixes = treat(run, "eval_missing", verdict="HEALTHY", score=0.3)
    assert [(fix.parameter, fix.new) for fix in fixes] == [("validation_set", None), ("eval_steps", run.steps // 12)]


@pytest.mark.parametrize("verdict", [verdict for verdict in VERDICTS if verdict != "HEALTHY"])
def test_every_other_verdict_gets_a_prescription(verdict: str) -> None:
    assert first(prescribe(healthy().overfit().run(), Diagnosis(verdict, 0.5), []))


def test_every_cause_has_a_ladder() -> None:
    assert set(LADDERS) == set(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_gets_a_prescription_even_if_nothing_is_known(cause: str) -> None:
    fixes = treat(healthy().overfit().run(), cause)
    assert first(fixes)
    assert all(fix.new is not None or fix.factor is not None or fix.applicability == "display" for fix in fixes)


def test_severity_ladder() -> None:
    run = known(learning_rate=1e-2)
    assert first(treat(run, "lr_too_high", verdict="UNSTABLE"))["learning_rate"].new == pytest.approx(3.3e-3)
    assert first(treat(run, "lr_too_high", verdict="DIVERGED"))["learning_rate"].new == pytest.approx(2e-3)
    nan = Finding("DIV001", "nonfinite-loss", "error", "NaN.", step_start=1)
    assert first(treat(run, "lr_too_high", verdict="DIVERGED", findings=[nan]))["learning_rate"].new == pytest.approx(1e-3)
    swings = Finding("SPK002", "oscillation", "warning", "Swings.")
    assert first(treat(run, "lr_too_high", findings=[swings]))["learning_rate"].new == pytest.approx(5e-3)


def test_stated_severity_counts() -> None:
    said = Finding("XXX001", "x", "error", "X.", evidence={"severity_factor": 4.0}, causes={"lr_too_high": 2.0})
    assert first(treat(known(learning_rate=8e-3), "lr_too_high", findings=[said]))["learning_rate"].new == pytest.approx(2e-3)


def test_flat_is_raised_more_than_slow() -> None:
    flat = healthy().plateau(at=0.0, level=3.0).hyperparameters(learning_rate=1e-4).run()
    flat_lora = healthy().plateau(at=0.0, level=3.0).hyperparameters(learning_rate=4e-5, **LLM).run()
    slow = healthy().still_falling(0.6).hyperparameters(learning_rate=1e-4).run()
    assert first(treat(flat, "lr_too_low", verdict="PLATEAU"))["learning_rate"].new == pytest.approx(1e-3)
    assert first(treat(flat_lora, "lr_too_low", verdict="PLATEAU"))["learning_rate"].new == pytest.approx(2e-4)
    assert first(treat(slow, "lr_too_low", verdict="UNDERFIT"))["learning_rate"].new == pytest.approx(2.5e-4)


@pytest.mark.parametrize(
    ("values", "new"),
    [
        ({"method": "lora", "learning_rate": 1e-6}, 1e-4),
        ({"optimizer": "sgd", "learning_rate": 1e-5}, 0.01),
        ({"method": "lora", "learning_rate": 1e-4}, 2.5e-4),
    ],
)
def test_a_rate_far_below_the_usual_one_is_set_there_rather_than_scaled(values: dict[str, Any], new: float) -> None:
    run = healthy().still_falling(0.6).hyperparameters(**values).run()
    assert first(treat(run, "lr_too_low", verdict="UNDERFIT"))["learning_rate"].new == pytest.approx(new, rel=0.05)


def test_a_rate_far_above_the_usual_one_is_brought_back_to_it() -> None:
    far = Finding("LRS001", "x", "warning", "X.", evidence={"severity_factor": 5.0, "usual_high": 1e-2}, causes={"lr_too_high": 3.0})
    assert first(treat(known(learning_rate=0.3), "lr_too_high", findings=[far]))["learning_rate"].new == pytest.approx(1e-2)
    assert first(treat(known(learning_rate=2e-2), "lr_too_high", findings=[far]))["learning_rate"].new == pytest.approx(4e-3)


def test_a_healthy_run_is_not_treated_however_sure_a_cause_is() -> None:
    assert treat(known(learning_rate=1e-4), "lr_too_high", verdict="HEALTHY", score=0.9) == []


def test_few_updates_are_multiplied_by_a_smaller_batch() -> None:
    run = healthy(n=60, logging_steps=1).hyperparameters(global_batch_size=256, learning_rate=1e-3).run()
    fixes = first(treat(run, "batch_too_large", "too_few_epochs", verdict="UNDERFIT"))
    assert fixes["global_batch_size"].new == 51  # 60 of 300 updates
    assert set(fixes) == {"global_batch_size"}
    long = healthy(n=600).hyperparameters(global_batch_size=256, learning_rate=1e-3).run()
    assert first(treat(long, "batch_too_large", verdict="UNDERFIT"))["global_batch_size"].new == 128


def test_a_narrow_layer_is_given_a_width() -> None:
    said = Finding("UND007", "narrow-layers", "warning", "X.", evidence={"hidden_width": 3.0}, causes={"capacity_too_low": 3.8})
    fix = first(treat(known(learning_rate=1e-3), "capacity_too_low", verdict="PLATEAU", findings=[said]))["hidden_width"]
    assert (fix.old, fix.new, fix.applicability) == (3, 32, "display")


def test_a_tiny_rank_is_raised_with_the_layers_it_adapts_and_without_an_alpha_that_was_too_high() -> None:
    values = {"lora_rank": 1, "lora_alpha": 16.0, "lora_target_modules": ["q_proj"], **LLM}
    said = Finding("UND004", "x", "warning", "X.", evidence={"smallest_recommended": 4}, causes={"capacity_too_low": 3.5})
    fixes = first(treat(known(**values), "capacity_too_low", verdict="PLATEAU", findings=[said]))
    assert fixes["lora_rank"].new >= 8
    assert fixes["lora_target_modules"].new == "all-linear"
    assert "lora_alpha" not in fixes
    usual = first(treat(known(**{**values, "lora_rank": 8}), "capacity_too_low", verdict="PLATEAU", findings=[said]))
    assert usual["lora_alpha"].new == pytest.approx(2.0 * usual["lora_rank"].new)
    assert "lora_target_modules" not in usual


def test_a_policy_that_froze_is_slowed_down_and_held() -> None:
    fixes = first(treat(known(learning_rate=1e-5), "reward_collapse", verdict="PLATEAU"))
    assert fixes["learning_rate"].new == pytest.approx(2e-6)
    assert fixes["kl_coefficient"].applicability == "display"


def test_the_peak_of_the_schedule_is_what_is_scaled() -> None:
    run = healthy().lr("cosine", peak=4e-4).run()
    fix = first(treat(run, "lr_too_high", verdict="DIVERGED"))["learning_rate"]
    assert fix.old == pytest.approx(4e-4, rel=0.01)
    assert fix.new == pytest.approx(8e-5, rel=0.02)


def test_an_unknown_value_is_scaled_by_a_factor() -> None:
    fix = first(treat(healthy().run(), "lr_too_high", verdict="DIVERGED"))["learning_rate"]
    assert (fix.old, fix.new, fix.factor) == (None, None, 0.2)
    assert "divide it by 5" in fix.reason


def test_the_lesson_of_the_tenfold_learning_rate() -> None:
    run = healthy(epochs=3.0).overfit(at=0.3).hyperparameters(learning_rate=1e-3, num_epochs=3, **LLM).run()
    fixes = first(treat(run, "lr_too_high", "too_many_epochs", verdict="OVERFIT"))
    assert fixes["learning_rate"].new <= 3e-4
    assert fixes["num_epochs"].new == 1
    assert set(fixes["learning_rate"].rules) <= set(rules())


def test_small_nets_are_not_held_to_the_limits_of_language_models() -> None:
    assert first(treat(known(learning_rate=3e-3), "lr_too_low", verdict="UNDERFIT"))["learning_rate"].new > 5e-3


def test_small_models_of_known_method_are_not_held_to_them_either() -> None:
    run = known(learning_rate=5e-3, method="lora", model_parameters=1e6)
    assert first(treat(run, "lr_too_high", verdict="DIVERGED"))["learning_rate"].new == pytest.approx(1e-3)


def test_unknown_size_moves_no_further_than_the_ladder() -> None:
    run = known(learning_rate=0.06, method="lora")
    assert first(treat(run, "lr_too_high", verdict="DIVERGED"))["learning_rate"].new == pytest.approx(6e-3)


def test_a_step_that_clips_to_no_change_is_skipped() -> None:
    fixes = treat(known(learning_rate=1e-5, warmup_steps=0, **LLM), "lr_too_high", verdict="DIVERGED")
    assert "learning_rate" not in {fix.parameter for fix in fixes}
    assert "warmup_steps" in first(fixes)


def test_a_dead_learning_rate_is_set_and_not_scaled() -> None:
    assert first(treat(known(learning_rate=3e-10, **LLM), "lr_too_low", verdict="PLATEAU"))["learning_rate"].new == pytest.approx(1e-4)
    assert first(treat(known(learning_rate=0.0), "frozen_parameters", verdict="PLATEAU"))["learning_rate"].new == 1e-3


def test_min_lr_keeps_its_ratio() -> None:
    fixes = first(treat(known(learning_rate=1e-2, min_lr=1e-3), "lr_too_high", verdict="DIVERGED"))
    assert fixes["min_lr"].new == pytest.approx(fixes["learning_rate"].new / 10)


def test_epochs_end_at_the_best_evaluation() -> None:
    run = healthy(n=300, evals=30, logging_steps=1, epochs=10.0).overfit(at=0.38, rise=0.5).hyperparameters(num_epochs=10).run()
    best = best_checkpoint(run)
    assert best is not None
    fix = first(treat(run, "too_many_epochs", verdict="OVERFIT"))["num_epochs"]
    assert fix.old == 10
    assert best.step / 30 <= fix.new <= best.step / 30 + 1
    assert isinstance(fix.new, int)


def test_fine_tunes_end_after_three_epochs() -> None:
    run = healthy(n=300, evals=30, epochs=10.0).overfit(at=0.6, rise=0.5).hyperparameters(num_epochs=10, **LLM).run()
    assert first(treat(run, "too_many_epochs", verdict="OVERFIT"))["num_epochs"].new == 3


def test_without_epochs_the_steps_end_at_the_best_evaluation() -> None:
    run = healthy(epochs=0.0).overfit().hyperparameters(max_steps=200).run()
    best = best_checkpoint(run)
    assert best is not None
    assert first(treat(run, "too_many_epochs", verdict="OVERFIT"))["max_steps"].new == best.step


def test_an_overfit_within_one_epoch_ends_at_a_step() -> None:
    run = healthy(epochs=1.0).overfit().hyperparameters(num_epochs=1).run()
    fixes = first(treat(run, "too_many_epochs", verdict="OVERFIT"))
    assert "num_epochs" not in fixes
    assert fixes["max_steps"].new < run.steps


def test_longer_training_for_what_is_left_to_gain() -> None:
    much = healthy(epochs=2.0).still_falling(2.0).hyperparameters(num_epochs=2).run()
    little = healthy(epochs=20.0).hyperparameters(num_epochs=20).run()
    assert first(treat(much, "too_few_epochs", verdict="UNDERFIT"))["num_epochs"].new == 4
    assert first(treat(little, "too_few_epochs", verdict="UNDERFIT"))["num_epochs"].new == 30


def test_rank_doubles_at_least_to_eight_and_alpha_follows() -> None:
    fixes = first(treat(known(lora_rank=1, lora_alpha=2), "capacity_too_low", verdict="PLATEAU"))
    assert (fixes["lora_rank"].new, fixes["lora_alpha"].new) == (8, 16)
    fixes = first(treat(known(lora_rank=16, lora_alpha=32, **LLM), "capacity_too_low", verdict="PLATEAU"))
    assert (fixes["lora_rank"].new, fixes["lora_alpha"].new) == (32, 64)
    assert isinstance(fixes["lora_rank"].new, int)


def test_batch_and_learning_rate_move_together() -> None:
    fixes = first(treat(known(global_batch_size=16, learning_rate=1e-3), "batch_too_small"))
    assert fixes["global_batch_size"].new == 64
    assert fixes["learning_rate"].new == pytest.approx(2e-3)
    short = healthy(n=200, logging_steps=1).hyperparameters(global_batch_size=16, learning_rate=1e-3).run()
    assert first(treat(short, "batch_too_small"))["global_batch_size"].new == 32


def test_tiny_batches_grow_without_the_learning_rate() -> None:
    run = healthy(n=300, logging_steps=10).hyperparameters(micro_batch_size=2, learning_rate=1e-3).run()
    fixes = first(treat(run, "batch_too_small"))
    assert (fixes["global_batch_size"].old, fixes["global_batch_size"].new) == (2, 16)
    assert "learning_rate" not in fixes


def test_a_larger_batch_does_not_undo_a_lower_learning_rate() -> None:
    run = healthy(n=300, logging_steps=10).hyperparameters(global_batch_size=32, learning_rate=1e-2).run()
    fixes = first(treat(run, "lr_too_high", "batch_too_small"))
    assert fixes["learning_rate"].new < 1e-2
    assert fixes["global_batch_size"].new > 32


def test_out_of_memory_keeps_the_effective_batch() -> None:
    fixes = first(treat(known(micro_batch_size=8, gradient_accumulation_steps=4), "out_of_memory"))
    assert fixes["micro_batch_size"].new * fixes["gradient_accumulation_steps"].new == 32
    unknown = first(treat(healthy().run(), "out_of_memory"))
    assert unknown["micro_batch_size"].factor == 0.5
    assert unknown["gradient_accumulation_steps"].factor == 2


def test_out_of_memory_at_a_micro_batch_of_one_saves_activations() -> None:
    assert "gradient_checkpointing" in first(treat(known(micro_batch_size=1), "out_of_memory"))


@pytest.mark.parametrize(
    ("cause", "values", "parameter", "new"),
    [
        ("precision_overflow", {"precision": "fp16"}, "precision", "bf16"),
        ("precision_overflow", {"precision": "bf16"}, "precision", "fp32"),
        ("weight_decay_too_high", {"weight_decay": 3.0}, "weight_decay", 0.01),
        ("weight_decay_too_high", {"weight_decay": 0.01}, "weight_decay", 0.0),
        ("gradient_clipping_missing", {"max_grad_norm": 0.0}, "max_grad_norm", 1.0),
        ("exploding_gradients", {"max_grad_norm": None}, "max_grad_norm", 1.0),
        ("gradient_clipping_too_tight", {"max_grad_norm": 0.02}, "max_grad_norm", 1.0),
        ("gradient_clipping_too_tight", {"max_grad_norm": 1.0}, "max_grad_norm", 5.0),
        ("warmup_too_short", {"warmup_ratio": 0.0}, "warmup_ratio", 0.1),
        ("warmup_too_short", {"warmup_steps": 0}, "warmup_steps", 100),
        ("regularization_too_weak", {"dropout": 0.0}, "dropout", 0.1),
        ("regularization_too_weak", {"lora_dropout": 0.05, "method": "lora"}, "lora_dropout", 0.1),
        ("capacity_too_high", {"lora_rank": 16}, "lora_rank", 8),
    ],
)
def test_single_changes(cause: str, values: dict[str, Any], parameter: str, new: Any) -> None:
    assert first(treat(known(**values), cause))[parameter].new == new


def test_nan_in_fp16_is_first_met_with_bf16() -> None:
    run = healthy().nan(at=0.02).hyperparameters(precision="fp16", learning_rate=1e-4).run()
    fixes = treat(run, "lr_too_high", verdict="DIVERGED")
    assert set(first(fixes)) == {"precision"}
    assert any(fix.parameter == "learning_rate" and fix.rank > 1 for fix in fixes)


@pytest.mark.parametrize(
    ("bug", "values", "parameter", "new"),
    [
        ("warmup_exceeds_run", {"warmup_steps": 5000}, "warmup_steps", 50),
        ("never_decays", {"lr_scheduler": "constant"}, "lr_scheduler", "cosine"),
        ("never_warms_up", {"warmup_ratio": 0.0}, "warmup_ratio", 0.05),
        ("cycles", {"lr_scheduler": "linear"}, "lr_decay_steps", 1000),
        ("zero_tail", {"lr_scheduler": "cosine"}, "lr_decay_steps", 1000),
        ("lr_zero", {"learning_rate": 0.0}, "learning_rate", 1e-3),
    ],
)
def test_schedule_faults(bug: str, values: dict[str, Any], parameter: str, new: Any) -> None:
    said = Finding("LRS999", "x", "warning", "X.", evidence={"bug": bug}, causes={"schedule_bug": 4.0})
    fixes = first(treat(known(**values), "schedule_bug", verdict="UNDERFIT", findings=[said]))
    assert fixes[parameter].new == new


def test_schedule_faults_are_seen_without_a_finding() -> None:
    run = healthy().hyperparameters(warmup_steps=1000, learning_rate=1e-3).run()
    assert first(treat(run, "schedule_bug", verdict="UNDERFIT"))["warmup_steps"].new == 50


def test_what_a_schedule_explains_is_not_treated_too() -> None:
    run = healthy().hyperparameters(warmup_steps=1000, learning_rate=1e-3).run()
    assert set(first(treat(run, "schedule_bug", "lr_too_low", verdict="UNDERFIT"))) == {"warmup_steps"}


def test_two_sure_causes_are_treated_together_and_a_doubtful_one_later() -> None:
    run = healthy().still_falling().hyperparameters(learning_rate=1e-4, num_epochs=3).run()
    assert set(first(treat(run, "lr_too_low", "too_few_epochs", verdict="UNDERFIT"))) == {"learning_rate", "num_epochs"}
    causes = (RankedCause("lr_too_low", 0.8), RankedCause("too_few_epochs", 0.3))
    fixes = prescribe(run, Diagnosis("UNDERFIT", 0.9, causes), [])
    assert set(first(fixes)) == {"learning_rate"}
    assert "num_epochs" in {fix.parameter for fix in fixes if fix.rank > 1}


def test_a_flat_loss_at_a_high_learning_rate_is_not_met_with_a_higher_one() -> None:
    run = healthy().plateau(at=0.0, level=3.0).hyperparameters(learning_rate=0.45, optimizer="sgd").run()
    causes = (RankedCause("lr_too_low", 0.4), RankedCause("lr_too_high", 0.3))
    assert first(prescribe(run, Diagnosis("PLATEAU", 0.5, causes), []))["learning_rate"].new < 0.45


def test_activation_is_changed_where_the_config_names_one_that_saturates() -> None:
    def prescribed(activation: str) -> dict[str, Fix]:
        entry = known(weight_decay=activation).hyperparameters["weight_decay"]
        return first(treat(healthy().run(config={"model.activation": entry}), "vanishing_gradients", verdict="PLATEAU"))

    assert (prescribed("sigmoid")["activation"].old, prescribed("sigmoid")["activation"].new) == ("sigmoid", "relu")
    assert "activation" not in prescribed("gelu")


def direction(fix: Fix) -> int:
    if fix.factor is not None:
        return 1 if fix.factor > 1 else -1
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (fix.old, fix.new)):
        return 0
    return int(np.sign(fix.new - fix.old))


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.floats(1e-7, 1.0),
        "num_epochs": st.integers(1, 100),
        "global_batch_size": st.integers(1, 4096),
        "micro_batch_size": st.integers(1, 64),
        "gradient_accumulation_steps": st.integers(1, 64),
        "lora_rank": st.sampled_from([1, 2, 4, 8, 16, 64, 128]),
        "lora_alpha": st.sampled_from([1, 16, 32]),
        "lora_dropout": st.floats(0, 0.5),
        "weight_decay": st.floats(0, 10),
        "max_grad_norm": st.sampled_from([0.0, 0.1, 1.0, 5.0, 100.0]),
        "warmup_ratio": st.floats(0, 1),
        "warmup_steps": st.integers(0, 500),
        "lr_scheduler": st.sampled_from(["constant", "cosine", "linear"]),
        "precision": st.sampled_from(["fp16", "bf16", "fp32"]),
        "method": st.sampled_from(METHODS),
        "model_parameters": st.sampled_from([1e6, 1e9, 7e9, 70e9]),
        "dataset_size": st.sampled_from([500, 4000, 20_000, 10**6]),
    },
)


@given(
    values=VALUES,
    causes=st.lists(st.sampled_from(CAUSES), unique=True, max_size=4),
    verdict=st.sampled_from(VERDICTS),
    scores=st.lists(st.floats(0.05, 1), min_size=4, max_size=4),
    base=st.sampled_from([healthy(n=60, evals=8), healthy(n=60, evals=8).overfit(), healthy(n=60).plateau(), healthy(n=60).no_eval()]),
)
def test_prescriptions_are_consistent(
    values: dict[str, Any], causes: list[str], verdict: str, scores: list[float], base: RunBuilder
) -> None:
    run = base.hyperparameters(**values).run()
    ranked = tuple(RankedCause(cause, score) for cause, score in zip(causes, sorted(scores, reverse=True), strict=False))
    fixes = prescribe(run, Diagnosis(verdict, 0.8, ranked), [])
    assert fixes == prescribe(run, Diagnosis(verdict, 0.8, ranked), [])
    ranks = [fix.rank for fix in fixes]
    assert ranks == sorted(ranks)
    assert set(ranks) == set(range(1, max(ranks, default=0) + 1))
    assert max(ranks, default=0) <= MAX_RANK
    turned = {fix.parameter: direction(fix) for fix in fixes if fix.rank == 1}
    for fix in fixes:
        assert fix.reason.endswith(".")
        assert "nan" not in fix.reason
        assert set(fix.rules) <= set(rules())
        assert fix.applicability == "display" or fix.parameter in HYPERPARAMETERS
        assert fix.new != fix.old or fix.new is None
        if fix.applicability != "display":
            assert fix.new is not None or fix.factor is not None
            assert type(fix.new) is not float or np.isfinite(fix.new)
        if HYPERPARAMETERS.get(fix.parameter) is int and fix.new is not None:
            assert isinstance(fix.new, int)
        limits = band(fix.parameter, run.hyperparameter("method"), values.get("dataset_size"), values.get("model_parameters"))
        guided = values.get("model_parameters", 0) >= 1e9 and "dataset_size" in values
        if fix.parameter == "learning_rate" and limits is not None and guided and fix.new is not None:
            assert 0.95 * limits.clip_low <= fix.new <= 1.05 * limits.clip_high
    for rank in set(ranks):
        parameters = [fix.parameter for fix in fixes if fix.rank == rank and fix.applicability != "display"]
        assert len(parameters) == len(set(parameters))
    for fix in fixes:
        if fix.rank > 1 and "ollow" not in fix.reason and "same" not in fix.reason and "ratio" not in fix.reason:
            assert direction(fix) * turned.get(fix.parameter, 0) >= 0


def test_best_checkpoint() -> None:
    run = healthy(n=100, evals=10, logging_steps=1).overfit(at=0.5, rise=0.5).run()
    best = best_checkpoint(run)
    assert best is not None
    curve = run.curves["eval/loss"]
    assert best.step == int(curve.step[np.argmin(curve.value)])
    assert not best.exists
    saved = Checkpoint(best.step, f"checkpoint-{best.step}", True)
    run.checkpoints = [Checkpoint(100, "checkpoint-100", True), saved]
    assert best_checkpoint(run) == saved


def test_best_checkpoint_one_step_off() -> None:
    run = healthy(n=100, evals=10, logging_steps=1).run(checkpoints=[])
    best = best_checkpoint(run)
    assert best is not None
    run.checkpoints = [Checkpoint(best.step + 1, "epoch_0_step_x", True)]
    assert best_checkpoint(run) == run.checkpoints[0]


def test_best_checkpoint_by_reward() -> None:
    run = healthy(n=60).no_eval().metric("reward", np.concatenate([np.linspace(0, 1, 40), np.linspace(0.8, 0.1, 20)])).run()
    best = best_checkpoint(run)
    assert best is not None
    assert abs(best.step - int(run.curves["reward"].step[39])) <= 3 * int(run.curves["reward"].step[0])


def test_no_best_checkpoint_without_evaluation() -> None:
    assert best_checkpoint(healthy().no_eval().run()) is None


@pytest.mark.parametrize(("method", "initializes"), [(None, True), ("pretraining", True), ("full_sft", False), ("lora", False)])
def test_only_weights_that_are_not_trained_yet_are_initialized_another_way(method: str | None, initializes: bool) -> None:
    values = {"max_grad_norm": None} if method is None else {"max_grad_norm": None, "method": method}
    assert ("initialization" in first(treat(known(**values), "exploding_gradients"))) is initializes
