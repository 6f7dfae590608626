"""How near the learning-rate finders come to the best learning rate, on small tasks whose best rate is known by training.

    python benchmarks/lr_find.py [--tasks 36] [--seed 7] [--repeats 3] [--threads 1]

Thirty-six tasks of four families (a random tanh teacher, a Gaussian mixture, a bigram language, and low-rank adapters on a network that
was trained on another teacher), their width, depth, batch size, weight decay and clipping varied. The truth is a sweep of full short
trainings (AdamW, 400 steps, cosine to zero) over half-decades, two seeds each, with a parabola through the logarithm of the held-out
loss around its best. Each finder then sees 100 steps, with nine seeds of weights and data order.

Printed for each rule: the share of tasks within a factor of three of the truth, the mean absolute error and the bias in decades, the
standard deviation over repeats, the 90th percentile of the loss above the best that its rate costs (read off the truth's sweep), and how
often it refused. A refusal counts as not within. The guide's own finder is reimplemented from its description and runs its own sweep; all
other rules see the same sweeps, as they would be shown by `diag lr-find`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diag.replay import Probe
from diag.replay.range_rules import OVER, WINDOW, Sweep, answer, course, library_answers, suggest
from diag.replay.range_test import HIGHEST, LOWEST, ORDERS, STEPS, sweep

TEACHER, MIXTURE, BIGRAM, ADAPTER = FAMILIES = ("teacher", "mixture", "bigram", "adapter")
TRAIN_STEPS = 400
GRID = 10.0 ** np.arange(-4.5, 0.51, 0.5)
TRUTH_SEEDS = (101, 102)
HELD_OUT = 2000
TOKENS = 32


@dataclass(frozen=True)
class Task:
    """One small training without its learning rate and seed."""

    family: str
    number: int
    width: int
    depth: int
    batch: int
    weight_decay: float
    max_grad_norm: float

    @property
    def samples(self) -> int:
        """Of the training data: each is seen once, so that the truth is about optimization and not about overfitting."""
        return self.batch * TRAIN_STEPS

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """In canonical names."""
        return {
            "optimizer": "adamw",
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "micro_batch_size": self.batch,
        }

    def __str__(self) -> str:
        return f"{self.family} {self.number}: width {self.width}, depth {self.depth}, batch {self.batch}"


def tasks(count: int, seed: int = 7) -> list[Task]:
    """The first ``count`` tasks of a seed, the families in turn."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        width, depth, batch = (int(rng.choice(values)) for values in ((32, 64, 128), (1, 2, 3), (8, 16, 32, 64, 128)))
        decay, clip = float(rng.choice((0.0, 0.01, 0.1))), float(rng.choice((0.0, 1.0)))
        made.append(Task(FAMILIES[number % len(FAMILIES)], 1000 * seed + number, width, depth, batch, decay, clip))
    return made


Data = tuple[Tensor, Tensor]


@cache
def data(task: Task, shift: bool = False) -> tuple[Data, Data]:
    """Training and held-out data of a task; with ``shift`` those that the adapters' network was trained on before."""
    draw = torch.Generator().manual_seed(1000 + task.number)
    total = task.samples + HELD_OUT

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    if task.family == MIXTURE:
        centres = normal(10, 40) * 0.45
        y = torch.randint(0, 10, (total,), generator=draw)
        x = centres[y] + normal(total, 40)
    elif task.family == BIGRAM:
        table = (2 * normal(TOKENS, TOKENS)).softmax(1)
        x = torch.randint(0, TOKENS, (total,), generator=draw)
        y = torch.multinomial(table[x], 1, generator=draw).squeeze(1)
    else:
        first, second = normal(20, 24) * 0.35, normal(24, 8 if task.family == ADAPTER else 1)
        if task.family == ADAPTER and not shift:
            second = second + 0.7 * normal(24, 8)
        x = normal(total, 20)
        scores = torch.tanh(x @ first) @ second
        scores = scores + 0.3 * normal(*scores.shape)
        y = scores.argmax(1) if task.family == ADAPTER else scores
    return (x[HELD_OUT:], y[HELD_OUT:]), (x[:HELD_OUT], y[:HELD_OUT])


class Adapter(nn.Module):
    """A frozen linear layer and a trained product of rank four beside it."""

    def __init__(self, base: nn.Linear, rank: int = 4, alpha: float = 8.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(base.in_features, rank) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(rank, base.out_features))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """The layer with its adapter."""
        return self.base(x) + self.scale * (x @ self.down @ self.up)


