"""SPK005: the training loss jumps to another level for a while, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold, percent
from diag.examination import Examination, Series
from diag.vocabulary import UNSTABLE, WARNING

MINIMUM_POINTS = 40
"""Logged training losses below which stretches are not looked for."""
WIDTH = 3
"""Points whose median is the level on either side of a jump."""
START = 0.1
"""Share of the run that is not searched: the loss falls too steeply there."""
HEIGHT = 1.5
"""Least ratio of the loss in a stretch to that before it."""
SIGMAS = 6.0
"""Noise scales that a jump must exceed, as for spikes."""
BACK = 0.3
"""Share of the height above the earlier level to which a stretch must return."""
AROUND = 15
"""Points before a jump that its noise is measured on."""
LONE = 6
"""Points from which on a single stretch is no accident."""
MOST = 0.5
"""Share of the run above which the higher level is the rule, and what lies between the stretches the exception."""


class Stretch(NamedTuple):
    """Points ``start`` to ``end`` (not included) that lie ``height`` (log units) above what came before them."""

    start: int
    end: int
    height: float


class BadStretches(Check):
    """The training loss jumps to a higher level within one logged point, stays there for a while, and drops back as abruptly.

    ## What it does
    Looks for stretches of three points or more that begin and end with a jump by half of the loss or more, beyond six noise scales,
    and after which the loss is where it was before. Fires for two of them, or for a single one of six points.

    ## Why is this bad?
    A model does not lose and regain what it knows from one step to the next: what changed is the data. Those
    batches are corrupt, mislabelled or from somewhere else, and their gradients work against the rest.

    ## When it stays silent
    When the way back takes time, as after an unstable step, when the loss falls or rises for good, and when the higher level is
    that of more than half of the run.

    ## What to do
    Look at the samples of these steps; take them out, or lower the loss on them by clipping gradients at 1.0.

    ## References
    Guide rows S1-204, S1-216, S3-117, S3-122.
    """

    code = "SPK005"
    name = "bad-stretches"
    severity = WARNING
    needs = ("train/loss",)
    rules = ("S1-204", "S1-216", "S3-117", "S3-122")
    thresholds = (
        Threshold("height", HEIGHT, "ratio of losses", 1.0, 1e6),
        Threshold("lone", LONE, "points", 3, 1_000_000),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for all stretches."""
        train = examination.require_train(MINIMUM_POINTS)
        found = stretches(train, math.log(examination.threshold(self, "height")))
        points = sum(stretch.end - stretch.start for stretch in found)
        if not found or (len(found) == 1 and points < examination.threshold(self, "lone")) or points > MOST * len(train):
            return
        height = float(np.median([stretch.height for stretch in found]))
        count = f"{len(found)} stretches" if len(found) > 1 else "One stretch"
        yield self.finding(
            f"{count} of the training loss, {points} points in all, {'lie' if len(found) > 1 else 'lies'} {percent(height)} above what "
            "came before and after, with an abrupt beginning and end: the data differ there.",
            metric="train/loss",
            step_start=int(train.curve.step[found[0].start]),
            step_end=int(train.curve.step[min(found[-1].end, len(train)) - 1]),
            evidence={
                "stretches": len(found),
                "steps": [int(train.curve.step[stretch.start]) for stretch in found[:20]],
                "median_height": round(math.expm1(min(height, 50.0)), 4),
                "share": round(points / len(train), 4),
            },
            causes={"data_corruption": 4.5, "lr_too_high": -2.0},
            verdicts={UNSTABLE: 4.0},
        )


def stretches(train: Series, least: float) -> list[Stretch]:
    """The stretches of a training loss that are at least ``least`` (log units) high, in order.

    The last one may reach the end of the run if it is not the only one.
    """
    y, n = train.y, len(train)
    level = np.median(np.lib.stride_tricks.sliding_window_view(y, WIDTH), axis=1)  # of y[i : i + WIDTH]
    jump = level[WIDTH:] - level[:-WIDTH]  # between the points before and from i + WIDTH on
    found: list[Stretch] = []
    at = max(0, int(START * n) - WIDTH)
    likely = SIGMAS / 2 * min(stats.noise_scale(y[: n // 2]), stats.noise_scale(y[n // 2 :]))  # spares the search in noisy series
    for candidate in np.flatnonzero(jump >= max(least, likely)).tolist():
        if candidate < at:
            continue
        at = candidate
        at += int(np.argmax(jump[at : at + WIDTH]))  # the steepest of the neighbouring windows
        start, height, before = at + 1 + int(np.argmax(np.diff(y[at : at + 2 * WIDTH]))), float(jump[at]), float(level[at])
        around = stats.noise_scale(y[max(0, start - AROUND) : start])
        if height <= SIGMAS * around:
            at += 1  # noise, in the common case without a search for the end of a stretch
            continue
        floor = before + (1 - BACK) * height
        back = np.flatnonzero(level[start:] < before + BACK * height)
        end = start + int(back[0]) if back.size else n
        if end < n and y[end] > floor:
            end += 1  # the median of the points from here on is low already, but not yet the first of them
        inside = y[start:end]
        noise = max(around, stats.noise_scale(inside))
        abrupt = inside.size >= WIDTH and float(inside[-1]) > floor and float(np.median(inside[-WIDTH:])) > floor
        if abrupt and height > SIGMAS * noise and (end < n or found):
            found.append(Stretch(start, end, height))
        at = max(end, at + 1)
    return found
