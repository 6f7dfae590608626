"""A case: one diagnosed run as the prescription sees it, with the run's own values and what the guides allow for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from diag.check import Finding
from diag.diagnosis import Diagnosis
from diag.guides import Band, band
from diag.guides.profiles import BALANCED, ERROR_LEARNING_RATE
from diag.run import Checkpoint, FloatArray, IntArray, Run
from diag.text import significant

SMALLEST_GUIDED_MODEL: Final = 5e8
"""Parameters. The guides speak of models from about a billion parameters up; their bands say nothing about smaller ones."""

FARTHEST_STEP: Final = 10.0
"""Strongest factor of the severity ladder. Where the model's size is unknown, a clip moves a value no further than this."""

FINE_TUNING: Final = ("sft", "lora", "qlora", "osft")

REWARD_WINDOW: Final = 5
"""Points. A reward is the mean of one batch of samples; it is averaged over this many before its highest is looked for."""

STEP_SLACK: Final = 1
"""Steps. Some frameworks count from 0 in the log and from 1 in the checkpoint's name."""


class Case:
    """One run, its diagnosis and findings, and how boldly to prescribe.

    Numbers are None where neither the log nor a config tells.
    """

    def __init__(self, run: Run, diagnosis: Diagnosis, findings: Sequence[Finding], profile: str = BALANCED) -> None:
        self.run = run
        self.diagnosis = diagnosis
        self.findings = findings
        self.profile = profile

    def value(self, name: str) -> Any:
        """The run's own value of a hyperparameter."""
        return self.run.hyperparameter(name)

    def number(self, name: str) -> float | None:
        """A hyperparameter as a finite number."""
        value = self.run.hyperparameter(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value)

    def is_configured(self, name: str) -> bool:
        """Whether a hyperparameter was read from a config or given by the user, not inferred."""
        entry = self.run.hyperparameters.get(name)
        return entry is not None and entry.kind != "inferred"

    def evidence(self, key: str, cause: str = "") -> Any:
        """The value under ``key`` in the evidence of the most severe finding that has it (and speaks for ``cause``)."""
        for finding in self.findings:
            if key in finding.evidence and (not cause or finding.causes.get(cause, 0.0) > 0):
                return finding.evidence[key]
        return None

    @cached_property
    def method(self) -> str | None:
        """One of ``diag.vocabulary.METHODS``."""
        value = self.run.hyperparameter("method")
        return value if isinstance(value, str) else None

    @cached_property
    def is_fine_tuning(self) -> bool:
        """Whether the run is known to adapt a pretrained language model."""
        return self.method in FINE_TUNING

    @cached_property
    def learning_rate(self) -> float | None:
        """The peak learning rate: configured, else the highest logged."""
        configured = self.number("learning_rate")
        if configured is not None:
            return configured
        curve = self.run.curve("lr")
        finite = curve.finite() if curve is not None else None
        return significant(float(finite.value.max()), 4) if finite is not None and len(finite) else None

    @cached_property
    def total_steps(self) -> int:
        """Optimizer steps planned where known, else the last step logged."""
        return max(self.run.planned_steps or 0, self.run.steps, 1)

    @cached_property
    def epochs(self) -> float | None:
        """Epochs configured, else those that were logged, rounded up."""
        configured = self.number("num_epochs")
        if configured is not None and configured > 0:
            return configured
        logged = self.run.logged_epochs
        return float(math.ceil(logged - 0.01)) if logged is not None else None

    @cached_property
    def batch(self) -> int | None:
        """Samples an optimizer step, from the parts where the whole is not given."""
        whole = self.number("global_batch_size")
        if whole:
            return int(whole)
        micro = self.number("micro_batch_size")
        if not micro:
            return None
        return int(micro * (self.number("gradient_accumulation_steps") or 1) * (self.number("world_size") or 1))

    @cached_property
    def dataset_size(self) -> float | None:
        """Training samples: configured, else steps times batch over epochs."""
        configured = self.number("dataset_size")
        if configured:
            return configured
        if self.batch and self.steps_per_epoch:
            return self.steps_per_epoch * self.batch
        return None

    @cached_property
    def steps_per_epoch(self) -> float | None:
        """Optimizer steps an epoch, from the last point that has an epoch, else from the length of the run."""
        steps, epochs = 0, 0.0
        for curve in self.run.curves.values():
            known = np.flatnonzero(np.isfinite(curve.epoch) & (curve.epoch > 0))
            if known.size and curve.step[known[-1]] > steps:
                steps, epochs = int(curve.step[known[-1]]), float(curve.epoch[known[-1]])
        if epochs > 0 and steps > 0:
            return steps / epochs
        configured = self.number("num_epochs")
        return self.total_steps / configured if configured and self.run.planned_steps else None

    @cached_property
    def best(self) -> Checkpoint | None:
        """The checkpoint to keep."""
        return best_checkpoint(self.run)

    @cached_property
    def is_guided(self) -> bool:
        """Whether the run is known to be of a kind and size that the guides speak of."""
        size = self.number("model_parameters")
        return self.method is not None and size is not None and size >= SMALLEST_GUIDED_MODEL

    def band(self, parameter: str) -> Band | None:
        """What the guides say about a parameter of this run; None for a run of unknown method or a model that is too small."""
        size = self.number("model_parameters")
        if size is not None and size < SMALLEST_GUIDED_MODEL:
            return None
        return band(parameter, self.method, self.dataset_size, size, self.profile)

    def clip(self, parameter: str, old: float, new: float) -> float:
        """``new``, moved into the guides' limits for this run; ``old`` where they leave nothing to change.

        Where the model's size is unknown the limits are those of all sizes and less binding: they move a value by no
        more than FARTHEST_STEP, and a value that already lies beyond them may go on in the direction that the log asks for,
        short of what the guides call an error.
        """
        limits = self.band(parameter)
        if limits is None or new == old:
            return new
        rising = new > old
        spent = old >= limits.clip_high if rising else old <= limits.clip_low
        if not spent:
            inside = limits.clip(new)
            return inside if self.is_guided else min(max(inside, old / FARTHEST_STEP), old * FARTHEST_STEP)
        if self.is_guided or parameter != "learning_rate":
            return old
        error = ERROR_LEARNING_RATE.get(self.method or "", math.inf)
        return max(old, min(new, error)) if rising else new


