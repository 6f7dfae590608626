"""The experiment: which arms train how long with which seeds, when it is decided, and what that means."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.analysis import judge
from diag.errors import NothingToJudgeError, UsageError
from diag.fixes import Fix
from diag.replay.arms import CONTROL, RATE_DIGITS, RECORDED, SCHEDULING, Arm, Arms, make_arms, with_rate
from diag.replay.candidates import named, usual
from diag.replay.conclusion import Conclusion, Evidence, conclude
from diag.replay.decision import BETTER, LEAST_SEEDS, MOST_SEEDS, UNDECIDED, WORSE, Comparison, close, compare
from diag.replay.halving import BEHIND, FIRST_RUNG, KEEP, Halving
from diag.replay.horizon import AFTER_WARMUP, BEGINNING, SUBSET, WHOLE, Horizon, horizons, plans
from diag.replay.likeness import deviation
from diag.replay.outcome import CONFIRMED, ArmResult, Outcome, Seed, trials_of
from diag.replay.schedule import logged_otherwise, warmup_steps
from diag.replay.store import RANGE_TEST, Store, key_of
from diag.replay.symptom import Symptom
from diag.replay.trainer import Begin, Job, RateFound, Rates, Stop, Trained, Trainer
from diag.replayed import rerank
from diag.stats import log_scale, spikes
from diag.text import counted, show, significant

if TYPE_CHECKING:
    from diag.result import RunReport

SEEDS: Final = 5
"""Paired seeds: five that agree have a chance of 1 in 32."""
AT_ONCE: Final = 2
"""Seeds between two looks after the first: with two arms, trainings enough to be stacked."""
SAME_START: Final = (10, 1e-5)
"""Logged losses at the start, and the relative difference up to which they are the same: a stack adds up in another order."""
SAME_END: Final = 1e-3
"""The same for all losses: what is left of a difference of the last digit after so many steps."""
SCREENED: Final = 3
"""Arms that are trained as a whole where the log names nothing to try."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user decided about a replay.

    Attributes:
        seeds: most paired seeds, at least LEAST_SEEDS.
        steps: optimizer steps to probe of the recorded arm; None for what ``diag.replay.horizon`` chooses.
        budget: seconds after which no training is begun and the current one is given up.
        explore: also try to undo the usual mistakes that the log does not name.
    """

    seeds: int = SEEDS
    steps: int | None = None
    budget: float = math.inf
    explore: bool = False

    def __post_init__(self) -> None:
        if not LEAST_SEEDS <= self.seeds <= MOST_SEEDS:
            raise UsageError(f"seeds is {self.seeds}; it must be from {LEAST_SEEDS} to {MOST_SEEDS}")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps is {self.steps}; it must be at least 1")
        if not self.budget > 0:
            raise UsageError(f"budget is {self.budget:g} seconds; it must be above 0")


def replay(
    report: RunReport,
    trainer: Trainer,
    settings: Settings = Settings(),
    *,
    folder: Path | None = None,
    fixes: Sequence[Fix] | None = None,
    begin: Begin | None = None,
) -> Outcome:
    """Test the prescription of a run by short trainings with and without it.

    Args:
        report: the run, its diagnosis and its prescription.
        trainer: trains the arms.
        settings: how much to train.
        folder: keeps finished trainings, which are not done again; None to keep nothing.
        fixes: what to test instead of the run's own prescription.
        begin: told which trainings begin.

    Raises:
        NothingToJudgeError: there is no prescription, or nothing of it shows in a short training.
        ProbeError: the probe cannot be used.
        UsageError: the folder cannot be written.
    """
    store = Store(folder)
    prescribed = report.fixes if fixes is None else tuple(fixes)
    if not prescribed and not settings.explore:
        verdict = report.diagnosis.verdict
        raise NothingToJudgeError(f"{report.run.id} is {verdict}: there is no prescription to replay; --explore tries the usual changes")
    recorded, scale = _recorded(report, trainer)
    prescribed = tuple(_scaled(fix, scale) for fix in prescribed)
    candidates = named(report) if fixes is None else []
    if settings.explore:
        known = {candidate.cause for candidate in candidates}
        candidates += [candidate for candidate in usual(recorded) if candidate.cause not in known]
    candidates = [replace(candidate, fixes=tuple(_scaled(fix, scale) for fix in candidate.fixes)) for candidate in candidates]
    rates = logged_otherwise(report.run, recorded) if scale == 1 and trainer.small else ()
    arms = make_arms(recorded, prescribed, candidates, declared=bool(rates) and fixes is None)
    if arms is None or (arms.prescription is None and not settings.explore):
        names = ", ".join(dict.fromkeys(fix.parameter for fix in prescribed))
        raise NothingToJudgeError(
            f"the prescription for {report.run.id} ({names}) changes nothing that a short training can show; --explore tries other changes"
        )
    store.prepare()
    symptom = Symptom.of(report, report.fixes or prescribed)
    planned = horizons(arms, symptom, settings.steps, small=trainer.small, scale=scale)
    told, deadline = begin or (lambda jobs: None), time.monotonic() + settings.budget
    context = _Context(report, trainer, settings, arms, store, symptom, told, deadline, scale, rates)
    if arms.prescription is None:
        context, planned = _screened(context, planned)
    return _conduct(context, planned)


def _recorded(report: RunReport, trainer: Trainer) -> tuple[dict[str, Any], float]:
    """The hyperparameters to train with as recorded, ``max_steps`` among them, and the probe's plan over the run's.

    A probe with a shorter plan than the run has a shorter warmup, too.
    """
    values = trainer.settle({name: entry.value for name, entry in report.run.hyperparameters.items()})
    total = trainer.planned_steps(values)
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


@dataclass(frozen=True, slots=True)
class _Context:
    """What all horizons of a replay share."""

    report: RunReport
    trainer: Trainer
    settings: Settings
    arms: Arms
    store: Store
    symptom: Symptom
    begin: Begin
    deadline: float
    scale: float
    rates: Rates
    explored: int = 0

    def rates_of(self, arm: Arm) -> Rates:
        """The schedule as it was logged, where that is not the declared one and the arm does not change it."""
        return () if any(name in SCHEDULING for name, _, _ in arm.changes) else self.rates


def _conduct(context: _Context, planned: Sequence[Horizon]) -> Outcome:
    """Train up to one horizon after the other until that decides; the last one that compared anything is what is reported."""
    reported: tuple[_Experiment, Conclusion] | None = None
    for horizon in planned:
        experiment = _Experiment(context, horizon)
        conclusion = experiment.decide(is_last=horizon is planned[-1])
        if reported is None or experiment.seeds:
            reported = experiment, conclusion
        if conclusion.is_final or time.monotonic() > context.deadline:
            break
    assert reported is not None  # there is a horizon, and a prescription
    experiment, conclusion = reported
    return experiment.outcome(conclusion)


def _screened(context: _Context, planned: Sequence[Horizon]) -> tuple[_Context, list[Horizon]]:
    """The most promising of the arms take the place of the prescription, and are trained as a whole."""
    experiment = _Experiment(context, planned[0])
    best = experiment.screen()
    if not best:
        raise NothingToJudgeError(f"none of the usual changes shows in {experiment.horizon} of {context.report.run.id}; try more --steps")
    arms = Arms(context.arms.recorded, best[0], tuple(best[1:]), context.arms.untested)
    total = planned[0].total_steps
    longest = Horizon(WHOLE, total, total) if context.trainer.small else planned[0]
    return replace(context, arms=arms, explored=len(context.arms.others)), [longest]


class _Experiment:
    """The trainings of one horizon, and what they show."""

    def __init__(self, context: _Context, horizon: Horizon) -> None:
        self.context, self.horizon = context, horizon
        self.arms, self.settings, self.trainer = context.arms, context.settings, context.trainer
        self.halving = Halving(self.earliest)
        self.trained: dict[str, dict[int, Trained]] = {}
        self.judged: dict[tuple[str, int], Seed] = {}
        self.seeds = 0

    # Training ------------------------------------------------------------------------------------------------------------

    def job(self, arm: Arm, seed: int) -> Job:
        """One training of an arm."""
        horizon, values = self.horizon, self.trainer.settle(self.horizon.hyperparameters_of(arm))
        steps = horizon.steps_of(arm, self.arms.recorded)
        return Job(arm.name, seed, values, steps, horizon.total_of(arm), horizon.share, self.context.rates_of(arm), horizon.name)

    def finish(self, jobs: Iterable[Job], stop: Stop | None = None) -> None:
        """Trainings, from the store if they were done before; those are missing for which there was no time."""
        left: list[Job] = []
        for job in jobs:
            if (done := self.context.store.get(job, self.key(job))) is not None:
                self.keep(job, done)
            else:
                left.append(job)
        for job, done in self.trainer.train(left, stop=stop, deadline=self.context.deadline, begin=self.context.begin):
            self.context.store.put(job, self.key(job), done)
            self.keep(job, done)

    def key(self, job: Job) -> str:
        return key_of(job=asdict(job), trainer=self.trainer.digest)

    def keep(self, job: Job, done: Trained) -> None:
        self.trained.setdefault(job.arm, {})[job.seed] = done
        self.halving.learn(job, done)

    def earliest(self, job: Job) -> int:
        """Optimizer steps before which a job shows nothing but its warmup."""
        return warmup_steps(job.hyperparameters, job.total_steps) + AFTER_WARMUP

    @property
    def main(self) -> tuple[Arm, Arm]:
        """The recorded and the prescribed arm."""
        assert self.arms.prescription is not None  # without one, the best of the others takes its place
        return self.arms.recorded, self.arms.prescription

    def screen(self) -> list[Arm]:
        """The arms by their gain, best first, no more than SCREENED: all with one seed, the better half with as many as are compared."""
        arms = [arm for arm in self.arms.others if not self.is_late(arm)]
        for seeds in (range(1), range(1, LEAST_SEEDS)):
            self.finish(self.job(arm, seed) for seed in seeds for arm in (self.arms.recorded, *arms))
            found = {arm.name: self.against(RECORDED, arm.name, last=True) for arm in arms}
            gains = {name: comparison.effect if comparison is not None else -math.inf for name, comparison in found.items()}
            arms.sort(key=lambda arm: -gains[arm.name])
            arms = arms[: max(SCREENED, math.ceil(KEEP * len(arms)))]
        return arms[:SCREENED]

    def decide(self, *, is_last: bool) -> Conclusion:
        """Train the recorded and the prescribed arm with one seed after the other until that decides."""
        main = self.main
        for together in self.rounds():
            self.finish(self.job(arm, seed) for seed in together for arm in main)
            unfinished = (seed for seed in together if any(seed not in self.trained.get(arm.name, {}) for arm in main))
            self.seeds = next(unfinished, together.stop)
            found = self.against(RECORDED, main[1].name, last=self.seeds == self.settings.seeds)
            if self.seeds < together.stop or (found is not None and found.decision != UNDECIDED):
                break
        if self.seeds:  # a seed that only one of the two finished cannot be compared
            self.trained = {name: {seed: done for seed, done in found.items() if seed < self.seeds} for name, found in self.trained.items()}
        recorded, prescription = (self.arm_result(arm) for arm in main)
        return conclude(
            Evidence(
                recorded=recorded,
                prescription=prescription,
                symptom=self.context.symptom,
                deviation=self.deviation(),
                identical=self.same(main[1]),
                horizon=self.horizon,
                seeds=self.settings.seeds,
                is_last=is_last,
                explored=self.context.explored,
            )
        )

    def rounds(self) -> Iterator[range]:
        """The seeds that are trained before it is asked whether that decides: as many as nothing is decided without, then a few."""
        yield range(LEAST_SEEDS)
        for seed in range(LEAST_SEEDS, self.settings.seeds, AT_ONCE):
            yield range(seed, min(seed + AT_ONCE, self.settings.seeds))

    def others(self) -> list[ArmResult]:
        """The other arms: all with the first seed, those that fall behind only to a rung; then the rest with the other seeds."""
        late = {arm.name: "shows only at the end of a run" for arm in self.arms.others if self.is_late(arm)}
        others = [arm for arm in self.arms.others if self.seeds and arm.name not in late]
        self.finish(self.job(arm, 0) for arm in others if arm.is_kept)
        self.finish((self.job(arm, 0) for arm in others if not arm.is_kept), self.halving)
        dropped = {arm.name: self.dropped(arm) for arm in self.arms.others} | late
        self.finish(self.job(arm, seed) for seed in range(1, self.seeds) for arm in others if not dropped[arm.name])
        return [self.arm_result(arm, dropped=dropped[arm.name]) for arm in self.arms.others]

    def is_late(self, arm: Arm) -> bool:
        """Whether what an arm changes shows only later than the horizon."""
        return self.horizon.kind == BEGINNING and plans(arm)

    def dropped(self, arm: Arm) -> str:
        """Why an arm is not pursued beyond the first seed, "" if it is."""
        done = self.trained.get(arm.name, {}).get(0)
        if done is None:
            return "no time was left" if time.monotonic() > self.context.deadline else "not trained"
        return done.stopped if done.stopped.startswith(BEHIND) else ""

    # Judging -------------------------------------------------------------------------------------------------------------

    def seed_result(self, arm: Arm, seed: int) -> Seed:
        """One training, examined by the same battery as the run."""
        if (arm.name, seed) not in self.judged:
            done, job = self.trained[arm.name][seed], self.job(arm, seed)
            judged, _ = judge(done.to_run(f"{arm.name}/seed-{seed}", job.hyperparameters, done.total_steps))
            losses, norms = np.asarray(done.values("train/loss")), np.asarray(done.values("grad_norm"))
            finite = bool(losses.size) and bool(np.isfinite(losses).all())
            self.judged[arm.name, seed] = Seed(
                seed=seed,
                final=done.loss,
                area=float(losses.mean()) if finite else math.nan,
                spikes=int(spikes(log_scale(losses)).size) if finite else 0,
                grad_norm=float(np.median(norms)) if norms.size else math.nan,
                verdict=judged.diagnosis.verdict,
                symptom=self.context.symptom.is_seen(judged, done.stopped),
                steps=int(done.rows[-1]["step"]) if done.rows else 0,
                stopped=done.stopped,
            )
        return self.judged[arm.name, seed]

    def arm_result(self, arm: Arm, *, dropped: str = "") -> ArmResult:
        done = self.trained.get(arm.name, {})
        seeds = tuple(self.seed_result(arm, seed) for seed in sorted(done))
        comparison: Comparison | None = None
        if arm.name != RECORDED and not dropped:
            # the prescription was looked at before, and may be again; the others are looked at once
            is_last = arm.name != self.main[1].name or len(seeds) == self.settings.seeds
            comparison = self.against(RECORDED, arm.name, last=is_last)
        steps, total = self.horizon.steps_of(arm, self.arms.recorded), self.horizon.total_of(arm)
        return ArmResult(arm.name, arm.label, arm.changes, steps, total, seeds, comparison, dropped, arm.causes)

    def deviation(self) -> float | None:
        """How far the recorded arm is from the log of the run, None where the two cannot be compared."""
        if self.context.scale != 1 or self.horizon.kind == SUBSET:
            return None
        found = [deviation(self.context.report.run, done) for done in self.trained.get(RECORDED, {}).values()]
        known = [value for value in found if value is not None]
        return median(known) if known and len(known) == len(found) else None

    def same(self, arm: Arm) -> bool:
        """Whether an arm logged the numbers of the recorded one, as far as two trainings of the same can."""
        base, other = self.trained.get(RECORDED, {}), self.trained.get(arm.name, {})
        return bool(other) and all(identical(base[seed], done) for seed, done in other.items())

    def against(self, base: str, arm: str, *, last: bool) -> Comparison | None:
        """An arm against another one over the seeds that both finished, None where there is none; ``last`` as for ``compare``."""
        before, after = self.trained.get(base, {}), self.trained.get(arm, {})
        shared = sorted(before.keys() & after.keys())
        return compare([before[seed].loss for seed in shared], [after[seed].loss for seed in shared], last=last) if shared else None

    # Reporting -----------------------------------------------------------------------------------------------------------

    def outcome(self, conclusion: Conclusion) -> Outcome:
        """Train the other arms, and say what all of them show."""
        if (found_rate := self.find_rate()) is not None and found_rate.rate is not None:
            self.arms = with_rate(self.arms, found_rate.rate)
        results = [self.arm_result(arm) for arm in self.main] + self.others()
        causes = rerank(self.context.report.diagnosis.causes, trials_of(results))
        run, held_out = self.context.report.run, any(done.values("eval/loss") for done in self.trained.get(RECORDED, {}).values())
        return Outcome(
            run=run.id,
            path=run.path,
            probe=self.trainer.spec,
            result=conclusion.result,
            reason=conclusion.reason,
            verdict=self.context.report.diagnosis.verdict,
            symptom=self.context.symptom.codes,
            device=self.trainer.device,
            horizon=self.horizon,
            metric="eval/loss" if held_out else "train/loss",
            arms=tuple(results),
            causes=causes,
            found_rate=found_rate,
            untested=self.arms.untested,
            notes=self.remarks(conclusion.result, found_rate),
        )

    def find_rate(self) -> RateFound | None:
        """A range test, where the learning rate is in question and there is time; None else."""
        asked = any(arm.name != CONTROL and any(name == "learning_rate" for name, _, _ in arm.changes) for arm in self.all_arms)
        if not self.trainer.small or not asked or not self.seeds or time.monotonic() > self.context.deadline:
            return None
        run, recorded = self.context.report.run, self.job(self.arms.recorded, 0)

        def make() -> dict[str, Any]:
            found = self.trainer.find_rate(run)
            return {} if found is None else asdict(found)

        kept = self.context.store.remember(RANGE_TEST, key_of(values=recorded.hyperparameters, trainer=self.trainer.digest), make)
        return RateFound(**kept) if kept else None

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The main arms, then the others."""
        return (*self.main, *self.arms.others)

    def rivals(self) -> list[str]:
        """The best of the arms that beat the prescription, and whether a change drawn at random helps as much."""
        notes, prescription = [], self.main[1].name
        compared = [(self.against(prescription, arm.name, last=True), arm) for arm in self.arms.others]
        if found := [(against.effect, arm) for against, arm in compared if against is not None and against.decision == BETTER]:
            effect, arm = max(found, key=lambda entry: entry[0])
            notes.append(f"Better still, by {effect:.1%}: {arm.label} ({arm.name}).")
        helps, beaten = (self.against(base, CONTROL, last=True) for base in (RECORDED, prescription))
        if _is(helps, BETTER) and not _is(beaten, WORSE):
            notes.append("A change drawn at random helps about as much, so this says little about the cause.")
        return notes

    def remarks(self, result: str, found_rate: RateFound | None) -> tuple[str, ...]:
        """What to know about the result, one sentence each."""
        found = [*self.about_horizon(), *self.trainer.remarks()]
        if found_rate is not None:
            found.append(about_rate(found_rate))
        if result == CONFIRMED:
            found += self.rivals()
        seen = dict.fromkeys(note for seeds in self.trained.values() for done in seeds.values() for note in done.notes)
        found += [note[0].upper() + note[1:] + "." for note in seen]
        if unused := [arm.label for arm in self.arms.others if self.same(arm)]:
            found.append(f"No difference at all was made by {'; '.join(unused)}: the probe does not use it, or not this early.")
        return tuple(found)

    def about_horizon(self) -> Iterator[str]:
        """What was trained, and which way that is biased."""
        horizon, wanted = self.horizon, self.settings.steps
        if wanted is not None and wanted < horizon.steps:
            yield f"{counted(horizon.steps, 'step')} were probed instead of {wanted}: the warmup and {AFTER_WARMUP} steps more."
        elif wanted is not None and wanted < FIRST_RUNG * horizon.total_steps:
            yield f"So short a probe says little: less than {FIRST_RUNG:.1%} of the plan often favours too high a rate."
        if horizon.kind == BEGINNING:
            yield (
                f"The first {horizon.steps} of {horizon.total_steps} planned steps were trained, under the schedule of the whole plan."
                " Short probes favour somewhat high learning rates, and cannot show what comes later, such as overfitting."
            )
        if self.context.rates:
            yield "The learning rate was not what the hyperparameters say: it was replayed as it was logged, where no arm changes it."
        if horizon.kind == SUBSET:
            yield (
                f"Whole runs were trained on {horizon.share:.0%} of the data, each repeated as often as in the run. With fewer data a model"
                " overfits sooner and has fewer steps to learn in."
            )


def identical(one: Trained, other: Trained) -> bool:
    """Whether two trainings logged the same losses, but for the last digits."""
    first, second = one.values("train/loss"), other.values("train/loss")
    count, nearly = SAME_START
    if len(first) != len(second) or not close(one.loss, other.loss, SAME_END):
        return False
    pairs = zip(first, second, strict=True)
    return all(close(a, b, nearly if at < count else SAME_END) for at, (a, b) in enumerate(pairs))


def about_rate(found: RateFound) -> str:
    """What a range test says, in one sentence."""
    if found.rate is None or found.low is None or found.high is None:
        return f"A range test of the learning rate suggests none: {found.reason}."
    rate, low, high = (show(significant(value, RATE_DIGITS)) for value in (found.rate, found.low, found.high))
    return f"A range test suggests a learning rate of {rate} ({low} to {high})."


def _is(comparison: Comparison | None, decision: str) -> bool:
    return comparison is not None and comparison.decision == decision
