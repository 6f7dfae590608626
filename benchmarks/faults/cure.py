"""Train every sick run of a built fault benchmark again with the first prescription applied.

    python benchmarks/faults/cure.py DIR [--jobs 2]

The first prescription is every fix of rank 1 that is `safe` or `unsafe` (advice to read changes nothing). The run is trained again
with its own seed and compared, by loss on the large held-out set, with the sick run, with the reference cure (the injected cause
removed), and with a random override of the same size: as many parameters, drawn from all that can be turned, each up or down by
a factor drawn from those that the prescriptions themselves use. Cured: at least half of the gap between sick and reference cure is closed.
Writes ``DIR/cure.jsonl``; trainings are kept, so that the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from build import RECOVERS, gain, recovered
from logs import learning_rate, shown
from score import SICK, Label, read, share
from settings import fraction
from tasks import LANGUAGE_STEPS, LM, LORA, MAX_STEPS, Config, Store, changed, write

import diag
from diag.fixes import Fix
from diag.vocabulary import HEALTHY

CANONICAL = {
    "learning_rate": "learning_rate",
    "num_epochs": "epochs",
    "global_batch_size": "batch",
    "micro_batch_size": "batch",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "dropout": "dropout",
    "lora_dropout": "dropout",
    "warmup_ratio": "warmup_ratio",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
}
"""Canonical hyperparameters that are a number of the config, and its name there."""
OTHERS = {"schedule", "precision", "all_targets", "static_loss_scale"}
"""Fields that a canonical hyperparameter sets and that are no number; a static loss scale ends with fp16."""
CHECKPOINT = {"load_best_model_at_end", "early_stopping_patience", "early_stopping_threshold"}
BOOKKEEPING = {"save_steps", "min_lr", "logging_steps"}
"""What has no effect on these trainings."""
FOLLOWED: dict[str, dict[str, Any]] = {
    "lr_decay_steps": {"decays_by": 1.0, "cycles": 0.0},
    "requires_grad": {"frozen": False},
    "data": {"garbage": 0.0},
    "resume": {"resumes_at": 0.0},
    "initialization": {"init_gain": 1.0},
    "activation": {"activation": "relu", "init_gain": 1.0},
    "kl_coefficient": {"kl": 0.01, "stale": 1},
}
"""Advice on code or data, by its parameter, and what somebody who follows it repairs. Where that was not broken nothing changes."""
IMPROVED = 0.02
"""Least relative fall of the held-out loss that counts as better, and least rise that counts as worse."""
LARGEST = 10.0
"""Largest factor of a random override (a prescription that revives a learning rate of nearly zero takes a much larger one)."""
LONGEST = 3.0
"""Most epochs of a random override, relative to the sick run's: no prescription trains longer."""
UNSET = {"weight_decay": 0.01, "max_grad_norm": 1.0, "dropout": 0.1, "warmup_ratio": 0.1}
"""What a random override sets a parameter to that was off: a factor has no effect on zero."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """A prescription as it was applied.

    Attributes:
        config: the config with it.
        best: whether the best checkpoint counts instead of the last.
        followed: the same, with the advice on code and data followed as well.
        turned: fields of the config that changed, old and new.
        ignored: parameters that this benchmark cannot turn.
        advice: how many fixes were only advice.
    """

    config: Config
    followed: Config
    best: bool
    turned: dict[str, tuple[Any, Any]]
    ignored: list[str]
    advice: int


def apply(config: Config, fixes: Sequence[Fix]) -> Treatment:
    """The config with the first prescription."""
    values: dict[str, Any] = {}
    by_hand: dict[str, Any] = {}
    best, ignored, advice = False, [], 0
    for fix in (fix for fix in fixes if fix.rank == 1):
        if fix.applicability == "display":
            advice += 1
            by_hand |= FOLLOWED.get(fix.parameter, {})
            if fix.parameter == "hidden_width":
                by_hand["width"] = int(fix.new)
        elif fix.parameter in CANONICAL:
            field = CANONICAL[fix.parameter]
            old = getattr(config, field)
            new = fix.new if fix.new is not None else old * (fix.factor or 1.0)
            if field == "learning_rate" and fix.new is not None:
                new = old * fix.new / learning_rate(config) if learning_rate(config) else fix.new / shown(config)
            values[field] = type(old)(new)
        elif fix.parameter in CHECKPOINT:
            best = True
        elif fix.parameter == "max_steps":
            values["epochs"] = (fix.new or config.steps * (fix.factor or 1.0)) / config.steps_per_epoch
        elif fix.parameter == "warmup_steps":
            values["warmup_ratio"] = fix.new / config.steps if fix.new is not None and fix.new >= 1 else (fix.new or 0.1)
        elif fix.parameter == "lr_scheduler":
            name = str(fix.new)
            values["schedule"] = "constant" if name.startswith("constant") else "linear" if name == "linear" else "cosine"
        elif fix.parameter == "lr_decay_steps":
            values["decays_by"] = float(fix.new or config.steps) / config.steps
        elif fix.parameter == "precision":
            values |= {"precision": str(fix.new), "static_loss_scale": 0.0}
        elif fix.parameter == "lora_target_modules":
            values["all_targets"] = True
        elif fix.parameter not in BOOKKEEPING:
            ignored.append(fix.parameter)
    new = fitted(changed(config, **values))
    turned = {field: (getattr(config, field), getattr(new, field)) for field in values if getattr(config, field) != getattr(new, field)}
    return Treatment(new, changed(new, **by_hand), best, turned, ignored, advice)


def fitted(config: Config) -> Config:
    """The config with possible values, no longer than the longest training (of a language model: than four of its longest bases)."""
    longest = 4 * LANGUAGE_STEPS if config.family in (LM, LORA) else MAX_STEPS
    config = changed(config, batch=max(1, min(config.batch, config.samples)), dropout=min(config.dropout, 0.9))
    return changed(config, epochs=min(config.epochs, longest / config.steps_per_epoch))


def is_parametric(label: Label) -> bool:
    """Whether a canonical hyperparameter is what was broken, rather than code, data or the model."""
    sick, cured = label["config"], label["cured_config"]
    return {name for name in sick if sick[name] != cured[name]} <= {*CANONICAL.values(), *OTHERS, "log_every"}


def treat(folder: str, label: Label) -> dict[str, Any]:
    """Prescribe for one run, train it again, and measure."""
    torch.set_num_threads(1)
    store, config, seed = Store(Path(folder)), Config(**label["config"]), label["seed"]
    report = diag.analyze(Path(folder) / "runs" / label["run"]).runs[0]
    treatment = apply(config, report.fixes)
    sick, cured = store.held_out(config, seed), store.held_out(Config(**label["cured_config"]), seed)
    treated = store.held_out(treatment.config, seed, best=treatment.best)
    followed = store.held_out(treatment.followed, seed, best=treatment.best)
    return {
        "run": label["run"],
        "setting": label["setting"],
        "split": label["split"],
        "fault": label["fault"],
        "cause": label["causes"][0],
        "parametric": is_parametric(label),
        "verdict": report.diagnosis.verdict,
        "said": [cause.cause for cause in report.diagnosis.causes][:2],
        "turned": treatment.turned,
        "best": treatment.best,
        "ignored": treatment.ignored,
        "advice": treatment.advice,
        "sick": sick,
        "cured": cured,
        "treated": treated,
        "recovered": round(recovered(sick, treated, cured), 4),
        "followed": round(recovered(sick, followed, cured), 4),
        "gain": round(max(gain(sick, treated), -1.0), 4) if math.isfinite(sick) or math.isfinite(treated) else 0.0,
    }


def factors(results: Iterable[dict[str, Any]]) -> list[float]:
    """By how much the prescriptions turn parameters, as factors above 1."""
    found = []
    for result in results:
        for old, new in result["turned"].values():
            if isinstance(old, (int, float)) and isinstance(new, (int, float)) and old > 0 and new > 0:
                found.append(min(max(old / new, new / old), LARGEST))
    return found or [2.0]


def random_override(config: Config, count: int, pool: Sequence[float], name: str) -> Config:
    """As many random parameters, each turned up or down by a factor from the pool."""
    rng = fraction("random", name)
    fields = ["learning_rate", "epochs", "batch", "weight_decay", "max_grad_norm", "dropout", "warmup_ratio"]
    if config.family == LORA:
        fields += ["rank"]
    values: dict[str, Any] = {}
    for field in rng.choice(fields, min(count, len(fields)), replace=False).tolist():
        old, factor = getattr(config, field), float(pool[int(rng.integers(len(pool)))])
        new = old * factor if rng.random() < 0.5 else old / factor
        values[field] = UNSET[field] if old == 0 else type(old)(max(round(new), 1) if isinstance(old, int) else new)
    values["epochs"] = min(values.get("epochs", config.epochs), LONGEST * config.epochs)
    values["warmup_ratio"] = min(values.get("warmup_ratio", config.warmup_ratio), 0.5)
    return fitted(changed(config, **values))


def control(folder: str, label: Label, result: dict[str, Any], pool: Sequence[float]) -> float:
    """What share of the gap the random override closes; 0 where the prescription turned nothing."""
    torch.set_num_threads(1)
    count = len(result["turned"]) + result["best"]
    if not count:
        return 0.0
    config = random_override(Config(**label["config"]), count, pool, label["run"])
    return round(recovered(result["sick"], Store(Path(folder)).held_out(config, label["seed"]), result["cured"]), 4)


def is_cured(result: dict[str, Any]) -> bool:
    return bool(result["recovered"] >= RECOVERS)


def table(results: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Rates of a split, then fault by fault."""
    for title, some in (
        ("all", results),
        ("a hyperparameter was wrong", [r for r in results if r["parametric"]]),
        ("code, data or model were wrong", [r for r in results if not r["parametric"]]),
        ("the prescription turned something", [r for r in results if r["turned"] or r["best"]]),
    ):
        better, worse = sum(r["gain"] > IMPROVED for r in some), sum(r["gain"] < -IMPROVED for r in some)
        yield f"{title}"
        yield f"  first prescription cures  {share(sum(map(is_cured, some)), len(some))}; better {better}, worse {worse}"
        yield f"  with its advice followed  {share(sum(r['followed'] >= RECOVERS for r in some), len(some))}"
        yield f"  random override cures     {share(sum(r['random'] >= RECOVERS for r in some), len(some))}"
    faults: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for result in results:
        faults[result["fault"]].append(result)
    yield ""
    yield f"{'fault':18} {'cured':>7} {'advice':>7} {'random':>7}  prescriptions that did not cure"
    for fault in sorted(faults):
        some = faults[fault]
        failed = collections.Counter(describe(result) for result in some if not is_cured(result))
        text = "; ".join(f"{count} {words}" for words, count in failed.most_common(4))
        counts = (sum(map(is_cured, some)), sum(r["followed"] >= RECOVERS for r in some), sum(r["random"] >= RECOVERS for r in some))
        yield f"{fault:18} {counts[0]:3}/{len(some):3} {counts[1]:7} {counts[2]:7}  {text}"


