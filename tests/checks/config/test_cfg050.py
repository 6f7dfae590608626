"""CFG050 to CFG052: devices, disk and the sizes of parallelism."""

from __future__ import annotations

import pytest
from linting import violations
from settling import settled


def lora(**more: object) -> str:
    rest = "".join(f"  {name}={value!r},\n" for name, value in more.items())
    return f'lora_sft(\n  model_path="acme/lm-70b",\n  learning_rate=1e-4,\n  num_epochs=1,\n  lora_r=16,\n{rest})\n'


def test_a_split_model_and_several_processes_exclude_each_other() -> None:
    text = lora(enable_model_splitting=True, nproc_per_node=4)
    (found,) = violations(text, "CFG050", "python")
    assert (found.severity, found.line, found.fixes[0].applicability) == ("error", 6, "safe")
    assert "enable_model_splitting=False" in settled(text, "CFG050", "python")


def test_the_launcher_says_how_many_processes() -> None:
    script = (
        "torchrun --nproc-per-node 8 train.py --model_name_or_path a/lm-70b --device_map {map} --learning_rate 1e-5 --num_train_epochs 1\n"
    )
    (found,) = violations(script.format(map="auto"), "CFG050", "shell", dialect="hf")
    assert "starts 8 processes" in found.message
    assert "device_map" not in settled(script.format(map="auto"), "CFG050", "shell", dialect="hf")
    alone = script.format(map="auto").replace("torchrun --nproc-per-node 8", "python")
    assert violations(alone, "CFG050", "shell", dialect="hf") == []


def test_splitting_in_one_process_is_fine() -> None:
    assert violations(lora(enable_model_splitting=True), "CFG050", "python") == []
    assert violations(lora(nproc_per_node=8), "CFG050", "python") == []
    assert violations(lora(enable_model_splitting=True, nproc_per_node=1), "CFG050", "python") == []


def test_llama_factory_splits_for_inference_only() -> None:
    text = (
        "model_name_or_path: acme/lm-70b\nstage: sft\nfinetuning_type: lora\nquantization_bit: 4\nquantization_device_map: auto\n"
        "learning_rate: 1.0e-4\nnum_train_epochs: 1\n"
    )
    assert [found.line for found in violations(text, "CFG050")] == [5]
    settled(text, "CFG050")


def sft(model: str = "acme/lm-8b", **more: object) -> str:
    rest = "".join(f"  {name}={value!r},\n" for name, value in more.items())
    return f'sft(\n  model_path="{model}",\n  learning_rate=5e-6,\n  num_epochs=3,\n  effective_batch_size=64,\n{rest})\n'


def test_full_state_checkpoints_of_an_8b_model_are_108_gigabytes() -> None:
    text = sft(accelerate_full_state_at_epoch=True)
    (found,) = violations(text, "CFG051", "python")
    assert (found.severity, found.line) == ("warning", 6)
    assert "about 108 GB, 324 GB in 3 epochs" in found.message
    assert "accelerate_full_state_at_epoch=False" in settled(text, "CFG051", "python")


def test_the_default_is_a_remark() -> None:
    (found,) = violations(sft("acme/own"), "CFG051", "python")
    assert found.severity == "info"
    assert "13.5 bytes a parameter" in found.message
    settled(sft(), "CFG051", "python")


def test_no_full_state_no_cost() -> None:
    assert violations(sft(accelerate_full_state_at_epoch=False), "CFG051", "python") == []
    assert violations(sft(checkpoint_at_epoch=False), "CFG051", "python") == []
    assert violations(lora(), "CFG051", "python") == []


NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: acme/lm-70b
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
distributed:
  dp_size: {copies}
  tp_size: {tensor}
  cp_size: {context}
{more}optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""


def nemo(copies: object = "none", tensor: int = 1, context: int = 1, more: str = "") -> str:
    return NEMO.format(copies=copies, tensor=tensor, context=context, more=more)


def test_sizes_that_do_not_divide_the_processes() -> None:
    (found,) = violations(nemo(tensor=3, more="  world_size: 8\n"), "CFG052")
    assert (found.severity, found.line) == ("error", 9)
    assert "no multiple of 3" in found.message


def test_copies_that_do_not_multiply_to_the_processes() -> None:
    text = nemo(copies=4, tensor=4, more="  world_size: 8\n")
    (found,) = violations(text, "CFG052")
    assert (found.line, found.fixes[0].new) == (8, "none")
    settled(text, "CFG052")


def test_copies_that_do_not_divide_into_replicas() -> None:
    text = nemo(copies=6, more="  dp_replicate_size: 4\n")
    assert [found.line for found in violations(text, "CFG052")] == [8]
    settled(text, "CFG052")


def test_a_size_below_one() -> None:
    assert [found.line for found in violations(nemo(tensor=0), "CFG052")] == [9]
    settled(nemo(tensor=0), "CFG052")


@pytest.mark.parametrize(
    "text",
    [
        nemo(),
        nemo(tensor=4, context=2),
        nemo(tensor=4, more="  world_size: 8\n"),
        nemo(copies=2, tensor=4, more="  world_size: 8\n"),
        nemo(copies=8, more="  dp_replicate_size: 4\n"),
    ],
)
def test_sizes_that_fit_are_silent(text: str) -> None:
    assert violations(text, "CFG052") == []


def test_megatron_and_transformers() -> None:
    script = (
        "torchrun --nproc-per-node 8 pretrain_gpt.py --tensor-model-parallel-size {size} --lr 1e-4 --train-iters 100 --micro-batch-size 1\n"
    )
    assert [found.severity for found in violations(script.format(size=3), "CFG052", "shell")] == ["error"]
    assert violations(script.format(size=4), "CFG052", "shell") == []
    text = "model_name_or_path: acme/lm-7b\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\nparallelism_config:\n  tp_size: 3\n"
    assert violations(text, "CFG052", dialect="hf") == []
