"""How fast MLflow stores are read, against ``MlflowClient.get_metric_history`` a key at a time in the same process.

    python benchmarks/mlflow_speed.py [--points 100000] [--repeats 5]

Logs one run of five metrics through the real client into a file store and into a SQLite store, reads every point with both,
checks that they agree, and prints the ratios. Wanted: 10 times faster on each store.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import _timing
import numpy as np

WANTED_RATIO = 10.0
KEYS = ("eval/loss", "learning_rate", "train/grad_norm", "train/loss", "train/tokens_per_second")
BATCH = 1000
"""Metrics that the client takes at a time."""


def log(client: Any, points: int) -> str:
    """Log a run of ``points`` points over KEYS; its id."""
    from mlflow.entities import Metric

    values = np.random.default_rng(0).random(points)
    run = client.create_run(client.create_experiment("speed"))
    metrics = [Metric(KEYS[i % len(KEYS)], float(values[i]), 1_700_000_000_000 + i, i // len(KEYS) + 1) for i in range(points)]
    for low in range(0, points, BATCH):
        client.log_batch(run.info.run_id, metrics=metrics[low : low + BATCH])
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def compare(name: str, uri: str, path: Path, options: argparse.Namespace) -> bool:
    """Log into a store, read it both ways, print the ratio."""
    from mlflow import MlflowClient

    from diag.adapters import Source
    from diag.adapters.mlflow import ADAPTER

    client = MlflowClient(uri)
    run_id = log(client, options.points)

    def theirs() -> dict[str, list[Any]]:
        return {key: client.get_metric_history(run_id, key) for key in client.get_run(run_id).data.metrics}

    if path.is_dir():
        path = next(path.glob(f"*/{run_id}/meta.yaml"))
    source = Source(ADAPTER.name, path.parent, (path,))
    (run,) = ADAPTER.read(source)
    same = True
    native = {name: canonical for canonical, name in run.native_names.items()}
    for key, history in theirs().items():
        curve = run.curves[native[key]]
        same &= np.array_equal(curve.step, [one.step for one in history]) and np.array_equal(curve.value, [one.value for one in history])
    if not same:
        print(f"{name}: differs from the client")
    peer = _timing.timed(theirs, options.peer_repeats)
    ours = _timing.timed(lambda: ADAPTER.read(source), options.repeats)
    return _timing.report(f"{name}, {options.points:,} points", ours, "get_metric_history", peer, WANTED_RATIO) and same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=2, help="turns of the client, which takes most of the time")
    options = parser.parse_args()
    _timing.one_core()
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        met = compare("file store", (folder / "mlruns").as_uri(), folder / "mlruns", options)
        met &= compare("SQLite store", f"sqlite:///{folder / 'mlflow.db'}", folder / "mlflow.db", options)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
