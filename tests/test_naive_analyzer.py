"""The four fixed-threshold rules that guides print for reading a trainer_state.json, against this battery.

``naive`` is such an analyzer, written down as a reference. Where a robust reading of the curves agrees with a rule, a check
must fire; where the rule is fooled, the battery must not follow it.
"""

from __future__ import annotations

import numpy as np
import pytest
from builders import RunBuilder, healthy

from diag.battery import examine
from diag.run import Run
from diag.vocabulary import INFO

OVERFITTING = "final eval loss more than 5% above its best"
UNDERFITTING = "train loss fell by more than 0.05 over the last ten rows"
INSTABILITY = "standard deviation of the last twenty train losses above 10% of their mean"
MINIMAL_IMPROVEMENT = "best eval loss less than 5% below the first"

CONTAINED_IN = {
    OVERFITTING: {"OVF001"},
    UNDERFITTING: {"UND001"},
    INSTABILITY: {"SPK001", "SPK002", "SPK003", "NSE001", "DIV002"},
    MINIMAL_IMPROVEMENT: {"UND002", "UND003"},
}
"""Each naive symptom and the checks that look for what is behind it."""
SEEDS = range(20)


def naive(run: Run) -> set[str]:
    """The symptoms that the fixed thresholds see."""
    train, evals = run.curves["train/loss"].value, run.curves["eval/loss"].value
    symptoms = set()
    if evals[-1] > 1.05 * evals.min():
        symptoms.add(OVERFITTING)
    if train.size >= 10 and train[-1] - train[-10] < -0.05:
        symptoms.add(UNDERFITTING)
    if train.size > 20 and np.std(train[-20:]) > 0.1 * np.mean(train[-20:]):
        symptoms.add(INSTABILITY)
    if evals[0] - evals.min() < 0.05 * evals[0]:
        symptoms.add(MINIMAL_IMPROVEMENT)
    return symptoms


def codes(run: Run, *, alarms: bool = False) -> set[str]:
    """Codes of what the battery finds; ``alarms``: at warning or above."""
    return {finding.code for finding in examine(run).findings if not alarms or finding.severity != INFO}


def early_baseline(builder: RunBuilder, improvement: float) -> RunBuilder:
    """Evaluations from the untrained model on, that improve by a share and no more."""
    evals = builder.losses(evals=np.linspace(3.0, 3.0 * (1 - improvement), builder.eval.size))
    steps = np.linspace(1, builder.step[-1], builder.eval.size).astype(np.int64)
    return RunBuilder(builder.step, np.linspace(3.0, 3.0 * (1 - improvement), builder.step.size), steps, evals.eval)


# --- where a robust reading agrees -----------------------------------------------------------------------------------

AGREED = {
    OVERFITTING: healthy().lr().overfit(at=0.4, rise=0.25),
    UNDERFITTING: healthy(n=60, noise=0.01).lr("constant").still_falling(rate=2.0),
    INSTABILITY: healthy().lr("constant").oscillate(amplitude=0.5, period=3, at=0.5),
    MINIMAL_IMPROVEMENT: early_baseline(healthy(), improvement=0.02),
}


@pytest.mark.parametrize("symptom", AGREED)
def test_a_check_fires_where_the_symptom_is_real(symptom: str) -> None:
    run = AGREED[symptom].run()
    assert symptom in naive(run)
    assert codes(run) & CONTAINED_IN[symptom]


@pytest.mark.parametrize("symptom", [OVERFITTING, UNDERFITTING])
def test_it_is_an_alarm_not_a_remark(symptom: str) -> None:
    assert codes(AGREED[symptom].run(), alarms=True) & CONTAINED_IN[symptom]


@pytest.mark.parametrize("evaluated", [True, False])
def test_swings_are_an_alarm_where_the_evaluations_do_not_tell_that_they_cost_nothing(evaluated: bool) -> None:
    """The rule cannot tell a training loss that varies from a training that suffers: the evaluations can."""
    improving = AGREED[INSTABILITY]
    worse = improving.losses(evals=improving.eval * np.where(improving.eval_step > improving.step[-1] / 2, 1.03, 1.0))
    costly = worse if evaluated else improving.no_eval()
    assert INSTABILITY in naive(worse.run())
    assert codes(costly.run(), alarms=True) & CONTAINED_IN[INSTABILITY]
    assert not codes(improving.run(), alarms=True)


def test_late_divergence_is_seen_where_the_naive_variance_sees_it() -> None:
    run = healthy().lr().blow_up(at=0.85, to=6.0).run()
    assert INSTABILITY in naive(run)
    assert codes(run, alarms=True) & CONTAINED_IN[INSTABILITY]


