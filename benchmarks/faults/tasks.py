"""Real trainings of a second or so: seven families of tasks, one training loop, and ways to break it.

Everything is made up from seeds; nothing is downloaded. A `Config` is one training without its seed, `train` runs it and gives
back what a logger would have seen and, beside it, the loss on a large held-out set that no log shows.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LM, LORA, CLASSIFY, REGRESS, RECURRENT, DEEP, POLICY = FAMILIES = ("lm", "lora", "classify", "regress", "recurrent", "deep", "policy")
HELD_OUT = 4000
"""Samples of the held-out set (sequences of the language families: an eighth); its draw never changes within a task."""
MAX_STEPS = 5000
LANGUAGE_STEPS = 400
"""A base language model is not made longer than this: its steps take ten times as long as those of the others."""
CONTEXT = 32
"""Characters of one language sample."""
ALPHABET = 28
HALF_MAX = 65504.0
"""Largest finite number of IEEE half precision."""


@dataclass(frozen=True)
class Config:
    """One training without its seed: the task, canonical hyperparameters, what is logged, and what is broken (last block)."""

    family: str
    data_seed: int
    samples: int
    label_noise: float = 0.0
    width: int = 32
    depth: int = 2
    activation: str = "relu"
    dropout: float = 0.0
    rank: int = 8
    alpha: float = 16.0
    all_targets: bool = True

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_ratio: float = 0.0
    batch: int = 32
    epochs: float = 4.0
    max_grad_norm: float = 0.0
    precision: str = "fp32"
    kl: float = 0.0

    log_every: int = 1
    evals: int = 10
    eval_samples: int = 500
    log_mean: bool = True
    log_gradients: bool = True

    init_gain: float = 1.0
    frozen: bool = False
    garbage: float = 0.0
    garbage_from: float = 0.3
    leak: bool = False
    decays_by: float = 1.0
    cycles: float = 0.0
    resumes_at: float = 0.0
    static_loss_scale: float = 0.0
    stale: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.samples // self.batch)

    @property
    def steps(self) -> int:
        return max(2, round(self.steps_per_epoch * self.epochs))

    def key(self, seed: int) -> str:
        """16 hex digits that name this training."""
        text = json.dumps([dataclasses.asdict(self), seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Training:
    """What one training gave.

    Attributes:
        rows: what was logged, in order: ``step`` and canonical metrics.
        held_out: the loss on the large held-out set after the last step; infinite if it is not a number.
        best_held_out: the same at the logged evaluation that was best.
    """

    rows: list[dict[str, float]]
    held_out: float
    best_held_out: float


# Tasks: data and models.


class Task:
    """Data of one task: a batch to train on, an evaluation set, the large held-out set, and the loss."""

    def __init__(self, config: Config) -> None:
        rng = np.random.default_rng([FAMILIES.index(config.family), config.data_seed])
        draw = DATA[config.family](config, rng)
        small = config.family in (LM, LORA)
        self.held_out = draw(HELD_OUT // 8 if small else HELD_OUT)
        self.evaluation = draw(max(config.eval_samples // 8, 16) if small else config.eval_samples)
        self.train = draw(config.samples)
        if config.leak:
            self.evaluation = tuple(part[: config.eval_samples // 8 if small else config.eval_samples] for part in self.train)


def teacher(config: Config, rng: np.random.Generator) -> Callable[[int], tuple[Tensor, ...]]:
    """Points labelled by a random network: ten classes, or one number for regression."""
    inputs, regression = 24, config.family == REGRESS
    hidden, out = rng.standard_normal((inputs, 48)) * 0.35, rng.standard_normal((48, 1 if regression else 10)) / 2

    def draw(n: int) -> tuple[Tensor, ...]:
        x = rng.standard_normal((n, inputs))
        y = np.tanh(x @ hidden) @ out
        if regression:
            y += rng.standard_normal((n, 1)) * (0.3 + 3 * config.label_noise)
            return torch.tensor(x).float(), torch.tensor(y).float()
        label = (y + rng.gumbel(size=y.shape) * 0.3).argmax(1)
        wrong = rng.random(n) < config.label_noise
        label[wrong] = rng.integers(0, 10, int(wrong.sum()))
        return torch.tensor(x).float(), torch.tensor(label)

    return draw


def sequences(config: Config, rng: np.random.Generator) -> Callable[[int], tuple[Tensor, ...]]:
    """Vectors in time whose slowly fading sum decides the class."""
    length, inputs = 16, 6
    mix = rng.standard_normal((inputs, 5))

    def draw(n: int) -> tuple[Tensor, ...]:
        x = rng.standard_normal((n, length, inputs))
        faded = (x * 0.9 ** np.arange(length)[None, ::-1, None]).sum(1)
        score = faded @ mix
        label = (score + rng.gumbel(size=score.shape)).argmax(1)
        wrong = rng.random(n) < config.label_noise
        label[wrong] = rng.integers(0, 5, int(wrong.sum()))
        return torch.tensor(x).float(), torch.tensor(label)

    return draw


WORDS, FOLLOWERS = 40, 4


def language(shift: int, surprise: float) -> Callable[[int, np.random.Generator], Tensor]:
    """Text of made-up words, each followed by one of a few; a shift respells some of the words and gives a third of them new followers.

    Args:
        shift: the domain, 0 for the one that models are first trained on.
        surprise: share of words drawn from all words instead.
    """
    first = np.random.default_rng(7)
    words = [first.integers(1, ALPHABET, first.integers(2, 6)) for _ in range(WORDS)]
    follows = first.integers(0, WORDS, (WORDS, FOLLOWERS))
    if shift:
        rng = np.random.default_rng([11, shift])
        for at in rng.choice(WORDS, WORDS // 8, replace=False):
            words[at] = rng.integers(1, ALPHABET, rng.integers(2, 6))
        for at in rng.choice(WORDS, WORDS // 3, replace=False):
            follows[at] = rng.integers(0, WORDS, FOLLOWERS)

    def draw(n: int, rng: np.random.Generator) -> Tensor:
        letters: list[int] = []
        word = 0
        while len(letters) < n * CONTEXT:
            word = int(rng.integers(len(words))) if rng.random() < surprise else int(follows[word, rng.integers(FOLLOWERS)])
            letters += [*words[word].tolist(), 0]
        return torch.tensor(letters[: n * CONTEXT]).view(n, CONTEXT)

    return draw


def text(config: Config, rng: np.random.Generator) -> Callable[[int], tuple[Tensor, ...]]:
    draw = language(1 + config.data_seed, config.label_noise)

    def samples(n: int) -> tuple[Tensor, ...]:
        letters = draw(n, rng)
        return letters, letters

    return samples


ARMS = 8


def bandit(config: Config, rng: np.random.Generator) -> Callable[[int], tuple[Tensor, ...]]:
    """Contexts and the chance of a reward of every arm."""
    inputs = 12
    mix = rng.standard_normal((inputs, ARMS)) * 0.8

    def draw(n: int) -> tuple[Tensor, ...]:
        x = rng.standard_normal((n, inputs))
        chance = 1 / (1 + np.exp(-(x @ mix - 1)))
        return torch.tensor(x).float(), torch.tensor(0.1 + 0.8 * chance).float()

    return draw


DATA: dict[str, Callable[[Config, np.random.Generator], Callable[[int], tuple[Tensor, ...]]]] = {
    LM: text,
    LORA: text,
    CLASSIFY: teacher,
    REGRESS: teacher,
    DEEP: teacher,
    RECURRENT: sequences,
    POLICY: bandit,
}


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(n, length, width)))
        return x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    """A byte-level language model of two layers."""

    def __init__(self, dropout: float, width: int = 32) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(ALPHABET, width), nn.Parameter(torch.randn(CONTEXT, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, dropout) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, ALPHABET)

    def forward(self, letters: Tensor) -> Tensor:
        x = self.embed(letters) + self.place[: letters.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Adapter(nn.Module):
    """A frozen linear layer with a low-rank addition."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.scale, self.dropout = alpha / rank, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(functional.linear(self.dropout(x), self.down), self.up)
        result: Tensor = self.linear(x) + self.scale * low
        return result


