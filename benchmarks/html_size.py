"""How large the HTML report is, and how long it takes, beside matplotlib drawing the same curves and json writing the same points.

    python benchmarks/html_size.py [points]

A run that logged four curves at every one of 100,000 steps, a spike and some NaN among them; then a recorded one, and the same a thousand
times. Budgets: a megabyte for the long run, 200 kB for the recorded one, 30 kB for each of a thousand; and no more time than matplotlib
needs for one PNG, or json for writing all points.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from _timing import one_core, report, timed

POINTS = 100_000
REPEATS = 3
BUDGETS = {"points": 1_000_000, "recorded": 200_000, "each of a thousand": 30_000}
FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "hf-overfit"


def long_run(points: int):
    """A run of so many steps with four curves."""
    from diag.analysis import judge
    from diag.run import Column, Run, make_curve

    random = np.random.default_rng(3)
    step = np.arange(1, points + 1)
    loss = (1 + 2 * np.exp(-8 * step / points)) * np.exp(0.05 * random.standard_normal(points))
    loss[points // 3] = 40.0
    norm = np.exp(0.3 * random.standard_normal(points))
    norm[points // 2 : points // 2 + 50] = np.nan
    rate = 1e-5 * (1 + np.cos(np.pi * step / points))
    logged = {"train/loss": loss, "eval/loss": loss * 1.02, "lr": rate, "grad_norm": norm}
    curves = {name: make_curve(Column(step, value))[0] for name, value in logged.items()}
    return judge(Run("long", "long/metrics.csv", "csv", curves))[0]


def said(name: str, size: int, budget: int) -> bool:
    """Print a size; whether it is within its budget."""
    print(f"{name}: {size / 1000:,.0f} kB; wanted at most {budget / 1000:,.0f} kB: {'yes' if size <= budget else 'NO'}", flush=True)
    return size <= budget


def main() -> int:
    """Measure and print."""
    one_core()
    import diag
    from diag.report import Layout
    from diag.report.html import render
    from diag.report.matplotlib_images import image
    from diag.report.plot import draw
    from diag.result import Report

    points = int(sys.argv[1]) if len(sys.argv) > 1 else POINTS
    entry = long_run(points)
    page = render(Report((entry,)), Layout())
    recorded = diag.analyze(FIXTURE)
    many = Report(tuple(replace(recorded.runs[0], run=replace(recorded.runs[0].run, id=f"run {number}")) for number in range(1000)))
    raw = {name: [curve.step.tolist(), curve.value.tolist()] for name, curve in entry.run.curves.items()}
    print(f"the points as JSON: {len(json.dumps(raw)) / 1000:,.0f} kB", flush=True)
    met = [
        said(f"a run of {points:,} points", len(page.encode()), BUDGETS["points"]),
        said("a recorded run", len(render(recorded, Layout()).encode()), BUDGETS["recorded"]),
        said("each of a thousand such runs", len(render(many, Layout()).encode()) // 1000, BUDGETS["each of a thousand"]),
    ]
    ours = timed(lambda: render(Report((entry,)), Layout()), REPEATS)
    drawing = timed(lambda: image(draw([entry]), "png"), REPEATS)
    writing = timed(lambda: json.dumps(raw), REPEATS)
    met.append(report(f"page of {points:,} points", ours, "matplotlib's PNG of them", drawing, 1.0, faster=False))
    met.append(report(f"page of {points:,} points", ours, "json.dumps of them", writing, 1.0, faster=False))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
