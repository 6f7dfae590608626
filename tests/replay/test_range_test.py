"""The range test on real models: what it trains with, and that it leaves everything as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diag.errors import UsageError
from diag.replay import Probe
from diag.replay.guard import ProbeError
from diag.replay.range_rules import COMPLETE, DIVERGED, NOT_FINITE
from diag.replay.range_test import HIGHEST, LOWEST, limits, range_test, same_bits, same_model, same_optimizer, same_randomness, sweep
from diag.run import Hyperparameter, Run

Function = Callable[[Mapping[str, Any], int], Probe]

RATES = np.geomspace(1e-6, 1.0, 60)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def points(seed: int = 0, count: int = 1024) -> tuple[Tensor, Tensor]:
    """Points of four well-separated classes."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 4, (count,), generator=draw)
    centre = torch.randn(4, 12, generator=torch.Generator().manual_seed(9)) * 1.5
    return centre[label] + torch.randn(count, 12, generator=draw), label


def in_batches(places: Tensor, size: int = 32) -> list[Tensor]:
    return list(places.reshape(-1, size))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 4))


def cross_entropy(model: nn.Module, batch: Tensor) -> Tensor:
    x, y = points()
    return functional.cross_entropy(model(x[batch]), y[batch])


def classifier(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
    shuffle = torch.Generator().manual_seed(seed)
    return Probe(network(), lambda: in_batches(torch.randperm(1024, generator=shuffle)), cross_entropy)


def of(model: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor] = cross_entropy, **rest: Any) -> Function:
    """A probe function that gives the same model each time."""
    return lambda hyperparameters, seed: Probe(model, lambda: in_batches(torch.arange(1024)), loss, **rest)


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model: nn.Module, before: dict[str, Tensor]) -> None:
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(same_bits(now[name], value) for name, value in before.items())


def run_of(**hyperparameters: Any) -> Run:
    known = {name: Hyperparameter(value, "user") for name, value in hyperparameters.items()}
    return Run("run", "run", "none", {}, known)


# What it says.


def test_a_learning_rate_is_suggested() -> None:
    found = range_test(classifier, high=100.0, steps=60)
    assert found.suggestion.value is not None
    assert found.suggestion.low is not None
    assert found.suggestion.high is not None
    assert 1e-4 < found.suggestion.low <= found.suggestion.value <= found.suggestion.high < 1.0
    assert [entry.seed for entry in found.sweeps] == [0, 1, 2]
    assert len(found.library) == 3


def test_the_same_probe_gives_the_same_answer() -> None:
    one, other = range_test(classifier, steps=40, orders=2), range_test(classifier, steps=40, orders=2)
    assert one.suggestion == other.suggestion
    for a, b in zip(one.sweeps, other.sweeps, strict=True):
        assert a.losses.tobytes() == b.losses.tobytes()
        assert a.untrained.tobytes() == b.untrained.tobytes()


def test_a_model_that_cannot_learn_is_inconclusive() -> None:
    def shuffled(model: nn.Module, batch: Tensor) -> Tensor:
        return functional.cross_entropy(0 * model(points()[0][batch]), points(1)[1][batch])

    found = range_test(of(network(), shuffled), steps=40, orders=2)
    assert found.suggestion.value is None
    assert "noise" in found.suggestion.refusal


def test_a_sweep_that_ends_too_low_is_inconclusive() -> None:
    found = range_test(classifier, low=1e-5, high=1e-3, steps=60, orders=3)
    assert found.suggestion.value is None
    assert "further up" in found.suggestion.refusal


@pytest.mark.parametrize(
    ("method", "low", "high"), [("sft", 1e-7, 3e-3), ("lora", 1e-6, 3e-2), ("pretraining", 1e-6, 0.1), (None, LOWEST, HIGHEST)]
)
def test_the_method_of_the_run_narrows_the_sweep(method: str | None, low: float, high: float) -> None:
    assert limits(run_of(method=method)) == pytest.approx((low, high))


