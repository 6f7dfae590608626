"""A 32B model in 4 bits on one card."""

from training_hub import lora_sft as train

train(
    model_path="Qwen/Qwen2.5-32B-Instruct",
    data_path="data/alpaca.jsonl",
    ckpt_output_dir="runs/qlora",
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype="bfloat16",
    bnb_4bit_use_double_quant=True,
    lora_r=32,
    lora_alpha=64,
    use_rslora=False,
    micro_batch_size=2,
    gradient_accumulation_steps=8,
    num_epochs=1,
    learning_rate=5e-5,
    max_grad_norm=0.3,
    weight_decay=0.01,
    max_seq_len=4096,
    flash_attention=True,
    tf32=True,
    dataset_type="alpaca",
    field_instruction="instruction",
    field_input="input",
    field_output="output",
    trust_remote_code=False,
)
