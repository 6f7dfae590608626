"""What is told of a run while it goes on: premature findings never, others when they have stood, each once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from builders import healthy

from diag.analysis import judge
from diag.battery import checks, examine
from diag.run import Column, Run, make_curve
from diag.vocabulary import DIVERGED, ERROR, HEALTHY, INFO, OVERFIT, WARNING
from diag.watching.events import Event, Found, Resolved, VerdictChanged
from diag.watching.monitor import Monitor
from diag.watching.prefix import up_to


def replayed(run: Run, looks: int = 60) -> Iterator[tuple[int, list[Event], Monitor]]:
    """Step, events and monitor of each look at a run as it grew."""
    monitor = Monitor()
    steps = np.unique(np.concatenate([curve.step for curve in run.curves.values()]))
    for step in steps[np.unique(np.linspace(4, len(steps) - 1, looks).astype(int))].tolist():
        yield step, monitor.see(up_to(run, step)), monitor


def codes(events: list[Event], least: str = WARNING) -> list[str]:
    order = (INFO, WARNING, ERROR)
    return [e.finding.code for e in events if isinstance(e, Found) and order.index(e.finding.severity) >= order.index(least)]


def test_a_healthy_run_is_silent_at_every_look() -> None:
    run = healthy(n=200, evals=20).lr("cosine", peak=2e-5).hyperparameters(num_epochs=3, learning_rate=2e-5).run()
    told = [code for _, events, _ in replayed(run) for code in codes(events)]
    assert told == []


def test_what_only_the_end_can_tell_is_skipped_with_the_reason() -> None:
    run = healthy(n=100, evals=10).lr("linear", peak=2e-5).run()
    run.ongoing = True
    skipped = {skip.code: skip.reason for skip in examine(run).skipped}
    premature = [check for check in checks() if check.premature]
    assert len(premature) > 10
    assert all(skipped[check.code].startswith("the run is still going on: ") for check in premature if not check.reward_logs)


def test_a_nan_is_told_at_the_look_that_sees_it_and_once() -> None:
    run = healthy(n=100).nan(at=0.5).run()
    first = int(run.curves["train/loss"].step[np.argmax(~np.isfinite(run.curves["train/loss"].value))])
    told = [(step, event) for step, events, _ in replayed(run, looks=96) for event in events if isinstance(event, Found)]
    found = [(step, event) for step, event in told if (event.finding.code, event.finding.metric) == ("DIV001", "train/loss")]
    assert [(step, event.finding.step_start) for step, event in found] == [(first, first)]
    assert found[0][1].report.diagnosis.verdict == DIVERGED


def test_overfitting_is_told_when_it_has_stood_for_a_tenth_of_the_steps() -> None:
    run = healthy(n=300, evals=30, noise=0.005).overfit(at=0.4, rise=0.4).run()
    seen = next(step for step in run.curves["eval/loss"].step.tolist() if "OVF001" in {f.code for f in examine(up_to(run, step)).findings})
    told = next(step for step, events, _ in replayed(run, looks=150) if "OVF001" in codes(events))
    assert seen + 0.1 * told <= told <= 1.3 * seen
    changed = [e for _, events, _ in replayed(run) for e in events if isinstance(e, VerdictChanged)]
    assert (changed[-1].previous, changed[-1].report.diagnosis.verdict) == (HEALTHY, OVERFIT)


def test_a_first_look_that_comes_late_tells_what_has_stood_for_long() -> None:
    run = healthy(n=300, evals=30, noise=0.005).overfit(at=0.3, rise=0.4).run()
    events = Monitor().see(up_to(run, int(run.steps * 0.9)))
    assert "OVF001" in codes(events)


def test_more_severe_is_told_again() -> None:
    run = healthy(n=300, evals=30, noise=0.005).overfit(at=0.4, rise=0.4).run()
    severities = [
        e.finding.severity for _, events, _ in replayed(run, 150) for e in events if isinstance(e, Found) and e.finding.code == "OVF001"
    ]
    assert severities == [WARNING, ERROR]


def test_what_comes_back_is_resolved() -> None:
    base = healthy(n=400, noise=0.005).run()
    curve = base.curves["train/loss"]
    value = np.array(curve.value)
    value[160:260] *= 3
    base.curves["train/loss"] = make_curve(Column(curve.step, value))[0]
    kinds = [
        type(e) for _, events, _ in replayed(base, 150) for e in events if isinstance(e, Found | Resolved) and e.finding.code == "DIV002"
    ]
    assert kinds == [Found, Resolved]


def test_a_log_that_goes_back_does_not_make_a_finding_older() -> None:
    run = healthy(n=200, evals=20, noise=0.005).overfit(at=0.3, rise=0.5).run()
    monitor = Monitor()
    first = next(s for s in run.curves["eval/loss"].step.tolist() if "OVF001" in {f.code for f in examine(up_to(run, s)).findings})
    monitor.see(up_to(run, first - 20))
    assert codes(monitor.see(up_to(run, first))) == []
    assert codes(monitor.see(up_to(run, first - 20))) == []
    assert codes(monitor.see(up_to(run, first))) == []


def test_the_end_tells_everything() -> None:
    run = healthy(n=200, evals=20).overfit(at=0.4, rise=0.3).run()
    monitor = Monitor()
    monitor.see(up_to(run, 400))
    monitor.see(run, ended=True)
    assert monitor.report is not None
    report, _ = judge(run)
    assert monitor.report.findings == report.findings
    assert not run.ongoing


def test_early_in_the_plan_only_what_is_certain_is_told() -> None:
    run = healthy(n=200, evals=0).run()
    curve = run.curves["train/loss"]
    flat = 2 + 0.01 * np.random.default_rng(0).standard_normal(len(curve))
    run.curves["train/loss"] = make_curve(Column(curve.step, flat))[0]
    run.planned_steps = 100 * run.steps
    assert not any(codes(events) for _, events, _ in replayed(run))
    run.planned_steps = run.steps
    told = [step for step, events, _ in replayed(run) if "UND002" in codes(events)]
    assert len(told) == 1
    assert told[0] > run.steps / 4  # it says that the loss did not move from its first steps on, and has to stand for half of half the plan


class TestNewestRows:
    def test_a_nan_in_them_is_told_and_counts(self) -> None:
        whole, newest = healthy(n=100).run(), healthy(n=200).nan(at=0.9).run()
        monitor = Monitor()
        monitor.see(whole)
        found, *_, changed = monitor.glance(newest)
        assert isinstance(found, Found)
        assert (found.finding.code, found.partial) == ("DIV001", True)
        assert isinstance(changed, VerdictChanged)
        assert monitor.report is not None
        assert (changed.previous, monitor.report.diagnosis.verdict) == (HEALTHY, DIVERGED)
        assert monitor.glance(newest) == []

    def test_rows_without_steps_of_their_own_tell_nothing(self) -> None:
        monitor = Monitor()
        monitor.see(healthy(n=200).run())
        assert monitor.glance(healthy(n=100).nan(at=0.9).run()) == []

    def test_only_what_was_asked_for(self) -> None:
        from diag.analysis import checked

        monitor = Monitor(lambda run: checked(ignore=["DIV"]))
        monitor.see(healthy(n=100).run())
        assert monitor.glance(healthy(n=200).nan(at=0.9).run()) == []


def test_a_prefix_knows_nothing_of_what_came_later() -> None:
    run = healthy(n=200, evals=10).lr("cosine", peak=2e-5).run()
    run.finished = True
    early = up_to(run, run.steps // 4)
    assert early.steps <= run.steps // 4
    assert early.finished is None
    assert max(len(curve) for curve in early.curves.values()) < len(run.curves["train/loss"])
    assert early.hyperparameters["warmup_steps"].kind == "inferred" if "warmup_steps" in early.hyperparameters else True


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.code)
def test_what_checks_say_of_runs_that_go_on(check: object) -> None:
    from diag.check import Check

    assert isinstance(check, Check)
    assert 0 <= check.patience < 1
    assert not check.premature or (check.premature[0].islower() and not check.premature.endswith("."))
    assert not check.momentary or (check.patience == 0 and not check.premature)
