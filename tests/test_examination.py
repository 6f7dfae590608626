"""What is derived from a run once, for several checks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from builders import RunBuilder, healthy

from diag.check import Skip
from diag.examination import Examination, generalization_gap


def examine(builder: RunBuilder) -> Examination:
    return Examination(builder.run())


def test_idle_is_the_end_of_the_run_at_a_learning_rate_of_zero() -> None:
    rate = np.where(np.arange(200) < 120, 1e-4, 0.0)
    assert examine(healthy().metric("lr", rate)).idle_share == pytest.approx(0.4)
    assert examine(healthy().metric("lr", rate[::-1])).idle_share == 0, "a rate of zero at the start is not at the end"
    assert examine(healthy().metric("lr", np.where(rate > 0, rate, 1e-10))).idle_share == pytest.approx(0.4)
    assert examine(healthy().metric("lr", np.where(rate > 0, rate, 1e-8))).idle_share == 0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_usual_schedule_is_hardly_idle(schedule: str) -> None:
    assert examine(healthy().lr(schedule)).idle_share < 0.01


def test_without_a_rate_above_zero_nothing_is_known_of_idleness() -> None:
    assert examine(healthy()).idle_share == 0
    assert examine(healthy().metric("lr", 0.0)).idle_share == 0


@pytest.mark.parametrize(("value", "unclipped"), [(0.0, True), (None, True), (1.0, False), (0.01, False)])
def test_clipping_is_off_where_the_configuration_says_so(value: float | None, unclipped: bool) -> None:
    assert examine(healthy().hyperparameters(max_grad_norm=value)).is_unclipped is unclipped


def test_clipping_that_nobody_configured_may_be_on() -> None:
    assert not examine(healthy()).is_unclipped


def test_how_far_the_end_lies_above_the_lowest_level() -> None:
    def above(*levels: float) -> float:
        builder = healthy(n=60).no_eval().losses(np.exp(np.repeat(levels, 10)))
        series = examine(builder).train
        assert series is not None
        return series.above_lowest

    assert above(1.0, 0.5, 0.4, 0.3, 0.2, 0.1) == 0
    assert above(1.0, 0.5, 0.2, 0.3, 0.4, 0.6) == pytest.approx(0.4)
    assert above(0.1, 0.5, 0.5, 0.5, 0.5, 0.5) == pytest.approx(0.4)


def test_the_generalization_gap_is_a_ratio_and_needs_both_losses() -> None:
    apart = examine(healthy(noise=0.0, offset=0.2))
    assert generalization_gap(apart.evals[0], apart.train) == pytest.approx(np.log(1.2), abs=0.01)
    assert generalization_gap(apart.evals[0], None) is None
    assert apart.train is not None
    assert generalization_gap(apart.train, apart.train) is None
    negative = examine(healthy(offset=0.2).losses(train=healthy().train - 5))
    assert generalization_gap(negative.evals[0], negative.train) is None


def test_progress_is_judged_by_the_first_evaluation_loss_that_is_long_enough() -> None:
    examination = examine(healthy(n=50, evals=6))
    assert examination.require_main(6).name == "eval/loss"
    assert examination.require_main(7).name == "train/loss", "too few evaluations leave the training loss"
    assert examination.require_main(50).name == "train/loss"
    with pytest.raises(Skip, match="needs 51 points of a loss"):
        examination.require_main(51)
    assert examine(healthy().no_eval()).require_main(5).name == "train/loss"


@pytest.mark.parametrize(
    ("bad", "supervised", "rewarded"),
    [
        ([], False, False),
        ([3], True, False),
        ([9], True, False),
        (range(6, 10), True, False),
        (range(5, 10), True, True),
        (range(9), True, False),
    ],
    ids=["none", "one", "the last", "the last four tenths", "the last half", "all but the last"],
)
def test_a_reward_driven_loss_is_lost_when_half_of_it_and_its_end_are(bad: Sequence[int], supervised: bool, rewarded: bool) -> None:
    builder = healthy(n=10).no_eval()
    train = builder.train.copy()
    train[list(bad)] = np.nan
    for made, lost in ((builder.losses(train), supervised), (builder.losses(train).metric("reward", 0.5), rewarded)):
        examination = examine(made)
        assert examination.is_lost(examination.run.curves["train/loss"]) is lost
