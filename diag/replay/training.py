"""One arm with one seed: a short training under the schedule of the full run, logged so that the battery can examine it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from diag.replay.guard import STALLED, ProbeError, Watchdog, describe, user_code
from diag.replay.probe import Probe, settle
from diag.replay.schedule import Schedule
from diag.replay.trainer import NOT_FINITE, OUT_OF_TIME, Rates, Row, Trained, final_loss

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

EVALUATIONS: Final = 12
"""Evaluations over the probed steps: what the battery needs for a trend."""
MOMENTUM: Final = 0.9
"""Momentum of SGD."""
SMALL_MODEL: Final = 100_000
"""Parameters up to which one thread is as fast as many, and on a busy machine ten times faster."""
SEED_STRIDE: Final = 1_000_003
"""Keeps the random streams of the steps of different seeds apart."""

Evaluated = Callable[[Row], str]
"""Called after an evaluation before the last with its row; a reason to stop the training, or ""."""


def planned_steps(probe: Probe, hyperparameters: Mapping[str, Any]) -> int | None:
    """Optimizer steps of the whole plan: the probe's own word, ``max_steps``, or ``num_epochs`` passes; None if nothing tells."""
    if probe.planned_steps is not None:
        return probe.planned_steps
    if hyperparameters.get("max_steps"):
        return int(hyperparameters["max_steps"])
    epochs = hyperparameters.get("num_epochs")
    batches = probe.batches() if epochs else None
    if not isinstance(batches, Sized):
        return None
    return max(1, round(float(epochs) * len(batches) / int(hyperparameters.get("gradient_accumulation_steps") or 1)))


def pick_device(name: str) -> str:
    """``auto`` is cuda where there is one, then mps, then cpu.

    Raises:
        ProbeError: torch has no such device here.
    """
    import torch

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if found[device])
    if not found.get(name, False):
        raise ProbeError(f"torch finds no {name} here; there is: {', '.join(device for device, there in found.items() if there)}")
    return name


def make_optimizer(probe: Probe, hyperparameters: Mapping[str, Any], rate: float) -> Optimizer:
    """The probe's own optimizer, or the one that the hyperparameters name, over the parameters that are trained.

    Raises:
        ProbeError: no parameter requires a gradient, or the probe's optimizer raises.
    """
    import torch

    parameters: Sequence[Any] = probe.parameters if probe.parameters is not None else []
    if probe.parameters is None:
        parameters = [parameter for parameter in probe.model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ProbeError("no parameter of the probe's model requires a gradient, so nothing can be trained")
    if probe.optimizer is not None:
        try:
            made = probe.optimizer(parameters, rate)
        except Exception as error:
            raise ProbeError(f"the probe's optimizer raised {describe(error)}") from error
        if not isinstance(made, torch.optim.Optimizer):
            raise ProbeError(f"the probe's optimizer returned a {type(made).__name__}, not a torch.optim.Optimizer")
        return made
    decay = float(hyperparameters.get("weight_decay") or 0.0)
    name = str(hyperparameters.get("optimizer") or "adamw").lower()
    if "sgd" in name:
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)


def seed_everything(seed: int) -> None:
    """Start the global random streams of torch, numpy and Python from a seed."""
    import numpy as np
    import torch

    torch.default_generator.manual_seed(seed)  # torch.manual_seed would keep a traceback a call for devices that are not there
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def to_device(batch: Any, device: str) -> Any:
    """A batch with every tensor in it, through lists, tuples and dicts, on a device."""
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


@contextmanager
def deterministic() -> Iterator[None]:
    """Let torch choose deterministic kernels where it has them; flush denormal numbers, which make dead models thirty times slower."""
    import torch

    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(before, warn_only=warned)


@contextmanager
def few_threads(model: nn.Module) -> Iterator[None]:
    """One thread for a small model on the CPU: handing out work would take longer than doing it."""
    import torch

    before = torch.get_num_threads()
    if sum(parameter.numel() for parameter in model.parameters()) <= SMALL_MODEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    function: Callable[[Mapping[str, Any], int], Probe],
    hyperparameters: Mapping[str, Any],
    *,
    seed: int,
    steps: int,
    total_steps: int,
    rates: Rates = (),
    device: str = "cpu",
    evaluations: int = EVALUATIONS,
    stop: Evaluated | None = None,
    deadline: float = math.inf,
    stalled: float = STALLED,
) -> Trained:
    """Train the first ``steps`` optimizer steps of a plan of ``total_steps``.

    The weights, the order of the data and the random stream of every batch come from the seed alone, so that arms differ in their
    hyperparameters and in nothing else. A loss or gradient that is not finite ends the training; that is a result, not an error.

    Args:
        function: makes the probe, from hyperparameters and the seed.
        hyperparameters: canonical names to values.
        seed: of weights, data order and dropout.
        steps: optimizer steps to do.
        total_steps: optimizer steps of the whole plan, which the schedule is laid over.
        rates: the schedule as it was logged, to be followed instead of that of the hyperparameters.
        device: ``cpu``, ``cuda`` or ``mps``.
        evaluations: how often to evaluate, evenly, the last time after the last step.
        stop: may end the training after an evaluation.
        deadline: ``time.monotonic()`` at which to stop.
        stalled: seconds without progress after which the probe is taken to hang.

    Raises:
        ProbeError: the probe raises, hangs, runs out of memory or gives something that is no loss.
    """
    settled = settle(hyperparameters)
    with deterministic(), user_code("the probe", device, stalled) as watchdog:
        seed_everything(seed)
        probe = function(settled, seed)
        loop = Loop(probe, settled, seed, steps, total_steps, device, watchdog, rates)
        with few_threads(probe.model):
            return loop.run(evaluated_steps(steps, evaluations), stop, deadline)


