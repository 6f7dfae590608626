"""Mistakes on purpose: nearly everything unfrozen, unmasking together with pretraining, a budget below one sequence."""

from training_hub import osft

lr = 1e-4
osft(
    model_path="meta-llama/Llama-3.1-8B-Instruct",
    data_path="data/raw.jsonl",
    ckpt_output_dir="runs/raw",
    unfreeze_rank_ratio=0.9,
    effective_batch_size=16,
    max_tokens_per_gpu=2048,
    max_seq_len=8192,
    learning_rate=lr,
    num_epochs=8,
    is_pretraining=True,
    block_size=512,
    unmask_messages=True,
)
