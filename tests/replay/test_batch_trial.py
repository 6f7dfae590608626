"""Trials in real processes: what they measure, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from diag.replay.batch_trial import KILLED, OUT_OF_MEMORY, OVER, Request, Trials
from diag.replay.fitting import Extent
from diag.replay.guard import ProbeError

PROBE = """
import os, signal
import torch
from torch import nn
from diag.replay import Probe

print("importing")

def probe(hyperparameters, seed):
    size = hyperparameters["micro_batch_size"]
    print("making a probe", flush=True)

    def loss(model, batch):
        if len(batch) > 512:
            raise ValueError("that many")
        if len(batch) > 256:
            os._exit(7)
        if len(batch) > 128:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(batch) > 64:
            torch.empty(2**50)
        held = torch.ones(len(batch), 2**18)  # a MiB a sample
        return model(batch).square().mean() + 0 * held.sum()

    return Probe(nn.Linear(4, 1), lambda: torch.zeros(1024, 4).split(size), loss)
"""
GIB = 2**30


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("trial") / "trial_probe.py"
    path.write_text(PROBE, encoding="utf-8")
    return str(path)


@pytest.fixture
def trials() -> Iterator[Trials]:
    with Trials() as made:
        yield made


def request(spec: str, size: int, limit: int | None = 8 * GIB, **changes: Any) -> Request:
    return Request(spec, {"micro_batch_size": size, "gradient_accumulation_steps": 2, **changes}, 0, "cpu", limit)


@pytest.mark.slow
def test_memory_and_time_grow_with_the_size_and_the_process_is_kept(spec: str, trials: Trials) -> None:
    small = trials(request(spec, 2))
    process = trials._process
    large = trials(request(spec, 64))
    assert trials._process is process
    assert small.fits and large.fits and small.memory is not None and large.memory is not None
    assert large.memory - small.memory > 50 * 2**20
    assert large.seconds > small.seconds > 0 < large.update_seconds
    assert (small.batch, large.batch, small.limit) == (Extent(2, 8), Extent(64, 256), 8 * GIB)
    again = trials(request(spec, 2))
    assert trials._process is not process and again.memory is not None and again.memory < large.memory


@pytest.mark.slow
def test_what_does_not_fit_is_told_by_how_it_ended(spec: str, trials: Trials) -> None:
    assert trials(request(spec, 128)).why == OUT_OF_MEMORY
    assert trials(request(spec, 256)).why == KILLED
    measured = trials(request(spec, 2, 2**20))
    assert (measured.fits, measured.memory) == (False, None)
    assert measured.why in (OUT_OF_MEMORY, OVER)


@pytest.mark.slow
def test_what_is_no_matter_of_memory_is_one_clear_line(spec: str, trials: Trials) -> None:
    with pytest.raises(ProbeError, match=r"with micro_batch_size 1024: the probe raised ValueError: that many \(trial_probe.py:\d+\)"):
        trials(request(spec, 1024))
    with pytest.raises(ProbeError, match="with micro_batch_size 512, the process of the probe ended with code 7: making a probe"):
        trials(request(spec, 512))


@pytest.mark.slow
def test_without_a_limit_it_is_most_of_what_is_free(spec: str, trials: Trials) -> None:
    measured = trials(request(spec, 2, None, precision="fp16"))
    assert measured.fits and measured.limit is not None and measured.limit > 2**27
    assert measured.notes == ("precision fp16 was probed in fp32, as cpu has nothing like it",)
