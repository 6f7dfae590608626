"""Trainings that differ in little, done together: their weights are stacked, and the model is called once for all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, tee
from typing import TYPE_CHECKING, Any, Final

from diag.errors import DiagError
from diag.replay.guard import ProbeError, describe, is_out_of_memory
from diag.replay.schedule import Schedule
from diag.replay.trainer import NOT_FINITE, OUT_OF_TIME, Job, Row, Stop, Trained, final_loss
from diag.replay.training import MOMENTUM, SEED_STRIDE, Loop, seed_everything, to_device

if TYPE_CHECKING:
    from torch import Tensor, nn

BETAS: Final = (0.9, 0.999)
"""Averages of Adam and AdamW, torch's defaults."""
EPSILON: Final = 1e-8
"""Added to Adam's denominator, torch's default."""
CLIP_EPSILON: Final = 1e-6
"""Added to the gradient norm where it is clipped, as ``torch.nn.utils.clip_grad_norm_`` does."""

SEED: Final = "seed"
"""What may part trainings that cannot be stacked all together: stacks of one seed each."""
RANK: Final = "rank"
"""Stacks of one LoRA rank and alpha each."""
ADAMW, SGD = "adamw", "sgd"


class UnstackableError(DiagError):
    """Trainings that cannot be done together; the message is the reason, without a subject's name.

    Attributes:
        parts: what may part them into groups that can, the likeliest first.
    """

    def __init__(self, reason: str, *parts: str) -> None:
        super().__init__(reason)
        self.parts = parts


class TooLargeError(UnstackableError):
    """Trainings that do not fit into the memory together.

    Attributes:
        most: how many do, 0 if that is not known.
    """

    def __init__(self, reason: str, most: int = 0) -> None:
        super().__init__(reason)
        self.most = most


@dataclass
class Member:
    """One training of a stack, before its first step.

    Attributes:
        job: which.
        loop: the same training, to be done alone.
        batches: for the training alone.
        again: the same batches, for the stack.
        weights: what is trained, copied.
        rest: the other parameters, and copies of the buffers.
        rows: what was logged in the stack.
        stopped: why it ended before its last step.
    """

    job: Job
    loop: Loop
    batches: Iterator[Any]
    again: Iterator[Any]
    weights: dict[str, Tensor]
    rest: dict[str, Tensor]
    rows: list[Row] = field(default_factory=list)
    stopped: str = ""

    @classmethod
    def of(cls, job: Job, loop: Loop) -> Member:
        """The training of a fresh loop.

        Raises:
            UnstackableError: it is of a kind that is only done alone.
        """
        if loop.probe.optimizer is not None:
            raise UnstackableError("it has an optimizer of its own")
        if len(loop.optimizer.param_groups) != 1:
            raise UnstackableError("its parameters are in groups of their own")
        if loop.scaler is not None:
            raise UnstackableError("fp16 scales each loss for itself")
        trained = {id(weight) for weight in loop.weights}
        named = dict(loop.model.named_parameters())
        weights = {name: parameter.detach().clone() for name, parameter in named.items() if id(parameter) in trained}
        if len(weights) != len(trained):
            raise UnstackableError("it trains parameters that are not the model's")
        if len({weight.dtype for weight in weights.values()}) > 1 or not all(weight.is_floating_point() for weight in weights.values()):
            raise UnstackableError("its parameters are of several types")
        rest: dict[str, Tensor] = {name: parameter for name, parameter in named.items() if id(parameter) not in trained}
        rest |= {name: buffer.clone() for name, buffer in loop.model.named_buffers()}
        alone, together = tee(loop.probe.stream())
        return cls(job, loop, alone, together, weights, rest)

    @property
    def size(self) -> int:
        """Numbers that are trained."""
        return sum(weight.numel() for weight in self.weights.values())

    def changed(self) -> set[str]:
        """The buffers that are no longer what they were at the start."""
        import torch

        return {name for name, buffer in self.loop.model.named_buffers() if not torch.equal(buffer, self.rest[name])}

    def release(self) -> None:
        """Let go of what only the training alone needs."""
        self.weights, self.rest = {}, {}
        self.batches = self.again = iter(())  # a tee keeps what one of the two has not read yet
        self.loop.optimizer.state.clear()
        self.loop.optimizer.zero_grad()

    def trained(self) -> Trained:
        """What came of it."""
        loss = math.inf if self.stopped == NOT_FINITE else final_loss(self.rows, self.loop.steps)
        return Trained(self.rows, self.loop.steps, self.loop.total_steps, loss, self.stopped, self.loop.notes())


