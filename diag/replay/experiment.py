"""The experiment: which arms train how long with which seeds, when it is decided, and what that means."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.analysis import judge
from diag.errors import NothingToJudgeError, UsageError
from diag.fixes import Fix
from diag.replay.arms import CONTROL, PRESCRIPTION, RECORDED, Arm, Arms, make_arms
from diag.replay.conclusion import Evidence, conclude
from diag.replay.decision import BETTER, LEAST_SEEDS, MOST_SEEDS, UNDECIDED, WORSE, Comparison, compare
from diag.replay.guard import STALLED, ProbeError, user_code
from diag.replay.outcome import CONFIRMED, ArmResult, Outcome, Seed
from diag.replay.probe import ProbeFunction, settle
from diag.replay.store import Store, key_of
from diag.replay.symptom import Symptom
from diag.replay.training import (
    OUT_OF_TIME,
    Row,
    Trained,
    pick_device,
    planned_steps,
    seed_everything,
    train,
    warmup_steps,
)
from diag.stats import log_scale, spikes
from diag.text import counted, show

if TYPE_CHECKING:
    from diag.result import RunReport

SEEDS: Final = 5
"""Paired seeds: five that agree have a chance of 1 in 32."""
PROBED_SHARE: Final = 0.25
"""Share of the plan that is probed: the order of learning rates there agrees with that of full runs (rank correlation 0.86)."""
FIRST_RUNG: Final = 0.125
"""Share of the plan before which no arm is dropped; at 5% the choice costs 17% of the loss at worst, at 12.5% it costs 4%."""
AFTER_WARMUP: Final = 20
"""Optimizer steps after the warmup without which a probe shows nothing but the warmup."""
KEEP: Final = 0.5
"""Share of the arms that goes on from the first rung."""
CHECKED_STEPS: Final = 3
"""Optimizer steps of the two identical trainings that tell whether a probe is deterministic."""
TOLERANCE: Final = {"cpu": 1e-6}
"""Relative difference at which identical trainings count as identical; GPUs add up in any order."""
GPU_TOLERANCE: Final = 1e-3

Progress = Callable[[str, int, int], None]
"""Called before each training with the arm, the seed and the steps to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user decided about a replay.

    Attributes:
        seeds: most paired seeds, at least LEAST_SEEDS.
        steps: optimizer steps to probe of the recorded arm; None for a quarter of the plan.
        budget: seconds after which no training is begun and the current one is given up.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        stalled: seconds without progress after which the probe is taken to hang.
    """

    seeds: int = SEEDS
    steps: int | None = None
    budget: float = math.inf
    device: str = "auto"
    stalled: float = STALLED

    def __post_init__(self) -> None:
        if not LEAST_SEEDS <= self.seeds <= MOST_SEEDS:
            raise UsageError(f"seeds is {self.seeds}; it must be from {LEAST_SEEDS} to {MOST_SEEDS}")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps is {self.steps}; it must be at least 1")
        if not self.budget > 0:
            raise UsageError(f"budget is {self.budget:g} seconds; it must be above 0")


def replay(
    report: RunReport,
    function: ProbeFunction,
    settings: Settings = Settings(),
    *,
    folder: Path | None = None,
    fixes: Sequence[Fix] | None = None,
    on_progress: Progress | None = None,
) -> Outcome:
    """Test the prescription of a run by short trainings with and without it.

    Args:
        report: the run, its diagnosis and its prescription.
        function: makes the training to probe.
        settings: how much to train, and where.
        folder: keeps finished trainings, which are not done again; None to keep nothing.
        fixes: what to test instead of the run's own prescription.
        on_progress: told of each training before it begins.

    Raises:
        NothingToJudgeError: there is no prescription, or nothing of it shows in a short training.
        ProbeError: the probe cannot be used.
        UsageError: the folder cannot be written.
    """
    device, store = pick_device(settings.device), Store(folder)
    prescribed = report.fixes if fixes is None else tuple(fixes)
    if not prescribed:
        raise NothingToJudgeError(f"{report.run.id} is {report.diagnosis.verdict}: there is no prescription to replay")
    recorded, scale = _recorded(report, function, device, settings)
    prescribed = tuple(_scaled(fix, scale) for fix in prescribed)
    arms = make_arms(recorded, prescribed)
    if arms is None:
        names = ", ".join(dict.fromkeys(fix.parameter for fix in prescribed))
        raise NothingToJudgeError(f"the prescription for {report.run.id} ({names}) changes nothing that a short training can show")
    store.prepare()
    return _Experiment(report, function, settings, arms, device, store, prescribed, on_progress).run()


def _recorded(report: RunReport, function: ProbeFunction, device: str, settings: Settings) -> tuple[dict[str, Any], float]:
    """The hyperparameters to train with as recorded, ``max_steps`` among them, and the probe's plan over the run's.

    A probe with a shorter plan than the run has a shorter warmup, too.
    """
    values = settle({name: entry.value for name, entry in report.run.hyperparameters.items()})
    with user_code("the probe", device, settings.stalled):
        seed_everything(0)
        total = planned_steps(function(values, 0), values)
    plan = values.get("max_steps") or report.run.planned_steps or report.run.steps or total
    if not plan:
        raise UsageError("neither the run nor the probe says how many steps the training has; give the Probe planned_steps")
    values["max_steps"] = total or plan
    scale = values["max_steps"] / plan
    if (values.get("warmup_steps") or 0) >= 1:
        values["warmup_steps"] *= scale
    return values, scale


def _scaled(fix: Fix, scale: float) -> Fix:
    """A change of a number of steps, in the steps of the probe's plan."""
    if scale == 1 or fix.parameter not in ("warmup_steps", "max_steps") or not isinstance(fix.new, (int, float)) or fix.new < 1:
        return fix
    return replace(fix, new=round(fix.new * scale))


