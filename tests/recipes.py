"""Healthy training configs, one a framework, that tests of lint rules spoil in one place."""

from __future__ import annotations

HF = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
dataset_name: my/data
learning_rate: 1.0e-4
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
num_train_epochs: 2
lr_scheduler_type: cosine
warmup_ratio: 0.05
bf16: true
max_grad_norm: 1.0
weight_decay: 0.01
use_peft: true
lora_r: 16
lora_alpha: 32
eval_strategy: steps
eval_steps: 50
"""
"""TRL, LoRA; an effective batch of 32 on one process."""

FULL = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
dataset_name: my/data
learning_rate: 1.0e-5
per_device_train_batch_size: 4
gradient_accumulation_steps: 16
num_train_epochs: 2
lr_scheduler_type: cosine
warmup_ratio: 0.05
bf16: true
weight_decay: 0.01
optim: adamw_torch
"""
"""TRL, full fine-tuning; an effective batch of 64 on one process."""

NEMO = """\
step_scheduler:
  global_batch_size: 32
  local_batch_size: 4
  num_epochs: 2
  val_every_steps: 50
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
  torch_dtype: bfloat16
peft:
  _target_: nemo_automodel.components._peft.lora.PeftConfig
  match_all_linear: true
  dim: 16
  alpha: 32
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-4
  weight_decay: 0
lr_scheduler:
  lr_decay_style: cosine
  lr_warmup_steps: 50
  min_lr: 1.0e-5
dataset:
  _target_: nemo_automodel.components.datasets.llm.column_mapped_text_instruction_dataset.ColumnMappedTextInstructionDataset
  path_or_dataset_id: my/data
"""
"""NeMo AutoModel, LoRA."""

TORCHTUNE = """\
model:
  _component_: torchtune.models.llama3.lora_llama3_8b
  lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']
  lora_rank: 8
  lora_alpha: 16
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/tokenizer.model
dataset:
  _component_: torchtune.datasets.alpaca_cleaned_dataset
batch_size: 4
gradient_accumulation_steps: 8
epochs: 2
optimizer:
  _component_: torch.optim.AdamW
  lr: 1.0e-4
  weight_decay: 0.01
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 60
clip_grad_norm: 1.0
dtype: bf16
"""
"""torchtune, LoRA."""

AXOLOTL = """\
base_model: NousResearch/Llama-3.1-8B
datasets:
  - path: my/data
    type: alpaca
adapter: lora
sequence_len: 2048
lora_r: 16
lora_alpha: 32
lora_target_linear: true
gradient_accumulation_steps: 8
micro_batch_size: 4
num_epochs: 2
optimizer: adamw_torch
lr_scheduler: cosine
learning_rate: 0.0001
warmup_ratio: 0.05
bf16: auto
weight_decay: 0.0
"""
"""Axolotl, LoRA."""

LLAMAFACTORY = """\
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
finetuning_type: lora
lora_rank: 16
lora_alpha: 32
lora_target: all
dataset: mine
template: llama3
cutoff_len: 2048
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.05
bf16: true
"""
"""LLaMA-Factory, LoRA."""

LITGPT = """\
checkpoint_dir: checkpoints/meta-llama/Llama-2-7b-hf
precision: bf16-true
devices: 1
lora_r: 16
lora_alpha: 32
train:
  global_batch_size: 32
  micro_batch_size: 4
  lr_warmup_steps: 60
  epochs: 2
  max_norm:
eval:
  interval: 100
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0001
    weight_decay: 0.0
"""
"""litgpt finetune_lora."""

HUB = """\
from training_hub import sft

sft(
    model_path="meta-llama/Llama-3.1-8B",
    data_path="train.jsonl",
    ckpt_output_dir="out",
    learning_rate=5e-6,
    num_epochs=2,
    effective_batch_size=128,
    max_seq_len=4096,
    max_tokens_per_gpu=8192,
    warmup_steps=20,
    weight_decay=0.01,
)
"""
"""Training Hub, full fine-tuning."""

HUB_LORA = """\
from training_hub import lora_sft

lora_sft(
    model_path="meta-llama/Llama-3.1-8B",
    data_path="train.jsonl",
    ckpt_output_dir="out",
    learning_rate=1e-5,
    num_epochs=2,
    effective_batch_size=32,
    gradient_accumulation_steps=4,
    lora_r=16,
    lora_alpha=32,
    max_seq_len=2048,
    warmup_steps=50,
)
"""
"""Training Hub, LoRA."""

DEEPSPEED = """\
{
  "train_batch_size": 64,
  "train_micro_batch_size_per_gpu": 4,
  "gradient_accumulation_steps": 4,
  "gradient_clipping": 1.0,
  "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.999], "weight_decay": 0.01}},
  "scheduler": {
    "type": "WarmupDecayLR",
    "params": {"warmup_min_lr": 0, "warmup_max_lr": 1e-4, "warmup_num_steps": 100, "total_num_steps": 2000}
  },
  "bf16": {"enabled": true},
  "zero_optimization": {"stage": 2}
}
"""
"""DeepSpeed."""

NANOGPT = """\
learning_rate = 6e-4
max_iters = 20000
lr_decay_iters = 20000
min_lr = 6e-5
warmup_iters = 1000
batch_size = 12
block_size = 1024
gradient_accumulation_steps = 40
grad_clip = 1.0
weight_decay = 1e-1
dtype = "bfloat16"
"""
"""nanoGPT."""

ALL = {
    "hf": (HF, "yaml"),
    "full": (FULL, "yaml"),
    "automodel": (NEMO, "yaml"),
    "torchtune": (TORCHTUNE, "yaml"),
    "axolotl": (AXOLOTL, "yaml"),
    "llamafactory": (LLAMAFACTORY, "yaml"),
    "litgpt": (LITGPT, "yaml"),
    "training_hub": (HUB, "python"),
    "training_hub_lora": (HUB_LORA, "python"),
    "deepspeed": (DEEPSPEED, "json"),
    "nanogpt": (NANOGPT, "python"),
}


def edit(text: str, *changes: tuple[str, str]) -> str:
    """The text with its parts exchanged; each must stand in it."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def line_of(text: str, part: str) -> int:
    """The line, from 1, that a part stands in first."""
    return text[: text.index(part)].count("\n") + 1
