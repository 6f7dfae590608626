"""The learning-rate range test: sweep the rate upwards over a few batches, and hand the model back as it was.

Every sweep trains with the probe's own batches, accumulation, parameter groups, optimizer, weight decay, clipping and precision; only the
learning rate is not its own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.errors import UsageError
from diag.guides import Band, band, default_profile
from diag.replay.fitting import Fitting, Function
from diag.replay.guard import ProbeError, Watchdog, user_code
from diag.replay.probe import Probe, settle
from diag.replay.range_rules import (
    COMPLETE,
    DIVERGED,
    NOT_FINITE,
    Answer,
    Suggestion,
    Sweep,
    answer,
    has_diverged,
    library_suggestions,
    suggest,
)
from diag.replay.training import SEED_STRIDE, Loop, deterministic, few_threads, pick_device, seed_everything, to_device
from diag.run import FloatArray, Run

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

LOWEST, HIGHEST = 1e-7, 1.0
"""The rates that are swept where nothing narrows them: below any that trains, above nearly any that lasts."""

BELOW, ABOVE = 10.0, 100.0
"""How far below and above the guides' limits for the run's method a sweep goes. The answer is a tenth of where the loss turns, and the
turn must lie inside with room to be seen."""

STEPS: Final = 100
ORDERS: Final = 3
UNKNOWN_RATE: Final = 1e-3
"""What a probe that asks for the run's own learning rate gets where there is none; it only sets the ratio of the groups' rates."""

LEAST_STEPS: Final = 30
"""Fewer steps than this leave no room for a window at each end and a curve between."""


@dataclass(frozen=True, slots=True)
class RangeTest:
    """A range test and what it says.

    Attributes:
        low, high: the first and last learning rate of the plan.
        steps: optimizer steps planned for each sweep.
        sweeps: one for each order of the data.
        answers: what the rules say of each sweep.
        suggestion: what they say together.
        library: what the rules of well-known finders say of the same sweeps, the median over them.
        guides: the guides' range for the method of the run, None where they give none.
        method: of the run, "" if unknown.
        recorded: the run's own learning rate, None if unknown.
        notes: what could not be done as the run did it.
    """

    low: float
    high: float
    steps: int
    sweeps: tuple[Sweep, ...]
    answers: tuple[Answer, ...]
    suggestion: Suggestion
    library: Mapping[str, float]
    guides: Band | None = None
    method: str = ""
    recorded: float | None = None
    notes: tuple[str, ...] = ()


def limits(run: Run | None) -> tuple[float, float]:
    """The rates to sweep for a run: around the guides' limits for its method, else LOWEST to HIGHEST."""
    found = guides(run)
    if found is None:
        return LOWEST, HIGHEST
    return max(found.clip_low / BELOW, LOWEST / 10), min(found.clip_high * ABOVE, HIGHEST)


def guides(run: Run | None) -> Band | None:
    """The guides' range of the learning rate for the method, model and data of a run."""
    if run is None:
        return None
    known = run.hyperparameter
    batch, profile = known("global_batch_size"), default_profile(run.dialect)
    return band("learning_rate", known("method"), known("dataset_size"), known("model_parameters"), profile, global_batch_size=batch)


