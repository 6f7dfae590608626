"""How often the battery alarms on synthetic healthy runs: seeded power-law curves with Gaussian or heavy-tailed noise.

    python benchmarks/false_alarms.py [--runs 400] [--verbose]

Prints, for each noise model and number of logged points, the share of runs with a finding at warning or above and with a
verdict other than HEALTHY or INCONCLUSIVE, with Clopper-Pearson 95% intervals. The curves are synthetic: the figures say how the
statistics hold their level, not how often real runs are misjudged.
"""

from __future__ import annotations

import argparse
import collections

import numpy as np

from diag import battery, diagnosis
from diag.run import Column, Hyperparameter, Run, make_curve

SIGMAS = (0.015, 0.03, 0.065, 0.15, 0.32)
"""Noise of the training loss, log units: the deciles 10, 25, 50, 75, 90 of real runs."""
EVAL_SHARE = 0.15
"""Noise of an evaluation relative to that of a training point (evaluations average over many batches)."""
CONVERGED = 0.02
"""Largest gain from as much training again that a healthy run leaves on the table."""
LENGTHS = (12, 60, 200, 900)


def gain(floor: float, height: float, speed: float) -> float:
    """What as much training again would take off the loss at the end, relative."""
    now, later = (floor + height / (1 + speed * x) for x in (1.0, 2.0))
    return 1 - later / now


def healthy(rng: np.random.Generator, points: int, heavy: bool) -> Run:
    """One healthy run: a power law to a floor, noise, an annealed or constant learning rate."""
    interval = int(rng.choice([1, 5, 10, 25]))
    total = points * interval
    step = np.arange(1, points + 1) * interval
    sigma = float(rng.choice(SIGMAS))
    floor, height = float(rng.uniform(0.3, 3.0)), float(rng.uniform(0.5, 4.0))
    speed = float(rng.uniform(20, 80))
    while gain(floor, height, speed) > CONVERGED:  # a run that would still gain is not healthy
        speed *= 1.5

    def trend(x: np.ndarray) -> np.ndarray:
        return floor + height * (1 + speed * x / total) ** -1.0

    def noise(n: int, scale: float) -> np.ndarray:
        draw = rng.standard_t(4, n) / np.sqrt(2) if heavy else rng.standard_normal(n)
        return np.exp(scale * draw)

    columns = {"train/loss": Column(step, trend(step) * noise(points, sigma))}
    evals = int(rng.choice([0, 5, 10, 14, 25, 50]))
    if evals and points >= 60:
        at = np.unique(np.linspace(total / evals, total, evals).astype(int))
        columns["eval/loss"] = Column(at, 1.08 * trend(at) * noise(at.size, min(0.02, EVAL_SHARE * sigma)))
    schedule = str(rng.choice(["cosine", "linear", "constant"]))
    shape = {"cosine": 0.5 * (1 + np.cos(np.pi * step / total)), "linear": 1 - step / total, "constant": np.ones(points)}[schedule]
    peak = float(10 ** rng.uniform(-4, -2.3))
    columns["lr"] = Column(step, peak * np.maximum(shape, 0))
    if rng.random() < 0.8:
        columns["grad_norm"] = Column(step, float(rng.uniform(0.3, 4)) * noise(points, 0.25))
    curves = {name: make_curve(column)[0] for name, column in columns.items()}
    known = {
        "learning_rate": peak,
        "lr_scheduler": schedule,
        "optimizer": "adamw_torch",
        "max_grad_norm": 1.0,
        "weight_decay": 0.01,
        "num_epochs": 3.0,
    }
    return Run(
        id="synthetic",
        path="synthetic",
        adapter="none",
        curves=curves,
        hyperparameters={name: Hyperparameter(value, "user") for name, value in known.items()},
        planned_steps=total,
    )


def interval(k: int, n: int) -> str:
    """``k/n (share%, low-high%)`` with the exact binomial interval."""
    from scipy.stats import beta

    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return f"{k}/{n} ({100 * k / n:.1f}%, {100 * low:.1f}-{100 * high:.1f}%)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="runs a cell (default 400)")
    parser.add_argument("--verbose", action="store_true", help="count the codes that alarm")
    arguments = parser.parse_args()
    codes: collections.Counter[str] = collections.Counter()
    print(f"{'noise':10} {'points':>6}  {'finding at warning or above':34} sick verdict")
    for heavy in (False, True):
        for points in LENGTHS:
            rng = np.random.default_rng([points, heavy])
            flagged = sick = 0
            for _ in range(arguments.runs):
                run = healthy(rng, points, heavy)
                examined = battery.examine(run)
                alarms = [finding.code for finding in examined.findings if finding.severity != "info"]
                codes.update(alarms)
                flagged += bool(alarms)
                sick += diagnosis.diagnose(run, examined.findings).verdict not in ("HEALTHY", "INCONCLUSIVE")
            print(f"{'t4' if heavy else 'Gaussian':10} {points:6}  {interval(flagged, arguments.runs):34} {interval(sick, arguments.runs)}")
    if arguments.verbose:
        print(dict(codes.most_common()))


if __name__ == "__main__":
    main()
