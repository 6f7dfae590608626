"""The training to probe: what a user's probe function returns, how it is found, and the template it can start from."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from diag.errors import DiagError, UsageError
from diag.replay.guard import ProbeError, describe, user_code

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from diag.replay.trainer import Job

EXTRA: Final = "replaying needs torch; install it with: pip install 'diag[replay]'"


@dataclass(frozen=True, slots=True)
class Probe:
    """A training to probe, as a user's ``probe(hyperparameters, seed)`` returns it.

    Attributes:
        model: freshly made from the seed.
        batches: one pass over the training data, in an order that depends on the seed alone; called again when a pass is over. A batch
            is what one backward pass takes, ``micro_batch_size`` samples; ``gradient_accumulation_steps`` of them make an optimizer step.
        loss: the scalar training loss of ``(model, batch)``.
        evaluation: held-out batches, the same each time; their mean loss, without gradients and in eval mode, is what arms are compared
            by. Without it, the training loss is.
        parameters: what the optimizer gets, parameters or groups; by default every parameter that requires a gradient.
        optimizer: ``(parameters, learning_rate) -> Optimizer``; by default the one that the hyperparameters name.
        planned_steps: optimizer steps of the whole plan; by default ``max_steps``, else ``num_epochs`` times the length of a pass.
        notes: what it does not do as the run did, a phrase each; the report shows them.
    """

    model: nn.Module
    batches: Callable[[], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluation: Callable[[], Iterable[Any]] | None = None
    parameters: Sequence[Any] | None = None
    optimizer: Callable[[Sequence[Any], float], Optimizer] | None = None
    planned_steps: int | None = None
    notes: tuple[str, ...] = ()

    def stream(self) -> Iterator[Any]:
        """The training batches, pass after pass, without end.

        Raises:
            ProbeError: a pass is empty.
        """
        while True:
            empty = True
            for batch in self.batches():
                empty = False
                yield batch
            if empty:
                raise ProbeError("the probe's batches() gave no batch; it must return a new iterable each time it is called")


def part_of(probe: Probe, share: float, most: int, seed: int) -> Probe:
    """The probe on the first part of its training data, which it sees as often as it would see all of them.

    Args:
        probe: the probe.
        share: of the batches of a pass.
        most: batches that are ever taken, where a pass has no end.
        seed: of the order in later passes.
    """
    kept: list[Any] = []
    order = random.Random(seed)

    def batches() -> Iterable[Any]:
        if kept:
            return order.sample(kept, len(kept))
        first = probe.batches()
        kept.extend(itertools.islice(first, most))
        if len(kept) < most:
            del kept[max(1, round(share * len(kept))) :]
        return list(kept)

    return replace(probe, batches=batches)


def on_part(function: Callable[[Mapping[str, Any], int], Probe], job: Job) -> Callable[[Mapping[str, Any], int], Probe]:
    """A function that makes the probe of a job: on the part of the data that the job is given."""
    if job.share == 1:
        return function

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        most = job.steps * int(hyperparameters.get("gradient_accumulation_steps") or 1)
        return part_of(function(hyperparameters, seed), job.share, most, seed)

    return probe


@dataclass(frozen=True, slots=True)
class ProbeFunction:
    """A user's probe function, safe to call.

    Attributes:
        spec: how the user named it.
        function: the function.
        digest: SHA-256 of the file it is from, which names its results.
    """

    spec: str
    function: Callable[[Mapping[str, Any], int], Probe]
    digest: str

    def __call__(self, hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        """The probe of some hyperparameters and a seed.

        Raises:
            ProbeError: the function raises, or what it returns is no usable Probe.
        """
        require_torch()
        from torch import nn

        try:
            probe = self.function(dict(hyperparameters), seed)
        except DiagError:
            raise
        except Exception as error:
            raise ProbeError(f"the probe {self.spec} raised {describe(error)}") from error
        if not isinstance(probe, Probe):
            raise ProbeError(f"the probe {self.spec} returned {_a(probe)}, not a diag.replay.Probe")
        if not isinstance(probe.model, nn.Module):
            raise ProbeError(f"the probe {self.spec} returned a Probe whose model is {_a(probe.model)}, not a torch.nn.Module")
        for name in ("batches", "loss", "evaluation", "optimizer"):
            if (value := getattr(probe, name)) is not None and not callable(value):
                raise ProbeError(f"the probe {self.spec} returned a Probe whose {name} is {_a(value)}, not a function")
        steps = probe.planned_steps
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ProbeError(f"the probe {self.spec} returned a Probe whose planned_steps is {steps!r}, not a positive whole number")
        return probe


def require_torch() -> None:
    """Say how to install torch if it is not there.

    Raises:
        ProbeError: it is not.
    """
    if "torch" not in sys.modules and importlib.util.find_spec("torch") is None:
        raise ProbeError(EXTRA)


def load(spec: str) -> ProbeFunction:
    """Find a probe function.

    Args:
        spec: ``file.py:function`` or ``package.module:function``; without ``:function``, the function is called ``probe``.

    Raises:
        UsageError: the spec names no file, module or function.
        ProbeError: its code raises or hangs while it is imported, or torch is not installed.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or name.endswith(".py") or "/" in name or "\\" in name:
        place, name = spec, "probe"
    if not place or not name.isidentifier():
        raise UsageError(f"--probe {spec!r}: write it as file.py:function or package.module:function")
    require_torch()
    module = _from_file(spec, Path(place)) if place.endswith(".py") else _from_name(spec, place)
    function = getattr(module, name, None)
    if not callable(function):
        from diag.text import nearest

        own = [key for key, value in vars(module).items() if callable(value) and getattr(value, "__module__", None) == module.__name__]
        problem = "has no function" if function is None else "has something that is no function at"
        raise UsageError(f"--probe {spec}: {place} {problem} {name!r}{nearest(name, own)}")
    return ProbeFunction(spec, function, _digest(module))


