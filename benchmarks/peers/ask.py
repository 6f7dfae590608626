"""Ask one peer about many runs, in one process. Run by `compare.py` with the interpreter of the peer's own environment.

    python ask.py NAME < paths        (one trainer_state.json a line)

Writes a JSON line for each path: `findings`, a list of code and severity in the peer's own words; `problem`, what went wrong, ""
if nothing; `seconds`. A peer that has a command line with JSON output is asked through it; the others through their documented
functions. Nothing is imported but the standard library and the peer with what it brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIME_LIMIT = 60
"""Seconds a peer may take for one run."""

Found = list[tuple[str, str]]


def command(module: str, *arguments: str) -> Any:
    """What a command prints as JSON. The exit status is not looked at: it says how bad the findings are.

    Raises:
        ValueError: it printed something else; the message is the last line it wrote.
    """
    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(module).main
    sys.argv = [module, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as leave:
            if isinstance(leave.code, str):
                print(leave.code, file=err)
    try:
        return json.loads(out.getvalue())
    except ValueError:
        raise ValueError(((err.getvalue() or out.getvalue()).strip().splitlines() or ["no output"])[-1]) from None


def rows(path: str) -> list[dict[str, Any]]:
    return list(json.loads(Path(path).read_text(encoding="utf-8"))["log_history"])


def joined(path: str) -> list[dict[str, Any]]:
    """One row a logged training point, an evaluation in the row of the last point before it (a table without blank losses)."""
    table: list[dict[str, Any]] = []
    for row in rows(path):
        if "loss" in row or not table:
            table.append(dict(row))
        else:
            table[-1] = {**row, **table[-1]}
    return [row for row in table if "loss" in row]


def trainproof(path: str) -> Found:
    answer = command("trainproof.cli", "doctor", path, "--json")
    if answer["error"] or not answer["reports"]:
        raise ValueError(answer["error"] or "no report")
    return [(finding["id"], finding["level"]) for report in answer["reports"] for finding in report["findings"]]


def finetune_doctor(path: str) -> Found:
    answer = command("finetune_doctor.cli", "diagnose", path, "--format", "json")
    return [(finding["check"], finding["severity"]) for finding in answer["findings"]]


def runmedic(path: str) -> Found:
    answer = command("runmedic.cli", "diagnose", path, "--json")
    return [(finding["check"], finding["severity"]) for run in answer for finding in run["findings"]]


def trainspotter(path: str) -> Found:
    answer = command("trainspotter.cli", "analyze", path, "--output", "json")
    return [(finding["detector"], finding["severity"]) for finding in answer["findings"]]


def losslint(path: str) -> Found:
    answer = command("losslint.cli", "check", path, "--format", "json")
    return [(finding["check"], finding["severity"]) for finding in answer["findings"]]


def gradsnitch(path: str) -> Found:
    import pandas as pd

    names = {"loss": "train_loss", "eval_loss": "val_loss", "learning_rate": "lr"}
    table = pd.DataFrame([{names.get(key, key): value for key, value in row.items()} for row in joined(path)])
    return [(finding.code, finding.severity) for finding in importlib.import_module("gradsnitch").lint(table)]


def runwise(path: str) -> Found:
    found = importlib.import_module("runwise").detect_anomalies(rows(path), val_loss_key="eval_loss")
    return [(anomaly.type, anomaly.severity) for anomaly in found]


def trainpulse(path: str) -> Found:
    monitor = importlib.import_module("trainpulse").Monitor()
    for row in rows(path):
        for name in ("loss", "grad_norm", "learning_rate"):
            if name in row:
                monitor.log(name, row["step"], row[name])
    return [(alert.detector, alert.severity.value) for alert in monitor.report().alerts]


def training_doctor(path: str) -> Found:
    doctor = importlib.import_module("training_doctor").Doctor()
    names = {"loss": ("loss", "train_loss"), "eval_loss": ("eval_loss",), "learning_rate": ("lr",), "grad_norm": ("grad_norm",)}
    for row in rows(path):
        doctor.store.log(row["step"], **{new: row[old] for old, news in names.items() if old in row for new in news})
    return [(diagnosis.detector_name, diagnosis.severity.value) for diagnosis in doctor.analyze()]


def epochix(path: str) -> Found:
    """It reads what a trainer prints; its warnings have no severity: a falling learning rate counts as a remark."""
    pipeline, store = importlib.import_module("epochix.pipeline"), importlib.import_module("epochix.store.sqlite_store")
    hub, ingester = importlib.import_module("epochix.server.hub"), importlib.import_module("epochix.ingester")
    standing = importlib.import_module("epochix.story_engine.warnings").standing_warnings
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "train.log"
        printed = [{key: value for key, value in row.items() if key != "step"} for row in rows(path)]
        log.write_text("".join(f"{row}\n" for row in printed), encoding="utf-8")
        kept = store.RunStore(db_path=str(Path(folder) / "runs.db"))
        source = ingester.make_ingester(source="file", run_id="run", path=str(log))
        asyncio.run(pipeline.run_pipeline(ingester=source, run_id="run", store=kept, hub=hub.Hub()))
        frames = kept.get_story_frames("run")
    if not frames:
        raise ValueError("no story")
    found = standing(warning for frame in frames for warning in frame.warnings)
    return [(warning.kind, "info" if warning.kind == "lr_drop" else "warning") for warning in found]


ASKED: dict[str, Callable[[str], Found]] = {
    "trainproof": trainproof,
    "finetune-doctor": finetune_doctor,
    "runmedic": runmedic,
    "trainspotter": trainspotter,
    "losslint": losslint,
    "gradsnitch": gradsnitch,
    "runwise": runwise,
    "trainpulse": trainpulse,
    "training-doctor": training_doctor,
    "epochix": epochix,
}


def out_of_time(*_: object) -> None:
    raise TimeoutError(f"took longer than {TIME_LIMIT} s")


def main() -> None:
    ask = ASKED[sys.argv[1]]
    answers, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGALRM, out_of_time)
    for line in sys.stdin:
        found: Found = []
        problem = ""
        start = time.perf_counter()
        signal.alarm(TIME_LIMIT)
        try:
            found = ask(line.rstrip("\n"))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        seconds = time.perf_counter() - start
        print(json.dumps({"findings": found, "problem": problem, "seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
