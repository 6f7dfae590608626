"""What a replay found: the objects that its report is rendered from, and their JSON form (schema version 1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from diag import __version__
from diag.diagnosis import RankedCause
from diag.replay.decision import BETTER, Comparison
from diag.replay.horizon import Horizon
from diag.replay.trainer import RateFound
from diag.replayed import Trial
from diag.result import plain

SCHEMA_VERSION: Final = 1

CONFIRMED: Final = "CONFIRMED"
REFUTED: Final = "REFUTED"
INCONCLUSIVE: Final = "INCONCLUSIVE"
RESULTS: Final = (CONFIRMED, REFUTED, INCONCLUSIVE)
EXIT_CODES: Final = {CONFIRMED: 0, REFUTED: 1, INCONCLUSIVE: 3}


@dataclass(frozen=True, slots=True)
class Seed:
    """One training of an arm.

    Attributes:
        seed: its seed.
        final: what arms are compared by: the metric at the end of the probed steps; infinite where it is not a number.
        area: mean training loss over all steps, NaN where it is not a number.
        spikes: jumps of the training loss above its surroundings.
        grad_norm: median norm of the gradient before clipping.
        verdict: what the battery says of the training.
        symptom: whether the symptom of the run is seen in it.
        steps: optimizer steps that were done.
        stopped: why it ended early, "" if it did not.
    """

    seed: int
    final: float
    area: float
    spikes: int
    grad_norm: float
    verdict: str
    symptom: bool
    steps: int
    stopped: str


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm gave.

    Attributes:
        name: as of ``diag.replay.arms.Arm``.
        label: what it changes, in one phrase.
        changes: hyperparameter, value as recorded, value in this arm.
        steps: optimizer steps that were probed.
        total_steps: optimizer steps of its whole plan.
        seeds: its trainings, by seed.
        comparison: against the recorded arm; None for that itself, or where there is none.
        dropped: why it was not pursued, "" if it was.
        causes: the causes it answers, where it answers single ones.
    """

    name: str
    label: str
    changes: tuple[tuple[str, Any, Any], ...]
    steps: int
    total_steps: int
    seeds: tuple[Seed, ...]
    comparison: Comparison | None = None
    dropped: str = ""
    causes: tuple[str, ...] = ()

    @property
    def reappeared(self) -> int:
        """In how many of its trainings the symptom of the run is seen."""
        return sum(seed.symptom for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a replay.

    Attributes:
        run: id of the run that was replayed.
        path: where its log is.
        probe: the probe, as the user named it.
        result: CONFIRMED, REFUTED or INCONCLUSIVE.
        reason: one sentence.
        verdict: the verdict of the run's own log.
        symptom: codes of the findings that the prescription answers.
        device: what was trained on.
        horizon: how much of every arm was trained.
        metric: what arms are compared by, ``eval/loss`` or ``train/loss``.
        arms: recorded and prescription first.
        causes: of the run, by the log and the arms that answer single causes.
        found_rate: what a learning-rate range test says, None if there was none.
        untested: prescribed parameters that no short training can show.
        notes: remarks, one sentence each.
    """

    run: str
    path: str
    probe: str
    result: str
    reason: str
    verdict: str
    symptom: tuple[str, ...]
    device: str
    horizon: Horizon
    metric: str
    arms: tuple[ArmResult, ...]
    causes: tuple[RankedCause, ...] = ()
    found_rate: RateFound | None = None
    untested: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 confirmed, 1 refuted, 3 inconclusive."""
        return EXIT_CODES[self.result]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was tried for each cause, and what it gained."""
        return trials_of(self.arms)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as strict JSON."""
        report: dict[str, Any] = plain(
            {
                "schema_version": SCHEMA_VERSION,
                "tool": {"name": "diag", "version": __version__},
                "run": {"id": self.run, "path": self.path, "verdict": self.verdict, "symptom": list(self.symptom)},
                "probe": self.probe,
                "result": self.result,
                "reason": self.reason,
                "device": self.device,
                "horizon": self.horizon.kind,
                "steps": self.horizon.steps,
                "total_steps": self.horizon.total_steps,
                "metric": self.metric,
                "arms": [_arm(arm) for arm in self.arms],
                "causes": [{"cause": cause.cause, "score": cause.score} for cause in self.causes],
                "trials": [asdict(trial) for trial in self.trials],
                "range_test": None if self.found_rate is None else asdict(self.found_rate),
                "untested": list(self.untested),
                "notes": list(self.notes),
            }
        )
        return report


def trials_of(arms: Iterable[ArmResult]) -> tuple[Trial, ...]:
    """What the arms that answer single causes gained; those that were not trained say nothing."""
    found = []
    for arm in arms:
        gain = arm.comparison.effect if arm.comparison is not None and arm.comparison.decision == BETTER else 0.0
        if arm.seeds:
            found += [Trial(cause, arm.label, gain, bool(arm.dropped)) for cause in arm.causes]
    return tuple(found)


def _arm(arm: ArmResult) -> dict[str, Any]:
    comparison = arm.comparison
    return {
        "name": arm.name,
        "changes": [{"parameter": name, "from": old, "to": new} for name, old, new in arm.changes],
        "steps": arm.steps,
        "total_steps": arm.total_steps,
        "dropped": arm.dropped,
        "causes": list(arm.causes),
        "comparison": None if comparison is None else {name: getattr(comparison, name) for name in Comparison.__slots__},
        "seeds": [{name: getattr(seed, name) for name in Seed.__slots__} for seed in arm.seeds],
    }
