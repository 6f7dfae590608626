#!/usr/bin/env python
"""Values from the command line; what argparse has no default for is not in the file."""

import argparse
import os

from training_hub import osft, sft


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--data-path", required=True)
    parser.add_argument("--learning-rate", type=float, default=5e-6)
    parser.add_argument("--num-epochs", type=int, default=3)
    parser.add_argument("--algorithm", choices=["sft", "osft"], default="osft")
    args = parser.parse_args()

    shared = dict(
        model_path=args.model_path,
        data_path=args.data_path,
        ckpt_output_dir=os.path.join("runs", args.algorithm),
        learning_rate=args.learning_rate,
        num_epochs=args.num_epochs,
        effective_batch_size=128,
        max_seq_len=4096,
        max_tokens_per_gpu=16384,
    )
    if args.algorithm == "osft":
        osft(**shared, unfreeze_rank_ratio=0.25, use_processed_dataset=False, trust_remote_code=True)
    else:
        sft(**shared, save_samples=10_000, keep_last_checkpoint_only=True)


if __name__ == "__main__":
    main()
