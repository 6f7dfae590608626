from __future__ import annotations

from dataclasses import replace
from typing import Any

from diag.fixes import DISPLAY, Fix
from diag.replay.arms import CONTROL, DECLARED, PRESCRIPTION, RECORDED, SCHEDULE_CAUSES, Arm, Arms, make_arms, override
from diag.replay.candidates import Candidate

RUN = {"learning_rate": 0.01, "num_epochs": 4.0, "max_steps": 400, "global_batch_size": 32, "micro_batch_size": 32, "warmup_steps": 40.0}


def fix(parameter: str, old: Any, new: Any, rank: int = 1, factor: float | None = None, applicability: str = "unsafe") -> Fix:
    return Fix(parameter, old, new, factor, rank, "LRS001", "because", applicability=applicability)


def made(*fixes: Fix) -> Arms:
    arms = make_arms(RUN, fixes)
    assert arms is not None
    return arms


def prescription(*fixes: Fix) -> Arm:
    found = made(*fixes).prescription
    assert found is not None
    return found


def test_the_arms_of_a_prescription_of_two_changes() -> None:
    arms = made(fix("learning_rate", 0.01, 0.002), fix("num_epochs", 4, 8), fix("learning_rate", 0.01, 0.001, 2))
    assert arms.recorded.name == RECORDED and arms.recorded.hyperparameters == RUN
    assert arms.prescription is not None and arms.prescription.name == PRESCRIPTION
    assert arms.prescription.label == "learning_rate 0.01 → 0.002, num_epochs 4 → 8"
    assert [arm.name for arm in arms.others] == ["only-learning_rate", "only-num_epochs", "rank-2", CONTROL]
    assert arms.others[0].hyperparameters == {**RUN, "learning_rate": 0.002}


def test_advice_and_what_no_short_training_shows_are_left_to_people() -> None:
    arms = made(
        fix("data", None, None, 1, applicability=DISPLAY),
        fix("load_best_model_at_end", None, True, 2, applicability="safe"),
        fix("learning_rate", 0.01, 0.002, 3),
    )
    assert arms.prescription is not None and arms.prescription.changes == (("learning_rate", 0.01, 0.002),)
    assert arms.untested == ("data", "load_best_model_at_end")
    assert make_arms(RUN, [fix("data", None, None, applicability=DISPLAY)]) is None


def test_a_factor_needs_a_value_to_work_on() -> None:
    assert prescription(fix("learning_rate", None, None, factor=0.5)).hyperparameters["learning_rate"] == 0.005
    assert prescription(fix("learning_rate", None, None, factor=0.3)).hyperparameters["learning_rate"] == 0.003
    assert make_arms(RUN, [fix("weight_decay", None, None, factor=0.5)]) is None


def test_the_length_of_the_run_follows_epochs_and_batch() -> None:
    assert override(RUN, {"num_epochs": 8})["max_steps"] == 800
    larger = override(RUN, {"global_batch_size": 128})
    assert (larger["max_steps"], larger["micro_batch_size"]) == (100, 32)
    smaller = override(RUN, {"global_batch_size": 8})
    assert (smaller["max_steps"], smaller["micro_batch_size"]) == (1600, 8)
    assert override(RUN, {"num_epochs": 8, "max_steps": 50})["max_steps"] == 50


def test_warmup_is_given_one_way() -> None:
    assert "warmup_steps" not in override(RUN, {"warmup_ratio": 0.1})
    assert "warmup_ratio" not in override({"warmup_ratio": 0.1}, {"warmup_steps": 10})


def test_no_two_arms_train_the_same() -> None:
    arms = made(fix("learning_rate", 0.01, 0.002), fix("learning_rate", 0.01, 0.002, 2), fix("weight_decay", None, 0.1, 3))
    assert arms.prescription is not None
    trained = [arm.hyperparameters for arm in (arms.recorded, arms.prescription, *arms.others)]
    assert all(trained.count(one) == 1 for one in trained)


def test_the_control_is_the_same_every_time() -> None:
    change = fix("learning_rate", 0.01, 0.002)
    assert made(change).others == made(change).others
    assert made(change).others[-1].name == CONTROL


def test_every_cause_has_an_arm_and_one_arm_may_answer_two() -> None:
    lower, raise_epochs = fix("learning_rate", 0.01, 0.002), fix("num_epochs", 4, 8)
    candidates = [
        Candidate("lr_too_high", 0.9, (lower,)),
        Candidate("batch_too_small", 0.4, (lower,)),
        Candidate("too_few_epochs", 0.3, (raise_epochs,)),
        Candidate("frozen_parameters", 0.3, (fix("requires_grad", None, None, applicability=DISPLAY), replace(raise_epochs, rank=2))),
    ]
    arms = make_arms(RUN, [lower], candidates)
    assert arms is not None and arms.prescription is not None
    assert arms.prescription.causes == ("lr_too_high", "batch_too_small") and arms.prescription.is_kept
    assert [(arm.name, arm.causes, arm.is_kept) for arm in arms.others if arm.causes] == [
        ("cause-too_few_epochs", ("too_few_epochs",), False)
    ]


def test_without_a_prescription_the_causes_alone_are_tested() -> None:
    arms = make_arms(RUN, [], [Candidate("lr_too_low", 0.0, (fix("learning_rate", 0.01, 0.04),))])
    assert arms is not None and arms.prescription is None
    assert [arm.name for arm in arms.others] == ["cause-lr_too_low"]


def test_a_schedule_that_was_not_the_declared_one_is_an_arm_and_the_prescription_where_that_is_advice() -> None:
    with_other = make_arms(RUN, [fix("learning_rate", 0.01, 0.002)], declared=True)
    assert with_other is not None and with_other.others[0].name == DECLARED
    alone = make_arms(RUN, [fix("lr_decay_steps", 40, 400, applicability=DISPLAY)], declared=True)
    assert alone is not None and alone.prescription is not None
    assert (alone.prescription.name, alone.prescription.causes) == (DECLARED, SCHEDULE_CAUSES)
