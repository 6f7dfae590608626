"""Known lies of trainers, undone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diag.adapters.repairs import repair
from diag.run import Column, Curve, Hyperparameter, Run, make_curve


def curve(values: Sequence[float], every: int = 1) -> Curve:
    return make_curve(Column([every * (i + 1) for i in range(len(values))], values))[0]


def run_with(adapter: str = "trainer_state", accumulation: int | None = None, **curves: Curve) -> Run:
    named = {name.replace("__", "/"): value for name, value in curves.items()}
    run = Run(id="r", path="p", adapter=adapter, curves=named, dialect="hf")
    if accumulation is not None:
        run.hyperparameters["gradient_accumulation_steps"] = Hyperparameter(accumulation)
    return run


def masked(run: Run) -> list[bool]:
    repair(run)
    return [bool(hidden) for hidden in np.isnan(run.curves["train/loss"].value)]


def test_zero_loss_with_a_non_finite_norm_is_nan() -> None:
    run = run_with(train__loss=curve([3, 2, 0, 0]), grad_norm=curve([1, 1, np.nan, np.inf]))
    assert masked(run) == [False, False, True, True]
    assert "2 rows from step 3" in run.notes[0]


def test_zero_loss_without_norms_is_nan_only_where_it_fell_at_once_and_stayed() -> None:
    assert masked(run_with(train__loss=curve([3, 2, 0, 0, 0]))) == [False, False, True, True, True]
    assert masked(run_with(train__loss=curve([3, 2, 0, 0, 0]), grad_norm=curve([1, 1, 0, 0, 0]))) == [False, False, True, True, True]
    assert not any(masked(run_with(train__loss=curve([3, 2, 0, 0]))))
    assert not any(masked(run_with(train__loss=curve([3, 2, 0, 0, 0, 1]))))


def test_a_loss_learnt_down_to_zero_is_left_alone() -> None:
    fading = curve([1.0, 0.1, 0.01, 0.0004, 0, 0, 0, 0])
    assert not any(masked(run_with(train__loss=fading, grad_norm=curve([1, 1, 0.1, 0.01, 0, 0, 0, 0]))))
    assert not any(masked(run_with(train__loss=fading)))
    assert not any(masked(run_with(train__loss=curve([3, 2, 0, 0, 0]), grad_norm=curve([1, 1, 0.5, 0.5, 0.5]))))


def test_reward_driven_runs_are_left_alone() -> None:
    zeros = curve([0.0, 0.0, 0.0])
    assert not any(masked(run_with(train__loss=zeros, grad_norm=curve([np.nan, 0, 0]), reward=curve([0.1, 0.2, 0.3]))))
    assert not any(masked(run_with(train__loss=zeros, grad_norm=curve([np.nan, 0, 0]), rewards__chosen=curve([0.1, 0.2, 0.3]))))


def test_a_loss_multiplied_by_the_accumulation_is_divided() -> None:
    run = run_with(accumulation=8, train__loss=curve([24, 16, 12, 8.2]), eval__loss=curve([2.0, 1.0], every=2))
    repair(run)
    assert run.curves["train/loss"].value.tolist() == [3, 2, 1.5, 1.025]
    assert "divided by 8" in run.notes[0]


def test_an_accumulation_that_does_not_explain_the_ratio_changes_nothing() -> None:
    for accumulation, evals in ((8, [1.9, 1.5]), (1, [0.2, 0.1]), (4, [0.25, 0.125])):
        run = run_with(accumulation=accumulation, train__loss=curve([3, 2, 1.5, 1.0]), eval__loss=curve(evals, every=2))
        repair(run)
        assert run.curves["train/loss"].value.tolist() == [3, 2, 1.5, 1.0]
        assert run.notes == []


def test_an_unknown_accumulation_is_believed_only_where_every_evaluation_agrees() -> None:
    train = [16.1, 12, 9.9, 8.2, 7.9, 7.2]
    agreed = run_with(train__loss=curve(train), eval__loss=curve([3.0, 2.0, 1.8], every=2))
    repair(agreed)
    assert agreed.curves["train/loss"].value[1] == 3.0
    once = run_with(train__loss=curve(train), eval__loss=curve([3.0, 1.0, 1.8], every=2))
    repair(once)
    assert once.notes == []


def test_the_parts_of_a_loss_are_added_where_no_plain_one_was_logged() -> None:
    parts = {"train/box_loss": curve([1, 2, 3]), "train/cls_loss": curve([10, 20]), "val/box_loss": curve([4]), "val/cls_loss": curve([5])}
    run = Run(id="r", path="p", adapter="csv", curves=parts)
    repair(run)
    assert run.curves["train/loss"].value.tolist() == [11, 22]
    assert run.curves["eval/loss"].value.tolist() == [9]
    assert "train/loss is the sum of train/box_loss, train/cls_loss" in run.notes
