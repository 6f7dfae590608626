"""Seeded synthetic runs in the common frame, for tests of checks, diagnosis and prescription.

    run = healthy(n=200, evals=20).overfit(at=0.4, rise=0.2).lr("cosine", peak=2e-5).hyperparameters(num_epochs=3).run()

Every method returns a new builder, so that a base can be varied; ``run()`` makes the ``diag.run.Run``. Positions (``at``) are
shares of the run in [0, 1]. Noise is multiplicative: the loss is ``trend * exp(noise * normal)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diag.run import Column, FloatArray, Hyperparameter, IntArray, Run, make_curve


@dataclass(frozen=True)
class RunBuilder:
    """A run under construction; made by ``healthy``.

    Attributes:
        step: optimizer steps of the train rows, shape (n,).
        train: train loss, shape (n,).
        eval_step: optimizer steps of the evaluations, shape (evals,).
        eval: eval loss, shape (evals,).
        other: every other metric, canonical name to values at the train steps.
        known: hyperparameters, canonical name to value.
        epochs: epochs the run lasts, 0 to log no epochs.
        seed: of all noise.
    """

    step: IntArray
    train: FloatArray
    eval_step: IntArray
    eval: FloatArray
    other: Mapping[str, FloatArray] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    epochs: float = 3.0
    noise: float = 0.02
    seed: int = 0

    def _random(self, salt: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, salt])

    def _position(self, at: float) -> int:
        return min(len(self.step) - 1, int(at * len(self.step)))

    @property
    def _time(self) -> FloatArray:
        """Share of the run done at each train row."""
        return np.asarray(self.step / self.step[-1], dtype=np.float64)

    @property
    def _eval_time(self) -> FloatArray:
        return np.asarray(self.eval_step / self.step[-1], dtype=np.float64)

    # --- what can go wrong with the loss -------------------------------------------------------------------------

    def overfit(self, at: float = 0.4, rise: float = 0.2) -> RunBuilder:
        """From ``at`` on the eval loss rises evenly, to ``1 + rise`` times its best at the end; the train loss falls on."""
        late = np.clip((self._eval_time - at) / (1 - at), 0, None)
        best = np.interp(at, self._eval_time, self.eval)
        noise = np.exp(self.noise / 2 * self._random(1).standard_normal(self.eval.size))
        evals = np.where(late > 0, best * (1 + rise * late) * noise, self.eval)
        train = self.train * np.exp(-0.5 * np.clip((self._time - at) / (1 - at), 0, None))
        return replace(self, eval=evals, train=train)

    def spike(self, at: float = 0.5, height: float = 2.0, width: int = 1) -> RunBuilder:
        """The train loss (and ``grad_norm`` where logged) is ``height`` times as high for ``width`` rows."""
        where = slice(self._position(at), self._position(at) + width)
        changed = {name: self.other[name] for name in self.other}
        if "grad_norm" in changed:
            changed["grad_norm"] = _scaled(changed["grad_norm"], where, 2 * height)
        return replace(self, train=_scaled(self.train, where, height), other=changed)

    def nan(self, at: float = 0.5, hidden: bool = False) -> RunBuilder:
        """From ``at`` on the losses are NaN; ``hidden``: as Hugging Face's filter shows it, train loss 0.0 and grad_norm NaN."""
        start = self._position(at)
        train = self.train.copy()
        train[start:] = 0.0 if hidden else np.nan
        changed = dict(self.other)
        if "grad_norm" in changed:
            changed["grad_norm"] = changed["grad_norm"].copy()
            changed["grad_norm"][start:] = np.nan
        evals = np.where(self.eval_step >= self.step[start], np.nan, self.eval)
        return replace(self, train=train, eval=evals, other=changed)

    def blow_up(self, at: float = 0.5, to: float = 8.0) -> RunBuilder:
        """From ``at`` on the losses climb to the level ``to`` and stay there."""
        return replace(self, train=_climb(self.train, self._time, at, to), eval=_climb(self.eval, self._eval_time, at, to))

    def plateau(self, at: float = 0.1, level: float | None = None) -> RunBuilder:
        """From ``at`` on the losses are flat, at ``level`` or where they were."""
        value = float(np.exp(np.interp(at, self._time, np.log(self.train)))) if level is None else level
        flat = value * np.exp(self.noise * self._random(2).standard_normal(self.train.size))
        flat_eval = value * np.exp(self.noise / 2 * self._random(3).standard_normal(self.eval.size))
        return replace(
            self,
            train=np.where(self._time >= at, flat, self.train),
            eval=np.where(self._eval_time >= at, flat_eval, self.eval),
        )

    def still_falling(self, rate: float = 1.0) -> RunBuilder:
        """The losses fall by the factor ``exp(-rate)`` over the run, at a pace that does not slow down."""
        train = self.train[0] * np.exp(-rate * self._time + self.noise * self._random(4).standard_normal(self.train.size))
        evals = self.train[0] * np.exp(-rate * self._eval_time + self.noise / 2 * self._random(5).standard_normal(self.eval.size))
        return replace(self, train=train, eval=evals)

    def oscillate(self, amplitude: float = 0.3, period: int = 4, at: float = 0.0) -> RunBuilder:
        """From ``at`` on the train loss swings by the factor ``exp(±amplitude)``, one swing in ``period`` rows."""
        wave = amplitude * np.sin(2 * np.pi * np.arange(self.train.size) / period + 0.5)
        return replace(self, train=self.train * np.exp(np.where(self._time >= at, wave, 0.0)))

    def epoch_stairs(self, drop: float = 0.15) -> RunBuilder:
        """The train loss falls by the share ``drop`` at the start of every epoch after the first."""
        return replace(self, train=self.train * (1 - drop) ** np.floor(self._time * self.epochs * (1 - 1e-12)))

    def losses(self, train: Any = None, evals: Any = None) -> RunBuilder:
        """Replace the train or eval values outright (same length as the steps)."""
        return replace(
            self,
            train=self.train if train is None else np.asarray(train, dtype=np.float64),
            eval=self.eval if evals is None else np.asarray(evals, dtype=np.float64),
        )

    # --- other metrics ---------------------------------------------------------------------------------------------

    def lr(self, schedule: str = "cosine", peak: float = 2e-5, warmup: float = 0.03, final: float = 0.0) -> RunBuilder:
        """Log ``lr``: ``constant``, ``linear`` or ``cosine`` from ``peak`` to ``final`` times it, after a linear warmup."""
        done = np.clip((self._time - warmup) / (1 - warmup), 0, 1)
        shapes = {"constant": np.ones_like(done), "linear": 1 - done, "cosine": (1 + np.cos(np.pi * done)) / 2}
        shape = final + (1 - final) * shapes[schedule]
        if warmup > 0:
            shape = np.where(self._time < warmup, self._time / warmup, shape)
        return self.metric("lr", peak * shape)

    def grad_norm(self, level: float = 1.0, growth: float = 1.0, noise: float = 0.2) -> RunBuilder:
        """Log ``grad_norm``: about ``level``, growing evenly (in its logarithm) to ``growth`` times that at the end."""
        trend = np.log(level) + np.log(growth) * self._time
        return self.metric("grad_norm", np.exp(trend + noise * self._random(6).standard_normal(self.step.size)))

    def metric(self, name: str, values: Any) -> RunBuilder:
        """Log any other metric at the train steps: one value, or one for each step."""
        return replace(self, other={**self.other, name: np.broadcast_to(np.asarray(values, dtype=np.float64), self.step.shape).copy()})

    # --- the frame around it ---------------------------------------------------------------------------------------

    def hyperparameters(self, **values: Any) -> RunBuilder:
        """What the run's config says, by canonical name."""
        return replace(self, known={**self.known, **values})

    def set(self, **fields: Any) -> RunBuilder:
        """Other fields of the Run: ``dialect``, ``finished``, ``planned_steps``, ``events``, ``overlaps``, ``checkpoints``…"""
        return replace(self, details={**self.details, **fields})

    def no_eval(self) -> RunBuilder:
        """Without evaluations."""
        return replace(self, eval_step=self.eval_step[:0], eval=self.eval[:0])

    def run(self, **fields: Any) -> Run:
        """The Run; keyword arguments as for ``set``."""
        curves = {"train/loss": (self.step, self.train)}
        if self.eval.size:
            curves["eval/loss"] = (self.eval_step, self.eval)
        curves.update({name: (self.step, values) for name, values in self.other.items()})
        made = {}
        for name, (step, value) in curves.items():
            epoch = step / self.step[-1] * self.epochs if self.epochs else None
            made[name] = make_curve(Column(step, value, epoch=epoch, wall_time=np.asarray(1.7e9 + step * 0.5, dtype=np.float64)))[0]
        entries = {
            name: value if isinstance(value, Hyperparameter) else Hyperparameter(value, "file", "config.yaml", 1, name)
            for name, value in self.known.items()
        }
        frame: dict[str, Any] = {
            "id": "synthetic",
            "path": "synthetic",
            "adapter": "synthetic",
            "curves": made,
            "hyperparameters": entries,
            "native_names": {name: name for name in made},
            "finished": True,
        }
        return Run(**{**frame, **self.details, **fields})


