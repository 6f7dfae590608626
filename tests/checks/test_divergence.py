"""Divergence: what fires, and what is close to it and must not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
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


@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_only_growth_before_the_nan_speaks_for_an_explosion(unit: float) -> None:
    quiet = healthy().nan(at=0.5)
    grown = quiet.losses(np.where(np.arange(200) >= 95, 40.0, 1.0) * quiet.train)
    weights = [found(builder.losses(builder.train * unit), "DIV001")[0].causes["exploding_gradients"] for builder in (quiet, grown)]
    assert weights == [0.5, 1.5]


def test_a_nan_gradient_norm_alone_is_not_a_lost_loss() -> None:
    builder = healthy().grad_norm()
    norm = builder.other["grad_norm"].copy()
    norm[50] = np.nan
    assert found(builder.metric("grad_norm", norm), "DIV001") == []


@pytest.mark.parametrize(
    ("rows", "fires"),
    [(slice(100, None), True), (slice(101, None), False), (slice(0, 199), False), (slice(None, None, 10), False)],
    ids=["half", "less than half", "finite again", "now and then"],
)
def test_in_a_reward_driven_run_only_a_loss_that_is_mostly_lost_is_an_error(rows: slice, fires: bool) -> None:
    builder = healthy().no_eval()
    train = builder.train.copy()
    train[rows] = np.nan
    assert severities(builder.losses(train), "DIV001") == ["error"], "without a reward any of them counts"
    assert severities(builder.losses(train).metric("reward", 0.5), "DIV001") == ["error"] * fires


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


def jumping(at: float = 0.6, height: float = 3.0, rows: int = 1, noise: float = 0.02) -> RunBuilder:
    """A loss that falls steadily and then rises within some rows, for good."""
    builder = healthy(noise=noise).still_falling(rate=1.0)
    rise = np.log(height) * np.clip((np.arange(200) - 200 * at + 1) / rows, 0, 1)
    return builder.losses(builder.train * np.exp(rise), builder.eval * np.exp(np.interp(builder.eval_step, builder.step, rise)))


def blamed(builder: RunBuilder) -> str:
    (finding,) = found(builder, "DIV002")
    return max(finding.causes, key=lambda cause: finding.causes[cause])


def test_a_jump_after_a_steady_fall_at_the_same_rate_comes_from_the_data() -> None:
    constant = jumping().lr("constant", warmup=0.0)
    assert blamed(constant) == "data_corruption"
    assert blamed(constant.hyperparameters(max_grad_norm=1.0)) == "data_corruption"
    assert blamed(constant.hyperparameters(max_grad_norm=0.0)) == "gradient_clipping_missing"


@pytest.mark.parametrize(
    "builder",
    [
        jumping(rows=40).lr("constant", warmup=0.0),
        jumping(rows=10, noise=0.002).lr("constant", warmup=0.0),
        jumping(at=0.15).lr("constant", warmup=0.0),
        jumping().lr("linear", warmup=0.6),
        jumping().hyperparameters(lr_scheduler="linear", warmup_steps=700),
    ],
    ids=["slow", "within ten rows", "early", "logged warmup", "configured warmup"],
)
def test_a_rise_that_is_slow_or_follows_the_rate_comes_from_the_rate(builder: RunBuilder) -> None:
    assert blamed(builder) == "lr_too_high"


def lost(level: float, first: int = 5, noise: float = 0.02, seed: int = 0) -> RunBuilder:
    """A loss that is ``level`` times its first few rows ever after."""
    random = np.random.default_rng(seed)
    return healthy().no_eval().losses(2.0 * np.where(np.arange(200) < first, 1.0, level) * np.exp(noise * random.standard_normal(200)))


@pytest.mark.parametrize("first", [1, 3, 8])
def test_what_the_first_rows_show_of_the_initial_weights_can_be_lost(first: int) -> None:
    assert severities(lost(1.7, first), "DIV002") == ["error"]
    assert diagnosed(lost(1.7, first)).verdict == "DIVERGED"
    assert found(lost(1.1, first), "DIV002") == []


@pytest.mark.parametrize("seed", range(20))
def test_a_first_row_that_noise_put_low_shows_nothing(seed: int) -> None:
    assert found(lost(1.0, noise=0.5, seed=seed), "DIV002") == []


def test_the_best_of_many_noisy_blocks_is_low_by_luck() -> None:
    alarms = sum(bool(found(healthy(n=n, noise=0.8, seed=seed).plateau(at=0.0), "DIV002")) for n in (60, 200) for seed in range(50))
    assert alarms <= 1


def test_a_moderate_rise_is_none_while_the_evaluations_stay_at_their_best() -> None:
    builder = healthy(noise=0.02).plateau(at=0.1)
    higher = builder.train * np.exp(0.3 * np.clip(np.arange(200) / 100 - 1, 0, 0.5) / 0.5)
    staying = builder.losses(higher)
    rising = builder.losses(higher, builder.eval * np.linspace(1.0, 1.3, 20))
    assert found(staying, "DIV002") == []
    assert found(rising, "DIV002")
    assert found(staying.no_eval(), "DIV002")
    assert severities(builder.losses(higher * np.where(np.arange(200) > 120, 2.0, 1.0)), "DIV002") == ["error"]


@pytest.mark.parametrize(("height", "severity", "verdict"), [(1.35, "warning", "UNSTABLE"), (1.7, "error", "DIVERGED")])
def test_a_loss_that_had_not_fallen_has_no_progress_to_lose(height: float, severity: str, verdict: str) -> None:
    builder = lost(1.0)
    climbed = builder.losses(builder.train * np.exp(np.log(height) * np.clip(np.arange(200) / 40 - 3, 0, 1)))
    assert severities(climbed, "DIV002") == [severity]
    assert diagnosed(climbed).verdict == verdict
