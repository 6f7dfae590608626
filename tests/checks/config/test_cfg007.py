"""CFG007 to CFG010: precision, clipping and weight decay."""

from __future__ import annotations

import pytest
from linting import violations
from recipes import AXOLOTL, DEEPSPEED, FULL, HF, HUB_LORA, LITGPT, LLAMAFACTORY, NANOGPT, NEMO, TORCHTUNE, edit, line_of
from settling import settled

FP16 = {
    "hf": (edit(HF, ("bf16: true", "fp16: true")), "yaml"),
    "llamafactory": (edit(LLAMAFACTORY, ("bf16: true", "fp16: true")), "yaml"),
    "torchtune": (edit(TORCHTUNE, ("dtype: bf16", "dtype: fp16")), "yaml"),
    "automodel": (edit(NEMO, ("torch_dtype: bfloat16", "torch_dtype: float16")), "yaml"),
    "litgpt": (edit(LITGPT, ("precision: bf16-true", "precision: 16-mixed")), "yaml"),
}


@pytest.mark.parametrize("name", FP16)
def test_fp16_is_a_warning(name: str) -> None:
    text, form = FP16[name]
    (found,) = violations(text, "CFG008", form)
    assert found.severity == "warning"
    assert found.fixes[0].new == "bf16"
    settled(text, "CFG008", form)


def test_fp16_on_purpose_is_a_remark() -> None:
    assert [v.severity for v in violations(edit(HF, ("bf16: true", "fp16: true\nbf16: false")), "CFG008")] == ["info"]


@pytest.mark.parametrize(
    ("text", "form", "severity"),
    [
        (edit(HF, ("bf16: true", "bf16: true\nfp16: true")), "yaml", "error"),
        (edit(LLAMAFACTORY, ("bf16: true", "bf16: true\nfp16: true")), "yaml", "error"),
        (edit(HUB_LORA, ("lora_r=16", "bf16=True,\n    fp16=True,\n    lora_r=16")), "python", "error"),
        (edit(DEEPSPEED, ('"bf16"', '"fp16": {"enabled": true}, "bf16"')), "json", "error"),
        (edit(AXOLOTL, ("bf16: auto", "bf16: true\nfp16: true")), "yaml", "warning"),
    ],
)
def test_both_halves_at_once(text: str, form: str, severity: str) -> None:
    (found,) = violations(text, "CFG008", form)
    assert found.severity == severity
    assert found.fixes[0].applicability == "safe"
    settled(text, "CFG008", form)


def test_no_mixed_precision_is_a_remark_for_a_plain_trainer_only() -> None:
    text = edit(LLAMAFACTORY, ("bf16: true\n", ""))
    assert [v.severity for v in violations(text, "CFG008")] == ["info"]
    settled(text, "CFG008")
    assert violations(edit(HF, ("bf16: true\n", "")), "CFG008") == []  # TRL turns bf16 on


def test_sixteen_passes_in_fp16_can_overflow() -> None:  # S3-168
    text = edit(FP16["hf"][0], ("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 16"))
    (found,) = violations(text, "CFG007")
    assert found.severity == "warning"
    assert found.line == line_of(text, "gradient_accumulation_steps")
    assert found.fixes[0].new == "bf16"
    assert violations(edit(text, ("steps: 16", "steps: 15")), "CFG007") == []
    assert violations(edit(text, ("fp16: true", "bf16: true")), "CFG007") == []
    settled(text, "CFG007")