class Recurrent(nn.Module):
    """A plain tanh recurrent network with a linear read-out of its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net, self.head = nn.RNN(6, width, batch_first=True), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.net(x)[0][:, -1])
        return logits


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
PRETRAINING_STEPS = 1500


def pretrained(cache: Path) -> dict[str, Tensor]:
    """Weights of the language model trained on the first domain, from ``cache`` where they were made before."""
    path = cache / "pretrained.npz"
    if not path.exists():
        torch.manual_seed(0)
        net, rng, draw = Transformer(0.0), np.random.default_rng(0), language(0, 0.05)
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
        for step in range(PRETRAINING_STEPS):
            optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 50, 2 * (1 - step / PRETRAINING_STEPS))
            loss = loss_of(LM, net, (batch := draw(16, rng), batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            np.savez(file, **{name: weight.numpy() for name, weight in net.state_dict().items()})
        Path(file.name).replace(path)
    with np.load(path, allow_pickle=False) as saved:
        return {name: torch.from_numpy(saved[name]) for name in saved.files}


def network(config: Config, cache: Path) -> nn.Module:
    """The model of a config, initialized from the current seed (language models: from the first training)."""
    if config.family in (LM, LORA):
        net = Transformer(config.dropout if config.family == LM else 0.0)
        net.load_state_dict(pretrained(cache))
        if config.family == LORA:
            net.requires_grad_(False)
            for block in net.blocks:
                for name in ("qkv", "out", "up", "down") if config.all_targets else ("qkv",):
                    setattr(block, name, Adapter(getattr(block, name), config.rank, config.alpha, config.dropout))
        return net
    if config.family == RECURRENT:
        recurrent = Recurrent(config.width)
        nn.init.orthogonal_(recurrent.net.weight_hh_l0, config.init_gain)
        return recurrent
    inputs, out = {POLICY: (12, ARMS), REGRESS: (24, 1)}.get(config.family, (24, 10))
    layers: list[nn.Module] = []
    for _ in range(config.depth):
        linear = nn.Linear(inputs, config.width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        with torch.no_grad():
            linear.weight *= config.init_gain
        layers += [linear, ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
        inputs = config.width
    return nn.Sequential(*layers, nn.Linear(inputs, out))


def loss_of(family: str, net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    if family in (LM, LORA):
        return functional.cross_entropy(net(x)[:, :-1].reshape(-1, ALPHABET), y[:, 1:].reshape(-1))
    if family == REGRESS:
        return functional.mse_loss(net(x), y)
    if family == POLICY:
        return 1 - (net(x).softmax(1) * y).sum(1).mean()
    return functional.cross_entropy(net(x), y)


# The training loop.


def rate(config: Config, step: int) -> float:
    """The learning rate of a step (from 0), as a share of its peak."""
    total = config.steps
    warmup = round(config.warmup_ratio * total)
    if config.resumes_at and step >= config.resumes_at * total:  # the scheduler starts again
        step -= round(config.resumes_at * total)
    if step < warmup:
        return (step + 1) / warmup
    done = min((step - warmup) / max(1, total * config.decays_by - warmup), 1.0)
    if config.cycles:
        return 0.5 * (1 + math.cos(math.pi * config.cycles * done))
    return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[config.schedule]


def optimizer_of(config: Config, net: nn.Module) -> torch.optim.Optimizer:
    weights = [p for p in net.parameters() if p.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)


class Scaler:
    """What precision does to gradients: 16 bits round them, and half precision overflows, with a loss scale that may not adapt."""

    def __init__(self, config: Config) -> None:
        self.precision, self.static = config.precision, config.static_loss_scale
        self.scale = self.static or 1024.0

    def step(self, weights: list[nn.Parameter]) -> bool:
        """Round the gradients; whether the optimizer should step."""
        if self.precision == "fp32":
            return True
        finite = True
        for weight in weights:
            if weight.grad is None:
                continue
            if self.precision == "bf16":
                weight.grad = weight.grad.bfloat16().float()
                continue
            scaled = (weight.grad * self.scale).half().float()
            finite = finite and bool(torch.isfinite(scaled).all())
            weight.grad = scaled / self.scale
        if not finite and not self.static:
            self.scale /= 2
            return False
        return True


def spoiled(config: Config, batch: tuple[Tensor, ...], rng: np.random.Generator) -> tuple[Tensor, ...]:
    """A batch that was corrupted on its way: noise with labels that do not belong to it."""
    x, y = batch
    if config.family in (LM, LORA):
        noise = torch.tensor(rng.integers(0, ALPHABET, tuple(x.shape)))
        return noise, noise
    if config.family == REGRESS:
        return x, torch.tensor(10 * rng.standard_normal(tuple(y.shape))).float()
    return 5 * x, y[torch.tensor(rng.permutation(len(y)))]


def is_garbage(config: Config, step: int) -> bool:
    """Whether a step falls into one of the four blocks of corrupt batches."""
    place = step / config.steps
    if not config.garbage or place < config.garbage_from:
        return False
    return ((place - config.garbage_from) / (1 - config.garbage_from) * 4 + 0.05) % 1.0 > 1 - config.garbage


def samples(config: Config, seed: int) -> Iterator[np.ndarray]:
    """Indexes of the batches, epoch after epoch."""
    rng = np.random.default_rng([seed, 5])
    size = min(config.batch, config.samples)
    while True:
        order = rng.permutation(config.samples)
        for at in range(config.steps_per_epoch):
            yield order[at * size : (at + 1) * size]


def policy_loss(config: Config, net: nn.Module, reference: nn.Module, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, float]:
    """The loss of REINFORCE with a batch baseline and a penalty on the distance from the first policy, and that distance."""
    x, arm, reward, _ = batch
    logs = net(x).log_softmax(1)
    with torch.no_grad():
        first = reference(x).log_softmax(1)
    advantage = reward - reward.mean()
    chosen = logs.gather(1, arm[:, None])[:, 0]
    distance = (logs.exp() * (logs - first)).sum(1).mean()
    return -(advantage * chosen).mean() + config.kl * distance, float(distance.detach())


def train(config: Config, seed: int, cache: Path) -> Training:
    """Run one training; the same config and seed give the same numbers.

    Args:
        config: the training.
        seed: initialization, order of the samples, dropout.
        cache: folder that keeps the weights language models start from.

    Raises:
        ValueError: it is longer than MAX_STEPS.
    """
    total = config.steps
    if total > MAX_STEPS:
        raise ValueError(f"{total} steps are more than {MAX_STEPS}")
    torch.manual_seed(seed)
    task, net = Task(config), network(config, cache)
    if config.frozen:
        net.requires_grad_(False)
        next(reversed(list(net.parameters()))).requires_grad_(True)
    reference = copy.deepcopy(net)
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer, scaler = optimizer_of(config, net), Scaler(config)
    rng, batches = np.random.default_rng([seed, 6]), samples(config, seed)
    at_evals = {round(total * (k + 1) / config.evals) for k in range(config.evals)}
    rows: list[dict[str, float]] = []
    recent: list[float] = []
    rewards: list[float] = []
    best, best_state, saved, norm, distance = math.inf, None, None, 0.0, 0.0
    old: tuple[Tensor, ...] | None = None

    def measure(data: tuple[Tensor, ...]) -> float:
        net.eval()
        with torch.no_grad():
            value = float(loss_of(config.family, net, data))
        net.train()
        return value

    for step in range(total):
        if config.resumes_at:
            if step == round((config.resumes_at - 0.1) * total):
                saved = copy.deepcopy(net.state_dict())
            elif step == round(config.resumes_at * total) and saved is not None:
                net.load_state_dict(saved)
                optimizer = optimizer_of(config, net)
        now = config.learning_rate * rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = now
        index = next(batches)
        batch: tuple[Tensor, ...] = tuple(part[index] for part in task.train)
        if is_garbage(config, step):
            batch = spoiled(config, batch, rng)
        if config.family == POLICY:
            if old is None or step % config.stale == 0:
                with torch.no_grad():
                    arm = torch.multinomial(net(batch[0]).softmax(1).nan_to_num(1 / ARMS), 1)[:, 0]
                chance = batch[1].gather(1, arm[:, None])[:, 0]
                reward = torch.tensor(rng.random(len(arm)) < chance.numpy()).float()
                old = (batch[0], arm, reward, chance)
                rewards.append(float(reward.mean()))
            loss, distance = policy_loss(config, net, reference, old)
        else:
            loss = loss_of(config.family, net, batch)
        optimizer.zero_grad()
        loss.backward()
        go = scaler.step(weights)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm or math.inf))
        if go:
            optimizer.step()
        recent.append(float(loss.detach()))
        if (step + 1) % config.log_every == 0:
            row = {"step": step + 1, "train/loss": float(np.mean(recent)) if config.log_mean else recent[-1], "lr": now}
            if config.log_gradients:
                row["grad_norm"] = norm
            if config.family == POLICY:
                row |= {"reward": float(np.mean(rewards or [0.0])), "kl": distance}
                rewards = []
            rows.append(row)
            recent = []
        if step + 1 in at_evals:
            value = measure(task.evaluation)
            name = "eval/reward" if config.family == POLICY else "eval/loss"
            rows.append({"step": step + 1, name: 1 - value if config.family == POLICY else value})
            if value < best:
                best, best_state = value, copy.deepcopy(net.state_dict())
    final = finite(measure(task.held_out))
    best_final = final
    if best_state is not None:
        net.load_state_dict(best_state)
        best_final = finite(measure(task.held_out))
    return Training(rows, final, best_final)


def finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


class Store:
    """Trainings by their config and seed, each a file, so that work that was interrupted goes on where it stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trainings = folder / "trainings"
        self.trainings.mkdir(parents=True, exist_ok=True)

    def get(self, config: Config, seed: int) -> Training:
        path = self.trainings / f"{config.key(seed)}.json"
        if path.exists():
            return Training(**json.loads(path.read_text()))
        done = train(config, seed, self.folder)
        write(path, json.dumps(dataclasses.asdict(done)))
        return done

    def held_out(self, config: Config, seed: int, *, best: bool = False) -> float:
        """The final loss on the held-out set, or that of the best evaluation; infinite for a training that is too long."""
        if config.steps > MAX_STEPS:
            return math.inf
        done = self.get(config, seed)
        return done.best_held_out if best else done.held_out


def write(path: Path, content: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def changed(config: Config, **values: Any) -> Config:
    """The config with other values."""
    return dataclasses.replace(config, **values)