def test_the_guides_and_the_runs_own_rate_stand_beside_the_curve() -> None:
    found = range_test(classifier, run_of(method="lora", learning_rate=1e-3, seed=7), low=1e-6, high=1.0, steps=40, orders=1)
    assert found.guides is not None
    assert found.guides.clip_low < found.guides.start < found.guides.clip_high
    assert (found.method, found.recorded, found.sweeps[0].seed) == ("lora", 1e-3, 7)


@pytest.mark.parametrize(
    "wrong", [{"low": 0.0}, {"low": -1.0}, {"high": math.inf}, {"low": math.nan}, {"low": 1e-3, "high": 5e-3}, {"steps": 10}, {"orders": 0}]
)
def test_a_range_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        range_test(classifier, **wrong)


# What it trains with.


class Recorder(torch.optim.SGD):
    """Plain SGD that remembers the rates of its groups and the norm of what it was given, step by step."""

    seen: list[tuple[list[float], float]]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        weights = [parameter for group in self.param_groups for parameter in group["params"]]
        norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in weights if weight.grad is not None))
        self.seen.append(([group["lr"] for group in self.param_groups], norm))
        super().step(closure)


def recording(seen: list[tuple[list[float], float]]) -> Callable[..., Recorder]:
    def make(parameters: Any, rate: float) -> Recorder:
        made = Recorder(parameters, lr=rate)
        made.seen = seen
        return made

    return make


def test_every_group_keeps_its_share_of_the_rate() -> None:
    model, seen = network(), list[tuple[list[float], float]]()
    groups = [{"params": model[0].parameters()}, {"params": model[4].parameters(), "lr": 5e-3}]
    sweep(of(model, parameters=groups, optimizer=recording(seen)), {"learning_rate": 1e-3}, RATES, seed=0)
    assert len(seen) > 30
    for rate, (used, _) in zip(RATES, seen, strict=False):
        assert used == pytest.approx([rate, 5 * rate])


def test_gradients_are_clipped_as_in_the_run() -> None:
    seen: list[tuple[list[float], float]] = []
    sweep(of(network(), optimizer=recording(seen)), {"max_grad_norm": 0.25}, RATES, seed=0)
    assert max(norm for _, norm in seen) < 0.2501
    assert max(norm for _, norm in seen) > 0.24


def test_batches_are_accumulated_as_in_the_run() -> None:
    sizes: list[int] = []

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            sizes.append(len(batch))
        return cross_entropy(model, batch)

    sweep(of(network(), loss), {"gradient_accumulation_steps": 3}, RATES[:30], seed=0)
    assert len(sizes) == 90


def test_data_that_ends_is_read_again() -> None:
    few: Function = lambda hyperparameters, seed: Probe(network(), lambda: in_batches(torch.arange(96)), cross_entropy)  # noqa: E731
    assert sweep(few, {}, RATES, seed=0).losses.size > 30


def test_frozen_weights_are_not_trained() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = model.get_parameter("0.weight").clone()
    changed: list[bool] = []

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        changed.append(not torch.equal(model.get_parameter("0.weight"), before))
        return cross_entropy(model, batch)

    sweep(of(model, loss), {}, RATES, seed=0)
    assert not any(changed)
    assert not model.get_parameter("0.weight").requires_grad
    assert model.get_parameter("4.weight").requires_grad


def test_the_untrained_loss_is_that_of_the_first_weights_on_the_same_batch() -> None:
    model = nn.Sequential(nn.Linear(12, 4))
    found = sweep(of(model), {}, RATES, seed=0)
    batches = in_batches(torch.arange(1024))
    with torch.no_grad():
        expected = [float(cross_entropy(model, batches[i % 32])) for i in range(found.losses.size)]
    assert found.untrained == pytest.approx(expected)
    assert found.losses[0] == pytest.approx(expected[0])
    assert found.losses[30] < expected[30]


# How it ends.


def test_it_ends_when_the_loss_is_out_of_bounds() -> None:
    found = sweep(of(nn.Sequential(nn.Linear(12, 4))), {"optimizer": "sgd"}, np.geomspace(1e-4, 1e6, 60), seed=0)
    assert found.ended in (DIVERGED, NOT_FINITE)
    assert found.losses.size < 60
    assert np.isfinite(found.losses).all()


