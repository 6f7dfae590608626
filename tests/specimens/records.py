"""Specimens of what a log records besides: evaluations, the log itself, pace and memory, rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
from builders import RunBuilder, healthy

from diag.run import Column, LogEvent, Overlap, Run, make_curve
from specimens.specimen import ROWS, Specimen, configured, noise, specimen, timed

INDEX = np.arange(ROWS)
N = 160
"""Rows of the runs with a reward."""
RISING = np.minimum(np.linspace(0, 1.5, N), 1.0)
LOST = np.concatenate([np.linspace(0, 1, N // 2), np.linspace(1, 0.1, N // 4), np.full(N // 4, 0.1)])
DIPPING = np.concatenate([np.linspace(0, 1, N // 2), np.linspace(1, 0.75, N // 4), np.full(N // 4, 0.75)])


def leaky(offset: float) -> RunBuilder:
    """Twelve epochs over five hundred samples, the evaluation loss ``offset`` above the training loss."""
    builder = healthy(n=60, evals=14, epochs=12.0, offset=offset, noise=0.03)
    return builder.hyperparameters(dataset_size=500, num_epochs=12.0, dropout=0.0)


def resumed(went_back: bool) -> RunBuilder:
    """A loss 40% higher from step 500 on; the log may have gone back to it from step 600."""
    builder = healthy()
    builder = builder.losses(np.where(builder.step >= 500, builder.train * 1.4, builder.train))
    return builder.set(overlaps=[Overlap("train/loss", 600, 500)] if went_back else [])


def repeated(rows: int) -> Run:
    """A log whose last steps were written twice."""
    steps = np.sort(np.concatenate([np.arange(1, ROWS + 1), np.arange(ROWS, ROWS - rows, -1)]))
    run = healthy(logging_steps=1).run()
    run.curves["train/loss"] = make_curve(Column(steps, 1.0 + 2.0 * np.exp(-12.0 * steps / ROWS)))[0]
    return run


def crashed(kind: str, text: str, finished: bool | None) -> Run:
    """A run with a crash line at its end."""
    return healthy().run(events=[LogEvent(kind, 1000, text, "train.log", 2071)], finished=finished)


def slowing(factor: float) -> Run:
    """Rows that take ``factor`` times as long at the end as at the start."""
    return timed(50.0 * np.linspace(1.0, factor, 300) * noise(0.05, 300))


def stalled(seconds: float) -> Run:
    """A row every half minute, and three waits."""
    return timed(np.where(np.isin(INDEX, (50, 120, 180)), seconds, 30.0))


def policy(reward: Any, scale: float = 0.1, **metrics: Any) -> Run:
    """A GRPO-like run: a loss around zero, a noisy reward."""
    random = np.random.default_rng(0)
    values = np.broadcast_to(np.asarray(reward, dtype=np.float64), (N,)) + scale * random.standard_normal(N)
    run = healthy(n=N).no_eval().losses(train=0.01 * random.standard_normal(N)).metric("reward", values)
    for name, value in metrics.items():
        run = run.metric(name, value)
    return run.run()


def frozen(left: float) -> Run:
    """A policy without a gain whose gradient norm falls to ``left`` in the middle of the run."""
    norm = noise(0.3, N, 1) * np.where(np.arange(N) < N // 2, 1.0, left)
    return policy(0.5, grad_norm=norm)


def creeping(rise: float) -> Run:
    """A policy that has come 0.009 nats far, its reward higher by the share ``rise``."""
    time = np.arange(1, N + 1) / N
    return policy(0.4 * (1 + rise * time), 0.015, kl=0.009 * time**2 * noise(0.2, N, 4))


def preferences(end: float) -> Run:
    """A DPO-like run whose accuracy ends at ``end``."""
    accuracy = np.clip(np.linspace(0.5, end, 40) + 0.02 * np.random.default_rng(0).standard_normal(40), 0, 1)
    run = healthy(n=40).no_eval().metric("rewards/accuracies", accuracy)
    return run.metric("rewards/margins", np.linspace(0.001, 2 * (end - 0.5) + 0.001, 40)).run()


RECORDS: dict[str, Specimen] = {
    "EVL001": specimen(
        healthy().no_eval(),
        "A training loss, and no evaluation.",
        healthy(evals=4),
        "Four evaluations.",
    ),
    "EVL002": specimen(
        healthy(evals=3, n=100),
        "Three evaluations in 500 steps.",
        healthy(evals=4, n=100),
        "Four evaluations in 500 steps.",
    ),
    "EVL003": specimen(
        leaky(-0.02),
        "After twelve epochs over 500 samples the evaluation loss is still no higher than the training loss.",
        leaky(0.12),
        "The evaluation loss lies 12% above the training loss, as it does on samples that a model has not seen.",
    ),
    "EVL004": specimen(
        configured(healthy(), data__train_file="train.jsonl", data__val_file="train.jsonl"),
        "The configuration names one file for training and evaluation.",
        configured(healthy(), data__train_file="train.jsonl", data__val_file="val.jsonl"),
        "The configuration names two files.",
    ),
    "LOG001": specimen(
        resumed(True),
        "The log goes back from step 600 to 500, and the loss comes back 40% higher.",
        resumed(False),
        "The same curve written in one go.",
        "train/loss",
    ),
    "LOG002": specimen(
        repeated(10),
        "The last ten steps were logged twice.",
        repeated(2),
        "The last two steps were logged twice, as by a final evaluation.",
        "train/loss",
    ),
    "LOG003": specimen(
        healthy().losses(np.full(ROWS, 2.303), np.full(20, 2.303)),
        "Every loss is 2.303.",
        healthy().losses(2.303 * noise(0.002), 2.303 * noise(0.001, 20)),
        "The losses are flat, with noise.",
    ),
    "LOG004": specimen(
        healthy().losses(np.where(INDEX % 10 == 3, 0.0, healthy().train)),
        "One training loss in ten is exactly zero, among losses of 1 and more.",
        healthy().losses(np.round(3.0 * np.exp(-INDEX / 12), 4)),
        "A loss that falls until it is rounded to zero.",
        "train/loss",
    ),
    "LOG005": specimen(
        healthy().set(planned_steps=3000, finished=False),
        "The log ends at step 1,000 of 3,000 planned.",
        healthy().set(planned_steps=1004, finished=None),
        "The log ends at step 1,000 of 1,004 planned: the last row was not logged.",
    ),
    "LOG006": specimen(
        crashed("out_of_memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", None),
        "The console log ends with an out-of-memory error.",
        crashed("traceback", "ConnectionError: upload failed", True),
        "The console log ends with an exception after the trainer had reported its end.",
    ),
    "LOG007": specimen(
        healthy(n=240, epochs=4, offset=0.0).epoch_stairs(0.15),
        "The training loss drops by 15% at the start of every epoch.",
        healthy(n=240, epochs=4, offset=0.0).epoch_stairs(0.01),
        "The training loss drops by 1%, less than the 3% worth explaining.",
        "train/loss",
    ),
    "THR001": specimen(
        stalled(4000.0),
        "Three waits of more than an hour between rows that take half a minute.",
        stalled(1700.0),
        "Three waits of 28 minutes, less than the half hour that is a stall.",
        "seconds",
    ),
    "THR002": specimen(
        slowing(2.5),
        "Steps take twice as long at the end as at the start.",
        slowing(1.15),
        "Steps take 12% longer at the end, less than the 20% worth a remark.",
        "seconds",
    ),
    "THR003": specimen(
        healthy().metric("gpu_memory", np.linspace(20.0, 40.0, ROWS)),
        "Memory grows from 20 to 40 GiB.",
        healthy().metric("gpu_memory", np.minimum(INDEX / 10 + 20, 22.0)),
        "Memory grows for a tenth of the run and holds its level.",
        "gpu_memory",
    ),
    "RLH001": specimen(
        policy(LOST),
        "The reward loses nine tenths of what it had gained.",
        policy(DIPPING),
        "The reward loses a quarter of what it had gained, less than half.",
        "reward",
    ),
    "RLH002": specimen(
        policy(RISING, kl=np.concatenate([np.linspace(0, 0.05, N // 2), np.geomspace(0.05, 20, N // 2)])),
        "The divergence from the reference grows four-hundredfold in the second half of the run.",
        policy(RISING, kl=np.linspace(0, 30, N)),
        "The divergence grows steadily, as that of a policy does that learns.",
        "reward",
        "kl",
    ),
    "RLH003": specimen(
        policy(0.4, 0.3),
        "The reward stays within its noise.",
        policy(0.4 + 0.5 * RISING, 0.3),
        "The reward rises through its noise.",
        "reward",
    ),
    "RLH004": specimen(
        preferences(0.52),
        "The accuracy at telling chosen from rejected answers ends at 0.52.",
        preferences(0.65),
        "The accuracy ends at 0.65, above the 0.55 that are chance.",
        "rewards/accuracies",
        "rewards/margins",
    ),
    "RLH005": specimen(
        frozen(1e-5),
        "The gradient norm falls to a hundred-thousandth, with the reward where it was.",
        frozen(0.01),
        "The gradient norm falls to a hundredth: small, but alive.",
        "reward",
        "grad_norm",
    ),
    "RLH006": specimen(
        creeping(0.05),
        "The policy has come 0.008 nats far and its reward has risen by 5%; both still grow.",
        creeping(0.25),
        "The reward has risen by a quarter: something was learned.",
        "reward",
        "kl",
    ),
}
