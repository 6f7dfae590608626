#!/bin/sh
# BERT on SQuAD, as in the README of the example
python examples/pytorch/question-answering/run_qa.py \
  --model_name_or_path google-bert/bert-base-uncased \
  --dataset_name rajpurkar/squad \
  --do_train \
  --do_eval \
  --per_device_train_batch_size 12 \
  --learning_rate 3e-5 \
  --num_train_epochs 2 \
  --max_seq_length 384 \
  --doc_stride 128 \
  --version_2_with_negative \
  --null_score_diff_threshold=0.0 \
  --n_best_size 20 \
  --max_answer_length 30 \
  --fp16 \
  --no_dataloader_pin_memory \
  --output_dir /tmp/debug_squad/
