#!/usr/bin/env bash
# Continued pretraining on 2 x 8 GPUs
set -euo pipefail
export WANDB_PROJECT=clm

torchrun --nnodes 2 --nproc-per-node 8 run_clm.py \
    --model_name_or_path EleutherAI/pythia-1.4b \
    --train_file data/train.txt \
    --validation_file data/valid.txt \
    --block_size 2048 \
    --do_train --do_eval \
    --per_device_train_batch_size 8 \
    --gradient_accumulation_steps 2 \
    --learning_rate 3e-5 \
    --lr_scheduler_type cosine \
    --warmup_steps 500 \
    --max_steps 20000 \
    --weight_decay 0.1 \
    --adam_beta2 0.95 \
    --bf16 True \
    --gradient_checkpointing \
    --eval_strategy steps --eval_steps 500 \
    --save_steps 1000 --save_total_limit 3 \
    --logging_steps 10 \
    --report_to wandb \
    --output_dir /checkpoints/pythia-cpt
