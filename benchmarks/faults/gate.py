"""How often `diag gate RUN --against REF` alarms on a healthy run, and how often it sees a fault: on a built fault benchmark.

    python benchmarks/faults/gate.py DIR [--tolerance 0.05]

The healthy controls of a setting differ in the seed alone: each is compared with one, two, three and five others of its setting. Each
faulty run is compared with as many healthy controls of the base that the fault was put into. Shares of pairs come with the number of
settings in which there was any alarm, as pairs of one setting are not independent.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import diag
from diag.gate import compare
from diag.gate.run_noise import USUAL
from diag.run import Run

SICK = ("sick", "overfit")
COUNTS = (1, 2, 3, 5)
"""References at a time."""
SIZES = (0.04, 0.10, 0.30, 1.01)
"""Limits of the relative gain of the cure by which faults are told apart."""
Label = dict[str, Any]


def alarms(run: Run, references: Sequence[Run], tolerance: float) -> set[str]:
    """Severities of what was found, and ``unmeasured`` where nothing could be compared."""
    found = compare(run, references, tolerance=tolerance).findings
    return {"unmeasured" if finding.code == "GAT002" else finding.severity for finding in found if finding.severity != "info"}


def others(runs: Sequence[Run], index: int, count: int) -> list[Run]:
    """The next ``count`` runs after one, around the end."""
    return [runs[(index + 1 + i) % len(runs)] for i in range(count)]


def false_alarms(controls: dict[str, list[Run]], tolerance: float) -> Iterable[str]:
    yield f"{'references':>10}  {'pairs':>5}  {'an error':>16}  {'a warning or error':>18}  settings with either"
    for count in COUNTS:
        errors = warnings = pairs = 0
        settings = set()
        for name, runs in controls.items():
            if len(runs) <= count:
                continue
            trials = [(run, others(runs, i, count)) for i, run in enumerate(runs)]
            if count == 1:
                trials = [(run, [other]) for run in runs for other in runs if other is not run]
            for run, references in trials:
                said = alarms(run, references, tolerance)
                pairs += 1
                errors += "error" in said
                warnings += bool(said)
                if said:
                    settings.add(name)
        yield f"{count:10}  {pairs:5}  {_share(errors, pairs):>16}  {_share(warnings, pairs):>18}  {len(settings)}/{len(controls)}"


def detection(faults: Sequence[tuple[Label, Run, list[Run]]], tolerance: float) -> Iterable[str]:
    yield f"{'gain of the cure':18} {'runs':>5}  " + "  ".join(f"{f'error, k={k}':>11}  {f'any, k={k}':>9}" for k in COUNTS)
    low = 0.0
    for high in SIZES:
        group = [entry for entry in faults if low <= gain(entry[0]) < high]
        cells = []
        for count in COUNTS:
            said = [alarms(run, references[:count], tolerance) for _, run, references in group if len(references) >= count]
            errors, either = sum("error" in severities for severities in said), sum(map(bool, said))
            cells.append(f"{f'{errors}/{len(said)}':>11}  {f'{either}/{len(said)}':>9}")
        yield f"{f'{100 * low:.0f} to {100 * min(high, 1):.0f}%':18} {len(group):5}  " + "  ".join(cells)
        low = high


def by_fault(faults: Sequence[tuple[Label, Run, list[Run]]], tolerance: float) -> Iterable[str]:
    found: dict[str, list[set[str]]] = collections.defaultdict(list)
    for label, run, references in faults:
        if len(references) >= 3:
            found[label["fault"]].append(alarms(run, references[:3], tolerance))
    yield f"{'fault':18} {'runs':>5}  {'error':>5}  {'any':>5}"
    for fault, said in sorted(found.items()):
        yield f"{fault:18} {len(said):5}  {sum('error' in s for s in said):5}  {sum(map(bool, said)):5}"


def gain(label: Label) -> float:
    return float(np.mean(label["outcome"]["gains"]))


def seed_noise(controls: dict[str, list[Run]]) -> Iterable[str]:
    """How far the best and the last evaluation losses of one setting lie apart, over the settings."""
    for name, read in (("best", np.min), ("last", lambda values: values[-1])):
        spreads = []
        for runs in controls.values():
            values = [float(np.log(read(curve.finite().value))) for run in runs if (curve := run.curve("eval/loss")) is not None]
            if len(values) > 2:
                spreads.append(float(np.std(values, ddof=1)))
        prior, freedom = fitted(spreads, len(next(iter(controls.values()))) - 1)
        shown = " ".join(f"{100 * q:.2f}%" for q in np.quantile(spreads, (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)))
        yield f"{name}: minimum, 10, 25, 50, 75, 90%, maximum {shown}"
        yield f"      fitted prior {100 * prior:.2f}% with {freedom:.1f} degrees of freedom"


def fitted(spreads: Sequence[float], freedom: int) -> tuple[float, float]:
    """Standard deviation and degrees of freedom of the prior (scaled inverse chi-squared) behind sample variances: Smyth 2004, 6.2."""
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    z = np.log(np.square(spreads))
    e = z - digamma(freedom / 2) + math.log(freedom / 2)
    excess = float(np.mean((e - e.mean()) ** 2) * len(e) / (len(e) - 1) - polygamma(1, freedom / 2))
    if excess <= 0:
        return math.exp(float(e.mean()) / 2), math.inf
    half = float(brentq(lambda x: polygamma(1, x) - excess, 1e-3, 1e6))
    return math.exp((float(e.mean()) + digamma(half) - math.log(half)) / 2), 2 * half


def _share(k: int, n: int) -> str:
    return f"{k}/{n} = {100 * k / n:.1f}%" if n else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.05, help="relative difference that is an error (default 0.05)")
    arguments = parser.parse_args()
    labels = [json.loads(line) for line in (arguments.folder / "labels.jsonl").read_text().splitlines()]
    runs = {label["run"]: diag.load(arguments.folder / "runs" / label["run"])[0] for label in labels}
    print(f"usual noise between seeds assumed: {100 * USUAL:.2g}%")
    for split in ("train", "held-out"):
        chosen = [label for label in labels if label["split"] == split]
        controls: dict[str, list[Run]] = collections.defaultdict(list)
        for label in chosen:
            if label["class"] == "healthy":
                controls[label["setting"]].append(runs[label["run"]])
        faults = [
            (label, runs[label["run"]], controls[base])
            for label in chosen
            if label["class"] in SICK and (base := label["setting"].partition("-")[0]) in controls
        ]
        if not controls:
            continue
        print(f"\n== {split}: {len(controls)} settings, {sum(map(len, controls.values()))} healthy and {len(faults)} faulty runs")
        for lines in (
            seed_noise(controls),
            false_alarms(controls, arguments.tolerance),
            detection(faults, arguments.tolerance),
            by_fault(faults, arguments.tolerance),
        ):
            print()
            print("\n".join(lines))


if __name__ == "__main__":
    main()
