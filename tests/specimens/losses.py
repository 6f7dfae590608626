"""Specimens of what a loss does: divergence, spikes, overfitting, underfitting."""

from __future__ import annotations

import numpy as np
from builders import RunBuilder, healthy

from diag.run import Run
from specimens.specimen import LOSSES as BOTH
from specimens.specimen import ROWS, Specimen, configured, noise, specimen

INDEX = np.arange(ROWS)


def spiky(height: float) -> RunBuilder:
    """Four rows of a good run at another height."""
    builder = healthy()
    for at in (0.3, 0.45, 0.6, 0.8):
        builder = builder.spike(at=at, height=height)
    return builder


def swinging(growth: float) -> RunBuilder:
    """A loss on its plateau whose swings grow over the run, from 2% (from 10% where they do not)."""
    builder = healthy(n=300, noise=0.005).plateau(at=0.1)
    size = 0.02 * np.exp(growth * np.arange(300) / 300) if growth else np.full(300, 0.1)
    return builder.losses(builder.train * np.exp(size * np.random.default_rng(0).standard_normal(300)))


def early(height: float) -> RunBuilder:
    """A loss that lies higher from its third to its fourteenth row, without a warmup."""
    builder = healthy().hyperparameters(warmup_ratio=0.0)
    return builder.losses(builder.train * np.where((INDEX >= 2) & (INDEX < 14), height, 1.0))


def evaluated(scale: float) -> RunBuilder:
    """A constant rate and evaluations with so much noise."""
    builder = healthy(evals=20).lr("constant", warmup=0.0)
    return builder.losses(evals=builder.eval * noise(scale, 20, 1))


def stretched(height: float) -> RunBuilder:
    """Two stretches of rows at another level, in a loss that falls little otherwise."""
    builder = healthy(noise=0.02, start=1.3)
    inside = ((INDEX >= 60) & (INDEX < 66)) | ((INDEX >= 120) & (INDEX < 127))
    return builder.losses(builder.train * np.where(inside, height, 1.0))


def recited(end: float) -> RunBuilder:
    """A fine-tuning whose training loss falls from 2 to ``end`` while the evaluations gain nothing after the middle."""
    builder = healthy(n=100, evals=10, noise=0.02).hyperparameters(method="sft")
    at = builder.eval_step / builder.step[-1]
    evals = np.where(at <= 0.4, 2.0 - at / 0.4, 1.0 + 0.03 * (at - 0.4) / 0.6)
    return builder.losses(2.0 * (end / 2.0) ** (np.arange(1, 101) / 100), evals)


def falling(rate: float, schedule: str) -> RunBuilder:
    """Losses that fall by ``rate`` (log units) at an even pace."""
    return healthy(noise=0.01, offset=0.0, evals=6).still_falling(rate).lr(schedule, warmup=0.0)


def flat(fall: float) -> RunBuilder:
    """Losses that fall from 2 by ``fall`` (log units)."""
    builder = healthy().hyperparameters(learning_rate=1e-7)
    train, evals = (2.0 * np.exp(-fall * step / builder.step[-1]) for step in (builder.step, builder.eval_step))
    return builder.losses(train * noise(0.01), evals * noise(0.003, 20, 1))


def baseline(end: float) -> RunBuilder:
    """Evaluations from the untrained model on, from 1 to ``end``."""
    return healthy(evals=100).losses(evals=np.linspace(1.0, end, 100) * noise(0.002, 100))


def early_plateau(fall: float) -> RunBuilder:
    """A loss that falls by ``fall`` (log units) after its first steps."""
    builder = healthy().plateau(at=0.08)
    return builder.losses(builder.train * np.exp(-fall * INDEX / ROWS), builder.eval * np.exp(-fall * builder.eval_step / builder.step[-1]))


def narrow(width: int) -> Run:
    """A net on its plateau with so many units a layer."""
    return configured(healthy().plateau(at=0.1), model__hidden=width)


def barely(fall: float) -> Run:
    """A small net after eight epochs, both losses down by ``fall`` (log units)."""
    builder = healthy(evals=12, epochs=8.0).lr("constant", peak=2e-4, warmup=0.1)
    train, evals = (2.35 * np.exp(-fall * np.minimum(step / (0.8 * builder.step[-1]), 1.0)) for step in (builder.step, builder.eval_step))
    known = builder.losses(train * noise(0.02), evals * 1.01).hyperparameters(optimizer="sgd", learning_rate=2e-4, num_epochs=8.0)
    return configured(known, model__hidden=48, model__layers=3, model__activation="relu")


