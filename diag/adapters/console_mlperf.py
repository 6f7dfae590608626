"""MLPerf training logs: ``:::MLLOG {json}`` lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from diag.adapters.console_rows import Row
from diag.adapters.tolerant_json import number

MARK: Final = ":::MLLOG"
AXES: Final = ("samples_count", "epoch_num", "step")
"""Metadata that say how far the run was, most telling first.

``epoch_num`` counts epochs, samples or tokens, by benchmark; ``step`` counts what the others count.
"""
MOST_EPOCHS: Final = 10_000
"""``epoch_num`` above this counts samples or tokens: no benchmark runs as many epochs."""
LOSS_BENCHMARKS: Final = frozenset({"gpt3", "llama2_70b_lora", "llama31_405b", "llama31_8b"})
"""Benchmarks whose ``eval_accuracy`` is the evaluation loss (MLPerf training rules: log perplexity, cross entropy)."""
NATIVE: Final = {
    "opt_base_learning_rate": "learning_rate",
    "opt_end_learning_rate": "min_lr",
    "opt_learning_rate_decay_schedule": "lr_scheduler",
    "opt_learning_rate_warmup_steps": "warmup_steps",
    "num_warmup_steps": "warmup_steps",
    "opt_learning_rate_warmup_factor": "warmup_ratio",
    "opt_learning_rate_training_steps": "max_steps",
    "opt_learning_rate_decay_steps": "max_steps",
    "global_batch_size": "global_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "opt_name": "optimizer",
    "opt_weight_decay": "weight_decay",
    "opt_adamw_weight_decay": "weight_decay",
    "opt_lamb_weight_decay_rate": "weight_decay",
    "opt_gradient_clip_norm": "max_grad_norm",
    "lora_rank": "lora_rank",
    "lora_alpha": "lora_alpha",
    "max_sequence_length": "max_seq_len",
    "train_samples": "dataset_size",
    "seed": "seed",
}
"""MLPerf keys and the canonical hyperparameter each states."""


@dataclass(slots=True)
class MlperfLog:
    """What the ``:::MLLOG`` lines of a log say.

    Attributes:
        rows: metrics with their steps.
        settings: MLPerf key to value and line, first mention.
        finished: whether ``run_stop`` reported success; None if it is missing.
        notes: remarks.
    """

    rows: list[Row] = field(default_factory=list)
    settings: dict[str, tuple[Any, int]] = field(default_factory=dict)
    finished: bool | None = None
    notes: list[str] = field(default_factory=list)


def read_mlperf(lines: Iterable[tuple[int, str]]) -> MlperfLog:
    """Read ``(line number, text)`` pairs; lines that are not valid records are passed over."""
    log = MlperfLog()
    positions: list[tuple[str, float]] = []
    for line, text in lines:
        start = text.find(MARK)
        if start < 0:
            continue
        try:
            record = json.loads(text[start + len(MARK) :])
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict) or not isinstance(record.get("key"), str):
            continue
        raw = record.get("metadata")
        metadata = raw if isinstance(raw, dict) else {}
        values = measured(record["key"], record.get("value"), metadata, log)
        if values:
            stamp = number(record.get("time_ms"))
            position = next(((name, x) for name in AXES if (x := number(metadata.get(name))) is not None), None)
            if position is None:
                continue
            log.rows.append(Row(line, values, time=None if stamp is None else stamp / 1000))
            positions.append(position)
        elif record["key"] == "run_stop":
            log.finished = metadata.get("status") == "success"
        elif (
            record.get("event_type") == "POINT_IN_TIME"
            and isinstance(record.get("value"), (int, float, str))
            and not isinstance(record["value"], bool)
        ):
            log.settings.setdefault(record["key"], (record["value"], line))
    place_rows(log, positions)
    name_accuracy(log)
    return log


def measured(key: str, value: Any, metadata: dict[str, Any], log: MlperfLog) -> dict[str, float]:
    """Metrics of one record; {} for records that measure nothing."""
    single = number(value)
    if key == "eval_accuracy" and single is not None:
        metric = metadata.get("metric")
        return {f"eval_{metric}" if isinstance(metric, str) else key: single}
    if key.endswith("loss") and single is not None:
        return {key: single}
    if key == "tracked_stats" and isinstance(value, dict):
        return {
            name.removeprefix("current_").removeprefix("reduced_"): x
            for name, y in value.items()
            if name not in AXES and (x := number(y)) is not None
        }
    return {}


def place_rows(log: MlperfLog, positions: list[tuple[str, float]]) -> None:
    """Samples, tokens or epochs to optimizer steps, where the batch size was logged."""
    batch, length, samples = (setting(log, key) for key in ("global_batch_size", "max_sequence_length", "train_samples"))
    units = {name: unit_of(name, positions, batch, length) for name, _ in positions}
    per_epoch = samples / batch if samples and batch else None
    for row, (name, value) in zip(log.rows, positions, strict=True):
        unit = units[name]
        if unit is None:
            row.epoch = value
            row.step = round(value * per_epoch) if per_epoch and per_epoch >= 1 else round(value)
        else:
            row.step = round(value / unit)
            row.epoch = value / samples if samples and unit == batch else None
    if positions and not batch:
        log.notes.append("steps are MLPerf epochs or samples: the log does not give the batch size")
    if batch and any(unit is not None and unit > batch for unit in units.values()):
        log.settings.pop("train_samples", None)  # counts tokens, as the positions do


def unit_of(name: str, positions: list[tuple[str, float]], batch: float | None, length: float | None) -> float | None:
    """What one optimizer step adds to the axis ``name``; None where the axis counts epochs."""
    values = [value for axis, value in positions if axis == name]
    if name == "step":
        others = {axis for axis, value in positions if axis != name and value in set(values)}
        if others:
            return unit_of(min(others), positions, batch, length)
    if name != "samples_count" and max(values) <= MOST_EPOCHS:
        return None
    if name != "samples_count" and batch and length and all(value % (batch * length) == 0 for value in values):
        return batch * length
    return batch or 1.0


def setting(log: MlperfLog, key: str) -> float | None:
    """A positive numeric setting, None if it was not logged."""
    value = number(log.settings[key][0]) if key in log.settings else None
    return value if value is not None and value > 0 else None


def name_accuracy(log: MlperfLog) -> None:
    """``eval_accuracy`` under the name ``eval_loss`` where the benchmark's quality metric is a loss, or no accuracy could be so large."""
    benchmark = log.settings.get("submission_benchmark", ("", 0))[0]
    values = [row.values["eval_accuracy"] for row in log.rows if "eval_accuracy" in row.values]
    if values and (benchmark in LOSS_BENCHMARKS or min(values) > 1):
        for row in log.rows:
            if "eval_accuracy" in row.values:
                row.values["eval_loss"] = row.values.pop("eval_accuracy")
        log.notes.append("eval_accuracy is this benchmark's evaluation loss")
