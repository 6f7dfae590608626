"""Which framework wrote a table of records, what its x axis counts, and what its columns mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from diag.adapters.records import (
    EPOCH_KEYS,
    STEP_KEYS,
    Records,
    add_detection_totals,
    fractional_epochs,
    interpolated,
    is_eval,
    is_loss,
    is_reward,
    steps_of,
    unrolled,
    wall_times,
    whole,
)
from diag.run import FloatArray, IntArray

LIGHTNING: Final = "lightning"
AUTOMODEL: Final = "automodel"
INSTRUCTLAB: Final = "instructlab-training"
MINI_TRAINER: Final = "mini-trainer"
UNSLOTH: Final = "unsloth"
LLAMAFACTORY: Final = "llamafactory"
ULTRALYTICS: Final = "ultralytics"
LITGPT: Final = "litgpt"
DEEPSPEED: Final = "deepspeed"
MONITOR: Final = "monitor"
GENERIC: Final = ""

PLAN_KEYS: Final = ("total_steps", "max_steps", "num_training_steps", "total_iters", "max_iters")
"""Columns that repeat the planned number of optimizer steps in every record."""
EPOCH_SIZE_KEYS: Final = ("steps_per_epoch", "num_epoch_steps")
"""Columns of mini-trainer and instructlab-training that repeat the optimizer steps of an epoch."""
REPEATED_SHARE: Final = 0.5
"""Share of equal neighbours above which an evaluation loss is a value carried from record to record."""
MIN_REPEATS: Final = 5
"""Equal neighbours below which a value is not taken as carried forward."""

_GRAD_NORM: Final = re.compile(r"grad(?:ient)?s?[_\-./ ]?norm", re.IGNORECASE)
_ZERO_BASED: Final = frozenset({LIGHTNING, AUTOMODEL})


@dataclass(slots=True)
class Axes:
    """The axes of a stream of records, one entry a row.

    Attributes:
        step: optimizer steps completed, int64.
        epoch: fractional epoch, NaN where unknown, or None.
        wall_time: Unix seconds, NaN where unknown, or None.
        keys: the columns they were read from, which are no metrics.
        planned: planned optimizer steps, None if unknown.
        notes: remarks.
    """

    step: IntArray
    epoch: FloatArray | None = None
    wall_time: FloatArray | None = None
    keys: set[str] = field(default_factory=set)
    planned: int | None = None
    notes: list[str] = field(default_factory=list)


def recognize(name: str, folder: str, keys: Sequence[str], siblings: Sequence[str]) -> str:
    """The framework that wrote a file, "" for an unknown one.

    Args:
        name: file name.
        folder: name of the folder it lies in.
        keys: its column names in the order of the file.
        siblings: names of the files beside it.
    """
    have = set(keys)
    if name.startswith("training_params_and_metrics_global"):
        return INSTRUCTLAB
    if re.fullmatch(r"training_metrics_\d+\.jsonl", name) or {"steps_per_epoch", "num_loss_counted_tokens", "grad_accum"} <= have:
        return MINI_TRAINER
    if {"samples_seen", "num_loss_counted_tokens", "overall_throughput"} <= have:
        return INSTRUCTLAB
    if {"current_steps", "total_steps"} <= have:
        return LLAMAFACTORY
    if {"step", "epoch", "timestamp", "lr"} <= have and ({"tps", "mem"} <= have or {"val_loss", "num_label_tokens"} <= have):
        return AUTOMODEL
    if name == "training_metrics.jsonl" and {"step", "max_steps"} <= have:
        return UNSLOTH
    if {"iter", "step", "iter_time"} <= have:
        return LITGPT
    if {"r", "l", "t"} == have:
        return MONITOR
    if len(keys) == 2 and keys[0] == "step" and name.startswith(("Train_", "Eval_")) and name.endswith(f"_{keys[1]}.csv"):
        return DEEPSPEED
    if {"epoch", "step"} <= have and name.endswith(".csv"):
        beside = "hparams.yaml" in siblings or folder.startswith("version_")
        if beside or (name == "metrics.csv" and list(keys) == sorted(keys)):
            return LIGHTNING
    if "epoch" in have and any(key.startswith("metrics/") for key in keys) and any(key.startswith(("lr/pg", "x/lr")) for key in keys):
        return ULTRALYTICS
    return GENERIC


def is_sparse(records: Records) -> bool:
    """Whether some metric is missing from some rows, as in a log that gives train and evaluation rows of their own."""
    return any(at.size < records.rows for at, _ in records.columns.values())


def find_axes(records: Records, framework: str) -> Axes:
    """The axes of the records; renames and repairs columns in place where the framework asks for it."""
    notes: list[str] = []
    if framework == MONITOR:
        records.rename({"r": "reward", "l": "episode_length"})
        records.columns.pop("t", None)
    if framework == MINI_TRAINER:
        _only_real_evaluations(records)
    if framework == ULTRALYTICS:
        records.columns.pop("time", None)
    add_detection_totals(records, notes)
    _drop_carried_losses(records, notes)
    step_key = None if framework == MONITOR else records.find(("iter",) if framework == LITGPT else STEP_KEYS)
    epoch_key = records.find(EPOCH_KEYS)
    time_key, wall_time = wall_times(records)
    epoch = records.full(epoch_key) if epoch_key else None
    axes = Axes(np.arange(1, records.rows + 1, dtype=np.int64), epoch, wall_time, notes=notes)
    axes.keys.update(key for key in (step_key, epoch_key, time_key) if key)
    if step_key and whole(records.columns[step_key][1]):
        axes.step = _optimizer_steps(records, step_key, epoch, framework, notes)
        if (size := _epoch_size(records)) is not None:
            axes.epoch = axes.step / size
        elif epoch is not None:
            axes.epoch = interpolated(axes.step, fractional_epochs(axes.step, epoch))
    elif epoch is not None and whole(epoch):
        counted = steps_of(epoch)
        axes.step = counted + first_offset(counted, training_rows(records))
        axes.epoch = axes.step.astype(np.float64)
        notes.append("steps are epochs: no optimizer step was logged")
    else:
        notes.append("steps are rows: no step or epoch was logged")
    if step_key and framework == LITGPT:
        axes.keys.update({"iter", "step"} & set(records.columns))
        notes.append("steps are micro-batch iterations, as litgpt logs them")
    axes.planned = _planned(records, axes)
    return axes


def _epoch_size(records: Records) -> float | None:
    """Optimizer steps an epoch, where every record repeats it."""
    key = records.find(EPOCH_SIZE_KEYS)
    if key is None:
        return None
    values = records.columns[key][1]
    return float(values[0]) if float(values[0]) >= 1 and bool((values == values[0]).all()) else None


def _optimizer_steps(records: Records, step_key: str, epoch: FloatArray | None, framework: str, notes: list[str]) -> IntArray:
    logged = records.full(step_key)
    counted = steps_of(logged)
    training = training_rows(records)
    lead = int(np.argmax(np.isfinite(logged)))
    if framework == DEEPSPEED:
        gaps = np.diff(np.unique(counted))
        batch = int(gaps.min()) if gaps.size else max(int(counted.max(initial=1)), 1)
        notes.append(f"the x axis counts samples; steps assume {batch} samples a step, the smallest distance between records")
        return counted // batch
    if framework in (GENERIC, LIGHTNING) and epoch is not None and (running := unrolled(counted, epoch)) is not None:
        notes.append(f"{step_key} starts again in every epoch; it was counted on")
        counted = running
    offset = 1 if framework in _ZERO_BASED and (framework != LIGHTNING or _lightning_counts(records, counted)) else 0
    steps = np.maximum(counted + (offset or first_offset(counted, training)), 0)
    if lead and not (training.size and training[0] < lead):
        steps[:lead] = 0  # evaluations before training, of a writer that leaves out a step of 0
    return steps


def _lightning_counts(records: Records, step: IntArray) -> bool:
    """Whether a table that looks like Lightning's counts from 0: not where every training row is a multiple of the interval."""
    rows = training_rows(records)
    gaps = np.diff(np.unique(step[rows]))
    interval = int(gaps.min()) if gaps.size else 1
    return is_sparse(records) or interval < 2 or bool((step[rows] % interval != 0).any())


