"""Writers of the formats that users have, each with the config a user would have beside the log."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from settings import fraction
from tasks import LM, LORA, POLICY, Config, Training, write

SHOWN_LEARNING_RATE = {LM: 1 / 100, LORA: 1 / 50}
"""Logged over used learning rate: tiny language models need larger ones than the models users train, and should not look odd for it."""

Row = dict[str, Any]


def shown(config: Config) -> float:
    return SHOWN_LEARNING_RATE.get(config.family, 1.0)


def learning_rate(config: Config) -> float:
    """The learning rate as the config states it."""
    return float(f"{config.learning_rate * shown(config):.4g}")


def write_run(folder: Path, config: Config, training: Training, seed: int) -> str:
    """Write the log and the config of a run, in a format drawn from its name; returns the format."""
    formats = ["hf", "csv", "jsonl"]
    if config.family in (LM, LORA):
        formats = ["hf", "hf", "automodel", "jsonl"]
    if config.family == POLICY:
        formats = ["hf", "jsonl"]
    name = str(fraction("format", folder.name).choice(formats))
    WRITERS[name](folder, config, training, seed)
    return name


def scheduler(config: Config) -> str:
    return "constant_with_warmup" if config.schedule == "constant" and config.warmup_ratio else config.schedule


def every(config: Config) -> int:
    return max(1, round(config.steps / config.evals)) if config.evals else 0


def rows(config: Config, training: Training) -> list[Row]:
    """What was logged, the learning rate as shown, with the epoch."""
    found = []
    for row in training.rows:
        new: Row = {key: row[key] * shown(config) if key == "lr" else row[key] for key in row}
        new["step"] = int(row["step"])
        new["epoch"] = round(row["step"] / config.steps_per_epoch, 4)
        found.append(new)
    return found


def renamed(row: Row, names: dict[str, str]) -> Row:
    return {names[key]: row[key] for key in names if key in row}


def hf(folder: Path, config: Config, training: Training, seed: int) -> None:
    names = {"epoch": "epoch", "grad_norm": "grad_norm", "lr": "learning_rate", "train/loss": "loss", "reward": "reward", "kl": "kl"}
    names |= {"eval/loss": "eval_loss", "eval/reward": "eval_reward", "step": "step"}
    history = [renamed(row, names) for row in rows(config, training)]
    for row in history:
        if "loss" in row and math.isfinite(row["loss"]):
            row["loss"] = round(row["loss"], 4)
    state = {
        "best_metric": None,
        "epoch": round(config.epochs, 4),
        "eval_steps": every(config) or 500,
        "global_step": config.steps,
        "is_world_process_zero": True,
        "log_history": history,
        "logging_steps": config.log_every,
        "max_steps": config.steps,
        "num_train_epochs": math.ceil(config.epochs),
        "train_batch_size": config.batch,
    }
    arguments: Row = {
        "output_dir": "out",
        "learning_rate": learning_rate(config),
        "lr_scheduler_type": scheduler(config),
        "warmup_ratio": config.warmup_ratio,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch,
        "gradient_accumulation_steps": 1,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": "adamw_torch" if config.optimizer == "adamw" else "sgd",
        "fp16": config.precision == "fp16",
        "bf16": config.precision == "bf16",
        "logging_steps": config.log_every,
        "eval_strategy": "steps" if config.evals else "no",
        "seed": seed,
    }
    if config.evals:
        arguments["eval_steps"] = every(config)
    if config.family == POLICY:
        arguments["beta"] = config.kl
    write(folder / "trainer_state.json", json.dumps(state, indent=2))
    if fraction("arguments", folder.name).random() < 0.5:
        write(folder / "training_args.json", json.dumps(arguments, indent=2))
    else:
        write(folder / "training_args.yaml", yaml(arguments))
    if config.family == LORA:
        adapter = {
            "peft_type": "LORA",
            "r": config.rank,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "target_modules": targets(config),
        }
        write(folder / "adapter_config.json", json.dumps(adapter, indent=2))


def targets(config: Config) -> list[str]:
    return ["qkv", "out", "up", "down"] if config.all_targets else ["qkv"]


def csv(folder: Path, config: Config, training: Training, seed: int) -> None:
    rate = "lr-AdamW" if config.optimizer == "adamw" else "lr-SGD"
    names = {"epoch": "epoch", "step": "step", "train/loss": "train_loss", "lr": rate, "grad_norm": "grad_norm", "eval/loss": "val_loss"}
    lines = [",".join(names.values())]
    for row in rows(config, training):
        row |= {"step": row["step"] - 1, "epoch": int(row["epoch"])}
        lines.append(",".join(str(row.get(key, "")) for key in names))
    write(folder / "metrics.csv", "\n".join(lines) + "\n")
    precision = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}[config.precision]
    trainer: Row = {"max_epochs": config.epochs, "precision": precision, "log_every_n_steps": config.log_every}
    if config.max_grad_norm:
        trainer["gradient_clip_val"] = config.max_grad_norm
    content = {
        "model": {"hidden": config.width, "layers": config.depth, "activation": config.activation, "dropout": config.dropout},
        "optim": {"name": config.optimizer, "lr": learning_rate(config), "weight_decay": config.weight_decay},
        "scheduler": {"name": config.schedule, "warmup_ratio": config.warmup_ratio},
        "trainer": trainer,
        "data": {"batch_size": config.batch, "train_size": config.samples, "shuffle": True},
        "seed": seed,
    }
    write(folder / "config.yaml", yaml(content))


def jsonl(folder: Path, config: Config, training: Training, seed: int) -> None:
    names = {"step": "step", "epoch": "epoch", "train/loss": "train/loss", "lr": "train/lr", "grad_norm": "train/grad_norm"}
    names |= {"eval/loss": "val/loss", "reward": "reward", "kl": "kl", "eval/reward": "val/reward"}
    write(folder / "log.jsonl", "".join(json.dumps(renamed(row, names)) + "\n" for row in rows(config, training)))
    content: Row = {
        "learning_rate": learning_rate(config),
        "epochs": config.epochs,
        "batch_size": config.batch,
        "weight_decay": config.weight_decay,
        "scheduler": config.schedule,
        "warmup_ratio": config.warmup_ratio,
        "optimizer": config.optimizer,
        "grad_clip": config.max_grad_norm,
        "dropout": config.dropout,
        "precision": config.precision,
        "n_train": config.samples,
        "seed": seed,
    }
    if config.family == LORA:
        content |= {"lora_r": config.rank, "lora_alpha": config.alpha, "target_modules": targets(config)}
    elif config.family not in (LM, POLICY):
        content |= {"hidden": config.width, "layers": config.depth, "activation": config.activation}
    write(folder / "config.json", json.dumps(content, indent=2))


def automodel(folder: Path, config: Config, training: Training, seed: int) -> None:
    logged = rows(config, training)
    names = {"step": "step", "epoch": "epoch", "train/loss": "loss", "grad_norm": "grad_norm", "lr": "lr"}
    for row in logged:
        row |= {"step": row["step"] - 1, "epoch": int(row["epoch"])}
    train = [renamed(row, names) for row in logged if "train/loss" in row]
    write(folder / "training.jsonl", "".join(json.dumps(row) + "\n" for row in train))
    validation = [{"step": row["step"], "epoch": row["epoch"], "val_loss": row["eval/loss"]} for row in logged if "eval/loss" in row]
    if validation:
        write(folder / "validation.jsonl", "".join(json.dumps(row) + "\n" for row in validation))
    steps: Row = {"global_batch_size": config.batch, "local_batch_size": config.batch, "num_epochs": config.epochs}
    if config.evals:
        steps["val_every_steps"] = every(config)
    dtype = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[config.precision]
    content: Row = {
        "model": {"_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained", "torch_dtype": dtype},
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "lr": learning_rate(config),
            "weight_decay": config.weight_decay,
        },
        "lr_scheduler": {"lr_decay_style": config.schedule, "lr_warmup_steps": round(config.warmup_ratio * config.steps), "min_lr": 0.0},
        "step_scheduler": steps,
        "dataset": {"limit_dataset_samples": config.samples},
        "rng": {"seed": seed},
    }
    if config.max_grad_norm:
        content["clip_grad_norm"] = {"max_norm": config.max_grad_norm}
    if config.family == LORA:
        content["peft"] = {"dim": config.rank, "alpha": config.alpha, "dropout": config.dropout, "target_modules": targets(config)}
    write(folder / "config.yaml", yaml(content))


WRITERS = {"hf": hf, "csv": csv, "jsonl": jsonl, "automodel": automodel}


def yaml(content: Row, indent: str = "") -> str:
    """Mappings of scalars and lists as YAML."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:\n{yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value) if not isinstance(value, float) else repr(value)}\n")
    return "".join(lines)
