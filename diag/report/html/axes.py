"""The axes of a drawn panel: where steps and values lie, and the numbers beside them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from diag.report.panels import Panel
    from diag.run import FloatArray

MARGIN: Final = 0.04
"""Share of the height that is left free above and below the curves."""
LETTER: Final = 7.5
"""Width of a letter of a code or a number, pixels; more than any, so that none lies over another."""
NARROW: Final = 320
"""Width of a plot on a phone, pixels: for the room that letters take."""
LARGEST_POWER: Final = 308
"""Of ten, as a number of double precision."""


class Frame(NamedTuple):
    """What the axes of a panel show: steps, values, and whether the values are spread by their logarithms."""

    first: int
    last: int
    low: float
    high: float
    logarithmic: bool

    def across(self, step: FloatArray) -> FloatArray:
        """Places between 0 at the left and 1 at the right."""
        return (step - float(self.first)) / max(float(self.last) - float(self.first), 1.0)

    def down(self, value: FloatArray) -> FloatArray:
        """Places between 0 at the top and 1 at the bottom."""
        low, high = self.scaled(np.array([self.low, self.high]))
        share = (self.scaled(value) - low) / (high - low) if high > low else np.full(value.shape, 0.5)
        return 1 - MARGIN - share * (1 - 2 * MARGIN)

    def scaled(self, value: FloatArray) -> FloatArray:
        """Values on the scale of the axis; halved, so that no difference of two is beyond the largest number."""
        return np.log(value) if self.logarithmic else value / 2


def frame(panel: Panel, first: int, last: int) -> Frame:
    """The axes of a panel between two steps."""
    values = panel.values
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return Frame(first, last, low, high, panel.logarithmic)


def ticks(low: float, high: float, logarithmic: bool, wanted: int = 4) -> list[float]:
    """Round numbers between two values: powers of ten, with their double and their half where those are few; or even steps.

    Args:
        low, high: the ends; positive where ``logarithmic``.
        logarithmic: whether the axis is.
        wanted: about how many there are.
    """
    if not high > low:
        return [low]
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        stride = max(1, math.ceil((last - first) / (wanted + 1)))
        factors = (1.0, 2.0, 5.0) if last - first <= wanted // 2 else (1.0,)
        found = [factor * 10.0**power for power in range(first, min(last, LARGEST_POWER) + 1, stride) for factor in factors]
        return [value for value in found if low <= value <= high] or [low, high]
    span = high / wanted - low / wanted
    power = 10.0 ** math.floor(math.log10(span))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= span * 0.999)
    start = math.ceil(low / step - 1e-9)
    found = [(start + i) * step for i in range(2 * wanted + 2)]
    return [value for value in found if math.isfinite(value) and value <= high + step * 1e-9] or [low, high]


def step_ticks(first: int, last: int) -> list[tuple[float, str]]:
    """Where the ticks of the steps are, between 0 and 1, and what they say: the ends, and round numbers that leave them room."""
    length = max(float(last) - float(first), 1.0)
    ends = [(0.0, f"{first:,}"), (1.0, f"{last:,}")] if last > first else [(0.0, f"{first:,}")]
    room = max(len(word) for _, word in ends) * LETTER / NARROW * 1.5
    inner = [((value - first) / length, f"{value:,.0f}") for value in ticks(float(first), float(last), False) if value == round(value)]
    return sorted([*ends, *(tick for tick in inner if room < tick[0] < 1 - room)])


def short(value: float) -> str:
    """A number beside an axis: few digits, no exponent where none is needed."""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share as a place in a picture."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"