def describe(result: dict[str, Any]) -> str:
    """What a prescription did, in a few words."""
    words = []
    for field, (old, new) in result["turned"].items():
        if isinstance(old, (int, float)) and isinstance(new, (int, float)) and old > 0 and not isinstance(old, bool):
            words.append(f"{field} x{new / old:.2g}")
        else:
            words.append(f"{field} {old} to {new}")
    words += ["best checkpoint"] * result["best"] + result["ignored"]
    return " + ".join(words) or ("advice only" if result["advice"] else f"nothing ({result['verdict']})")


def healthy_treated(folder: Path, labels: Iterable[Label]) -> Iterable[str]:
    """Healthy runs that are given a first prescription that changes the training."""
    healthy = [label for label in labels if label["class"] == "healthy"]
    reports = [diag.analyze(folder / "runs" / label["run"]).runs[0] for label in healthy]
    touched = [r for r in reports if any(f.rank == 1 and f.applicability == "unsafe" for f in r.fixes)]
    yield f"healthy runs given a change of the training: {share(len(touched), len(healthy))}"
    yield f"healthy runs with a verdict other than {HEALTHY}: {sum(r.diagnosis.verdict != HEALTHY for r in reports)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what build.py wrote")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--split", choices=["train", "held-out", "all"], default="all", help="which settings (default all)")
    arguments = parser.parse_args()
    labels = [label for label in read(arguments.folder) if arguments.split in ("all", label["split"])]
    sick, folder = [label for label in labels if label["class"] in SICK], str(arguments.folder)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(treat, [folder] * len(sick), sick))
        turns = factors(results)
        controls = pool.map(control, [folder] * len(sick), sick, results, [turns] * len(sick))
        results = [result | {"random": closed} for result, closed in zip(results, controls, strict=True)]
    write(arguments.folder / "cure.jsonl", "".join(json.dumps(result) + "\n" for result in results))
    for split in sorted({label["split"] for label in labels}, reverse=True):
        print(f"== {split}", *table([result for result in results if result["split"] == split]), "", sep="\n")
    print(*healthy_treated(arguments.folder, labels), sep="\n")


if __name__ == "__main__":
    main()