def healthy(
    n: int = 200,
    evals: int = 20,
    noise: float = 0.02,
    seed: int = 0,
    *,
    start: float = 3.0,
    floor: float = 1.0,
    logging_steps: int = 5,
    epochs: float = 3.0,
    offset: float = 0.03,
) -> RunBuilder:
    """A good run: the loss falls from ``start`` towards ``floor`` and levels off.

    Args:
        n: train rows.
        evals: evaluations, evenly spread, the last at the end.
        noise: standard deviation of the log of the train loss around its trend; the eval loss has half of it.
        seed: of all noise.
        start, floor: level of the train loss at the first step and after infinitely many.
        logging_steps: optimizer steps from one train row to the next.
        epochs: length of the run in epochs, 0 to log none.
        offset: how much higher the eval loss is, as a share.
    """
    random = np.random.default_rng([seed, 0])
    step = np.arange(1, n + 1, dtype=np.int64) * logging_steps
    eval_step = np.unique(np.round(np.arange(1, evals + 1) / max(evals, 1) * step[-1]).astype(np.int64))

    def trend(at: IntArray) -> FloatArray:
        # 12 time constants of 1/12: by the end what is left to gain is far below the noise.
        level: FloatArray = floor + (start - floor) * np.exp(-12.0 * at / step[-1])
        return level

    train = trend(step) * np.exp(noise * random.standard_normal(n))
    eval_loss = trend(eval_step) * (1 + offset) * np.exp(noise / 2 * random.standard_normal(eval_step.size))
    return RunBuilder(step, train, eval_step, eval_loss, epochs=epochs, noise=noise, seed=seed)


