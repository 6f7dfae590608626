"""Full fine-tuning on 800 support dialogues."""

from training_hub import sft

result = sft(
    model_path="Qwen/Qwen2.5-1.5B-Instruct",
    data_path="data/support.jsonl",
    ckpt_output_dir="runs/support",
    data_output_dir="/dev/shm/support",
    num_epochs=3,
    effective_batch_size=32,
    learning_rate=5e-6,
    max_seq_len=4096,
    max_tokens_per_gpu=20_000,
    warmup_steps=10,
    save_samples=0,
    checkpoint_at_epoch=True,
    accelerate_full_state_at_epoch=False,
    nproc_per_node=2,
    nnodes=1,
    node_rank=0,
    rdzv_id=101,
    rdzv_endpoint="127.0.0.1:29500",
)
print(result)
