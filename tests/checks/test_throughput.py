"""Throughput checks: stalls, slow-down, memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.battery import examine
from diag.check import Finding
from diag.run import FloatArray, Run


def findings(run: Run, code: str) -> list[Finding]:
    """What one check says; it must not crash."""
    result = examine(run, select=(code,))
    assert not result.crashes
    return result.findings


def timed(gaps: FloatArray, evals: int = 0) -> Run:
    """A run whose rows were written after these seconds each."""
    run = healthy(n=gaps.size, evals=evals).run()
    curve = run.curves["train/loss"]
    run.curves["train/loss"] = replace(curve, wall_time=1.7e9 + np.cumsum(gaps))
    return run


def test_stalls() -> None:
    gaps = np.full(200, 30.0)
    gaps[100] = 4000.0
    (finding,) = findings(timed(gaps), "THR001")
    assert finding.severity == "info"
    assert (finding.step_start, finding.step_end) == (500, 505)
    gaps[[50, 120, 180]] = 4000.0
    (finding,) = findings(timed(gaps), "THR001")
    assert finding.severity == "warning"
    assert finding.causes["throughput_degraded"] > 0
    assert not finding.verdicts


@pytest.mark.parametrize("longest", [1700.0, 250.0])
def test_short_gaps_are_no_stall(longest: float) -> None:
    gaps = np.full(200, 20.0)
    gaps[[50, 100, 150]] = longest
    assert findings(timed(gaps), "THR001") == []


def test_long_gaps_that_are_usual_are_no_stall() -> None:
    assert findings(timed(np.full(100, 3000.0)), "THR001") == []


def test_long_evaluations_are_no_stall() -> None:
    run = timed(np.full(200, 30.0), evals=20)
    steps, curve = run.curves["eval/loss"].step, run.curves["train/loss"]
    gaps = np.where(np.isin(curve.step, steps + 5), 2400.0, 30.0)
    run.curves["train/loss"] = replace(curve, wall_time=1.7e9 + np.cumsum(gaps))
    assert findings(run, "THR001") == []


@pytest.mark.parametrize("metric", ["step_time", "tokens_per_second", "wall_time"])
def test_slow_down(metric: str) -> None:
    random = np.random.default_rng(3)
    seconds = 10.0 * np.linspace(1.0, 2.5, 300) * np.exp(0.05 * random.standard_normal(300))
    run = timed(seconds * 5)
    if metric != "wall_time":
        values = seconds if metric == "step_time" else 1000 / seconds
        run.curves[metric] = replace(run.curves["train/loss"], value=values)
    (finding,) = findings(run, "THR002")
    assert finding.severity == "warning"
    assert finding.evidence["source"] == metric
    assert finding.evidence["ratio"] == pytest.approx(2.1, abs=0.25)
    assert not finding.verdicts


def test_single_slow_steps_and_evaluations_are_no_slow_down() -> None:
    gaps = np.full(300, 50.0)
    gaps[200::20] = 500.0
    gaps[:10] = 200.0
    assert findings(timed(gaps), "THR002") == []


def test_short_runs_are_not_judged() -> None:
    run = timed(np.linspace(0.1, 0.5, 300))
    assert "too short" in examine(run, select=("THR002",)).skipped[0].reason


def test_slower_generation_of_a_reward_run_is_a_remark() -> None:
    run = timed(np.linspace(50.0, 200.0, 300))
    run.curves["reward"] = run.curves["train/loss"]
    assert [finding.severity for finding in findings(run, "THR002")] == ["info"]


@given(seed=st.integers(0, 200), noise=st.floats(0.01, 0.5))
def test_a_steady_pace_is_no_slow_down(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    run = timed(50.0 * np.exp(noise * random.standard_normal(200)))
    assert [finding for finding in findings(run, "THR002") if finding.severity == "warning"] == []


def test_no_times_is_a_reason_not_a_pass() -> None:
    run = timed(np.full(100, 30.0))
    run.curves = {name: replace(curve, wall_time=np.full(len(curve), np.nan)) for name, curve in run.curves.items()}
    assert {skip.code for skip in examine(run, select=("THR001", "THR002")).skipped} == {"THR001", "THR002"}


def test_memory_growth() -> None:
    (finding,) = findings(healthy().metric("gpu_memory", np.linspace(20.0, 40.0, 200)).run(), "THR003")
    assert finding.severity == "info"
    assert finding.evidence["growth"] > 0.3


def test_memory_that_reached_its_peak_is_steady() -> None:
    random = np.random.default_rng(0)
    assert findings(healthy().metric("gpu_memory", np.minimum(np.arange(200) / 10 + 20, 22)).run(), "THR003") == []
    assert findings(healthy().metric("gpu_memory", 30 + random.random(200) * 10).run(), "THR003") == []
