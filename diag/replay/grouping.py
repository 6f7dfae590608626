"""Which trainings of a probe are done together as one stack: those that can be, where it pays."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from diag.replay.decision import close
from diag.replay.fitting import Fitting
from diag.replay.guard import Watchdog, user_code
from diag.replay.probe import on_part, settle
from diag.replay.stacked import RANK, SEED, Member, Stack, TooLargeError, UnstackableError
from diag.replay.store import key_of
from diag.replay.trainer import Begin, Job, Row, Stop, Trained
from diag.replay.training import EVALUATIONS, Loop, deterministic, evaluated_steps, few_threads, seed_everything
from diag.text import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

APPLIED: Final = frozenset(
    {
        "learning_rate",
        "lr_scheduler",
        "max_grad_norm",
        "max_steps",
        "min_lr",
        "num_epochs",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    }
)
"""What is applied to each member of a stack by itself. Trainings that differ in anything else may be of another kind."""
RANKED: Final = ("lora_rank", "lora_alpha")
"""What may differ as well: a smaller rank is filled up with zeros, and a scale in a buffer is stacked."""
CHECKED_STEPS: Final = 3
"""Optimizer steps that the largest member does both ways first, one to warm up and two to be timed; the others do one."""
PARITY: Final = 1e-4
"""Relative difference of losses and gradient norms up to which the two ways are the same; float32 differs by 1e-6 in three steps."""
HALF_PARITY: Final = 2e-2
"""The same where activations are rounded to bfloat16, which has 8 bits: a few of its units."""
LEAST_MEMBERS: Final = 3
"""Trainings that are worth trying to stack: two gain about as much as the steps that are done both ways cost."""
LEAST_GAIN: Final = 1.1
"""How many times as fast a stack must be: less is within what two timings differ by."""
MEMORY_SHARE: Final = 0.25
"""Share of the memory that a stack may need for what is trained."""
KEPT_MEMORY: Final = 2**25
"""Bytes of freed memory that the C library may keep, and the largest block that it keeps; the most that glibc takes for a block."""
COPIES: Final = 10
"""Copies of what is trained that a member needs: in its model and optimizer alone, in the stack, gradients, and two averages in each."""


class SlowerError(UnstackableError):
    """Trainings that could be done together, but are done sooner one after the other."""


class Together:
    """Stacks trainings where that gives the same and takes less time, and remembers where it does not.

    Args:
        fitting: makes the probe, with what fits into memory.
        stalled: seconds without progress after which the probe is taken to hang.
        always: stack whatever can be stacked, whether it pays or not.
    """

    def __init__(self, fitting: Fitting, stalled: float, *, always: bool = False) -> None:
        self.fitting, self.device, self.stalled, self.always = fitting, fitting.device, stalled, always
        self._parted: dict[str, dict[str, str]] = {}
        self._refused: dict[tuple[Any, ...], str] = {}
        self._slow: dict[tuple[Any, ...], tuple[int, str]] = {}
        self._most = math.inf
        self._stacked = 0
        self._alone: Counter[str] = Counter()

    # Who ------------------------------------------------------------------------------------------------------------------

    def group(self, jobs: Sequence[Job]) -> list[Job]:
        """The first of the jobs and those that are to be tried together with it."""
        key = self._key(jobs[0])
        group = [job for job in jobs if self._key(job) == key]
        if len(group) > self._most:
            group = group[: int(self._most)]
        size = 1 if self.always else max(self._slow.get(key, (0, ""))[0], LEAST_MEMBERS - 1)
        if key in self._refused or len(group) <= size or group[0].steps <= CHECKED_STEPS:
            return group[:1]
        return group

    def alone(self, job: Job) -> None:
        """Note that a job is trained by itself."""
        key = self._key(job)
        parted = list(self._parted.get(self._base(job), {}).values())
        if reason := self._refused.get(key) or self._slow.get(key, (0, ""))[1] or "".join(parted[-1:]):
            self._alone[reason] += 1

    def remarks(self) -> list[str]:
        """How many trainings were stacked, and why the others were not."""
        found = []
        if self._stacked:
            found.append(f"{counted(self._stacked, 'training')} were stacked: done together, as one model.")
        for reason, count in self._alone.items():
            found.append(f"{counted(count, 'training')} {'was' if count == 1 else 'were'} done one after the other: {reason}.")
        return found

    def _base(self, job: Job) -> str:
        """Names what a stack must have in common."""
        settled = settle(job.hyperparameters)
        return key_of(
            steps=job.steps,
            share=job.share,
            **{name: value for name, value in settled.items() if name not in APPLIED and name not in RANKED},
        )

    def _key(self, job: Job) -> tuple[Any, ...]:
        base = self._base(job)
        parted = set(self._parted.get(base, ()))
        return (base, *(str(part) for part in self._parts(job, parted)))

    def _parts(self, job: Job, parted: set[str]) -> Iterator[object]:
        if RANK in parted:
            yield [job.hyperparameters.get(name) for name in RANKED]
        if SEED in parted:
            yield job.seed

    def _remember(self, group: Sequence[Job], error: UnstackableError) -> None:
        """Never try the same again."""
        key, base = self._key(group[0]), self._base(group[0])
        if isinstance(error, TooLargeError) and len(group) > 2:
            self._most = min(error.most or len(group) // 2, len(group) - 1)
        elif isinstance(error, SlowerError):
            self._slow[key] = (len(group), str(error))
        else:
            for part in error.parts:
                if len({str(list(self._parts(job, {part}))) for job in group}) > 1:
                    self._parted.setdefault(base, {})[part] = str(error)
                    return
            self._refused[key] = str(error)

    # Training ---------------------------------------------------------------------------------------------------------------

    def train(self, group: Sequence[Job], *, stop: Stop | None, deadline: float, begin: Begin) -> list[tuple[Job, Trained]] | None:
        """Train a group as one stack; None if it cannot be, or is not worth it, which is remembered.

        Raises:
            ProbeError: the probe raises, hangs or gives something that is no loss.
        """
        keep_memory()
        try:
            with deterministic(), quiet(), user_code("the probe", self.device, self.stalled) as watchdog:
                members = self._made(group, watchdog)
                leader = max(members, key=lambda member: member.size)
                with few_threads(leader.loop.model):
                    stack, going = self._tried(members, leader, deadline)
                    begin(group)
                    number = CHECKED_STEPS
                    while going and number < stack.loop.steps:
                        stack.step(number)
                        going = stack.close(number, evaluated_steps(stack.loop.steps, EVALUATIONS), stop, deadline)
                        number += 1
        except UnstackableError as error:
            self._remember(group, error)
            return None
        self._stacked += len(group)
        return [(member.job, self._noted(member)) for member in members]

    def _noted(self, member: Member) -> Trained:
        """What came of a member, and what to know of how it was made to fit."""
        done = member.trained()
        asked = settle(member.job.hyperparameters)
        return replace(done, notes=(*done.notes, *self.fitting.notes(asked, self.fitting.reduced(asked))))

    def _made(self, group: Sequence[Job], watchdog: Watchdog) -> list[Member]:
        """The members of a stack, freshly made."""
        members: list[Member] = []
        for job in group:
            fitted = self.fitting.reduced(settle(job.hyperparameters))
            seed_everything(job.seed)
            probe = on_part(self.fitting.function, job)(fitted, job.seed)
            loop = Loop(probe, fitted, job.seed, job.steps, job.total_steps, self.device, watchdog, job.rates)
            members.append(Member.of(job, loop))
            if (most := room(members[0], self.device)) < len(group):
                raise TooLargeError("there is no memory for more than one at a time", max(most, 1))
            watchdog.pet()
        return members

    def _tried(self, members: Sequence[Member], leader: Member, deadline: float) -> tuple[Stack, bool]:
        """The stack after its first steps, if these are the same as alone and took less time; and whether any member goes on."""
        clock = clock_of(self.device)
        one_seed = len({member.job.seed for member in members}) == 1
        alone = {id(member): Alone(member, clock) for member in members}
        first = alone[id(leader)]
        with drawing(leader.loop) as drew:
            first.step()
        if drew and not one_seed:
            raise UnstackableError("its loss draws random numbers, which differ between seeds", SEED)
        stack = Stack(members, leader, leader.changed(), same=one_seed)
        seconds: list[float] = []
        held_out: dict[int, float] = {}
        going = True
        for number in range(CHECKED_STEPS):
            if number:  # in turn, so that what else the machine does slows both down
                first.step()
            start = clock()
            stack.step(number)
            seconds.append(clock() - start)
            if number == 0 and leader.loop.probe.evaluation is not None:
                values = stack.evaluate(range(len(stack.members)), 1)
                held_out = {id(member): value for member, value in zip(stack.members, values, strict=True)}
            if not (going := stack.close(number, evaluated_steps(stack.loop.steps, EVALUATIONS), None, math.inf)):
                break
        self._weigh(members, first.seconds, seconds, deadline)
        tolerance = PARITY if leader.loop.dtype is None else HALF_PARITY
        for member in members:
            found = alone[id(member)]
            if member is not leader:
                found.step()
            if not found.agrees(held_out.get(id(member)), tolerance):
                raise UnstackableError("together, the losses are not those of each alone", RANK, SEED)
            member.release()
        return stack, going

    def _weigh(self, members: Sequence[Member], alone: Sequence[float], together: Sequence[float], deadline: float) -> None:
        """Whether a stack saves time, when the steps are counted that are done twice.

        Raises:
            SlowerError: it does not.
        """
        if self.always:
            return
        one, all_ = (min(seconds[1:] or seconds) for seconds in (alone, together))
        left = members[0].job.steps - CHECKED_STEPS
        if all_ * LEAST_GAIN > one * len(members) or left * (one * len(members) - all_) < one * (len(members) - 1):
            raise SlowerError("that is as fast")
        if time.monotonic() + left * all_ > deadline:
            raise SlowerError("there was no time to finish them together")


class Alone:
    """The first steps of a training of a stack, done alone.

    Args:
        member: which.
        clock: tells the time.

    Attributes:
        rows: what was logged.
        seconds: of each step.
        held_out: the loss of the first held-out batch after the first step, None if nothing is held out.
    """

    def __init__(self, member: Member, clock: Callable[[], float]) -> None:
        self.member, self.clock = member, clock
        self.rows: list[Row] = []
        self.seconds: list[float] = []
        self.held_out: float | None = None

    def step(self) -> None:
        """One more step, unless the last one ended the training."""
        if self.rows and not all(map(math.isfinite, self.rows[-1].values())):
            return
        loop, start = self.member.loop, self.clock()
        self.rows.append(loop.step(len(self.rows), self.member.batches))
        self.seconds.append(self.clock() - start)
        if len(self.rows) == 1 and loop.probe.evaluation is not None:
            self.held_out = first_held_out(loop)
        loop.watchdog.pet()

    def agrees(self, held_out: float | None, tolerance: float) -> bool:
        """Whether the stack gave the same."""
        pairs = [(self.held_out, held_out)]
        rows = zip(self.rows, self.member.rows, strict=False)
        pairs += [(row[name], other[name]) for row, other in rows for name in ("train/loss", "grad_norm")]
        return all(one is None or other is None or close(one, other, tolerance) for one, other in pairs)


def clock_of(device: str) -> Callable[[], float]:
    """What steps are timed by: the time of this thread where it does all the work, which no other process disturbs."""
    import torch

    return time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def first_held_out(loop: Loop) -> float:
    """The loss of the first held-out batch."""
    probe = loop.probe
    evaluation = probe.evaluation
    assert evaluation is not None  # narrows the type; the caller asked
    loop.probe = replace(probe, evaluation=lambda: islice(evaluation(), 1))
    try:
        return loop.evaluate()
    finally:
        loop.probe = probe


@cache
def keep_memory() -> None:
    """Have the C library keep what is freed, where it is glibc, for as long as the process lives.

    The activations of a stack are large enough to be given back to the system after each operation, which has to clear them again
    for the next one: a fifth of the time of a stack of small models.
    """
    import ctypes

    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            library.mallopt(option, KEPT_MEMORY)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of operations that vmap does one member after the other: what they cost is measured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


@contextmanager
def drawing(loop: Loop) -> Iterator[list[bool]]:
    """Find out whether a loss draws random numbers: the list is empty if it does not."""
    probe, drew = loop.probe, list[bool]()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        before = _streams(loop.device)
        value = probe.loss(model, batch)
        if _streams(loop.device) != before:
            drew.append(True)
        return value

    loop.probe = replace(probe, loss=loss)
    try:
        yield drew
    finally:
        loop.probe = probe


def _streams(device: str) -> tuple[Any, ...]:
    """Where the global random streams are."""
    import random

    import numpy as np
    import torch

    own = {"cuda": torch.cuda.get_rng_state, "mps": torch.mps.get_rng_state}.get(device, torch.get_rng_state)
    states = (state.numpy().tobytes() for state in (torch.get_rng_state(), own()))
    return *states, str(np.random.get_state(legacy=False)), random.getstate()


def room(member: Member, device: str) -> int:
    """How many members fit into the memory that a stack may use."""
    import torch

    needed = COPIES * sum(weight.numel() * weight.element_size() for weight in member.weights.values())
    if device == "cuda":
        there = torch.cuda.mem_get_info()[0]
    elif device == "mps":
        there = torch.mps.recommended_max_memory()
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return 2**31  # Windows does not tell this way
    return int(MEMORY_SHARE * there / max(needed, 1))
