"""What a watch costs: the callback beside TensorBoard's in the same training, and the watch's own share of the time on a long log.

    python benchmarks/watch_cost.py [--steps 2000] [--rows 200000]

Trains a tiny model with ``transformers.Trainer`` that logs every step, which is the most that a callback can be asked for, once with no
callback, once with ``DiagCallback``, once with Transformers' ``TensorBoardCallback``; the order turns from round to round. Then a log of
many rows grows by ten a second under ``diag watch``, whose processor time is measured from its second minute on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 3
SETTLED, MEASURED = 60.0, 60.0
"""Seconds before and while the share of the watch is measured."""


class Timed:
    """A callback whose methods are timed, as seconds of the process."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seconds = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return call if callable(method) else method


def train(steps: int, callback: Any, folder: str) -> float:
    """Seconds of a training of a tiny model."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Regression(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": torch.nn.functional.mse_loss(self.net(x)[:, 0], labels)}

    torch.manual_seed(0)
    rows = [{"x": x, "labels": x[0] * 2} for x in torch.randn(4096, 64)]
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=32,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-3,
    )
    trainer = Trainer(model=Regression(), args=arguments, train_dataset=rows, callbacks=[callback] if callback is not None else [])
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began


def callbacks(steps: int) -> None:
    """Print the seconds that each callback takes in the same training."""
    import torch
    from transformers.integrations import TensorBoardCallback
    from transformers.utils import logging as library

    from diag.integrations import HuggingFaceCallback

    torch.set_num_threads(1)
    library.set_verbosity_error()
    logging.getLogger("diag").setLevel(logging.CRITICAL)
    made: dict[str, Callable[[str], Any]] = {
        "DiagCallback": lambda folder: HuggingFaceCallback(stop_on="DIVERGED"),
        "TensorBoardCallback": lambda folder: TensorBoardCallback(),
    }
    best: dict[str, tuple[float, float]] = {}
    orders = itertools.cycle(itertools.permutations(made))
    with Path(os.devnull).open("w") as nowhere:
        for _ in range(ROUNDS):
            for name in next(orders):
                with tempfile.TemporaryDirectory() as folder:
                    timed = Timed(made[name](folder))
                    out, sys.stdout = sys.stdout, nowhere
                    try:
                        whole = train(steps, timed, folder)
                    finally:
                        sys.stdout = out
                    best[name] = min(best.get(name, (math.inf, math.inf)), (timed.seconds, whole))
    for name, (seconds, whole) in best.items():
        print(f"{name:20} {seconds:6.2f} s of a training of {whole:.1f} s that logs each of {steps} steps: {100 * seconds / whole:.1f}%")
    ours, theirs = best["DiagCallback"][0], best["TensorBoardCallback"][0]
    print(f"{'':20} {ours / theirs:6.2f} times the time of TensorBoardCallback")


def share(rows: int) -> None:
    """Print the share of a processor that the watch takes."""
    import psutil

    def line(step: int) -> str:
        return json.dumps({"step": step, "loss": 1 + math.exp(-step / 1000), "lr": 1e-4, "grad_norm": 1.0}) + "\n"

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        log.write_text("".join(line(step) for step in range(1, rows + 1)), encoding="utf-8")
        command = [sys.executable, "-m", "diag", "watch", folder, "--stop-on", "never"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as watch, log.open("a", encoding="utf-8") as file:
            process = psutil.Process(watch.pid)
            began, step, before = time.monotonic(), rows, 0.0
            while (now := time.monotonic() - began) < SETTLED + MEASURED:
                if now >= SETTLED and not before:
                    before = sum(process.cpu_times()[:2])
                file.write(line(step := step + 1))
                file.flush()
                time.sleep(0.1)
            used = sum(process.cpu_times()[:2]) - before
            watch.kill()
    print(f"{'diag watch':20} {100 * used / MEASURED:.0f}% of a processor on a JSON-lines log of {rows:,} rows that grows by ten a second")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 200_000])
    arguments = parser.parse_args()
    callbacks(arguments.steps)
    for rows in arguments.rows:
        share(rows)


if __name__ == "__main__":
    main()