def first_offset(step: IntArray, training: IntArray) -> int:
    """1 where steps are counted from 0, else 0.

    A training row (indices ``training``) at step 0 or below cannot come from a completed step; an evaluation at -1 is
    a check before training; and rows at 9, 19, 29 … end intervals of 10 that are counted from 0.
    """
    if not step.size:
        return 0
    if int(step.min()) == -1:
        return 1
    seen = np.unique(step[training])
    if not seen.size:
        return 0
    if int(seen[0]) == 0:
        return 1
    if seen.size < 3:
        return 0
    interval = int(np.diff(seen).min())
    return 1 if interval > 1 and bool(((seen + 1) % interval == 0).all()) else 0


def training_rows(records: Records) -> IntArray:
    """Row indices, ascending, at which a training loss (or reward, or gradient norm) was logged."""
    logged = np.zeros(records.rows, dtype=bool)
    for key, (at, _) in records.columns.items():
        if (is_loss(key) or is_reward(key) or _GRAD_NORM.search(key)) and not is_eval(key):
            logged[at] = True
    return np.flatnonzero(logged)


def _only_real_evaluations(records: Records) -> None:
    """mini-trainer repeats the last ``val_loss`` on every line; evaluations are the lines that say how much was evaluated."""
    marks = [key for key in ("val_num_samples", "val_num_loss_counted_tokens", "val_num_batches") if key in records.columns]
    if not marks or "val_loss" not in records.columns:
        return
    at, values = records.columns["val_loss"]
    real = np.isin(at, np.concatenate([records.columns[key][0] for key in marks]))
    records.columns["val_loss"] = at[real], values[real]


