#!/bin/bash
# overrides after the config
python train.py fit \
  --config config.yaml \
  --seed_everything 42 \
  --trainer.max_epochs 20 --trainer.precision bf16-mixed \
  --trainer.accumulate_grad_batches=4 \
  --trainer.gradient_clip_val=1.0 \
  --trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=val_loss --trainer.callbacks.patience=5 \
  --optimizer AdamW --optimizer.lr 3e-4 \
  --model.hidden_size 512 \
  --data.batch_size 64
