"""What a replay says about the causes of a run: its result file, read again, and the ranking that follows from it. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from diag.diagnosis import CAUSE_PRIOR, CAUSE_REPORTED, Diagnosis, RankedCause, logistic
from diag.errors import InputError
from diag.vocabulary import CAUSES, HEALTHY, INCONCLUSIVE, OVERFIT, UNDERFIT, UNSTABLE

HELPED: Final = "helped"
NO_HELP: Final = "no help"
BEHIND: Final = "behind"

SHARE_OF_BEST: Final = 0.5
"""Share of the best gain that a change must reach for its cause to count as a true one: the rule of the fault benchmark's labels."""
LEAST_GAIN: Final = 0.02
"""Relative gain below which a change helped nothing: what a change may gain in a run that counts as healthy (docs/calibration.md)."""
LOG_ODDS: Final = {HELPED: math.log(3), NO_HELP: -math.log(2), BEHIND: -math.log(10)}
"""By what a tried change did, what is added to the log odds of the cause it answers: how much oftener it does that for true causes
of the fault benchmark than for others (benchmarks/faults/replay.py prints the shares)."""
CONFIRMED: Final = "CONFIRMED"
"""The result of a replay whose change helps."""
SHOWN: Final = {
    "lr_too_high": UNSTABLE,
    "lr_too_low": UNDERFIT,
    "warmup_too_short": UNSTABLE,
    "too_many_epochs": OVERFIT,
    "too_few_epochs": UNDERFIT,
    "capacity_too_low": UNDERFIT,
    "regularization_too_weak": OVERFIT,
    "weight_decay_too_high": UNDERFIT,
    "batch_too_small": UNSTABLE,
    "batch_too_large": UNDERFIT,
    "gradient_clipping_missing": UNSTABLE,
    "gradient_clipping_too_tight": UNDERFIT,
}
"""The verdict of a run whose log shows nothing, by the cause that a replay shows."""
CERTAIN: Final = 1e-4
"""How near to 0 and 1 a score counts: no log makes a cause more certain than an experiment can shake."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The change that answers a cause, tried.

    Attributes:
        cause: one of diag.vocabulary.CAUSES.
        change: the change, in one phrase.
        gain: relative improvement of the loss; 0 where it was not decided, or the arm fell behind and was dropped.
        dropped: whether it fell behind and was dropped.
    """

    cause: str
    change: str
    gain: float
    dropped: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay, as far as a diagnosis needs it.

    Attributes:
        file: where it was read.
        run: id of the run that was replayed.
        path: path of its log.
        result: CONFIRMED, REFUTED or INCONCLUSIVE.
        reason: one sentence.
        trials: one a tried cause.
    """

    file: str
    run: str
    path: str
    result: str
    reason: str
    trials: tuple[Trial, ...]

    def is_of(self, run: str, path: str) -> bool:
        """Whether a run is the one that was replayed: by its path, or its id where the log was moved."""
        return Path(path).resolve() == Path(self.path).resolve() or run == self.run

    def rediagnose(self, diagnosis: Diagnosis) -> Diagnosis:
        """A diagnosis with its causes ranked anew; what would tell them apart was asked of the replay.

        A run whose log shows nothing, and that a change was confirmed to help, gets the verdict of what was shown to be wrong.
        """
        if not self.trials:
            return diagnosis
        causes = rerank(diagnosis.causes, self.trials)
        shown = SHOWN.get(causes[0].cause) if causes and self.result == CONFIRMED else None
        if diagnosis.verdict in (HEALTHY, INCONCLUSIVE) and shown is not None:
            return Diagnosis(shown, causes[0].score, causes)
        return replace(diagnosis, causes=causes, questions=())


def verdicts_of(trials: Iterable[Trial]) -> dict[str, str]:
    """What each tried change did for its cause: HELPED, NO_HELP or BEHIND."""
    known = sorted(trials, key=lambda trial: (trial.gain, not trial.dropped))  # of several changes for a cause the best one tells
    best = max((trial.gain for trial in known), default=0.0)
    bar = max(SHARE_OF_BEST * best, LEAST_GAIN)
    return {trial.cause: HELPED if trial.gain >= bar else BEHIND if trial.dropped else NO_HELP for trial in known}


def rerank(causes: Sequence[RankedCause], trials: Iterable[Trial]) -> tuple[RankedCause, ...]:
    """Causes by their odds after the trials, most likely first: the odds of the log times a likelihood ratio of what the change did.

    A cause that the log did not name, and whose change helped, is named. Of equally
    likely causes the one whose change gained more comes first.
    """
    tried = tuple(trials)
    found, gains = verdicts_of(tried), {trial.cause: trial.gain for trial in sorted(tried, key=lambda trial: trial.gain)}
    known = {cause.cause: cause for cause in causes}
    for name, verdict in found.items():
        if name not in known and verdict == HELPED:
            known[name] = RankedCause(name, logistic(CAUSE_PRIOR))
    ranked = [
        replace(cause, score=round(logistic(log_odds(cause.score) + LOG_ODDS[found[name]]), 4)) if name in found else cause
        for name, cause in known.items()
    ]
    ranked.sort(key=lambda cause: (-cause.score, -gains.get(cause.cause, 0.0), CAUSES.index(cause.cause)))
    return tuple(cause for cause in ranked if cause.score >= CAUSE_REPORTED)


def log_odds(score: float) -> float:
    """Of a probability, which is kept away from 0 and 1."""
    held = min(max(score, CERTAIN), 1 - CERTAIN)
    return math.log(held / (1 - held))


def read(file: str) -> Replayed:
    """The result file of a replay, or its folder.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    path = Path(file)
    path = path / "replay.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return _parse(str(path), report)
    except OSError as error:
        raise InputError(path, error.strerror or str(error), "give the replay.json of a diag replay") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(path, f"is no result of diag replay ({type(error).__name__})", "give the replay.json that it wrote") from error


def _parse(file: str, report: Mapping[str, Any]) -> Replayed:
    run, trials = report["run"], []
    for entry in report["trials"]:
        gain = float(entry["gain"])
        if entry["cause"] not in CAUSES or not math.isfinite(gain):
            raise ValueError(entry["cause"])
        trials.append(Trial(entry["cause"], str(entry["change"]), gain, bool(entry["dropped"])))
    return Replayed(file, str(run["id"]), str(run["path"]), str(report["result"]), str(report["reason"]), tuple(trials))