def _drop_carried_losses(records: Records, notes: list[str]) -> None:
    """Keep the first of equal neighbours of an evaluation loss that is carried from record to record."""
    for key, (at, values) in list(records.columns.items()):
        if not (is_loss(key) and is_eval(key)) or values.size < 2 * MIN_REPEATS:
            continue
        same = (values[1:] == values[:-1]) & np.isfinite(values[1:]) & (values[1:] != 0)
        if int(same.sum()) < max(MIN_REPEATS, REPEATED_SHARE * values.size):
            continue
        keep = np.concatenate([[True], ~same])
        if int(keep.sum()) < 2:
            continue
        records.columns[key] = at[keep], values[keep]
        notes.append(f"{key} is repeated from record to record; only its changes were taken as evaluations")


def _planned(records: Records, axes: Axes) -> int | None:
    key = records.find(PLAN_KEYS)
    if key is not None:
        values = records.columns[key][1]
        values = values[np.isfinite(values)]
        if whole(values) and float(values.max()) > 0 and np.unique(values).size <= max(2, values.size // 10):
            axes.keys.add(key)
            return int(values[-1])
    return None


def export_columns(header: Sequence[str]) -> dict[str, dict[str, str]]:
    """Columns of a W&B chart export by run: ``<run> - <metric>`` with ``… __MIN`` and ``… __MAX`` beside it; {} for other tables."""
    runs: dict[str, dict[str, str]] = {}
    if not any(name.endswith(("__MIN", "__MAX")) for name in header):
        return runs
    for name in header:
        run, separator, metric = name.rpartition(" - ")
        if separator and not metric.endswith(("__MIN", "__MAX")):
            runs.setdefault(run, {})[name] = metric
    return runs
