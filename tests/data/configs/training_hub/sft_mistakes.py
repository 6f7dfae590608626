# Mistakes on purpose: pretraining without a block size, a LoRA-sized rate, ten epochs on few samples,
# full-state checkpoints of an 8B model, fewer tokens per GPU than one sequence may have.
import training_hub

training_hub.sft(
    model_path="meta-llama/Llama-3.1-8B",
    data_path="data/notes.jsonl",
    ckpt_output_dir="runs/notes",
    is_pretraining=True,
    num_epochs=10,
    effective_batch_size=8,
    learning_rate=2e-4,
    max_seq_len=8192,
    max_tokens_per_gpu=4096,
    accelerate_full_state_at_epoch=True,
    nproc_per_node=8,
)
