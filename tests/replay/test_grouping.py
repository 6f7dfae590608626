from __future__ import annotations

import itertools
import math
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from diag.replay import grouping
from diag.replay.guard import ProbeError
from diag.replay.probe import Probe, ProbeFunction, settle
from diag.replay.probing import ProbeTrainer
from diag.replay.trainer import Job, Mark, Stop, Trained

Function = Callable[[Mapping[str, Any], int], Probe]
HYPERPARAMETERS = {"learning_rate": 0.01, "lr_scheduler": "cosine", "warmup_steps": 3, "micro_batch_size": 16, "optimizer": "adamw"}
CLOSE = 1e-4
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Results = dict[tuple[str, int], Trained]


def points() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=draw)
    return x, (x[:, :4] + 0.5 * torch.randn(200, 4, generator=draw)).argmax(1)


def classifier(
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None, *layers: Callable[[], nn.Module], **parts: Any
) -> Function:
    """Points in four classes, a small network; the last batch of a pass is smaller."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        x, y = points()
        dropout = nn.Dropout(hyperparameters.get("dropout", 0.0))
        model = nn.Sequential(nn.Linear(6, 12), *(layer() for layer in layers), nn.Tanh(), dropout, nn.Linear(12, 4))
        order = torch.Generator().manual_seed(seed)

        def cross_entropy(model: nn.Module, batch: Tensor) -> Tensor:
            return (loss or (lambda model, x, y: functional.cross_entropy(model(x), y)))(model, x[batch], y[batch])

        made = {
            "model": model,
            "batches": lambda: torch.split(torch.randperm(168, generator=order), hyperparameters["micro_batch_size"]),
            "loss": cross_entropy,
            "evaluation": lambda: torch.split(torch.arange(168, 200), 20),
        }
        return Probe(**{**made, **parts})

    return probe


def arms(*changes: dict[str, Any], seeds: int = 1, steps: int = 24, **others: Any) -> list[Job]:
    return [
        Job(f"arm-{number}", seed, settle({**HYPERPARAMETERS, **others, **change}), steps, 96)
        for seed in range(seeds)
        for number, change in enumerate(changes)
    ]


def train(function: Function, jobs: Sequence[Job], stack: bool | None, stop: Stop | None = None) -> tuple[Results, list[str]]:
    trainer = ProbeTrainer(ProbeFunction("probe", function, ""), "cpu", 60, stack=stack)
    done = {(job.arm, job.seed): done for job, done in trainer.train(jobs, stop=stop, deadline=math.inf, begin=lambda jobs: None)}
    assert len(done) == len(jobs)
    return done, trainer.remarks()


def assert_close(one: Results, other: Results, tolerance: float = CLOSE) -> None:
    assert one.keys() == other.keys()
    for key, done in one.items():
        twin = other[key]
        assert (done.steps, done.total_steps, done.stopped, done.notes) == (twin.steps, twin.total_steps, twin.stopped, twin.notes)
        assert [row.keys() for row in done.rows] == [row.keys() for row in twin.rows]
        assert done.loss == pytest.approx(twin.loss, rel=tolerance)
        for row, mirrored in zip(done.rows, twin.rows, strict=True):
            assert (row["step"], row["lr"]) == (mirrored["step"], mirrored["lr"])
            assert row == pytest.approx(mirrored, rel=tolerance, nan_ok=True)


def both_ways(function: Function, jobs: Sequence[Job], *, stacked: int | None = None, tolerance: float = CLOSE) -> list[str]:
    """Train both ways, hold the two to each other, and say what the trainer said."""
    together, said = train(function, jobs, True)
    assert_close(together, train(function, jobs, False)[0], tolerance)
    count = len(jobs) if stacked is None else stacked
    assert (said[0].split()[0] if said and "were stacked" in said[0] else "0") == str(count), said
    return said


CHANGES: Sequence[dict[str, Any]] = (
    {},
    {"learning_rate": 0.05, "weight_decay": 0.3},
    {"max_grad_norm": 0.2, "lr_scheduler": "linear", "min_lr": 0.001},
    {"weight_decay": 0.1, "warmup_steps": 0, "max_steps": 48, "lr_scheduler": "constant"},
)


@pytest.mark.parametrize(
    "others",
    [
        {"optimizer": "adamw"},
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"global_batch_size": 48},
        {"dropout": 0.3},
        {"dropout": 0.3, "global_batch_size": 32, "optimizer": "sgd"},
        {"optimizer": "lion"},
    ],
)
def test_arms_and_seeds_come_out_as_one_after_the_other(others: dict[str, Any]) -> None:
    both_ways(classifier(), arms(*CHANGES, seeds=2, **others))


def test_mixed_precision() -> None:
    both_ways(classifier(), arms(*CHANGES, precision="bf16"), tolerance=0.05)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "learning_rate": st.floats(1e-4, 0.05),
                "weight_decay": st.floats(0, 0.5),
                "max_grad_norm": st.floats(0.01, 10),
                "lr_scheduler": st.sampled_from(["constant", "cosine", "linear"]),
                "warmup_steps": st.integers(0, 10),
            }
        ),
        min_size=2,
        max_size=4,
    ),
    st.sampled_from(["adamw", "adam", "sgd"]),
)
@settings(max_examples=8, deadline=None)
def test_whatever_the_hyperparameters(changes: list[dict[str, Any]], optimizer: str) -> None:
    both_ways(classifier(), arms(*changes, steps=6, optimizer=optimizer))


def test_without_held_out_batches() -> None:
    both_ways(classifier(evaluation=None), arms(*CHANGES))


def test_running_statistics_are_kept_for_each() -> None:
    """With SGD: the gradient of a bias before the normalization is rounding alone, and Adam makes whole steps of it."""
    both_ways(classifier(None, lambda: nn.BatchNorm1d(12)), arms(*CHANGES, seeds=2, optimizer="sgd"))


def test_parameters_that_are_not_used_or_not_trained_stay() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.unused, self.used = nn.Linear(6, 8).requires_grad_(False), nn.Linear(3, 3), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(self.frozen(x).relu())  # type: ignore[no-any-return]

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        model = Partly()
        made = replace(classifier()(hyperparameters, seed), model=model)
        return made if seed == 0 else replace(made, parameters=[model.used.weight])

    both_ways(probe, arms(*CHANGES, weight_decay=0.5))
    both_ways(lambda hyperparameters, seed: probe(hyperparameters, 1), arms(*CHANGES))


def test_tied_weights_stay_tied() -> None:
    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made = classifier()(hyperparameters, seed)
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 4))
        model[2].weight = model[0].weight
        return replace(made, model=model)

    both_ways(probe, arms(*CHANGES, seeds=2))


def test_one_that_diverges_ends_and_the_others_go_on() -> None:
    jobs = arms({}, {"learning_rate": 1e25}, {"learning_rate": 0.02}, optimizer="sgd", warmup_steps=0)
    squared = classifier(lambda model, x, y: functional.mse_loss(model(x), functional.one_hot(y, 4).float()))
    both_ways(squared, jobs)
    stopped = {arm: done.stopped for (arm, _), done in train(squared, jobs, True)[0].items()}
    assert stopped == {"arm-0": "", "arm-1": stopped["arm-1"], "arm-2": ""} and stopped["arm-1"]


def test_arms_that_are_stopped_leave_the_stack() -> None:
    asked: list[list[str]] = []

    def stop(marks: Sequence[Mark]) -> list[str]:
        asked.append([job.arm for job, _ in marks])
        return ["behind" if job.arm == "arm-1" and row["step"] >= 10 else "" for job, row in marks]

    jobs = arms(*CHANGES, optimizer="sgd")
    together, _ = train(classifier(), jobs, True, stop)
    assert max(map(len, asked)) == 4 and len(asked[-1]) == 3
    assert_close(together, train(classifier(), jobs, False, stop)[0])
    assert [len(done.rows) for done in together.values()] == [24, 10, 24, 24]


class Adapted(nn.Module):
    """A frozen layer with a LoRA adapter."""

    scale: Tensor | float

    def __init__(self, base: nn.Linear, rank: int, alpha: float, *, buffer: bool) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        if buffer:
            self.register_buffer("scale", torch.tensor(alpha / rank))
        else:
            self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))  # type: ignore[no-any-return]


def adapters(*, buffer: bool = True) -> Function:
    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = nn.Linear(6, 16), nn.Linear(16, 4)
        rank, alpha = hyperparameters["lora_rank"], hyperparameters["lora_alpha"]
        model = nn.Sequential(*(Adapted(layer, rank, alpha, buffer=buffer) for layer in layers))
        return replace(classifier()(hyperparameters, seed), model=model)

    return probe


RANKS = ({"lora_rank": 4}, {"lora_rank": 8}, {"lora_rank": 2, "learning_rate": 0.03}, {"lora_rank": 8, "lora_alpha": 32})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_adapters_of_different_ranks_on_one_base(optimizer: str) -> None:
    both_ways(adapters(), arms(*RANKS, seeds=2, lora_alpha=16, optimizer=optimizer, max_grad_norm=0.1, weight_decay=0.1))


def test_a_scale_that_is_a_number_parts_the_ranks() -> None:
    both_ways(adapters(buffer=False), arms(*RANKS, *RANKS, lora_alpha=16), stacked=8)
    said = both_ways(adapters(buffer=False), arms(*RANKS, lora_alpha=16), stacked=0)
    assert said == ["4 trainings were done one after the other: together, the losses are not those of each alone."]


def test_arms_that_the_probe_builds_differently_are_parted() -> None:
    both_ways(classifier(), arms({"dropout": 0.1}, {"dropout": 0.1, "learning_rate": 0.1}, {"dropout": 0.4}), stacked=2)


def test_what_differs_behind_the_loss_is_found_out() -> None:
    """A loss that the seed or the rate changes is not that of the others, though every tensor fits."""

    def by_rate(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made = classifier()(hyperparameters, seed)
        return replace(made, loss=lambda model, batch: made.loss(model, batch) * hyperparameters["learning_rate"])

    def by_seed(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made = classifier()(hyperparameters, seed)
        return replace(made, loss=lambda model, batch: made.loss(model, batch) * (1 + seed))

    said = both_ways(by_rate, arms(*CHANGES), stacked=0)
    assert said == ["4 trainings were done one after the other: together, the losses are not those of each alone."]
    both_ways(by_seed, arms({}, {"learning_rate": 0.05}, seeds=2), stacked=4)


def reading(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    loss = functional.cross_entropy(model(x), y)
    return loss if loss.item() < 1e9 else loss * 0


def branching(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    loss = functional.cross_entropy(model(x), y)
    return loss if loss < 1e9 else loss * 0


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (classifier(reading), r"RuntimeError: .*\.item\(\) on a Tensor \(test_grouping.py:\d+\)"),
        (classifier(branching), r"RuntimeError: .*data-dependent control flow \(test_grouping.py:\d+\)"),
        (classifier(optimizer=lambda parameters, rate: torch.optim.RMSprop(parameters, lr=rate)), "it has an optimizer of its own"),
    ],
)
def test_a_probe_that_cannot_be_stacked_is_trained_as_before(function: Function, reason: str) -> None:
    jobs = arms(*CHANGES)
    together, said = train(function, jobs, None)
    assert together == train(function, jobs, False)[0]
    assert len(said) == 1
    assert re.fullmatch(rf"4 trainings were done one after the other: {reason}\.", said[0])


def test_groups_of_parameters_are_trained_as_before() -> None:
    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        made = classifier()(hyperparameters, seed)
        weights = list(made.model.parameters())
        return replace(made, parameters=[{"params": weights[:2], "weight_decay": 0.0}, {"params": weights[2:]}])

    assert both_ways(probe, arms(*CHANGES), stacked=0) == [
        "4 trainings were done one after the other: its parameters are in groups of their own."
    ]


def test_random_numbers_of_python_part_the_seeds() -> None:
    def noisy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(model(x + random.random()), y)

    both_ways(classifier(noisy), arms(*CHANGES, seeds=2))


def test_a_failure_late_in_a_stack_starts_anew_alone() -> None:
    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        count = itertools.count()
        return classifier(lambda model, x, y: (reading if next(count) > 15 else branching_free)(model, x, y))(hyperparameters, seed)

    both_ways(probe, arms(*CHANGES), stacked=0)


def branching_free(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), y)


def test_an_error_of_the_probe_is_told_as_ever() -> None:
    def broken(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        raise ValueError("of course")

    with pytest.raises(ProbeError, match=r"the probe raised ValueError: of course \(test_grouping.py"):
        train(classifier(broken), arms(*CHANGES), True)


def test_what_does_not_pay_is_done_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "LEAST_GAIN", math.inf)
    jobs = arms(*CHANGES)
    done, said = train(classifier(), jobs, None)
    assert done == train(classifier(), jobs, False)[0]
    assert said == ["4 trainings were done one after the other: that is as fast."]


def test_little_memory_makes_small_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "room", lambda member, device: 2)
    begun: list[int] = []
    trainer = ProbeTrainer(ProbeFunction("probe", classifier(), ""), "cpu", stack=True)
    jobs = arms(*CHANGES)
    found = trainer.train(jobs, stop=None, deadline=math.inf, begin=lambda group: begun.append(len(group)))
    assert_close({(job.arm, job.seed): done for job, done in found}, train(classifier(), jobs, False)[0])
    assert begun == [2, 2]


def test_a_deadline_ends_a_stack() -> None:
    function = ProbeFunction("probe", classifier(), "")
    trainer = ProbeTrainer(function, "cpu", stack=True)
    deadline = time.monotonic() + 0.5
    assert list(trainer.train(arms(*CHANGES, steps=100_000), stop=None, deadline=deadline, begin=lambda jobs: None)) == []