class Update:
    """AdamW, Adam or SGD with momentum over a row of weights a member, each with a rate, decay and clip norm of its own."""

    def __init__(self, kind: str, decays: Sequence[float], clips: Sequence[float]) -> None:
        self.kind, self.decays, self.clips = kind, list(decays), list(clips)
        self._state: list[Tensor] = []
        self._steps = 0

    @classmethod
    def of(cls, loops: Sequence[Loop]) -> Update:
        """That of trainings.

        Raises:
            UnstackableError: they have different optimizers.
        """
        kinds = {type(loop.optimizer).__name__.lower() for loop in loops}
        if len(kinds) > 1:
            raise UnstackableError("the optimizers differ")
        return cls(kinds.pop(), [loop.optimizer.param_groups[0]["weight_decay"] for loop in loops], [loop.clip for loop in loops])

    def __call__(self, weights: Tensor, gradients: Tensor, norms: Sequence[float], rates: Sequence[float]) -> None:
        """One step, in place; formulas and their order are those of torch.optim and ``clip_grad_norm_``."""
        import torch

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=weights.dtype, device=weights.device).unsqueeze(1)

        factors = [min(1.0, clip / (norm + CLIP_EPSILON)) for clip, norm in zip(self.clips, norms, strict=True)]
        if min(factors) < 1.0:
            gradients *= column(factors)
        if not self._state:
            self._state = [torch.zeros_like(weights) for _ in range(1 if self.kind == SGD else 2)]
        self._steps += 1
        if any(self.decays):
            if self.kind == ADAMW:
                weights *= column([1 - rate * decay for rate, decay in zip(rates, self.decays, strict=True)])
            else:
                gradients = gradients + weights * column(self.decays)
        mean = self._state[0]
        if self.kind == SGD:
            mean.mul_(MOMENTUM).add_(gradients)
            weights -= mean * column(rates)
            return
        mean.lerp_(gradients, 1 - BETAS[0])
        square = self._state[1].mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        unbiased = math.sqrt(1 - BETAS[1] ** self._steps)
        root = square.sqrt().add_(EPSILON * unbiased)
        torch.div(mean, root, out=root)
        weights.addcmul_(root, column([rate * unbiased / (1 - BETAS[0] ** self._steps) for rate in rates]), value=-1)

    def keep(self, places: Sequence[int]) -> None:
        """Forget the members that are at no place of these."""
        self.decays, self.clips = ([values[at] for at in places] for values in (self.decays, self.clips))
        self._state = [state[list(places)] for state in self._state]


