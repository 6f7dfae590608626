"""What the scripts of the page draw the charts of a run from: plain JSON values, and few of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.report import palette
from diag.report.downsampling import POINTS_A_STRETCH, means, thin
from diag.report.html.axes import frame
from diag.report.html.drawing import bar_rows
from diag.report.panels import drawable, span
from diag.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diag.report.panels import Line, Panel
    from diag.run import Curve, FloatArray, IntArray

PAGE_POINTS: Final = 48_000
"""Points of a page for all curves together, about 14 bytes each: with the library and the text that stays well below a megabyte."""
LEAST, MOST = 30, 1000
"""Stretches of a curve at least, so that its shape is seen, and at most: the pixels of a wide plot."""
DIGITS: Final = 5
"""Significant digits of a value: more than the pixels of a plot that is zoomed into a hundredth of its height."""
MARKS: Final = 100
"""Stretches in which what is not finite is marked once."""


def stretches(curves: int) -> int:
    """Into how many stretches each of so many curves of a page is cut."""
    return min(max(PAGE_POINTS // (POINTS_A_STRETCH * max(curves, 1)), LEAST), MOST)


def chart_data(shown: Sequence[Panel], best: int | None, detail: int) -> dict[str, Any]:
    """The charts of a run.

    Args:
        shown: its panels.
        best: step of the best checkpoint, None for none.
        detail: stretches of a curve.

    Returns:
        ``x`` the first and the last step, ``best``, and ``panels``. Each panel has its ``title``, whether it is logarithmic at first
        (``log``), its ``lines``, the steps where something was not finite (``bad``), its ``bands`` (number of the finding, row, sign and
        code, severity, first and last step) and its ``projection``. Lines have steps as the first and the distances (``x``), values with
        null for what is not finite (``y``), and where points were left out the means to smooth (``mx``, ``my``).
    """
    first, last = span(shown)
    return {"x": [first, last], "best": best, "panels": [_panel(panel, first, last, detail) for panel in shown]}


def _panel(panel: Panel, first: int, last: int, detail: int) -> dict[str, Any]:
    bad = [thin(line.curve.select(~np.isfinite(line.curve.value)), MARKS).step for line in panel.lines]
    rows = bar_rows(panel, frame(panel, first, last))
    projection = panel.projection
    return {
        "title": safe(panel.title),
        "log": panel.logarithmic,
        "lines": [_line(*styled, detail) for styled in panel.styled],
        "bad": np.unique(np.concatenate(bad)).tolist(),
        "bands": [
            [band.finding, row, f"{palette.SIGNS[band.severity]} {band.code}", band.severity, band.start, band.end]
            for band, row in zip(panel.bands, rows, strict=True)
        ],
        "projection": None
        if projection is None
        else {"x": projection.step.tolist(), "y": _values(projection.value), "text": projection.change},
    }


def _line(line: Line, colour: int, dash: int, detail: int) -> dict[str, Any]:
    curve = thin(line.curve, detail)
    described = {
        "name": safe(line.metric),
        "colour": colour,
        "dash": list(palette.DASHES[dash]),
        "eval": line.evaluated,
        "x": _distances(curve.step),
        "y": _values(curve.value),
    }
    if len(curve) < len(line.curve):
        mean: Curve = means(line.curve, detail)
        described |= {"mx": _distances(mean.step), "my": _values(mean.value)}
    return described


def _distances(step: IntArray) -> list[int]:
    return [*step[:1].tolist(), *np.diff(step).tolist()]


def _values(value: FloatArray) -> list[float | None]:
    return [None if math.isnan(one) else float(f"{one:.{DIGITS}g}") for one in drawable(value).tolist()]
