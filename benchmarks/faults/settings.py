"""Healthy base trainings, drawn from seeds, and the faults that are put into them.

A base is drawn with usual values and then settled by `build.py`: changed until none of the standard single changes gains.
A fault turns a base into two configs, sick and cured, which differ in the injected cause alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tasks import CLASSIFY, DEEP, FAMILIES, LANGUAGE_STEPS, LM, LORA, MAX_STEPS, POLICY, RECURRENT, REGRESS, Config, changed

Pair = tuple[Config, Config]
SEEDS = (1, 2)
"""Seeds every setting is trained with; gains are averaged over them."""
CONTROL_SEEDS = (1, 2, 3, 4, 5, 6)
"""Seeds every healthy control is trained with: false alarms are rare, so they need more runs to be counted."""

NETS = (CLASSIFY, REGRESS, DEEP, RECURRENT)
LANGUAGE = (LM, LORA)
SUPERVISED = (*LANGUAGE, *NETS)


def is_held_out(config: Config) -> bool:
    """Whether a setting is kept for the final scoring: the last of every nine bases of a family, with all the faults put into it."""
    return config.data_seed % 9 == 8


def fraction(*names: object) -> np.random.Generator:
    """Random numbers that follow from names."""
    return np.random.default_rng(int(hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:15], 16))


def base(family: str, number: int) -> Config:
    """A training with usual values; the same arguments give the same one."""
    rng = fraction("base", family, number)

    def pick(*values: float) -> float:
        return float(values[int(rng.integers(len(values)))])

    sgd = family in (CLASSIFY, REGRESS, RECURRENT) and rng.random() < 0.4
    peak = {LM: 5e-3, LORA: 1e-2, CLASSIFY: 2e-3, REGRESS: 3e-3, RECURRENT: 3e-3, DEEP: 1e-3, POLICY: 8e-3}[family]
    if sgd:
        peak = {CLASSIFY: 0.05, REGRESS: 0.01, RECURRENT: 0.05}[family]
    small = family in LANGUAGE
    few = number % 2 == 1  # every second base has few samples, so that more epochs overfit
    slow = family in (DEEP, RECURRENT)  # their steps take three times as long: fewer of them
    sizes = (
        (120, 200)
        if small and few
        else (400, 600)
        if small
        else (200, 400, 800)
        if few
        else (1000, 1500, 2500)
        if slow
        else (1500, 3000, 6000)
    )
    samples = int(pick(*sizes))
    batch = int(8 if small else pick(32, 32, 64, 64) if slow else pick(8, 16, 32, 64))
    epochs = (pick(4, 6) if few else pick(2, 3)) if small else pick(3, 5, 8) * (1.5 if few else 1)
    if family == POLICY:
        samples, batch, epochs = 2000, 64, pick(32, 48)
    config = Config(
        family=family,
        data_seed=number,
        samples=samples,
        label_noise=pick(0.05, 0.15, 0.3) if not small else pick(0.3, 0.4, 0.5),
        width=int(pick(24, 48, 96)) if family not in (RECURRENT, DEEP) else 32,
        depth=int(pick(6, 8)) if family == DEEP else int(pick(1, 2, 3)),
        dropout=pick(0, 0, 0.1, 0.2) if family not in (RECURRENT, POLICY, DEEP) else 0.0,
        rank=int(pick(4, 8, 16)),
        alpha=16.0,
        optimizer="sgd" if sgd else "adamw",
        learning_rate=peak * float(2 ** rng.uniform(-1, 1)),
        weight_decay=pick(0, 0.01, 0.1) if not sgd else pick(0, 1e-4),
        schedule=str(rng.choice(["cosine", "linear", "linear", "constant"])),
        warmup_ratio=pick(0, 0.03, 0.1),
        batch=batch,
        epochs=epochs,
        max_grad_norm=pick(0, 1, 1, 2) if family not in (RECURRENT, DEEP) else 1.0,
        precision=str(rng.choice(["fp32", "fp32", "bf16", "fp16"])),
        kl=0.01 if family == POLICY else 0.0,
        evals=int(pick(5, 8, 10, 12, 20, 50)),
        eval_samples=int(pick(200, 500, 1000)),
        log_mean=bool(rng.integers(2)),
        log_gradients=bool(rng.random() < 0.7),
    )
    if small or family == POLICY:
        config = changed(config, log_gradients=True, evals=min(config.evals, 12))
    return logged(config)


POINTS = (30, 60, 120, 300)
"""Logged training points a run has, about."""


def logged(config: Config) -> Config:
    """The config with a logging interval that suits its length."""
    rng = fraction("log", config.family, config.data_seed)
    points = POINTS[int(rng.integers(len(POINTS)))]
    every = max((step for step in (1, 2, 5, 10, 20, 25, 50) if step * points <= config.steps), default=1)
    return changed(config, log_every=every)


@dataclass(frozen=True)
class Fault:
    """One way to break a training.

    Attributes:
        name: unique name.
        causes: what is wrong, in the words of `diag.vocabulary`.
        verdicts: the accepted verdicts.
        inject: base and random numbers to the sick and the cured config.
        families: where it can be put.
        kind: `sick` must cost held-out loss; `overfit` as well, with a lower bar; `leak` must flatter
            the evaluation; `remark` costs nothing.
        few: only bases with few samples (True), with many (False), or all (None).
    """

    name: str
    causes: tuple[str, ...]
    verdicts: tuple[str, ...]
    inject: Callable[[Config, np.random.Generator], Pair]
    families: tuple[str, ...] = SUPERVISED
    kind: str = "sick"
    few: bool | None = None
    optimizer: str = ""

    def fits(self, config: Config) -> bool:
        return (
            config.family in self.families
            and (self.few is None or self.few == (config.data_seed % 2 == 1))
            and self.optimizer in ("", config.optimizer)
        )


def scaled(low: float, high: float, what: str = "learning_rate") -> Callable[[Config, np.random.Generator], Pair]:
    """The value of the base times a factor drawn between two, evenly in its logarithm."""

    def inject(c: Config, rng: np.random.Generator) -> Pair:
        factor = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return changed(c, **{what: getattr(c, what) * factor}), c

    return inject


def setting_of(**values: object) -> Callable[[Config, np.random.Generator], Pair]:
    return lambda c, rng: (changed(c, **values), c)


def warmup_missing(c: Config, rng: np.random.Generator) -> Pair:
    high = changed(c, learning_rate=c.learning_rate * float(rng.choice([4, 8])), warmup_ratio=0.2)
    return changed(high, warmup_ratio=0.0), high


def schedule_ends_early(c: Config, rng: np.random.Generator) -> Pair:
    declared = changed(c, schedule="cosine" if c.schedule == "constant" else c.schedule, warmup_ratio=0.0)
    return changed(declared, decays_by=float(rng.choice([0.04, 0.08, 0.15]))), declared


def schedule_cycles(c: Config, rng: np.random.Generator) -> Pair:
    declared = changed(c, schedule="cosine", learning_rate=c.learning_rate * 2)
    return changed(declared, cycles=float(rng.choice([9, 15]))), declared


def longer(c: Config, rng: np.random.Generator) -> Pair:
    return changed(c, epochs=fit_epochs(c, float(rng.choice([4, 6, 10])))), c


def fit_epochs(c: Config, times: float) -> float:
    """That many times the epochs, as far as the longest training allows."""
    longest = 2 * LANGUAGE_STEPS if c.family in LANGUAGE else MAX_STEPS
    return max(c.epochs, min(c.epochs * times, longest / c.steps_per_epoch))


def shorter(c: Config, rng: np.random.Generator) -> Pair:
    return logged(changed(c, epochs=max(c.epochs / float(rng.choice([5, 8, 12])), 30 / c.steps_per_epoch))), c


def too_small(c: Config, rng: np.random.Generator) -> Pair:
    if c.family == LORA:
        return changed(c, rank=1, all_targets=False), changed(c, rank=16, all_targets=True)
    return changed(c, width=int(rng.choice([2, 3]))), changed(c, width=max(c.width, 48))


def too_large(c: Config, rng: np.random.Generator) -> Pair:
    long = changed(c, epochs=fit_epochs(c, 3), dropout=0.0)
    return changed(long, width=256, depth=3), changed(long, width=8, depth=1)


def unregularized(c: Config, rng: np.random.Generator) -> Pair:
    long = changed(c, epochs=fit_epochs(c, 3), weight_decay=0.0)
    return changed(long, dropout=0.0), changed(long, dropout=0.3)


def decayed(c: Config, rng: np.random.Generator) -> Pair:
    # AdamW shrinks weights by lr * decay a step: a reach of 3 to 20 e-foldings over the run
    reach = float(rng.choice([3, 8, 20]))
    if c.optimizer == "sgd":
        return changed(c, weight_decay=float(rng.choice([0.03, 0.1]))), c
    return changed(c, weight_decay=round(2 * reach / (c.learning_rate * c.steps), 2)), c


def tiny_batch(c: Config, rng: np.random.Generator) -> Pair:
    wide = logged(changed(c, batch=32 if c.family not in LANGUAGE else 16, schedule="constant", warmup_ratio=0.0))
    wide = changed(wide, learning_rate=wide.learning_rate * (wide.batch / c.batch) ** 0.5)
    return changed(wide, batch=2, epochs=min(wide.epochs, MAX_STEPS / (wide.samples // 2)), log_every=wide.log_every * 10), wide


def huge_batch(c: Config, rng: np.random.Generator) -> Pair:
    most = max(c.steps // 30, 1)  # leave 30 steps
    return logged(changed(c, batch=min(c.batch * min(int(rng.choice([8, 16, 32])), most), c.samples // 2))), c


def unclipped(c: Config, rng: np.random.Generator) -> Pair:
    # clipping matters to an optimizer whose step follows the size of the gradient
    clipped = changed(
        c, optimizer="sgd", weight_decay=0.0, learning_rate=float(rng.choice([0.05, 0.1])), max_grad_norm=0.5, log_gradients=True
    )
    clipped = changed(clipped, init_gain=1.3 if c.family == RECURRENT else 1.5)
    return changed(clipped, max_grad_norm=0.0), clipped


def throttled(c: Config, rng: np.random.Generator) -> Pair:
    return changed(c, max_grad_norm=float(rng.choice([0.003, 0.01, 0.02])), log_gradients=True), changed(c, log_gradients=True)


def explosive(c: Config, rng: np.random.Generator) -> Pair:
    gain = float(rng.choice([2.0, 3.0])) if c.family == RECURRENT else float(rng.choice([2.0, 2.5]))
    return changed(c, init_gain=gain, max_grad_norm=0.0, log_gradients=True), changed(c, log_gradients=True)


def saturated(c: Config, rng: np.random.Generator) -> Pair:
    if c.family == RECURRENT:
        return changed(c, init_gain=0.05, log_gradients=True), changed(c, log_gradients=True)
    gain = float(rng.choice([0.1, 0.3]))
    return changed(c, activation="sigmoid", init_gain=gain, log_gradients=True), changed(c, log_gradients=True)


def overflow(c: Config, rng: np.random.Generator) -> Pair:
    return changed(c, precision="fp16", static_loss_scale=float(2.0 ** int(rng.choice([17, 19, 22])))), changed(c, precision="fp32")


def corrupt(c: Config, rng: np.random.Generator) -> Pair:
    late = changed(c, schedule="constant")
    return changed(late, garbage=float(rng.choice([0.15, 0.3])), garbage_from=0.4), late


def leaking(c: Config, rng: np.random.Generator) -> Pair:
    long = changed(c, epochs=fit_epochs(c, 2))
    return changed(long, leak=True), long


def resumed(c: Config, rng: np.random.Generator) -> Pair:
    hot = changed(c, learning_rate=c.learning_rate * 3, schedule="linear", warmup_ratio=0.0)
    return changed(hot, resumes_at=float(rng.choice([0.75, 0.85]))), hot


def collapse(c: Config, rng: np.random.Generator) -> Pair:
    return changed(c, kl=0.0, stale=int(rng.choice([8, 16])), learning_rate=c.learning_rate * float(rng.choice([5, 10]))), c


HIGH = ("UNSTABLE", "DIVERGED", "PLATEAU")
LOW = ("UNDERFIT", "PLATEAU")

FAULTS = (
    Fault("lr-x10", ("lr_too_high",), HIGH, scaled(8, 20)),
    Fault("lr-x60", ("lr_too_high",), HIGH, scaled(30, 100)),
    Fault("lr-low", ("lr_too_low",), LOW, scaled(1 / 100, 1 / 15)),
    Fault("lr-tiny", ("lr_too_low",), LOW, scaled(1e-4, 1e-3)),
    Fault("no-warmup", ("warmup_too_short",), ("UNSTABLE", "DIVERGED", "PLATEAU"), warmup_missing, (LM, LORA, DEEP)),
    Fault("schedule-early", ("schedule_bug",), LOW, schedule_ends_early),
    Fault("schedule-cycles", ("schedule_bug",), ("UNSTABLE", "UNDERFIT", "PLATEAU"), schedule_cycles),
    Fault("long", ("too_many_epochs",), ("OVERFIT",), longer, kind="overfit", few=True),
    Fault("short", ("too_few_epochs",), ("UNDERFIT",), shorter),
    Fault("narrow", ("capacity_too_low",), LOW, too_small, (LORA, CLASSIFY, REGRESS, RECURRENT)),
    Fault("wide", ("capacity_too_high",), ("OVERFIT",), too_large, (CLASSIFY, REGRESS), "overfit", True),
    Fault("no-dropout", ("regularization_too_weak",), ("OVERFIT",), unregularized, (CLASSIFY, REGRESS, LM), "overfit", True),
    Fault("decay", ("weight_decay_too_high",), (*LOW, "DIVERGED"), decayed, (LM, CLASSIFY, REGRESS, DEEP, RECURRENT)),
    Fault("tiny-batch", ("batch_too_small",), ("UNSTABLE",), tiny_batch, (LM, LORA, CLASSIFY, REGRESS)),
    Fault("huge-batch", ("batch_too_large",), LOW, huge_batch, few=False),
    Fault("unclipped", ("gradient_clipping_missing",), ("UNSTABLE", "DIVERGED"), unclipped, (RECURRENT, DEEP)),
    Fault("throttled", ("gradient_clipping_too_tight",), LOW, throttled, (CLASSIFY, REGRESS, RECURRENT), optimizer="sgd"),
    Fault("explosive", ("exploding_gradients",), ("UNSTABLE", "DIVERGED", "PLATEAU"), explosive, (RECURRENT, DEEP)),
    Fault("saturated", ("vanishing_gradients",), LOW, saturated, (DEEP,)),
    Fault("overflow", ("precision_overflow",), ("DIVERGED", "UNSTABLE", "PLATEAU"), overflow, (*SUPERVISED, POLICY)),
    Fault("frozen", ("frozen_parameters",), LOW, setting_of(frozen=True)),
    Fault("corrupt", ("data_corruption",), ("UNSTABLE", "DIVERGED"), corrupt),
    Fault("leak", ("eval_leak",), (), leaking, kind="leak", few=True),
    Fault("unevaluated", ("eval_missing",), ("HEALTHY", "INCONCLUSIVE"), setting_of(evals=0), kind="remark"),
    Fault("seldom-evaluated", ("eval_too_sparse",), ("HEALTHY", "INCONCLUSIVE"), setting_of(evals=2), kind="remark"),
    Fault("resumed", ("resume_discontinuity", "schedule_bug"), ("UNSTABLE", "PLATEAU", "UNDERFIT"), resumed),
    Fault("collapse", ("reward_collapse",), ("UNSTABLE", "DIVERGED", "PLATEAU"), collapse, (POLICY,)),
    Fault("policy-lr-low", ("lr_too_low",), ("UNDERFIT", "PLATEAU", "INCONCLUSIVE"), scaled(1 / 300, 1 / 50), (POLICY,)),
)
FAULTS_PER_BASE = 9


def bases(count: int) -> list[tuple[str, Config]]:
    """``count`` bases of every family, by name; the families take turns."""
    return [(f"{family}{number}", base(family, number)) for number in range(count) for family in FAMILIES]


def plan(count: int) -> list[tuple[str, str, Fault]]:
    """Which faults go into which bases: name of the setting, name of the base, the fault; the rarest faults first."""
    used = {fault.name: 0 for fault in FAULTS}
    planned = []
    for name, config in bases(count):
        order = sorted((fault for fault in FAULTS if fault.fits(config)), key=lambda f: (used[f.name], fraction(name, f.name).random()))
        for fault in order[:FAULTS_PER_BASE]:
            used[fault.name] += 1
            planned.append((f"{name}-{fault.name}", name, fault))
    return planned
