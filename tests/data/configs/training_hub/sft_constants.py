"""Settings as constants above the call, paths joined."""

import os

from training_hub import sft

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
BASE = os.environ.get("RUNS", "runs")
LR = 5e-6
EPOCHS = 2
BATCH = 128
GPUS = 8
RUN = f"llama8b_lr{LR}_b{BATCH}"

if __name__ == "__main__":
    sft(
        model_path=MODEL,
        data_path=os.path.join("data", "train.jsonl"),
        ckpt_output_dir=os.path.join(BASE, RUN),
        data_output_dir="/dev/shm",
        learning_rate=LR,
        num_epochs=EPOCHS,
        effective_batch_size=BATCH,
        max_seq_len=8192,
        max_tokens_per_gpu=25000,
        beta1=0.9,
        beta2=0.95,
        eps=1e-8,
        weight_decay=0.01,
        validation_split=0.05,
        validation_frequency=50,
        random_seed=7,
        use_liger=True,
        wandb_project="llama8b",
        wandb_run_name=RUN,
        nproc_per_node=GPUS,
    )