class Stack:
    """Trainings in step with each other.

    What is trained is one row a member; frozen parameters and buffers that are the same in all members are there once, so that what is
    computed from them alone is computed for all members at once. Weights of different shapes are padded with zeros, which stay zero.
    The loss of the largest member stands for that of all: whoever makes a stack has to see that it does.

    Args:
        members: freshly made; at least one.
        leader: the one whose model and functions are used.
        changing: buffers that the training changes.
        same: the members have one seed, and draw the same random numbers.

    Raises:
        UnstackableError: they do not match.
    """

    def __init__(self, members: Sequence[Member], leader: Member, changing: Set[str], *, same: bool) -> None:
        self.members, self.loop = list(members), leader.loop
        self.randomness = "same" if same else "error"
        self.update = Update.of([member.loop for member in members])
        self.streams = {seed: _first(seed, members).again for seed in dict.fromkeys(member.job.seed for member in members)}
        self.rest = _differing([member.rest for member in members], changing)
        stacked, self.mask = _padded([member.weights for member in members])
        self.leaves = {name: weight.requires_grad_() for name, weight in stacked.items()}
        self.rows: Tensor | None = None
        self.unused: frozenset[str] = frozenset()
        self.model = _with_loss(self.loop)
        self.names = _aliases(self.model, [*self.leaves, *self.rest])

    # One step --------------------------------------------------------------------------------------------------------------

    def step(self, number: int) -> None:
        """One optimizer step of all members: a row for each. Those whose gradient is not finite keep their weights.

        Raises:
            UnstackableError: something in the loss cannot be done for several members at once.
        """
        import torch

        with stacking():
            totals, gradients = self.gradients(number)
            norms: list[float] = torch.linalg.vector_norm(gradients, dim=1).tolist()
            rates = [member.loop.schedule.rate(number) for member in self.members]
            assert self.rows is not None  # narrows the type: gradients make them
            lost = [at for at, norm in enumerate(norms) if not math.isfinite(norm)]
            with torch.no_grad():
                before = self.rows[lost] if lost else None
                self.update(self.rows, gradients, norms, [_applied(member.loop.schedule, rate) for member, rate in self._with(rates)])
                if before is not None:
                    self.rows[lost] = before
        for (member, rate), total, norm in zip(self._with(rates), totals, norms, strict=True):
            member.rows.append({"step": number + 1, "train/loss": total, "lr": rate, "grad_norm": norm})

    def _with(self, values: Sequence[float]) -> Iterator[tuple[Member, float]]:
        return zip(self.members, values, strict=True)

    def gradients(self, number: int) -> tuple[list[float], Tensor]:
        """The loss of each member, and a row of gradients for each."""
        import torch

        totals = [0.0] * len(self.members)
        whole: Tensor | None = None
        times = self.loop.accumulate
        for part in range(times):
            batches = []
            for seed, stream in self.streams.items():
                seed_everything(seed * SEED_STRIDE + number * times + part)
                batches.append(to_device(next(stream), self.loop.device))
            losses = self._losses(batches)
            found = torch.autograd.grad(losses, list(self.leaves.values()), torch.full_like(losses, 1 / times), allow_unused=True)
            unused = frozenset(name for name, gradient in zip(self.leaves, found, strict=True) if gradient is None)
            if self.rows is None:
                self._join(unused)
            elif unused != self.unused:
                raise UnstackableError("it uses some parameters at some steps only")
            kept = [(name, gradient) for name, gradient in zip(self.leaves, found, strict=True) if gradient is not None]
            parts = [gradient * self.mask[name] if name in self.mask else gradient for name, gradient in kept]
            row = torch.cat([gradient.reshape(len(self.members), -1) for gradient in parts], 1)
            whole = row if whole is None else whole.add_(row)
            totals = [total + loss / times for total, loss in zip(totals, losses.tolist(), strict=True)]
        assert whole is not None  # accumulates at least once
        return totals, whole

    def _join(self, unused: frozenset[str]) -> None:
        """Put what is trained into one row a member; as in torch.optim, a parameter without a gradient is left alone."""
        import torch

        self.unused = unused
        used = {name: leaf for name, leaf in self.leaves.items() if name not in unused}
        if not used:
            raise UnstackableError("its loss does not depend on what is trained")
        self._view(torch.cat([leaf.detach().flatten(1) for leaf in used.values()], 1))

    def _view(self, rows: Tensor) -> None:
        import torch

        self.rows = rows
        used = [name for name in self.leaves if name not in self.unused]
        parts = torch.split(rows, [self.leaves[name][0].numel() for name in used], 1)
        for name, part in zip(used, parts, strict=True):
            self.leaves[name] = torch.unflatten(part.detach(), 1, self.leaves[name].shape[1:]).requires_grad_()

    def _losses(self, batches: Sequence[Any], places: Sequence[int] | None = None) -> Tensor:
        """The loss of each member, or of those at some places; the batches are those of the seeds, or one for all."""
        import torch
        from torch.func import functional_call, vmap
        from torch.utils import _pytree as pytree

        leaves, rest = list(self.leaves.values()), list(self.rest.values())
        if places is not None:
            leaves, rest = ([tensor[list(places)] for tensor in tensors] for tensors in (leaves, rest))
        flat, spec = self._flat(batches)
        tensors = [entry for entry in flat if isinstance(entry, torch.Tensor)]

        def forward(leaves: list[Tensor], rest: list[Tensor], tensors: list[Tensor]) -> Tensor:
            given = iter(tensors)
            batch = pytree.tree_unflatten([next(given) if isinstance(entry, torch.Tensor) else entry for entry in flat], spec)
            values = [*leaves, *rest]
            swapped = {name: values[at] for name, at in self.names}
            result: Tensor = functional_call(self.model, swapped, (batch,), tie_weights=False)
            return result.reshape(())

        dims = (0, 0, None if len(batches) == 1 else 0)
        with self.loop.autocast():
            losses: Tensor = vmap(forward, in_dims=dims, randomness=self.randomness)(leaves, rest, tensors)
        return losses

    def _flat(self, batches: Sequence[Any]) -> tuple[list[Any], Any]:
        """What is in the batches, a row for each member where there are several."""
        import torch
        from torch.utils import _pytree as pytree

        flat, spec = pytree.tree_flatten(batches[0])
        if len(batches) == 1:
            return flat, spec
        others = [pytree.tree_flatten(batch) for batch in batches[1:]]
        seeds = list(self.streams)
        rows = [seeds.index(member.job.seed) for member in self.members]
        joined = []
        for at, entry in enumerate(flat):
            entries = [entry, *(other[at] if other_spec == spec else None for other, other_spec in others)]
            if all(_alike(entry, other) for other in entries[1:]):
                joined.append(torch.stack(entries)[rows] if isinstance(entry, torch.Tensor) else entry)
            else:
                raise UnstackableError("the batches of the seeds differ in shape", SEED)
        return joined, spec

    # Between the steps -----------------------------------------------------------------------------------------------------

    def evaluate(self, places: Sequence[int], batches: int | None = None) -> list[float]:
        """The mean loss of the held-out batches, or of the first few of them, of the members at some places.

        Raises:
            UnstackableError: something in the loss cannot be done for several members at once.
        """
        import torch

        evaluation = self.loop.probe.evaluation
        assert evaluation is not None  # narrows the type; the caller asked
        values: list[list[float]] = []
        seed_everything(self.members[0].job.seed)
        self.loop.model.eval()
        chosen = None if len(places) == len(self.members) else places
        with stacking(), torch.no_grad():
            for batch in islice(evaluation(), batches):
                values.append(self._losses([to_device(batch, self.loop.device)], chosen).tolist())
                self.loop.watchdog.pet()
        self.loop.model.train()
        if not values:
            raise ProbeError("the probe's evaluation() gave no batch; it must return a new iterable each time it is called")
        return [math.fsum(one) / len(one) if all(map(math.isfinite, one)) else math.nan for one in zip(*values, strict=True)]

    def close(self, number: int, evaluated: Set[int], stop: Stop | None, deadline: float) -> bool:
        """What follows a step: evaluations, and members that end there are let go. Whether any is left.

        Args:
            number: of the step, from 0.
            evaluated: steps, from 1, after which all members are evaluated.
            stop: may end trainings after an evaluation.
            deadline: ``time.monotonic()`` at which all end.
        """
        members, last = self.members, number + 1 == self.loop.steps
        for member in members:
            loss, norm = member.rows[-1]["train/loss"], member.rows[-1]["grad_norm"]
            if not (math.isfinite(loss) and math.isfinite(norm)):
                member.stopped = NOT_FINITE
        asked = number + 1 in evaluated
        places = [at for at, member in enumerate(members) if asked or member.stopped]
        if self.loop.probe.evaluation is not None and places:
            for at, value in zip(places, self.evaluate(places), strict=True):
                members[at].rows[-1]["eval/loss"] = value
        self.loop.watchdog.pet()
        going = [member for member in members if not member.stopped]
        if stop is not None and asked and not last and going:
            for member, reason in zip(going, stop([(member.job, member.rows[-1]) for member in going]), strict=True):
                member.stopped = reason
        if time.monotonic() > deadline and not last:
            for member in going:
                member.stopped = member.stopped or OUT_OF_TIME
        left = [at for at, member in enumerate(members) if not member.stopped]
        if left and len(left) < len(members):
            self.keep(left)
        return bool(left)

    def keep(self, places: Sequence[int]) -> None:
        """Let the members go that are at no place of these."""
        chosen = list(places)
        self.members = [self.members[at] for at in chosen]
        left = {member.job.seed for member in self.members}
        self.streams = {seed: stream for seed, stream in self.streams.items() if seed in left}
        self.update.keep(chosen)
        self.rest, self.mask = ({name: tensor[chosen] for name, tensor in tensors.items()} for tensors in (self.rest, self.mask))
        self.leaves = {name: leaf.detach()[chosen].requires_grad_() for name, leaf in self.leaves.items()}
        if self.rows is not None:
            self._view(self.rows[chosen])


