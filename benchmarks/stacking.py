"""How much sooner arms and seeds are trained as one stack than one after the other, and how far apart the two are.

    python benchmarks/stacking.py [--repeats 5] [--threads 1] [--only NAME ...]

Each row trains the same jobs both ways in turn, from the building of the probes to the last evaluation, as ``diag replay`` does it: the
steps that are done both ways to check the stack, and those that tell whether it pays, are part of its time. The ratio is one after the
other over stacked, the median of the repeats with the least and the most; of wall-clock time, and of processor time, which other processes
disturb less. The differences are the largest relative ones of all training losses, gradient norms and held-out losses logged, and of the
gradients of the first step, against the largest of their tensor.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diag.replay import Probe
from diag.replay.guard import STALLED, Watchdog
from diag.replay.probe import ProbeFunction, load, settle, write_template
from diag.replay.probing import ProbeTrainer
from diag.replay.stacked import Member, Stack
from diag.replay.trainer import Job, Trained
from diag.replay.training import Loop, seed_everything

STEPS, PLAN = 96, 384
Function = Callable[[Mapping[str, Any], int], Probe]


class Adapted(nn.Module):
    """A frozen linear layer with a LoRA adapter; the scale is a buffer, so that arms with other scales can be stacked."""

    scale: Tensor

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.register_buffer("scale", torch.tensor(alpha / rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * functional.linear(functional.linear(x, self.down), self.up)


class Block(nn.Module):
    """A pre-norm transformer block of width 64 with four heads, adapters on its four linear layers."""

    def __init__(self, width: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.heads = 4
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)]).requires_grad_(False)
        sizes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        self.layers = nn.ModuleList([Adapted(nn.Linear(*size), rank, alpha) for size in sizes])

    def forward(self, x: Tensor) -> Tensor:
        into, out, up, down = self.layers
        q, k, v = into(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + out((scores @ v).transpose(1, 2).flatten(2))
        return x + down(functional.gelu(up(self.norms[1](x))))


@cache
def text(tokens: int, vocabulary: int) -> Tensor:
    """Sequences of a random bigram."""
    draw = torch.Generator().manual_seed(0)
    table = (2 * torch.randn(vocabulary, vocabulary, generator=draw)).softmax(1)
    columns = [torch.randint(0, vocabulary, (520,), generator=draw)]
    for _ in range(tokens):
        columns.append(torch.multinomial(table[columns[-1]], 1, generator=draw).squeeze(1))
    return torch.stack(columns, 1)


def lora(width: int = 64, tokens: int = 16, depth: int = 2, vocabulary: int = 64) -> Function:
    """A frozen transformer with adapters, on sequences of a bigram."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        data = text(tokens, vocabulary)
        rank, alpha = int(hyperparameters["lora_rank"]), float(hyperparameters["lora_alpha"])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            embedding = nn.Embedding(vocabulary, width).requires_grad_(False)
            head = nn.Linear(width, vocabulary).requires_grad_(False)
            blocks = [Block(width, rank, alpha) for _ in range(depth)]
        for block in blocks:
            for layer in block.layers:
                nn.init.normal_(layer.down, std=1 / math.sqrt(width))
        order = torch.Generator().manual_seed(seed)

        def loss(model: nn.Module, batch: Tensor) -> Tensor:
            return functional.cross_entropy(model(data[batch, :-1]).flatten(0, -2), data[batch, 1:].flatten())

        return Probe(
            nn.Sequential(embedding, *blocks, head),
            lambda: torch.randperm(512, generator=order).split(hyperparameters["micro_batch_size"]),
            loss,
            lambda: [torch.arange(512, 520)],
        )

    return probe


