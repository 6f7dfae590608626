"""An examination: one run with the derived series that several checks share, each computed once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diag import stats
from diag.check import Check, Skip
from diag.run import Curve, FloatArray, Run

REWARD_METRICS = ("reward", "kl")
"""Canonical metrics that mark a reward-driven run, whose loss does not measure progress."""
REWARD_NAMES = re.compile(
    r"^(rewards|rollout|logps)/|(^|[/_.])(policy_loss|value_loss|pg_loss|clip_?frac|approx_kl|old_approx_kl|explained_var(iance)?|ep_rew_mean|episodic_return)$",
    re.IGNORECASE,
)
"""Native metric names of TRL, Stable-Baselines, CleanRL and RLlib that mark such a run as well."""
EARLY_SHARE = 0.1
"""Share of the run that counts as its beginning (S3-035: the first 10% of steps)."""
LATE_SHARE = 0.2
"""Share of the run that counts as its end."""
WSD_DECAY_SHARE = 0.2
"""Share of the run over which a warmup-stable-decay schedule decays when nothing else is known."""
MOSTLY_LOST = 0.5
"""Share of non-finite values from which on the loss of a reward-driven run is lost."""
IDLE_LR = 1e-5
"""Share of the peak below which a rate is zero for practical purposes; a cosine is below it only in its last 0.2%."""
DECAYED_LR = 0.2
"""A learning rate that ends below this share of its peak has been decayed."""


def is_reward_driven(run: Run) -> bool:
    """Whether a run logged what only reinforcement or preference learning logs."""
    return any(name in REWARD_METRICS or REWARD_NAMES.search(name) is not None for name in run.curves)


@dataclass(frozen=True)
class Series:
    """A loss curve ready for statistics.

    Attributes:
        name: canonical metric name.
        curve: the finite points, sorted by step.
        y: the values on ``stats.log_scale``, shape (n,).
        sigma: noise of ``y`` around its trend; NaN below 3 points.
    """

    name: str
    curve: Curve
    y: FloatArray
    sigma: float

    def __len__(self) -> int:
        return len(self.curve)

    @property
    def step(self) -> FloatArray:
        """Steps as float64, shape (n,)."""
        return self.curve.step.astype(np.float64)

    @property
    def progress(self) -> FloatArray:
        """Position of each point between the first (0) and the last (1), shape (n,)."""
        step = self.step
        span = step[-1] - step[0]
        return (step - step[0]) / span if span > 0 else np.zeros_like(step)

    @cached_property
    def smooth(self) -> FloatArray:
        """Running median of ``y`` over 5% of the points (3 to 31)."""
        return stats.running_median(self.y, int(np.clip(len(self) // 20, 3, stats.SPIKE_WINDOW)) | 1)

    def level(self, start: float, end: float) -> float:
        """Median of ``y`` at the points whose progress lies in [start, end]; the nearest point if there is none."""
        progress = self.progress
        mask = (progress >= start) & (progress <= end)
        if not bool(mask.any()):
            mask = np.abs(progress - (start + end) / 2) == np.abs(progress - (start + end) / 2).min()
        return float(np.median(self.y[mask]))

    @cached_property
    def above_lowest(self) -> float:
        """How far the level of the last sixth lies above the lowest level of any sixth of the run, log units."""
        return self.level(5 / 6, 1.0) - min(self.level(part / 6, (part + 1) / 6) for part in range(6))

    def points(self, start: float, end: float) -> int:
        """How many points have a progress in [start, end]."""
        progress = self.progress
        return int(((progress >= start) & (progress <= end)).sum())


def make_series(name: str, curve: Curve) -> Series:
    """A Series from a Curve; non-finite points are left out."""
    finite = curve.finite()
    y = stats.log_scale(finite.value)
    return Series(name, finite, y, stats.noise_scale(y))


def generalization_gap(series: Series, train: Series | None) -> float | None:
    """Log ratio of the evaluation loss to the training loss over the last fifth, None without both.

    Positive where the training data are fitted better than unseen data, so that further steps feed the difference.
    """
    if train is None or series.name == "train/loss" or len(train) < 5:
        return None
    if float(series.curve.value.min()) <= 0 or float(train.curve.value.min()) <= 0:
        return None
    recent = train.curve.value[train.step >= 0.8 * float(train.step[-1])]
    recent = recent if recent.size >= 3 else train.curve.value[-3:]
    return float(np.log(series.curve.value[-1]) - np.log(np.mean(recent)))


class Examination:
    """One run under examination.

    Attributes are computed on first use. A check asks for what it needs and raises ``Skip`` (or lets the helper here
    raise it) when the run cannot tell.
    """

    def __init__(self, run: Run, thresholds: Mapping[str, float] | None = None) -> None:
        self.run = run
        self._thresholds = thresholds or {}

    def threshold(self, check: Check | type[Check], name: str) -> float:
        """A number of a check: what the user set it to (``CODE.name``), else its default."""
        default = next(entry.value for entry in check.thresholds if entry.name == name)
        return self._thresholds.get(f"{check.code}.{name}", default)

    def hyperparameter(self, name: str) -> Any:
        """The value of a canonical hyperparameter, None if unknown."""
        return self.run.hyperparameter(name)

    def number(self, name: str) -> float | None:
        """A numeric hyperparameter as a finite float, None if unknown or not a number."""
        value = self.run.hyperparameter(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value)

    def require(self, metric: str, points: int) -> Curve:
        """The finite points of a metric; Skip if there are fewer than ``points``."""
        curve = self.run.curve(metric)
        if curve is None or not len(curve):
            raise Skip(f"{metric} was not logged")
        finite = curve.finite()
        if len(finite) < points:
            raise Skip(f"needs {points} points of {metric}, has {len(finite)}")
        return finite

    def require_train(self, points: int) -> Series:
        """The training loss; Skip if there are fewer than ``points`` finite points."""
        if self.train is None:
            raise Skip("train/loss was not logged")
        if len(self.train) < points:
            raise Skip(f"needs {points} points of train/loss, has {len(self.train)}")
        return self.train

    def require_evals(self, points: int) -> list[Series]:
        """The evaluation losses with at least ``points`` finite points; Skip if there is none."""
        if not self.evals:
            raise Skip("no evaluation loss was logged")
        enough = [series for series in self.evals if len(series) >= points]
        if not enough:
            raise Skip(f"needs {points} evaluations, has {max(len(series) for series in self.evals)}")
        return enough

    @cached_property
    def train(self) -> Series | None:
        """The training loss, None if not logged."""
        curve = self.run.curve("train/loss")
        return make_series("train/loss", curve) if curve is not None and len(curve.finite()) else None

    @cached_property
    def evals(self) -> list[Series]:
        """Every evaluation loss that has a finite point, ``eval/loss`` first."""
        return [make_series(name, curve) for name, curve in self.run.eval_losses() if len(curve.finite())]

    @cached_property
    def main(self) -> Series | None:
        """The loss to judge progress by: the first evaluation loss with 4 points or more, else the training loss."""
        return next((series for series in self.evals if len(series) >= 4), self.train)

    def require_main(self, points: int) -> Series:
        """The first evaluation loss with at least ``points`` points, else the training loss; Skip if that has fewer, too."""
        for series in (*self.evals, self.train):
            if series is not None and len(series) >= points:
                return series
        raise Skip(f"needs {points} points of a loss")

    @cached_property
    def is_reward_driven(self) -> bool:
        """Whether the run optimizes a reward or preference, so that its loss does not measure progress."""
        return is_reward_driven(self.run)

    @cached_property
    def has_nonfinite_loss(self) -> bool:
        """Whether a NaN or infinity was logged as a loss."""
        curves = [self.run.curve("train/loss"), *(curve for _, curve in self.run.eval_losses())]
        return any(curve is not None and not bool(np.isfinite(curve.value).all()) for curve in curves)

    def is_lost(self, curve: Curve) -> bool:
        """Whether a loss holds a NaN or an infinity that matters: any, but in a reward-driven run half of the values and the last one, as
        some of these logs hold a NaN where a batch had nothing to average.
        """
        bad = ~np.isfinite(curve.value)
        return bool(bad.any()) and (not self.is_reward_driven or bool(bad[-1] and bad.mean() >= MOSTLY_LOST))

    @cached_property
    def total_steps(self) -> int:
        """Optimizer steps planned where known, else the last step logged."""
        return max(self.run.planned_steps or 0, self.run.steps, 1)

    @cached_property
    def learning_rate(self) -> float | None:
        """The peak learning rate: configured, else the highest logged."""
        return self.number("learning_rate")

    @cached_property
    def lr(self) -> Curve | None:
        """The logged learning rate with at least 3 finite points, None otherwise."""
        curve = self.run.curve("lr")
        return curve.finite() if curve is not None and len(curve.finite()) >= 3 else None

    @cached_property
    def passes(self) -> float | None:
        """How often each training sample was seen: the last logged epoch, else the configured number; None if unknown."""
        return self.run.logged_epochs or self.number("num_epochs")

    @cached_property
    def updates(self) -> float:
        """Optimizer steps by the configured sizes (epochs x samples / batch), whatever the log counts as a step; as logged where one is
        unknown.
        """
        samples, batch, epochs = (self.number(name) for name in ("dataset_size", "global_batch_size", "num_epochs"))
        if not samples or not batch or not epochs or not self.is_configured("dataset_size"):
            return float(self.run.steps)
        return epochs * samples / batch

    def is_configured(self, name: str) -> bool:
        """Whether a hyperparameter was read or given, not inferred from the log."""
        entry = self.run.hyperparameters.get(name)
        return entry is not None and entry.kind != "inferred"

    @cached_property
    def idle_share(self) -> float:
        """Share of the run at its end during which the logged learning rate was zero for practical purposes; 0 if none was logged."""
        if self.lr is None or float(self.lr.value.max()) <= 0:
            return 0.0
        alive = np.flatnonzero(self.lr.value > IDLE_LR * float(self.lr.value.max()))
        end = float(self.lr.step[-1])
        return (end - float(self.lr.step[alive[-1]])) / end if end > 0 else 0.0

    @cached_property
    def optimizer(self) -> str:
        """The optimizer's family: ``adam``, ``sgd``, another lower-case name, or "" if unknown."""
        name = str(self.hyperparameter("optimizer") or "").lower()
        if "adam" in name or "lamb" in name or "lion" in name:
            return "adam"
        return "sgd" if "sgd" in name or "momentum" in name else name

    @cached_property
    def is_unclipped(self) -> bool:
        """Whether the configuration is known to switch gradient clipping off."""
        entry = self.run.hyperparameters.get("max_grad_norm")
        return entry is not None and not entry.value

    @cached_property
    def is_fine_tuning(self) -> bool:
        """Whether the run is known to adapt a pretrained language model."""
        return self.hyperparameter("method") in ("sft", "lora", "qlora", "osft")

    def schedule(self, step: FloatArray) -> FloatArray:
        """Relative learning rate (1 at its peak) at the given steps, shape (n,).

        The logged curve where there is one (nearest earlier point), else the configured scheduler, warmup and length,
        else constant.
        """
        if self.lr is not None and float(self.lr.value.max()) > 0:
            index = np.clip(np.searchsorted(self.lr.step, step, side="left"), 0, len(self.lr) - 1)
            return self.lr.value[index] / float(self.lr.value.max())
        total = float(self.total_steps)
        warmup = self.warmup_steps or 0.0
        rise = np.minimum(1.0, (step + 1) / (warmup + 1)) if warmup else np.ones_like(step)
        left = np.clip((total - step) / max(total - warmup, 1.0), 0.0, 1.0)
        name = str(self.hyperparameter("lr_scheduler") or "").lower()
        if "constant" in name or not name:
            fall = np.ones_like(step)
        elif "cosine" in name:
            fall = 0.5 * (1 - np.cos(np.pi * left))
        elif "wsd" in name or "stable" in name:
            fall = np.minimum(1.0, left / WSD_DECAY_SHARE)
        elif "inverse" in name:
            fall = np.sqrt(max(warmup, 1.0) / np.maximum(step, max(warmup, 1.0)))
        else:
            fall = left
        return rise * np.minimum(1.0, fall)

    @cached_property
    def warmup_steps(self) -> float | None:
        """Configured warmup in optimizer steps, None if unknown."""
        steps = self.number("warmup_steps")
        if steps is not None and steps >= 1:
            return steps
        ratio = self.number("warmup_ratio")
        if (ratio is None or ratio == 0) and steps is not None and steps > 0:
            ratio = steps  # Hugging Face: warmup_steps below 1 is a share of the run
        if ratio is not None:
            return ratio * self.total_steps
        return steps

    @cached_property
    def lr_decayed(self) -> bool:
        """Whether the learning rate ended below 20% of its peak (logged or configured)."""
        return float(self.schedule(np.array([float(self.run.steps)]))[0]) < DECAYED_LR

    def cumulative_lr(self, step: FloatArray) -> FloatArray:
        """Integral of the relative learning rate from 0 to each step, in steps at peak rate, shape (n,).

        Progress per step is proportional to the learning rate to first order, so a loss drawn against this does not
        flatten merely because the schedule decays.
        """
        grid = np.linspace(0.0, float(max(self.run.steps, 1)), 513)
        rate = self.schedule(grid)
        area = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(grid))])
        return np.asarray(np.interp(step, grid, area), dtype=np.float64)
