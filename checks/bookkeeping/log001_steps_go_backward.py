"""LOG001: the log goes back to an earlier step."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold, percent
from diag.examination import Examination, Series
from diag.vocabulary import INFO, UNSTABLE, WARNING

SIDE = 10
"""Points on each side of the boundary that its level is taken from (resume discontinuity: 10 each side)."""
SHIFT = 4.0
"""Noise scales that a change of level must exceed."""
MINIMUM_SHIFT = 1.1
"""Smallest ratio of the levels after and before worth speaking of, as for spikes."""


class StepsGoBackward(Check):
    """The steps go back: the run was resumed or restarted into the same log.

    ## What it does
    Lists the places where the log returned to an earlier step (the newer rows are the ones that are judged) and
    compares the training loss before and after each: 10 points on either side, against the run's own noise.

    ## Why is this bad?
    Resuming as such is not. A loss that comes back higher than it left shows that something was not restored: the
    optimizer state, the learning-rate schedule, the data order, or the right checkpoint.

    ## When it stays silent
    It never flags a resume whose loss continues where it left off; that is a remark (info).

    ## What to do
    Resume with optimizer, scheduler and data-loader state, from the newest checkpoint; write each launch to a log of its own.

    ## References
    Level shift at a resume boundary: more than 4 noise scales, 10 points on each side.
    """

    code = "LOG001"
    name = "steps-go-backward"
    severity = INFO
    reward_logs = True
    thresholds = (Threshold("minimum_shift", MINIMUM_SHIFT, "ratio of levels", 1.0, 100.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """One finding for all resumes; a second kind of severity where the loss jumped at one."""
        run = examination.run
        overlaps = [o for o in run.overlaps if o.metric == "train/loss"] or run.overlaps
        if not overlaps:
            return
        places = list(dict.fromkeys((o.step_from, o.step_to) for o in overlaps))
        jumps = []
        minimum = math.log(examination.threshold(self, "minimum_shift"))
        if examination.train is not None and not examination.is_reward_driven:
            jumps = [(to, jump) for _, to in places if (jump := level_jump(examination.train, to, minimum)) is not None]
        first, last = places[0], places[-1]
        times = "once" if len(places) == 1 else f"{len(places)} times"
        text = f"The log goes back {times} (first from step {first[0]} to {first[1]}): the run was resumed or restarted"
        if jumps:
            step, jump = max(jumps, key=lambda item: (item[1], -item[0]))
            text += f", and the training loss came back {percent(jump)} higher at step {step}"
        yield self.finding(
            f"{text}. The newer rows were judged.",
            severity=WARNING if jumps else INFO,
            metric="train/loss" if examination.train is not None else "",
            step_start=min(to for _, to in places),
            step_end=max(first[0], last[0]),
            evidence={
                "places": [list(place) for place in places[:20]],
                "jumps": [[step, round(math.expm1(min(jump, 50.0)), 4)] for step, jump in jumps[:20]],
            },
            causes={"resume_discontinuity": 3.0} if jumps else {},
            verdicts={UNSTABLE: 1.0} if jumps else {},
        )


def level_jump(train: Series, step: int, minimum: float = math.log(MINIMUM_SHIFT)) -> float | None:
    """Rise of the log loss at a resume, None where it stays within the noise or below ``minimum``, or there are too few points."""
    at = int(np.searchsorted(train.curve.step, step))
    before, after = train.y[max(0, at - SIDE) : at], train.y[at : at + SIDE]
    if min(before.size, after.size) < SIDE:
        return None
    rise = float(np.median(after) - np.median(before))
    limit = max(SHIFT * train.sigma * math.sqrt(2 / SIDE), minimum)
    return rise if rise > limit else None
