"""Two stages: knowledge with osft, then style with LoRA on what came out."""

from pathlib import Path

from training_hub import create_algorithm, lora_sft, osft

RUNS = Path("runs")
FIRST = RUNS / "knowledge"

osft(
    model_path="ibm-granite/granite-3.3-8b-instruct",
    data_path="data/knowledge.jsonl",
    ckpt_output_dir=str(FIRST),
    data_output_dir=f"/dev/shm/{FIRST.name}",
    unfreeze_rank_ratio=0.2,
    effective_batch_size=256,
    max_tokens_per_gpu=12_000,
    max_seq_len=8_192,
    learning_rate=1e-5,
    num_epochs=2,
    nproc_per_node=8,
    nnodes=2,
    master_addr="node0",
    master_port=29400,
)

lora_sft(
    model_path=str(FIRST / "hf_format" / "samples_20000"),
    data_path="data/style.jsonl",
    ckpt_output_dir=str(RUNS / "style"),
    lora_r=64,
    lora_alpha=128,
    use_dora=True,
    init_lora_weights="gaussian",
    learning_rate=1e-4,
    num_epochs=2,
    effective_batch_size=64,
    finetune_language_layers=True,
    save_model=True,
)
