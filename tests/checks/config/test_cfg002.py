"""CFG002: the effective learning rate of adapters."""

from __future__ import annotations

import pytest
from linting import violations
from recipes import AXOLOTL, HF, LITGPT, NEMO, edit, line_of
from settling import settled

SPOILED = {
    "hf": edit(HF, ("lora_alpha: 32", "lora_alpha: 256")),
    "axolotl": edit(AXOLOTL, ("lora_alpha: 32", "lora_alpha: 256")),
    "automodel": edit(NEMO, ("alpha: 32", "alpha: 256")),
    "litgpt": edit(LITGPT, ("lora_alpha: 32", "lora_alpha: 256")),
}


@pytest.mark.parametrize("name", SPOILED)
def test_sixteen_times_the_rate_is_an_error(name: str) -> None:
    text = SPOILED[name]
    (found,) = violations(text, "CFG002")
    assert found.severity == "error"
    assert found.line == line_of(text, "alpha: 256")
    assert found.fixes[0].new == 32
    assert "0.0016" in found.message
    settled(text, "CFG002")


def test_a_scale_of_four_is_a_warning_at_a_high_rate_only() -> None:
    text = edit(HF, ("lora_alpha: 32", "lora_alpha: 64"))
    assert violations(text, "CFG002") == []
    (found,) = violations(edit(text, ("1.0e-4", "2.0e-4")), "CFG002")
    assert found.severity == "warning"


def test_rank_stabilized_adapters_divide_by_the_root() -> None:
    text = edit(HF, ("lora_r: 16", "lora_r: 64\nuse_rslora: true"), ("lora_alpha: 32", "lora_alpha: 128"), ("1.0e-4", "3.0e-4"))
    (found,) = violations(text, "CFG002")
    assert "lora_alpha / sqrt(rank) = 16" in found.message
    assert found.severity == "warning"
    assert found.fixes[0].new == 16
    settled(text, "CFG002")
    assert violations(edit(text, ("use_rslora: true", "use_rslora: false")), "CFG002") == []


def test_a_high_rate_with_a_usual_scale_is_left_to_the_rate() -> None:
    assert violations(edit(HF, ("1.0e-4", "5.0e-3")), "CFG002") == []


def test_conservative_profile_settles_too() -> None:
    settled(SPOILED["hf"], "CFG002", profile="conservative", dataset_size=3000)
