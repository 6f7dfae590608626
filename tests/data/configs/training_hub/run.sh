#!/bin/bash
set -e
# the file's values, a smaller rate
thub osft --config osft.yaml --learning-rate 1e-6 --num-epochs 2 --unfreeze-rank-ratio 0.25

thub sft --model-path ./granite --data-path ./data.jsonl --ckpt-output-dir ./out \
  --effective-batch-size 128 --learning-rate 5e-6 --max-seq-len 4096 --max-tokens-per-gpu 16384 \
  --num-epochs 2 --warmup-steps 10 --save-samples 5000 --accelerate-full-state-at-epoch false --nproc-per-node 8

thub lora-sft --config lora_sft.yaml --lora-r 32 --lora-alpha 64 --target-modules q_proj v_proj --bf16 true