def best_checkpoint(run: Run) -> Checkpoint | None:
    """The checkpoint to keep: at the lowest evaluation loss, or the highest reward or evaluation accuracy where that is what was logged.

    Returns:
        Its step, its path ("" where the log names none at that step) and whether it is on disk; None where nothing was
        logged to choose by. Of equal values the earliest is taken (S1-186, S1-188, S1-249).
    """
    score = _checkpoint_score(run)
    if score is None:
        return None
    step, value = score
    best = int(step[int(np.argmax(value))])
    saved = [checkpoint for checkpoint in run.checkpoints if abs(checkpoint.step - best) <= STEP_SLACK]
    if not saved:
        return Checkpoint(best, "", False)
    return min(saved, key=lambda checkpoint: (not checkpoint.exists, abs(checkpoint.step - best), checkpoint.path))


def _checkpoint_score(run: Run) -> tuple[IntArray, FloatArray] | None:
    """Steps and a score that is higher for a better model."""
    reward = run.curve("reward")
    if reward is not None and len(reward.finite()):
        curve = reward.finite()
        window = min(REWARD_WINDOW, len(curve))
        return curve.step, np.convolve(curve.value, np.ones(window), "same") / np.convolve(np.ones(len(curve)), np.ones(window), "same")
    for _, loss in run.eval_losses():
        if len(loss.finite()):
            return loss.finite().step, -loss.finite().value
    accuracy = run.curve("eval/accuracy")
    if accuracy is not None and len(accuracy.finite()):
        return accuracy.finite().step, accuracy.finite().value
    return None
