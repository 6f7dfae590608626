"""From the names that frameworks log to the canonical metric names.

The table is data (``metrics.tsv``); what no table can hold (free word order, a lone unusual loss) is decided by the
words of the name. See ``canonical_names``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

TABLE: Final = Path(__file__).with_name("metrics.tsv")

_SEPARATORS: Final = re.compile(r"[\s_\-/.:]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_EVAL_WORDS: Final = frozenset({"eval", "evaluation", "val", "valid", "validation", "dev", "heldout"})
_TEST_WORDS: Final = frozenset({"test", "testing"})
_TRAIN_WORDS: Final = frozenset({"train", "training", "tr"})
_AGGREGATES: Final = frozenset(
    {
        "loss",
        "losses",
        "total",
        "avg",
        "average",
        "mean",
        "epoch",
        "step",
        "batch",
        "iter",
        "iteration",
        "running",
        "smoothed",
        "smooth",
        "global",
        "log",
        "metrics",
        "metric",
        "all",
        "overall",
        "set",
        "per",
        "lm",
        "ce",
        "xent",
        "nll",
        "mse",
        "bce",
    }
)
"""Words that say how a loss was averaged or which plain criterion it is, not which part of it."""
_ADVERSARIES: Final = frozenset(
    {
        "g",
        "d",
        "gen",
        "disc",
        "generator",
        "discriminator",
        "policy",
        "value",
        "entropy",
        "actor",
        "critic",
        "pg",
        "q",
        "qf",
        "qf1",
        "qf2",
        "alpha",
        "aux",
        "vf",
        "adv",
        "real",
        "fake",
    }
)
"""Parts that pull against each other (GAN, reinforcement learning): their sum measures nothing."""
_NO_LOSS: Final = frozenset({"scale", "scaler", "lr", "reward", "rewards", "time", "weight", "coef", "ratio"})
"""Words that make a name with "loss" in it something else (``loss_scale``, ``loss_weight``)."""
_LR_WORDS: Final = frozenset(
    {
        "lr",
        "learning",
        "rate",
        "learningrate",
        "train",
        "training",
        "optimizer",
        "optim",
        "current",
        "epoch",
        "step",
        "charts",
        "scheduler",
        "param",
        "group",
        "pg",
        "0",
        "group0",
        "pg0",
        "lr0",
    }
)

_TABLE_UNRANKED: Final = 50
"""Rank of a name that only its words explain: behind every name of the table."""
_LONE_LOSS: Final = 80
"""Rank of a lone loss with an unknown word in it: behind everything."""


class _Pattern(NamedTuple):
    before: str
    after: str
    canonical: str
    rank: int

    def middle(self, name: str, key: str) -> str:
        """What the ``*`` stands for, in the spelling of ``name``; "" where the pattern does not match."""
        if len(key) <= len(self.before) + len(self.after) or not (key.startswith(self.before) and key.endswith(self.after)):
            return ""
        text = name if len(name) == len(key) else key
        return text[len(self.before) : len(text) - len(self.after)].strip(" _-/.:")


def normalized(name: str) -> str:
    """``Train_Loss``, ``train-loss`` and ``train / loss`` are one name: ``train/loss``."""
    return _SEPARATORS.sub("/", name.strip().lower()).strip("/")


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, tuple[str, int]], list[_Pattern]]:
    exact: dict[str, tuple[str, int]] = {}
    patterns: list[_Pattern] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        native, canonical, rank, _ = line.split("\t")
        if "*" in native:
            before, _, after = _SEPARATORS.sub("/", native.lower()).partition("*")
            patterns.append(_Pattern(before, after, canonical, int(rank)))
        else:
            exact[normalized(native)] = canonical, int(rank)
    return exact, patterns


def canonical_names(natives: Iterable[str]) -> list[tuple[str, str]]:
    """``(native, canonical)`` for every name, in the order given.

    A name that has no canonical one, or lost it to a better one in the same log, stands for itself. Left out are
    the twins that count samples on the x axis (Megatron-LM's ``… vs samples``) and Lightning's ``hp_metric``
    placeholder. Where a log holds the run summary of the Hugging Face Trainer (``train_runtime``), its ``train_loss``
    is the average of the run and not a curve, and keeps its native name. A loss of an evaluation set whose name
    also occurs on the training side (``val/box_loss`` with ``train/box_loss``) is a component, not an evaluation set.
    """
    names = [name for name in natives if not _dropped(name)]
    keys = {name: normalized(name) for name in names}
    present = frozenset(keys.values())
    claims: dict[str, tuple[int, str, str]] = {}
    for name in names:
        found = _lookup(name, keys[name], present)
        if found is None:
            continue
        canonical, rank = found
        claim = (rank, name, canonical)
        if canonical not in claims or claim < claims[canonical]:
            claims[canonical] = claim
    _claim_lone_losses(names, keys, present, claims)
    winners = {name: canonical for _, name, canonical in claims.values()}
    taken = set(claims)
    result = []
    for name in names:
        canonical = winners.get(name, name)
        if name not in winners and name in taken:  # a native name that happens to be another metric's canonical one
            canonical = f"{name} (native)"
        result.append((name, canonical))
    return result


def _dropped(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(" vs samples") or lowered == "hp_metric"


def _lookup(name: str, key: str, present: frozenset[str]) -> tuple[str, int] | None:
    if _is_run_summary(key, present):
        return None
    exact, patterns = _table()
    if (found := exact.get(key)) is not None:
        return found
    for pattern in patterns:
        if text := pattern.middle(name, key):
            if pattern.canonical == "eval/*/loss":
                if _is_component(text, present):
                    continue
                if "dataloader/idx" in key:
                    text = f"dataloader_idx_{text}"
            return pattern.canonical.replace("*", text), pattern.rank
    return _by_words(name)


def _is_run_summary(key: str, present: frozenset[str]) -> bool:
    return (key == "train/loss" and "train/runtime" in present and "loss" in present) or (
        key == "train/train/loss" and "train/train/runtime" in present
    )


def _is_component(text: str, present: frozenset[str]) -> bool:
    part = normalized(text)
    return not present.isdisjoint({f"train/{part}/loss", f"{part}/loss", f"train/loss/{part}", f"loss/{part}", f"training/{part}/loss"})


def _words(name: str) -> list[str]:
    return [word for word in normalized(_CAMEL.sub("_", name)).split("/") if word]


def _by_words(name: str) -> tuple[str, int] | None:
    words = set(_words(name))
    if not words:
        return None
    if ("lr" in words or {"learning", "rate"} <= words) and words <= _LR_WORDS:
        return "lr", _TABLE_UNRANKED
    if words & {"loss", "losses"}:
        side = words & (_EVAL_WORDS | _TEST_WORDS | _TRAIN_WORDS)
        if words - side <= _AGGREGATES:
            return _side_of(side)
    return None


def _side_of(side: set[str]) -> tuple[str, int]:
    if side & _EVAL_WORDS:
        return "eval/loss", _TABLE_UNRANKED
    if side & _TEST_WORDS:
        return "eval/loss", _TABLE_UNRANKED + 5
    return "train/loss", _TABLE_UNRANKED


def _claim_lone_losses(
    names: Sequence[str], keys: dict[str, str], present: frozenset[str], claims: dict[str, tuple[int, str, str]]
) -> None:
    """Where a side has no plain loss but exactly one loss of any name, that one is it.

    On the evaluation side not when it is one of several parts on the train side.
    """
    losses = [name for name in names if _is_some_loss(name) and not _is_run_summary(keys[name], present)]
    taken = {name for _, name, _ in claims.values()}
    free = [(name, set(_words(name))) for name in losses if name not in taken]
    train = [name for name, words in free if words & _TRAIN_WORDS or not words & (_EVAL_WORDS | _TEST_WORDS)]
    if "train/loss" not in claims and len(train) == 1:
        claims["train/loss"] = (_LONE_LOSS, train[0], "train/loss")
    evaluated = any(name.startswith("eval/") and name.endswith("/loss") for name in claims)
    held_out = [name for name, words in free if words & (_EVAL_WORDS | _TEST_WORDS)]
    if not evaluated and "eval/loss" not in claims and len(held_out) == 1:
        part = "/".join(word for word in _words(held_out[0]) if word not in _EVAL_WORDS | _TEST_WORDS | {"loss", "losses"})
        twin = claims.get("train/loss", (0, "", ""))[1]
        if not _is_component(part, present) or part in normalized(twin):
            claims["eval/loss"] = (_LONE_LOSS, held_out[0], "eval/loss")


def _is_some_loss(name: str) -> bool:
    words = set(_words(name))
    return bool(words & {"loss", "losses"}) and not words & (_NO_LOSS | _ADVERSARIES)


def component_losses(metrics: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Which metrics add up to a missing ``train/loss`` or ``eval/loss``: two or more parts logged as ``<side>/<part>_loss``.

    The parts of the evaluation side must be the same as those of the train side. Parts that work against each
    other, as in a GAN or in reinforcement learning, are never summed.
    """
    names = sorted(metrics)
    sides: dict[str, dict[str, str]] = {"train": {}, "eval": {}}
    for name in names:
        words = _words(name)
        if len(words) < 3 or "loss" not in words:
            continue
        side = "train" if words[0] in _TRAIN_WORDS else "eval" if words[0] in _EVAL_WORDS else ""
        part = "/".join(word for word in words[1:] if word != "loss")
        if side and part:
            sides[side].setdefault(part, name)
    found = {}
    train, held_out = sides["train"], sides["eval"]
    adversarial = any(set(part.split("/")) & _ADVERSARIES for part in (*train, *held_out))
    if len(train) > 1 and not adversarial:
        if "train/loss" not in names:
            found["train/loss"] = tuple(train[part] for part in sorted(train))
        if "eval/loss" not in names and set(held_out) == set(train):
            found["eval/loss"] = tuple(held_out[part] for part in sorted(held_out))
    return found
