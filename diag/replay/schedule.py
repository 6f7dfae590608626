"""The learning rate of a run by step: as its hyperparameters describe it, or as it was logged. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from diag.replay.guard import ProbeError
from diag.replay.trainer import Rates
from diag.run import Run

DECAY_SHARE: Final = 0.1
"""Share of the run in which warmup-stable-decay decays, where the run does not say."""
INVERSE_SQRT_TIMESCALE: Final = 10_000
"""Steps of the inverse square root schedule where there is no warmup to take them from (as in Transformers)."""
OFF: Final = 0.1
"""Difference from the declared learning rate, relative to its peak, from which on a logged one is another: loggers round, and are a
step early or late."""
OFTEN: Final = 0.1
"""Share of the logged learning rates that must be off for the schedule to be another than the declared one."""
LEAST_RATES: Final = 10
"""Logged learning rates without which a schedule is not read off a log."""
MOST_RATES: Final = 1000
"""Logged learning rates that are kept."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of the whole run, of which the probe trains the beginning.

    Attributes:
        peak: highest learning rate.
        minimum: where it decays to.
        kind: canonical name, such as ``cosine``.
        warmup: optimizer steps of linear warmup.
        total: optimizer steps of the whole run.
        logged: the schedule as it was logged, which is followed instead of ``kind``.
    """

    peak: float
    minimum: float
    kind: str
    warmup: int
    total: int
    logged: Rates = ()

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any], total: int, logged: Rates = ()) -> Schedule:
        """The schedule that hyperparameters describe; constant where they name none.

        Raises:
            ProbeError: there is no learning rate.
        """
        rate = hyperparameters.get("learning_rate")
        if not isinstance(rate, (int, float)) or not math.isfinite(rate):
            raise ProbeError("the learning rate of the run is not known, so there is nothing to replay it with")
        kind = str(hyperparameters.get("lr_scheduler") or "constant").lower()
        return cls(float(rate), float(hyperparameters.get("min_lr") or 0.0), kind, warmup_steps(hyperparameters, total), total, logged)

    @property
    def is_known(self) -> bool:
        """Whether the name is that of a schedule; any other is held constant."""
        return bool(self.logged) or self._shape is not None

    @property
    def _shape(self) -> Callable[[float, int], float] | None:
        return next((shape for name, shape in _SHAPES if name in self.kind), None)

    def rate(self, step: int) -> float:
        """The learning rate of an optimizer step, counted from 0."""
        if self.logged:
            shares, parts = zip(*self.logged, strict=True)
            return self.peak * float(np.interp((step + 1) / self.total, shares, parts))
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        if "inverse" in self.kind:
            timescale = self.warmup or INVERSE_SQRT_TIMESCALE
            return max(self.peak * math.sqrt(timescale / (timescale + step - self.warmup)), self.minimum)
        progress = min((step - self.warmup) / max(self.total - self.warmup, 1), 1.0)
        shape = self._shape
        return self.minimum + (self.peak - self.minimum) * (shape(progress, self.total) if shape else 1.0)


_SHAPES: Final[tuple[tuple[str, Callable[[float, int], float]], ...]] = (
    ("cosine", lambda progress, total: (1 + math.cos(math.pi * progress)) / 2),
    ("linear", lambda progress, total: 1 - progress),
    ("polynomial", lambda progress, total: 1 - progress),
    ("stable", lambda progress, total: min(1.0, (1 - progress) / DECAY_SHARE)),
    ("wsd", lambda progress, total: min(1.0, (1 - progress) / DECAY_SHARE)),
    ("inverse", lambda progress, total: 1.0),
    ("constant", lambda progress, total: 1.0),
)
"""Part of a schedule's name to its share of the way from peak to minimum, by the progress after the warmup."""


def warmup_steps(hyperparameters: Mapping[str, Any], total: int) -> int:
    """Optimizer steps of warmup of a run of ``total`` steps; a number of steps below one is a share of them."""
    steps = hyperparameters.get("warmup_steps")
    if steps is None:
        return round(float(hyperparameters.get("warmup_ratio") or 0.0) * total)
    return round(float(steps) * total) if 0 < float(steps) < 1 else round(float(steps))


def logged_otherwise(run: Run, hyperparameters: Mapping[str, Any]) -> Rates:
    """The schedule as it was logged, where that is not the declared one: a scheduler that was built for other steps, or began again.

    Empty where the two agree, or where too little was logged to tell.
    """
    curve, peak, total = run.curves.get("lr"), hyperparameters.get("learning_rate"), run.planned_steps or hyperparameters.get("max_steps")
    if curve is None or not isinstance(peak, (int, float)) or not peak > 0 or not total or len(curve.finite()) < LEAST_RATES:
        return ()
    found = curve.finite()
    declared = Schedule.of(hyperparameters, int(total))
    off = [
        min(abs(value - declared.rate(max(step + shift, 0))) for shift in (-2, -1, 0)) > OFF * peak
        for step, value in zip(found.step.tolist(), found.value.tolist(), strict=True)
    ]
    if declared.is_known and sum(off) <= OFTEN * len(off):
        return ()
    kept = np.unique(np.linspace(0, len(found) - 1, MOST_RATES).round().astype(int)) if len(found) > MOST_RATES else slice(None)
    return tuple(zip((found.step[kept] / total).tolist(), (found.value[kept] / peak).tolist(), strict=True))
