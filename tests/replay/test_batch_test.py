"""The search over sizes, on trials whose memory and time are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import UsageError
from diag.replay.batch_test import BOUND, DATA, IGNORED, MEMORY, RESOLUTION, BatchTest, batch_test, share_of
from diag.replay.batch_trial import Measured, Request
from diag.replay.fitting import Extent
from diag.replay.probe import Probe, ProbeFunction
from diag.run import Hyperparameter, Run

LIMIT = 1000


def unused(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
    raise AssertionError("nothing is trained in this process")


PROBE = ProbeFunction("probe.py", unused, "digest")


def machine(
    room: int, *, fixed: float = 0.01, saturates: int = 32, samples: Callable[[int], int] = lambda size: size
) -> Callable[[Request], Measured]:
    """Fits ``room`` samples; a pass takes a fixed time until so many are trained at once that it grows with them."""

    def attempt(request: Request) -> Measured:
        size = request.hyperparameters["micro_batch_size"]
        seen = samples(size)
        batch = Extent(seen, 7 * seen)
        if seen > room:
            return Measured(False, LIMIT, batch=batch, why="out of memory")
        return Measured(True, LIMIT, 10 * seen, fixed * max(seen / saturates, 1.0), 0.0, batch)

    return attempt


def run_of(dialect: str = "hf", **hyperparameters: Any) -> Run:
    known = {name: Hyperparameter(value, "config.yaml") for name, value in hyperparameters.items()}
    return Run("run", "run", "none", {}, known, dialect)


def found(attempt: Callable[[Request], Measured], run: Run | None = None, **options: Any) -> BatchTest:
    return batch_test(PROBE, run, attempt=attempt, device="cpu", **options)


def test_it_grows_until_it_does_not_fit_and_then_looks_between() -> None:
    test = found(machine(100))
    assert [trial.size for trial in test.trials] == [2, 4, 8, 16, 32, 64, 96, 100, 104, 112, 128]
    assert (test.largest, test.ended, test.limit) == (100, MEMORY, LIMIT)
    assert [trial.why for trial in test.trials if not trial.fits] == ["out of memory"] * 3


@given(room=st.integers(1, 2000), most=st.integers(1, 1500))
def test_the_largest_that_fits_is_found_to_a_sixteenth(room: int, most: int) -> None:
    test = found(machine(room), most=most)
    assert test.largest is not None and test.suggested is not None
    assert test.suggested <= test.largest <= min(room, most)
    assert min(room, most) - test.largest <= max(test.largest / RESOLUTION, 1)
    assert all(trial.fits == (trial.size <= room) for trial in test.trials)
    assert len(test.trials) < 20


def test_where_it_stops_paying_is_what_is_suggested() -> None:
    test = found(machine(256, saturates=32), most=256)
    assert (test.suggested, test.pays, test.largest, test.ended, test.bound) == (32, 32, 256, BOUND, 256)
    assert found(machine(256, saturates=10_000), most=256).suggested == 256
    assert found(machine(256, saturates=1), most=256).suggested == 2


def test_the_time_of_the_update_is_shared_by_all_samples_of_a_step() -> None:
    """Accumulation spares no updates, so that a costly one is no reason for a larger micro-batch."""

    def attempt(request: Request) -> Measured:
        size = request.hyperparameters["micro_batch_size"]
        return Measured(True, LIMIT, 1, 0.001 * size, 1.0, Extent(size, size))

    assert found(attempt, run_of(micro_batch_size=2, gradient_accumulation_steps=32)).suggested == 2
    assert found(attempt, most=64).suggested == 64


def test_one_sample_is_tried_last() -> None:
    test = found(machine(1))
    assert [(trial.size, trial.fits) for trial in test.trials] == [(1, True), (2, False)]
    assert test.suggested == 1


def test_nothing_fits() -> None:
    test = found(machine(0))
    assert (test.suggested, test.largest, test.overrides) == (None, None, None)
    assert test.reason == "not even a micro-batch of 1 fits (out of memory); take a smaller model or shorter samples"


@pytest.mark.parametrize("room", [10, 64, 1000])
def test_a_probe_that_does_not_follow_the_size_is_told(room: int) -> None:
    test = found(machine(room, samples=lambda size: 64))
    assert test.suggested is None
    assert test.reason.startswith("the batches do not follow micro_batch_size: they hold 64 samples at ")
    assert (test.ended == IGNORED) == (room >= 64)


def test_data_that_end_are_no_such_probe() -> None:
    test = found(machine(1000, samples=lambda size: min(size, 50)))
    assert (test.ended, test.largest) == (DATA, 64)
    assert max(trial.size for trial in test.trials) == 64


def test_pairs_and_packed_samples_follow() -> None:
    assert found(machine(64, samples=lambda size: 2 * size)).largest == 32

    def packed(request: Request) -> Measured:
        size = request.hyperparameters["micro_batch_size"]
        return Measured(size <= 20, LIMIT, 1, 0.01 * size, 0.0, Extent(1, 512 * size))

    assert found(packed).largest == 20


def test_a_run_keeps_its_global_batch_in_its_own_words() -> None:
    run = run_of(micro_batch_size=4, gradient_accumulation_steps=16, global_batch_size=64)
    test = found(machine(40, saturates=16), run)
    assert (test.suggested, test.accumulation, test.share, test.recorded) == (16, 4, 64, (4, 16))
    assert test.overrides is not None
    assert test.overrides.arguments == ["--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "4"]


def test_only_divisors_of_the_step_are_suggested() -> None:
    run = run_of(micro_batch_size=1, gradient_accumulation_steps=24)
    test = found(machine(17, saturates=16), run)
    assert (test.suggested, test.accumulation) == (12, 2)
    assert 12 in [trial.size for trial in test.trials]
    assert found(machine(1000, saturates=9), run).suggested == 24
    assert found(machine(1000), run).bound == 24


def test_a_run_that_has_it_is_left_alone() -> None:
    test = found(machine(16, saturates=16), run_of(micro_batch_size=16, gradient_accumulation_steps=1))
    assert (test.suggested, test.overrides) == (16, None)


def test_the_share_of_a_device() -> None:
    assert share_of({"micro_batch_size": 4, "gradient_accumulation_steps": 8, "global_batch_size": 256, "world_size": 8}) == 32
    assert share_of({"global_batch_size": 256, "world_size": 8}) == 32
    assert share_of({"micro_batch_size": 4}) == 4
    assert share_of({}) is None


def test_accumulation_is_tried_where_the_run_has_room_for_it() -> None:
    asked: list[Request] = []

    def attempt(request: Request) -> Measured:
        asked.append(request)
        return machine(1000)(request)

    found(attempt, run_of(micro_batch_size=8, gradient_accumulation_steps=1, max_seq_len=99, seed=3))
    batches = [(entry.hyperparameters["micro_batch_size"], entry.hyperparameters["gradient_accumulation_steps"]) for entry in asked]
    assert batches == [(2, 2), (4, 2), (8, 1)]
    assert [entry.limit for entry in asked] == [None, LIMIT, LIMIT]
    assert {(entry.probe, entry.seed, entry.device, entry.hyperparameters["max_seq_len"]) for entry in asked} == {
        ("probe.py", 3, "cpu", 99)
    }


def test_sizes_and_limits_are_positive() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        found(machine(1), most=0)
    with pytest.raises(UsageError, match="at least 1"):
        found(machine(1), limit=0)