def evaluated_steps(steps: int, evaluations: int) -> frozenset[int]:
    """The optimizer steps, from 1, after which a training is evaluated: evenly, the last one among them."""
    return frozenset(max(1, round(steps * k / evaluations)) for k in range(1, evaluations + 1))


@dataclass
class Loop:
    """The training loop and what it works on."""

    probe: Probe
    hyperparameters: dict[str, Any]
    seed: int
    steps: int
    total_steps: int
    device: str
    watchdog: Watchdog
    rates: Rates = ()
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        self.model: nn.Module = self.probe.model.to(self.device).train()
        self.schedule = Schedule.of(self.hyperparameters, self.total_steps, self.rates)
        self.optimizer = make_optimizer(self.probe, self.hyperparameters, self.schedule.peak)
        self.bases = [group["lr"] for group in self.optimizer.param_groups]
        self.weights = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.clip = float(self.hyperparameters.get("max_grad_norm") or 0.0) or math.inf
        self.accumulate = int(self.hyperparameters.get("gradient_accumulation_steps") or 1)
        precision = str(self.hyperparameters.get("precision") or "fp32")
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16 if self.device == "cuda" else None}.get(precision)
        self.scaler = torch.amp.GradScaler(self.device) if self.dtype is torch.float16 else None

    def notes(self) -> tuple[str, ...]:
        """What is not done as the run did it."""
        found = list(self.probe.notes)
        name, precision = str(self.hyperparameters.get("optimizer") or ""), self.hyperparameters.get("precision")
        if self.probe.optimizer is None and name and not any(known in name.lower() for known in ("adam", "sgd")):
            found.append(f"optimizer {name} was probed with AdamW; give the Probe an optimizer of its own")
        if not self.schedule.is_known:
            found.append(f"lr_scheduler {self.schedule.kind} was probed as a constant rate")
        if precision not in (None, "fp32", "tf32", "bf16") and self.dtype is None:
            found.append(f"precision {precision} was probed in fp32, as {self.device} has nothing like it")
        return tuple(found)

    def run(self, evaluated: Set[int], stop: Evaluated | None, deadline: float) -> Trained:
        """Train, evaluating after the steps in ``evaluated``."""
        batches = self.probe.stream()
        reason = ""
        for step in range(self.steps):
            row = self.step(step, batches)
            self.rows.append(row)
            finite = all(math.isfinite(row[name]) for name in ("train/loss", "grad_norm")) or self.scaler is not None
            if not finite:
                reason = NOT_FINITE
            if self.probe.evaluation is not None and (step + 1 in evaluated or reason):
                row["eval/loss"] = self.evaluate()
            self.watchdog.pet()
            if not reason and stop is not None and step + 1 in evaluated and step + 1 < self.steps:
                reason = stop(row)
            if not reason and time.monotonic() > deadline and step + 1 < self.steps:
                reason = OUT_OF_TIME
            if reason:
                break
        loss = math.inf if reason == NOT_FINITE else final_loss(self.rows, self.steps)
        return Trained(self.rows, self.steps, self.total_steps, loss, reason, self.notes())

    def step(self, step: int, batches: Iterator[Any]) -> Row:
        """One optimizer step: what is logged of it."""
        import torch

        rate = self.schedule.rate(step)
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * rate / self.schedule.peak if self.schedule.peak else 0.0
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(self.accumulate):
            seed_everything(self.seed * SEED_STRIDE + step * self.accumulate + part)
            batch = to_device(next(batches), self.device)
            with self.autocast():
                loss = self.checked(self.probe.loss(self.model, batch)) / self.accumulate
            torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
            total += float(loss.detach())
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.clip))
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif math.isfinite(norm):
            self.optimizer.step()
        return {"step": step + 1, "train/loss": total, "lr": rate, "grad_norm": norm}

    def evaluate(self) -> float:
        """The mean loss of the held-out batches."""
        import torch

        assert self.probe.evaluation is not None  # narrows the type; the caller asked
        self.model.eval()
        seed_everything(self.seed)  # training seeds every batch anew, so that this disturbs nothing
        values = []
        with torch.no_grad(), self.autocast():
            for batch in self.probe.evaluation():
                values.append(float(self.probe.loss(self.model, to_device(batch, self.device))))
                self.watchdog.pet()
        self.model.train()
        if not values:
            raise ProbeError("the probe's evaluation() gave no batch; it must return a new iterable each time it is called")
        return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan

    def autocast(self) -> Any:
        """Mixed precision as the run had it, where the device can."""
        import torch

        return nullcontext() if self.dtype is None else torch.autocast(self.device, self.dtype)

    def checked(self, loss: Any) -> torch.Tensor:
        """A loss that can be trained on.

        Raises:
            ProbeError: it is no scalar tensor with a gradient.
        """
        import torch

        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shown = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
            raise ProbeError(f"the probe's loss() returned {shown}, not a scalar tensor")
        if not loss.requires_grad:
            raise ProbeError("the probe's loss() returned a tensor without a gradient; it must come from the model it is given")
        return loss.reshape(())
