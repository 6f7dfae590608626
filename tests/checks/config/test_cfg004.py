"""CFG004: epochs."""

from __future__ import annotations

import pytest
from linting import plan, violations
from recipes import AXOLOTL, FULL, HF, HUB, LLAMAFACTORY, NEMO, TORCHTUNE, edit, line_of
from settling import settled

EPOCHS = {
    "hf": (HF, "yaml", "num_train_epochs: 2", "num_train_epochs: {}"),
    "automodel": (NEMO, "yaml", "num_epochs: 2", "num_epochs: {}"),
    "axolotl": (AXOLOTL, "yaml", "num_epochs: 2", "num_epochs: {}"),
    "torchtune": (TORCHTUNE, "yaml", "epochs: 2", "epochs: {}"),
    "training_hub": (HUB, "python", "num_epochs=2", "num_epochs={}"),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_ninety_epochs_are_an_error(name: str) -> None:  # S3-005
    text, form, old, new = EPOCHS[name]
    spoiled = edit(text, (old, new.format(90)))
    (found,) = violations(spoiled, "CFG004", form, dataset_size=20_000)
    assert found.severity == "error"
    assert found.line == line_of(spoiled, new.format(90))
    assert 1 <= found.fixes[0].new <= 3
    settled(spoiled, "CFG004", form, dataset_size=20_000)


@pytest.mark.parametrize("name", EPOCHS)
def test_ten_epochs_are_a_warning(name: str) -> None:
    text, form, old, new = EPOCHS[name]
    assert [v.severity for v in violations(edit(text, (old, new.format(10))), "CFG004", form)] == ["warning"]


def test_more_than_three_need_a_guard() -> None:  # S1-077, S3-047
    text = edit(HF, ("num_train_epochs: 2", "num_train_epochs: 4"))
    (found,) = violations(text, "CFG004", dataset_size=500)
    assert found.severity == "warning"
    assert "overfitting becomes likely" in found.message
    assert found.fixes[0].new == 3
    assert violations(text + "load_best_model_at_end: true\n", "CFG004", dataset_size=500) == []
    settled(text, "CFG004", dataset_size=500)


def test_default_epochs_of_automodel_are_ten() -> None:
    text = edit(NEMO, ("  num_epochs: 2\n", ""))
    (found,) = violations(text, "CFG004")
    assert "10 epochs, the default," in found.message
    settled(text, "CFG004")


def test_steps_that_go_through_the_data_too_often() -> None:
    text = edit(HF, ("num_train_epochs: 2", "max_steps: 1000"))
    (found,) = violations(text, "CFG004", dataset_size=2000, world_size=1)
    assert found.key == "max_steps"
    assert found.fixes[0].new == 126
    settled(text, "CFG004", dataset_size=2000, world_size=1)
    assert violations(text, "CFG004") == []


def test_the_warmup_stays_shorter_than_the_run() -> None:
    text = edit(NEMO, ("num_epochs: 2", "num_epochs: 20"), ("lr_warmup_steps: 50", "lr_warmup_steps: 200"))
    after = settled(text, "CFG004", dataset_size=2000)
    made = plan(after, dataset_size=2000)
    assert made.warmup_steps is not None
    assert made.total_steps is not None
    assert made.warmup_steps <= 0.1 * made.total_steps


@pytest.mark.parametrize("text", [HF, FULL, NEMO, AXOLOTL, LLAMAFACTORY, TORCHTUNE])
def test_two_epochs_are_never_a_warning(text: str) -> None:
    for size in (None, 500, 3000, 20_000, 200_000):
        assert [v for v in violations(text, "CFG004", dataset_size=size) if v.severity != "info"] == []


def test_small_models_are_left_alone() -> None:
    text = edit(HF, ("num_train_epochs: 2", "num_train_epochs: 90"), ("meta-llama/Llama-2-7b-hf", "bert-base-uncased"))
    assert violations(text, "CFG004") == []
