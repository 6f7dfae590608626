"""What is drawn from the curves where no config says it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diag.inference import infer, last_epoch, read_schedule, steps_per_epoch
from diag.run import Curve, FloatArray, Hyperparameter, Run


def curve(step: Any, value: Any, epoch: Any = None) -> Curve:
    steps = np.asarray(step, dtype=np.int64)
    blank = np.full(steps.shape, np.nan)
    return Curve(steps, np.asarray(value, dtype=np.float64), blank if epoch is None else np.asarray(epoch, dtype=np.float64), blank)


def run_of(curves: dict[str, Curve], *, planned: int | None = None, **known: Any) -> Run:
    entries = {name: Hyperparameter(value, "file", "config.yaml", 1, name) for name, value in known.items()}
    return Run("run", "run", "csv", curves, hyperparameters=entries, planned_steps=planned)


def note(run: Run, name: str) -> str:
    entry = run.hyperparameters[name]
    assert entry.kind == "inferred"
    return entry.note


def scheduled(name: str, peak: float, warmup: int, total: int, **kwargs: Any) -> FloatArray:
    """Learning rates of a Hugging Face schedule, the one of step s at index s - 1, as its Trainer logs them."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=kwargs)
    rates = []
    for _ in range(total):
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize(
    ("name", "warmup", "kwargs", "shape"),
    [
        ("linear", 0, {}, "linear"),
        ("linear", 40, {}, "linear"),
        ("cosine", 0, {}, "cosine"),
        ("cosine", 40, {}, "cosine"),
        ("cosine_with_min_lr", 40, {"min_lr": 1e-5}, "cosine"),
        ("constant", 0, {}, "constant"),
        ("constant_with_warmup", 40, {}, "constant_with_warmup"),
        ("inverse_sqrt", 40, {"timescale": 40}, "inverse_sqrt"),
        ("warmup_stable_decay", 40, {"num_decay_steps": 80, "min_lr_ratio": 0.0}, "warmup_stable_decay"),
    ],
)
def test_schedules_of_the_trainer_are_recognised(name: str, warmup: int, kwargs: dict[str, Any], shape: str, every: int) -> None:
    peak, total = 1e-4, 400
    rates = scheduled(name, peak, warmup, total, **kwargs)
    steps = np.arange(1, total + 1)
    run = run_of({"lr": curve(steps[every - 1 :: every], rates[every - 1 :: every])}, planned=total)
    infer(run)
    assert run.hyperparameter("lr_scheduler") == shape
    assert run.hyperparameter("learning_rate") == pytest.approx(peak, rel=0.05)
    assert note(run, "learning_rate") == "the peak of the logged learning rate"
    if warmup:
        assert run.hyperparameter("warmup_steps") == pytest.approx(warmup, abs=max(2, every / 2))
    elif every == 1:
        assert run.hyperparameter("warmup_steps") == 0
    if "min_lr" in kwargs:
        assert run.hyperparameter("min_lr") == pytest.approx(1e-5, rel=0.01)
    else:
        assert name == "inverse_sqrt" or "min_lr" not in run.hyperparameters


def test_peak_is_not_the_last_value() -> None:
    run = run_of({"lr": curve([10, 20, 30, 40], [1e-4, 2e-4, 1e-4, 0.0])})
    infer(run)
    assert run.hyperparameter("learning_rate") == 2e-4


def test_a_learning_rate_of_zero_throughout_is_known() -> None:
    run = run_of({"lr": curve([10, 20, 30], [0.0, 0.0, 0.0])})
    infer(run)
    assert run.hyperparameter("learning_rate") == 0.0


def test_a_schedule_that_never_stops_rising_has_no_shape() -> None:
    schedule = read_schedule(curve(range(1, 101), np.arange(1, 101) * 1e-6))
    assert schedule is not None
    assert (schedule.shape, schedule.floor) == (None, None)


def test_steps_schedule() -> None:
    schedule = read_schedule(curve(range(100), [0.1] * 60 + [0.01] * 40))
    assert schedule is not None and schedule.shape == "step"


@given(
    st.floats(1e-8, 1.0),
    st.integers(20, 2000),
    st.floats(0.0, 0.9),
    st.sampled_from(["linear", "cosine"]),
    st.floats(0.4, 1.0),
)
@settings(max_examples=100, deadline=None)
def test_cut_off_schedules_keep_their_shape(peak: float, total: int, floor: float, shape: str, seen: float) -> None:
    assume(seen * total >= 20)
    time = np.arange(1, int(total * seen) + 1) / total
    share = 1.0 - time if shape == "linear" else 0.5 * (1.0 + np.cos(np.pi * time))
    rate = peak * (floor + (1.0 - floor) * share)
    found = read_schedule(curve(np.arange(1, rate.size + 1), rate))
    assert found is not None
    fall = float(np.ptp(rate)) / peak
    # A short piece of a cosine near its middle is a line to within the tolerance.
    assert found.shape in ({shape, "linear"} if fall < 0.7 or seen < 0.9 else {shape})
    assert found.peak == rate.max()


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(allow_nan=True, allow_infinity=True)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_curve_is_survived(points: list[tuple[int, float]]) -> None:
    steps = np.cumsum([1 + gap for gap, _ in points], dtype=np.int64)
    values = [value for _, value in points]
    run = run_of(
        {"lr": curve(steps, values), "train/loss": curve(steps, values, values), "eval/loss": curve(steps, values)}, micro_batch_size=4
    )
    with np.errstate(all="ignore"):
        infer(run)
    for entry in run.hyperparameters.values():
        assert not isinstance(entry.value, float) or math.isfinite(entry.value)
    before = dict(run.hyperparameters)
    with np.errstate(all="ignore"):
        infer(run)
    assert run.hyperparameters == before


