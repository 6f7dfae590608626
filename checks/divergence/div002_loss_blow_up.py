"""DIV002: the training loss rose and stayed up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag import stats
from diag.check import LARGEST_LOG, Check, Finding, Skip, Threshold, percent
from diag.examination import Examination, Series
from diag.run import FloatArray
from diag.vocabulary import DIVERGED, ERROR, UNSTABLE, WARNING

BLOCKS = 12
"""Blocks the run is cut into; the loss is judged by their medians."""
BLOCK_POINTS = 5
"""Points that a block has at least; the median of fewer is too noisy to be the best of many."""
WARNING_FACTOR = 1.2
"""Loss at the end over that of the best block that is instability (peers call 1.2 to 1.5 a divergence)."""
ERROR_FACTOR = 1.5
"""Loss at the end over that of the best block that is divergence: half of it is lost."""
NOISE_FACTOR = 2.5
"""The rise must exceed this many standard errors of a block median, and two thirds of the last points must lie above two
thirds of the best block: the best of many noisy blocks is low by selection."""
SELECTION = 0.75
"""Expected minimum of up to 12 standard normal values over sqrt(2 ln n), within 5%: the best block is low by luck by as much."""
TOO_NOISY = 1.0
"""Noise (log units) at which single losses differ by factors of three and the log of a loss is no longer near normal."""
LOST_SHARE = 0.7
"""Share of the progress that must be lost for a fall back to the starting level."""


LEAST_LOST = 0.1
"""Share of the progress that must be lost for a rise to matter: near zero a loss multiplies without meaning."""
MINIMUM_EVALS, EVAL_STAYS = 4, 0.05
"""Evaluations that may speak against a moderate rise, and how far above their best they may end, log units."""
STEADY_SHARE, AT_PEAK = 0.25, 0.9
"""Share of the run for which the loss must have fallen, and share of its points at this share of the later rate, to acquit the rate."""
JUMP_SHARE, JUMP_SIGMAS = 0.5, 6.0
"""A jump makes up half of the rise, or exceeds six noise scales, within one logged point."""
AT_ONCE = math.log(3.0)
"""Rise above the first loss that no noise and no warmup explains."""
START_ERRORS = 4.0
"""Standard errors by which the end must lie above the first points: there are few of them, their noise is that of the first steps, and a
single one is low by luck in one run of a hundred at half as many."""
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
    tenth of the progress since the start must be lost. A rise below a half is none while the evaluation loss stays at its best.

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
    thresholds = (
        Threshold("warning_factor", WARNING_FACTOR, "ratio of losses", 1.0, 1e6),
        Threshold("error_factor", ERROR_FACTOR, "ratio of losses", 1.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        train = examination.require_train(10)
        limits = Limits(*(math.log(examination.threshold(self, name)) for name in ("warning_factor", "error_factor")))
        found = lost_at_once(train, limits)
        if found is None and train.sigma > TOO_NOISY:
            raise Skip("the training loss is too noisy to tell a rise; see NSE001")
        found = found or settled_rise(train, limits)
        if found is not None and found.rise < limits.error and evaluations_stay(examination):
            found = None
        found = found or late_rise(train, limits) or above_start(train, limits)
        if found is None:
            return
        severe = found.rise >= limits.error or found.lost >= LOST_SHARE
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
            causes=suspects(examination, train, found),
            verdicts={DIVERGED: 6.5} if severe else {UNSTABLE: 3.0, DIVERGED: 1.5},
        )


def evaluations_stay(examination: Examination) -> bool:
    """Whether the evaluation loss ends at its best, so that a moderate rise of the training loss is its noise or its data."""
    series = next((one for one in examination.evals if len(one) >= MINIMUM_EVALS), None)
    return series is not None and float(np.median(series.y[-2:]) - series.y.min()) < EVAL_STAYS


def suspects(examination: Examination, train: Series, found: Rise) -> dict[str, float]:
    """Weights of evidence for what raised the loss.

    A rate that is too high shows soon after it is reached; where the loss fell steadily at the same or a higher rate for a good
    part of the run and then jumped from one point to the next, what changed is the data, and clipping would have limited its effect.
    """
    causes = {"lr_too_high": 2.5, "exploding_gradients": 0.8, "gradient_clipping_missing": 0.3, "data_corruption": 0.2}
    rate = examination.schedule(train.step)
    tried = float(np.mean(rate[: found.since + 1] >= AT_PEAK * rate[found.since]))
    steep = np.diff(train.y[max(0, found.since - 1) :])
    jumps = steep.size > 0 and float(steep.max()) > max(JUMP_SHARE * found.rise, JUMP_SIGMAS * train.sigma)
    falling = train.y[: found.since + 1].size >= BLOCK_POINTS and train.progress[found.since] >= STEADY_SHARE
    if jumps and falling and tried >= STEADY_SHARE and not examination.has_nonfinite_loss:
        causes.update(lr_too_high=1.2, data_corruption=1.6)
        if examination.is_unclipped:
            causes["gradient_clipping_missing"] = 1.8
    return causes


class Limits(NamedTuple):
    """Rises of the log loss that are a warning and an error."""

    warning: float
    error: float


class Rise(NamedTuple):
    """A rise of the log loss: its height, the share of the progress since the start that it cost, the index it began at."""

    rise: float
    lost: float
    since: int


def last_sixth(train: Series) -> FloatArray:
    """The log losses of the last sixth of the rows, two at least."""
    return train.y[-max(len(train) // 6, 2) :]


def lost_at_once(train: Series, limits: Limits) -> Rise | None:
    """The end of the run far above its very first loss: it blew up in the first steps, and there is no best to compare with."""
    start, tail = float(train.y[0]), last_sixth(train)
    rise = float(np.median(tail)) - start
    if rise < AT_ONCE or float(np.quantile(tail, 0.1)) < start + limits.error or rise < START_ERRORS * min(train.sigma, TOO_NOISY):
        return None
    return Rise(rise, 1.0, 0)


def above_start(train: Series, limits: Limits) -> Rise | None:
    """The end of the run above its first points, beyond the noise of so few: what the initial weights could do was lost."""
    tail = last_sixth(train)
    level = float(tail.mean())
    for count in sorted({1, 3, max(3, len(train) // 24)}):
        start = float(train.y[:count].mean())
        error = train.sigma * math.sqrt(1 / count + 1 / tail.size)
        if level - start > max(limits.warning, START_ERRORS * error):
            return Rise(level - start, 1.0, count - 1)
    return None


def settled_rise(train: Series, limits: Limits) -> Rise | None:
    """The end of the run (its last sixth) against the best of its blocks; None within noise or where the best is near the end."""
    blocks = np.array_split(train.y, max(2, min(BLOCKS, len(train) // BLOCK_POINTS)))
    level = np.array([float(np.median(block)) for block in blocks])
    best = int(np.argmin(level[:-1])) if level.size > 1 else 0
    tail = last_sixth(train)
    rise = float(np.median(tail)) - float(level[best])
    error = train.sigma * math.sqrt(math.pi / 2 * (1 / blocks[best].size + 1 / tail.size))
    lucky = train.sigma * math.sqrt(math.pi / 2 / blocks[best].size) * SELECTION * math.sqrt(2 * math.log(level.size))
    if rise < max(limits.warning, NOISE_FACTOR * error + lucky) or best >= level.size - 2:
        return None
    if float(np.quantile(tail, 1 / 3)) < float(np.quantile(blocks[best], 2 / 3)) or only_the_end(train, limits):
        return None
    start = float(np.median(train.y[: max(2, min(5, len(train) // 10))]))
    progress = start - float(level[best])
    if rise < LEAST_LOST * progress:
        return None
    made = progress > max(0.05, NOISE_FACTOR * error)
    return Rise(rise, rise / progress if made else 0.0 if rise < limits.error else 1.0, sum(block.size for block in blocks[: best + 1]) - 1)


def late_rise(train: Series, limits: Limits) -> Rise | None:
    """The last 2% of the rows (at least 5) against the quarter of the run before: a blow-up that had no time to settle."""
    width = max(LATE_POINTS, int(LATE_SHARE * len(train)))
    if len(train) < LATE_MINIMUM:
        return None
    tail, before = train.y[-width:], train.y[-width - len(train) // 4 : -width]
    middle = float(np.median(before))
    rise = float(np.median(tail)) - middle
    spread = stats.MAD_TO_SIGMA * float(np.median(np.abs(before - middle)))
    if rise < max(limits.error, LATE_SIGMAS * train.sigma, LATE_SIGMAS * spread) or float(tail.min()) < float(np.quantile(before, 0.95)):
        return None
    above = np.flatnonzero(train.y[: len(train) - width] < middle + rise / 4)
    return Rise(rise, 1.0, int(above[-1]) if above.size else 0)


def only_the_end(train: Series, limits: Limits) -> bool:
    """Whether the rise is the very last point or two, as in a final average or an unfinished epoch."""
    if len(train) < 6:
        return False
    without = stats.running_median(train.y[:-2], 5)
    return bool(train.y[-3] - without.min() < limits.warning)
