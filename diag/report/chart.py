"""A small chart of the loss for terminals, and the lanes under it that show where the findings are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diag.run import Curve, FloatArray

ROWS = 9
"""Height of the plot in lines: a third of a classic 24-line terminal, so that verdict and chart are seen together."""
LOG_RATIO = 20.0
"""Ratio of largest to smallest loss from which a linear axis hides the lower part (under two dots of 36)."""
SPIKE_FACTOR = 4.0
"""A point is drawn beside the median of its column when it is this many times further from it than is usual."""
CUT_RATIO = 1.5
"""The axis ends at the highest usual value where single spikes would stretch its range by more than this."""
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each braille dot, by row and column within a cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One character of the plot and what it shows: ``train``, ``eval``, ``nonfinite``, ``cut`` or "" for nothing."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn plot.

    Attributes:
        rows: lines of the plot, top first, each of equal length.
        labels: axis label of each line, "" for none.
        first, last: steps at the left and the right edge.
        logarithmic: whether the axis is.
        cut: the highest value if it lies above the axis, else None.
    """

    rows: list[list[Cell]]
    labels: list[str]
    first: int
    last: int
    logarithmic: bool
    cut: float | None = None

    def column(self, step: int) -> int:
        """The character column of a step."""
        width = len(self.rows[0])
        share = (step - self.first) / max(self.last - self.first, 1)
        return min(max(int(share * width), 0), width - 1)


