"""Reward-driven runs: collapse, runaway divergence, no progress, preferences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import RunBuilder, healthy
from checking import diagnosed
from hypothesis import given
from hypothesis import strategies as st

from diag.battery import examine
from diag.check import Finding
from diag.run import Run

N = 160


def look(run: Run, code: str) -> list[Finding]:
    examined = examine(run, select=[code])
    assert examined.crashes == []
    return examined.findings


def policy(reward: Any, noise: float = 0.1, seed: int = 0, **metrics: Any) -> Run:
    """A GRPO-like run: a loss around zero, a noisy reward."""
    random = np.random.default_rng(seed)
    values = np.broadcast_to(np.asarray(reward, dtype=float), (N,)) + noise * random.standard_normal(N)
    run: RunBuilder = healthy(n=N).no_eval().losses(train=0.01 * random.standard_normal(N)).metric("reward", values)
    for name, value in metrics.items():
        run = run.metric(name, value)
    return run.run()


RISING = np.minimum(np.linspace(0, 1.5, N), 1.0)
COLLAPSING = np.concatenate([np.linspace(0, 1, N // 2), np.linspace(1, 0.1, N // 4), np.full(N // 4, 0.1)])


def test_collapse() -> None:
    (finding,) = look(policy(COLLAPSING), "RLH001")
    assert finding.severity == "error"
    assert finding.causes["reward_collapse"] == max(finding.causes.values())
    assert finding.evidence["best"] > 0.7
    assert finding.evidence["final"] < 0.3


def test_collapse_below_the_start() -> None:
    assert look(policy(np.where(np.arange(N) < N // 2, 1.0, 0.2)), "RLH001")


@pytest.mark.parametrize(
    "reward",
    [
        RISING,
        np.full(N, 0.5),
        np.where(np.arange(N) > N - 8, 0.0, RISING),
        RISING - 100,
        np.where(np.arange(N) < 100, RISING, RISING - 0.2),
    ],
    ids=["rising", "flat", "dip at the end", "negative", "small loss"],
)
def test_no_collapse(reward: Any) -> None:
    assert look(policy(reward), "RLH001") == []


def test_too_few_rewards() -> None:
    run = healthy(n=10).no_eval().metric("reward", np.linspace(1, 0, 10)).run()
    assert look(run, "RLH001") == []
    assert "needs 20 points" in next(skip.reason for skip in examine(run, select=["RLH001"]).skipped)


def test_flat_noise_rarely_collapses() -> None:
    assert sum(bool(look(policy(0.5, noise=0.5, seed=seed), "RLH001")) for seed in range(100)) <= 2


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_collapse_does_not_depend_on_the_scale(scale: float, shift: float) -> None:
    random = np.random.default_rng(3)
    reward = COLLAPSING + 0.1 * random.standard_normal(N)
    assert look(policy(scale * reward + shift, noise=0), "RLH001")


def test_runaway_divergence() -> None:
    kl = np.concatenate([np.linspace(0, 0.05, N // 2), np.geomspace(0.05, 20, N // 2)])
    (finding,) = look(policy(RISING, kl=kl), "RLH002")
    assert finding.severity == "warning"
    assert finding.step_start is not None
    assert finding.step_start > N // 2 * 5


def test_divergence_that_is_not_finite() -> None:
    kl = np.where(np.arange(N) < 100, 0.05, np.nan)
    (finding,) = look(policy(RISING, kl=kl), "RLH002")
    assert finding.evidence["nonfinite"] == 60
    assert finding.step_start == 505


@pytest.mark.parametrize("kl", [np.linspace(0, 0.1, N), np.geomspace(1e-5, 1e-2, N), np.linspace(0, 30, N)], ids=["slow", "tiny", "steady"])
def test_divergence_of_a_policy_that_learns(kl: Any) -> None:
    assert look(policy(RISING, kl=kl), "RLH002") == []


def test_flat_reward_is_a_remark() -> None:
    (finding,) = look(policy(0.4, noise=0.3), "RLH003")
    assert finding.severity == "info"


@pytest.mark.parametrize(
    ("reward", "metrics"),
    [(0.0, {}), (0.1 * np.random.default_rng(0).standard_normal(N), {"frac_reward_zero_std": np.full(N, 0.95)})],
    ids=["constant", "equal groups"],
)
def test_reward_without_signal_is_a_warning(reward: Any, metrics: dict[str, Any]) -> None:
    (finding,) = look(policy(reward, noise=0.0, **metrics), "RLH003")
    assert finding.severity == "warning"
    assert "no signal" in finding.message


def test_rising_reward_is_not_flat() -> None:
    assert look(policy(RISING, noise=0.3), "RLH003") == []


def frozen(since: float = 0.5, reward: Any = 0.5, left: float = 0.0, seed: int = 0) -> Run:
    """A policy whose gradient norm falls to ``left`` from a share of the run on."""
    random = np.random.default_rng([seed, 1])
    norm = np.exp(0.3 * random.standard_normal(N)) * np.where(np.arange(N) < since * N, 1.0, left)
    return policy(reward, grad_norm=norm)


@pytest.mark.parametrize("left", [0.0, 1e-4])
def test_a_gradient_that_dies_without_a_gain_has_frozen_the_policy(left: float) -> None:
    (finding,) = look(frozen(left=left), "RLH005")
    assert finding.severity == "error"
    assert finding.step_start == N // 2 * 5
    assert finding.causes["reward_collapse"] > finding.causes["lr_too_high"] > 0
    assert diagnosed(frozen(left=left)).verdict == "PLATEAU"


def test_a_last_sample_of_the_old_policy_does_not_revive_it() -> None:
    run = frozen()
    run.curves["grad_norm"].value[-10] = 1.0
    (finding,) = look(run, "RLH005")
    assert finding.step_start == run.curves["grad_norm"].step[-10]


@pytest.mark.parametrize(
    "run",
    [frozen(reward=RISING), frozen(since=0.9), frozen(left=0.01), frozen(since=2.0), policy(0.5, grad_norm=0.0)],
    ids=["solved", "just before the end", "small but alive", "alive", "never any"],
)
def test_a_policy_that_solved_its_task_or_still_moves_is_not_frozen(run: Run) -> None:
    assert look(run, "RLH005") == []


def test_a_policy_without_norms_is_not_judged() -> None:
    assert "RLH005" in [skip.code for skip in examine(policy(0.5), select=["RLH005"]).skipped]


def creeping(end: float = 0.009, rise: float = 0.05, bend: float = 2.0, n: int = N, level: float = 0.4) -> Run:
    """A policy that has come ``end`` nats far, by a power of the steps, its noisy reward higher by the share ``rise``."""
    time = np.arange(1, N + 1) / N
    run = policy(level * (1 + rise * time), noise=0.015, kl=end * time**bend * np.exp(0.2 * np.random.default_rng(4).standard_normal(N)))
    for name, curve in run.curves.items():
        run.curves[name] = curve.select(np.arange(N) < n)
    return run


def test_a_policy_that_creeps_away_from_its_start_has_too_low_a_rate() -> None:
    (finding,) = look(creeping(), "RLH006")
    assert finding.severity == "warning"
    assert finding.metric == "kl"
    assert finding.evidence["divergence"] == pytest.approx(0.008, abs=0.002)
    assert finding.evidence["divergence_in_the_middle"] == pytest.approx(0.0018, abs=0.0005)
    verdict = diagnosed(creeping())
    assert (verdict.verdict, verdict.causes[0].cause) == ("UNDERFIT", "lr_too_low")


@pytest.mark.parametrize(
    ("run", "fires"),
    [
        (creeping(end=0.09), True),
        (creeping(end=0.13), False),
        (creeping(bend=0.75), True),
        (creeping(bend=0.3), False),
        (creeping(rise=0.14), True),
        (creeping(rise=0.22), False),
        (creeping(rise=-0.1), False),
        (creeping(level=-0.4, rise=-0.05), True),
        (creeping(n=20), True),
        (policy(np.where(np.arange(N) < 20, 0.0, 0.5), noise=0.0, kl=np.linspace(0, 0.01, N)), False),
    ],
    ids=["near", "far", "grows", "settled", "rose little", "learned", "fell", "negative", "few points", "from nothing"],
)
def test_only_a_policy_that_is_near_its_start_and_still_leaving_it_creeps(run: Run, fires: bool) -> None:
    assert bool(look(run, "RLH006")) is fires


def test_whether_a_policy_creeps_is_not_known_without_its_divergence() -> None:
    assert next(skip.reason for skip in examine(policy(RISING), select=["RLH006"]).skipped) == "kl was not logged"
    assert "needs 20 points" in next(skip.reason for skip in examine(creeping(n=19), select=["RLH006"]).skipped)


def preferences(**metrics: Any) -> Run:
    run = healthy(n=40).no_eval()
    for name, values in metrics.items():
        run = run.metric(f"rewards/{name}", np.broadcast_to(np.asarray(values, dtype=float), (40,)))
    return run.run()


def test_preferences_no_better_than_chance() -> None:
    (finding,) = look(preferences(accuracies=0.5, margins=0.001), "RLH004")
    assert finding.severity == "info"
    assert "guessing" in finding.message


def test_preferences_turned_round() -> None:
    (finding,) = look(preferences(margins=-0.3), "RLH004")
    assert "rejected" in finding.message


def test_chosen_answers_become_unlikely() -> None:
    (finding,) = look(preferences(accuracies=0.8, margins=np.linspace(0, 1, 40), chosen=np.linspace(0, -5, 40)), "RLH004")
    assert "less likely" in finding.message


def test_preferences_that_are_learned() -> None:
    run = preferences(accuracies=np.linspace(0.5, 0.9, 40), margins=np.linspace(0, 1, 40), chosen=np.linspace(0, 0.5, 40))
    assert look(run, "RLH004") == []


def test_reward_checks_are_silent_on_supervised_runs() -> None:
    assert examine(healthy().run(), select=["RLH"]).findings == []
