from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from diag.replay.guard import ProbeError
from diag.replay.probe import Probe
from diag.replay.schedule import Schedule
from diag.replay.trainer import NOT_FINITE, OUT_OF_TIME, Trained
from diag.replay.training import planned_steps, to_device, train

Function = Callable[[Mapping[str, Any], int], Probe]
HYPERPARAMETERS = {"learning_rate": 0.01, "lr_scheduler": "cosine", "warmup_steps": 5, "micro_batch_size": 16, "optimizer": "adamw"}


def regression(dropout: float = 0.0, **parts: Any) -> Function:
    """Linear data with noise, a small network."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        data = torch.Generator().manual_seed(0)
        x = torch.randn(256, 4, generator=data)
        y = x.sum(1, keepdim=True) + 0.1 * torch.randn(256, 1, generator=data)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        order = torch.Generator().manual_seed(seed)
        size = hyperparameters.get("micro_batch_size", 16)

        def loss(model: nn.Module, batch: Tensor) -> Tensor:
            return nn.functional.mse_loss(model(x[batch]), y[batch])

        made = {
            "model": model,
            "batches": lambda: torch.split(torch.randperm(192, generator=order), size),
            "loss": loss,
            "evaluation": lambda: torch.split(torch.arange(192, 256), 32),
        }
        return Probe(**{**made, **parts})

    return probe


def trained(function: Function | None = None, *, steps: int = 24, total: int = 96, seed: int = 0, **changes: Any) -> Trained:
    options = {key: changes.pop(key) for key in ("stop", "deadline", "stalled", "evaluations") if key in changes}
    hyperparameters = {**HYPERPARAMETERS, **changes}
    return train(function or regression(), hyperparameters, seed=seed, steps=steps, total_steps=total, **options)


def test_the_same_seed_gives_the_same_training_and_another_another() -> None:
    assert trained() == trained()
    assert trained().rows != trained(seed=1).rows


def test_a_probe_is_the_beginning_of_the_full_run() -> None:
    """The schedule is laid over the whole plan; how often it is evaluated changes nothing, dropout included."""
    short, full = trained(regression(0.3), steps=24), trained(regression(0.3), steps=96)
    for metric in ("train/loss", "lr", "grad_norm"):
        assert short.values(metric) == full.values(metric)[:24]


def test_it_learns_and_logs() -> None:
    done = trained(steps=96, learning_rate=0.03)
    evaluated = [row["step"] for row in done.rows if "eval/loss" in row]
    assert evaluated == [8 * k for k in range(1, 13)]
    assert done.loss == done.values("eval/loss")[-1] < 0.3 * done.values("eval/loss")[0]
    run = done.to_run("arm", HYPERPARAMETERS, 96)
    assert run.steps == 96
    assert set(run.curves) == {"train/loss", "eval/loss", "lr", "grad_norm"}


def test_without_held_out_batches_the_training_loss_is_compared() -> None:
    done = trained(regression(evaluation=None), steps=40)
    assert done.values("eval/loss") == []
    assert done.loss == pytest.approx(sum(done.values("train/loss")[-4:]) / 4)


def test_accumulated_micro_batches_are_one_batch() -> None:
    whole = trained(global_batch_size=32, micro_batch_size=32)
    parts = trained(global_batch_size=32, micro_batch_size=8)
    assert parts.values("train/loss") == pytest.approx(whole.values("train/loss"), rel=1e-4)
    assert parts.values("grad_norm") == pytest.approx(whole.values("grad_norm"), rel=1e-4)


def test_clipping_bounds_the_step_and_logs_the_norm_before() -> None:
    free, clipped = trained(optimizer="sgd", steps=2), trained(optimizer="sgd", steps=2, max_grad_norm=1e-9)
    assert clipped.values("grad_norm")[0] == free.values("grad_norm")[0]
    assert clipped.values("eval/loss")[0] == pytest.approx(clipped.values("eval/loss")[-1])
    assert free.values("eval/loss")[0] != pytest.approx(free.values("eval/loss")[-1])


@pytest.mark.parametrize("change", [{"weight_decay": 1.0}, {"optimizer": "sgd"}, {"optimizer": "adam", "weight_decay": 1.0}])
def test_hyperparameters_take_effect(change: dict[str, Any]) -> None:
    assert trained(**change).loss != trained().loss


def test_an_own_optimizer_keeps_the_ratios_of_its_groups() -> None:
    made: list[torch.optim.Optimizer] = []

    def optimizer(parameters: Any, rate: float) -> torch.optim.Optimizer:
        parameters = list(parameters)
        made.append(torch.optim.SGD([{"params": parameters[:1], "lr": rate / 10}, {"params": parameters[1:]}], lr=rate))
        return made[0]

    done = trained(regression(optimizer=optimizer))
    rates = [group["lr"] for group in made[0].param_groups]
    assert rates == pytest.approx([done.values("lr")[-1] / 10, done.values("lr")[-1]])


def test_a_training_that_diverges_is_a_result() -> None:
    done = trained(optimizer="sgd", learning_rate=1e6, warmup_steps=0)
    assert done.loss == math.inf
    assert done.stopped == NOT_FINITE
    assert len(done.rows) < 24


def test_stopping() -> None:
    assert trained(stop=lambda row: "enough" if row["step"] >= 10 else "").stopped == "enough"
    late = trained(deadline=time.monotonic())
    assert (late.stopped, len(late.rows)) == (OUT_OF_TIME, 1)


def test_mixed_precision_and_what_cannot_be_done_as_recorded() -> None:
    assert trained(precision="bf16").loss != trained().loss
    assert "fp16 was probed in fp32" in trained(precision="fp16").notes[0]
    assert "lion was probed with AdamW" in trained(optimizer="lion").notes[0]
    assert "reduce_lr_on_plateau" in trained(lr_scheduler="reduce_lr_on_plateau").notes[0]
    assert trained().notes == ()


def raising(message: str) -> Callable[..., Tensor]:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        raise RuntimeError(message)

    return loss


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"loss": raising("of course")}, r"the probe raised RuntimeError: of course \(test_training.py:\d+\)"),
        ({"loss": raising("CUDA out of memory. Tried")}, "ran out of memory on cpu; halve micro_batch_size"),
        ({"loss": lambda model, batch: 1.0}, r"loss\(\) returned a float, not a scalar tensor"),
        ({"loss": lambda model, batch: torch.zeros(3)}, r"a tensor of shape \(3,\)"),
        ({"loss": lambda model, batch: torch.zeros(())}, "a tensor without a gradient"),
        ({"loss": lambda model, batch: time.sleep(20)}, "the probe hangs: nothing happened for 0.5 seconds"),
        ({"evaluation": list}, r"evaluation\(\) gave no batch"),
        ({"model": nn.Linear(4, 1).requires_grad_(False)}, "no parameter of the probe's model requires a gradient"),
        ({"optimizer": lambda parameters, rate: None}, "optimizer returned a NoneType"),
    ],
)
def test_a_broken_probe_is_one_clear_line(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        trained(regression(**parts), stalled=0.5 if "hangs" in said else 60)


def test_torch_is_left_as_it_was() -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    trained()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@given(
    kind=st.sampled_from(["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay", "polynomial"]),
    total=st.integers(1, 400),
    warmup=st.integers(0, 100),
    floor=st.floats(0, 1),
)
def test_schedules_rise_to_the_peak_and_never_leave_the_band(kind: str, total: int, warmup: int, floor: float) -> None:
    schedule = Schedule(1.0, floor, kind, warmup, total)
    rates = [schedule.rate(step) for step in range(total + 1)]
    assert all(0 < rate <= 1 for rate in rates[:warmup])
    assert rates[:warmup] == sorted(rates[:warmup])
    assert all(floor - 1e-12 <= rate <= 1 + 1e-12 for rate in rates[warmup:])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if warmup < total and kind in ("linear", "cosine", "polynomial", "warmup_stable_decay"):
        assert rates[warmup] == 1
        assert rates[total] == pytest.approx(floor, abs=1e-12)


def test_the_plan() -> None:
    probe = regression()({}, 0)
    assert planned_steps(probe, {"num_epochs": 3}) == 36
    assert planned_steps(probe, {"num_epochs": 3, "gradient_accumulation_steps": 4}) == 9
    assert planned_steps(probe, {"num_epochs": 3, "max_steps": 50}) == 50
    assert planned_steps(regression(planned_steps=7)({}, 0), {"max_steps": 50}) == 7
    assert planned_steps(probe, {}) is None


def test_nested_batches_move_as_they_are() -> None:
    batch = {"x": [torch.ones(1), (torch.zeros(2), "text")], "n": 3}
    moved = to_device(batch, "meta")
    assert moved["x"][0].device.type == moved["x"][1][0].device.type == "meta"
    assert (moved["x"][1][1], moved["n"], type(moved["x"][1])) == ("text", 3, tuple)
