#!/bin/bash
# A sweep by hand: the rate and its floor move together.
set -euo pipefail
export WANDB_MODE=offline

automodel lora_dolly.yaml --nproc-per-node 8 \
  --optimizer.lr 5e-6 \
  --lr_scheduler.min_lr 5e-7 \
  --step_scheduler.global_batch_size=128 \
  --step_scheduler.num_epochs 2 \
  --dataset.limit_dataset_samples 2000
