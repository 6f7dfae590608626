#!/bin/bash
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
torchrun --nproc-per-node=4 examples/llm_finetune/finetune.py \
  --config sft_small.yaml \
  --optimizer.lr 5.0e-5 \
  --peft._target_ nemo_automodel.components._peft.lora.PeftConfig \
  --peft.match_all_linear True \
  --peft.dim 16 \
  --peft.alpha 32 \
  --peft.target_modules "['*.q_proj','*.v_proj']" \
  --distributed.dp_size none
