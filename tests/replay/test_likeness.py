from __future__ import annotations

import math

import pytest

from diag.replay.likeness import ALIKE, deviation
from diag.replay.trainer import Row, Trained
from diag.run import Run


def falling(step: int) -> float:
    return 2.0 * math.exp(-step / 40) + 0.5


def trained(steps: int = 60, times: float = 1.0) -> Trained:
    return Trained([{"step": float(step), "train/loss": times * falling(step)} for step in range(1, steps + 1)], steps, 200, 1.0)


def log(*, every: int = 10, mean: bool = True) -> Run:
    """A run that logged the mean loss since the last logged step, or the last loss."""
    rows: list[Row] = []
    for step in range(every, 201, every):
        window = [falling(s) for s in range(step - every + 1, step + 1)]
        rows.append({"step": float(step), "train/loss": sum(window) / every if mean else window[-1]})
    return Trained(rows, 200, 200, 1.0).to_run("log", {})


@pytest.mark.parametrize("mean", [True, False])
def test_the_same_training_follows_its_log_however_that_was_averaged(mean: bool) -> None:
    found = deviation(log(mean=mean), trained())
    assert found is not None and found < (1e-9 if mean else ALIKE)


def test_another_training_does_not() -> None:
    found = deviation(log(), trained(times=1.5))
    assert found is not None and found > ALIKE
    nearly = deviation(log(), trained(times=1.03))
    assert nearly is not None and nearly < ALIKE


def test_a_few_spikes_do_not_matter() -> None:
    spiked = trained()
    spiked.rows[25]["train/loss"] = 500.0
    assert deviation(log(every=2), spiked) == pytest.approx(0, abs=1e-9)


def test_too_little_to_compare_is_no_answer() -> None:
    assert deviation(log(), trained(steps=30)) is None
    assert deviation(log(every=100), trained()) is None
    broken = trained()
    broken.rows[-1]["train/loss"] = math.nan
    assert deviation(log(), broken) is None
