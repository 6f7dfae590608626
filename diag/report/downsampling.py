"""Fewer points for a display, and a drawing that looks the same.

M4 aggregation: Jugel, Jerzak, Hackenbroich and Markl, "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10), 2014,
doi:10.14778/2732951.2732953. A line over a column of pixels is drawn by the first, the last, the lowest and the highest point within the
column; with as many stretches as the display has columns nothing that could be seen is lost. Points that are not finite are no part of a
line, but they interrupt it, so the first and the last of every stretch are kept as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from diag.run import Curve, IntArray

POINTS_A_STRETCH: Final = 4
"""First, last, lowest, highest."""


def thin(curve: Curve, stretches: int) -> Curve:
    """The points of a curve that a display of so many columns can show.

    Args:
        curve: any; not changed.
        stretches: equal ranges of steps that the curve is cut into, at least 1.

    Returns:
        A part of the curve, in order: the curve itself where it has no more than ``4 * stretches`` points; else of every stretch the first
        and the last point, the first of the lowest and of the highest finite ones, and the first and the last that is not finite.
    """
    if len(curve) <= POINTS_A_STRETCH * stretches:
        return curve
    stretch = _stretches(curve, stretches)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    group = np.cumsum(np.diff(stretch, prepend=-1) != 0) - 1
    finite = np.isfinite(curve.value)
    lowest = np.minimum.reduceat(np.where(finite, curve.value, np.inf), starts)[group]
    highest = np.maximum.reduceat(np.where(finite, curve.value, -np.inf), starts)[group]
    others = np.flatnonzero(~finite)
    kept = (
        starts,
        np.append(starts[1:], len(curve)) - 1,
        _first(np.flatnonzero(finite & (curve.value == lowest)), group),
        _first(np.flatnonzero(finite & (curve.value == highest)), group),
        _first(others, group),
        _first(others[::-1], group),
    )
    return curve.select(np.unique(np.concatenate(kept)))


def means(curve: Curve, stretches: int) -> Curve:
    """What a smoothed line is made from where ``thin`` leaves points out: the mean step and the mean finite value of every stretch.

    The curve itself where ``thin`` would leave it whole; stretches without a finite value, or whose sum is beyond the largest number, are
    left out. Steps are rounded down.
    """
    if len(curve) <= POINTS_A_STRETCH * stretches:
        return curve
    finite = curve.finite()
    if not len(finite):
        return finite
    starts = np.flatnonzero(np.diff(_stretches(finite, stretches), prepend=-1))
    count = np.diff(np.append(starts, len(finite)))
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.add.reduceat(finite.value, starts) / count
        step = finite.step[starts] + np.add.reduceat(finite.step - np.repeat(finite.step[starts], count), starts) // count
    mean = finite.select(starts)
    return type(curve)(step, value, mean.epoch, mean.wall_time).finite()


def _stretches(curve: Curve, stretches: int) -> IntArray:
    """The number of the stretch that every point lies in."""
    step = curve.step.astype(np.float64)
    place = (step - step[0]) / max(step[-1] - step[0], 1.0) * stretches
    number: IntArray = np.minimum(place, stretches - 1).astype(np.int64)
    return number


def _first(index: IntArray, group: IntArray) -> IntArray:
    """Of the points at ``index`` the first of each group, in the order that they are given in."""
    _, first = np.unique(group[index], return_index=True)
    return index[first]
