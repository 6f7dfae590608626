"""Bookkeeping checks: what the log says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.battery import examine
from diag.check import Finding
from diag.run import Column, LogEvent, Overlap, Run, make_curve

FAMILY = ("LOG",)


def findings(run: Run, code: str) -> list[Finding]:
    """What one check says; it must not crash."""
    result = examine(run, select=(code,))
    assert not result.crashes
    return result.findings


def resumed(rise: float) -> RunBuilder:
    """A run that went back from step 600 to 500, where its loss came back ``1 + rise`` times as high."""
    base = healthy(n=200)
    return base.losses(train=np.where(base.step >= 500, base.train * (1 + rise), base.train)).set(
        overlaps=[Overlap("train/loss", 600, 500)]
    )


def test_resume_that_continues_is_a_remark() -> None:
    (finding,) = findings(resumed(0.0).run(), "LOG001")
    assert finding.severity == "info"
    assert not finding.causes
    assert (finding.step_start, finding.step_end) == (500, 600)


def test_resume_that_comes_back_higher_is_a_discontinuity() -> None:
    (finding,) = findings(resumed(0.4).run(), "LOG001")
    assert finding.severity == "warning"
    assert finding.causes["resume_discontinuity"] > 0
    assert "at step 500" in finding.message


def test_no_resume_no_remark() -> None:
    assert findings(healthy().run(), "LOG001") == []


@given(seed=st.integers(0, 200), noise=st.floats(0.005, 0.3))
def test_noise_alone_is_no_discontinuity(seed: int, noise: float) -> None:
    run = healthy(seed=seed, noise=noise).set(overlaps=[Overlap("train/loss", 800, 700)]).run()
    assert [finding.severity for finding in findings(run, "LOG001")] == ["info"]


def test_constant_train_loss() -> None:
    (finding,) = findings(healthy().losses(train=np.full(200, 2.303)).run(), "LOG003")
    assert finding.metric == "train/loss"
    assert finding.severity == "error"
    assert finding.causes["frozen_parameters"] >= 2
    assert finding.verdicts["PLATEAU"] > 0


def test_constant_evaluations_beside_a_noisy_flat_loss() -> None:
    random = np.random.default_rng(1)
    (finding,) = findings(
        healthy(evals=10).losses(train=2.3 * np.exp(0.1 * random.standard_normal(200)), evals=np.full(10, 2.2987)).run(), "LOG003"
    )
    assert finding.metric == "eval/loss"
    assert finding.causes["frozen_parameters"] > finding.causes["lr_too_low"]


@pytest.mark.parametrize(
    "builder",
    [
        healthy(),
        healthy(evals=10).losses(evals=2.3 + 0.001 * np.arange(10)),
        healthy(evals=10).losses(evals=np.full(10, 2.2987)),  # the training loss falls: the evaluation is what is wrong
        healthy().losses(train=np.full(200, 1e-4)),
        healthy(evals=5).losses(train=2.3 + 0.01 * np.sin(np.arange(200)), evals=np.full(5, 2.299)),  # agree by rounding
        healthy(n=10, evals=2).losses(train=np.full(10, 2.0)),
    ],
)
def test_flat_is_not_constant(builder: RunBuilder) -> None:
    assert findings(builder.run(), "LOG003") == []


@pytest.mark.parametrize(("idle", "cause"), [(0.5, "schedule_bug"), (0.2, "frozen_parameters")])
def test_a_constant_loss_at_a_rate_of_zero_comes_from_the_schedule(idle: float, cause: str) -> None:
    rate = np.where(np.arange(200) < 200 * (1 - idle), 1e-3, 0.0)
    (finding,) = findings(healthy().losses(train=np.full(200, 2.303)).metric("lr", rate).run(), "LOG003")
    assert max(finding.causes, key=lambda name: finding.causes[name]) == cause


def test_zero_loss_throughout() -> None:
    (finding,) = findings(healthy().losses(train=np.zeros(200)).grad_norm().run(), "LOG004")
    assert finding.severity == "error"
    assert finding.causes["data_corruption"] > 0


def test_zeros_among_ordinary_losses() -> None:
    base = healthy()
    (finding,) = findings(base.losses(train=np.where(np.arange(200) % 10 == 3, 0.0, base.train)).run(), "LOG004")
    assert finding.severity == "warning"
    assert finding.evidence["zeros"] == 20


def test_loss_that_was_rounded_to_zero_is_not_masked() -> None:
    falling = np.round(3.0 * np.exp(-np.arange(200) / 12), 4)
    assert falling[-1] == 0
    assert findings(healthy().losses(train=falling).run(), "LOG004") == []


def test_zero_loss_of_a_reward_log_is_normal() -> None:
    result = examine(healthy().losses(train=np.zeros(200)).metric("reward", 1.0).run(), select=("LOG004",))
    assert result.findings == []
    assert "reward" in result.skipped[0].reason


def test_interrupted_early() -> None:
    (finding,) = findings(healthy().run(planned_steps=3000, finished=False), "LOG005")
    assert finding.severity == "info"
    assert finding.evidence["share"] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    "run",
    [
        healthy().run(planned_steps=1000, finished=None),
        healthy().run(planned_steps=1004, finished=None),  # the last rows are not logged
        healthy().run(planned_steps=3000, finished=True),
        healthy().hyperparameters(early_stopping_patience=3).run(planned_steps=3000, finished=None),
    ],
)
def test_complete_or_stopped_by_itself(run: Run) -> None:
    assert findings(run, "LOG005") == []


def test_interrupted_without_a_plan_is_skipped() -> None:
    assert "planned" in examine(healthy().run(finished=None), select=("LOG005",)).skipped[0].reason


def crashed(kind: str, step: int, text: str = "it broke", **fields: object) -> Run:
    return healthy().run(events=[LogEvent(kind, step, text, "train.log", 7)], **{"finished": None, **fields})


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("out_of_memory", "out_of_memory"), ("host_out_of_memory", "out_of_memory"), ("nccl_timeout", ""), ("nonfinite_loss", "lr_too_high")],
)
def test_fatal_crashes(kind: str, cause: str) -> None:
    (finding,) = findings(crashed(kind, 1000), "LOG006")
    assert finding.severity == "error"
    assert (cause in finding.causes) == bool(cause)
    assert "train.log:7" in finding.message


def test_crash_that_was_survived_is_a_remark() -> None:
    (finding,) = findings(crashed("out_of_memory", 500), "LOG006")
    assert finding.severity == "info"
    assert not finding.causes


def test_exceptions_and_interrupts() -> None:
    assert [f.severity for f in findings(crashed("traceback", 1000), "LOG006")] == ["warning"]
    assert [f.severity for f in findings(crashed("killed", 1000, "KeyboardInterrupt"), "LOG006")] == ["info"]
    assert findings(crashed("traceback", 1000, finished=True), "LOG006") == []


def test_traceback_of_another_crash_is_not_told_twice() -> None:
    events = [LogEvent("traceback", 1000, "ChildFailedError"), LogEvent("out_of_memory", 1000, "CUDA out of memory")]
    assert [f.evidence["kind"] for f in findings(healthy().run(events=events, finished=None), "LOG006")] == ["out_of_memory"]


def test_epoch_stairs_are_explained() -> None:
    (finding,) = findings(healthy(n=240, epochs=4).epoch_stairs(0.15).run(), "LOG007")
    assert finding.severity == "info"
    assert not finding.verdicts
    assert finding.evidence["boundaries"] == 3
    assert finding.evidence["drop"] == pytest.approx(0.15, abs=0.06)


@given(seed=st.integers(0, 300))
def test_smooth_runs_have_no_stairs(seed: int) -> None:
    assert findings(healthy(n=240, epochs=4, seed=seed).run(), "LOG007") == []


def test_stairs_need_epochs_and_points() -> None:
    assert examine(healthy(n=240, epochs=0).run(), select=("LOG007",)).skipped
    assert examine(healthy(n=30, epochs=10).run(), select=("LOG007",)).skipped


@given(seed=st.integers(0, 100), noise=st.sampled_from([0.01, 0.05, 0.2]))
def test_family_is_silent_on_healthy_runs(seed: int, noise: float) -> None:
    result = examine(healthy(seed=seed, noise=noise).lr().grad_norm().run(planned_steps=1000), select=FAMILY)
    assert not result.crashes
    assert [f for f in result.findings if f.severity != "info"] == []


@pytest.mark.parametrize(("repeated", "expected"), [(2, 0), (10, 1)])
def test_repeated_steps_are_a_remark_from_a_few_on(repeated: int, expected: int) -> None:
    steps = list(range(1, 101)) + list(range(100, 100 - repeated, -1))[::-1]
    order = np.argsort(steps, kind="stable")
    curve, jumps = make_curve(Column([steps[i] for i in order], [1.0 / steps[i] for i in order]))
    run = healthy().run()
    run.curves["train/loss"] = curve
    assert not jumps
    assert [finding.severity for finding in findings(run, "LOG002")] == ["info"] * expected
