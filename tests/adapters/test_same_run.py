"""One training logged in several formats is one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.adapters.same_run import merged, run_folder, same_losses
from diag.run import Column, FloatArray, Hyperparameter, LogEvent, Run, make_curve

LOSS = 2.0 + np.exp(-np.arange(1, 41) / 10) + 0.05 * np.sin(np.arange(40))


def run(
    adapter: str, values: Sequence[float] | FloatArray | None = LOSS, root: str = "/x/out", first: int = 1, metric: str = "train/loss"
) -> Run:
    curves = {} if values is None else {metric: make_curve(Column([first + i for i in range(len(values))], list(values)))[0]}
    return Run(id="", path=f"{root}/{adapter}.log", adapter=adapter, curves=curves, root=root)


def adapters(runs: list[Run]) -> list[str]:
    return [entry.adapter for entry in runs]


def test_the_most_faithful_format_is_kept_and_names_the_others() -> None:
    console = run("console", np.round(LOSS, 3))
    console.events = [LogEvent("out_of_memory", 40, "CUDA out of memory")]
    console.hyperparameters = {"learning_rate": Hyperparameter(1e-4, file="train.log")}
    tensorboard = run("tensorboard", LOSS.astype(np.float32).astype(float), root="/x/out/runs/Nov21_10-00-00_host")
    (kept,) = merged([console, tensorboard, run("trainer_state")], keep_empty=False)
    assert kept.adapter == "trainer_state"
    assert kept.notes == [
        "the same run is also in runs/Nov21_10-00-00_host/tensorboard.log (tensorboard), console.log (console); trainer_state was used"
    ]
    assert kept.events[0].kind == "out_of_memory"
    assert kept.hyperparameter("learning_rate") == 1e-4


@pytest.mark.parametrize("first", [0, 1, 2])
def test_steps_counted_from_zero_or_one_are_the_same_steps(first: int) -> None:
    assert same_losses(run("csv"), run("jsonl", first=first))


def test_a_log_of_every_fifth_row_is_the_same_run() -> None:
    curve = make_curve(Column(range(5, 41, 5), LOSS[4::5]))[0]
    other = Run(id="", path="/x/out/a.log", adapter="console", curves={"train/loss": curve}, root="/x/out")
    assert same_losses(run("trainer_state"), other)


@given(st.floats(0.02, 0.5), st.integers(0, 10))
def test_other_trainings_stay_apart(shift: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, shift, LOSS.size)
    assert not same_losses(run("csv"), run("tensorboard", LOSS * (1 + shift) + noise))


def test_repetitions_in_one_format_stay_apart_even_when_equal() -> None:
    assert len(merged([run("csv", root="/x/a"), run("csv", root="/x/b")], keep_empty=False)) == 2
    siblings = [run("tensorboard", root=f"/x/runs/{name}") for name in ("Nov21_10-00-00_h", "Nov21_11-00-00_h")]
    assert len(merged(siblings, keep_empty=False)) == 2


def test_two_trainings_in_one_folder_stay_apart() -> None:
    assert adapters(merged([run("tensorboard"), run("csv", LOSS * 1.3)], keep_empty=False)) == ["tensorboard", "csv"]


def test_the_same_loss_under_another_folder_is_another_run() -> None:
    assert len(merged([run("trainer_state", root="/x/a"), run("tensorboard", root="/x/b/runs")], keep_empty=False)) == 2


def test_a_crash_in_a_text_log_joins_the_only_run_of_its_folder() -> None:
    console = run("console", None)
    console.events = [LogEvent("killed", -1, "Killed")]
    (kept,) = merged([console, run("trainer_state")], keep_empty=False)
    assert kept.events == console.events


def test_text_without_training_is_no_run_unless_it_was_named() -> None:
    assert merged([run("console", None)], keep_empty=False) == []
    assert adapters(merged([run("console", None)], keep_empty=True)) == ["console"]


def test_text_with_numbers_but_no_loss_is_no_run_either() -> None:
    settings = run("console", [5e-5], metric="lr", root="/x/out/wandb")
    assert adapters(merged([settings, run("trainer_state")], keep_empty=False)) == ["trainer_state"]
    assert merged([settings], keep_empty=False) == []


def test_a_trainer_that_logged_nothing_is_still_a_run() -> None:
    runs = merged(
        [run("trainer_state", None, root="/x/a"), run("trainer_state", root="/x/b"), run("console", None, root="/x/c")], keep_empty=False
    )
    assert [entry.root for entry in runs] == ["/x/a", "/x/b"]


@pytest.mark.parametrize(
    ("root", "home"),
    [
        ("/x/out", "/x/out"),
        ("/x/out/runs/Nov21_10-00-00_host", "/x/out"),
        ("/x/out/wandb/run-20250315_162451-36gj6ik7/files", "/x/out"),
        ("/x/out/lightning_logs/version_3", "/x/out"),
        ("/x/out/logs/csv/version_0", "/x/out"),
        ("/x/mlruns/1/0123456789abcdef0123456789abcdef/artifacts/tensorboard_logs", "/x"),
        ("/x/runs/exp3", "/x/runs/exp3"),
        ("/runs/lr-1e-4", "/runs/lr-1e-4"),
    ],
)
def test_folders_that_loggers_make_belong_to_the_run_above(root: str, home: str) -> None:
    assert str(run_folder(run("csv", root=root))) == home
