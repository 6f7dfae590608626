"""A panel as inline SVG: what is seen on paper, with scripts off, and in the small pictures of many runs.

The plot is stretched to the width there is, letters and the thickness of lines are not: curves lie in an inner picture with coordinates of
their own, everything else is placed by percentages. Colours come from the style sheet; the attributes beside the classes are for places
that strip it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.report import palette
from diag.report.downsampling import thin
from diag.report.html.axes import LETTER, NARROW, Frame, frame, percent, short, step_ticks, ticks
from diag.report.html.elements import Markup, element
from diag.report.panels import rows, span
from diag.text import counted, show

if TYPE_CHECKING:
    from diag.report.panels import Band, Line, Panel
    from diag.run import Curve, FloatArray

INNER: Final = (2000, 1000)
"""Units of the inner picture across and down: finer than the pixels of a plot."""
CROSSES: Final = 40
"""Stretches in which what is not finite is marked once."""
LANE: Final = 18
"""Height of the bar of a finding under a plot, pixels."""


def plot(panel: Panel, axes: Frame, stretches: int, best: int | None, label: str) -> Markup:
    """The plot of a panel.

    Args:
        panel: what is drawn.
        axes: where.
        stretches: into how many the curves are cut for thinning.
        best: step of the best checkpoint, None for none.
        label: what the picture says, in words.
    """
    return element("svg", _plot(panel, axes, stretches, best), class_="plot", role="img", aria_label=label, width="100%", height="100%")


def _plot(panel: Panel, axes: Frame, stretches: int, best: int | None) -> Iterator[Markup]:
    for band in panel.bands:
        left, right = _ends(band, axes)
        width = percent(max(right - left, 0.003))
        shade: dict[str, Any] = {"fill": palette.SEVERITIES[band.severity], "fill_opacity": palette.OPACITY[band.severity]}
        yield element("rect", class_=f"band {band.severity}", x=percent(left), y="0", width=width, height="100%", **shade)
    for value in ticks(axes.low, axes.high, axes.logarithmic):
        place = percent(float(axes.down(np.array([value]))[0]))
        yield element("line", class_="grid", x1="0", x2="100%", y1=place, y2=place, stroke=palette.GRID)
        yield element("text", short(value), class_="tick", x="-8", y=place, dy=".32em", text_anchor="end")
    for share, step in step_ticks(axes.first, axes.last):
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        yield element("text", step, class_="tick", x=percent(share), y="100%", dy="1.3em", text_anchor=anchor)
    if best is not None:
        place = percent(float(axes.across(np.array([float(best)]))[0]))
        yield element("line", class_="best", x1=place, x2=place, y1="0", y2="100%", stroke=palette.INK, stroke_dasharray="1 3")
    yield element("svg", _curves(panel, axes, stretches), viewBox=f"0 0 {INNER[0]} {INNER[1]}", preserveAspectRatio="none", **_whole())
    for line in panel.lines:
        bad = thin(line.curve.select(~np.isfinite(line.curve.value)), CROSSES)
        for place in np.unique(np.round(axes.across(bad.step.astype(float)), 3)).tolist():
            yield element("text", "×", class_="nonfinite", x=percent(place), y="14", text_anchor="middle", fill=palette.SEVERITIES["error"])
    if panel.projection is not None:
        place = percent(float(axes.down(panel.projection.value[:1])[0]))
        yield element(
            "text", panel.projection.change, class_="projected", x="100%", y=place, dy="-.5em", text_anchor="end", paint_order="stroke"
        )


def _whole() -> dict[str, str]:
    return {"width": "100%", "height": "100%", "overflow": "hidden"}


def _curves(panel: Panel, axes: Frame, stretches: int) -> Iterator[Markup]:
    for line, colour, dash in panel.styled:
        yield from _line(line, axes, stretches, colour, dash)
    if panel.projection is not None:
        points = _points(axes, panel.projection.step.astype(float), panel.projection.value)
        yield element("path", class_="line projection", d=_path(points), **_stroke(palette.INK, 1.5), stroke_dasharray="3 3")


def _line(line: Line, axes: Frame, stretches: int, colour: int, dash: int) -> Iterator[Markup]:
    """A curve, with its points where it was evaluated; interrupted where it is not finite or cannot be shown."""
    curve = thin(line.curve, stretches)
    shown = np.isfinite(curve.value) & ((curve.value > 0) if axes.logarithmic else True)
    breaks = np.flatnonzero(np.diff(shown.astype(np.int8), prepend=0, append=0))
    pieces = [_of(curve, axes, start, end) for start, end in zip(breaks[::2].tolist(), breaks[1::2].tolist(), strict=True)]
    dashes = " ".join(map(str, palette.DASHES[dash])) or None
    drawn = "".join(_path(piece) for piece in pieces if len(piece) > 1)
    if drawn:
        yield element("path", class_=f"line c{colour}", d=drawn, **_stroke(palette.LINES[colour], 1.5), stroke_dasharray=dashes)
    points = [point for piece in pieces for point in piece if line.evaluated or len(piece) == 1]
    if points:
        dots = "".join(f"M{x} {y}h0" for x, y in points)
        yield element("path", class_=f"dots c{colour}", d=dots, **_stroke(palette.LINES[colour], 5.0), stroke_linecap="round")


def _of(curve: Curve, axes: Frame, start: int, end: int) -> list[tuple[int, int]]:
    return _points(axes, curve.step[start:end].astype(float), curve.value[start:end])


def _points(axes: Frame, step: FloatArray, value: FloatArray) -> list[tuple[int, int]]:
    """Places in the inner picture."""
    across = np.clip(np.round(axes.across(step) * INNER[0]), 0, INNER[0]).astype(int)
    down = np.clip(np.round(axes.down(value) * INNER[1]), 0, INNER[1]).astype(int)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _path(points: list[tuple[int, int]]) -> str:
    """A line through points: the first where it is, each further one by its distance from the one before, which is shorter to write."""
    parts = [f"M{points[0][0]} {points[0][1]}l"]
    for (a, b), (c, d) in pairwise(points):
        parts.append(f"{c - a}{' ' if d >= b else ''}{d - b}")
    return parts[0] + " ".join(parts[1:])


def _stroke(colour: str, width: float) -> dict[str, str | float]:
    return {"fill": "none", "stroke": colour, "stroke_width": width, "vector_effect": "non-scaling-stroke"}


def described(panel: Panel, labels: dict[int, str]) -> str:
    """What the picture of a panel shows, in words."""
    parts = []
    for line in panel.lines:
        curve = line.curve.finite()
        if not len(curve):
            parts.append(f"{line.metric} is never finite")
            continue
        low = int(np.argmin(curve.value))
        values = (
            f"from {show(float(curve.value[0]))} at step {curve.step[0]:,} to {show(float(curve.value[-1]))} at step {curve.step[-1]:,}"
        )
        lowest = f"lowest {show(float(curve.value[low]))} at step {curve.step[low]:,}"
        bad = len(line.curve) - len(curve)
        parts.append(f"{line.metric} {values}, {lowest}" + (f", {counted(bad, 'value')} not finite" if bad else ""))
    if panel.projection is not None:
        parts.append(f"projected: {panel.projection.change}")
    parts += labels.values()
    return f"{panel.title}: {'; '.join(parts)}."


def bars(panel: Panel, axes: Frame, target: str, labels: dict[int, str]) -> Markup | None:
    """The bars of the findings under a plot, each a link to its entry; None where there is none.

    Args:
        panel: whose findings.
        axes: of its plot.
        target: beginning of the ids of the entries; the number of the finding follows.
        labels: what a finding is, by its number.
    """
    drawn = []
    height = 0
    for band, row in zip(panel.bands, bar_rows(panel, axes), strict=True):
        left, right = _ends(band, axes)
        code = f"{palette.SIGNS[band.severity]} {band.code}"
        late = left > 1 - len(code) * LETTER / NARROW
        height = max(height, (row + 1) * LANE)
        top = row * LANE
        place = {"x": percent(left), "width": percent(max(right - left, 0.006))}
        area = element("rect", y=str(top), height=str(LANE), **place, fill="none", pointer_events="all")
        bar = element("rect", y=str(top + LANE - 4), height="3", **place, fill=palette.SEVERITIES[band.severity], class_="bar")
        words = element("text", code, x="100%" if late else percent(left), y=str(top + LANE - 7), text_anchor="end" if late else None)
        drawn.append(element("a", area, bar, words, href=f"#{target}{band.finding}", class_=band.severity, aria_label=labels[band.finding]))
    return element("svg", drawn, class_="bars", width="100%", height=str(height)) if drawn else None


def bar_rows(panel: Panel, axes: Frame) -> list[int]:
    """The row of the bar of each finding, so that neither bars nor codes lie over one another even on a phone."""

    def room(band: Band) -> tuple[float, float]:
        left, right = _ends(band, axes)
        letters = (len(band.code) + 2) * LETTER / NARROW
        return min(left, 1 - letters), max(right, min(left + letters, 1.0))

    return rows(room(band) for band in panel.bands)


def _ends(band: Band, axes: Frame) -> tuple[float, float]:
    """Places of the first and the last step of a finding."""
    left, right = np.clip(axes.across(np.array([band.start, band.end], dtype=float)), 0, 1).tolist()
    return left, right


def sparkline(panel: Panel, stretches: int) -> Markup:
    """The curves of a panel without axes, for a list of many runs; its words are beside it."""
    axes = frame(panel, *span([panel]))
    inner = {"viewBox": f"0 0 {INNER[0]} {INNER[1]}", "preserveAspectRatio": "none"}
    return element("svg", _curves(panel, axes, stretches), class_="sparkline", aria_hidden="true", **inner)