def test_accumulation_that_follows_from_the_batch_counts() -> None:
    text = edit(FP16["automodel"][0], ("global_batch_size: 32", "global_batch_size: 64"))
    assert violations(text, "CFG007") == []
    assert len(violations(text, "CFG007", world_size=1)) == 1
    nano = edit(NANOGPT, ('"bfloat16"', '"float16"'))
    assert len(violations(nano, "CFG007", "python")) == 1


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (edit(TORCHTUNE, ("clip_grad_norm: 1.0", "clip_grad_norm: null")), "yaml"),
        (edit(TORCHTUNE, ("clip_grad_norm: 1.0\n", "")), "yaml"),
        (edit(HF, ("max_grad_norm: 1.0", "max_grad_norm: 0")), "yaml"),
        (NEMO + "clip_grad_norm:\n  max_norm: 0\n", "yaml"),
        (edit(NANOGPT, ("grad_clip = 1.0", "grad_clip = 0.0")), "python"),
        (edit(DEEPSPEED, ('"gradient_clipping": 1.0', '"gradient_clipping": 0')), "json"),
        (edit(HF, ("max_grad_norm: 1.0", "max_grad_norm: 50")), "yaml"),
        (edit(HF, ("max_grad_norm: 1.0", "max_grad_norm: 0.01")), "yaml"),
    ],
)
def test_clipping_that_is_off_or_out_of_range(text: str, form: str) -> None:
    (found,) = violations(text, "CFG009", form)
    assert found.severity == "warning"
    assert found.fixes[0].new == 1
    settled(text, "CFG009", form)


def test_defaults_that_clip_and_commands_that_cannot_are_left_alone() -> None:
    assert violations(edit(HF, ("max_grad_norm: 1.0\n", "")), "CFG009") == []
    assert violations(NEMO, "CFG009") == []
    assert violations(LITGPT, "CFG009") == []  # max_norm: null, in every config of its finetune commands
    assert violations(edit(HF, ("max_grad_norm: 1.0", "max_grad_norm: 0.3")), "CFG009") == []
    assert violations(AXOLOTL + "max_grad_norm:\n", "CFG009") == []


def test_lightning_does_not_clip_by_itself() -> None:
    text = (
        "trainer:\n  max_epochs: 2\n  precision: bf16-mixed\n  accumulate_grad_batches: 4\nmodel:\n  lr: 1.0e-4\ndata:\n  batch_size: 8\n"
    )
    assert violations(text, "CFG009") == []  # not known to be a language model
    (found,) = violations(text, "CFG009", method="lora")
    assert found.key == "trainer.gradient_clip_val"
    settled(text, "CFG009", method="lora")


@pytest.mark.parametrize(
    "text",
    [
        edit(HF, ("weight_decay: 0.01", "weight_decay: 0.3")),
        edit(AXOLOTL, ("weight_decay: 0.0", "weight_decay: 0.3")),
        edit(NEMO, ("weight_decay: 0", "weight_decay: 0.3")),
        edit(LITGPT, ("weight_decay: 0.0", "weight_decay: 0.3")),
    ],
)
def test_a_strong_weight_decay_is_a_warning(text: str) -> None:
    (found,) = violations(text, "CFG010")
    assert found.severity == "warning"
    assert found.line == line_of(text, "weight_decay: 0.3")
    assert 0 <= found.fixes[0].new <= 0.1
    settled(text, "CFG010")


def test_no_weight_decay_is_a_remark_in_full_fine_tuning_on_few_samples() -> None:
    text = edit(FULL, ("weight_decay: 0.01\n", ""))
    (found,) = violations(text, "CFG010", dataset_size=2000)
    assert found.severity == "info"
    assert found.fixes[0].new == 0.05
    settled(text, "CFG010", dataset_size=2000)
    assert violations(text, "CFG010", dataset_size=20_000) == []
    assert violations(edit(HF, ("weight_decay: 0.01", "weight_decay: 0")), "CFG010", dataset_size=2000) == []


def test_a_switch_of_megatron_is_replaced() -> None:
    """It takes no False."""
    text = "torchrun pretrain_gpt.py --micro-batch-size 1 --global-batch-size 512 --train-iters 5000 --lr 1e-4 --fp16 --bf16-too\n"
    text = text.replace(" --bf16-too", "")
    (found,) = violations(text, "CFG008", "shell")
    assert [(fix.action, fix.key, fix.new) for fix in found.fixes] == [("rename", "fp16", "bf16")]
    assert " --bf16\n" in settled(text, "CFG008", "shell")
