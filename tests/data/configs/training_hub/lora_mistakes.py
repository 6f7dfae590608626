# Mistakes on purpose: both quantizations, model splitting although torchrun starts two processes, half precision
# with long accumulation.   torchrun --nproc-per-node=2 lora_mistakes.py
from training_hub import lora_sft

options = {"load_in_4bit": True, "load_in_8bit": True}

lora_sft(
    model_path="mistralai/Mistral-Small-24B-Base-2501",
    data_path="data/code.jsonl",
    ckpt_output_dir="runs/code",
    lora_r=8,
    lora_alpha=128,
    learning_rate=1e-3,
    num_epochs=6,
    micro_batch_size=1,
    gradient_accumulation_steps=32,
    bf16=False,
    fp16=True,
    enable_model_splitting=True,
    nproc_per_node=2,
    **options,
)
