"""Published recipes: recognized for what they are, and not accused of what they do on purpose."""

from __future__ import annotations

import pytest
from linting import plan, violations

from diag.documents import PYTHON, SHELL, YAML

TORCHTUNE = "tokenizer:\n  path: /tmp/tokenizer.model\nbatch_size: 2\nepochs: 1\noptimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\n"
TORCHTUNE += "model:\n  _component_: torchtune.models.llama3_1.{}\n"
LITGPT = "precision: bf16-true\ntrain:\n  global_batch_size: 64\n  micro_batch_size: 4\noptimizer:\n  init_args:\n    lr: 0.0002\n"
SCRATCH = "torchrun run_clm.py --model_type gpt2 --tokenizer_name gpt2 --learning_rate 6e-4 --max_steps 100000 --output_dir o"

RESNET = """\
trainer:
  accelerator: gpu
  devices: 8
  max_epochs: 90
  precision: 16-mixed
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args:
        monitor: val_loss
        patience: 20
model:
  class_path: imagenet.Model
  init_args:
    lr: 0.1
data:
  class_path: imagenet.Data
  init_args:
    batch_size: 32
optimizer:
  class_path: torch.optim.SGD
  init_args:
    lr: 0.1
    momentum: 0.9
"""
YOLO = "task: detect\nmode: train\nmodel: yolov8n.pt\ndata: coco.yaml\nepochs: 100\npatience: 100\nbatch: 16\noptimizer: auto\nlr0: 0.01\n"


@pytest.mark.parametrize(
    ("text", "form", "dialect", "method"),
    [
        (TORCHTUNE.format("llama3_1_8b"), YAML, "torchtune", "sft"),
        (TORCHTUNE.format("lora_llama3_1_8b") + "  lora_rank: 8\n", YAML, "torchtune", "lora"),
        (f"checkpoint_dir: checkpoints/meta-llama/Llama-2-7b-hf\n{LITGPT}", YAML, "litgpt", "sft"),
        (f"checkpoint_dir: checkpoints/meta-llama/Llama-2-7b-hf\nquantize:\n{LITGPT}", YAML, "litgpt", None),
        (f"model_name: tiny-llama-1.1b\n{LITGPT}", YAML, "litgpt", "pretraining"),
        (SCRATCH, SHELL, "hf", "pretraining"),
        ("python finetune.py --model_name_or_path a/b --learning_rate 1e-5 --output_dir o --dataset_path x\n", SHELL, "hf", "sft"),
    ],
)
def test_what_is_trained(text: str, form: str, dialect: str, method: str | None) -> None:
    found = plan(text, form)
    assert (found.dialect, found.method) == (dialect, method)


def test_a_model_made_from_its_type_is_as_large_as_its_layers() -> None:
    assert plan(SCRATCH, SHELL).is_guided is False
    small, large = (f"{SCRATCH} --config_overrides n_embd={width},n_head=16,n_layer=24" for width in (1024, 4096))
    assert plan(small, SHELL).parameters == pytest.approx(12 * 24 * 1024**2)
    assert plan(large, SHELL).is_guided is True


@pytest.mark.parametrize("text", [RESNET, YOLO])
def test_vision_from_scratch_is_not_judged_by_the_bands_of_language_models(text: str) -> None:
    assert [v.message for v in violations(text) if v.severity != "info" or v.code in ("CFG001", "CFG004", "CFG033", "CFG035")] == []


def test_the_first_notebook_of_everybody() -> None:
    text = (
        "model = FastLanguageModel.get_peft_model(model, r=16, target_modules=['q_proj', 'v_proj'], lora_alpha=16, lora_dropout=0,\n"
        "    bias='none', use_gradient_checkpointing='unsloth', random_state=3407)\n"
        "args = SFTConfig(output_dir='o', per_device_train_batch_size=2, gradient_accumulation_steps=4, warmup_steps=5, max_steps=60,\n"
        "    learning_rate=2e-4, optim='adamw_8bit', weight_decay=0.01, seed=3407)\n"
    )
    assert [v.message for v in violations(text, form=PYTHON) if v.severity == "error"] == []
