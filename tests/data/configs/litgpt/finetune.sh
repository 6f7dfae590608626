#!/bin/sh
litgpt finetune_lora checkpoints/meta-llama/Llama-3.2-1B \
  --data JSON --data.json_path data/train.json --data.val_split_fraction 0.1 \
  --train.max_steps 200 --train.lr_warmup_steps 20 \
  --train.global_batch_size 16 --train.micro_batch_size 2 \
  --train.max_seq_length 1024 \
  --optimizer torch.optim.AdamW --optimizer.init_args.lr 2e-4 \
  --lora_r 16 --lora_alpha 32 --lora_dropout 0.05 --lora_mlp true \
  --eval.interval 25 --quantize bnb.nf4 --precision bf16-true --seed 7 --out_dir out/lora
