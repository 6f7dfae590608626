"""What a replay means: CONFIRMED, REFUTED or INCONCLUSIVE, in one sentence. The only place where that is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from diag.replay.decision import BETTER, EXACT, LARGEST, LEAST_SEEDS, MARGIN, SAME, WORSE, Comparison
from diag.replay.horizon import WHOLE, Horizon
from diag.replay.likeness import ALIKE
from diag.replay.outcome import CONFIRMED, INCONCLUSIVE, REFUTED, ArmResult
from diag.replay.symptom import Symptom
from diag.replay.trainer import TIME_LIMIT
from diag.text import counted

WORTHWHILE: Final = 0.02
"""Relative gain that confirms although the symptom stays: what a change may gain in a run that counts as healthy (docs/calibration.md)."""
EXPLORED_GAIN: Final = 0.04
"""Relative gain that a change must bring where the log shows nothing wrong: what makes a run of the fault benchmark count as sick."""
MAJORITY: Final = 0.5
"""Share of the seeds above which a symptom counts as there."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to decide by.

    Attributes:
        recorded: the recorded arm.
        prescription: the prescribed one.
        symptom: what the log of the run shows.
        deviation: how far the recorded arm is from the log, None where the two cannot be compared.
        identical: whether the two arms logged the very same numbers.
        horizon: how much of them was trained.
        seeds: most seeds that were allowed.
        is_last: whether no longer horizon will follow.
        explored: how many changes were tried, where the log names none; 0 where the prescription is that of the log.
    """

    recorded: ArmResult
    prescription: ArmResult
    symptom: Symptom
    deviation: float | None
    identical: bool
    horizon: Horizon
    seeds: int
    is_last: bool
    explored: int = 0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the evidence means.

    Attributes:
        result: CONFIRMED, REFUTED or INCONCLUSIVE.
        reason: one sentence.
        is_final: whether a longer horizon would not tell more.
    """

    result: str
    reason: str
    is_final: bool


def conclude(evidence: Evidence) -> Conclusion:
    """The result and why.

    A better loss confirms, and a worse one refutes, only where the probe is a picture of the run: as recorded it shows the symptom that the
    log shows, or it follows the log step by step. A symptom that goes in so many seeds that chance is ruled out confirms too, unless the
    loss is worse. A worse loss does not refute a change that takes the symptom away, as a steadier training may fall behind at first,
    and refutes no change before the longest horizon; one that diverges where the recorded arm does not is refuted in any case.
    """
    result, reason = _explored(evidence) if evidence.explored else _result(evidence)
    diverges = result == REFUTED and _diverged(evidence.prescription) > 0
    return Conclusion(result, reason, result == CONFIRMED or diverges or evidence.is_last)


