"""Streams of log records (rows of a table, lines of a JSONL, W&B history) as sparse columns, and where their x axis is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from diag.adapters import tolerant_json
from diag.run import Column, FloatArray, IntArray

STEP_KEYS: Final = (
    "train/global_step",
    "trainer/global_step",
    "global_step",
    "current_steps",
    "step",
    "steps",
    "global_steps",
    "train_step",
    "training_step",
    "iteration",
    "iter",
    "iterations",
    "training_iteration",
    "time/total_timesteps",
    "total_timesteps",
    "timesteps_total",
    "timesteps",
    "num_updates",
    "n_updates",
    "update",
    "updates",
    "batch",
    "_step",
)
"""Keys that count optimizer steps, in the order in which they are believed; compared in lower case."""
EPOCH_KEYS: Final = ("epoch", "train/epoch", "trainer/epoch", "epochs", "num_epoch", "time/epoch")
TIME_KEYS: Final = ("_timestamp", "timestamp", "wall time", "wall_time", "walltime", "datetime", "date", "time")
"""Keys that may hold the time of a record; used only where the values are Unix seconds or ISO dates."""
STEP: Final = "_step"
"""The key under which W&B counts ``log`` calls."""
MAX_NESTING: Final = 4
"""Levels of a nested value that are flattened into ``a.b`` keys, as W&B names them."""
BOOKKEEPING: Final = ("_runtime", "percentage", "elapsed_time", "remaining_time", "rank", "unnamed: 0", "index")
"""Keys that describe the record and are no metric."""

MAX_STEP: Final = 2.0**53
"""Steps above which a float64 no longer counts one by one."""
UNIX_TIME: Final = (1e8, 1e11)
"""Seconds between 1973 and 5138: what a Unix time looks like, unlike seconds since the start of a run."""

_SPLIT: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_NO_LOSS: Final = frozenset({"lossless", "lossy", "gloss", "losses_count", "loss_scale"})
_REWARDS: Final = frozenset({"reward", "rewards", "rew", "return", "returns"})
_DETECTION: Final = frozenset({"box", "obj", "cls", "dfl", "seg", "sem", "pose", "kobj", "angle", "giou", "l1", "rle"})
"""Parts of a detector's loss as Ultralytics names them; each is logged with its gain applied, and their sum is trained on."""


@dataclass(slots=True)
class Records:
    """Log records, column by column.

    Attributes:
        rows: number of records.
        columns: native key to (row indices int64 ascending, values float64), both of shape (n,): a key that a record
            lacks has no entry for that row, a NaN is a value that was logged.
    """

    rows: int = 0
    columns: dict[str, tuple[IntArray, FloatArray]] = field(default_factory=dict)

    def full(self, key: str) -> FloatArray:
        """One value a row, shape (rows,), NaN where the record lacks the key."""
        values = np.full(self.rows, np.nan)
        at, logged = self.columns[key]
        values[at] = logged
        return values

    def find(self, names: Iterable[str]) -> str | None:
        """The first key that is one of ``names`` (lower case) with at least one finite value."""
        keys = {key.strip().lower(): key for key in reversed(self.columns)}
        for name in names:
            if name in keys and bool(np.isfinite(self.columns[keys[name]][1]).any()):
                return keys[name]
        return None

    def rename(self, names: dict[str, str]) -> None:
        """Give columns other names, in place; a name that is already taken is left alone."""
        for old, new in names.items():
            if old in self.columns and new not in self.columns:
                self.columns[new] = self.columns.pop(old)

    def append(self, other: Records) -> None:
        """Put the rows of another stream after the own ones, in place."""
        for key, (at, values) in other.columns.items():
            shifted = at + self.rows
            if key in self.columns:
                own_at, own = self.columns[key]
                self.columns[key] = np.concatenate([own_at, shifted]), np.concatenate([own, values])
            else:
                self.columns[key] = shifted, values
        self.rows += other.rows


def numbers_in(value: Any, key: str, depth: int) -> Iterator[tuple[str, float]]:
    """The numbers of a logged value by key: itself, or those of a nested mapping. Media and histograms (``_type``) hold none."""
    if isinstance(value, dict):
        if depth < MAX_NESTING and "_type" not in value:
            for inner, item in value.items():
                yield from numbers_in(item, f"{key}.{inner}", depth + 1)
    elif not isinstance(value, (bool, list)) and (parsed := tolerant_json.number(value)) is not None:
        yield key, parsed


def is_loss(key: str) -> bool:
    """Whether a key names a loss: ``loss``, ``train/loss``, ``val_box_loss``, ``trainLoss``, ``loss_q0``."""
    if key.lower() in _NO_LOSS or "loss_scale" in key.lower() or "loss scale" in key.lower():
        return False
    return any((word.startswith("loss") or word.endswith("loss")) and word not in _NO_LOSS for word in words(key)) or bool(
        {"nll", "perplexity", "ppl", "bpb"} & set(words(key))
    )


def is_reward(key: str) -> bool:
    """Whether a key names a reward: ``reward``, ``rollout/ep_rew_mean``, ``episode_reward_mean``."""
    return bool(_REWARDS & set(words(key)))


def is_eval(key: str) -> bool:
    """Whether a key names something measured on held-out data."""
    return bool({"val", "valid", "validation", "eval", "evaluation", "test", "dev"} & set(words(key)))