def test_sizes_from_fractional_epochs() -> None:
    steps = np.arange(10, 301, 10)
    run = run_of(
        {"train/loss": curve(steps, np.ones(30), steps / 100), "eval/loss": curve([100, 200, 300], [1, 1, 1])},
        planned=300,
        micro_batch_size=4,
        gradient_accumulation_steps=2,
    )
    infer(run)
    assert steps_per_epoch(run) == pytest.approx(100)
    expected = {
        "global_batch_size": 8,
        "dataset_size": 800,
        "num_epochs": 3.0,
        "max_steps": 300,
        "eval_steps": 100.0,
        "logging_steps": 10.0,
    }
    assert {name: run.hyperparameter(name) for name in expected} == expected
    assert note(run, "global_batch_size") == "micro_batch_size x gradient_accumulation_steps x world_size (world_size taken as 1)"
    assert note(run, "dataset_size") == "the logged steps an epoch x global_batch_size (world_size taken as 1)"


def test_whole_epochs_that_count_from_zero() -> None:
    steps = np.arange(1, 401)
    run = run_of({"train/loss": curve(steps, np.ones(400), (steps - 1) // 100)})
    infer(run)
    assert steps_per_epoch(run) == 100
    assert last_epoch(run) == 4
    assert run.hyperparameter("num_epochs") == 4


def test_an_evaluation_before_the_start_is_not_an_epoch() -> None:
    run = run_of({"eval/loss": curve([0, 100, 200, 300], [4, 3, 2, 1], [0, 1, 2, 3])})
    assert last_epoch(run) == 3


def test_number_of_processes_from_the_steps_an_epoch_takes() -> None:
    steps = np.arange(10, 501, 10)
    run = run_of(
        {"train/loss": curve(steps, np.ones(50), steps / 250)}, micro_batch_size=4, gradient_accumulation_steps=1, dataset_size=8000
    )
    infer(run)
    assert run.hyperparameter("world_size") == 8
    assert run.hyperparameter("global_batch_size") == 32
    assert note(run, "global_batch_size") == "micro_batch_size x gradient_accumulation_steps x world_size"


def test_a_log_that_counts_epochs_says_nothing_of_sizes() -> None:
    epochs = np.arange(1, 21)
    run = run_of({"train/loss": curve(epochs, np.ones(20), epochs)}, micro_batch_size=32)
    infer(run)
    assert "dataset_size" not in run.hyperparameters
    assert run.hyperparameter("num_epochs") == 20


def test_warmup_ratio_becomes_steps() -> None:
    run = run_of({}, warmup_ratio=0.1, num_epochs=4.0, dataset_size=1000, global_batch_size=16)
    infer(run)
    assert (run.hyperparameter("max_steps"), run.hyperparameter("warmup_steps")) == (252, 26.0)
    assert note(run, "warmup_steps") == "warmup_ratio x max_steps"


def test_what_is_known_is_never_replaced_and_clipping_never_inferred() -> None:
    run = run_of(
        {"lr": curve(range(1, 101), np.linspace(1e-3, 0, 100)), "grad_norm": curve(range(1, 101), np.ones(100))},
        learning_rate=5e-3,
        lr_scheduler="x",
    )
    infer(run)
    assert (run.hyperparameter("learning_rate"), run.hyperparameter("lr_scheduler")) == (5e-3, "x")
    assert "max_grad_norm" not in run.hyperparameters


def test_planned_steps_come_from_the_config_not_from_a_guess() -> None:
    configured, guessed = run_of({}, max_steps=500), run_of({"train/loss": curve([1, 2, 3], [1, 1, 1])})
    infer(configured)
    infer(guessed)
    assert configured.planned_steps == 500
    assert (guessed.planned_steps, guessed.hyperparameter("max_steps")) == (None, 3)


@pytest.mark.parametrize(("first", "known"), [(1, True), (20, True), (21, False), (100, False)])
@pytest.mark.parametrize("factor", [1, 10])
def test_no_warmup_is_known_where_none_could_hide_before_the_first_row(first: int, known: bool, factor: int) -> None:
    steps = np.linspace(first, 1000, 50).astype(np.int64)
    schedule = read_schedule(curve(steps * factor, 1e-4 * (1 - steps / 1001)))
    assert schedule is not None
    assert schedule.warmup_steps == (0 if known else None)
