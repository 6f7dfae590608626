"""Train the fault benchmark and label it by intervention. Runs again where it stopped.

    python benchmarks/faults/build.py --out DIR [--bases 4] [--only lora] [--jobs 2]

Writes ``DIR/runs/<id>/`` (what `diag analyze` is pointed at), ``DIR/labels.jsonl`` (one line a run, with the measured numbers)
and ``DIR/dropped.jsonl`` (settings that did not meet the rule for a label). ``DIR/trainings`` and ``DIR/settings`` are what
makes it resumable; they know nothing of the code, so start in a new folder after a change of `tasks.py` or `settings.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from logs import write_run
from settings import CONTROL_SEEDS, FAULTS, SEEDS, Fault, bases, fit_epochs, fraction, is_held_out, plan
from tasks import LANGUAGE_STEPS, LM, LORA, MAX_STEPS, POLICY, Config, Store, changed, write

HEALTHY_GAIN = 0.02
"""Most that a standard single change may gain, averaged over the seeds, for a run to count as healthy."""
SETTLED = 0.015
"""The same while a base is being settled: lower, so that the control keeps away from the limit."""
SICK_GAIN = {"sick": 0.04, "overfit": 0.025}
"""Least that the removal of the cause must gain in held-out loss, averaged over the seeds."""
EVERY_SEED = 0.5
"""Least share of that on every seed."""
NOISE_FACTOR = 2.0
"""The gain must be more than this many times the seed noise."""
LEAK_GAIN = 0.10
"""Least by which a leaking evaluation must be too good."""
RECOVERS = 0.5
"""Share of the gap that another single change must close for its cause to be accepted as well."""
MIN_STEPS = 30
"""Shortest sick run."""
MOVES = 5
"""How often a base may be changed while it is settled."""


def gain(before: float, after: float) -> float:
    """What a change took off the held-out loss, relative; 1 where the loss was not a number before."""
    if not math.isfinite(after):
        return -math.inf
    return (before - after) / before if math.isfinite(before) else 1.0


def standard_changes(config: Config) -> dict[str, Config]:
    """The single changes that a healthy run must not gain from."""
    return {
        "learning_rate x3": changed(config, learning_rate=config.learning_rate * 3),
        "learning_rate /3": changed(config, learning_rate=config.learning_rate / 3),
        "num_epochs x2": changed(config, epochs=config.epochs * 2),
        "num_epochs /2": changed(config, epochs=config.epochs / 2),
    }


def settle(store: Store, config: Config) -> Config | None:
    """The base after the standard changes that still gained; None if it needs too many, or grows too long."""
    for _ in range(MOVES + 1):
        gains = {change: float(np.mean(values)) for change, values in measured_changes(store, config)[1].items()}
        best = max(gains, key=lambda change: gains[change])
        if gains[best] < SETTLED:
            return config
        config = standard_changes(config)[best]
        if not 60 <= config.steps <= (LANGUAGE_STEPS if config.family in (LM, LORA) else MAX_STEPS // 2):
            return None
    return None


def measured_changes(store: Store, config: Config) -> tuple[list[float], dict[str, list[float]]]:
    """The held-out losses of a config, and what every standard change gains; one number a seed."""
    now = [store.held_out(config, seed) for seed in SEEDS]
    changes = standard_changes(config).items()
    return now, {
        change: [round(gain(before, store.held_out(new, seed)), 4) for before, seed in zip(now, SEEDS, strict=True)]
        for change, new in changes
    }


def alternatives(config: Config) -> dict[str, list[Config]]:
    """For each cause the single changes that would show it: which of them recover is measured."""

    def new(**values: Any) -> Config:
        return changed(config, **values)

    larger = new(batch=min(4 * config.batch, config.samples // 2))
    found = {
        "lr_too_high": [new(learning_rate=config.learning_rate / 4)],
        "lr_too_low": [new(learning_rate=config.learning_rate * 4)],
        "too_many_epochs": [new(epochs=config.epochs / 3)],
        "too_few_epochs": [new(epochs=fit_epochs(config, 3))],
        "batch_too_small": [larger],
        "batch_too_large": [new(batch=max(1, config.batch // 4))],
        "weight_decay_too_high": [new(weight_decay=config.weight_decay / 20)],
        "gradient_clipping_missing": [new(max_grad_norm=0.5)],
        "gradient_clipping_too_tight": [new(max_grad_norm=0.0)],
        "warmup_too_short": [new(warmup_ratio=0.2)],
    }
    if config.family == POLICY:
        return {cause: tries for cause, tries in found.items() if cause.startswith(("lr", "too"))}
    found["regularization_too_weak"] = [new(dropout=0.3)]
    if config.family == LORA:
        found["capacity_too_low"] = [new(rank=16, all_targets=True)]
        found["capacity_too_high"] = [new(rank=1)]
    elif config.family != LM:
        found["capacity_too_low"] = [new(width=config.width * 4)]
        found["capacity_too_high"] = [new(width=max(config.width // 8, 4))]
    return found


def recovering(store: Store, sick: Config, cured: Config) -> dict[str, float]:
    """Causes whose single change closes at least half of the gap, with the share that it closes, on the first seed.

    To take the checkpoint of the best evaluation is a change that shows too many epochs.
    """
    before, after = store.held_out(sick, SEEDS[0]), store.held_out(cured, SEEDS[0])
    found = {}
    stopped = recovered(before, store.held_out(sick, SEEDS[0], best=True), after)
    if stopped >= RECOVERS:
        found["too_many_epochs"] = round(stopped, 3)
    for cause, tries in alternatives(sick).items():
        share = max((recovered(before, store.held_out(new, SEEDS[0]), after) for new in tries if new != sick), default=0.0)
        if share >= max(RECOVERS, found.get(cause, 0.0)):
            found[cause] = round(share, 3)
    return found


SHOWN_AS = {
    "too_many_epochs": ("OVERFIT",),
    "too_few_epochs": ("UNDERFIT",),
    "lr_too_low": ("UNDERFIT", "PLATEAU"),
    "lr_too_high": ("UNSTABLE", "PLATEAU"),
}
"""Verdicts that are accepted as well where the change of a cause recovers as well."""

CEILING = 3.0
"""A sick loss counts as this many times the cured one at most, so that half of the gap means something for runs that blew up."""


def recovered(sick: float, treated: float, cured: float) -> float:
    """Share of the gap between the sick and the cured loss that a treatment closes."""
    sick, treated = min(sick, CEILING * cured), min(treated, CEILING * cured)
    return (sick - treated) / (sick - cured)


def seed_noise(losses: Sequence[float]) -> float:
    """Standard deviation over the seeds, relative to the mean."""
    return float(np.std(losses, ddof=1) / np.mean(losses))


def label_base(store: Store, config: Config) -> tuple[dict[str, Any], str]:
    """The measured numbers of a healthy control, and why it is none ("" if it is)."""
    now, gains = measured_changes(store, config)
    outcome = {"held_out": now, "gains": gains, "seed_noise": round(seed_noise(now), 5)}
    best = max(gains, key=lambda change: np.mean(gains[change]))
    return outcome, "" if np.mean(gains[best]) < HEALTHY_GAIN else f"gains {np.mean(gains[best]):.3f} from {best}"


def label_fault(store: Store, fault: Fault, sick: Config, cured: Config) -> tuple[dict[str, Any], str]:
    """The measured numbers of a fault, and why it gets no label ("" if it does)."""
    if max(sick.steps, cured.steps) > MAX_STEPS:
        return {}, "too long"
    if sick.steps < MIN_STEPS:
        return {}, "too short"
    before, after = ([store.held_out(config, seed) for seed in SEEDS] for config in (sick, cured))
    outcome: dict[str, Any] = {"sick": before, "cured": after}
    if not all(map(math.isfinite, after)):
        return outcome, "the cured run is not finite"
    noise = seed_noise(after)
    outcome["seed_noise"] = round(noise, 5)
    if fault.kind == "remark":
        return outcome, ""
    if fault.kind == "leak":
        gains = []
        for seed, true in zip(SEEDS, before, strict=True):
            logged = [row["eval/loss"] for row in store.get(sick, seed).rows if "eval/loss" in row]
            gains.append((true - logged[-1]) / true)
        least = LEAK_GAIN
    else:
        gains = [gain(x, y) for x, y in zip(before, after, strict=True)]
        least = SICK_GAIN[fault.kind]
    outcome["gains"] = [round(value, 4) for value in gains]
    if np.mean(gains) < least or min(gains) < EVERY_SEED * least:
        return outcome, f"the removal gains {', '.join(f'{value:.3f}' for value in gains)}"
    if np.mean(gains) <= NOISE_FACTOR * noise:
        return outcome, f"a gain of {np.mean(gains):.3f} is within the seed noise of {noise:.3f}"
    if fault.kind != "leak":
        outcome["also_recover"] = recovering(store, sick, cured)
    return outcome, ""


def run_id(setting: str, seed: int) -> str:
    return "r" + hashlib.sha256(f"{setting}/{seed}".encode()).hexdigest()[:8]


def publish(store: Store, setting: str, config: Config, common: dict[str, Any], seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Write the runs of a setting, one a seed, and return their labels."""
    labels = []
    for seed in seeds:
        name = run_id(setting, seed)
        folder = store.folder / "runs" / name
        form = write_run(folder, config, store.get(config, seed), seed)
        split = "held-out" if is_held_out(config) else "train"
        labels.append({"run": name, "setting": setting, "split": split, "seed": seed, "format": form, "steps": config.steps} | common)
    return labels


