"""DeepSpeed: a JSON file that is edited, never overridden by arguments."""

from __future__ import annotations

from typing import Any, Final

from diag.dialects.draft import Draft, shortest
from diag.dialects.generic import NO_ARGUMENTS, GenericDialect
from diag.dialects.table import spelled

RATE, PEAK, SCHEDULE = "optimizer.params.lr", "scheduler.params.warmup_max_lr", "scheduler.type"
WARMUP, LENGTH = "scheduler.params.warmup_num_steps", "scheduler.params.total_num_steps"
RATIO: Final = "scheduler.params.cos_min_ratio"
DECAYING: Final = frozenset({"WarmupDecayLR", "WarmupCosineLR"})
"""Schedules that need the number of steps."""

RATIO_ONLY: Final = "WarmupCosineLR"
"""The schedule that scales the optimizer's rate, and takes no rate of its own."""


class DeepSpeed(GenericDialect):
    """Dotted keys of ``ds_config.json``."""

    style = NO_ARGUMENTS

    def __init__(self) -> None:
        super().__init__("deepspeed")
        self.writers |= {
            "learning_rate": self._rate,
            "lr_scheduler": self._scheduler,
            "warmup_steps": lambda draft, value: self._scheduled(draft, "warmup_steps", value),
            "warmup_ratio": lambda draft, value: self._scheduled(draft, "warmup_ratio", value),
            "max_steps": self._length,
            "min_lr": self._floor,
            "optimizer": self._optimizer,
        }

    def _rate(self, draft: Draft, value: Any) -> None:
        """The optimizer's rate and the peak of the warmup are one."""
        if draft.is_whole or draft.has(RATE) or not draft.has(PEAK):
            draft.set(RATE, float(value))
        if draft.has(PEAK):
            draft.set(PEAK, float(value))

    def _schedule(self, draft: Draft) -> str:
        return str(draft.keys.get(SCHEDULE) or draft.native(SCHEDULE) or "")

    def _scheduler(self, draft: Draft, value: Any) -> None:
        name = spelled(self.name, "lr_scheduler", str(value))
        if draft.is_whole and value == "constant" and not (draft.number("warmup_steps") or draft.number("warmup_ratio")):
            return  # no scheduler section: the rate is constant
        if name == str(value):
            draft.note(f"DeepSpeed has no {value} schedule; it has WarmupLR, WarmupDecayLR, WarmupCosineLR and OneCycle.")
        elif draft.is_whole and name in DECAYING and draft.total_steps() is None:
            draft.note(f"{name} needs {LENGTH}, and the number of steps is unknown: say --dataset-size.")
        elif draft.is_whole and name == "OneCycle":
            draft.note("OneCycle takes other settings: cycle_min_lr, cycle_max_lr and the steps of its halves.")
        else:
            draft.set(SCHEDULE, name)
            if draft.is_whole and name != RATIO_ONLY and (rate := draft.number("learning_rate")) is not None:
                draft.set("scheduler.params.warmup_min_lr", 0.0)
                draft.set(PEAK, rate)

    def _scheduled(self, draft: Draft, name: str, value: Any) -> None:
        if draft.is_whole and not draft.keys.get(SCHEDULE):
            if value:
                draft.note("There is no warmup without a scheduler section.")
        else:
            self._warmup(draft, name, value)

    def _length(self, draft: Draft, value: Any) -> None:
        """Only a schedule that decays knows how long the training is; the script that calls DeepSpeed ends it."""
        if draft.is_whole:
            draft.note("The script that calls DeepSpeed ends the training.")
        elif self._schedule(draft) in DECAYING or draft.has(LENGTH):
            draft.set(LENGTH, int(value))
        else:
            draft.note(f"End the training at step {int(value)} in the script that calls DeepSpeed.")

    def _floor(self, draft: Draft, value: Any) -> None:
        rate = draft.number("learning_rate")
        if self._schedule(draft) == RATIO_ONLY and rate:
            draft.set(RATIO, shortest(float(value) / rate))
        elif value:
            draft.note("Only WarmupCosineLR has a floor, cos_min_ratio.")

    def _optimizer(self, draft: Draft, value: Any) -> None:
        name = spelled(self.name, "optimizer", str(value))
        if draft.is_whole and name == str(value):
            draft.note(f"DeepSpeed has no {value}.")
        else:
            draft.set("optimizer.type", name)

    def frame(self, draft: Draft) -> None:
        """A schedule that decays needs to know how long; all three parts of the batch must agree."""
        if draft.value("learning_rate") is not None:
            draft.keys.setdefault("optimizer.type", "AdamW")
        if draft.keys.get(SCHEDULE) in DECAYING and (steps := draft.total_steps()) is not None:
            draft.set(LENGTH, round(steps))
            draft.keys.setdefault(WARMUP, 0)
            if draft.keys[SCHEDULE] == RATIO_ONLY:
                draft.keys.setdefault("scheduler.params.warmup_min_ratio", 0.0)
                if "min_lr" in draft.changes:
                    self._floor(draft, draft.changes["min_lr"])
        if {"micro_batch_size", "gradient_accumulation_steps"} <= draft.changes.keys() and draft.number("world_size") is None:
            draft.keys.pop("train_batch_size", None)
        if draft.keys:
            draft.keys.setdefault("zero_optimization.stage", 0)


DIALECT = DeepSpeed()
