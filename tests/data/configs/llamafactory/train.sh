#!/usr/bin/env bash
# Rates to compare on the same config.
set -euo pipefail
export CUDA_VISIBLE_DEVICES=0,1,2,3
export FORCE_TORCHRUN=1

llamafactory-cli train sft-lora.yaml \
    learning_rate=1e-5 \
    lora_rank=32 \
    lora_alpha=64 \
    output_dir=saves/llama3-8b/lora/sft-1e-5
