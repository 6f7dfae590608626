"""How far two trainings of the same setting differ by chance: what one more run may show without being worse.

The unit is the run, not the step: what a log shows of its own noise says little about where the same training with another seed
would have ended. That can only be seen in several references. With few of them, or one, what they show is mixed with what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

USUAL: Final = 0.012
"""Standard deviation of a loss between seeds, relative, where nothing is known of it. Fitted to the healthy controls of the training part
of the fault benchmark (1.2% for the best evaluation, 1.5% for the last one); replay found the same in other small trainings."""
USUAL_WORTH: Final = 2
"""How many degrees of freedom that counts for beside the spread of the references. Fitted there as well (1.8 and 1.9): settings differ
much in their noise, so that a few references soon tell more."""
KNOWN: Final = 1_000_000
"""Degrees of freedom that stand for a noise which the user knows."""


def student(t: float, freedom: int) -> float:
    """Upper tail of Student's t with whole degrees of freedom: P(T > t).

    The finite series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4; the normal tail from KNOWN degrees of freedom on.
    """
    if math.isnan(t):
        return math.nan
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if freedom >= KNOWN:
        return 0.5 * math.erfc(t / math.sqrt(2))
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(3 if odd else 2, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    tail = max((1 - inside) / 2, 0.0)
    return tail if t >= 0 else 1 - tail


def critical(alpha: float, freedom: int) -> float:
    """The value that Student's t exceeds with probability ``alpha`` (below one half)."""
    low, high = 0.0, 1.0
    while student(high, freedom) > alpha:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) > alpha else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class Spread:
    """By how much a run may miss the mean of its references by chance.

    Attributes:
        error: standard error of the difference, in the unit of the values (log units for losses).
        freedom: degrees of freedom.
    """

    error: float
    freedom: int

    def p_value(self, difference: float) -> float:
        """Chance of a difference at least that large (positive is worse) where the run is no worse."""
        if self.error == 0:
            return 0.0 if difference > 0 else 1.0
        return student(difference / self.error, self.freedom)

    def explains(self, alpha: float) -> float:
        """The largest difference that chance explains at this level."""
        return critical(alpha, self.freedom) * self.error


def spread(references: Sequence[float], visible: Sequence[float], known: float | None = None) -> Spread:
    """The prediction interval of one more run of the same setting.

    The run and its ``k`` references are taken to be draws of one distribution. Its variance is estimated as in the moderated
    t-statistic (Smyth 2004, doi:10.2202/1544-6115.1027): that of the references, with ``k - 1`` degrees of freedom, and the usual one,
    which counts for USUAL_WORTH, averaged by their degrees of freedom. The usual one is that between seeds, or what the logs show of
    their own noise where that is larger; that of the references counts where the run is noisier than they are, as noise is no excuse.
    The difference to the mean of the references then has the variance times ``1 + 1 / k``.

    Args:
        references: the value of each reference, shape (k,), k at least 1.
        visible: variance of the value that is visible within the log of each run and reference.
        known: standard deviation between seeds where the user knows it; it takes the place of all the others.
    """
    k = len(references)
    if known is not None:
        return Spread(known * math.sqrt(1 + 1 / k), KNOWN)
    prior = max(USUAL**2, min(visible[0], float(np.mean(visible[1:]))))
    freedom = USUAL_WORTH + k - 1
    shown = float(np.var(references, ddof=1)) if k > 1 else 0.0
    variance = (USUAL_WORTH * prior + (k - 1) * shown) / freedom
    return Spread(math.sqrt(variance * (1 + 1 / k)), freedom)


def holm(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level at which each of several hypotheses is tested, so that any false alarm at all has chance ``alpha`` (Holm 1979).

    A hypothesis is rejected if and only if its p-value is not above its level: from the smallest p-value on the levels are ``alpha``
    over the number that are left, up to the first that is not rejected, whose level holds for all after it.
    """
    levels = [0.0] * len(p_values)
    level = alpha
    stopped = False
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        level = level if stopped else alpha / (len(p_values) - rank)
        levels[i] = level
        stopped = stopped or not p_values[i] <= level
    return levels
