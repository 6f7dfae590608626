"""Writes a training's log as its library does, in a process of its own.

    python tests/watch_writers.py KIND PATH

Healthy rows come first. For each line on stdin one more row is written, with a loss of NaN if the line is ``nan``; after the flush the Unix
time is printed.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROWS = 40
"""Healthy rows before the first line is asked for."""

Write = Callable[[int, float], None]


def losses() -> Iterator[float]:
    """A loss that falls and levels off."""
    noise = random.Random(0)
    for row in range(10**6):
        yield 1 + 2 * math.exp(-row / 10) + noise.gauss(0, 0.01)


def jsonl(path: Path) -> Write:
    file = path.open("w", encoding="utf-8")

    def write(step: int, loss: float) -> None:
        file.write(json.dumps({"step": step, "loss": loss, "lr": 1e-4}) + "\n")
        file.flush()

    return write


def csv(path: Path) -> Write:
    file = path.open("w", encoding="utf-8")
    file.write("step,loss,lr\n")

    def write(step: int, loss: float) -> None:
        file.write(f"{step},{loss:.6f},1e-4\n")
        file.flush()

    return write


def console(path: Path) -> Write:
    file = path.open("w", encoding="utf-8")

    def write(step: int, loss: float) -> None:
        file.write(f"step {step}/1000 | loss {loss:.6f} | lr 1.0e-04\n")
        file.flush()

    return write


def trainer_state(path: Path) -> Write:
    """Rewritten as a whole and moved into place."""
    history: list[dict[str, float]] = []

    def write(step: int, loss: float) -> None:
        history.append({"epoch": step / 100, "grad_norm": 1.0, "learning_rate": 1e-4, "loss": loss, "step": step})
        if step < ROWS:
            return
        state = {"epoch": step / 100, "global_step": step, "log_history": history, "max_steps": 1000, "num_train_epochs": 10}
        new = path.with_name("trainer_state.json.new")
        new.write_text(json.dumps(state, indent=2), encoding="utf-8")
        os.replace(new, path)  # noqa: PTH105

    return write


def tensorboard(path: Path) -> Write:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(path), flush_secs=3600)

    def write(step: int, loss: float) -> None:
        writer.add_scalar("train/loss", loss, step)
        writer.flush()

    return write


KINDS = {"jsonl": jsonl, "csv": csv, "console": console, "trainer_state": trainer_state, "tensorboard": tensorboard}
NAMES = {"jsonl": "log.jsonl", "csv": "metrics.csv", "console": "train.log", "trainer_state": "trainer_state.json", "tensorboard": "tb"}


def main(kind: str, path: str) -> None:
    write, values = KINDS[kind](Path(path)), losses()
    for step in range(1, ROWS + 1):
        write(step, next(values))
    print(time.time(), flush=True)
    for step, line in enumerate(sys.stdin, ROWS + 1):
        write(step, math.nan if line.strip() == "nan" else next(values))
        print(time.time(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
