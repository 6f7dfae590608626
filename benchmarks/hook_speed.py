"""How long the pre-commit hook ``diag-logs`` takes for a commit of 50 logs, against importing what such a program stands on.

    python benchmarks/hook_speed.py [rounds]

Writes 50 logs of each format and 50 of all formats in turn, each in the folder of a run with its config beside it, and 50 in one folder.
Runs the hook's own command on them, one process a commit, and ``python -c "import pandas, scipy.stats"`` in turn, each process on one
core, bytecode cached as an installed package has it. Prints the ratio of the medians; wanted: at most 2. Exits with 1 if one is not met.
Needs TensorBoard and W&B, whose libraries write their logs.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from _timing import one_core
from cold_start import ROWS, write_state
from wandb_speed import frame, protobuf_classes

LOGS = 50
ROUNDS = 7
WANTED = 2.0
PEER = ("-c", "import pandas, scipy.stats")
HOOKS = Path(__file__).resolve().parent.parent / ".pre-commit-hooks.yaml"
CONFIG = "learning_rate: 2.0e-05\nper_device_train_batch_size: 8\nnum_train_epochs: 3\nwarmup_ratio: 0.03\nweight_decay: 0.01\n"
Writer = Callable[[Path], Path]


def losses() -> Iterator[tuple[int, float, float]]:
    """Step, training loss and learning rate of a healthy run."""
    for row in range(1, ROWS + 1):
        loss = 0.8 + 1.6 * math.exp(-row / (ROWS / 6)) + 0.02 * math.sin(7.3 * row)
        yield 10 * row, loss, 2e-5 * min(1, row / (0.03 * ROWS)) * (1 + math.cos(math.pi * row / ROWS)) / 2


def trainer_state(folder: Path) -> Path:
    (folder / "training_args.json").write_text(json.dumps({"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_train_epochs": 3}))
    write_state(folder / "trainer_state.json")
    return folder / "trainer_state.json"


def event_file(folder: Path) -> Path:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    path = folder / "events.out.tfevents.1700000000.host.1.0"
    (folder / "config.yaml").write_text(CONFIG)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
        for step, loss, rate in losses():
            values = {"train/loss": loss, "train/learning_rate": rate} | ({"eval/loss": loss + 0.05} if step % 100 == 0 else {})
            for tag, value in values.items():
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.write(Event(wall_time=1.7e9 + step, step=step, summary=summary).SerializeToString())
    return path


def metrics_csv(folder: Path) -> Path:
    path = folder / "metrics.csv"
    (folder / "hparams.yaml").write_text(CONFIG)
    lines = ["epoch,lr-AdamW,step,train_loss,val_loss"]
    for step, loss, rate in losses():
        lines.append(f"{step // 700},{rate},{step},{loss},")
        if step % 100 == 0:
            lines.append(f"{step // 700},,{step},,{loss + 0.05}")
    path.write_text("\n".join(lines) + "\n")
    return path


def jsonl(folder: Path) -> Path:
    (folder / "config.yaml").write_text(CONFIG)
    return write_jsonl(folder / "trainer_log.jsonl")


def write_jsonl(path: Path) -> Path:
    rows = []
    for step, loss, rate in losses():
        rows.append({"current_steps": step, "total_steps": 10 * ROWS, "loss": loss, "lr": rate, "epoch": step / 700})
        if step % 100 == 0:
            rows.append({"current_steps": step, "total_steps": 10 * ROWS, "eval_loss": loss + 0.05, "epoch": step / 700})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def wandb(folder: Path) -> Path:
    pb = protobuf_classes()
    records = [pb.Record(header=pb.HeaderRecord()), pb.Record(run=pb.RunRecord(run_id="abcdefgh"))]
    for row, (step, loss, rate) in enumerate(losses()):
        record = pb.Record()
        values = {"train/loss": loss, "train/learning_rate": rate, "train/global_step": step, "_step": row, "_timestamp": 1.7e9 + row}
        for key, value in (values | ({"eval/loss": loss + 0.05} if step % 100 == 0 else {})).items():
            record.history.item.add(value_json=repr(value)).nested_key.append(key)
        records.append(record)
    run = folder / "wandb" / "offline-run-20240101_000000-abcdefgh"
    run.mkdir(parents=True)
    path = run / "run-abcdefgh.wandb"
    path.write_bytes(frame([record.SerializeToString() for record in records]))
    return path


FORMATS: dict[str, Writer] = {
    "trainer_state.json": trainer_state,
    "event files": event_file,
    "metrics.csv": metrics_csv,
    "trainer_log.jsonl": jsonl,
    ".wandb": wandb,
}


def commits(base: Path) -> Iterator[tuple[str, list[Path]]]:
    """Names of commits and their logs."""
    mixed = [writer for writer, _ in zip(cycle(FORMATS.values()), range(LOGS), strict=False)]
    for name, writers in {**{name: [writer] * LOGS for name, writer in FORMATS.items()}, "all formats": mixed}.items():
        paths = []
        for number, writer in enumerate(writers):
            folder = base / name.replace(" ", "-") / f"run-{number:02}"
            folder.mkdir(parents=True)
            paths.append(writer(folder))
        yield name, paths
    folder = base / "one-folder"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    yield "in one folder", [write_jsonl(folder / f"log_{number:02}.jsonl") for number in range(LOGS)]


def hook_command() -> list[str]:
    """The command of the hook, run by this Python."""
    from ruamel.yaml import YAML

    (entry,) = (hook["entry"] for hook in YAML(typ="safe").load(HOOKS) if hook["id"] == "diag-logs")
    program, *arguments = entry.split()
    return [sys.executable, "-m", program, *arguments]


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - start


def main(rounds: int = ROUNDS) -> int:
    """Measure, print, and say by the exit code whether the bound holds."""
    one_core()
    met = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        peer = [sys.executable, *PEER]
        for name, paths in commits(Path(folder)):
            ours = [*hook_command(), *map(str, paths)]
            seconds(ours, environment)  # fills the bytecode cache
            seconds(peer, environment)
            turns = [(seconds(ours, environment), seconds(peer, environment)) for _ in range(rounds)]
            mine, theirs = (statistics.median(column) for column in zip(*turns, strict=True))
            met.append(mine <= WANTED * theirs)
            print(
                f"{LOGS} logs, {name + ':':20} {1000 * mine:5.0f} ms, {mine / theirs:4.2f} times the import at {1000 * theirs:.0f} ms;"
                f" wanted at most {WANTED:g}: {'yes' if met[-1] else 'NO'}",
                flush=True,
            )
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
