"""Which way is worse."""

from __future__ import annotations

import pytest
from builders import healthy

from diag.gate import directions


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("train/loss", directions.LOWER),
        ("eval/loss", directions.LOWER),
        ("eval/code/loss", directions.LOWER),
        ("eval/accuracy", directions.HIGHER),
        ("reward", directions.HIGHER),
        ("eval_f1", directions.HIGHER),
        ("test/perplexity", directions.LOWER),
        ("eval_rewards/accuracies", directions.HIGHER),
        ("step_time", directions.LOWER),
        ("tokens_per_second", directions.HIGHER),
        ("lr", directions.UNKNOWN),
        ("grad_norm", directions.UNKNOWN),
        ("train_f1", directions.UNKNOWN),
        ("f1", directions.UNKNOWN),
        ("eval/error/mean", directions.UNKNOWN),
        ("", directions.UNKNOWN),
    ],
)
def test_direction(metric: str, way: int) -> None:
    assert directions.direction(metric) == way


def test_a_reward_driven_run_is_not_judged_by_its_loss() -> None:
    assert directions.quality(healthy().metric("reward", 1.0).run()) == ["reward"]


def test_training_metrics_count_only_without_evaluations() -> None:
    assert directions.quality(healthy().run()) == ["eval/loss"]
    assert directions.quality(healthy().no_eval().run()) == ["train/loss"]


def test_what_the_reference_evaluated_and_the_run_did_not_is_missing() -> None:
    assert directions.common(healthy().no_eval().run(), [healthy().run()]) == (["train/loss"], ["eval/loss"])
    assert directions.common(healthy().run(), [healthy().no_eval().run()]) == (["train/loss"], [])
