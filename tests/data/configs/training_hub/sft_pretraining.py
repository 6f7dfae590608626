"""Continual pretraining on documents."""

from training_hub import sft

sft(
    model_path="ibm-granite/granite-3.3-2b-base",
    data_path="data/manuals.jsonl",
    ckpt_output_dir="runs/manuals",
    is_pretraining=True,
    block_size=2048,
    document_column_name="document",
    num_epochs=1,
    effective_batch_size=256,
    learning_rate=1e-5,
    max_seq_len=2048,
    max_tokens_per_gpu=32768,
    warmup_steps=50,
    nproc_per_node="gpu",
    mlflow_tracking_uri="http://localhost:5000",
    mlflow_experiment_name="manuals",
    mlflow_run_name="granite2b",
    tensorboard_log_dir="tb",
)
