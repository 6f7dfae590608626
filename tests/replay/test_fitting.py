"""Trainings that run out of memory: here for real, by asking the allocator for more than any machine has."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from diag.replay.fitting import Extent, Fitting, extent, halved
from diag.replay.guard import OutOfMemory, ProbeError
from diag.replay.probe import Probe, ProbeFunction
from diag.replay.probing import ProbeTrainer
from diag.replay.range_test import range_test
from diag.replay.trainer import Job
from diag.replay.training import train
from diag.report import Layout
from diag.report.lr_find import text

MORE_THAN_THERE_IS = 2**50
RECORDED = {"learning_rate": 0.01, "max_steps": 20, "global_batch_size": 32, "micro_batch_size": 16, "optimizer": "adamw"}


def hungry(room: int, *, size: Callable[[Mapping[str, Any]], int] = lambda known: known.get("micro_batch_size", 16)) -> Any:
    """A probe whose loss finds memory for batches of at most ``room`` samples."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        data = torch.Generator().manual_seed(0)
        x = torch.randn(128, 4, generator=data)
        y = x.sum(1, keepdim=True)
        order = torch.Generator().manual_seed(seed)

        def loss(model: nn.Module, batch: Tensor) -> Tensor:
            if len(batch) > room:
                torch.empty(MORE_THAN_THERE_IS)
            return nn.functional.mse_loss(model(x[batch]), y[batch])

        return Probe(nn.Linear(4, 1), lambda: torch.split(torch.randperm(128, generator=order), size(hyperparameters)), loss)

    return probe


def job(seed: int = 0, **changes: Any) -> Job:
    return Job("recorded", seed, {**RECORDED, **changes}, 6, 20)


def trainer(function: Any) -> ProbeTrainer:
    return ProbeTrainer(ProbeFunction("probe", function, "digest"), "cpu")


def all_of(made: ProbeTrainer, *jobs: Job) -> list[Any]:
    return [done for _, done in made.train(jobs, stop=None, deadline=math.inf, begin=lambda jobs: None)]


def test_the_micro_batch_shrinks_until_it_fits_and_the_global_batch_stays() -> None:
    done = all_of(trainer(hungry(4)), job())[0]
    known = train(hungry(4), {**RECORDED, "micro_batch_size": 4}, seed=0, steps=6, total_steps=20)
    assert done.rows == known.rows
    assert len(done.notes) == 1
    assert "out of memory at micro_batch_size 16 on cpu: probed with 4 and 4 times the gradient_accumulation_steps" in done.notes[0]
    assert "the same global batch, which is also the fix for a run that runs out of memory (S0-046, S0-047)" in done.notes[0]


def test_later_trainings_begin_with_what_fitted() -> None:
    sizes: list[int] = []

    def size(known: Mapping[str, Any]) -> int:
        sizes.append(known["micro_batch_size"])
        return sizes[-1]

    made = trainer(hungry(4, size=size))
    first, second, small = all_of(made, job(0), job(1), job(2, micro_batch_size=2))
    assert sizes[0] == 16
    assert set(sizes[sizes.index(4) :]) == {4, 2}
    assert first.notes == second.notes
    assert small.notes == ()


def test_a_training_that_fits_is_left_as_it_is() -> None:
    assert all_of(trainer(hungry(16)), job())[0] == train(hungry(16), RECORDED, seed=0, steps=6, total_steps=20)


def test_without_a_batch_size_that_of_the_batches_is_taken() -> None:
    known = {"learning_rate": 0.01, "gradient_accumulation_steps": 2}
    done = all_of(trainer(hungry(4)), Job("recorded", 0, known, 6, 20))[0]
    assert "micro_batch_size 16 on cpu: probed with 4 and 4 times" in done.notes[0]
    same = train(hungry(4), {**known, "micro_batch_size": 4, "gradient_accumulation_steps": 8}, seed=0, steps=6, total_steps=20)
    assert done.rows == same.rows


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (hungry(0), "ran out of memory on cpu even with micro_batch_size 1; make it smaller: the model"),
        (hungry(4, size=lambda known: 64), r"its batches do not follow micro_batch_size \(64 samples at 8\)"),
    ],
)
def test_what_no_smaller_batch_can_help_is_one_clear_line(probe: Any, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        all_of(trainer(probe), job())


def test_a_model_that_does_not_fit_is_said_to_run_out_of_memory() -> None:
    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        return Probe(nn.Linear(2**30, 2**30), list, lambda model, batch: torch.zeros(()))

    with pytest.raises(ProbeError, match="even with micro_batch_size 1"):
        all_of(trainer(probe), job())
    with pytest.raises(OutOfMemory, match="ran out of memory on cpu; halve"):
        all_of(trainer(probe), Job("recorded", 0, {"learning_rate": 0.01}, 6, 20))


def test_the_memory_of_the_failed_training_is_free_before_the_next() -> None:
    alive: list[int] = []

    class Held(nn.Linear):
        count = 0

        def __init__(self) -> None:
            super().__init__(4, 1)
            Held.count += 1

        def __del__(self) -> None:
            Held.count -= 1

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made = hungry(4)(hyperparameters, seed)
        alive.append(Held.count)
        return Probe(Held(), made.batches, made.loss)

    gc.collect()
    all_of(trainer(probe), job())
    assert alive[:3] == [0, 0, 0]


def test_the_range_test_answers_the_same_way() -> None:
    test = range_test(hungry(8), steps=40, orders=2, device="cpu")
    assert len(test.sweeps) == 2
    assert test.notes == (
        "out of memory at micro_batch_size 16 on cpu: probed with 8 and 2 times the gradient_accumulation_steps, the same global batch,"
        " which is also the fix for a run that runs out of memory (S0-046, S0-047)",
    )
    assert "Out of memory at micro_batch_size 16 on cpu" in text(test, Layout())


def test_a_batch_is_measured_whatever_holds_it() -> None:
    tokens = torch.zeros(4, 9)
    assert extent(tokens) == Extent(4, 36)
    assert extent({"input_ids": tokens, "labels": [tokens]}) == Extent(4, 72)
    assert extent((torch.zeros(()), 1)) == Extent(1, 1)
    assert extent(["a", "b"]) == Extent(2, 2)
    assert extent("text") is None


@given(st.integers(2, 10_000))
def test_halves_divide(size: int) -> None:
    assert size % halved(size) == 0 and 1 <= halved(size) <= size / 2


def test_an_odd_micro_batch_keeps_its_global_batch() -> None:
    fitting = Fitting(hungry(2), "cpu")
    seen: list[dict[str, Any]] = []

    def attempt(function: Any, values: dict[str, Any]) -> None:
        seen.append(values)
        train(function, values, seed=0, steps=1, total_steps=2)

    fitting.run({"learning_rate": 0.1, "micro_batch_size": 12, "gradient_accumulation_steps": 1}, attempt)
    assert [(entry["micro_batch_size"], entry["gradient_accumulation_steps"]) for entry in seen] == [(12, 1), (6, 2), (3, 4), (1, 12)]
    assert {entry["global_batch_size"] for entry in seen} == {12}
