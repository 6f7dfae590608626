from __future__ import annotations

from typing import Any

import pytest

from diag.fixes import Fix
from diag.replay.arms import Arms, make_arms
from diag.replay.horizon import BEGINNING, SUBSET, WHOLE, Horizon, horizons
from diag.replay.schedule import warmup_steps
from diag.replay.symptom import Symptom

RUN = {"learning_rate": 0.01, "num_epochs": 4.0, "max_steps": 400, "global_batch_size": 32, "micro_batch_size": 32, "warmup_steps": 40.0}


def arms(parameter: str = "learning_rate", new: Any = 0.001, **run: Any) -> Arms:
    recorded = RUN | run
    made = make_arms(recorded, [Fix(parameter, recorded.get(parameter), new, None, 1, "X", "")])
    assert made is not None
    return made


def planned(
    made: Arms, verdict: str = "UNSTABLE", start: int | None = None, wanted: int | None = None, *, small: bool = True
) -> list[Horizon]:
    symptom = Symptom(verdict, (), "", start)
    return horizons(made, symptom, wanted, small=small, scale=1.0)


def test_a_quarter_first_and_then_the_whole() -> None:
    assert planned(arms()) == [Horizon(BEGINNING, 100, 400), Horizon(WHOLE, 400, 400)]
    assert planned(arms(), small=False) == [Horizon(BEGINNING, 100, 400)]


def test_as_far_as_the_symptom_goes_back() -> None:
    assert planned(arms(), start=200)[0] == Horizon(BEGINNING, 250, 400)
    assert planned(arms(), start=300) == [Horizon(WHOLE, 400, 400)]


def test_never_less_than_the_warmup_and_a_little() -> None:
    assert planned(arms(warmup_steps=150.0))[0].steps == 170
    assert planned(arms(), wanted=10) == [Horizon(BEGINNING, 60, 400)]
    assert planned(arms(), wanted=1000) == [Horizon(WHOLE, 400, 400)]


@pytest.mark.parametrize(("made", "verdict"), [(arms(), "OVERFIT"), (arms("num_epochs", 1.0), "UNDERFIT")])
def test_what_shows_at_the_end_is_trained_to_its_end_on_part_of_the_data(made: Arms, verdict: str) -> None:
    assert planned(made, verdict) == [Horizon(SUBSET, 100, 400), Horizon(WHOLE, 400, 400)]
    assert planned(made, verdict, small=False)[0].kind == BEGINNING


def test_a_subset_keeps_the_shape_of_the_plan() -> None:
    made, horizon = arms("num_epochs", 1.0), Horizon(SUBSET, 100, 400)
    assert made.prescription is not None
    assert (horizon.share, horizon.steps_of(made.prescription, made.recorded), horizon.total_of(made.prescription)) == (0.25, 25, 25)
    values = horizon.hyperparameters_of(made.recorded)
    assert (values["warmup_steps"], values["max_steps"], values["num_epochs"]) == (10, 100, 4.0)


def test_a_short_run_is_trained_as_a_whole() -> None:
    assert planned(arms("num_epochs", 2.0, max_steps=70, warmup_steps=0.0), "OVERFIT") == [Horizon(WHOLE, 70, 70)]


def test_a_warmup_may_be_a_share_or_steps() -> None:
    assert warmup_steps({"warmup_ratio": 0.1}, 200) == 20
    assert warmup_steps({"warmup_steps": 7, "warmup_ratio": 0.1}, 200) == 7
    assert warmup_steps({"warmup_steps": 0.05}, 200) == 10