def _result(evidence: Evidence) -> tuple[str, str]:
    recorded, prescription = evidence.recorded, evidence.prescription
    comparison = prescription.comparison
    if comparison is None:
        return INCONCLUSIVE, "The budget ended before both arms were trained once."
    n, changed = comparison.seeds, " and ".join(name for name, _, _ in prescription.changes)
    if any(seed.stopped == TIME_LIMIT for arm in (recorded, prescription) for seed in arm.seeds):
        return INCONCLUSIVE, "The time limit ended trainings before their last step: allow more time, or ask for fewer steps."
    if evidence.identical:
        return INCONCLUSIVE, f"The probe does not use {changed}, or not in {evidence.horizon}: every number is as recorded."
    seen = recorded.reappeared > MAJORITY * n
    alike = evidence.deviation is not None and evidence.deviation <= ALIKE
    cured = seen and prescription.reappeared < MAJORITY * n
    gain = _by(comparison)
    shown = f"the symptom ({evidence.symptom}) shows in {recorded.reappeared} of {n} seeds as recorded"
    both = f"{shown} and in {prescription.reappeared} with the change"
    picture = both if seen or not alike else f"as recorded, the probe stays within {evidence.deviation or 0:.0%} of the log"
    if comparison.decision == WORSE and _diverged(prescription) > MAJORITY * n and not _diverged(recorded):
        return REFUTED, f"With the change the training diverges, in {_diverged(prescription)} of {n} seeds; as recorded it does not."
    if comparison.decision == BETTER and (seen or alike) and (cured or comparison.effect >= WORTHWHILE):
        return CONFIRMED, f"The loss is {gain} lower with the change, better in {comparison.wins} of {n} seeds; {picture}."
    if comparison.decision != WORSE and _cleared(recorded, prescription):
        return CONFIRMED, f"The symptom goes: {both.removeprefix('the symptom ')}; the loss decides nothing yet."
    if comparison.decision == WORSE and (seen or alike) and not cured:
        return REFUTED, f"The loss is {gain} higher with the change, worse in {n - comparison.wins} of {n} seeds; {picture}."
    if not seen and not alike and n >= LEAST_SEEDS:
        return INCONCLUSIVE, f"The probe does not show what the log shows: {shown}. {_longer(evidence)}"
    if comparison.decision == WORSE:
        return INCONCLUSIVE, f"The symptom goes, but the loss is {gain} higher with the change. {_longer(evidence)}"
    if comparison.decision == SAME:
        return INCONCLUSIVE, f"The change makes no difference beyond {MARGIN:.1%}; {picture}. {_longer(evidence)}"
    if comparison.decision == BETTER:
        return INCONCLUSIVE, f"The loss is only {gain} lower with the change; {picture}. {_longer(evidence)}"
    if n < evidence.seeds:
        return INCONCLUSIVE, f"The budget ended after {counted(n, 'seed')}, too few to decide."
    if n in (comparison.wins, n - comparison.wins):
        return INCONCLUSIVE, f"The loss differs by only {gain}, too little to decide; {picture}. {_longer(evidence)}"
    return INCONCLUSIVE, f"The seeds do not agree: {comparison.wins} of {n} are better with the change. Try more seeds."


def _explored(evidence: Evidence) -> tuple[str, str]:
    """The result where the log shows nothing and the usual changes were tried: the best of them helps, or none does."""
    comparison = evidence.prescription.comparison
    if comparison is None:
        return INCONCLUSIVE, "The budget ended before the best of the changes was trained as a whole."
    if evidence.deviation is None or evidence.deviation > ALIKE:
        far = "cannot be compared with it" if evidence.deviation is None else f"is {evidence.deviation:.0%} away from it"
        return INCONCLUSIVE, f"The log shows nothing to look for, and the probe, trained as recorded, {far}: it says nothing of the run."
    if comparison.decision == BETTER and comparison.effect >= EXPLORED_GAIN:
        wins = f"better in {comparison.wins} of {comparison.seeds} seeds"
        return (
            CONFIRMED,
            f"The log shows nothing wrong, but the loss is {_by(comparison)} lower with {evidence.prescription.label}, {wins}.",
        )
    return INCONCLUSIVE, f"Of {counted(evidence.explored, 'usual change')} none lowers the loss by more than {EXPLORED_GAIN:.0%}."


def _by(comparison: Comparison) -> str:
    """How much the loss differs; a loss that is not finite counts as LARGEST."""
    if abs(math.log1p(-comparison.effect)) >= LARGEST - 1e-9:
        return "at least ten times"
    return f"{abs(comparison.effect):.1%}"


def _cleared(recorded: ArmResult, prescription: ArmResult) -> bool:
    """Whether the symptom goes in more seeds than chance explains (exact sign test), and comes in none."""
    pairs = [(before.symptom, after.symptom) for before, after in zip(recorded.seeds, prescription.seeds, strict=False)]
    return (False, True) not in pairs and 2.0 ** -pairs.count((True, False)) <= EXACT


def _diverged(arm: ArmResult) -> int:
    return sum(not math.isfinite(seed.final) for seed in arm.seeds)


def _longer(evidence: Evidence) -> str:
    """What to try where the horizon may be the reason."""
    horizon = evidence.horizon
    if horizon.kind == WHOLE:
        return "The whole plan was trained: the probe differs from the run."
    late = f", and the log shows it from step {evidence.symptom.start} on" if (evidence.symptom.start or 0) > horizon.steps else ""
    return f"Try more steps: {horizon.steps} of {horizon.total_steps} were trained{late}."
