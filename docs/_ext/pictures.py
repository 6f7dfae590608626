"""Small pictures of runs as inline SVG: curves over optimizer steps, the findings shaded; the same bytes for the same run.

Text and axes take the colour of the page around them, so that a picture is readable on light and dark pages alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from diag.check import Finding
from diag.run import FloatArray, Run

WIDTH, LEFT, RIGHT = 640, 52, 8
"""Pixels: of a picture, and of the margins beside its panels."""
TALL, LOW, GAP, BELOW = 150, 90, 26, 22
"""Pixels: height of the first panel and of the others, between panels, below the last one."""
COLOURS = ("#4f7fe0", "#e0673f", "#3f9e4d", "#a463c9")
"""Of the curves of a panel, in order; readable on white and on black."""
SHADES = {"error": "#d33", "warning": "#d90", "info": "#48c"}
"""Of a finding, by its severity."""
DECADES = 20.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""
LINEAR = ("lr", "reward")
"""Beginnings of the names of metrics whose axis never is."""


class Line(NamedTuple):
    """A curve to draw: steps and values, shape (n,)."""

    name: str
    step: FloatArray
    value: FloatArray


class Axis(NamedTuple):
    """Where values lie in a panel."""

    low: float
    high: float
    logarithmic: bool
    top: float
    height: float

    def y(self, value: float) -> float:
        """Pixels from the top of the picture."""
        low, high, at = (math.log(v) for v in (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        return self.top + self.height * (1 - (at - low) / (high - low))

    def ticks(self) -> list[float]:
        """Round values within the axis, two at least where there are any."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            stride = max(1, (last - first) // 4 + 1)
            found = [10.0**k for k in range(first, last + 1, stride)]
            return found if len(found) > 1 else [self.low, self.high]
        span = self.high - self.low
        step = 10.0 ** math.floor(math.log10(span / 2))
        step *= next(m for m in (5, 2, 1) if span / (step * m) >= 2)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def picture(run: Run, findings: Iterable[Finding], panels: Sequence[Sequence[str]], title: str) -> str:
    """A picture of a run as one line of SVG.

    Args:
        run: the run.
        findings: shaded from their first to their last step.
        panels: the metrics of each panel, from top to bottom; ``seconds`` are those between two rows of the training loss.
        title: what a screen reader says.
    """
    lines = [[line for name in panel if (line := _line(run, name)) is not None] for panel in panels]
    end = max(float(line.step[-1]) for panel in lines for line in panel)
    heights = [TALL, *[LOW] * (len(lines) - 1)]
    height = sum(heights) + GAP * len(lines) + BELOW
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg" font-size="11" fill="currentColor">'
        f"<title>{escape(title)}</title>"
    ]
    top = float(GAP)
    marked = [finding for finding in findings if finding.step_start is not None]
    for panel, size in zip(lines, heights, strict=True):
        axis = _axis(panel, top, float(size))
        parts += [_shade(finding, axis, end) for finding in marked]
        parts += _frame(axis)
        parts += [part for line, colour in zip(panel, COLOURS, strict=False) for part in _curve(line, axis, end, colour)]
        parts += _legend(panel, axis)
        top += size + GAP
    for step in Axis(0.0, end, False, 0.0, 1.0).ticks():
        close = _x(step, end) > WIDTH - RIGHT - 20
        parts.append(_text(_x(step, end), top - GAP + 14, f"{step:,.0f}" if step else "step 0", "end" if close else "middle"))
    return "".join([*parts, "</svg>"])


def _line(run: Run, name: str) -> Line | None:
    if name == "seconds":
        curve = run.curves["train/loss"]
        return Line("seconds a row", curve.step[1:].astype(np.float64), np.diff(curve.wall_time))
    found = run.curve(name)
    return None if found is None or not len(found) else Line(name, found.step.astype(np.float64), found.value)


def _axis(panel: Sequence[Line], top: float, height: float) -> Axis:
    values = np.concatenate([line.value[np.isfinite(line.value)] for line in panel])
    values = values if values.size else np.array([1.0])
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > DECADES and not panel[0].name.startswith(LINEAR):
        return Axis(low / 1.1, high * 1.1, True, top, height)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(min(low, 0.0) if 0 <= low < 0.5 * high else low - margin, high + margin, False, top, height)


def _x(step: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / end


def _shade(finding: Finding, axis: Axis, end: float) -> str:
    first = float(finding.step_start or 0)
    last = min(float(finding.step_end if finding.step_end is not None else first), end)
    width = max(_x(last, end) - _x(first, end), 2.0)
    return (
        f'<rect x="{min(_x(first, end), WIDTH - RIGHT - 2.0):.1f}" y="{axis.top:.1f}" width="{width:.1f}" height="{axis.height:.1f}"'
        f' fill="{SHADES[finding.severity]}" fill-opacity="0.16"/>'
    )


def _frame(axis: Axis) -> list[str]:
    parts = []
    ticks = axis.ticks()
    apart = min(b - a for a, b in itertools.pairwise(ticks))
    for tick in ticks:
        y = axis.y(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(_text(LEFT - 6, y + 4, _number(tick, apart), "end"))
    return parts


def _number(value: float, apart: float) -> str:
    """A tick's label, with the digits that tell it from one so far ``apart``."""
    if abs(value) >= 100 and apart >= 1:
        return f"{value:,.0f}"
    digits = 2 if not value else max(2, math.ceil(math.log10(abs(value) / apart)) + 1)
    return f"{value:.{digits}g}"


def _curve(line: Line, axis: Axis, end: float, colour: str) -> list[str]:
    """A curve in one stroke for each stretch of finite values; a dashed line at the top for each of others."""
    parts = []
    finite = np.isfinite(line.value)
    edges = np.flatnonzero(np.diff(finite.astype(np.int8))) + 1
    for index in np.split(np.arange(finite.size), edges):
        steps = [_x(float(step), end) for step in line.step[index]]
        if finite[index[0]]:
            points = " ".join(f"{x:.1f},{axis.y(float(value)):.1f}" for x, value in zip(steps, line.value[index], strict=True))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>')
            if line.step.size <= 30:
                parts += [
                    f'<circle cx="{x:.1f}" cy="{axis.y(float(value)):.1f}" r="2.5" fill="{colour}"/>'
                    for x, value in zip(steps, line.value[index], strict=True)
                ]
        else:
            path = f"M{steps[0] - 1.5:.1f} {axis.top + 4:.1f}H{steps[-1] + 1.5:.1f}"
            parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="4" stroke-dasharray="3 3"/>')
    return parts


def _legend(panel: Sequence[Line], axis: Axis) -> list[str]:
    parts, x = [], float(LEFT)
    for line, colour in zip(panel, COLOURS, strict=False):
        label = line.name + ("" if bool(np.isfinite(line.value).all()) else " (dashed: not finite)")
        parts.append(f'<path d="M{x:.1f} {axis.top - 10:.1f}h14" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(x + 19, axis.top - 6, label, "start"))
        x += 40 + 6.2 * len(label)
    if axis.logarithmic:
        parts.append(_text(WIDTH - RIGHT, axis.top - 6, "log scale", "end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
