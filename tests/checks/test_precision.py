"""Precision checks: loss scale, skipped steps, fp16."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.battery import examine
from diag.check import Finding
from diag.run import LogEvent, Run


def findings(run: Run, code: str) -> list[Finding]:
    """What one check says; it must not crash."""
    result = examine(run, select=(code,))
    assert not result.crashes
    return result.findings


def scaled(levels: object, logging_steps: int = 5) -> Run:
    """A run that logged the loss scale two to the power of these levels."""
    values = 2.0 ** np.asarray(levels, dtype=np.float64)
    return healthy(n=values.size, logging_steps=logging_steps).metric("loss_scale", values).run()


def test_collapse_of_the_loss_scale() -> None:
    levels = np.full(200, 15.0)
    levels[120:] = np.maximum(15 - np.arange(80), -3)
    (finding,) = findings(scaled(levels), "PRC001")
    assert finding.severity == "error"
    assert finding.causes["precision_overflow"] >= 3
    assert finding.step_start is not None and 590 <= finding.step_start <= 610


def test_several_halvings_that_recover_are_a_warning() -> None:
    levels = np.full(200, 15.0)
    levels[100:110] = np.arange(14.0, 4.0, -1.0)
    levels[110:] = 10
    (finding,) = findings(scaled(levels), "PRC001")
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    "levels",
    [
        np.full(200, 15.0),
        np.concatenate([np.arange(32.0, 12.0, -1.0), np.full(180, 13.0)]),  # the scaler looks for its level
        np.tile(np.repeat([15.0, 16.0], 50), 2),  # grows, overflows once, halves
        15 + np.sin(np.arange(200)) * 0,
    ],
)
def test_a_working_scaler(levels: object) -> None:
    assert findings(scaled(levels), "PRC001") == []


@pytest.mark.parametrize("logging_steps", [1, 5, 50])
def test_a_collapse_is_told_by_the_share_of_the_run(logging_steps: int) -> None:
    levels = np.full(100, 15.0)
    for at in (50, 55, 60, 65):
        levels[at:] -= 1
    (finding,) = findings(scaled(levels, logging_steps), "PRC001")
    assert finding.severity == "warning"
    assert finding.evidence["halvings"] == 4
    assert findings(scaled(np.repeat(levels, 2), logging_steps), "PRC001")  # logged twice as often
    assert findings(scaled(np.repeat([15.0, 14.0, 13.0, 12.0, 11.0], 20), logging_steps), "PRC001") == []


def test_halvings_far_apart_in_a_long_log_are_a_scaler_at_work() -> None:
    levels = np.repeat([15.0, 14.0, 13.0, 12.0, 11.0, 11.0, 11.0, 11.0, 11.0, 11.0], [1000, 100, 100, 100, *[1000] * 6])
    assert findings(scaled(levels, logging_steps=1), "PRC001") == []


def test_slow_descent_over_a_long_run() -> None:
    assert findings(scaled(np.repeat([16.0, 15.0, 14.0, 13.0, 12.0, 11.0], 40), logging_steps=50), "PRC001") == []


def test_exhausted_scale_of_the_console() -> None:
    (finding,) = findings(healthy().run(events=[LogEvent("loss_scale_exhausted", 700, "Current loss scale already at minimum")]), "PRC001")
    assert finding.severity == "error"
    assert finding.step_start == 700


def test_no_loss_scale_is_a_reason() -> None:
    assert "loss_scale" in examine(healthy().run(), select=("PRC001",)).skipped[0].reason


def with_bad_norms(count: int) -> RunBuilder:
    base = healthy(n=400).grad_norm()
    norms = base.other["grad_norm"].copy()
    norms[np.linspace(20, 390, count).astype(int)] = np.inf
    return base.metric("grad_norm", norms).hyperparameters(precision="fp16")


def test_few_infinite_norms_are_the_scaler_at_work() -> None:
    assert [finding.severity for finding in findings(with_bad_norms(3).run(), "PRC002")] == ["info"]
    assert findings(healthy().grad_norm().run(), "PRC002") == []


@pytest.mark.parametrize("logging_steps", [1, 10])
def test_overflows_of_the_first_tenth_are_the_search_for_a_scale(logging_steps: int) -> None:
    base = healthy(n=100, logging_steps=logging_steps).grad_norm().hyperparameters(precision="fp16")
    early, later = base.other["grad_norm"].copy(), base.other["grad_norm"].copy()
    early[:8], later[40:48] = np.inf, np.inf
    assert findings(base.metric("grad_norm", early).run(), "PRC002") == []
    assert [finding.severity for finding in findings(base.metric("grad_norm", later).run(), "PRC002")] == ["warning"]


def test_many_infinite_norms_are_an_overflow() -> None:
    (finding,) = findings(with_bad_norms(20).run(), "PRC002")
    assert finding.severity == "warning"
    assert finding.causes["precision_overflow"] >= 2


def test_norms_after_the_loss_was_lost_do_not_count() -> None:
    base = healthy(n=200).grad_norm()
    lost = np.arange(200) >= 100
    run = base.losses(train=np.where(lost, np.nan, base.train)).metric("grad_norm", np.where(lost, np.nan, base.other["grad_norm"])).run()
    assert findings(run, "PRC002") == []


def test_overflow_lines_and_counters() -> None:
    events = [LogEvent("loss_scale_overflow", step, "OVERFLOW!", count=2) for step in range(30, 1000, 20)]
    assert [finding.severity for finding in findings(healthy().run(events=events), "PRC002")] == ["warning"]
    assert [finding.severity for finding in findings(healthy().run(events=events[-1:]), "PRC002")] == ["info"]
    assert findings(healthy().run(events=events[:2]), "PRC002") == []  # in the first tenth of the run
    counted = healthy().metric("number of skipped iterations", np.where(np.arange(200) % 2 == 0, 1.0, 0.0)).run()
    assert [finding.severity for finding in findings(counted, "PRC002")] == ["warning"]
    cumulative = healthy().metric("skipped_steps", np.minimum(np.arange(200), 3.0)).run()
    assert [finding.severity for finding in findings(cumulative, "PRC002") if finding.severity != "info"] == []


@pytest.mark.parametrize(
    ("precision", "accumulation", "fires"), [("fp16", 16, True), ("fp16", 64, True), ("fp16", 8, False), ("bf16", 32, False)]
)
def test_accumulation_in_fp16(precision: str, accumulation: int, fires: bool) -> None:
    run = healthy().hyperparameters(precision=precision, gradient_accumulation_steps=accumulation).run()
    found = findings(run, "PRC003")
    assert bool(found) == fires
    assert all(finding.severity == "info" and not finding.causes for finding in found)


def test_accumulation_in_fp16_with_a_lost_loss() -> None:
    base = healthy().hyperparameters(precision="fp16", gradient_accumulation_steps=32)
    (finding,) = findings(base.losses(train=np.where(np.arange(200) > 100, np.nan, base.train)).run(), "PRC003")
    assert finding.severity == "warning"
    assert finding.causes["precision_overflow"] > 0


def lost(precision: str, grew: float = 1.0) -> Run:
    base = healthy().hyperparameters(precision=precision)
    index = np.arange(200)
    rising = np.where((index > 90) & (index <= 100), base.train * grew ** ((index - 90) / 10), base.train)
    return base.losses(train=np.where(index > 100, np.nan, rising)).run()


def test_lost_loss_in_fp16() -> None:
    (finding,) = findings(lost("fp16"), "PRC004")
    assert finding.causes["precision_overflow"] >= 3
    assert finding.step_start == 510


def test_loss_that_blew_up_first_speaks_less_for_the_format() -> None:
    (finding,) = findings(lost("fp16", grew=50.0), "PRC004")
    assert finding.causes["precision_overflow"] < 2


def test_loss_that_was_never_finite() -> None:
    run = healthy().losses(train=np.full(200, np.nan), evals=np.full(20, np.nan)).hyperparameters(precision="fp16").run()
    assert [finding.causes["precision_overflow"] for finding in findings(run, "PRC004")] == [3.5]


def test_a_loss_scale_means_fp16() -> None:
    base = healthy().losses(train=np.where(np.arange(200) > 100, np.nan, 1.0))
    assert examine(base.run(), select=("PRC004",)).skipped
    assert findings(base.metric("loss_scale", 32768.0).run(), "PRC004")


@pytest.mark.parametrize("run", [lost("bf16"), healthy().hyperparameters(precision="fp16").run()])
def test_fp16_check_is_silent(run: Run) -> None:
    assert findings(run, "PRC004") == []


@pytest.mark.parametrize(
    ("lost_rows", "fires"),
    [(slice(100, None), True), (slice(101, None), False), (slice(0, 199), False), (slice(None, None, 10), False)],
    ids=["half", "less than half", "finite again", "now and then"],
)
def test_in_a_reward_driven_run_only_a_loss_that_is_mostly_lost_counts(lost_rows: slice, fires: bool) -> None:
    """Some of these logs hold a NaN where a batch had nothing to average."""
    base = healthy().no_eval().hyperparameters(precision="fp16")
    train = base.train.copy()
    train[lost_rows] = np.nan
    assert findings(base.losses(train).run(), "PRC004"), "without a reward any of them counts"
    assert bool(findings(base.losses(train).metric("reward", 0.5).run(), "PRC004")) is fires


@given(seed=st.integers(0, 200), precision=st.sampled_from(["fp16", "bf16", "fp32"]))
def test_family_is_silent_on_healthy_runs(seed: int, precision: str) -> None:
    random = np.random.default_rng(seed)
    levels = 15 + np.cumsum(random.choice([0.0, 0.0, 0.0, 1.0], 200) * 0)
    run = (
        healthy(seed=seed)
        .grad_norm()
        .metric("loss_scale", 2.0**levels)
        .hyperparameters(precision=precision, gradient_accumulation_steps=4)
        .run()
    )
    result = examine(run, select=("PRC",))
    assert not result.crashes
    assert result.findings == []
