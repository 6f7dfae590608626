"""Trainings step by step, of which every log is one view: logged more or less often, counted otherwise, in another unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diag.hyperparameter import Hyperparameter
from diag.inference import infer
from diag.run import Column, Curve, FloatArray, IntArray, Run, make_curve

IN_STEPS = ("max_steps", "warmup_steps", "eval_steps", "logging_steps", "save_steps")
"""Hyperparameters that are counted in steps; below 1 they are shares of the run."""


@dataclass(frozen=True)
class Training:
    """What happened at every optimizer step.

    Attributes:
        train: train loss of each step's batch, shape (steps,); step i + 1 is at index i.
        held_out: loss on the evaluation set after each step, shape (steps,).
        rate: learning rate of each step, shape (steps,).
        norm: gradient norm of each step, shape (steps,).
        evaluations: how many evaluations were made, evenly spread, the last at the end; 0 for none.
        epochs: length of the training in epochs.
        known: what its configuration says, by canonical name.
    """

    train: FloatArray
    held_out: FloatArray
    rate: FloatArray
    norm: FloatArray
    evaluations: int = 12
    epochs: float = 2.0
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return self.train.size

    def log(self, every: int, *, window: bool = True) -> Run:
        """The Run that a trainer logs every so many steps.

        Args:
            every: steps from one train row to the next.
            window: log the mean loss since the last row, as the Hugging Face Trainer does, rather than that of one batch.
        """
        step = np.arange(every, self.steps + 1, every, dtype=np.int64)
        train = self.train[: step[-1]].reshape(-1, every).mean(axis=1) if window else self.train[step - 1]
        columns: dict[str, tuple[IntArray, FloatArray]] = {
            "train/loss": (step, train),
            "lr": (step, self.rate[step - 1]),
            "grad_norm": (step, self.norm[step - 1]),
        }
        if self.evaluations:
            at = np.unique(np.round(np.linspace(0, self.steps, self.evaluations + 1)[1:]).astype(np.int64))
            columns["eval/loss"] = (at, self.held_out[at - 1])
        curves = {name: make_curve(Column(at, value, at / self.steps * self.epochs))[0] for name, (at, value) in columns.items()}
        run = Run("made", "made", "made", curves, planned_steps=self.steps, finished=True, native_names={name: name for name in curves})
        run.hyperparameters = {name: Hyperparameter(value, "file", "config.yaml", 1, name) for name, value in self.known.items()}
        infer(run)
        return run


# --- views of a run ----------------------------------------------------------------------------------------------------


def in_unit(run: Run, factor: float) -> Run:
    """The run with its losses in another unit."""
    curves = {
        name: replace(curve, value=curve.value * factor) if name.split("/")[-1] == "loss" else curve for name, curve in run.curves.items()
    }
    return replace(run, curves=curves)


def relabelled(run: Run, factor: int = 1, offset: int = 0) -> Run:
    """The run with its steps counted in another unit (micro-steps) or from another number, as if it had been logged so."""
    curves = {name: replace(curve, step=curve.step * factor + offset) for name, curve in run.curves.items()}
    known = {}
    for name, entry in run.hyperparameters.items():
        if entry.kind == "inferred" and not entry.note.startswith("the default of"):
            continue  # is drawn from the new steps
        scaled = name in IN_STEPS and isinstance(entry.value, (int, float)) and entry.value >= 1
        known[name] = entry._replace(value=entry.value * factor) if scaled else entry
    other = replace(
        run,
        curves=curves,
        hyperparameters=known,
        planned_steps=None if run.planned_steps is None else run.planned_steps * factor,
        events=[event if event.step < 0 else replace(event, step=event.step * factor + offset) for event in run.events],
        overlaps=[
            place._replace(step_from=place.step_from * factor + offset, step_to=place.step_to * factor + offset) for place in run.overlaps
        ],
        checkpoints=[point._replace(step=point.step * factor + offset) for point in run.checkpoints],
    )
    infer(other)
    return other


def thinned(run: Run, *, window: bool) -> Run:
    """The run with half of its train rows: every second one, or the means of two."""
    curves = dict(run.curves)
    for name, curve in run.curves.items():
        if name.startswith("eval/"):
            continue
        second = np.arange(1, len(curve), 2)
        half = curve.select(second)
        if window and name == "train/loss":
            half = Curve(half.step, (curve.value[second] + curve.value[second - 1]) / 2, half.epoch, half.wall_time)
        curves[name] = half
    return replace(run, curves=curves)


# --- kinds of trainings ------------------------------------------------------------------------------------------------


@dataclass
class Plot:
    """A training under construction: logs of the losses and of the norm, and the relative rate, shape (steps,) each."""

    time: FloatArray
    rate: FloatArray
    train: FloatArray
    held_out: FloatArray
    norm: FloatArray
    random: np.random.Generator
    epochs: float = 2.0
    known: dict[str, Any] = field(default_factory=dict)


def cosine(time: FloatArray, warmup: float = 0.03, ends: float = 1.0) -> FloatArray:
    """A learning rate that warms up and decays to zero by ``ends``, relative to its peak."""
    done = np.clip((time - warmup) / (ends - warmup), 0.0, 1.0)
    return np.where(time < warmup, time / max(warmup, 1e-12), (1 + np.cos(np.pi * done)) / 2)


def learning(rate: FloatArray, start: float = 2.4, floor: float = 1.5, pace: float = 9.0) -> FloatArray:
    """Log of a loss that approaches its floor with the work done (the integral of the learning rate)."""
    work = np.cumsum(rate) / float(rate.sum())
    return np.asarray(np.log(floor + (start - floor) * np.exp(-pace * work)), dtype=np.float64)


def healthy(plot: Plot) -> None:
    """Nothing is wrong."""


def overfit(plot: Plot) -> None:
    """From a third of the run on the evaluations get worse while the training loss falls on."""
    late = np.clip((plot.time - 0.35) / 0.65, 0, None)
    plot.held_out += 0.35 * late
    plot.train -= 0.8 * late


def diverging(plot: Plot) -> None:
    """In the middle of the run the losses climb to four times their level and stay there."""
    climb = np.clip((plot.time - 0.5) / 0.1, 0, 1)
    plot.train += 1.4 * climb
    plot.held_out += 1.4 * climb
    plot.norm += 2.0 * climb


def flat(plot: Plot) -> None:
    """Nothing is learned, at a constant rate."""
    plot.rate[:] = 1.0
    plot.train[:] = plot.held_out[:] = math.log(2.4)


def spiky(plot: Plot) -> None:
    """Six jumps to nine times the loss, from which it recovers within a few hundredths of the run."""
    for at in np.linspace(0.15, 0.9, 6) + 0.02 * plot.random.random(6):
        shape = np.where(plot.time >= at, np.exp(-np.clip(plot.time - at, 0, None) / 0.015), 0.0)
        plot.train += 2.2 * shape
        plot.norm += 3.0 * shape


def schedule_ends_early(plot: Plot) -> None:
    """The rate is zero from 40% of the run on, long before the loss is down."""
    plot.rate[:] = cosine(plot.time, ends=0.4)
    plot.train[:] = learning(plot.rate, pace=1.5)
    plot.held_out[:] = plot.train + 0.02


def scheduler_not_stepped(plot: Plot) -> None:
    """A cosine was asked for, and the rate stays where it is."""
    plot.rate[:] = 1.0
    plot.known["lr_scheduler"] = "cosine"


def still_falling(plot: Plot) -> None:
    """The loss falls as fast at the end as at the start, at a constant rate."""
    plot.rate[:] = 1.0
    plot.train[:] = math.log(4.0) - 1.2 * plot.time
    plot.held_out[:] = plot.train + 0.02


def too_short(plot: Plot) -> None:
    """One epoch: the rate decays to zero when hardly anything was learned yet."""
    plot.epochs = 1.0
    plot.train[:] = learning(plot.rate, start=6.0, pace=1.0)
    plot.held_out[:] = plot.train + 0.02


def plateau(plot: Plot) -> None:
    """The loss is down after a few hundredths of the run and stays there."""
    plot.train[:] = np.log(1.5 + 0.9 * np.exp(-plot.time / 0.03))
    plot.held_out[:] = plot.train + 0.02


def nan(plot: Plot) -> None:
    """From 60% of the run on there is no loss any more."""
    plot.train[plot.time > 0.6] = plot.held_out[plot.time > 0.6] = np.nan


KINDS: dict[str, tuple[Callable[[Plot], None], set[str]]] = {
    "healthy": (healthy, {"HEALTHY"}),
    "no evaluations": (healthy, {"HEALTHY"}),
    "overfit": (overfit, {"OVERFIT"}),
    "diverging": (diverging, {"DIVERGED"}),
    "flat": (flat, {"PLATEAU", "UNDERFIT"}),
    "spiky": (spiky, {"UNSTABLE"}),
    "schedule ends early": (schedule_ends_early, {"UNDERFIT"}),
    "scheduler not stepped": (scheduler_not_stepped, {"UNSTABLE", "UNDERFIT"}),
    "still falling": (still_falling, {"UNDERFIT"}),
    "too short": (too_short, {"UNDERFIT"}),
    "plateau": (plateau, {"HEALTHY", "PLATEAU"}),
    "nan": (nan, {"DIVERGED"}),
}
"""Kinds of trainings: what makes them, and the verdicts that are right for them."""


def training(kind: str, *, seed: int = 0, steps: int = 1600, noise: float = 0.05, evaluations: int = 12) -> Training:
    """A training of one of KINDS.

    Args:
        kind: what goes wrong.
        seed: of all noise.
        steps: optimizer steps.
        noise: standard deviation of the log of a single batch's loss; that of an evaluation is a hundredth.
        evaluations: how many evaluations are made.
    """
    random = np.random.default_rng([seed, steps])
    time = np.arange(1, steps + 1) / steps
    rate = cosine(time)
    train = learning(rate)
    plot = Plot(time, rate, train, train + 0.02, np.zeros(steps), random)
    KINDS[kind][0](plot)
    return Training(
        train=np.exp(plot.train + noise * random.standard_normal(steps)),
        held_out=np.exp(plot.held_out + noise / 100 * random.standard_normal(steps)),
        rate=2e-5 * plot.rate,
        norm=np.exp(plot.norm + 0.2 * random.standard_normal(steps)),
        evaluations=0 if kind == "no evaluations" else evaluations,
        epochs=plot.epochs,
        known=plot.known,
    )
