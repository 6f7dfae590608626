"""Specimens of what drives a training: learning rate, gradients, noise, precision."""

from __future__ import annotations

import numpy as np
from builders import RunBuilder, healthy

from diag.run import FloatArray, Run
from specimens.specimen import LOSSES, ROWS, Specimen, noise, specimen

INDEX = np.arange(ROWS)


def swinging(scale: float) -> RunBuilder:
    """A usual rate, kept to the end, at which the evaluation loss swings."""
    builder = healthy(evals=20).lr("constant", peak=3e-3, warmup=0.0).hyperparameters(learning_rate=3e-3, optimizer="adamw")
    swings = np.where(np.arange(20) % 2, 1.0, -1.0) * np.random.default_rng(0).uniform(0.8, 1.2, 20)
    return builder.losses(evals=builder.eval * np.exp(scale * swings))


def adapter(rate: float) -> RunBuilder:
    """LoRA whose loss falls by 15% in all."""
    builder = healthy(start=2.4, floor=2.0, offset=0.0, noise=0.01).still_falling(rate=0.15)
    return builder.lr("cosine", peak=rate).hyperparameters(learning_rate=rate, method="lora")


def rated(rate: FloatArray, **known: object) -> RunBuilder:
    """A good run with this learning rate."""
    return healthy().metric("lr", rate).hyperparameters(**known)


def started(warmup: float) -> RunBuilder:
    """A transformer trained from scratch at a high rate."""
    builder = healthy().lr("cosine", peak=0.03, warmup=warmup)
    return builder.hyperparameters(learning_rate=0.03, warmup_ratio=warmup, method="pretraining", optimizer="adamw")


def guessing() -> RunBuilder:
    """Losses that stay at that of a guess among ten classes."""
    return healthy().losses(np.full(ROWS, 2.303) * noise(0.0005), np.full(20, 2.303))


def scaled(levels: FloatArray) -> Run:
    """A run that logged the loss scale, two to the power of these levels."""
    return healthy().metric("loss_scale", 2.0**levels).run()


def with_bad_norms(first: int, last: int, count: int) -> RunBuilder:
    """A run in fp16 with infinite gradient norms between two of its 400 rows."""
    builder = healthy(n=400).grad_norm()
    norms = builder.other["grad_norm"].copy()
    norms[np.linspace(first, last, count).astype(int)] = np.inf
    return builder.metric("grad_norm", norms).hyperparameters(precision="fp16")


def lost(precision: str) -> RunBuilder:
    """A loss that is NaN from the middle on."""
    return healthy().nan(at=0.5).hyperparameters(precision=precision)


COLLAPSING = np.where(INDEX < 120, 15.0, np.maximum(15.0 - (INDEX - 120), -3.0))
HALVED = np.where(INDEX < 120, 16.0, 15.0)

