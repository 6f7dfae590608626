"""Continual learning with the usual half of the spectrum."""

from training_hub import osft

osft(
    model_path="Qwen/Qwen2.5-7B-Instruct",
    data_path="data/policies.jsonl",
    ckpt_output_dir="runs/policies",
    unfreeze_rank_ratio=0.3,
    effective_batch_size=128,
    max_tokens_per_gpu=10000,
    max_seq_len=4096,
    learning_rate=5e-6,
    num_epochs=3,
    lr_scheduler="cosine",
    lr_scheduler_kwargs={"min_lr": 5e-7},
    warmup_steps=20,
    seed=42,
    use_liger=True,
    target_patterns=["q_proj", "k_proj", "v_proj", "o_proj"],
    checkpoint_at_epoch=True,
    save_final_checkpoint=True,
    nproc_per_node=4,
)
