"""Evaluation hygiene: missing, sparse, leaked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import RunBuilder, healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.battery import examine
from diag.check import Finding
from diag.run import Hyperparameter, Run
from diag.splits import overlapping


def look(run: Run, code: str) -> list[Finding]:
    examined = examine(run, select=[code])
    assert examined.crashes == []
    return examined.findings


def skipped(run: Run, code: str) -> str:
    return next(entry.reason for entry in examine(run, select=[code]).skipped if entry.code == code)


def test_missing_evaluation_is_a_remark() -> None:
    (finding,) = look(healthy(n=120, logging_steps=10).no_eval().run(), "EVL001")
    assert finding.severity == "info"
    assert finding.causes["eval_missing"] > 0
    assert not finding.verdicts
    assert "every 100 steps" in finding.message


def test_an_evaluation_is_not_missing() -> None:
    assert look(healthy().run(), "EVL001") == []


def test_an_evaluation_of_something_else_is_not_missing() -> None:
    run = healthy(n=50).no_eval().metric("eval/accuracy", np.linspace(0.1, 0.9, 50)).run()
    assert look(run, "EVL001") == []
    assert "held-out" in skipped(run, "EVL001")


def test_reward_logs_need_no_evaluation_loss() -> None:
    run = healthy(n=50).no_eval().metric("reward", np.linspace(0, 1, 50)).run()
    assert look(run, "EVL001") == []


@pytest.mark.parametrize(
    ("rows", "evaluations", "fires"), [(100, 2, True), (100, 3, True), (100, 4, False), (400, 6, True), (400, 8, False)]
)
def test_sparse_evaluation(rows: int, evaluations: int, fires: bool) -> None:
    found = look(healthy(n=rows, evals=evaluations, logging_steps=5).run(), "EVL002")
    assert bool(found) is fires
    assert all(finding.severity == "info" and finding.evidence["evaluations"] == evaluations for finding in found)
    assert all(bool(finding.causes) is (evaluations < 4) for finding in found)


@pytest.mark.parametrize("logging_steps", [1, 10])
def test_a_short_run_may_be_evaluated_once(logging_steps: int) -> None:
    assert look(healthy(n=10, evals=1, logging_steps=logging_steps).run(), "EVL002") == []
    assert look(healthy(n=40, evals=1, logging_steps=logging_steps).run(), "EVL002")


def test_evaluations_alone_are_counted_too() -> None:
    run = healthy(n=100, evals=3).run()
    assert look(replace(run, curves={"eval/loss": run.curves["eval/loss"]}), "EVL002")


def leaky(offset: float = -0.02, noise: float = 0.03, epochs: float = 12.0, seed: int = 0, **values: Any) -> Run:
    known = {"dataset_size": 500, "num_epochs": epochs, "dropout": 0.0, **values}
    return healthy(n=60, evals=14, epochs=epochs, offset=offset, noise=noise, seed=seed).hyperparameters(**known).run()


def test_no_gap_after_many_epochs_over_few_samples() -> None:
    (finding,) = look(leaky(), "EVL003")
    assert finding.severity == "warning"
    assert finding.causes["eval_leak"] > 2
    assert "12 epochs over 500 samples" in finding.message


@pytest.mark.parametrize(
    "values",
    [
        {"offset": 0.12},
        {"epochs": 3.0},
        {"dataset_size": 50_000},
        {"epochs": 11.0, "dropout": 0.1},
        {"epochs": 11.0, "lora_dropout": 0.05},
        {"noise": 0.5},
    ],
    ids=str,
)
def test_what_explains_a_missing_gap(values: dict[str, Any]) -> None:
    assert look(leaky(**values), "EVL003") == []


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        ({"epochs": 8.0}, True),
        ({"epochs": 7.0}, False),
        ({"epochs": 12.0, "dropout": 0.1}, True),
        ({"epochs": 12.0, "lora_dropout": 0.05}, True),
    ],
    ids=str,
)
def test_how_many_epochs_make_a_gap_that_is_missed(values: dict[str, Any], fires: bool) -> None:
    assert [finding.severity for finding in look(leaky(**values), "EVL003")] == ["warning"] * fires


@pytest.mark.parametrize(
    ("logging_steps", "epochs", "fires"), [(1, 20.0, False), (2, 12.0, True), (2, 11.0, False), (4, 8.0, True)], ids=str
)
def test_few_optimizer_steps_leave_no_time_to_memorize(logging_steps: int, epochs: float, fires: bool) -> None:
    run = healthy(n=40, evals=10, epochs=epochs, offset=-0.02, noise=0.03, logging_steps=logging_steps)
    findings = look(run.hyperparameters(dataset_size=500, dropout=0.0).run(), "EVL003")
    assert ("warning" in [finding.severity for finding in findings]) is fires


@pytest.mark.parametrize(("evals", "judged"), [(5, True), (4, False)])
def test_five_evaluations_are_needed_to_miss_a_gap(evals: int, judged: bool) -> None:
    run = healthy(n=60, evals=evals, epochs=12.0, offset=-0.02, noise=0.03).hyperparameters(dataset_size=500, dropout=0.0).run()
    assert bool(look(run, "EVL003")) is judged
    if not judged:
        assert skipped(run, "EVL003") == "needs 5 evaluations, has 4"


def test_what_raised_the_training_loss_need_not_be_in_the_evaluation_samples() -> None:
    base = healthy(n=60, evals=14, epochs=12.0, offset=-0.02, noise=0.03).hyperparameters(dataset_size=500, dropout=0.0)
    corrupt = base.losses(base.train * np.where(np.arange(60) > 40, 1.3, 1.0)).run()
    assert look(corrupt, "EVL003") == []
    assert "rose again" in skipped(corrupt, "EVL003")


def test_an_evaluation_far_below_is_a_remark_where_nothing_was_repeated() -> None:
    (finding,) = look(leaky(offset=-0.3, epochs=2.0, dataset_size=10**6), "EVL003")
    assert finding.severity == "info"
    assert "augmentation" in finding.message


def test_nothing_learned_nothing_memorized() -> None:
    run = healthy(n=60, evals=14, epochs=12.0, offset=-0.02).plateau(at=0.0, level=3.0)
    assert look(run.hyperparameters(dataset_size=500, dropout=0.0).run(), "EVL003") == []


def test_inferred_sizes_are_not_trusted_after_hundreds_of_epochs() -> None:
    run = leaky(epochs=200.0)
    run.hyperparameters["dataset_size"] = Hyperparameter(48, "inferred", note="steps")
    assert all(finding.severity == "info" for finding in look(run, "EVL003"))


def test_losses_below_zero_are_not_compared() -> None:
    run = leaky()
    curve = run.curves["train/loss"]
    run.curves["train/loss"] = replace(curve, value=curve.value - 5)
    assert look(run, "EVL003") == []
    assert "ratio" in skipped(run, "EVL003")


@given(st.integers(0, 10**6), st.floats(0.08, 0.4), st.sampled_from([0.02, 0.05, 0.1]))
def test_no_leak_where_there_is_a_gap(seed: int, offset: float, noise: float) -> None:
    assert look(leaky(offset=offset, noise=noise, seed=seed), "EVL003") == []


def configured(config: Mapping[str, Any], base: RunBuilder | None = None) -> Run:
    entries = {
        key.replace("__", "."): Hyperparameter(value, "file", "config.yaml", line, key.replace("__", "."))
        for line, (key, value) in enumerate(config.items(), 1)
    }
    return (base or healthy()).run(config=entries)


@pytest.mark.parametrize(
    "config",
    [
        {"train_file": "data/train.jsonl", "validation_file": "data/train.jsonl"},
        {"data__train_file": "a.jsonl", "data__val_file": "a.jsonl"},
        {
            "dataset__path_or_dataset_id": "org/set",
            "dataset__split": "train",
            "validation_dataset__path_or_dataset_id": "org/set",
            "validation_dataset__split": "train",
        },
        {
            "dataset__dataset_name": "org/set",
            "dataset__split": "train",
            "validation_dataset__dataset_name": "org/set",
            "validation_dataset__split": "train[:256]",
        },
    ],
    ids=lambda config: next(reversed(config)),
)
def test_config_evaluates_on_the_training_data(config: dict[str, str]) -> None:
    (finding,) = look(configured(config), "EVL004")
    assert finding.severity == "warning"
    assert finding.causes["eval_leak"] > 0
    assert "config.yaml" in finding.message


@pytest.mark.parametrize(
    "config",
    [
        {"train_file": "data/train.jsonl", "validation_file": "data/val.jsonl"},
        {"train_data": "org/set", "eval_data": "org/set"},
        {
            "dataset__path_or_dataset_id": "org/set",
            "dataset__split": "train",
            "validation_dataset__path_or_dataset_id": "org/set",
            "validation_dataset__split": "validation",
        },
        {
            "dataset__path": "org/set",
            "dataset__split": "train[:95%]",
            "validation_dataset__path": "org/set",
            "validation_dataset__split": "train[95%:]",
        },
    ],
    ids=lambda config: next(reversed(config)),
)
def test_config_that_holds_out(config: dict[str, str]) -> None:
    assert look(configured(config), "EVL004") == []


def test_without_a_config_nothing_is_known() -> None:
    assert "no configuration" in skipped(healthy().run(), "EVL004")


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_slices_overlap_where_samples_do(a: int, b: int, c: int, d: int) -> None:
    one, other = range(min(a, b), max(a, b)), range(min(c, d), max(c, d))
    if len(one) and len(other):
        expected = bool(set(one) & set(other))
        assert overlapping(f"train[{one.start}:{one.stop}]", f"train[{other.start}:{other.stop}]") is expected
        assert overlapping(f"train[{one.start}%:{one.stop}%]", f"train[{other.start}%:{other.stop}%]") is expected
    assert overlapping("train", f"train[{a}:]")
    assert not overlapping("train", "validation")
