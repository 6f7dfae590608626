"""CFG003, CFG005, CFG014 and CFG015: the batch, the steps it leaves, and its arithmetic."""

from __future__ import annotations

import pytest
from linting import plan, violations
from recipes import ALL, AXOLOTL, DEEPSPEED, FULL, HF, HUB, HUB_LORA, LITGPT, LLAMAFACTORY, NANOGPT, NEMO, TORCHTUNE, edit, line_of
from settling import settled


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("code", ["CFG002", "CFG003", "CFG004", "CFG005", "CFG006", "CFG007", "CFG008", "CFG009", "CFG010"])
def test_healthy_configs_are_left_alone(name: str, code: str) -> None:
    text, form = ALL[name]
    assert violations(text, code, form) == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("code", ["CFG011", "CFG012", "CFG013", "CFG014", "CFG015", "CFG016", "CFG017", "CFG018"])
def test_healthy_configs_are_left_alone_by_the_others(name: str, code: str) -> None:
    text, form = ALL[name]
    assert violations(text, code, form) == []


LARGE = {
    "hf": edit(HF, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 256")),
    "axolotl": edit(AXOLOTL, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 256")),
    "llamafactory": edit(LLAMAFACTORY, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 256")),
    "torchtune": edit(TORCHTUNE, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 256")),
    "automodel": edit(NEMO, ("global_batch_size: 32", "global_batch_size: 1024")),
    "litgpt": edit(LITGPT, ("global_batch_size: 32", "global_batch_size: 1024")),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_thousand_samples_are_too_many_for_adapters(name: str) -> None:
    (found,) = violations(LARGE[name], "CFG003")
    assert found.severity == "warning"
    assert "1,024 samples" in found.message
    assert 16 <= found.fixes[0].new <= 128
    settled(LARGE[name], "CFG003")


def test_a_small_batch_counts_only_where_the_processes_are_known() -> None:
    text = edit(HF, ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 1"))
    assert violations(text, "CFG003", dataset_size=20_000) == []
    (found,) = violations(text, "CFG003", dataset_size=20_000, world_size=1)
    assert found.severity == "warning"
    assert found.line == line_of(text, "gradient_accumulation_steps")
    assert found.fixes[0].new == 32
    assert violations(text, "CFG003", dataset_size=20_000, world_size=8) == []
    settled(text, "CFG003", dataset_size=20_000, world_size=1)


def test_the_learning_rate_moves_along_by_the_square_root() -> None:
    text = edit(FULL, ("gradient_accumulation_steps: 16", "gradient_accumulation_steps: 256"))
    (found,) = violations(text, "CFG003", dataset_size=40_000, world_size=1)
    (rate,) = [fix for fix in found.fixes if fix.parameter == "learning_rate"]
    assert rate.new == pytest.approx(7.1e-6)  # from 256, above which the rule does not hold, to 128
    settled(text, "CFG003", dataset_size=40_000, world_size=1)


def test_a_batch_that_leaves_too_few_steps_is_made_smaller_first() -> None:  # 1,000 samples, 3 epochs, 128: 24 steps
    text = edit(HUB, ("num_epochs=2", "num_epochs=3"))
    (found,) = violations(text, "CFG005", "python", dataset_size=1000)
    assert found.severity == "warning"
    assert found.line == line_of(text, "effective_batch_size")
    assert "24 optimizer steps" in found.message
    assert found.fixes[0].parameter == "global_batch_size"
    assert found.fixes[0].new == 24
    assert all(fix.parameter != "num_epochs" for fix in found.fixes)
    after = settled(text, "CFG005", "python", dataset_size=1000)
    assert violations(after, "CFG003", "python", dataset_size=1000) == []
    assert violations(after, "CFG006", "python", dataset_size=1000) == []


@pytest.mark.parametrize("text", [HF, NEMO, LITGPT, AXOLOTL])
def test_few_samples_get_a_smaller_batch_then_more_epochs(text: str) -> None:
    (found,) = violations(text, "CFG005", dataset_size=300, world_size=1)
    new = {fix.parameter: fix.new for fix in found.fixes}
    assert new["global_batch_size"] == 8
    assert new["num_epochs"] == 3
    settled(text, "CFG005", dataset_size=300, world_size=1)


def test_enough_steps_are_left_alone_and_a_try_is_remarked_upon() -> None:
    assert violations(HF, "CFG005", dataset_size=5000, world_size=1) == []
    text = edit(HF, ("num_train_epochs: 2", "max_steps: 60"))
    (found,) = violations(text, "CFG005")
    assert found.severity == "info"
    assert [fix.applicability for fix in found.fixes] == ["display"]


def test_a_tiny_data_set_gets_no_change_that_would_not_help() -> None:
    text = edit(
        HF,
        ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 2"),
        ("num_train_epochs: 2", "num_train_epochs: 3"),
    )
    (found,) = violations(text, "CFG005", dataset_size=100, world_size=1)
    assert found.severity == "info"
    assert [fix.new for fix in found.fixes] == [None]


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        (edit(HF, ("per_device_train_batch_size: 4", "per_device_train_batch_size: 64")), "per_device_train_batch_size"),
        (edit(AXOLOTL, ("micro_batch_size: 4", "micro_batch_size: 64")), "micro_batch_size"),
        (edit(TORCHTUNE, ("\nbatch_size: 4", "\nbatch_size: 64")), "batch_size"),
    ],
)
def test_a_large_micro_batch_is_accumulated_instead(text: str, micro: str) -> None:
    (found,) = violations(text, "CFG014", model_parameters=8e9)
    assert found.severity == "warning"
    assert {fix.parameter: fix.new for fix in found.fixes} == {"micro_batch_size": 4, "gradient_accumulation_steps": 128}
    after = settled(text, "CFG014")
    assert plan(after).global_batch == plan(text).global_batch
    assert f"{micro}: 4" in after


def test_a_micro_batch_of_a_small_model_is_a_remark() -> None:
    text = edit(HF, ("per_device_train_batch_size: 4", "per_device_train_batch_size: 32"), ("Llama-2-7b", "Llama-3.2-1B"))
    assert [found.severity for found in violations(text, "CFG014")] == ["info"]
    assert violations(edit(HF, ("per_device_train_batch_size: 4", "per_device_train_batch_size: 16")), "CFG014") == []


def test_global_batch_is_a_multiple_in_automodel() -> None:
    text = edit(NEMO, ("local_batch_size: 4", "local_batch_size: 3"))
    (found,) = violations(text, "CFG015")
    assert found.severity == "error"
    assert found.line == line_of(text, "global_batch_size")
    assert (found.fixes[0].parameter, found.fixes[0].new, found.fixes[0].applicability) == ("micro_batch_size", 2, "safe")
    settled(text, "CFG015")
    assert [v.fixes[0].new for v in violations(NEMO, "CFG015", world_size=5)] == [40]
    assert violations(NEMO, "CFG015", world_size=8) == []


def test_deepspeed_batch_is_the_product() -> None:
    text = edit(DEEPSPEED, ('"train_batch_size": 64', '"train_batch_size": 60'))
    (found,) = violations(text, "CFG015", "json")
    assert found.severity == "error"
    assert found.line == 2
    assert found.fixes[0].new == 64
    assert violations(DEEPSPEED, "CFG015", "json", world_size=4) == []
    assert [v.fixes[0].new for v in violations(DEEPSPEED, "CFG015", "json", world_size=8)] == [128]
    assert violations(edit(DEEPSPEED, ('"train_batch_size": 64', '"train_batch_size": "auto"')), "CFG015", "json") == []
    settled(text, "CFG015", "json")


def test_litgpt_rounds_down_without_a_word() -> None:
    text = edit(LITGPT, ("global_batch_size: 32", "global_batch_size: 30"))
    (found,) = violations(text, "CFG015")
    assert "becomes 28" in found.message
    assert found.fixes[0].new == 3
    settled(text, "CFG015")
    assert "smaller than" in violations(edit(LITGPT, ("devices: 1", "devices: 16")), "CFG015")[0].message


def test_nanogpt_divides_its_accumulation() -> None:
    assert [v.fixes[0].new for v in violations(NANOGPT, "CFG015", "python", world_size=16)] == [32]
    assert violations(NANOGPT, "CFG015", "python", world_size=8) == []


def test_training_hub_holds_one_sequence_and_derives_accumulation() -> None:
    text = edit(HUB, ("max_tokens_per_gpu=8192", "max_tokens_per_gpu=2048"))
    (found,) = violations(text, "CFG015", "python")
    assert (found.severity, found.key, found.fixes[0].new) == ("error", "max_tokens_per_gpu", 4096)
    settled(text, "CFG015", "python")
    dropped = edit(HUB, ("effective_batch_size=128,", "effective_batch_size=128,\n    gradient_accumulation_steps=4,"))
    (found,) = violations(dropped, "CFG015", "python")
    assert (found.severity, found.fixes[0].action) == ("warning", "remove")
    assert "gradient_accumulation_steps" not in settled(dropped, "CFG015", "python")


def test_training_hub_lora_rounds_down() -> None:
    text = edit(HUB_LORA, ("effective_batch_size=32", "effective_batch_size=30"))
    (found,) = violations(text, "CFG015", "python", world_size=2)
    assert "becomes 24" in found.message
    assert (found.fixes[0].parameter, found.fixes[0].new) == ("gradient_accumulation_steps", 3)
    settled(text, "CFG015", "python", world_size=2)


def test_axolotl_batch_size_is_another_word() -> None:
    both = edit(AXOLOTL, ("micro_batch_size: 4", "micro_batch_size: 4\nbatch_size: 32"))
    (found,) = violations(both, "CFG015")
    assert found.severity == "error"
    alone = edit(both, ("gradient_accumulation_steps: 8\n", ""))
    (found,) = violations(alone, "CFG015")
    assert found.severity == "warning"
    assert "gradient_accumulation_steps: 8" in settled(alone, "CFG015")
    settled(both, "CFG015")


def test_deepspeed_inside_hugging_face_must_agree() -> None:
    text = HF + "deepspeed:\n  train_micro_batch_size_per_gpu: 2\n  gradient_accumulation_steps: auto\n  zero_optimization:\n    stage: 2\n"
    (found,) = violations(text, "CFG015")
    assert (found.severity, found.key) == ("error", "deepspeed.train_micro_batch_size_per_gpu")
    settled(text, "CFG015")
    assert violations(edit(text, ("per_gpu: 2", "per_gpu: 4")), "CFG015") == []