LOSSES: dict[str, Specimen] = {
    "DIV001": specimen(
        healthy().grad_norm().nan(at=0.5),
        "From the middle of the run on every loss is NaN.",
        healthy().grad_norm().metric("grad_norm", np.where(INDEX == 50, np.nan, 1.0)),
        "A gradient norm that was not finite once, beside a loss that stays: a skipped step, no loss of the run.",
        BOTH,
        "grad_norm",
    ),
    "DIV002": specimen(
        healthy().blow_up(at=0.6, to=8.0),
        "The losses climb at 60% of the run and stay up.",
        healthy().spike(at=0.5, height=6, width=4),
        "The loss is six times as high for four rows and comes back.",
    ),
    "SPK001": specimen(
        spiky(3.0),
        "Four rows with a loss three times as high as around them.",
        spiky(1.08),
        "The same four rows 8% higher: jumps of less than 10% are not spikes.",
        "train/loss",
    ),
    "SPK002": specimen(
        swinging(4.0),
        "The swings grow fiftyfold over the run, and the loss stops falling.",
        swinging(0.0),
        "Swings of 10% from the start to the end: steady noise, which is no oscillation.",
        "train/loss",
    ),
    "SPK003": specimen(
        early(2.5),
        "After two steps the loss rises to two and a half times its start, without warmup.",
        early(1.15),
        "The same rows 15% higher: below the 25% that count as more than a bad batch.",
        "train/loss",
    ),
    "SPK004": specimen(
        evaluated(2.0),
        "Evaluations that differ by factors from one to the next.",
        evaluated(0.01),
        "Evaluations that differ by 1%, below the 2.5% worth a remark.",
    ),
    "SPK005": specimen(
        stretched(2.0),
        "Twice the loss is double for a few rows, with an abrupt beginning and end.",
        stretched(1.3),
        "The same stretches 30% higher: below the half that shows that the data differ.",
        "train/loss",
    ),
    "OVF001": specimen(
        healthy(noise=0.002).overfit(at=0.4, rise=0.2),
        "The evaluation loss rises by 20% from its best while the training loss falls on.",
        healthy(noise=0.002).overfit(at=0.4, rise=0.03),
        "The evaluation loss rises by 3%, below the 5% that are a problem.",
    ),
    "OVF002": specimen(
        healthy(noise=0.005).overfit(at=0.4, rise=0.02),
        "Since 40% of the run the evaluation loss has not improved, while the training loss fell on.",
        healthy(noise=0.005),
        "Both losses have converged.",
    ),
    "OVF003": specimen(
        recited(0.05),
        "The training loss ends at a twentieth of the evaluation loss.",
        recited(0.4),
        "The training loss ends at 0.4, above both a third of the evaluation loss and 0.3 nats.",
    ),
    "OVF004": specimen(
        healthy(noise=0.002).overfit(at=0.5, rise=0.1),
        "The last evaluation is 10% worse than the one in the middle.",
        healthy(noise=0.002).overfit(at=0.5, rise=0.005),
        "The last evaluation is 0.5% worse, below the 1% from which on the choice matters.",
    ),
    "UND001": specimen(
        healthy(offset=0.0, noise=0.01).still_falling(rate=1.0).lr("constant", warmup=0.0),
        "Both losses fall steadily to the last step, at a constant learning rate.",
        falling(0.16, "cosine"),
        "The losses fall by 16% over three epochs under a decaying rate: annealing gains as much in a run that is done.",
        BOTH,
        "lr",
    ),
    "UND002": specimen(
        flat(0.0),
        "The losses are where they were at the start; the learning rate is 1e-7.",
        flat(0.1),
        "The losses fell by 10%, more than the 3% below which nothing was learned.",
    ),
    "UND003": specimen(
        baseline(0.97),
        "The best evaluation is 3% better than the first one, which was made before the training.",
        baseline(0.93),
        "The best evaluation is 7% better, more than the 5% that are minimal.",
        "eval/loss",
    ),
    "UND004": specimen(
        healthy().plateau(at=0.1).hyperparameters(lora_rank=2),
        "A LoRA rank of 2, and a loss that levelled off.",
        healthy().plateau(at=0.1).hyperparameters(lora_rank=4),
        "The same curves with a rank of 4, the smallest that any guide recommends.",
    ),
    "UND005": specimen(
        healthy().plateau(at=0.05).hyperparameters(weight_decay=3.0),
        "A weight decay of 3, and a loss that stops early.",
        healthy().plateau(at=0.05).hyperparameters(weight_decay=0.1),
        "The same curves with a weight decay of 0.1, the largest that any guide recommends.",
    ),
    "UND006": specimen(
        early_plateau(0.0),
        "After a tenth of the run the loss does not fall any more.",
        early_plateau(0.08),
        "The loss falls by another 8% to the end, more than the 1% that counts as flat.",
    ),
    "UND007": specimen(
        narrow(3),
        "Hidden layers of 3 units, and a loss that levelled off.",
        narrow(5),
        "The same curves with layers of 5 units; up to 4 are a bottleneck.",
    ),
    "UND008": specimen(
        barely(0.12),
        "A net trained from scratch whose losses fell by 12% in eight epochs, without a gap between them.",
        barely(0.36),
        "The losses fell by 30%, more than the quarter that is little.",
    ),
}
