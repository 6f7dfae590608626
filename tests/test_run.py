"""The common frame: curves from rows in any order, and the long table made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.run import Column, Curve, Hyperparameter, Run, make_curve, make_curves

steps = st.lists(st.integers(-5, 60), max_size=40)
unique_rows = st.lists(st.tuples(st.integers(0, 10_000), st.floats(allow_nan=True)), max_size=60, unique_by=lambda row: row[0])


def points(curve: Curve) -> list[tuple[int, float]]:
    return list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))


@given(steps)
def test_a_curve_is_sorted_and_has_one_value_a_step(step: list[int]) -> None:
    curve, _ = make_curve(Column(step, list(range(len(step)))))
    assert (np.diff(curve.step) > 0).all()
    assert len(curve) == curve.value.size == curve.epoch.size == curve.wall_time.size
    assert set(curve.step.tolist()) <= set(step)


@given(steps)
def test_every_value_was_logged_at_its_step_and_the_newest_wins(step: list[int]) -> None:
    curve, _ = make_curve(Column(step, list(range(len(step)))))
    newest = {s: row for row, s in enumerate(step)}
    assert all(newest[s] == row for s, row in points(curve))


@given(unique_rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_curve_of_a_shuffled_log(rows: list[tuple[int, float]], random: object) -> None:
    ordered = sorted(rows)
    expected, jumps = make_curve(Column([s for s, _ in ordered], [v for _, v in ordered]))
    assert jumps == []
    assert expected.step.tolist() == [s for s, _ in ordered]
    backwards, _ = make_curve(Column([s for s, _ in ordered[::-1]], [v for _, v in ordered[::-1]]))
    if len(rows) > 2:  # more than a fifth of the rows step backwards
        np.testing.assert_array_equal(backwards.step, expected.step)
        np.testing.assert_array_equal(backwards.value, expected.value)


def test_a_resume_drops_what_the_earlier_launch_logged_beyond_it() -> None:
    first = list(range(1, 21))
    second = list(range(11, 26, 2))
    curve, jumps = make_curve(Column(first + second, [1.0] * 20 + [2.0] * 8))
    assert jumps == [(20, 11)]
    assert curve.step.tolist() == list(range(1, 11)) + second
    assert curve.value.tolist() == [1.0] * 10 + [2.0] * 8


def test_a_repeated_step_keeps_the_last_row() -> None:
    curve, jumps = make_curve(Column([1, 2, 2, 3], [1.0, 2.0, 20.0, 3.0]))
    assert points(curve) == [(1, 1.0), (2, 20.0), (3, 3.0)]
    assert jumps == []


def test_epochs_and_times_follow_their_rows() -> None:
    curve, _ = make_curve(Column([3, 2, 1], [30.0, 20.0, 10.0], epoch=[0.3, 0.2, 0.1], wall_time=[103.0, 102.0, 101.0]))
    assert curve.epoch.tolist() == [0.1, 0.2, 0.3]
    assert curve.wall_time.tolist() == [101.0, 102.0, 103.0]


def test_lengths_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 steps but 1 values"):
        make_curve(Column([1, 2], [1.0]))


def test_curves_take_their_canonical_names_and_report_overlaps() -> None:
    step = [*range(1, 11), 5, 6]
    columns = {"loss": Column(step, [1.0] * 12), "odd": Column([1], [2.0]), "empty": Column([], [])}
    curves, overlaps, natives = make_curves(columns, [("loss", "train/loss"), ("odd", "odd"), ("empty", "empty")])
    assert sorted(curves) == ["odd", "train/loss"]
    assert [(o.metric, o.step_from, o.step_to) for o in overlaps] == [("train/loss", 10, 5)]
    assert natives == {"train/loss": "loss", "odd": "odd"}


def test_a_shuffled_file_loses_no_evaluation() -> None:
    step, evaluated = np.random.default_rng(0).permutation(np.arange(1, 61)).tolist(), [10, 40, 20, 30]
    assert make_curve(Column(evaluated, [1.0] * 4))[1] == [(40, 20)]  # alone, four rows with a step back look like a resume
    columns = {"loss": Column(step, [1.0] * 60), "eval_loss": Column(evaluated, [1.0] * 4)}
    curves, overlaps, _ = make_curves(columns, [("loss", "train/loss"), ("eval_loss", "eval/loss")])
    assert curves["train/loss"].step.tolist() == list(range(1, 61))
    assert curves["eval/loss"].step.tolist() == [10, 20, 30, 40]
    assert overlaps == []


def test_few_evaluations_of_a_run_resumed_often_are_not_shuffled() -> None:
    columns = {
        "loss": Column([*range(1, 21), *range(11, 31), *range(21, 41)], [1.0] * 60),
        "eval_loss": Column([10, 20, 20, 30, 25, 40, 35], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
    }
    curves, overlaps, _ = make_curves(columns, [("loss", "train/loss"), ("eval_loss", "eval/loss")])
    assert points(curves["eval/loss"]) == [(10, 1.0), (20, 3.0), (25, 5.0), (35, 7.0)]
    assert [(o.metric, o.step_from, o.step_to) for o in overlaps] == [
        ("train/loss", 20, 11),
        ("train/loss", 30, 21),
        ("eval/loss", 30, 25),
        ("eval/loss", 40, 35),
    ]


def test_the_history_is_long_and_keeps_nan() -> None:
    curves = {
        "train/loss": make_curve(Column([1, 2, 3], [1.0, np.nan, np.inf], epoch=[0.1, 0.2, 0.3]))[0],
        "eval/loss": make_curve(Column([2], [0.5]))[0],
    }
    frame = Run(id="r", path="p", adapter="csv", curves=curves).history
    assert list(frame.columns) == ["step", "metric", "value", "epoch", "wall_time"]
    assert list(zip(frame["step"], frame["metric"], strict=True)) == [
        (1, "train/loss"),
        (2, "eval/loss"),
        (2, "train/loss"),
        (3, "train/loss"),
    ]
    assert frame["step"].dtype == np.int64
    assert frame["metric"].dtype.name == "category"
    assert int(frame["value"].isna().sum()) == 1
    assert np.isinf(frame["value"].iloc[-1])


def test_the_history_of_an_empty_run_is_an_empty_frame() -> None:
    frame = Run(id="r", path="p", adapter="csv", curves={}).history
    assert list(frame.columns) == ["step", "metric", "value", "epoch", "wall_time"]
    assert frame.empty


def test_what_a_run_tells() -> None:
    curves = {
        name: make_curve(Column([1, 9], [1.0, 2.0]))[0]
        for name in ("train/loss", "eval/b/loss", "eval/loss", "eval/a/loss", "eval/accuracy")
    }
    run = Run(id="r", path="p", adapter="csv", curves=curves)
    run.hyperparameters["learning_rate"] = Hyperparameter(1e-4, file="c.yaml", line=3, key="optimizer.lr")
    assert [name for name, _ in run.eval_losses()] == ["eval/loss", "eval/a/loss", "eval/b/loss"]
    assert run.steps == 9
    assert run.hyperparameter("learning_rate") == 1e-4
    assert run.hyperparameter("seed") is None
    assert run.curve("nothing") is None
    assert run.hyperparameters["learning_rate"].source == "c.yaml:3 optimizer.lr"
    assert Hyperparameter(1, kind="user").source == "given by the user"
    assert Hyperparameter(1, kind="inferred", note="the peak").source == "inferred from the peak"


def test_finite_leaves_out_nan_and_infinities() -> None:
    curve = make_curve(Column([1, 2, 3], [1.0, np.nan, np.inf]))[0]
    assert points(curve.finite()) == [(1, 1.0)]
    assert points(curve.select(curve.step > 1))[1] == (3, np.inf)
