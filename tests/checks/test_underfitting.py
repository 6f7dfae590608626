"""Underfitting and plateaus: what fires, and what is close to it and must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed, found, reason, severities

from diag.checks.underfitting._gain import gain
from diag.examination import Examination
from diag.run import Hyperparameter, Run


def blamed(builder: RunBuilder, code: str) -> list[str]:
    """The causes that a finding gives weight to, most weight first."""
    (finding,) = found(builder, code)
    return sorted((cause for cause, weight in finding.causes.items() if weight > 0), key=lambda cause: -finding.causes[cause])


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


def falling(
    rate: float = 0.5, *, n: int = 200, epochs: float = 3.0, apart: float = 0.0, noise: float = 0.01, evals: int = 20
) -> RunBuilder:
    """Losses that fall by ``rate`` (log units) at an even pace, the evaluation loss ``apart`` above the training loss at the end."""
    base = healthy(n=n, evals=evals, noise=noise, offset=0.0, epochs=epochs).still_falling(rate)
    return base.losses(base.train * np.exp(-apart * base.step / base.step[-1]))


def test_a_loss_that_only_comes_back_from_where_it_rose_to_is_not_undertrained() -> None:
    rising = np.interp(np.arange(20), [0, 8, 9, 19], [0.0, -0.4, 0.4, 0.2])
    builder = healthy(evals=20, offset=0.0).lr("constant", warmup=0.0)
    lost = builder.losses(2.0 * np.exp(np.interp(builder.step, builder.eval_step, rising)), 2.0 * np.exp(rising))
    assert "far above its lowest level" in reason(lost, "UND001")
    back = np.where(np.arange(20) >= 9, rising - 0.7, rising)
    assert severities(builder.losses(2.0 * np.exp(np.interp(builder.step, builder.eval_step, back)), 2.0 * np.exp(back)), "UND001") == [
        "warning"
    ]


@pytest.mark.parametrize(("epochs", "fires"), [(1.0, True), (2.0, True), (3.0, False)])
def test_in_a_single_pass_a_fall_under_a_decaying_rate_is_learning(epochs: float, fires: bool) -> None:
    """Nothing was memorized yet; after several passes annealing gains as much."""
    builder = falling(0.16, epochs=epochs, evals=6).lr("cosine", warmup=0.0)
    assert bool(found(builder, "UND001")) is fires


@pytest.mark.parametrize(("rate", "epochs", "fires"), [(0.5, 3.0, True), (0.06, 3.0, False), (0.06, 2.0, True)])
def test_without_a_training_loss_a_gap_that_eats_up_a_small_gain_would_not_be_seen(rate: float, epochs: float, fires: bool) -> None:
    run = falling(rate, epochs=epochs, noise=0.001).lr("constant", warmup=0.0).run()
    assert found(run, "UND001")
    del run.curves["train/loss"]
    run.hyperparameters["num_epochs"] = Hyperparameter(epochs)
    assert bool(found(run, "UND001")) is fires


@pytest.mark.parametrize(
    ("epochs", "noise", "evals", "fires"), [(9.0, 0.0, 12, True), (10.0, 0.0, 12, False), (9.0, 0.02, 12, False), (9.0, 0.0, 7, False)]
)
def test_smooth_evaluations_over_few_passes_show_learning(epochs: float, noise: float, evals: int, fires: bool) -> None:
    builder = falling(0.25, n=300, epochs=epochs, evals=evals, noise=0.0).lr("cosine")
    noisy = builder.losses(evals=builder.eval * np.exp(noise * np.random.default_rng(0).standard_normal(evals)))
    assert bool(found(noisy, "UND001")) is fires


@pytest.mark.parametrize(
    ("n", "rate", "apart", "fires"),
    [(18, 0.07, 0.0, True), (22, 0.07, 0.0, False), (18, 0.03, 0.0, False), (18, 0.07, 0.08, False)],
    ids=["under 100 updates", "over 100", "hardly falls", "has begun to memorize"],
)
def test_fewer_updates_than_the_guides_ask_for_need_only_a_small_fall(n: int, rate: float, apart: float, fires: bool) -> None:
    builder = falling(rate, n=n, epochs=5.0, apart=apart, noise=0.002, evals=6).lr("cosine", warmup=0.0)
    assert bool(found(builder, "UND001")) is fires


@pytest.mark.parametrize(("noise", "fires"), [(0.002, True), (0.006, False)])
def test_at_an_undecayed_rate_a_small_gain_must_exceed_its_error(noise: float, fires: bool) -> None:
    """The trend over the second half is certain in both, and the predicted gain 4%."""
    builder = healthy(n=400, evals=40, noise=0.0, offset=0.0, epochs=2).lr("constant", warmup=0.0)
    swings = noise * np.tile([1.0, -1.0], 20)
    small = 2.0 * np.exp(-0.05 * builder.eval_step / builder.step[-1] + swings)
    assert bool(found(builder.losses(np.full(400, 1.8), small), "UND001")) is fires


@pytest.mark.parametrize(("noise", "fires"), [(0.01, False), (0.2, True)])
def test_a_gap_counts_beyond_the_error_of_the_training_level(noise: float, fires: bool) -> None:
    builder = falling(0.5, n=40, apart=0.18).lr("constant", warmup=0.0)
    noisy = builder.losses(builder.train * np.exp(noise * np.tile([1.0, -1.0, -1.0, 1.0], 10)))
    assert bool(found(noisy, "UND001")) is fires


@pytest.mark.parametrize(
    ("builder", "cause"),
    [
        (falling(), "too_few_epochs"),
        (falling(epochs=5), "lr_too_low"),
        (falling(n=20), "too_few_epochs"),
        (falling(n=20, epochs=5), "too_few_epochs"),
        (falling(n=20, epochs=5).hyperparameters(global_batch_size=32), "batch_too_large"),
        (falling(n=20, epochs=3).hyperparameters(global_batch_size=32), "too_few_epochs"),
        (falling(n=20, epochs=5).hyperparameters(global_batch_size=8), "too_few_epochs"),
        (falling(epochs=5).set(planned_steps=2000), "too_few_epochs"),
    ],
    ids=["long", "crawls", "short", "short and crawls", "large batch", "large batch, few passes", "small batch", "cut off"],
)
def test_what_a_loss_that_still_falls_lacks(builder: RunBuilder, cause: str) -> None:
    assert blamed(builder.lr("constant", warmup=0.0), "UND001")[0] == cause


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
        ({"learning_rate": 1e-10}, "lr_too_low"),
        ({"learning_rate": 1e-3}, "frozen_parameters"),
        ({"weight_decay": 10.0}, "weight_decay_too_high"),
        ({"max_grad_norm": 0.01}, "gradient_clipping_too_tight"),
    ],
)
def test_the_reason_of_a_plateau_is_read_from_the_configuration(known: dict[str, float], cause: str) -> None:
    assert diagnosed(flat(2.303, **known)).causes[0].cause == cause


@pytest.mark.parametrize("rows", [1, 4, 12])
def test_a_fall_within_the_first_rows_is_progress(rows: int) -> None:
    builder = flat(2.0)
    assert found(builder.losses(builder.train * np.where(np.arange(200) < rows, 1.15, 1.0)), "UND002") == []


@pytest.mark.parametrize("seed", range(10))
def test_first_rows_that_noise_put_high_are_no_progress(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal(200)
    noise[:4] = np.abs(noise[:4])
    assert severities(healthy().no_eval().losses(2.0 * np.exp(0.1 * noise)), "UND002") == ["error"]


@pytest.mark.parametrize(("noise", "unmoved"), [(0.1, True), (0.4, False)])
def test_a_flat_loss_under_strong_noise_may_have_fallen_unseen(noise: float, unmoved: bool) -> None:
    builder = healthy().no_eval().losses(2.0 * np.exp(noise * np.tile([1.0, -1.0, -1.0, 1.0], 50)))
    assert severities(builder, "UND002") == ["error"] * unmoved
    if not unmoved:
        assert reason(builder, "UND002") == "the loss is too noisy to tell"


def test_a_fall_by_a_seventh_that_noise_could_make_is_not_called_unmoved() -> None:
    builder = flat(2.0)
    noisy = 2.0 * np.exp(0.4 * np.tile([1.0, -1.0, -1.0, 1.0], 50) - np.where(np.arange(200) > 60, 0.14, 0.0))
    assert reason(builder.losses(noisy), "UND002") == "the loss is too noisy to tell"
    assert severities(builder.losses(noisy * np.where(np.arange(200) > 60, np.exp(0.14), 1.0)), "UND002") == ["error"]


@pytest.mark.parametrize("unit", [1.0, 1 / np.log(2)], ids=["nats", "bits"])
def test_a_net_that_ends_at_the_loss_of_a_guess_has_learned_nothing(unit: float) -> None:
    """Its first losses lie above: a guess with random confidence."""
    guess = flat(np.log(10) * unit)
    start = np.where(np.arange(200) < 20, 1.05, 1.0)
    assert severities(guess.losses(guess.train * start), "UND002") == ["error"]
    assert found(guess.losses(guess.train * start).hyperparameters(method="sft"), "UND002") == []
    assert found(guess.losses(guess.train * start * 0.85, guess.eval * 0.85), "UND002") == []


def unmoved(**known: Any) -> RunBuilder:
    """A flat loss whose evaluations do not change either."""
    builder = flat(2.0, **known)
    return builder.losses(evals=2.0 + 1e-5 * np.arange(20))


@pytest.mark.parametrize(
    ("builder", "cause"),
    [
        (flat(2.0, learning_rate=1e-7), "lr_too_low"),
        (flat(2.0, learning_rate=1e-7, method="lora"), "lr_too_low"),
        (flat(2.0, learning_rate=1e-3), "frozen_parameters"),
        (unmoved(learning_rate=1e-3), "frozen_parameters"),
        (unmoved(), "frozen_parameters"),
        (flat(2.0, learning_rate=0.05), "lr_too_high"),
        (unmoved(learning_rate=0.05), "frozen_parameters"),
        (flat(2.0, learning_rate=1e-3).metric("grad_norm", 0.0), "frozen_parameters"),
    ],
    ids=["low", "low for an adapter", "usual", "usual and unmoved", "unmoved", "high", "high and unmoved", "no gradient"],
)
def test_the_reason_of_a_flat_loss_is_told_by_the_rate_and_by_whether_the_weights_move(builder: RunBuilder, cause: str) -> None:
    assert blamed(builder, "UND002")[0] == cause


def test_evaluations_that_jump_at_a_flat_loss_come_from_steps_that_are_too_long() -> None:
    builder = flat(2.0, learning_rate=1e-3)
    jumping = builder.losses(evals=builder.eval * np.exp(0.02 * np.random.default_rng(1).standard_normal(20)))
    assert blamed(jumping, "UND002")[0] == "lr_too_high"


@pytest.mark.parametrize(("idle", "cause"), [(0.5, "schedule_bug"), (0.2, "frozen_parameters")])
def test_a_rate_of_zero_for_a_good_part_of_the_run_explains_a_flat_loss(idle: float, cause: str) -> None:
    rate = np.where(np.arange(200) < 200 * (1 - idle), 1e-3, 0.0)
    assert blamed(flat(2.0, learning_rate=1e-3).metric("lr", rate), "UND002")[0] == cause


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


@pytest.mark.parametrize(("known", "code"), [({"lora_rank": 1}, "UND004"), ({"weight_decay": 3.0}, "UND005")], ids=["rank", "decay"])
def test_too_few_evaluations_leave_the_training_loss_to_judge_by(known: dict[str, float], code: str) -> None:
    assert [finding.metric for finding in found(healthy(evals=4).hyperparameters(**known), code)] == ["train/loss"]
    assert [finding.metric for finding in found(healthy(evals=5).hyperparameters(**known), code)] == ["eval/loss"]
    assert reason(healthy(n=4, evals=4).hyperparameters(**known), code) == "needs 5 points of a loss"


def narrow(base: RunBuilder | None = None, **config: Any) -> Run:
    """A run with a configuration, ``model__width=2`` for the key ``model.width``."""
    return (base or healthy().plateau(at=0.1)).run(config={key.replace("__", "."): Hyperparameter(value) for key, value in config.items()})


def test_hidden_layers_of_a_few_units_are_a_bottleneck() -> None:
    run = narrow(model__hidden=3)
    (finding,) = found(run, "UND007")
    assert finding.severity == "warning"
    assert finding.evidence["hidden_width"] == 3
    assert diagnosed(run).causes[0].cause == "capacity_too_low"
    assert diagnosed(run).verdict in ("PLATEAU", "UNDERFIT")


@pytest.mark.parametrize(
    ("config", "fires"),
    [
        ({"hidden_size": 4}, True),
        ({"net__width": 2}, True),
        ({"model__hidden": [64, 2, 64]}, True),
        ({"hidden_size": 5}, False),
        ({"model__hidden": [64, 64]}, False),
        ({"model__hidden": 0}, False),
        ({"model__hidden": True}, False),
        ({"image__width": 2}, False),
        ({"model__layers": 2}, False),
    ],
    ids=str,
)
def test_only_the_width_of_the_models_own_layers_counts(config: dict[str, Any], fires: bool) -> None:
    assert bool(found(narrow(**config), "UND007")) is fires


def test_a_model_that_fits_its_data_is_wide_enough() -> None:
    assert found(narrow(healthy(offset=0.5), model__hidden=2), "UND007") == []
    assert found(narrow(healthy().nan(), model__hidden=2), "UND007") == []


def test_a_width_is_judged_by_the_training_loss_where_there_are_few_evaluations() -> None:
    few = healthy(evals=4).plateau(at=0.1)
    assert [finding.metric for finding in found(narrow(few, model__hidden=2), "UND007")] == ["train/loss"]
    apart = few.losses(evals=few.eval * np.exp(0.5))
    assert len(found(narrow(apart, model__hidden=2), "UND007")) == 1, "a training loss has no gap to itself"


def test_without_a_width_nothing_is_known_of_it() -> None:
    assert reason(healthy(), "UND007") == "no width of the hidden layers is configured"
    assert reason(narrow(healthy(n=4).no_eval(), model__hidden=2), "UND007") == "needs 5 points of a loss"


def barely(
    fall: float = 0.12,
    *,
    gap: float = 0.01,
    noise: float = 0.02,
    n: int = 200,
    evals: int = 12,
    epochs: float = 8.0,
    config: dict[str, Any] | None = None,
    rows: Any = 1.0,
    **known: Any,
) -> Run:
    """A small net: the losses fall by ``fall`` (log units) over four fifths of the run, the evaluation loss lies ``gap`` above."""
    builder = healthy(n=n, evals=evals, epochs=epochs).lr("constant", peak=2e-4, warmup=0.1)
    random = np.random.default_rng(0)
    train, level = (2.35 * np.exp(-fall * np.minimum(step / (0.8 * builder.step[-1]), 1.0)) for step in (builder.step, builder.eval_step))
    known = {"optimizer": "sgd", "learning_rate": 2e-4, "num_epochs": epochs, **known}
    base = builder.losses(train * np.exp(noise * random.standard_normal(n)) * rows, level * np.exp(gap)).hyperparameters(**known)
    layers = {"model.hidden": 48, "model.layers": 3, "model.activation": "relu"} if config is None else config
    return base.run(config={key: Hyperparameter(value) for key, value in layers.items()})


def test_a_net_that_fits_its_own_data_no_better_than_others_has_hardly_been_trained() -> None:
    (finding,) = found(barely(), "UND008")
    assert finding.severity == "warning"
    assert finding.metric == "train/loss"
    assert finding.evidence["fall"] == pytest.approx(0.12, abs=0.02)
    assert finding.evidence["generalization_gap"] == pytest.approx(0.01, abs=0.01)
    verdict = diagnosed(barely())
    assert (verdict.verdict, verdict.causes[0].cause) == ("UNDERFIT", "lr_too_low")


@pytest.mark.parametrize(
    ("run", "fires"),
    [
        (barely(0.07), True),
        (barely(0.03), False),
        (barely(0.26), True),
        (barely(0.35), False),
        (barely(0.22, noise=0.2), False),
        (barely(gap=0.05, noise=0.005), True),
        (barely(gap=0.07, noise=0.005), False),
        (barely(gap=-0.2), True),
        (barely(dropout=0.3), True),
        (barely(dropout=0.4), False),
        (barely(epochs=2.6), True),
        (barely(epochs=2.4), False),
        (barely(n=20), True),
        (barely(evals=4), True),
    ],
    ids=[
        "moved",
        "did not move",
        "fell by less than a quarter",
        "fell by more",
        "may have, under the noise",
        "no gap",
        "a gap has opened",
        "below the training loss",
        "little dropout",
        "much dropout",
        "enough epochs",
        "too few epochs",
        "enough rows",
        "enough evaluations",
    ],
)
def test_only_a_small_fall_without_a_gap_after_some_epochs_is_hardly_a_fit(run: Run, fires: bool) -> None:
    assert bool(found(run, "UND008")) is fires


@pytest.mark.parametrize(("high", "low", "fires"), [(3, 200, True), (6, 200, False), (0, 186, True), (0, 180, False)])
def test_the_fall_is_measured_from_the_first_rows_to_the_last_sixth(high: int, low: int, fires: bool) -> None:
    index = np.arange(200)
    run = barely(gap=-0.2, rows=np.where(index < high, 1.4, 1.0) * np.where(index >= low, 1 / 1.4, 1.0))
    assert bool(found(run, "UND008")) is fires


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (barely(config={}), "not known to be a net trained from scratch"),
        (barely(method="sft"), "not known to be a net trained from scratch"),
        (barely(epochs=2.4), "fewer than 2.5 epochs, or much dropout: no gap is to be expected"),
        (barely(rows=np.where(np.arange(200) == 50, np.nan, 1.0)), "the losses cannot be compared"),
        (barely(n=19), "needs 20 points of train/loss, has 19"),
        (barely(evals=3), "needs 4 evaluations, has 3"),
    ],
    ids=["no layers", "fine-tuning", "epochs", "NaN", "rows", "evaluations"],
)
def test_a_fit_that_cannot_be_judged_has_a_reason(run: Run, why: str) -> None:
    assert reason(run, "UND008") == why


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ({"learning_rate": 0.016}, "lr_too_low"),
        ({"learning_rate": 0.018}, "frozen_parameters"),
        ({"learning_rate": 0.6}, "lr_too_high"),
        ({"learning_rate": 0.03, "dataset_size": 400, "global_batch_size": 32}, "batch_too_large"),
        ({"learning_rate": 0.03, "dataset_size": 800, "global_batch_size": 32}, "frozen_parameters"),
        ({"config": {"model.hidden": 48, "model.layers": 5, "model.activation": "sigmoid"}}, "vanishing_gradients"),
        ({"config": {"model.hidden": 48, "model.layers": 4, "model.activation": "sigmoid"}}, "lr_too_low"),
    ],
    ids=["low", "usual", "high", "few updates", "updates enough", "deep", "not deep"],
)
def test_why_a_net_hardly_fits_is_read_from_the_configuration(known: dict[str, Any], cause: str) -> None:
    (finding,) = found(barely(**known), "UND008")
    assert max(finding.causes, key=lambda name: finding.causes[name]) == cause