def network(width: int) -> Function:
    """Two hidden layers on random points: large ones are not worth stacking on a CPU."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        data = torch.Generator().manual_seed(0)
        x = torch.randn(1024, width, generator=data)
        y = x[:, :1].sin()
        order = torch.Generator().manual_seed(seed)
        layers = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)

        def loss(model: nn.Module, batch: Tensor) -> Tensor:
            return functional.mse_loss(model(x[batch]), y[batch])

        size = hyperparameters["micro_batch_size"]
        return Probe(nn.Sequential(*layers), lambda: torch.randperm(1024, generator=order).split(size), loss)

    return probe


@dataclass(frozen=True)
class Case:
    """What is trained both ways."""

    name: str
    function: ProbeFunction
    jobs: Sequence[Job]


def jobs(arms: int, seeds: int, ranks: Sequence[int] = (), **others: Any) -> list[Job]:
    """Arms that differ as prescriptions do: in rate, decay, clip norm, warmup and rank."""
    made = []
    for arm in range(arms):
        values: dict[str, Any] = {
            "optimizer": "adamw",
            "learning_rate": 1e-3 * 1.2**arm,
            "weight_decay": 0.01 * (arm % 3),
            "max_grad_norm": (1.0, 0.3, None)[arm % 3],
            "lr_scheduler": ("cosine", "linear")[arm % 2],
            "warmup_steps": 4 * (arm % 4),
            "max_steps": PLAN,
            "micro_batch_size": 32,
            **others,
        }
        if ranks:
            values |= {"lora_rank": ranks[arm % len(ranks)], "lora_alpha": 16}
        made += [Job(f"arm-{arm}", seed, settle(values), STEPS, PLAN) for seed in range(seeds)]
    return made


def cases(folder: Path) -> list[Case]:
    """The template of ``diag replay --init``, adapters on a shared base, and what gains little."""
    write_template(folder / "template.py")
    template = load(str(folder / "template.py"))

    def made(name: str, function: Function) -> ProbeFunction:
        return ProbeFunction(name, function, name)

    return [
        Case("template, 16 arms", template, jobs(16, 1)),
        Case("template, 2 arms of 3 seeds", template, jobs(2, 3)),
        Case("template, 2 arms of 1 seed", template, jobs(2, 1)),
        Case("template, 5 arms of 3 seeds, dropout", template, jobs(5, 3, dropout=0.1)),
        Case("LoRA, 8 arms, rank 8", made("lora", lora()), jobs(8, 1, (8,), micro_batch_size=1)),
        Case("LoRA, 8 arms, ranks 2 to 16", made("lora", lora()), jobs(8, 1, (2, 4, 8, 16), micro_batch_size=1)),
        Case("LoRA, 8 arms, rank 8, batch 8", made("lora", lora()), jobs(8, 1, (8,), micro_batch_size=8)),
        Case("LoRA, 3 arms of 3 seeds, rank 8", made("lora", lora()), jobs(3, 3, (8,), micro_batch_size=1)),
        Case("two layers of 512, 8 arms", made("network", network(512)), jobs(8, 1)),
    ]


def trained(case: Case, stack: bool | None) -> tuple[dict[tuple[str, int], Trained], tuple[float, float], list[str]]:
    """What comes of the jobs, the wall-clock and processor time of it, and what is said about it."""
    trainer = ProbeTrainer(case.function, "cpu", stack=stack)
    trainer.check(case.jobs[0])  # asked once a replay, whichever way
    wall, processor = time.perf_counter(), time.process_time()
    found = {(job.arm, job.seed): done for job, done in trainer.train(case.jobs, stop=None, deadline=math.inf, begin=lambda begun: None)}
    return found, (time.perf_counter() - wall, time.process_time() - processor), trainer.remarks()


def difference(one: Mapping[Any, Trained], other: Mapping[Any, Trained]) -> dict[str, float]:
    """The largest relative difference of each metric."""
    worst: dict[str, float] = {}
    for key, done in one.items():
        for metric in ("train/loss", "grad_norm", "eval/loss"):
            for a, b in zip(done.values(metric), other[key].values(metric), strict=True):
                worst[metric] = max(worst.get(metric, 0.0), abs(a - b) / max(abs(a), abs(b), 1e-30))
    return worst


def gradient_difference(case: Case) -> float:
    """The largest difference of a gradient of the first step, relative to the largest of its tensor."""
    members = []
    with Watchdog(STALLED) as watchdog:
        chosen = [job for job in case.jobs if job.seed == 0][:8]  # of one seed, as dropout has it
        for job in chosen:
            seed_everything(job.seed)
            probe = case.function(job.hyperparameters, job.seed)
            members.append(Member.of(job, Loop(probe, dict(job.hyperparameters), job.seed, job.steps, job.total_steps, "cpu", watchdog)))
        leader = max(members, key=lambda member: member.size)
        stack = Stack(members, leader, set(), same=True)
        _, rows = stack.gradients(0)
        shapes = [leaf.shape[1:] for leaf in stack.leaves.values()]
        worst = 0.0
        for member, row in zip(members, rows, strict=True):
            member.loop.clip = math.inf
            member.loop.step(0, member.batches)
            for weight, part, shape in zip(member.loop.weights, row.split([math.prod(shape) for shape in shapes]), shapes, strict=True):
                assert weight.grad is not None
                ours = part.view(shape)[tuple(slice(size) for size in weight.shape)]
                worst = max(worst, float((ours - weight.grad).abs().max() / weight.grad.abs().max().clamp(min=1e-30)))
    return worst


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch; models of up to 100,000 parameters get one in any case")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of the rows to measure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{STEPS} steps of {PLAN}, torch {torch.__version__}, threads: {options.threads}, repeats: {options.repeats}\n")
    print("| probe | wall clock | processor | stacked | loss | gradient norm | held out | gradients |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            if options.only and not any(part in case.name for part in options.only):
                continue
            ratios: list[tuple[float, ...]] = []
            worst: dict[str, float] = {}
            stacked: list[str] = []
            trained(case, None)  # to warm up
            for _ in range(options.repeats):
                alone, seconds, _ = trained(case, False)
                together, less, said = trained(case, None)
                ratios.append(tuple(a / b for a, b in zip(seconds, less, strict=True)))
                found = difference(alone, together)
                worst = {metric: max(value, worst.get(metric, 0.0)) for metric, value in found.items()}
                stacked.append(said[0].split()[0] if said and "stacked" in said[0] else "0")
            shown = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in zip(*ratios, strict=True)]
            losses = [f"{worst[metric]:.0e}" if metric in worst else "" for metric in ("train/loss", "grad_norm", "eval/loss")]
            of = f"{'/'.join(dict.fromkeys(stacked))} of {len(case.jobs)}"
            print(f"| {' | '.join([case.name, *shown, of, *losses, f'{gradient_difference(case):.0e}'])} |", flush=True)


if __name__ == "__main__":
    main()
