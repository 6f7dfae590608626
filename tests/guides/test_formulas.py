"""The worked examples of the guides come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.guides import formulas
from diag.guides.formulas import SHAPES, Shape

SHIPPED = {
    "llama-2-7b": 6.74e9,
    "llama-3-8b": 8.03e9,
    "mistral-7b": 7.24e9,
    "qwen2.5-7b": 7.62e9,
    "llama-3.2-1b": 1.24e9,
    "llama-2-70b": 69.0e9,
}


def test_twice_the_batch_takes_the_square_root() -> None:  # S1-072, S3-043
    assert formulas.scaled_learning_rate(1e-4, 32, 64) == pytest.approx(1.41e-4, rel=0.01)
    assert formulas.scaled_learning_rate(1e-4, 256, 4096) == pytest.approx(1e-4)  # S3-044


@given(st.floats(1e-7, 1), st.integers(1, 4096), st.integers(1, 4096))
def test_scaling_back_gives_the_same_rate(rate: float, old: int, new: int) -> None:
    assert formulas.scaled_learning_rate(formulas.scaled_learning_rate(rate, old, new), new, old) == pytest.approx(rate)


def test_four_gpus() -> None:  # S3-180, S3-181
    assert formulas.gpus_learning_rate(1e-4, 1, 4) == pytest.approx(2e-4)
    assert formulas.gpus_learning_rate(2e-4, 4, 1) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match="positive"):
        formulas.gpus_learning_rate(1e-4, 0, 4)


def test_parameters_of_adapters() -> None:  # S3-060, S3-061, S3-062
    assert formulas.lora_parameters(8, [(4096, 4096), (4096, 1024)] * 32) == 3_407_872
    assert formulas.model_lora_parameters(8, "mistral-7b", ("q_proj", "v_proj")) == 3_407_872
    assert 3e6 < formulas.lora_parameters(8, [(4096, 4096)] * 64) < 4.5e6
    assert formulas.model_lora_parameters(64, "llama-2-7b", ("q_proj", "v_proj")) == pytest.approx(32e6, rel=0.06)
    with pytest.raises(KeyError):
        formulas.model_lora_parameters(8, "mistral-7b", ("wpe",))


@pytest.mark.parametrize("model", sorted(SHIPPED))
def test_shapes_are_those_of_the_models(model: str) -> None:
    shape: Shape = SHAPES[model]
    linear = shape.layers * sum(inputs * outputs for inputs, outputs in map(shape.linear, formulas.ALL_LINEAR))
    assert 0.7 * SHIPPED[model] < linear < SHIPPED[model]


def test_adapters_are_below_one_percent() -> None:
    assert formulas.model_lora_parameters(8, "mistral-7b") / 7.24e9 < 0.01


def test_samples_between_evaluations() -> None:  # S3-177, S3-178
    assert formulas.samples_between_evaluations(50, 4, 4) == 800
    assert formulas.samples_between_evaluations(50, 4, 4, world_size=2) == 1600
    assert 12 <= formulas.evaluations(5000, 2, 800) <= 13


def test_unfrozen_dimensions() -> None:  # S2-035, S2-063
    assert formulas.unfrozen_dimensions(0.5, 1400, 4000) == 700
    assert formulas.unfrozen_dimensions(0.5, 3800, 11000) == 1900


def test_checkpoint_with_optimizer_state() -> None:  # S2-028
    assert formulas.full_state_bytes(8e9) == pytest.approx(108e9)