def network(task: Task) -> nn.Sequential:
    """Layers of a width and depth, made from torch's global random stream."""
    inputs, outputs = {TEACHER: (20, 1), MIXTURE: (40, 10), BIGRAM: (task.width, TOKENS), ADAPTER: (20, 8)}[task.family]
    layers: list[nn.Module] = [nn.Embedding(TOKENS, task.width)] if task.family == BIGRAM else []
    for depth in range(task.depth):
        layers += [nn.Linear(inputs if depth == 0 else task.width, task.width), nn.Tanh() if task.family == TEACHER else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(task.width, outputs))


def loss_of(model: nn.Module, batch: Data) -> Tensor:
    """Squared error for numbers, cross-entropy for classes."""
    x, y = batch
    return functional.mse_loss(model(x), y) if y.is_floating_point() else functional.cross_entropy(model(x), y)


def batches(task: Task, seed: int, source: Data) -> Iterator[Data]:
    """Shuffled batches without end."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(task.samples, generator=draw).split(task.batch):
            yield source[0][chosen], source[1][chosen]


@cache
def trained_before(task: Task) -> dict[str, Tensor]:
    """The weights that the adapters sit on."""
    torch.manual_seed(task.number)
    model = network(task)
    train(model, task, 3e-3, seed=task.number, source=data(task, shift=True)[0])
    return model.state_dict()


def make_model(task: Task) -> nn.Module:
    """A fresh model from torch's global random stream."""
    model = network(task)
    if task.family != ADAPTER:
        return model
    with torch.random.fork_rng():
        before = trained_before(task)
    model.load_state_dict(before)
    return nn.Sequential(*(Adapter(layer) if isinstance(layer, nn.Linear) else layer for layer in model))


def train(model: nn.Module, task: Task, rate: float, seed: int, source: Data) -> None:
    """A full short training with a cosine schedule."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=task.weight_decay)
    stream = batches(task, seed, source)
    for step in range(TRAIN_STEPS):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / TRAIN_STEPS)) / 2
        optimizer.zero_grad()
        loss = loss_of(model, next(stream))
        loss.backward()
        if not math.isfinite(loss.item()):
            return
        if task.max_grad_norm:
            nn.utils.clip_grad_norm_(weights, task.max_grad_norm)
        optimizer.step()


def truth(task: Task) -> tuple[float, np.ndarray[Any, Any]]:
    """The best learning rate, and the logarithm of the held-out loss at each rate of GRID."""
    train_data, held_out = data(task)
    logs = np.zeros(GRID.size)
    for at, rate in enumerate(GRID):
        for seed in TRUTH_SEEDS:
            torch.manual_seed(seed)
            model = make_model(task)
            train(model, task, float(rate), seed, train_data)
            with torch.no_grad():
                loss = float(loss_of(model, held_out))
            logs[at] += math.log(loss if math.isfinite(loss) else 1e6) / len(TRUTH_SEEDS)
    best = int(logs.argmin())
    if best in (0, GRID.size - 1):
        raise ValueError(f"{task}: the best rate is at the edge of the sweep")
    left, middle, right = logs[best - 1 : best + 2]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float(10 ** (math.log10(GRID[best]) + 0.5 * shift)), logs


def probe_of(task: Task) -> Callable[[Mapping[str, Any], int], Probe]:
    """The task as a probe."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        torch.manual_seed(seed)
        stream = batches(task, seed, data(task)[0])
        return Probe(make_model(task), lambda: stream, loss_of)

    return probe


def guides_finder(task: Task, seed: int) -> float:
    """The guide's own finder, from its description: AdamW over all parameters with its default weight decay, no clipping, 1e-6 to 1e-2, an
    exponential average (0.05) that starts at the first loss, stopped at four times its best, the steepest place of it, over ten."""
    low, high, smoothing = 1e-6, 1e-2, 0.05
    torch.manual_seed(seed)
    model = make_model(task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=low)
    stream = batches(task, seed, data(task)[0])
    rates: list[float] = []
    smooth: list[float] = []
    for step in range(STEPS):
        rate = low * (high / low) ** (step / STEPS)
        optimizer.param_groups[0]["lr"] = rate
        loss = loss_of(model, next(stream))
        value = loss.item() if not smooth else smoothing * loss.item() + (1 - smoothing) * smooth[-1]
        best = min(smooth, default=math.inf)
        rates.append(rate)
        smooth.append(value)
        if value > 4 * best:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rates[int(np.argmin(np.gradient(np.array(smooth), np.log(rates))))] / 10


Said = dict[str, list[list[float | None]]]
"""Rule to its answers, a list for each repeat with one for each order; None where it refused."""

OURS = "diag lr-find"