OPTIMIZATION: dict[str, Specimen] = {
    "LRS001": specimen(
        swinging(0.03),
        "At a rate that is kept to the end the evaluation loss swings by 5% from one evaluation to the next.",
        swinging(0.015),
        "The evaluation loss swings by half as much: one mild sign.",
        LOSSES,
        "lr",
    ),
    "LRS002": specimen(
        adapter(5e-5),
        "LoRA at half of the lowest usual rate; the loss fell by 15% and was still falling as steeply.",
        adapter(3e-4),
        "The same curves at a usual rate.",
        LOSSES,
        "lr",
    ),
    "LRS003": specimen(
        rated(np.where(INDEX < 150, 1e-4 * (1 - INDEX / 150), 0.0)),
        "The decay ends after three quarters of the run.",
        rated(1e-4 * (1 - INDEX / (ROWS - 1))),
        "The decay ends with the run.",
        LOSSES,
        "lr",
    ),
    "LRS004": specimen(
        rated(np.linspace(1e-7, 2e-6, ROWS), warmup_steps=14_400, learning_rate=3e-5),
        "A warmup of 14,400 steps in a run of 1,000.",
        healthy().lr("cosine", peak=3e-5, warmup=0.4).hyperparameters(warmup_steps=400, learning_rate=3e-5),
        "A warmup of 400 steps: too long, but the rate that was asked for is reached.",
        LOSSES,
        "lr",
    ),
    "LRS005": specimen(
        rated(1e-3 * (0.5 + 0.5 * np.cos(INDEX / 12)), lr_scheduler="linear"),
        "The rate goes down and up although the scheduler is linear.",
        rated(1e-3 * (1 - INDEX / ROWS) * (1 + 0.08 * np.sin(INDEX / 6)) / 1.07, lr_scheduler="linear"),
        "The rate wavers on its way down by less than a quarter of its peak.",
        "lr",
    ),
    "LRS006": specimen(
        healthy().lr("constant", warmup=0.03).hyperparameters(lr_scheduler="linear"),
        "The scheduler is linear, and the logged rate stays at its peak.",
        healthy().lr("linear", warmup=0.03, final=0.5).hyperparameters(lr_scheduler="linear"),
        "The rate falls to half of its peak.",
        LOSSES,
        "lr",
    ),
    "LRS007": specimen(
        started(0.0),
        "A transformer from scratch at three times the highest usual rate, from the first step on.",
        started(0.05),
        "The same rate after a warmup over 5% of the run.",
        LOSSES,
        "lr",
    ),
    "GRD001": specimen(
        healthy().plateau(at=0.1).grad_norm(growth=20.0),
        "The gradient norm grows to twenty times its start, and the loss does not fall.",
        healthy(noise=0.01).still_falling(rate=1.0).grad_norm(growth=20.0),
        "The same norms beside a loss that falls to the end.",
        LOSSES,
        "grad_norm",
    ),
    "GRD002": specimen(
        guessing().grad_norm(level=0.5, growth=1e-4),
        "The norm falls ten-thousandfold, and the loss stays at that of a guess.",
        guessing().grad_norm(level=0.5, growth=0.05),
        "The norm falls twentyfold, less than the hundred times that count as vanishing.",
        LOSSES,
        "grad_norm",
    ),
    "GRD003": specimen(
        healthy().grad_norm(level=8.0),
        "A gradient norm of 8 throughout.",
        healthy().grad_norm(level=3.5),
        "A norm of 3.5, now and then above 5.",
        LOSSES,
        "grad_norm",
    ),
    "GRD004": specimen(
        healthy().grad_norm(level=1.0).hyperparameters(max_grad_norm=0.01, optimizer="sgd"),
        "Norms of 1, clipped at 0.01.",
        healthy().grad_norm(level=1.0).hyperparameters(max_grad_norm=1.0, optimizer="sgd"),
        "The same norms, clipped at 1: half of the steps, and only a little.",
        LOSSES,
        "grad_norm",
    ),
    "GRD005": specimen(
        healthy().grad_norm().hyperparameters(max_grad_norm=0.0),
        "The configuration sets the clipping threshold to 0.",
        healthy().grad_norm().hyperparameters(max_grad_norm=1.0),
        "The clipping threshold is 1.",
        LOSSES,
        "grad_norm",
    ),
    "NSE001": specimen(
        healthy(noise=1.5).hyperparameters(global_batch_size=2),
        "Two samples a step, and a loss that lies a factor of four around its trend.",
        healthy(noise=0.3).hyperparameters(global_batch_size=2),
        "The same batch with a noise of 30%, as a tenth of real fine-tunings have.",
        "train/loss",
    ),
    "PRC001": specimen(
        scaled(COLLAPSING),
        "The loss scale halves eighteen times in a row and ends below 1.",
        scaled(HALVED),
        "The loss scale halves once, as a scaler does that works.",
        LOSSES,
        "loss_scale",
    ),
    "PRC002": specimen(
        with_bad_norms(60, 390, 20),
        "One gradient norm in twenty is infinite.",
        with_bad_norms(0, 35, 20),
        "As many infinite norms, all in the first tenth of the run, where the scaler looks for its level.",
        LOSSES,
        "grad_norm",
    ),
    "PRC003": specimen(
        healthy().hyperparameters(precision="fp16", gradient_accumulation_steps=16),
        "Gradients of 16 micro-batches are accumulated in fp16.",
        healthy().hyperparameters(precision="fp16", gradient_accumulation_steps=8),
        "Gradients of 8 micro-batches are accumulated in fp16.",
    ),
    "PRC004": specimen(
        lost("fp16"),
        "A run in fp16 whose loss is NaN from the middle on, without having grown before.",
        lost("bf16"),
        "The same curves in bf16, where the number format is not the reason; DIV001 speaks of the NaN.",
    ),
}