def test_it_ends_where_the_loss_is_nan() -> None:
    calls = iter(range(10_000))

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        value = cross_entropy(model, batch)
        return value * math.nan if torch.is_grad_enabled() and next(calls) == 40 else value

    found = sweep(of(network(), loss), {}, RATES, seed=0)
    assert (found.ended, found.losses.size) == (NOT_FINITE, 40)


def test_a_loss_that_is_nan_from_the_start_is_said() -> None:
    with pytest.raises(ProbeError, match="first batch"):
        sweep(of(network(), lambda model, batch: cross_entropy(model, batch) * math.nan), {}, RATES, seed=0)


def test_a_probe_that_raises_is_said_and_its_model_put_back() -> None:
    model = network()
    before = bits(model)
    calls = iter(range(10_000))

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        if next(calls) == 50:
            raise RuntimeError("no more")
        return cross_entropy(model, batch)

    with pytest.raises(ProbeError, match="no more"):
        sweep(of(model, loss), {}, RATES, seed=0)
    assert_unchanged(model, before)


# What it leaves behind: nothing.


def test_the_model_is_put_back_bit_by_bit() -> None:
    model = network().eval()
    model[3].train()
    with torch.no_grad():
        model.get_parameter("4.bias")[0] = -0.0
    model.get_parameter("0.weight").grad = torch.full_like(model.get_parameter("0.weight"), 3.0)
    kept = model.get_parameter("0.weight").grad
    before = bits(model)
    found = sweep(of(model), {"weight_decay": 0.1}, RATES, seed=0)
    assert found.losses.min() < found.losses[0] - 0.3
    assert_unchanged(model, before)
    assert math.copysign(1.0, float(model.get_parameter("4.bias")[0].detach())) == -1.0
    assert [module.training for module in model] == [False, False, False, True, False]
    assert model.get_parameter("0.weight").grad is kept
    assert kept is not None
    assert torch.equal(kept, torch.full_like(kept, 3.0))
    assert model.get_parameter("4.weight").grad is None


def test_a_model_of_nans_and_whole_numbers_is_put_back() -> None:
    model = network()
    model.register_buffer("counts", torch.tensor(7))
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = math.nan
    before = bits(model)
    with same_model(model), torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    assert_unchanged(model, before)


def test_a_model_that_cannot_be_put_back_is_said() -> None:
    model = nn.Linear(3, 3)
    with pytest.raises(ProbeError, match="weight"), same_model(model):
        model.weight = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))


def test_an_optimizer_that_lives_on_is_put_back() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model, torch.arange(32)))
        optimizer.step()
    optimizer.zero_grad()
    before = {key: value.clone() for key, value in optimizer.state[model.get_parameter("0.weight")].items()}
    sweep(of(model, optimizer=lambda parameters, rate: optimizer), {"learning_rate": 1e-3}, RATES, seed=0)
    after = optimizer.state[model.get_parameter("0.weight")]
    assert all(same_bits(after[key], value) for key, value in before.items())
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_options_that_a_step_adds_to_a_group_are_taken_away() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1)
    with same_optimizer(optimizer):
        optimizer.param_groups[0]["new"] = 1
        optimizer.param_groups[0]["lr"] = 5.0
    assert "new" not in optimizer.param_groups[0]
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_the_random_streams_are_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.random()), random.random()

    with same_randomness():
        expected = draw()
    range_test(classifier, steps=30, orders=1)
    assert draw() == expected


def test_settings_of_torch_are_put_back() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    range_test(classifier, steps=30, orders=1)
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before


def test_a_batch_of_a_training_is_not_asked_for_more_than_needed() -> None:
    given: list[int] = []

    def batches() -> Iterator[Tensor]:
        for batch in in_batches(torch.arange(1024 * 4).remainder(1024)):
            given.append(1)
            yield batch

    found = sweep(lambda hyperparameters, seed: Probe(network(), batches, cross_entropy), {}, RATES, seed=0)
    assert found.ended == COMPLETE
    assert len(given) == RATES.size
