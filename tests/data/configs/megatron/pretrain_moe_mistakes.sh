#!/bin/bash
# min-lr above lr, warmup longer than the run, global batch that 3 x 8 does not divide, both precisions
torchrun --nproc_per_node 8 pretrain_gpt.py \
  --num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 2048 --max-position-embeddings 2048 \
  --num-experts 8 --moe-router-topk 2 --moe-aux-loss-coeff 1e-2 --moe-grouped-gemm --expert-model-parallel-size 4 \
  --moe-token-dispatcher-type alltoall --moe-router-load-balancing-type aux_loss \
  --micro-batch-size 3 --global-batch-size 100 --train-iters 1000 \
  --lr 0.0001 --min-lr 0.001 --lr-decay-style linear --lr-warmup-iters 2000 --weight-decay 0.5 --clip-grad 0 \
  --fp16 --bf16 --loss-scale-window 50 --recompute-granularity full --recompute-method uniform --recompute-num-layers 1 \
  --mock-data --tokenizer-type NullTokenizer --vocab-size 32000 --eval-interval 5000 --eval-iters 1 --log-interval 500 --seed 1234