@contextmanager
def stacking() -> Iterator[None]:
    """Whatever fails is a reason to train one after the other, which fails again if it was not the stack's fault."""
    try:
        yield
    except DiagError:
        raise
    except Exception as error:
        raise _reason(error) from error


def _first(seed: int, members: Sequence[Member]) -> Member:
    return next(member for member in members if member.job.seed == seed)


def _applied(schedule: Schedule, rate: float) -> float:
    return rate if schedule.peak else 0.0


def _with_loss(loop: Loop) -> nn.Module:
    """The model whose output is the loss of a batch."""
    from torch import nn

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = loop.model

        def forward(self, batch: Any) -> Tensor:
            return loop.probe.loss(self.model, batch)

    return WithLoss()


def _aliases(model: nn.Module, names: Sequence[str]) -> list[tuple[str, int]]:
    """All names of the named tensors, tied ones have several, each with the place of the one that was named."""
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    places = {id(tensors[name]): at for at, name in enumerate(names)}
    return [(name, places[id(tensor)]) for name, tensor in tensors.items() if id(tensor) in places]


def _padded(members: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is trained, stacked, and where that is no padding: smaller tensors are filled up with zeros at the end of each dimension."""
    stacked, masks = {}, {}
    for name, tensors in _by_name(members):
        first = tensors[0]
        if any((tensor.ndim, tensor.dtype) != (first.ndim, first.dtype) for tensor in tensors):
            raise UnstackableError("the models differ", RANK, SEED)
        whole = first.new_zeros((len(tensors), *(max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True))))
        mask = first.new_zeros(whole.shape)
        for row, ones, tensor in zip(whole, mask, tensors, strict=True):
            place = tuple(slice(size) for size in tensor.shape)
            row[place], ones[place] = tensor, 1.0
        stacked[name] = whole
        if any(tensor.shape != first.shape for tensor in tensors):
            masks[name] = mask
    return stacked, masks


def _by_name(members: Sequence[Mapping[str, Tensor]]) -> Iterator[tuple[str, list[Tensor]]]:
    """The name that each tensor has in the model with a loss, and what it is in each member."""
    if any(member.keys() != members[0].keys() for member in members):
        raise UnstackableError("the models differ", RANK, SEED)
    for name in members[0]:
        yield f"model.{name}", [member[name] for member in members]


def _differing(members: Sequence[Mapping[str, Tensor]], changing: Set[str]) -> dict[str, Tensor]:
    """What is not trained and is not the same in all members, or changes as they train, stacked."""
    import torch

    stacked = {}
    for name, tensors in _by_name(members):
        first = tensors[0]
        if name.removeprefix("model.") not in changing and all(tensor is first or _equal(tensor, first) for tensor in tensors):
            continue
        if not all(_alike(tensor, first) for tensor in tensors):
            raise UnstackableError("frozen weights differ in shape", RANK, SEED)
        stacked[name] = torch.stack([tensor.detach() for tensor in tensors])
    return stacked


def _equal(one: Tensor, other: Tensor) -> bool:
    import torch

    return _alike(one, other) and torch.equal(one, other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two tensors can be stacked; what is no tensor has to be the same."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype
    return type(one) is type(other) and bool(one == other)


def _reason(error: Exception) -> UnstackableError:
    """Why the loss failed for several members at once: the first sentence of the error."""
    message = " ".join(str(error).split())
    if is_out_of_memory(error):
        return TooLargeError("it does not fit into the memory")
    if "randomness" in message or "random operation" in message:
        return UnstackableError("it draws random numbers that differ between seeds", SEED)
    first = message.split(". ")[0].removeprefix("vmap: ")
    shown = type(error)(first) if type(error) in (RuntimeError, ValueError, TypeError) else RuntimeError(first)
    return UnstackableError(describe(shown.with_traceback(error.__traceback__)), SEED)  # the batch of one seed is no stack
