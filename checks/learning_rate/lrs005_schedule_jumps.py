"""LRS005: the learning rate does not follow the schedule that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, UNDERFIT, UNSTABLE, WARNING

MINIMUM_POINTS = 8
"""Logged learning rates below which a restart cannot be told from a warmup."""
FALL = 0.25
"""Share of the peak by which the rate must have fallen before it rises again, to count as a restart."""
RISE = 0.25
"""Share of the peak by which the rate must have risen again to count as a restart."""
ANEW, ABRUPT = 0.9, 2
"""Share of the peak that the rate is back at, within so many logged points (a warmup may lie in between), where a schedule begins anew."""
IN_CYCLES = {"schedule_bug": 4.0, "lr_too_high": 0.8}
"""Weights of evidence of repeated restarts, nats."""
AFTER_RESUME = {"resume_discontinuity": 3.6, "schedule_bug": 3.2, "lr_too_high": 0.8}
"""Weights of evidence of a single one, nats. One jump back to the beginning is what a resumed run looks like whose scheduler was not
restored; in either case the schedule is not the one asked for."""
EXPECTED = ("restart", "cycl", "plateau", "sgdr", "warm_restarts")
"""Words in the name of a scheduler that announce rises after the peak."""


class ScheduleJumps(Check):
    """The learning rate rises again after it had decayed.

    ## What it does
    Counts how often the logged rate falls by a quarter of its peak and rises by a quarter again, and compares with
    the name of the scheduler.

    ## Why is this bad?
    A cycle that nobody asked for (a period counted in epochs instead of steps, a scheduler stepped twice) undoes what
    annealing gained and ends the run at an arbitrary rate.

    ## When it stays silent
    When the scheduler is one with restarts; when the run was resumed (LOG001); a single restart of unknown origin is
    a remark.

    ## What to do
    Set the decay length to the planned optimizer steps and step the scheduler once an optimizer step. After one jump back to the peak:
    restore optimizer and scheduler together with the weights when a run is resumed.

    ## References
    Guide rows S3-014, S3-015, S3-057.
    """

    code = "LRS005"
    name = "schedule-jumps"
    severity = WARNING
    needs = ("lr",)
    rules = ("S3-015", "S3-057")
    thresholds = (
        Threshold("rise", RISE, "share of the peak", 0.0, 1.0),
        Threshold("fall", FALL, "share of the peak", 0.0, 1.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("lr", MINIMUM_POINTS)
        peak = float(curve.value.max())
        if peak <= 0:
            raise Skip("the learning rate is zero; see LRS003")
        turns = restarts(curve.value / peak, examination.threshold(self, "rise"), examination.threshold(self, "fall"))
        if not turns:
            return
        name = str(examination.hyperparameter("lr_scheduler") or "").lower()
        entry = examination.run.hyperparameters.get("lr_scheduler")
        declared = bool(name) and entry is not None and entry.kind != "inferred"
        if any(word in name for word in EXPECTED):
            return
        resumed = bool(examination.run.overlaps)
        wrong = (declared or len(turns) >= 2) and not resumed
        yield self.finding(
            f"The learning rate falls and rises again {len(turns)} time{'s' if len(turns) > 1 else ''}"
            + (f" although the scheduler is {name}." if declared else "."),
            severity=WARNING if wrong else INFO,
            metric="lr",
            step_start=int(curve.step[turns[0]]),
            step_end=int(curve.step[-1]),
            evidence={"bug": "cycles", "restarts": len(turns), "scheduler": name},
            causes=(AFTER_RESUME if begins_again(curve.value / peak, turns) else IN_CYCLES) if wrong else {},
            verdicts={UNSTABLE: 3.0, UNDERFIT: 1.5} if wrong else {},
        )


def begins_again(relative: np.ndarray, turns: list[int]) -> bool:
    """Whether the rate jumps back once, from one logged point to the next, to where it was at its peak: the schedule began anew."""
    if len(turns) != 1 or turns[0] + 1 >= relative.size:
        return False
    return bool(relative[turns[0] + 1 : turns[0] + 1 + ABRUPT].max() >= ANEW)


def restarts(relative: np.ndarray, rise: float = RISE, fall: float = FALL) -> list[int]:
    """Indices where the rate turns upward after a fall, by these shares of the peak."""
    turns: list[int] = []
    high = low = float(relative[0])
    low_at, falling = 0, False
    seen_peak = False
    for i, value in enumerate(relative.tolist()):
        if not falling:
            high = max(high, value)
            if high >= 0.99:
                seen_peak = True
            if high - value >= fall:
                falling, low, low_at = True, value, i
        else:
            if value < low:
                low, low_at = value, i
            elif value - low >= rise:
                turns.append(low_at)
                falling, high = False, value
    return turns if seen_peak else []