def trainer_state(run: Run) -> dict[str, Any]:
    """The content of the ``trainer_state.json`` that Hugging Face's Trainer would have written for a run."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    names = {"train/loss": "loss", "eval/loss": "eval_loss", "lr": "learning_rate"}
    for metric, curve in run.curves.items():
        name = names.get(metric, metric)
        for step, value, epoch in zip(curve.step.tolist(), curve.value.tolist(), curve.epoch.tolist(), strict=True):
            row = rows.setdefault((step, name.startswith("eval_")), {} if epoch != epoch else {"epoch": epoch})
            row[name] = value
    history = [{**row, "step": step} for (step, _), row in sorted(rows.items(), key=lambda item: item[0])]
    return {"global_step": run.steps, "max_steps": run.steps, "num_train_epochs": 3, "log_history": history}


def _scaled(values: FloatArray, where: slice, factor: float) -> FloatArray:
    changed = values.copy()
    changed[where] *= factor
    return changed


def _climb(values: FloatArray, time: FloatArray, at: float, to: float) -> FloatArray:
    # A tenth of the run from the old level to the new one, evenly in the logarithm.
    share = np.clip((time - at) / 0.1, 0, 1)
    level: FloatArray = np.exp(np.log(values) * (1 - share) + np.log(to) * share)
    return level
