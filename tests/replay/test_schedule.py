from __future__ import annotations

import numpy as np
import pytest
from builders import healthy

from diag.replay.schedule import Schedule, logged_otherwise
from diag.run import Run

DECLARED = {"learning_rate": 0.01, "lr_scheduler": "cosine", "warmup_steps": 20, "max_steps": 200}


def run(rates: list[float]) -> Run:
    found = healthy(n=200, evals=10, logging_steps=1).metric("lr", np.array(rates)).run()
    found.planned_steps = 200
    return found


def declared(total: int = 200) -> list[float]:
    schedule = Schedule.of(DECLARED, total)
    return [schedule.rate(step) for step in range(200)]


@pytest.mark.parametrize("late", [0, 1])
def test_a_log_that_follows_the_declared_schedule_is_left_to_it(late: int) -> None:
    rates = declared()
    assert logged_otherwise(run(rates[late:] + rates[-1:] * late), DECLARED) == ()


def test_a_schedule_that_ends_early_is_replayed_as_it_was_logged() -> None:
    rates = logged_otherwise(run(declared(100)), DECLARED)
    schedule = Schedule.of(DECLARED, 50, rates)
    assert schedule.rate(4) == pytest.approx(0.01, rel=0.1), "the peak, at a tenth of the plan"
    assert schedule.rate(30) == pytest.approx(0.0, abs=1e-4), "nothing is left after half of it"
    assert schedule.is_known


def test_a_new_learning_rate_scales_the_logged_schedule() -> None:
    rates = logged_otherwise(run(declared(100)), DECLARED)
    ten_times = Schedule.of(DECLARED | {"learning_rate": 0.1}, 200, rates)
    assert ten_times.rate(30) == pytest.approx(10 * Schedule.of(DECLARED, 200, rates).rate(30))


def test_too_little_to_tell_is_left_to_the_declared_schedule() -> None:
    assert logged_otherwise(healthy(n=200, logging_steps=1).run(), DECLARED) == ()
    assert logged_otherwise(run(declared(100)), {"lr_scheduler": "cosine"}) == ()