def bottom(entry: Sweep) -> tuple[float, float]:
    """A tenth of the rate at the lowest centred mean, and of the rate where the loss is 20% of its drop above that."""
    _, mean, start = course(entry)
    half = WINDOW // 2
    lowest = half + int(np.argmin(mean[half : mean.size - half]))
    risen = lowest + np.flatnonzero(mean[lowest:] >= mean[lowest] + 0.2 * (start - mean[lowest]))
    return float(entry.rates[lowest]) / 10, float(entry.rates[risen[0] if risen.size else -1]) / 10


def find(task: Task, repeats: int) -> tuple[Said, list[float | None]]:
    """What every rule says in every repeat and order, and what the three orders of each repeat say together."""
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    said: Said = {}
    together: list[float | None] = []
    for repeat in range(repeats):
        seeds = [10 * repeat + order for order in range(ORDERS)]
        sweeps: list[Sweep] = [sweep(probe_of(task), task.hyperparameters, rates, seed=seed) for seed in seeds]
        answers = [answer(entry) for entry in sweeps]
        libraries = [library_answers(entry) for entry in sweeps]
        turns = [bottom(entry) for entry in sweeps]
        rules: dict[str, list[float | None]] = {
            f"back at the start / {OVER:g}": [entry.divergence for entry in answers],
            f"trailing minimum / {OVER:g}": [entry.minimum for entry in answers],
            "the two together": [entry.value for entry in answers],
            "20% above the minimum / 10": [turn[1] if entry.value else None for entry, turn in zip(answers, turns, strict=True)],
            "centred minimum / 10": [turn[0] if entry.value else None for entry, turn in zip(answers, turns, strict=True)],
        }
        rules |= {name: [entry.get(name) for entry in libraries] for name in libraries[0]}
        rules["the guide's own finder"] = [guides_finder(task, seed) for seed in seeds]
        for name, values in rules.items():
            said.setdefault(name, []).append(values)
        together.append(suggest(answers).value)
    return said, together


def regret(rate: float, logs: np.ndarray[Any, Any]) -> float:
    """The loss at a rate above the best of the sweep, relative."""
    return math.expm1(float(np.interp(math.log10(rate), np.log10(GRID), logs)) - float(logs.min()))


@dataclass
class Score:
    """What came of one rule over all tasks."""

    errors: list[float]
    costs: list[float]
    spreads: list[float]
    refused: int = 0

    def add(self, values: list[float | None], best: float, logs: np.ndarray[Any, Any]) -> None:
        """Count the answers to one task."""
        given = [value for value in values if value is not None]
        self.refused += len(values) - len(given)
        self.errors += [math.log10(value / best) for value in given]
        self.costs += [regret(value, logs) for value in given]
        if len(given) > 1:
            self.spreads.append(float(np.log10(given).std(ddof=1)))

    def row(self, name: str) -> str:
        """One line of the table."""
        errors = np.array(self.errors)
        total = errors.size + self.refused
        within = float((np.abs(errors) <= math.log10(3)).sum()) / total
        return (
            f"| {name} | {within:.0%} | {np.abs(errors).mean():.2f} | {errors.mean():+.2f} | {np.mean(self.spreads):.2f} | "
            f"{np.quantile(self.costs, 0.9):.0%} | {self.refused / total:.0%} |"
        )


HEADER = "| rule | within 3x | error | bias | spread | cost, p90 | refused |\n|---|---|---|---|---|---|---|"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=36)
    parser.add_argument("--seed", type=int, default=7, help="of the tasks; the rules were chosen on those of 5 and 6 (default 7)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    alone: dict[str, Score] = {}
    joined: dict[str, Score] = {}
    for task in tasks(options.tasks, options.seed):
        best, logs = truth(task)
        said, together = find(task, options.repeats)
        if options.verbose:
            ratios = {name: [None if v is None else round(math.log10(v / best), 2) for v in row[0]] for name, row in said.items()}
            print(f"{task}: best {best:.2g}, {np.round(logs, 2).tolist()}, {ratios}", flush=True)
        for name, repeats in said.items():
            alone.setdefault(name, Score([], [], [])).add([value for values in repeats for value in values], best, logs)
            medians = [float(np.exp(np.median(np.log(given)))) if (given := [v for v in row if v is not None]) else None for row in repeats]
            joined.setdefault(name, Score([], [], [])).add(medians, best, logs)
        joined.setdefault(OURS, Score([], [], [])).add(together, best, logs)
    print(f"{options.tasks} tasks, {options.repeats} repeats of {ORDERS} orders\n\nOne order at a time:\n\n{HEADER}")
    for name, score in alone.items():
        print(score.row(name))
    print(f"\nThe median of {ORDERS} orders:\n\n{HEADER}")
    for name in (OURS, *(name for name in joined if name != OURS)):
        print(joined[name].row(name))


if __name__ == "__main__":
    main()
