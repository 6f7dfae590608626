#!/usr/bin/env bash
set -euo pipefail
# Overrides of a stock config on the command line
tune run --nproc_per_node 2 lora_finetune_distributed \
  --config llama3_1/8B_lora \
  optimizer.lr=1e-5 \
  optimizer.weight_decay=0.01 \
  lr_scheduler.num_warmup_steps=50 \
  model.lora_rank=16 model.lora_alpha=32 \
  "model.lora_attn_modules=[q_proj,v_proj,output_proj]" \
  tokenizer.max_seq_len=2048 dataset.packed=True \
  batch_size=2 gradient_accumulation_steps=8 \
  epochs=1 clip_grad_norm=1.0 seed=42 \
  metric_logger=torchtune.training.metric_logging.WandBLogger metric_logger.project=torchtune