def build_base(folder: str, name: str, config: Config, faults: list[tuple[str, str]], only: list[str]) -> tuple[str, int, float]:
    """Everything of one base: settle it, label it, put its faults into it. Returns its name, the labelled runs, and the seconds."""
    torch.set_num_threads(1)
    started, store, by_name = time.perf_counter(), Store(Path(folder)), {fault.name: fault for fault in FAULTS}
    runs = 0

    def settled(setting: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        nonlocal runs
        path = store.folder / "settings" / f"{setting}.json"
        if not path.exists():
            write(path, json.dumps(make()))
        found: dict[str, Any] = json.loads(path.read_text())
        runs += len(found["labels"])
        return found

    def healthy() -> dict[str, Any]:
        found = settle(store, config)
        if found is None:
            return {"setting": name, "labels": [], "dropped": "does not settle", "base": None}
        outcome, problem = label_base(store, found)
        common = {"class": "healthy", "causes": [], "also": [], "accepted": ["HEALTHY"], "outcome": outcome, "fault": ""}
        common |= {"config": dataclasses.asdict(found), "family": found.family}
        labels = [] if problem else publish(store, name, found, common, CONTROL_SEEDS)
        return {"setting": name, "labels": labels, "dropped": problem, "base": dataclasses.asdict(found)}

    control = settled(name, healthy)
    if control["dropped"]:
        return name, runs, time.perf_counter() - started
    base = Config(**control["base"])

    def broken(setting: str, fault: Fault) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            sick, cured = fault.inject(base, fraction(setting))
            outcome, problem = label_fault(store, fault, sick, cured)
            also = [cause for cause in outcome.get("also_recover", {}) if cause not in fault.causes]
            accepted = dict.fromkeys([*fault.verdicts, *(verdict for cause in also for verdict in SHOWN_AS.get(cause, ()))])
            if not all(map(math.isfinite, outcome.get("sick", []))):
                accepted["DIVERGED"] = None  # whatever was broken, a loss that is not a number has diverged
            common = {"class": fault.kind, "causes": list(fault.causes), "also": also, "accepted": list(accepted)}
            common |= {"outcome": outcome, "fault": fault.name, "family": sick.family}
            common |= {"config": dataclasses.asdict(sick), "cured_config": dataclasses.asdict(cured)}
            labels = [] if problem else publish(store, setting, sick, common)
            return {"setting": setting, "labels": labels, "dropped": problem, "outcome": outcome}

        return make

    for setting, fault in faults:
        if any(word in setting for word in only):
            settled(setting, broken(setting, by_name[fault]))
    return name, runs, time.perf_counter() - started


def collect(folder: Path) -> tuple[int, int]:
    """Write labels.jsonl and dropped.jsonl from the settings that are done; how many runs and dropped settings there are."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "settings").glob("*.json"))]
    labels = [label for setting in found for label in setting["labels"]]
    dropped = [{"setting": s["setting"], "why": s["dropped"], "outcome": s.get("outcome")} for s in found if s["dropped"]]
    write(folder / "labels.jsonl", "".join(json.dumps(label) + "\n" for label in labels))
    write(folder / "dropped.jsonl", "".join(json.dumps(line) + "\n" for line in dropped))
    return len(labels), len(dropped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to build in")
    parser.add_argument("--bases", type=int, default=6, help="base trainings of each family (default 6)")
    parser.add_argument("--only", nargs="+", default=[""], help="only settings whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    faults: dict[str, list[tuple[str, str]]] = {}
    for setting, name, fault in plan(arguments.bases):
        faults.setdefault(name, []).append((setting, fault.name))
    units = [
        (str(arguments.out), name, config, faults.get(name, []), arguments.only)
        for name, config in bases(arguments.bases)
        if any(word in setting for word in arguments.only for setting in (name, *(setting for setting, _ in faults.get(name, []))))
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(build_base, *unit) for unit in units]):
            name, runs, seconds = done.result()
            total, dropped = collect(arguments.out)
            print(f"{name}: {runs} runs in {seconds:.0f} s; {total} in all, {dropped} settings dropped", flush=True)
    total, dropped = collect(arguments.out)
    print(f"{total} labelled runs, {dropped} settings dropped", flush=True)


if __name__ == "__main__":
    main()
