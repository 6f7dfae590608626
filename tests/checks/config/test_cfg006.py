"""CFG006 and CFG016: warmup, and its interplay with the learning rate and the batch."""

from __future__ import annotations

from typing import Any

import pytest
from linting import violations
from recipes import AXOLOTL, FULL, HF, HUB, LITGPT, NANOGPT, NEMO, TORCHTUNE, edit, line_of
from settling import settled

WARMUPS = {
    "hf": (HF, "yaml", "warmup_ratio: 0.05", "warmup_steps: {}"),
    "automodel": (NEMO, "yaml", "lr_warmup_steps: 50", "lr_warmup_steps: {}"),
    "torchtune": (TORCHTUNE, "yaml", "num_warmup_steps: 60", "num_warmup_steps: {}"),
    "axolotl": (AXOLOTL, "yaml", "warmup_ratio: 0.05", "warmup_steps: {}"),
    "litgpt": (LITGPT, "yaml", "lr_warmup_steps: 60", "lr_warmup_steps: {}"),
    "training_hub": (HUB, "python", "warmup_steps=20", "warmup_steps={}"),
    "nanogpt": (NANOGPT, "python", "warmup_iters = 1000", "warmup_iters = {}"),
}


@pytest.mark.parametrize("name", WARMUPS)
def test_a_warmup_as_long_as_the_run_never_reaches_the_peak(name: str) -> None:
    text, form, old, new = WARMUPS[name]
    spoiled = edit(text, (old, new.format(50_000)))
    (found,) = violations(spoiled, "CFG006", form, dataset_size=20_000, world_size=1)
    assert found.severity == "error"
    assert "never reaches its peak" in found.message
    assert found.line == line_of(spoiled, new.format(50_000))
    settled(spoiled, "CFG006", form, dataset_size=20_000, world_size=1)


def test_the_steps_it_names_follow_the_length() -> None:
    text = edit(HF, ("warmup_ratio: 0.05", "warmup_steps: 400"))
    assert [v.fixes[0].new for v in violations(text, "CFG006", dataset_size=20_000, world_size=1)] == [62]
    assert [v.fixes[0].new for v in violations(text, "CFG006", dataset_size=4000, world_size=1)] == [12]


@pytest.mark.parametrize(("share", "severity"), [(0.03, None), (0.05, None), (0.1, None), (0.3, "warning"), (1.0, "error")])
def test_shares(share: float, severity: str | None) -> None:
    text = edit(HF, ("warmup_ratio: 0.05", f"warmup_ratio: {share}"))
    assert [v.severity for v in violations(text, "CFG006")] == ([] if severity is None else [severity])
    assert [v.severity for v in violations(text, "CFG006", dataset_size=30_000, world_size=1)] == ([] if severity is None else [severity])
    if severity is not None:
        settled(text, "CFG006")


def test_qlora_may_warm_up_longer() -> None:
    text = edit(HF, ("warmup_ratio: 0.05", "warmup_steps: 1400"), ("use_peft: true", "use_peft: true\nload_in_4bit: true"))
    sizes: dict[str, Any] = {"dataset_size": 300_000, "world_size": 1}
    assert violations(text, "CFG006", **sizes) == []
    assert [v.severity for v in violations(edit(text, ("load_in_4bit: true\n", "")), "CFG006", **sizes)] == ["info"]


def test_no_warmup_is_a_remark_and_a_warning_at_a_high_rate() -> None:
    text = edit(FULL, ("warmup_ratio: 0.05\n", ""))
    assert [v.severity for v in violations(text, "CFG006")] == ["info"]
    assert [v.severity for v in violations(edit(text, ("1.0e-5", "9.0e-5")), "CFG006")] == ["warning"]
    settled(text, "CFG006")
    settled(text, "CFG006", dataset_size=20_000, world_size=1)


def test_frameworks_that_warm_up_by_themselves_are_left_alone() -> None:
    assert violations(edit(NEMO, ("  lr_warmup_steps: 50\n", "")), "CFG006") == []
    assert violations(edit(AXOLOTL, ("warmup_ratio: 0.05\n", "")), "CFG006") == []
    assert violations(edit(LITGPT, ("  lr_warmup_steps: 60\n", "")), "CFG006") == []


def test_a_zero_in_axolotl_gives_way_to_the_share() -> None:
    text = edit(AXOLOTL, ("warmup_ratio: 0.05", "warmup_steps: 0"))
    after = settled(text, "CFG006")
    assert "warmup_ratio: 0.05" in after
    assert "warmup_steps" not in after


ALL_THREE = {
    "hf": edit(
        HF, ("1.0e-4", "5.0e-4"), ("warmup_ratio: 0.05\n", ""), ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 1")
    ),
    "automodel": edit(
        NEMO, ("lr: 1.0e-4", "lr: 5.0e-4"), ("lr_warmup_steps: 50", "lr_warmup_steps: 0"), ("global_batch_size: 32", "global_batch_size: 4")
    ),
    "torchtune": edit(
        TORCHTUNE,
        ("lr: 1.0e-4", "lr: 5.0e-4"),
        ("num_warmup_steps: 60", "num_warmup_steps: 0"),
        ("accumulation_steps: 8", "accumulation_steps: 1"),
    ),
}


@pytest.mark.parametrize("name", ALL_THREE)
def test_high_rate_short_warmup_and_small_batch_together(name: str) -> None:  # S3-011
    text = ALL_THREE[name]
    (found,) = violations(text, "CFG016", dataset_size=20_000, world_size=1)
    assert found.severity == "error"
    assert found.line == line_of(text, "5.0e-4")
    assert {fix.parameter for fix in found.fixes} >= {"learning_rate", "global_batch_size"}
    settled(text, "CFG016", dataset_size=20_000, world_size=1)


@pytest.mark.parametrize(
    "change", [("5.0e-4", "1.0e-4"), ("accumulation_steps: 1", "accumulation_steps: 8"), ("bf16: true", "bf16: true\nwarmup_ratio: 0.05")]
)
def test_two_of_the_three_are_not_it(change: tuple[str, str]) -> None:
    assert violations(edit(ALL_THREE["hf"], change), "CFG016", dataset_size=20_000, world_size=1) == []


def test_an_unknown_number_of_processes_is_given_the_benefit() -> None:
    assert violations(ALL_THREE["hf"], "CFG016") == []