def words(key: str) -> list[str]:
    """The lower-case words of a key: ``train/boxLoss`` gives ``["train", "box", "loss"]``."""
    return [word.lower() for word in _SPLIT.split(key) if word]


def filled(values: FloatArray) -> FloatArray:
    """Gaps (NaN) filled with the last value before them, leading gaps with the first value; 0 where there is none."""
    known = np.isfinite(values)
    if not bool(known.any()):
        return np.zeros_like(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.size), -1))
    return np.asarray(values[np.where(last < 0, int(np.argmax(known)), last)], dtype=np.float64)


def whole(values: FloatArray) -> bool:
    """Whether all finite values are integers that fit a step counter."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and bool((finite == np.round(finite)).all()) and float(np.abs(finite).max()) < MAX_STEP


def steps_of(values: FloatArray) -> IntArray:
    """A step axis as int64: gaps filled, fractions rounded up (a fraction of an epoch belongs to that epoch)."""
    return np.ceil(np.clip(filled(values), -MAX_STEP, MAX_STEP)).astype(np.int64)


def unrolled(step: IntArray, epoch: FloatArray) -> IntArray | None:
    """A batch counter that starts again in every epoch as a running step; None where ``step`` is not such a counter.

    Every backward step must fall on an increase of the epoch; in a resumed run it falls on a decrease or none.
    """
    back = np.flatnonzero(np.diff(step) < 0) + 1
    if not back.size:
        return None
    known = filled(epoch)
    if not bool((known[back] > known[back - 1]).all()):
        return None
    per_epoch = int(step.max()) + (1 if int(step.min()) == 0 else 0)
    before = per_epoch * (np.floor(known) - np.floor(known[0]))
    if float(np.abs(before).max()) >= MAX_STEP:
        return None
    running: IntArray = step + before.astype(np.int64)
    return running


def fractional_epochs(step: IntArray, epoch: FloatArray) -> FloatArray:
    """Whole epoch numbers of log records as fractional progress, where the steps allow it; else as they are.

    ``step`` counts completed optimizer steps (shape (n,)), ``epoch`` the running epoch from 0 or 1. A record of epoch
    e lies in (e S, (e + 1) S] for S steps an epoch; the smallest S that holds for all is exact where an epoch's last
    step was logged. Where all records are of epoch 0 nothing is known. Numbers from 1 are tried first where no record has epoch 0.
    """
    finite = np.isfinite(epoch)
    use = finite & (step > 0)
    if not bool(use.any()) or not whole(epoch):
        return epoch
    for first in (1, 0) if float(epoch[use].min()) >= 1 else (0,):
        index = epoch - first
        size = float((step[use] / (index[use] + 1)).max())
        if float(index[use].max()) > 0 and bool((step[use] > index[use] * size - 0.5).all()):
            return np.where(finite, step / size, np.nan)
    return np.full(epoch.shape, np.nan) if float(epoch[use].max()) == 0 else epoch


def interpolated(step: IntArray, epoch: FloatArray) -> FloatArray:
    """Epochs with gaps (NaN) filled from the records before and after by their steps; no gap beyond the known steps is filled."""
    known = np.isfinite(epoch)
    if bool(known.all()) or int(known.sum()) < 2:
        return epoch
    order = np.argsort(step[known], kind="stable")
    guess = np.interp(step, step[known][order], epoch[known][order], left=np.nan, right=np.nan)
    return np.where(known, epoch, guess)


def wall_times(records: Records) -> tuple[str | None, FloatArray | None]:
    """The key that holds Unix seconds, and its values a row; (None, None) where no key does."""
    for name in TIME_KEYS:
        key = records.find((name,))
        if key is None:
            continue
        values = records.columns[key][1]
        finite = values[np.isfinite(values)]
        if bool(((finite > UNIX_TIME[0]) & (finite < UNIX_TIME[1])).all()):
            return key, records.full(key)
    return None, None


def add_detection_totals(records: Records, notes: list[str]) -> None:
    """Add ``train/loss`` and ``val/loss`` as the sum of a detector's logged loss parts, in place, with a note."""
    added = []
    for split in ("train", "val"):
        total = f"{split}/loss"
        parts = [f"{split}/{part}_loss" for part in sorted(_DETECTION) if f"{split}/{part}_loss" in records.columns]
        if len(parts) < 2 or total in records.columns:
            continue
        full = np.sum([records.full(part) for part in parts], axis=0)
        at = np.unique(np.concatenate([records.columns[part][0] for part in parts]))
        records.columns[total] = at.astype(np.int64), full[at]
        added.append(f"{total} is the sum of {', '.join(parts)}")
    if added:
        notes.append("; ".join(added))


def to_columns(
    records: Records,
    step: IntArray,
    epoch: FloatArray | None = None,
    wall_time: FloatArray | None = None,
    skip: Collection[str] = (),
) -> dict[str, Column]:
    """Columns for ``diag.run.make_curves``.

    Args:
        records: the log records.
        step: optimizer steps completed, one a row, shape (rows,).
        epoch: fractional epoch a row, or None.
        wall_time: Unix seconds a row, or None.
        skip: keys that are axes, not metrics.
    """
    return {
        key: Column(
            step[at],
            values,
            None if epoch is None else epoch[at],
            None if wall_time is None else wall_time[at],
        )
        for key, (at, values) in records.columns.items()
        if key not in skip and key.strip().lower() not in BOOKKEEPING
    }