def range_test(
    probe: Callable[[Mapping[str, Any], int], Probe],
    run: Run | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    steps: int = STEPS,
    orders: int = ORDERS,
    device: str = "auto",
    on_sweep: Callable[[int, int], None] | None = None,
) -> RangeTest:
    """Sweep the learning rate of a probe, once for each order of the data.

    Args:
        probe: what ``diag.replay.probe.load`` gives.
        run: whose hyperparameters the probe gets; None for none.
        low, high: the first and last learning rate; by default what ``limits`` says.
        steps: optimizer steps of a sweep.
        orders: sweeps, each with a seed (weights and data order) of its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        on_sweep: called after each sweep with how many are done and how many there are.

    Raises:
        UsageError: the range or a count makes no sense.
        ProbeError: the probe cannot be trained.
    """
    usual = limits(run)
    low, high = usual[0] if low is None else low, usual[1] if high is None else high
    if not (math.isfinite(low) and math.isfinite(high) and low > 0 and 10 * low <= high):
        raise UsageError(f"cannot sweep learning rates from {low:g} to {high:g}; --to must be at least ten times --from, both positive")
    if steps < LEAST_STEPS or orders < 1:
        raise UsageError(f"a range test needs at least {LEAST_STEPS} steps and one order, not {steps} and {orders}")
    place = pick_device(device)
    recorded = {} if run is None else {name: entry.value for name, entry in run.hyperparameters.items()}
    hyperparameters = settle(recorded)
    first = int(hyperparameters.get("seed") or 0)
    rates = np.geomspace(low, high, steps)
    fitting = Fitting(probe, place)
    sweeps: list[Sweep] = []
    notes: dict[str, None] = {}
    for seed in range(first, first + orders):

        def attempt(function: Function, values: dict[str, Any], seed: int = seed) -> Sweep:
            return sweep(function, values, rates, seed=seed, device=place)

        done, remarks = fitting.run(hyperparameters, attempt)
        sweeps.append(done)
        notes |= dict.fromkeys(remarks)
        if on_sweep is not None:
            on_sweep(len(sweeps), orders)
    answers = tuple(answer(entry) for entry in sweeps)
    own = hyperparameters.get("learning_rate")
    return RangeTest(
        low=low,
        high=high,
        steps=steps,
        sweeps=tuple(sweeps),
        answers=answers,
        suggestion=suggest(answers),
        library=library_suggestions(sweeps),
        guides=guides(run),
        method=str(hyperparameters.get("method") or ""),
        recorded=float(own) if own else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Rising:
    """The schedule of a sweep: each step its own rate. ``peak`` is the rate that the optimizer was made with."""

    rates: FloatArray
    peak: float

    def rate(self, step: int) -> float:
        """The learning rate of an optimizer step, counted from 0."""
        return float(self.rates[step])


def sweep(
    function: Callable[[Mapping[str, Any], int], Probe],
    hyperparameters: Mapping[str, Any],
    rates: FloatArray,
    *,
    seed: int,
    device: str = "cpu",
) -> Sweep:
    """Train one step with each learning rate in turn, until the loss is out of bounds.

    Whatever the probe's model, optimizer and the global random streams were before, they are again, bit by bit.

    Args:
        function: makes the probe, from hyperparameters and the seed.
        hyperparameters: canonical names to values, settled.
        rates: learning rate of each step.
        seed: of the weights and the data order.
        device: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ProbeError: the probe raises, hangs, or its loss is not a finite number before anything was trained.
    """
    own = hyperparameters.get("learning_rate")
    base = float(own) if isinstance(own, (int, float)) and 0 < own < math.inf else UNKNOWN_RATE
    settled = {**hyperparameters, "learning_rate": base}
    with same_randomness(), deterministic(), user_code("the probe", device) as watchdog:
        seed_everything(seed)
        probe = function(settled, seed)
        with same_model(probe.model), few_threads(probe.model):
            return _sweep(probe, settled, rates, seed, device, watchdog)


def _sweep(probe: Probe, hyperparameters: dict[str, Any], rates: FloatArray, seed: int, device: str, watchdog: Watchdog) -> Sweep:
    loop = Loop(probe, hyperparameters, seed, rates.size, rates.size, device, watchdog)
    loop.schedule = _Rising(rates, hyperparameters["learning_rate"])  # type: ignore[assignment]
    first = _FirstWeights(loop)
    losses: list[float] = []
    untrained: list[float] = []
    ended = COMPLETE
    with same_optimizer(loop.optimizer):
        for step, batches in enumerate(_steps(probe.stream(), rates.size, loop.accumulate)):
            row = loop.step(step, iter(batches))
            if math.isfinite(row["train/loss"]):
                losses.append(row["train/loss"])
                untrained.append(first.loss(step, batches))
            watchdog.pet()
            # Half precision skips steps whose gradient is not finite; with the others the weights are lost.
            if not math.isfinite(row["train/loss"]) or not (math.isfinite(row["grad_norm"]) or loop.scaler is not None):
                ended = NOT_FINITE
            elif has_diverged(losses):
                ended = DIVERGED
            if ended != COMPLETE:
                break
    if not losses:
        raise ProbeError("the probe's loss is NaN or infinite on the first batch, before anything was trained")
    return Sweep(rates[: len(losses)], np.array(losses), np.array(untrained), ended, seed, rates.size)


def _steps(batches: Iterator[Any], steps: int, size: int) -> Iterator[list[Any]]:
    """The batches of each optimizer step."""
    for _ in range(steps):
        yield [next(batches) for _ in range(size)]


class _FirstWeights:
    """The weights that a loop came with, to ask again and again what their loss would be."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._tensors: list[Tensor] = [*loop.weights, *loop.model.buffers()]
        self._values = [tensor.detach().clone() for tensor in self._tensors]

    def loss(self, step: int, batches: list[Any]) -> float:
        """The loss of the batches of a step, with the random stream that the step had."""
        import torch

        loop, total = self._loop, 0.0
        now = [tensor.data for tensor in self._tensors]
        try:
            for tensor, value in zip(self._tensors, self._values, strict=True):
                tensor.data = value
            with torch.no_grad(), loop.autocast():
                for part, batch in enumerate(batches):
                    seed_everything(loop.seed * SEED_STRIDE + step * loop.accumulate + part)
                    total += float(loop.probe.loss(loop.model, to_device(batch, loop.device))) / loop.accumulate
        finally:
            for tensor, value in zip(self._tensors, now, strict=True):
                tensor.data = value
        return total


@contextmanager
def same_randomness() -> Iterator[None]:
    """Put the global random streams of torch, numpy and Python back to where they were."""
    import torch

    python, numpy_, torch_ = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_)
        torch.set_rng_state(torch_)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def same_model(model: nn.Module) -> Iterator[None]:
    """Put a model back to what it was: parameters, buffers, gradients, modes and device.

    Raises:
        ProbeError: it cannot be put back, bit by bit.
    """
    import torch

    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    asked = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    for parameter in model.parameters():
        parameter.grad = None
    try:
        yield
    finally:
        now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with torch.no_grad():
            for name, value in values.items():
                tensor = now[name]
                if tensor.device != value.device:
                    tensor.data = tensor.data.to(value.device)
                tensor.copy_(value)
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name]
            parameter.requires_grad_(asked[name])
        for name, module in model.named_modules():
            module.training = modes[name]
    if changed := [name for name, value in values.items() if not same_bits(now[name].detach(), value)]:
        raise ProbeError(f"the model could not be put back as it was: {changed[0]} has changed")


@contextmanager
def same_optimizer(optimizer: Optimizer) -> Iterator[None]:
    """Put an optimizer back to what it was: the state of every parameter, and the options of every group."""
    import torch

    def copied(value: Any) -> Any:
        return value.clone() if isinstance(value, torch.Tensor) else value

    state = {parameter: {key: copied(value) for key, value in entry.items()} for parameter, entry in optimizer.state.items()}
    groups = [{key: copied(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    try:
        yield
    finally:
        optimizer.state.clear()
        optimizer.state.update(state)
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            for key in [key for key in group if key != "params" and key not in before]:
                del group[key]
            group.update(before)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same bytes; NaNs of the same bits are the same."""
    import torch

    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(first.contiguous().reshape(-1).view(torch.uint8), second.contiguous().reshape(-1).view(torch.uint8))