class _Experiment:
    def __init__(
        self,
        report: RunReport,
        function: ProbeFunction,
        settings: Settings,
        arms: Arms,
        device: str,
        store: Store,
        fixes: Sequence[Fix],
        on_progress: Progress | None,
    ) -> None:
        self.report, self.function, self.settings, self.arms, self.device, self.store = report, function, settings, arms, device, store
        self.tell = on_progress or (lambda arm, seed, steps: None)
        self.deadline = time.monotonic() + settings.budget
        self.symptom = Symptom.of(report, report.fixes or fixes)
        self.total = int(arms.recorded.hyperparameters["max_steps"])
        self.notes: list[str] = []
        self.steps = self.horizon()
        self.trained: dict[str, dict[int, Trained]] = {}
        self.judged: dict[tuple[str, int], Seed] = {}
        self.checked = False

    # How long ------------------------------------------------------------------------------------------------------------

    def least_steps(self) -> int:
        """The warmup of the two main arms and a little more, without which nothing is seen."""
        main = (self.arms.recorded, self.arms.prescription)
        warmup = max(warmup_steps(arm.hyperparameters, self.total_of(arm)) for arm in main)
        return min(warmup + AFTER_WARMUP, self.total)

    def horizon(self) -> int:
        """Optimizer steps to probe of the recorded arm."""
        least = self.least_steps()
        wanted = self.settings.steps
        if wanted is None:
            return min(self.total, max(math.ceil(PROBED_SHARE * self.total), least))
        if wanted < least:
            self.notes.append(f"{counted(least, 'step')} were probed instead of {wanted}: the warmup and {AFTER_WARMUP} steps more.")
        elif wanted < FIRST_RUNG * self.total:
            self.notes.append(f"So short a probe says little: less than {FIRST_RUNG:.1%} of the plan often favours too high a rate.")
        return min(self.total, max(wanted, least))

    def total_of(self, arm: Arm) -> int:
        """Optimizer steps of an arm's whole plan."""
        return int(arm.hyperparameters["max_steps"])

    def steps_of(self, arm: Arm) -> int:
        """Optimizer steps to do: as many samples as the recorded arm sees; the arm's own plan where that is done to its end."""
        total = self.total_of(arm)
        if self.steps == self.total:
            return total
        old, new = self.arms.recorded.hyperparameters.get("global_batch_size"), arm.hyperparameters.get("global_batch_size")
        return max(1, min(total, round(self.steps * old / new) if old and new else self.steps))

    # Training ------------------------------------------------------------------------------------------------------------

    def get(self, arm: Arm, seed: int, *, drop: bool = False) -> Trained | None:
        """One training, from the store if it was done before; None where there is no time left for it."""
        steps, total = self.steps_of(arm), self.total_of(arm)
        settled = settle(arm.hyperparameters)
        what = {"hyperparameters": settled, "seed": seed, "steps": steps, "total": total, "device": self.device}
        key = key_of(**what, probe=self.function.digest, version=STORE_VERSION, torch=version("torch"))
        done = self.store.get(arm.name, seed, key)
        if done is None:
            if time.monotonic() > self.deadline:
                return None
            self.check_determinism()
            self.tell(arm.name, seed, steps)
            done = self.train(arm, seed, steps, self.rung(arm) if drop else None)
            if done.stopped == OUT_OF_TIME:
                return None
            self.store.put(arm.name, seed, key, settled, done)
        self.trained.setdefault(arm.name, {})[seed] = done
        return done

    def train(self, arm: Arm, seed: int, steps: int, stop: Callable[[int, Row], str] | None = None, **options: Any) -> Trained:
        return train(
            self.function,
            arm.hyperparameters,
            seed=seed,
            steps=steps,
            total_steps=self.total_of(arm),
            device=self.device,
            stop=stop,
            deadline=self.deadline,
            stalled=self.settings.stalled,
            **options,
        )

    def check_determinism(self) -> None:
        """Train the same arm twice, for a moment: arms can only be compared if the same gives the same.

        Raises:
            ProbeError: the two differ, or the loss is no number before anything was learned.
        """
        if self.checked:
            return
        self.checked = True
        arm, steps = self.arms.recorded, min(CHECKED_STEPS, self.steps)
        first, second = (self.train(arm, 0, steps, evaluations=1) for _ in range(2))
        start = first.rows[0]["train/loss"]
        if not math.isfinite(start) and settle(arm.hyperparameters).get("precision") != "fp16":
            raise ProbeError(f"the loss is {show(start)} at the first step, before anything was learned; look at the model and the data")
        tolerance = TOLERANCE.get(self.device, GPU_TOLERANCE)
        for one, other in zip(first.rows, second.rows, strict=False):
            for name in ("train/loss", "eval/loss"):
                a, b = one.get(name, 0.0), other.get(name, 0.0)
                if math.isfinite(a) and math.isfinite(b) and abs(a - b) > tolerance * max(abs(a), abs(b)):
                    raise ProbeError(
                        f"the probe has unseeded randomness: two identical trainings differ at step {int(one['step'])}"
                        f" ({name} {a:.6g} and {b:.6g}); seed every generator from the seed it is given"
                    )

    def rung(self, arm: Arm) -> Callable[[int, Row], str]:
        """Stops an arm at the first rung unless it is among the better half of those that were there."""
        warmup = warmup_steps(arm.hyperparameters, self.total_of(arm))
        at = max(FIRST_RUNG * self.total_of(arm), warmup + AFTER_WARMUP) / self.steps_of(arm)
        passed = False

        def stop(step: int, row: Row) -> str:
            nonlocal passed
            share = step / self.steps_of(arm)
            if passed or share < at or share >= 1:
                return ""
            passed = True
            mine = _at(row)
            others = [_at(found) for found in (self.row_at(name, share) for name in self.trained) if found is not None]
            place = sum(other < mine for other in others)
            return "" if place < max(1, math.ceil(KEEP * (len(others) + 1))) else f"behind at step {step}"

        return stop

    def row_at(self, name: str, share: float) -> Row | None:
        """What an arm logged with the first seed at the same share of its probed steps."""
        done = self.trained[name].get(0)
        if done is None:
            return None
        step = max(1, round(share * done.steps))
        return done.rows[step - 1] if step <= len(done.rows) else None

    # Judging -------------------------------------------------------------------------------------------------------------

    def seed_result(self, arm: Arm, seed: int) -> Seed:
        """One training, examined by the same battery as the run."""
        if (arm.name, seed) not in self.judged:
            done = self.trained[arm.name][seed]
            judged, _ = judge(done.to_run(f"{arm.name}/seed-{seed}", settle(arm.hyperparameters), done.total_steps))
            losses, norms = np.asarray(done.values("train/loss")), np.asarray(done.values("grad_norm"))
            finite = bool(np.isfinite(losses).all())
            self.judged[arm.name, seed] = Seed(
                seed=seed,
                final=done.loss,
                area=float(losses.mean()) if finite else math.nan,
                spikes=int(spikes(log_scale(losses)).size) if finite else 0,
                grad_norm=float(np.median(norms)),
                verdict=judged.diagnosis.verdict,
                symptom=self.symptom.is_seen(judged),
                steps=len(done.rows),
                stopped=done.stopped,
            )
        return self.judged[arm.name, seed]

    def arm_result(self, arm: Arm, *, last: bool = True, dropped: str = "") -> ArmResult:
        done = self.trained.get(arm.name, {})
        seeds = tuple(self.seed_result(arm, seed) for seed in sorted(done))
        comparison: Comparison | None = None
        base = self.trained.get(RECORDED, {})
        if arm.name != RECORDED and not dropped and (shared := sorted(done.keys() & base.keys())):
            comparison = compare([base[seed].loss for seed in shared], [done[seed].loss for seed in shared], last=last)
        return ArmResult(arm.name, arm.label, arm.changes, self.steps_of(arm), self.total_of(arm), seeds, comparison, dropped)

    def run(self) -> Outcome:
        """Train what it takes to decide about the prescription, then the other arms."""
        main = (self.arms.recorded, self.arms.prescription)
        seeds = 0
        for seed in range(self.settings.seeds):
            if any(self.get(arm, seed) is None for arm in main):
                break
            seeds = seed + 1
            found = self.arm_result(self.arms.prescription, last=seeds == self.settings.seeds).comparison
            if found is not None and found.decision != UNDECIDED:
                break
        if seeds:  # a seed that only one of the two finished cannot be compared
            self.trained = {name: {seed: done for seed, done in found.items() if seed < seeds} for name, found in self.trained.items()}
        results = [self.arm_result(arm, last=seeds == self.settings.seeds) for arm in main]
        results += self.others(seeds)
        result, reason = conclude(self.evidence(results[0], results[1]))
        run, held_out = self.report.run, any(done.values("eval/loss") for done in self.trained.get(RECORDED, {}).values())
        return Outcome(
            run=run.id,
            path=run.path,
            probe=self.function.spec,
            result=result,
            reason=reason,
            verdict=self.report.diagnosis.verdict,
            symptom=self.symptom.codes,
            device=self.device,
            steps=self.steps,
            total_steps=self.total,
            metric="eval/loss" if held_out else "train/loss",
            arms=tuple(results),
            untested=self.arms.untested,
            notes=self.remarks(result),
        )

    def others(self, seeds: int) -> list[ArmResult]:
        """The other arms: all with the first seed, the worse half only to the first rung; then the rest with the other seeds."""
        dropped: dict[str, str] = {}
        for seed in range(seeds):
            for arm in self.arms.others:
                if arm.name in dropped:
                    continue
                done = self.get(arm, seed, drop=seed == 0)
                if done is None:
                    dropped[arm.name] = "no time was left" if seed == 0 else ""
                elif done.stopped.startswith("behind"):
                    dropped[arm.name] = done.stopped
        return [self.arm_result(arm, dropped=dropped.get(arm.name, "" if seeds else "no time was left")) for arm in self.arms.others]

    def evidence(self, recorded: ArmResult, prescription: ArmResult) -> Evidence:
        """What the result is decided by."""
        identical = self.same(self.arms.prescription)
        return Evidence(recorded, prescription, self.symptom, identical, self.steps, self.total, self.settings.seeds)

    def same(self, arm: Arm) -> bool:
        """Whether an arm logged the very numbers of the recorded one."""
        base, other = self.trained.get(RECORDED, {}), self.trained.get(arm.name, {})
        return bool(other) and all(
            base[seed].values("train/loss") == done.values("train/loss") and base[seed].loss == done.loss for seed, done in other.items()
        )

    def against(self, base: str, arm: str) -> Comparison | None:
        """An arm against another one, where they share seeds enough to decide by."""
        before, after = self.trained.get(base, {}), self.trained.get(arm, {})
        shared = sorted(before.keys() & after.keys())
        if len(shared) < LEAST_SEEDS:
            return None
        return compare([before[seed].loss for seed in shared], [after[seed].loss for seed in shared], last=True)

    def rivals(self) -> list[str]:
        """The best of the arms that beat the prescription, and whether a change drawn at random helps as much."""
        notes = []
        compared = [(self.against(PRESCRIPTION, arm.name), arm) for arm in self.arms.others]
        if found := [(against.effect, arm) for against, arm in compared if against is not None and against.decision == BETTER]:
            effect, arm = max(found, key=lambda entry: entry[0])
            notes.append(f"Better still, by {effect:.1%}: {arm.label} ({arm.name}).")
        if _is(self.against(RECORDED, CONTROL), BETTER) and not _is(self.against(PRESCRIPTION, CONTROL), WORSE):
            notes.append("A change drawn at random helps about as much, so this says little about the cause.")
        return notes

    def remarks(self, result: str) -> tuple[str, ...]:
        """What to know about the result, one sentence each."""
        found = list(self.notes)
        if self.steps < self.total:
            found.append(
                f"The first {self.steps} of {self.total} planned steps were trained, under the schedule of the whole plan. Short probes"
                " favour somewhat high learning rates, and cannot show what comes later, such as overfitting."
            )
        if result == CONFIRMED:
            found += self.rivals()
        seen = dict.fromkeys(note for seeds in self.trained.values() for done in seeds.values() for note in done.notes)
        found += [note[0].upper() + note[1:] + "." for note in seen]
        if unused := [arm.label for arm in self.arms.others if self.same(arm)]:
            found.append(f"No difference at all was made by {'; '.join(unused)}: the probe does not use it, or not this early.")
        return tuple(found)


def _is(comparison: Comparison | None, decision: str) -> bool:
    return comparison is not None and comparison.decision == decision


STORE_VERSION: Final = 1
"""Goes up when the same key would give another training."""


def _at(row: Mapping[str, float]) -> float:
    """What arms are ranked by at a rung."""
    value = row.get("eval/loss", row["train/loss"])
    return value if math.isfinite(value) else math.inf
