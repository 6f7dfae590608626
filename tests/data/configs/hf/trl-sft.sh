#!/bin/bash
#SBATCH --gpus-per-node=4
accelerate launch --num_processes 4 --mixed_precision bf16 \
  trl/scripts/sft.py \
  --model_name_or_path Qwen/Qwen2.5-0.5B \
  --dataset_name trl-lib/Capybara \
  --learning_rate 2.0e-4 \
  --num_train_epochs 1 \
  --packing \
  --per_device_train_batch_size 2 \
  --gradient_accumulation_steps 8 \
  --eos_token '<|im_end|>' \
  --eval_strategy steps \
  --eval_steps 100 \
  --use_peft \
  --lora_r 32 \
  --lora_alpha 16 \
  --output_dir Qwen2.5-0.5B-SFT-LoRA

# and with the command
trl dpo \
  --model-name-or-path Qwen/Qwen2.5-0.5B-Instruct \
  --dataset-name trl-lib/ultrafeedback_binarized \
  --learning-rate 5.0e-7 \
  --per-device-train-batch-size 2 \
  --gradient-accumulation-steps 8 \
  --beta 0.05 \
  --max-steps 1000 \
  --no-remove-unused-columns \
  --output-dir Qwen2-0.5B-DPO
