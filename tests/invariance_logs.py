"""One training, written to every kind of log, by the real libraries where there are any."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from diag.run import Run

Rows = list[dict[str, Any]]
"""What a trainer logs, in its order: ``step``, ``epoch`` and the names of the Hugging Face Trainer."""
NAMES = {"train/loss": "loss", "eval/loss": "eval_loss", "lr": "learning_rate", "grad_norm": "grad_norm"}


def rows_of(run: Run) -> Rows:
    """The rows of a run: one for each step that trained and one for each evaluation."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for metric, name in NAMES.items():
        curve = run.curve(metric)
        if curve is None:
            continue
        for step, value, epoch in zip(curve.step.tolist(), curve.value.tolist(), curve.epoch.tolist(), strict=True):
            rows.setdefault((step, name == "eval_loss"), {"step": step, "epoch": epoch})[name] = value
    return [rows[key] for key in sorted(rows)]


def trainer_state(folder: Path, rows: Rows) -> None:
    """As ``transformers.Trainer`` saves it."""
    last = max(row["step"] for row in rows)
    state = {"global_step": last, "max_steps": last, "num_train_epochs": 2, "log_history": rows}
    (folder / "trainer_state.json").write_text(json.dumps(state))


def jsonl(folder: Path, rows: Rows) -> None:
    """A JSON object a line."""
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(folder: Path, rows: Rows) -> None:
    """CSV; a cell is empty where a row has no such value."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", *NAMES.values()])
        writer.writeheader()
        writer.writerows(rows)


def console(folder: Path, rows: Rows) -> None:
    """Lines of ``name: value`` with six digits."""
    lines = (" ".join([f"step: {row['step']}"] + [f"{name}: {value:.6g}" for name, value in row.items() if name != "step"]) for row in rows)
    (folder / "train.log").write_text("".join(line + "\n" for line in lines))


def tensorboard(folder: Path, rows: Rows) -> None:
    """An event file by ``SummaryWriter``, tagged as the Trainer's callback does; float32."""
    from torch.utils.tensorboard import SummaryWriter

    tags = {"eval_loss": "eval/loss"}
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(tags.get(name, f"train/{name}"), value, row["step"])


FILES: dict[str, Callable[[Path, Rows], None]] = {
    "trainer_state": trainer_state,
    "jsonl": jsonl,
    "csv": table,
    "console": console,
    "tensorboard": tensorboard,
}
"""Writers of one log into a folder."""


TRACKERS = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import wandb
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    for path in map(Path, sys.argv[1:]):
        rows = json.loads((path / "rows.json").read_text())
        (path / "mlflow").mkdir()
        client = MlflowClient(str(path / "mlflow" / "mlruns"))
        run = client.create_run(client.create_experiment("made"), run_name=path.name).info.run_id
        points = [Metric(name, float(value), 1_700_000_000_000 + 1000 * at, row["step"])
                  for at, row in enumerate(rows) for name, value in row.items() if name != "step"]
        for at in range(0, len(points), 900):
            client.log_batch(run, metrics=points[at : at + 900])
        client.set_terminated(run)

        (path / "wandb").mkdir()
        quiet = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        run = wandb.init(mode="offline", dir=path / "wandb", project="made", name=path.name, settings=quiet)
        for row in rows:
            run.log({("eval/loss" if name == "eval_loss" else f"train/{name}"): value for name, value in row.items() if name != "step"}
                    | {"train/global_step": row["step"]})
        run.finish()
    """
)
"""Logs the ``rows.json`` of every named folder to MLflow and to W&B, offline; a process of its own, as both keep what they opened."""


def trackers(folders: Sequence[tuple[Path, Rows]]) -> None:
    """Write ``mlflow`` and ``wandb`` into each folder."""
    for folder, rows in folders:
        folder.mkdir()
        (folder / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [sys.executable, "-c", TRACKERS, *(str(folder) for folder, _ in folders)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def shuffle(path: Path, order: Random) -> None:
    """Shuffle the rows of a ``trainer_state.json``, a JSON Lines or a CSV file in place."""
    if path.suffix == ".json":
        state = json.loads(path.read_text())
        order.shuffle(state["log_history"])
        path.write_text(json.dumps(state))
        return
    lines = path.read_text().splitlines(keepends=True)
    head = [lines.pop(0)] if path.suffix == ".csv" else []
    order.shuffle(lines)
    path.write_text("".join(head + lines))
