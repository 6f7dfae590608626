"""Replay right and wrong prescriptions for the sick runs of a built fault benchmark.

    python benchmarks/faults/replay.py DIR [--jobs 2] [--every 1] [--split train] [--seeds 5] [--explore]

The probe is the benchmark's own task: its data, its model with whatever is broken in it, its loss. What `diag replay` knows
beside it is the log, as a user has it. Prescriptions, by what a full training with them was measured to do (`cure.py`):

- right: the run's own first prescription, where it closes at least half of the gap to the reference cure;
- swapped: the same turned the other way (the rate of a diverging run is raised, an overfit run is trained longer, and so on);
- helpless: the run's own first prescription, where it does not;
- untold: runs for which the log prescribes nothing that can be turned;
- healthy: runs that no standard change was measured to help.

With ``--explore`` all but the swapped are replayed so, and runs whose log shows nothing are replayed, too. Printed for each: how
often it is CONFIRMED, REFUTED, INCONCLUSIVE; the share of the run's steps that a training of the probe took; and how often the
true cause is first, by the log alone and after the replay, with what a tried change does for true causes and for others.
Policies are left out: their data depends on the policy, which a probe's fixed batches cannot show.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build import RECOVERS
from cure import CANONICAL, treat
from logs import shown
from score import SICK, Label, accepted_causes, read, share
from tasks import POLICY, Config, Task, changed, is_garbage, loss_of, network, optimizer_of, spoiled, write

import diag
from diag.errors import NothingToJudgeError
from diag.fixes import DISPLAY, Fix
from diag.replay import Probe
from diag.replay.experiment import Settings, replay
from diag.replay.outcome import RESULTS
from diag.replay.probe import ProbeFunction
from diag.replay.probing import ProbeTrainer
from diag.replayed import BEHIND, HELPED, NO_HELP, verdicts_of
from diag.result import RunReport

NOTHING = "nothing to replay"
RIGHT, SWAPPED, HELPLESS, UNTOLD, HEALTHY = KINDS = ("right", "swapped", "helpless", "untold", "healthy")


@lru_cache(maxsize=4)
def task_of(config: Config) -> Task:
    return Task(config)


def probe_of(config: Config, cache: Path) -> Callable[[Mapping[str, Any], int], Probe]:
    """The training of a config as a user would write it down for `diag replay`."""

    def probe(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        values: dict[str, Any] = {"learning_rate": hyperparameters["learning_rate"] / shown(config)}
        for name in ("weight_decay", "max_grad_norm", "dropout", "lora_dropout", "lora_rank", "lora_alpha"):
            if name in hyperparameters:
                field = CANONICAL[name]
                values[field] = type(getattr(config, field))(hyperparameters[name])
        if hyperparameters.get("lora_target_modules") and not config.all_targets:
            values["all_targets"] = len(hyperparameters["lora_target_modules"]) != 1
        if hyperparameters.get("precision", config.precision) != config.precision:
            values |= {"precision": hyperparameters["precision"], "static_loss_scale": 0.0}
        new = changed(config, **values)
        task, net = task_of(config), network(new, cache)
        if config.frozen:
            net.requires_grad_(False)
            next(reversed(list(net.parameters()))).requires_grad_(True)
        order, spoil = np.random.default_rng([seed, 5]), np.random.default_rng([seed, 6])
        size = min(int(hyperparameters.get("micro_batch_size") or config.batch), config.samples)
        done = 0

        def batches() -> Iterable[tuple[torch.Tensor, ...]]:
            nonlocal done
            indexes = order.permutation(config.samples)
            for at in range(max(1, config.samples // size)):
                batch = tuple(part[indexes[at * size : (at + 1) * size]] for part in task.train)
                yield spoiled(config, batch, spoil) if is_garbage(config, round(done * size / config.batch)) else batch
                done += 1

        def optimizer(weights: Sequence[Any], rate: float) -> torch.optim.Optimizer:
            base = type(optimizer_of(new, net))

            options = {"momentum": 0.9} if base is torch.optim.SGD else {}
            return base(weights, lr=rate / shown(config), weight_decay=new.weight_decay, **options)

        if new.precision == "fp16" and new.static_loss_scale:
            for weight in net.parameters():
                if weight.requires_grad:
                    weight.register_hook(lambda gradient: (gradient * new.static_loss_scale).half().float() / new.static_loss_scale)
        return Probe(
            net,
            batches,
            lambda net, batch: loss_of(config.family, net, batch),
            lambda: [task.evaluation],
            optimizer=optimizer if shown(config) != 1.0 else None,
        )

    return probe


def swapped(fixes: Sequence[Fix]) -> list[Fix]:
    """The numbers of the first prescription turned the other way."""
    found = []
    for fix in fixes:
        if fix.rank != 1 or fix.applicability == DISPLAY or not isinstance(fix.old, (int, float)) or isinstance(fix.old, bool):
            continue
        if fix.new is None and fix.factor:
            found.append(dataclasses.replace(fix, factor=1 / fix.factor))
        elif isinstance(fix.new, (int, float)) and not isinstance(fix.new, bool) and fix.new > 0 and fix.old > 0:
            other = type(fix.old)(fix.old * fix.old / fix.new)
            found.append(dataclasses.replace(fix, new=max(other, 1) if isinstance(other, int) else other))
    return found


def ask(report: RunReport, label: Label, folder: Path, fixes: Sequence[Fix] | None, settings: Settings) -> dict[str, Any]:
    """One replay, in a few words."""
    config = Config(**label["config"])
    function = ProbeFunction(label["setting"], probe_of(config, folder), label["run"])
    try:
        outcome = replay(report, ProbeTrainer(function, "cpu"), settings, fixes=fixes)
    except NothingToJudgeError as error:
        return {"result": NOTHING, "reason": str(error), "share": 0.0}
    return {
        "result": outcome.result,
        "reason": outcome.reason,
        "horizon": outcome.horizon.kind,
        "share": outcome.horizon.steps / outcome.horizon.total_steps,
        "then": [cause.cause for cause in outcome.causes],
        "trials": verdicts_of(outcome.trials),
        "gains": [(trial.cause, trial.change, trial.gain, trial.dropped) for trial in outcome.trials],
        "arms": [(arm.name, arm.label, arm.dropped) for arm in outcome.arms],
    }


def examine(folder: str, label: Label, settings: Settings) -> list[dict[str, Any]]:
    """What the replays of one run say."""
    torch.set_num_threads(1)
    report = diag.analyze(Path(folder) / "runs" / label["run"]).runs[0]
    known = {"run": label["run"], "setting": label["setting"], "fault": label["fault"], "causes": sorted(accepted_causes(label))}
    known |= {"said": [cause.cause for cause in report.diagnosis.causes]}
    known |= {"scores": [cause.score for cause in report.diagnosis.causes]}
    if label["class"] not in SICK:
        return [known | {"kind": HEALTHY} | ask(report, label, Path(folder), None, settings)]
    treated = treat(folder, label)
    cures, turns = treated["recovered"] >= RECOVERS, bool(treated["turned"])
    kind = RIGHT if cures and turns else HELPLESS if turns else UNTOLD
    known |= {"kind": kind, "turned": treated["turned"]}
    found = [known | ask(report, label, Path(folder), None, settings)]
    if kind == RIGHT and (other := swapped(report.fixes)):
        found.append(known | {"kind": SWAPPED} | ask(report, label, Path(folder), other, dataclasses.replace(settings, explore=False)))
    return found


def table(results: Sequence[dict[str, Any]]) -> Iterable[str]:
    for kind in KINDS:
        some = [result for result in results if result["kind"] == kind]
        counts = collections.Counter(result["result"] for result in some)
        yield f"{kind:10} {len(some):4}  " + "  ".join(f"{name} {share(counts[name], len(some))}" for name in (*RESULTS, NOTHING))
        if replayed := [result["share"] for result in some if result["share"]]:
            yield f"{'':16}share of the run's steps a training took: median {statistics.median(replayed):.0%}, most {max(replayed):.0%}"
    sick = [result for result in results if result["kind"] in (RIGHT, HELPLESS, UNTOLD)]
    before = sum(bool({*result["said"][:1]} & {*result["causes"]}) for result in sick)
    after = sum(bool({*result.get("then", result["said"])[:1]} & {*result["causes"]}) for result in sick)
    yield f"true cause first: {share(before, len(sick))} by the log, {share(after, len(sick))} after the replay"
    tried = [(cause in result["causes"], what) for result in sick for cause, what in result.get("trials", {}).items()]
    for truth, title in ((True, "true causes"), (False, "other causes")):
        counts = collections.Counter(what for is_true, what in tried if is_true == truth)
        yield f"{title:13} " + "  ".join(f"{what} {share(counts[what], sum(counts.values()))}" for what in (HELPED, NO_HELP, BEHIND))
    yield ""
    faults = sorted({(result["fault"], result["kind"]) for result in results})
    for fault, kind in faults:
        some = [result for result in results if (result["fault"], result["kind"]) == (fault, kind)]
        counts = collections.Counter(result["result"] for result in some)
        yield f"{fault:18} {kind:10} " + "  ".join(f"{name} {counts[name]}" for name in (*RESULTS, NOTHING) if counts[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what build.py wrote")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--every", type=int, default=1, help="take one setting of so many (default 1: all)")
    parser.add_argument("--split", choices=["train", "held-out"], default="train", help="which settings (default train)")
    parser.add_argument("--seeds", type=int, default=5, help="most paired seeds (default 5)")
    parser.add_argument("--explore", action="store_true", help="also try what the log does not name, and replay healthy runs")
    arguments = parser.parse_args()
    kinds = (*SICK, "healthy") if arguments.explore else SICK
    labels = [label for label in read(arguments.folder) if label["split"] == arguments.split and label["class"] in kinds]
    first = {label["setting"]: label for label in reversed(labels) if label["family"] != POLICY}
    chosen = [first[name] for name in sorted(first)][:: arguments.every]
    results: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        folders, settings = (
            [str(arguments.folder)] * len(chosen),
            [Settings(seeds=arguments.seeds, explore=arguments.explore)] * len(chosen),
        )
        for found in pool.map(examine, folders, chosen, settings):
            results += found
            for result in found:
                print(f"{result['kind']:9} {result['result']:12} {result['setting']}: {result['reason']}", flush=True)
    write(arguments.folder / "replay.jsonl", "".join(json.dumps(result) + "\n" for result in results))
    print("", *table(results), sep="\n")


if __name__ == "__main__":
    main()
