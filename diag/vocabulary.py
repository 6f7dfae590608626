"""The words of the common frame: metrics, hyperparameters, verdicts, causes, severities.

Code, the command line, the JSON report and the tests all use these spellings.
"""

from __future__ import annotations

from typing import Final

METRICS: Final = (
    "train/loss",
    "eval/loss",
    "lr",
    "grad_norm",
    "train/accuracy",
    "eval/accuracy",
    "loss_scale",
    "tokens_per_second",
    "samples_per_second",
    "step_time",
    "gpu_memory",
    "reward",
    "kl",
)
"""Canonical metrics; several evaluation sets are ``eval/<name>/loss``; anything else keeps its native name."""

HYPERPARAMETERS: Final[dict[str, type]] = {
    "learning_rate": float,
    "min_lr": float,
    "lr_scheduler": str,
    "warmup_steps": float,
    "warmup_ratio": float,
    "num_epochs": float,
    "max_steps": int,
    "global_batch_size": int,
    "micro_batch_size": int,
    "gradient_accumulation_steps": int,
    "weight_decay": float,
    "max_grad_norm": float,
    "optimizer": str,
    "dropout": float,
    "lora_rank": int,
    "lora_alpha": float,
    "lora_dropout": float,
    "lora_target_modules": object,
    "use_dora": bool,
    "load_in_4bit": bool,
    "load_in_8bit": bool,
    "precision": str,
    "max_seq_len": int,
    "packing": bool,
    "gradient_checkpointing": bool,
    "eval_steps": float,
    "save_steps": float,
    "logging_steps": float,
    "early_stopping_patience": int,
    "early_stopping_threshold": float,
    "load_best_model_at_end": bool,
    "unfreeze_rank_ratio": float,
    "seed": int,
    "shuffle": bool,
    "method": str,
    "model_parameters": float,
    "dataset_size": int,
    "world_size": int,
}
"""Canonical hyperparameters and the Python type of their value.

``precision`` is one of ``fp32``, ``tf32``, ``fp16``, ``bf16``, ``fp8``; ``optimizer`` and ``lr_scheduler`` are
lower-case Hugging Face names where there is one. ``early_stopping_patience`` counts evaluations. ``method`` is one
of METHODS.
"""

METHODS: Final = ("sft", "lora", "qlora", "osft", "pretraining")

HEALTHY: Final = "HEALTHY"
OVERFIT: Final = "OVERFIT"
UNDERFIT: Final = "UNDERFIT"
PLATEAU: Final = "PLATEAU"
UNSTABLE: Final = "UNSTABLE"
DIVERGED: Final = "DIVERGED"
INCONCLUSIVE: Final = "INCONCLUSIVE"
VERDICTS: Final = (HEALTHY, OVERFIT, UNDERFIT, PLATEAU, UNSTABLE, DIVERGED, INCONCLUSIVE)

CAUSES: Final = (
    "lr_too_high",
    "lr_too_low",
    "warmup_too_short",
    "schedule_bug",
    "too_many_epochs",
    "too_few_epochs",
    "capacity_too_low",
    "capacity_too_high",
    "regularization_too_weak",
    "weight_decay_too_high",
    "batch_too_small",
    "batch_too_large",
    "gradient_clipping_missing",
    "gradient_clipping_too_tight",
    "exploding_gradients",
    "vanishing_gradients",
    "precision_overflow",
    "frozen_parameters",
    "data_corruption",
    "eval_leak",
    "eval_missing",
    "eval_too_sparse",
    "resume_discontinuity",
    "reward_collapse",
    "out_of_memory",
    "throughput_degraded",
)

ERROR: Final = "error"
WARNING: Final = "warning"
INFO: Final = "info"
SEVERITIES: Final = (INFO, WARNING, ERROR)
"""From mild to severe; compare by index."""