# --- where the rules are fooled --------------------------------------------------------------------------------------


def test_a_falling_curve_varies_without_being_unstable() -> None:
    """The loss falls smoothly and steeply: its spread over twenty rows is the trend."""
    for seed in SEEDS:
        run = healthy(n=40, evals=12, noise=0.01, seed=seed).lr("constant").still_falling(rate=1.5).run()
        assert INSTABILITY in naive(run)
        assert not codes(run, alarms=True) & CONTAINED_IN[INSTABILITY]


def test_noise_alone_makes_a_gap() -> None:
    """With 50 noisy evaluations the smallest is far below the rest by chance; nothing was learned by heart."""
    fooled, alarmed = 0, 0
    for seed in range(60):
        base = healthy(n=500, evals=50, noise=0.02, seed=seed).lr()
        noise = np.random.default_rng(seed).standard_normal(50)
        run = base.losses(evals=base.eval * np.exp(0.02 * noise)).run()
        fooled += OVERFITTING in naive(run)
        alarmed += "OVF001" in codes(run, alarms=True)
    assert fooled >= 15
    assert alarmed <= 3


def test_one_evaluation_that_is_off_at_the_end_is_not_overfitting() -> None:
    for seed in SEEDS:
        base = healthy(n=500, evals=50, noise=0.02, seed=seed).lr()
        off = base.eval.copy()
        off[-1] *= 1.06
        run = base.losses(evals=off).run()
        assert OVERFITTING in naive(run)
        assert "OVF001" not in codes(run, alarms=True)


def test_a_noisy_flat_curve_is_not_still_falling() -> None:
    """Between two rows of a flat but noisy curve there are 0.05 every other time."""
    fooled = 0
    for seed in SEEDS:
        run = healthy(noise=0.08, seed=seed).lr().run()
        fooled += UNDERFITTING in naive(run)
        assert "UND001" not in codes(run)
    assert fooled >= 3


def test_a_slow_but_sure_fall_is_still_falling_though_ten_rows_do_not_show_it() -> None:
    """The rule looks at ten rows whatever their number: the denser the log, the blinder it is."""
    run = healthy(n=2000, evals=20, noise=0.002, logging_steps=1).lr("constant").still_falling(rate=2.0).run()
    assert UNDERFITTING not in naive(run)
    assert "UND001" in codes(run, alarms=True)


def test_a_first_evaluation_after_the_learning_says_nothing_about_improvement() -> None:
    """The model had learned most of it before it was first evaluated."""
    for seed in SEEDS:
        base = healthy(evals=20, seed=seed).lr()
        late = RunBuilder(base.step, base.train, base.eval_step[10:], base.eval[10:], other=base.other)
        run = late.run()
        assert MINIMAL_IMPROVEMENT in naive(run)
        assert not codes(run) & CONTAINED_IN[MINIMAL_IMPROVEMENT]


def test_a_spike_before_the_last_twenty_rows_is_seen() -> None:
    """The rule forgets all but the last twenty rows."""
    builder = healthy().lr().grad_norm()
    for at in (0.3, 0.5, 0.55, 0.7):
        builder = builder.spike(at, height=3.0)
    run = builder.run()
    assert INSTABILITY not in naive(run)
    assert "SPK001" in codes(run)


def test_a_run_of_nan_is_not_healthy() -> None:
    """Comparisons with NaN are false, so the rules see nothing at all."""
    run = healthy().lr().nan(0.5).run()
    assert naive(run) == set()
    assert "DIV001" in codes(run, alarms=True)


def test_without_evaluations_the_train_loss_is_still_judged() -> None:
    """The rules give up where nothing was evaluated."""
    run = healthy().no_eval().lr().blow_up(0.6).run()
    assert "eval/loss" not in run.curves
    assert "DIV002" in codes(run, alarms=True)


def test_healthy_runs_raise_no_alarm() -> None:
    """Not one in a hundred runs of the usual lengths and noises."""
    naive_alarms, alarms = 0, []
    for seed in range(25):
        for n, evals, noise in ((40, 8, 0.02), (100, 12, 0.05), (200, 20, 0.1), (600, 50, 0.04)):
            run = healthy(n=n, evals=evals, noise=noise, seed=seed).lr().grad_norm().run()
            naive_alarms += bool(naive(run))
            alarms += sorted(codes(run, alarms=True))
    assert naive_alarms >= 20
    assert alarms == []