def draw(train: Curve | None, evals: Curve | None, width: int, *, unicode: bool = True, rows: int = ROWS) -> Chart | None:
    """Draw a train curve as a line and an eval curve as circles over it.

    Each column of dots shows the median of its points, and also its extreme points where they stand out, so that a
    spike is never lost to downsampling. NaN and infinities are marked on the top line. None if nothing finite was logged.
    """
    curves = [curve for curve in (train, evals) if curve is not None and len(curve)]
    finite = [curve.finite() for curve in curves]
    if not any(len(curve) for curve in finite):
        return None
    first = min(int(curve.step[0]) for curve in curves)
    last = max(int(curve.step[-1]) for curve in curves)
    dots, lines = 2 * width, 4 * rows
    line: dict[int, tuple[float, float, float]] = {}
    if train is not None and len(train):
        line = _columns(train.finite(), first, last, dots)
    circles: list[tuple[int, float]] = []
    if evals is not None and len(evals):
        positions = _positions(evals.finite(), first, last, width)
        circles = list(zip(positions.tolist(), evals.finite().value.tolist(), strict=True))
    shown = np.array([v for triple in line.values() for v in triple] + [v for _, v in circles])
    low, high = float(shown.min()), float(shown.max())
    usual = max(_without_peaks([middle for _, middle, _ in line.values()]) + [v for _, v in circles])
    cut = high if high / CUT_RATIO - low / CUT_RATIO > usual - low > 0 else None
    high = high if cut is None else usual
    logarithmic = low > 0 and high / low >= LOG_RATIO

    def height(value: float) -> int:
        """Dots above the bottom line."""
        value = min(value, high)
        scale = math.log if logarithmic else float
        a, b, v = scale(low) / 2, scale(high) / 2, scale(value) / 2  # halves: b - a cannot overflow
        return round((v - a) / (b - a) * (lines - 1)) if b > a else lines // 2

    bits = np.zeros((rows, width), dtype=int)

    def dot(column: int, level: int) -> None:
        row = lines - 1 - level
        bits[row // 4, column // 2] |= DOTS[row % 4][column % 2]

    previous: tuple[int, int] | None = None
    for column in sorted(line):
        lowest, median, highest = (height(value) for value in line[column])
        for level in range(lowest, highest + 1):
            dot(column, level)
        if previous is not None:
            _connect(previous, (column, median), dot)
        previous = (column, median)
    cells = [[Cell(_character(int(bits[r, c]), unicode), "train" if bits[r, c] else "") for c in range(width)] for r in range(rows)]
    for column, (_, _, highest_value) in line.items():
        if cut is not None and (highest_value - low) / CUT_RATIO > high - low:
            cells[0][column // 2] = Cell("↑" if unicode else "^", "cut")
    for place, value in circles:
        cells[(lines - 1 - height(value)) // 4][place] = Cell("○" if unicode else "o", "eval")
    for curve in curves:
        bad = curve.select(~np.isfinite(curve.value))
        for column in _positions(bad, first, last, width).tolist():
            cells[0][column] = Cell("×" if unicode else "x", "nonfinite")
    labels = [""] * rows
    labels[0], labels[-1] = _label(high), _label(low)
    middle_value = math.exp((math.log(low) + math.log(high)) / 2) if logarithmic else low / 2 + high / 2
    labels[rows // 2] = _label(middle_value) if high > low else ""
    if high == low:
        labels = [""] * rows
        labels[rows // 2] = _label(high)
    return Chart(cells, labels, first, last, logarithmic, cut)


def _positions(curve: Curve, first: int, last: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    share = (curve.step - first) / max(last - first, 1)
    return np.clip((share * width).astype(np.int64), 0, width - 1)


def _columns(curve: Curve, first: int, last: int, dots: int) -> dict[int, tuple[float, float, float]]:
    """Lowest shown, median and highest shown value of each column of dots that has points."""
    if not len(curve):
        return {}
    column = _positions(curve, first, last, dots)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    groups: list[FloatArray] = np.split(curve.value, starts[1:])
    middles = [
        float(np.median(group)) if math.isfinite(float(group.max()) - float(group.min())) else float(group.max()) for group in groups
    ]
    up = [float(group.max()) - middle for group, middle in zip(groups, middles, strict=True)]
    down = [middle - float(group.min()) for group, middle in zip(groups, middles, strict=True)]
    usual_up, usual_down = SPIKE_FACTOR * float(np.median(up)), SPIKE_FACTOR * float(np.median(down))
    return {
        int(column[start]): (middle - d if d > usual_down else middle, middle, middle + u if u > usual_up else middle)
        for start, middle, u, d in zip(starts, middles, up, down, strict=True)
    }


def _median(values: FloatArray, near: float) -> float:
    """The median; of two middle values the one nearer to ``near``, so that it is always a value that was logged."""
    ordered = np.sort(values)
    low, high = float(ordered[(len(values) - 1) // 2]), float(ordered[len(values) // 2])
    return low if abs(low - near) <= abs(high - near) else high


def _without_peaks(values: list[float]) -> list[float]:
    """The values, those that tower over both neighbours lowered to the higher one."""
    if len(values) < 3:
        return list(values)
    inner = [min(value, max(left, right)) for left, value, right in zip(values, values[1:], values[2:], strict=False)]
    return [values[0], *inner, values[-1]]


def _connect(start: tuple[int, int], end: tuple[int, int], dot: Callable[[int, int], None]) -> None:
    """Dots on the straight line between two points."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    for i in range(steps + 1):
        share = i / steps if steps else 0.0
        dot(round(start[0] + share * (end[0] - start[0])), round(start[1] + share * (end[1] - start[1])))


def _character(bits: int, unicode: bool) -> str:
    """A braille cell, or in ASCII a sign for how high its dots are."""
    if not bits:
        return " "
    if unicode:
        return chr(BRAILLE + bits)
    upper, lower = bits & 0x1B, bits & 0xE4
    return ":" if upper and lower else "'" if upper else "."


def _label(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.2e}"


def lane(chart: Chart, start: int, end: int, *, unicode: bool = True) -> str:
    """A bar that covers the columns of a range of steps."""
    left, right = chart.column(start), chart.column(end)
    if left == right:
        return " " * left + ("▲" if unicode else "^")
    body = "─" * (right - left - 1) if unicode else "-" * (right - left - 1)
    ends = "├┤" if unicode else "||"
    return " " * left + ends[0] + body + ends[1]


def ticks(chart: Chart) -> str:
    """The line under the axis: first, middle and last step."""
    width = len(chart.rows[0])
    names = [f"{step:,}" for step in (chart.first, (chart.first + chart.last) // 2, chart.last)]
    line = names[0].ljust(width)
    middle = width // 2 - len(names[1]) // 2
    if chart.last - chart.first > 1 and len(names[0]) + 2 < middle and middle + len(names[1]) + 2 < width - len(names[2]):
        line = line[:middle] + names[1] + line[middle + len(names[1]) :]
    if chart.last > chart.first and len(names[0]) + 2 < width - len(names[2]):
        line = line[: width - len(names[2])] + names[2]
    return line


def visible(curves: Sequence[Curve | None]) -> bool:
    """Whether there is enough to draw: two finite points of one curve, or something that is not finite."""
    return any(curve is not None and (len(curve.finite()) > 1 or 0 < len(curve.finite()) < len(curve)) for curve in curves)
