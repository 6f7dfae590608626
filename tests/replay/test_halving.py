from __future__ import annotations

import math

from diag.replay.halving import Halving, rungs
from diag.replay.trainer import Job, Trained


def job(arm: str, *, seed: int = 0, steps: int = 50, total: int = 100) -> Job:
    return Job(arm, seed, {}, steps, total)


def test_the_rungs_are_an_eighth_of_the_plan_and_then_twice_as_long_each_but_never_the_end() -> None:
    assert rungs(job("a", steps=100), 0) == [13, 25, 50]
    assert rungs(job("a", steps=50), 0) == [13, 25]
    assert rungs(job("a", steps=25), 20) == [20]
    assert rungs(job("a", steps=20), 20) == []
    assert rungs(job("a", steps=1, total=1), 0) == []


def test_side_by_side_the_worse_half_is_stopped() -> None:
    halving = Halving(lambda job: 0)
    marks = [(job(name), {"step": 13.0, "eval/loss": loss}) for name, loss in zip("abcd", (4.0, 1.0, 3.0, 2.0), strict=True)]
    assert halving(marks) == ["behind at step 13", "", "behind at step 13", ""]
    survivors = [(job(name), {"step": 25.0, "eval/loss": loss}) for name, loss in zip("bd", (2.0, math.nan), strict=True)]
    assert halving(survivors) == ["", "behind at step 25"]


def test_between_rungs_nothing_is_stopped() -> None:
    halving = Halving(lambda job: 0)
    assert halving([(job("a"), {"step": 13.0, "eval/loss": 1.0}), (job("b"), {"step": 13.0, "eval/loss": 2.0})])[1]
    assert halving([(job("a"), {"step": 17.0, "eval/loss": 9.0})]) == [""]
    assert halving([(job("a"), {"step": 5.0, "eval/loss": 9.0})]) == [""]


def test_one_that_runs_alone_is_judged_against_those_that_are_finished() -> None:
    halving = Halving(lambda job: 0)
    finished = [{"step": float(step), "train/loss": 9.0} | ({"eval/loss": 1.0} if step % 5 == 0 else {}) for step in range(1, 51)]
    halving.learn(job("recorded"), Trained(finished, 50, 100, 1.0))
    assert halving([(job("worse"), {"step": 15.0, "eval/loss": 2.0})]) == ["behind at step 15"]
    assert halving([(job("better"), {"step": 15.0, "eval/loss": 0.5})]) == [""]
    assert halving([(job("other seed", seed=1), {"step": 15.0, "eval/loss": 7.0})]) == [""]
