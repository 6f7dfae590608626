"""The fault benchmark: its trainings repeat, its logs are read as they were written, its measures mean what they say."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import diag
from diag.fixes import Fix

torch = pytest.importorskip("torch")

FAULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "faults"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """The scripts, which import one another as they do when they are run."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(FAULTS))
    try:
        return {name: importlib.import_module(name) for name in ("tasks", "settings", "logs", "build", "score", "cure")}
    finally:
        sys.path.remove(str(FAULTS))


@pytest.fixture(scope="module")
def config(modules: dict[str, ModuleType]) -> Any:
    return modules["tasks"].Config("classify", 1, 300, epochs=8.0, learning_rate=2e-3, max_grad_norm=1.0, batch=16)


def test_a_training_repeats_and_learns(modules: dict[str, ModuleType], config: Any, tmp_path: Path) -> None:
    first, again, other = (modules["tasks"].train(config, seed, tmp_path) for seed in (1, 1, 2))
    assert first == again
    assert first.held_out != other.held_out
    assert first.held_out < math.log(10)


@pytest.mark.parametrize("form", ["hf", "csv", "jsonl", "automodel"])
def test_diag_reads_what_the_writers_wrote(modules: dict[str, ModuleType], config: Any, tmp_path: Path, form: str) -> None:
    training = modules["tasks"].train(config, 1, tmp_path)
    modules["logs"].WRITERS[form](tmp_path / "run", config, training, 1)
    (report,) = diag.analyze(tmp_path / "run").runs
    run = report.run
    expected = [row["train/loss"] for row in training.rows if "train/loss" in row]
    assert run.curves["train/loss"].value.tolist() == pytest.approx(expected, abs=1e-4)
    assert len(run.curves["eval/loss"].value) == config.evals
    assert run.hyperparameters["learning_rate"].value == pytest.approx(2e-3)
    assert run.hyperparameters["num_epochs"].value == 8
    assert run.hyperparameters["max_grad_norm"].value == 1


def test_the_last_of_nine_bases_is_held_out_with_all_its_faults(modules: dict[str, ModuleType]) -> None:
    settings = modules["settings"]
    bases = dict(settings.bases(9))
    held_out = {name for name, config in bases.items() if settings.is_held_out(config)}
    families = {config.family for config in bases.values()}
    assert len(held_out) == len(bases) / 9
    assert {bases[name].family for name in held_out} == families == {bases[name].family for name in bases.keys() - held_out}
    plan = settings.plan(9)
    assert len({name for name, _, _ in plan}) == len(plan)
    assert 0.08 < sum(base in held_out for _, base, _ in plan) / len(plan) < 0.14
    for name, base, fault in plan:
        sick, cured = fault.inject(bases[base], settings.fraction(name))
        assert settings.is_held_out(sick) == settings.is_held_out(cured) == (base in held_out), name


def test_every_fault_changes_its_base(modules: dict[str, ModuleType]) -> None:
    settings = modules["settings"]
    for name, base, fault in settings.plan(2):
        config = dict(settings.bases(2))[base]
        sick, cured = fault.inject(config, settings.fraction(name))
        assert sick != cured, name


def test_a_cure_is_half_of_the_gap(modules: dict[str, ModuleType]) -> None:
    recovered = modules["build"].recovered
    assert recovered(2.0, 1.5, 1.0) == pytest.approx(0.5)
    assert recovered(math.inf, 1.0, 1.0) == 1
    assert recovered(2.0, math.inf, 1.0) < 0
    assert recovered(math.inf, math.inf, 1.0) == 0


def test_a_prescription_is_applied_in_the_units_of_the_log(modules: dict[str, ModuleType]) -> None:
    tasks, cure = modules["tasks"], modules["cure"]
    config = tasks.Config("lm", 1, 100, learning_rate=5e-3)
    fix = Fix("learning_rate", 5e-5, 1e-4, None, 1, "", "")
    treatment = cure.apply(config, [fix])
    assert treatment.config.learning_rate == pytest.approx(1e-2)
    assert list(treatment.turned) == ["learning_rate"]
    override = cure.random_override(config, 2, [3.0], "name")
    assert sum(getattr(override, name) != getattr(config, name) for name in cure.CANONICAL.values()) >= 1
