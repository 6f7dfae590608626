"""How often ``diag watch`` would have alarmed while a run went on that was healthy in the end, and how early it tells what is wrong.

    python benchmarks/watch_prefixes.py [DIR...] [--synthetic 100] [--looks 150] [--verbose]

Replays every run of a folder step by step: at each of the first 40 logged steps and at ``--looks`` later ones the run is cut there and a
monitor looks at it, as the watch does. DIR holds a ``labels.jsonl`` with an object a run (``path``, or ``run`` below ``runs/``;
``verdict``; ``accepted``), as ``benchmarks/faults/build.py`` writes it; without one, every run below it counts by the verdict of its whole
log. ``--synthetic`` adds seeded healthy curves of ``benchmarks/false_alarms.py``, on which nothing was tuned.

Prints for the healthy runs how many were ever alarmed at (and for what), for the sick ones at which share of the run they were caught
first. What a watch stops on by default is counted apart: it ends a training.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from false_alarms import LENGTHS, healthy

from diag.analysis import judge
from diag.errors import DiagError
from diag.loading import load
from diag.run import Run
from diag.vocabulary import ERROR, HEALTHY, INCONCLUSIVE, INFO
from diag.watching.events import Found
from diag.watching.monitor import Monitor
from diag.watching.prefix import up_to
from diag.watching.stopping import DEFAULT, StopRule

FIRST = 40
"""Logged steps at the beginning each of which is looked at."""


class Labelled(NamedTuple):
    """A run and what it was judged to be in the end."""

    name: str
    run: Run
    verdict: str
    accepted: tuple[str, ...]


class Replayed(NamedTuple):
    """What a watch would have told of a run: findings at warning or above with the share of the run, and when it would have stopped."""

    told: list[tuple[float, str, str]]
    verdicts: list[tuple[float, str]]
    stopped: float | None


def labelled(folder: Path) -> Iterator[Labelled]:
    """The runs of a folder with their verdicts."""
    labels = folder / "labels.jsonl"
    if not labels.is_file():
        for run in load(folder):
            verdict = judge(run)[0].diagnosis.verdict
            yield Labelled(run.id, run, verdict, (verdict,))
        return
    for line in labels.read_text(encoding="utf-8").splitlines():
        label = json.loads(line)
        path = folder / label["path"] if "path" in label else folder / "runs" / label["run"]
        try:
            runs = load(path)
        except DiagError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        accepted = tuple(label["accepted"])
        verdict = label.get("verdict", HEALTHY if label.get("class") == "healthy" else next(iter(accepted), None))
        if verdict is not None and label.get("class") in (None, "healthy", "sick", "overfit"):
            run = max(runs, key=lambda one: sum(map(len, one.curves.values())))
            yield Labelled(label.get("id") or label["run"], run, verdict, accepted)


def synthetic(count: int) -> Iterator[Labelled]:
    """Healthy runs of every length, a half of them with heavy-tailed noise, none of whose whole logs is alarmed at."""
    for number in range(count):
        points, heavy = LENGTHS[number % len(LENGTHS)], number % 2 == 1
        run = healthy(np.random.default_rng([number, points]), points, heavy)
        if judge(run)[0].diagnosis.verdict == HEALTHY:
            yield Labelled(f"synthetic-{number}", run, HEALTHY, (HEALTHY,))


def looks(run: Run, wanted: int) -> list[int]:
    """The steps at which the run is looked at; the last one is left to the end."""
    steps = np.unique(np.concatenate([curve.step for curve in run.curves.values()] or [np.zeros(0, dtype=np.int64)]))
    later = steps[FIRST:]
    chosen = later[np.unique(np.linspace(0, later.size - 1, min(wanted, later.size)).astype(int))] if later.size else later
    return [*steps[:FIRST].tolist(), *chosen.tolist()][:-1]


def replay(run: Run, wanted: int) -> Replayed:
    """Look at a run as it grew."""
    monitor, rule = Monitor(), StopRule.parse(DEFAULT)
    result = Replayed([], [], None)
    for step in looks(run, wanted):
        share = step / max(run.steps, 1)
        for event in monitor.see(up_to(run, step)):
            if isinstance(event, Found) and event.finding.severity != INFO:
                result.told.append((share, event.finding.code, event.finding.severity))
        report = monitor.report
        assert report is not None
        result.verdicts.append((share, report.diagnosis.verdict))
        if result.stopped is None and rule.reason(report.diagnosis.verdict, report.findings):
            result = result._replace(stopped=share)
    return result


def first_sick(one: Labelled, result: Replayed) -> float | None:
    """The share of the run at which it first had a verdict that is right and not that of a healthy run."""
    right = set(one.accepted) - {HEALTHY, INCONCLUSIVE}
    return next((share for share, verdict in result.verdicts if verdict in right), None)


def shares(values: list[float]) -> str:
    """Quartiles of shares of a run."""
    if not values:
        return "none"
    if len(values) < 4:
        return ", ".join(f"{100 * value:.0f}%" for value in sorted(values))
    low, middle, high = statistics.quantiles(values, n=4)
    return f"at {100 * middle:.0f}% of the run in the median (quartiles {100 * low:.0f} and {100 * high:.0f}%)"


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--synthetic", type=int, default=0, metavar="N", help="add N synthetic healthy runs")
    parser.add_argument("--looks", type=int, default=150, help="looks after the first 40 logged steps (default 150)")
    parser.add_argument("--verbose", action="store_true", help="name every run that was alarmed at or stopped")
    arguments = parser.parse_args()
    runs = [one for folder in arguments.folders for one in labelled(folder) if one.run.curves] + list(synthetic(arguments.synthetic))
    replayed = [(one, replay(one.run, arguments.looks)) for one in runs]
    count = sum(len(result.verdicts) for _, result in replayed)
    well = [(one, result) for one, result in replayed if one.verdict == HEALTHY]
    print(f"{len(replayed)} runs, {count} looks; {len(well)} are healthy in the end. Of these")
    alarmed = [(one, result) for one, result in well if result.told]
    codes = collections.Counter(code for _, result in alarmed for code in {code for _, code, _ in result.told})
    ended = sum(any(finding.severity != INFO for finding in judge(one.run)[0].findings) for one, _ in well)
    print(f"  {ended} have a finding at warning or above in their whole log")
    print(f"  {len(alarmed)} ever had one while they went on {dict(codes) or ''}")
    print(f"  {sum(any(severity == ERROR for _, _, severity in result.told) for _, result in well)} ever had one at error")
    sick_verdict = sum(any(verdict not in (HEALTHY, INCONCLUSIVE) for _, verdict in result.verdicts) for _, result in well)
    print(f"  {sick_verdict} ever had a sick verdict")
    print(f"  {sum(result.stopped is not None for _, result in well)} would have been stopped")
    for verdict in ("DIVERGED", "UNSTABLE", "OVERFIT", "PLATEAU", "UNDERFIT"):
        group = [(one, result) for one, result in replayed if one.verdict == verdict]
        if not group:
            continue
        first = [result.told[0][0] for _, result in group if result.told]
        right = [early for one, result in group if (early := first_sick(one, result)) is not None]
        stopped = [result.stopped for _, result in group if result.stopped is not None]
        print(f"{verdict}: {len(group)} runs")
        print(f"  {len(first)} told of before the end, {shares(first)}")
        print(f"  {len(right)} with a right verdict before the end, {shares(right)}")
        print(f"  {len(stopped)} stopped, {shares(stopped)}")
    if arguments.verbose:
        for one, result in replayed:
            if result.told or result.stopped is not None:
                told = ", ".join(f"{code} {severity} at {100 * share:.0f}%" for share, code, severity in result.told)
                print(
                    f"{one.verdict:12} {one.name}: {told}" + ("" if result.stopped is None else f"; stopped at {100 * result.stopped:.0f}%")
                )


if __name__ == "__main__":
    main()
