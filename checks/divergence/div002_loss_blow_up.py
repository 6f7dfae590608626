"""DIV002: the training loss rose and stayed up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag import stats
from diag.check import LARGEST_LOG, Check, Finding, Skip, percent
from diag.examination import Examination, Series
from diag.run import FloatArray
from diag.vocabulary import DIVERGED, ERROR, UNSTABLE, WARNING

BLOCKS = 12
"""Blocks the run is cut into; the loss is judged by their medians."""
BLOCK_POINTS = 5
"""Points that a block has at least; the median of fewer is too noisy to be the best of many."""
RISE_ERROR, RISE_WARNING = math.log(1.5), math.log(1.2)
"""Rise of the end over the best block: 50% lost is divergence, 20% instability (peers call 1.2 to 1.5 a divergence)."""
NOISE_FACTOR = 2.5
"""The rise must exceed this many standard errors of a block median, and two thirds of the last points must lie above two
thirds of the best block: the best of many noisy blocks is low by selection."""
TOO_NOISY = 1.0
"""Noise (log units) at which single losses differ by factors of three and the log of a loss is no longer near normal."""
LOST_SHARE = 0.7
"""Share of the progress that must be lost for a fall back to the starting level."""


LEAST_LOST = 0.1
"""Share of the progress that must be lost for a rise to matter: near zero a loss multiplies without meaning."""
AT_ONCE = math.log(3.0)
"""Rise above the first loss that no noise and no warmup explains."""
LATE_POINTS, LATE_SHARE, LATE_MINIMUM = 5, 0.02, 30
"""Rows at the very end in which a blow-up that had no time to settle is looked for, and how long a log must be."""
LATE_SIGMAS = 6.0
"""Noise scales, and spreads of the quarter before, that such a blow-up must exceed (as for spikes)."""


class LossBlowUp(Check):
    """The training loss rises from its best and does not come back.

    ## What it does
    Cuts the run into blocks and compares the median of the last ones with the best one. Fires when the loss ends at
    least 20% (warning) or 50% (error) above its best block beyond the noise of the series, or when it has lost most of
    the progress it had made. The last 2% are compared with the quarter before as well, for a blow-up at the very end,
    and the end with the very first loss, for one in the first steps.

    ## Why is this bad?
    The model that comes out is worse than one from the middle of the run; the steps since the best are lost.

    ## When it stays silent
    A spike that recovers is SPK001. Noise is measured first: with noisy batches the end may lie above the minimum of
    the raw values without any loss of progress. A loss near zero may multiply without meaning anything: at least a
    tenth of the progress since the start must be lost.

    ## What to do
    Divide the learning rate by 5, lengthen the warmup to 10% of the steps, clip gradients at 1.0, restart from the
    last checkpoint before the rise.

    ## References
    Guide rows S0-044, S1-062, S3-183; fix F02.
    """

    code = "DIV002"
    name = "loss-blow-up"
    severity = ERROR
    needs = ("train/loss",)
    rules = ("S0-044", "S1-062", "S3-183")

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(10)
        found = lost_at_once(train)
        if found is None and train.sigma > TOO_NOISY:
            raise Skip("the training loss is too noisy to tell a rise; see NSE001")
        found = found or settled_rise(train) or late_rise(train)
        if found is None:
            return
        severe = found.rise >= RISE_ERROR or found.lost >= LOST_SHARE
        step = int(train.curve.step[found.since])
        yield self.finding(
            f"The training loss rises {percent(found.rise)} from its level at step {step} and does not come back.",
            severity=ERROR if severe else WARNING,
            metric="train/loss",
            step_start=step,
            step_end=int(train.curve.step[-1]),
            evidence={
                "relative_rise": round(math.expm1(min(found.rise, LARGEST_LOG)), 4),
                "progress_lost": round(min(found.lost, 99.0), 3),
                "severity_factor": 5.0,
            },
            causes={"lr_too_high": 2.5, "exploding_gradients": 0.8, "gradient_clipping_missing": 0.3, "data_corruption": 0.2},
            verdicts={DIVERGED: 6.5} if severe else {UNSTABLE: 3.0, DIVERGED: 1.5},
        )


class Rise(NamedTuple):
    """A rise of the log loss: its height, the share of the progress since the start that it cost, the index it began at."""

    rise: float
    lost: float
    since: int


def last_sixth(train: Series) -> FloatArray:
    """The log losses of the last sixth of the rows, two at least."""
    return train.y[-max(len(train) // 6, 2) :]


def lost_at_once(train: Series) -> Rise | None:
    """The end of the run far above its very first loss: it blew up in the first steps, and there is no best to compare with."""
    start, tail = float(train.y[0]), last_sixth(train)
    rise = float(np.median(tail)) - start
    if rise < AT_ONCE or float(np.quantile(tail, 0.1)) < start + RISE_ERROR or rise < NOISE_FACTOR * min(train.sigma, TOO_NOISY):
        return None
    return Rise(rise, 1.0, 0)


def settled_rise(train: Series) -> Rise | None:
    """The end of the run (its last sixth) against the best of its blocks; None within noise or where the best is near the end."""
    blocks = np.array_split(train.y, max(2, min(BLOCKS, len(train) // BLOCK_POINTS)))
    level = np.array([float(np.median(block)) for block in blocks])
    best = int(np.argmin(level[:-1])) if level.size > 1 else 0
    tail = last_sixth(train)
    rise = float(np.median(tail)) - float(level[best])
    error = train.sigma * math.sqrt(math.pi / 2 * (1 / blocks[best].size + 1 / tail.size))
    if rise < max(RISE_WARNING, NOISE_FACTOR * error) or best >= level.size - 2:
        return None
    if float(np.quantile(tail, 1 / 3)) < float(np.quantile(blocks[best], 2 / 3)) or only_the_end(train):
        return None
    start = float(np.median(train.y[: max(2, min(5, len(train) // 10))]))
    progress = start - float(level[best])
    if rise < LEAST_LOST * progress:
        return None
    return Rise(rise, rise / progress if progress > 0.05 else 1.0, sum(block.size for block in blocks[: best + 1]) - 1)


def late_rise(train: Series) -> Rise | None:
    """The last 2% of the rows (at least 5) against the quarter of the run before: a blow-up that had no time to settle."""
    width = max(LATE_POINTS, int(LATE_SHARE * len(train)))
    if len(train) < LATE_MINIMUM:
        return None
    tail, before = train.y[-width:], train.y[-width - len(train) // 4 : -width]
    middle = float(np.median(before))
    rise = float(np.median(tail)) - middle
    spread = stats.MAD_TO_SIGMA * float(np.median(np.abs(before - middle)))
    if rise < max(RISE_ERROR, LATE_SIGMAS * train.sigma, LATE_SIGMAS * spread) or float(tail.min()) < float(np.quantile(before, 0.95)):
        return None
    above = np.flatnonzero(train.y[: len(train) - width] < middle + rise / 4)
    return Rise(rise, 1.0, int(above[-1]) if above.size else 0)


def only_the_end(train: Series) -> bool:
    """Whether the rise is the very last point or two, as in a final average or an unfinished epoch."""
    if len(train) < 6:
        return False
    without = stats.running_median(train.y[:-2], 5)
    return bool(train.y[-3] - without.min() < RISE_WARNING)
