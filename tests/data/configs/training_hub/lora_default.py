"""LoRA as the guide starts: r 16, alpha 2r, a careful rate."""

from training_hub import lora_sft

lora_sft(
    model_path="Qwen/Qwen2.5-7B-Instruct",
    data_path="data/chat.jsonl",
    ckpt_output_dir="runs/chat_lora",
    lora_r=16,
    lora_alpha=32,
    lora_dropout=0.0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    num_epochs=3,
    effective_batch_size=32,
    gradient_accumulation_steps=4,
    learning_rate=1e-5,
    max_seq_len=2048,
    lr_scheduler="cosine",
    warmup_steps=10,
    bf16=True,
    sample_packing=True,
    logging_steps=10,
    save_steps=200,
    save_total_limit=3,
    eval_data_path="data/chat_eval.jsonl",
    eval_steps=100,
    per_device_eval_batch_size=4,
    dataset_type="chat_template",
    field_messages="messages",
    wandb_project="chat",
    seed=11,
)
