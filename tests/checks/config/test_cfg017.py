"""CFG017: what was changed against the base config without what hangs on it."""

from __future__ import annotations

from typing import Any

import pytest
from linting import plan, violations
from recipes import FULL, HF, NEMO, TORCHTUNE, edit

from diag.lint import Violation

WIDE = edit(HF, ("1.0e-4", "5.0e-5"))


def against(base: str, text: str, base_options: dict[str, Any] | None = None, **options: Any) -> list[Violation]:
    made = plan(text, **options)
    made.base = plan(base, **(options if base_options is None else base_options))
    return violations(made, "CFG017")


def test_four_gpus_take_twice_the_rate() -> None:  # S3-180, S3-181
    base = edit(HF, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 4"))
    (found,) = against(base, base, {"world_size": 1, "dataset_size": 20_000}, world_size=4, dataset_size=20_000)
    assert found.severity == "warning"
    assert found.key == "learning_rate"
    assert found.fixes[0].new == pytest.approx(2e-4)
    assert "1e-4 * 2" in found.fixes[0].arithmetic


@pytest.mark.parametrize(
    ("base", "old", "new"),
    [
        (WIDE, "gradient_accumulation_steps: 8", "gradient_accumulation_steps: 16"),
        (edit(NEMO, ("lr: 1.0e-4", "lr: 5.0e-5")), "global_batch_size: 32", "global_batch_size: 64"),
        (edit(TORCHTUNE, ("lr: 1.0e-4", "lr: 5.0e-5")), "gradient_accumulation_steps: 8", "gradient_accumulation_steps: 16"),
    ],
)
def test_twice_the_batch_takes_the_root_of_two(base: str, old: str, new: str) -> None:  # S3-196
    options: dict[str, Any] = {"world_size": 1, "dataset_size": 20_000, "profile": "balanced"}
    text = edit(base, (old, new))
    (found,) = against(base, text, **options)
    assert found.fixes[0].new == pytest.approx(7.1e-5)
    assert against(base, edit(text, ("5.0e-5", "7.1e-5")), **options) == []
    linear = against(base, edit(text, ("5.0e-5", "2.0e-4")), **options)
    assert len(linear) == 1
    assert "went from 5e-5 to" in linear[0].message


def test_half_the_batch_takes_the_root_of_two_less() -> None:
    text = edit(WIDE, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 4"))
    (found,) = against(WIDE, text, world_size=1, dataset_size=20_000)
    assert found.fixes[0].new == pytest.approx(3.5e-5)


def test_outside_of_16_to_256_the_root_does_not_hold() -> None:  # S3-044
    base = edit(WIDE, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 64"))
    assert against(base, edit(base, ("steps: 64", "steps: 128")), world_size=1) == []


def test_no_base_and_no_change_say_nothing() -> None:
    assert violations(HF, "CFG017") == []
    assert against(HF, HF) == []
    assert against(HF, edit(HF, ("1.0e-4", "2.0e-4"))) == []


def test_adapters_to_full_fine_tuning_take_a_tenth() -> None:  # S1-066
    base = edit(FULL, ("1.0e-5", "1.0e-4"), ("optim: adamw_torch", "use_peft: true\nlora_r: 16"))
    text = edit(FULL, ("1.0e-5", "1.0e-4"))
    (found,) = against(base, text, dataset_size=20_000)
    assert "from lora to sft" in found.message
    assert found.fixes[0].new == pytest.approx(1e-5)
    assert against(base, FULL, dataset_size=20_000) == []


def test_full_fine_tuning_to_adapters_takes_ten_times() -> None:
    base = edit(FULL, ("1.0e-5", "5.0e-6"))
    text = edit(base, ("optim: adamw_torch", "use_peft: true\nlora_r: 16"))
    (found,) = against(base, text, dataset_size=20_000)
    assert found.fixes[0].new == pytest.approx(5e-5)


def test_a_ten_times_larger_model_takes_a_third() -> None:  # S3-193..195
    base = edit(HF, ("1.0e-4", "6.0e-5"))
    text = edit(base, ("Llama-2-7b", "Llama-2-70b"))
    (found,) = against(base, text)
    assert "from 7B to 70B" in found.message
    assert 1.9e-5 <= found.fixes[0].new <= 2.1e-5
    assert any(fix.applicability == "display" and "Search the learning rate again" in fix.reason for fix in found.fixes)
    assert against(text, base) == []


def test_rank_without_alpha() -> None:
    base = edit(HF, ("lora_alpha: 32", "lora_alpha: 16"))
    text = edit(base, ("lora_r: 16", "lora_r: 64"))
    (found,) = against(base, text)
    assert found.key == "lora_alpha"
    assert found.fixes[0].new == 64
    assert against(base, edit(text, ("lora_alpha: 16", "lora_alpha: 64"))) == []


def test_what_it_names_settles() -> None:
    options: dict[str, Any] = {"world_size": 1, "dataset_size": 20_000}
    text = edit(WIDE, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 16"))
    (found,) = against(WIDE, text, **options)
    after = edit(text, ("5.0e-5", f"{found.fixes[0].new:.1e}"))
    assert against(WIDE, after, **options) == []
    assert violations(after, "CFG001", **options) == []