def _from_file(spec: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"--probe {spec}: there is no file {path}; diag replay --init {path} writes one to start from")
    name = f"diag_probe_{path.stem}"
    plan = importlib.util.spec_from_file_location(name, path)
    if plan is None or plan.loader is None:
        raise UsageError(f"--probe {spec}: {path} cannot be imported")
    module = importlib.util.module_from_spec(plan)
    loader = plan.loader
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # as `python file.py` would have it: a probe may import what lies beside it
        sys.path.insert(0, folder)
    sys.modules[name] = module
    with user_code(f"--probe {spec}: importing it"):
        loader.exec_module(module)
    return module


def _from_name(spec: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"--probe {spec!r}: {name!r} is neither a .py file nor the name of a module")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise UsageError(f"--probe {spec}: there is no module {name}; it is looked for in the current folder and among installed packages")
    with user_code(f"--probe {spec}: importing it"):
        return importlib.import_module(name)


def _digest(module: ModuleType) -> str:
    path = getattr(module, "__file__", None)
    return hashlib.sha256(Path(path).read_bytes() if path else module.__name__.encode()).hexdigest()


def _a(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def settle(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as a probe on one device gets them: the batch sizes agree, and the other devices' share is accumulated.

    ``micro_batch_size`` times ``gradient_accumulation_steps`` is ``global_batch_size`` wherever any of them is known.
    """
    settled = {name: value for name, value in hyperparameters.items() if value is not None}
    whole, micro = settled.get("global_batch_size"), settled.get("micro_batch_size")
    times = int(settled.get("gradient_accumulation_steps") or 1) * int(settled.pop("world_size", None) or 1)
    if whole and micro:
        times = max(1, round(whole / micro))
    elif micro:
        whole = micro * times
    elif not whole:
        return settled
    if whole % times:
        times = next(n for n in range(min(times, whole), 0, -1) if whole % n == 0)
    settled |= {"global_batch_size": int(whole), "micro_batch_size": int(whole // times), "gradient_accumulation_steps": times}
    return settled


TEMPLATE: Final = '''\
"""A probe for `diag replay`: a small copy of a training, made from its hyperparameters and a seed.

It runs as it stands; replace the model, the data and the loss by your own.

    diag replay RUN --probe {name}:probe

Rules: the same hyperparameters and seed must give the same training, bit by bit (torch, numpy and random are seeded
before each call; seed any generator of your own), and what the hyperparameters do not name must not change between calls.
"""

from functools import cache

import torch
from torch import nn
from torch.nn import functional

from diag.replay import Probe

INPUTS, CLASSES, SAMPLES, HELD_OUT = 24, 10, 2048, 512


@cache
def made_data():
    """Points labelled by a fixed random network, with some noise: made once for all trainings."""
    random = torch.Generator().manual_seed(0)
    points = torch.randn(SAMPLES + HELD_OUT, INPUTS, generator=random)
    teacher = torch.randn(INPUTS, 48, generator=random) * 0.35, torch.randn(48, CLASSES, generator=random)
    scores = torch.tanh(points @ teacher[0]) @ teacher[1]
    labels = (scores + torch.randn(scores.shape, generator=random)).argmax(1)
    return points, labels


def probe(hyperparameters, seed):
    """The training that these hyperparameters describe.

    Args:
        hyperparameters: canonical name to value, where the run or a prescription says one: learning_rate, weight_decay,
            micro_batch_size, gradient_accumulation_steps, num_epochs, dropout, lora_rank, max_seq_len, ...
            (diag replay itself applies the learning rate and its schedule, warmup, weight decay, clipping, accumulation
            and precision; the model and the data are yours.)
        seed: seeds the weights and the order of the data.
    """
    points, labels = made_data()
    dropout = hyperparameters.get("dropout", 0.0)
    size = hyperparameters.get("micro_batch_size", 32)

    model = nn.Sequential(
        nn.Linear(INPUTS, 64), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(64, CLASSES),
    )  # fmt: skip
    shuffle = torch.Generator().manual_seed(seed)

    def batches():
        """One pass over the training data, called again for the next; a torch DataLoader does as well."""
        return torch.randperm(SAMPLES, generator=shuffle).split(size)

    def loss(model, batch):
        """The training loss; tensors go to the model's device."""
        device = next(model.parameters()).device
        return functional.cross_entropy(model(points[batch].to(device)), labels[batch].to(device))

    def evaluation():
        """Held-out batches, the same every time."""
        return torch.arange(SAMPLES, SAMPLES + HELD_OUT).split(256)

    return Probe(model, batches, loss, evaluation)
'''
"""A probe file to start from; ``{name}`` is the file's own name."""


def write_template(path: Path) -> None:
    """Write the template to a new file.

    Raises:
        UsageError: the file exists already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(TEMPLATE.replace("{name}", path.name))
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
