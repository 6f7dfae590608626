"""Backend arguments that only Python and YAML can pass: validation, the best checkpoint, precision."""

from training_hub import osft

RATIO = 0.5
common = dict(
    model_path="Qwen/Qwen2.5-1.5B-Instruct",
    effective_batch_size=64,
    max_tokens_per_gpu=16384,
    max_seq_len=2048,
    learning_rate=1e-6,
)

osft(
    data_path="data/knowledge.jsonl",
    ckpt_output_dir="runs/knowledge",
    unfreeze_rank_ratio=RATIO,
    unmask_messages=True,
    training_mode="step",
    max_steps=400,
    validation_split=0.1,
    validation_frequency=25,
    validate_at_epoch=True,
    validate_at_final=True,
    save_best_val_loss=True,
    val_loss_improvement_threshold=0.001,
    min_samples_per_checkpoint=6400,
    train_dtype="bfloat16",
    save_dtype="bfloat16",
    osft_upcast_dtype="float32",
    weight_decay=0.0,
    **common,
)
