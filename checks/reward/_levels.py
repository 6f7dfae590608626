"""What the reward checks share: levels of a noisy reward, on its own scale, with their standard errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from diag.run import Curve, FloatArray

BLOCKS = 8
"""Blocks a reward curve is cut into."""
MINIMUM_POINTS = 20
"""Logged rewards below which no level can be told: a reward is the mean of one small batch of samples."""


class Level(NamedTuple):
    """Mean of a stretch of a curve, its standard error, and the steps it covers."""

    mean: float
    error: float
    first: int
    last: int


def levels(curve: Curve, blocks: int = BLOCKS) -> list[Level]:
    """The curve in consecutive blocks.

    The error is the larger of the one within the block and the one of the whole curve's noise, so that a block whose
    few values agree by chance does not look exact.
    """
    noise = deviation(curve.value)
    out = []
    for index in np.array_split(np.arange(len(curve)), min(blocks, len(curve))):
        value = curve.value[index]
        spread = max(noise, float(value.std(ddof=1)) if value.size > 1 else 0.0)
        out.append(Level(float(value.mean()), spread / math.sqrt(value.size), int(curve.step[index[0]]), int(curve.step[index[-1]])))
    return out


def deviation(value: FloatArray) -> float:
    """Standard deviation of the noise around a slow trend, from first differences (von Neumann 1941)."""
    return math.sqrt(float((np.diff(value) ** 2).mean()) / 2) if value.size > 1 else 0.0


def separation(one: Level, other: Level) -> float:
    """How many standard errors ``one`` lies above ``other``."""
    error = math.hypot(one.error, other.error)
    difference = one.mean - other.mean
    return difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0
