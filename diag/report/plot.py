"""The curves of runs as a picture for papers and slides, drawn with matplotlib (``pip install 'diag[plot]'``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from diag.errors import UsageError
from diag.report import palette
from diag.report.downsampling import thin
from diag.report.matplotlib_images import blank
from diag.report.panels import Band, Line, Panel, Projection, drawable, panels, rows, span, wants_logarithm
from diag.report.smoothing import smooth
from diag.terminal import safe, tail
from diag.text import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    from diag.result import RunReport
    from diag.run import Curve, FloatArray

WIDTH: Final = 8.0
"""Inches: the text of a page."""
HEIGHTS: Final = (3.0, 1.6)
"""Inches of the first panel and of each further one."""
DOTS_PER_INCH: Final = 200
MOST_RUNS: Final = 12
"""Runs in one picture; more lines cannot be told apart."""
LANES: Final = 4
"""Rows for the codes of overlapping findings; further ones share the last."""
FEW_DECADES: Final = 100.0
"""Ratio of the largest to the smallest value below which a logarithmic axis has ticks between the powers of ten."""
MANY_POINTS: Final = 40
"""Points from which on their markers would run into one another; then only some are drawn."""
MARKERS: Final = "os^Dv"
"""Points that tell runs apart besides their colours; their number and that of the colours have no divisor in common."""
NOT_FINITE, CROSS = 0.97, 20
"""Where crosses mark NaN and infinities, as a share of the panel's height, and dots between two of them."""
NAME_WIDTH: Final = 48
"""Letters of a run's name in a legend; the end tells more."""


class Shown(NamedTuple):
    """One run in the picture: its name, panels by title, the step of its best checkpoint, and its first and last step."""

    name: str
    panels: dict[str, Panel]
    best: int | None
    first: int
    last: int


def draw(
    runs: Sequence[RunReport],
    *,
    metrics: Sequence[str] = (),
    logarithmic: bool | None = None,
    smoothing: float = 0.0,
    findings: bool = True,
    title: str | None = None,
    width: float = WIDTH,
    height: float | None = None,
    dpi: int = DOTS_PER_INCH,
) -> Figure:
    """Draw runs: one panel below the other, evaluations dashed with points, the best checkpoint marked.

    One run has its findings shaded at their steps; several are laid over one another, each in its colour.

    Args:
        runs: what ``diag.analyze`` found, ``report.runs`` or some of them.
        metrics: what to draw, by canonical or logged name; if empty the losses, learning rate, gradient norm and what findings are about.
        logarithmic: the scale of every panel with positive values; None to decide by their range.
        smoothing: time constant of a moving average as a share of the run; the curve itself is drawn behind it. 0 for none.
        findings: whether to shade them.
        title: above the first panel; None for the run and its verdict.
        width, height: inches; the height follows the number of panels if None.
        dpi: dots per inch.

    Returns:
        A matplotlib Figure that belongs to no window; ``figure.axes`` are the panels.

    Raises:
        UsageError: there is nothing to draw, a metric was not logged, or there are too many runs.
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs do not fit into one picture; name at most {MOST_RUNS} of them")
    wanted = [_named(metric, runs) for metric in metrics]
    shown = [_shown(run, wanted) for run in runs]
    titles = list(dict.fromkeys(title for run in shown for title in run.panels))
    if not titles:
        raise UsageError("nothing to draw: no metric was logged")
    heights = [HEIGHTS[0], *[HEIGHTS[1]] * (len(titles) - 1)]
    figure = blank(width, sum(heights) + 0.5 if height is None else height, dpi)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(titles), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    columns = max(1, math.ceil(width * dpi))
    for place, panel in zip(axes, titles, strict=True):
        _draw_panel(place, panel, shown, logarithmic, smoothing, findings and len(runs) == 1, columns)
    first, last = min(run.first for run in shown), max(run.last for run in shown)
    room = max((last - first) * 0.01, 0.5)
    axes[-1].set_xlim(first - room, last + room)
    axes[-1].set_xlabel("step", fontsize=9)
    if title is None:
        title = f"{runs[0].run.id}: {runs[0].diagnosis.verdict}" if len(runs) == 1 else ""
    if len(shown) > 1:
        _name_runs(figure, shown)
    if title:
        axes[0].set_title(_clean(title), fontsize=10, loc="left", color=palette.INK, parse_math=False)
    return figure


def _named(metric: str, runs: Sequence[RunReport]) -> str:
    """The canonical name of a metric that one of the runs logged.

    Raises:
        UsageError: none did.
    """
    logged: dict[str, str] = {}
    for entry in runs:
        logged |= {native: name for name, native in sorted(entry.run.native_names.items()) if name in entry.run.curves}
    logged |= {name: name for entry in runs for name in entry.run.curves}
    if metric not in logged:
        known = ", ".join(sorted({*logged.values()})) or "nothing"
        raise UsageError(f"no metric {metric!r}{nearest(metric, logged)}; logged were: {known}")
    return logged[metric]


def _shown(entry: RunReport, metrics: Sequence[str]) -> Shown:
    found = panels(entry, metrics) if not metrics or any(metric in entry.run.curves for metric in metrics) else ()
    best = entry.best_checkpoint
    return Shown(entry.run.id, {panel.title: panel for panel in found}, None if best is None else best.step, *span(found))


def _draw_panel(
    axes: Axes, title: str, runs: Sequence[Shown], logarithmic: bool | None, smoothing: float, findings: bool, columns: int
) -> None:
    """One panel: every run's lines, what was not finite, projections, findings and best checkpoints, and what tells the lines apart."""
    axes.set_ylabel(_clean(title), fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(color=palette.GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    alone = len(runs) == 1
    values = np.concatenate([run.panels[title].values for run in runs if title in run.panels])
    entries: dict[str, Any] = {}
    for number, run in enumerate(runs):
        if title not in run.panels:
            continue
        panel = run.panels[title]
        if findings:
            _shade(axes, panel.bands)
        for line, colour, dash in panel.styled:
            style = _style(colour, dash, line.evaluated) if alone else _style_of_run(number, line.evaluated)
            drawn = _draw_line(axes, line, style, smoothing * (run.last - run.first), columns)
            entries.setdefault(line.metric, drawn if alone else _stand_in(style["linestyle"]))
        if panel.projection is not None:
            _project(axes, panel.projection)
        if run.best is not None:
            _mark_best(axes, panel, run.best, palette.INK if alone else palette.LINES[number % len(palette.LINES)])
    wanted = wants_logarithm(title, values) if logarithmic is None else logarithmic
    if wanted and bool((values > 0).any()):
        _scale(axes, values)
    if len(entries) > 1:
        _name(axes.legend([*entries.values()], ["-"] * len(entries), fontsize=7, frameon=False, loc="best"), entries)


def _scale(axes: Axes, values: FloatArray) -> None:
    """A logarithmic scale whose ticks are plain numbers; what is not positive is not drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = values[values > 0]
    few = float(positive.max()) < FEW_DECADES * float(positive.min())
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _style(colour: int, dash: int, evaluated: bool) -> dict[str, Any]:
    """How a line of a run alone is drawn."""
    pattern = palette.DASHES[dash]
    marker = {"marker": "o", "markersize": 3} if evaluated else {}
    return {"color": palette.LINES[colour], "linestyle": (0, pattern) if pattern else "solid", **marker}


def _style_of_run(number: int, evaluated: bool) -> dict[str, Any]:
    """How the lines of one of several runs are drawn: colour and points tell the run, dashes an evaluation."""
    place, turn = number % len(palette.LINES), number // len(palette.LINES)
    marker = MARKERS[(number + turn) % len(MARKERS)]
    return {"color": palette.LINES[place], "linestyle": (0, palette.DASHES[1]) if evaluated else "solid", "marker": marker, "markersize": 3}


def _stand_in(linestyle: Any) -> Any:
    """What stands in a legend for the lines of all runs."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=palette.INK, linestyle=linestyle, linewidth=1.2)


def _name_runs(figure: Figure, runs: Sequence[Shown]) -> None:
    """A legend above all panels that tells the runs apart."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **_style_of_run(number, False), linewidth=1.2) for number in range(len(runs))]
    legend = figure.legend(lines, ["-"] * len(lines), fontsize=7, frameon=False, loc="outside upper left", ncols=1 + (len(runs) > 1))
    _name(legend, [tail(safe(run.name), NAME_WIDTH) for run in runs])


def _name(legend: Legend, names: Iterable[str]) -> None:
    for text, name in zip(legend.get_texts(), names, strict=True):
        _write(text, name)


def _draw_line(axes: Axes, line: Line, style: dict[str, Any], constant: float, columns: int) -> Any:
    """A curve, behind its moving average where there is one; returns what stands for it in the legend."""
    bad = line.curve.select(~np.isfinite(line.curve.value))
    if len(bad):
        shown = thin(bad, max(1, columns // CROSS))
        crosses: dict[str, Any] = {"color": palette.SEVERITIES["error"], "markersize": 4, "transform": axes.get_xaxis_transform()}
        axes.plot(shown.step, np.full(len(shown), NOT_FINITE), "x", **crosses)
    curve = _drawable(thin(line.curve, columns))
    if len(curve) == 1:
        style = {"marker": "o", "markersize": 3, **style}
    every = max(1, len(curve) // MANY_POINTS)
    if constant <= 0:
        return axes.plot(curve.step, curve.value, **style, linewidth=1.2, markevery=every)[0]
    axes.plot(curve.step, curve.value, color=style["color"], linewidth=0.7, alpha=0.3)
    smoothed = _drawable(thin(smooth(line.curve, 1.0, constant), columns))
    return axes.plot(smoothed.step, smoothed.value, **style, linewidth=1.6, markevery=every)[0]


def _drawable(curve: Curve) -> Curve:
    return replace(curve, value=drawable(curve.value))


def _shade(axes: Axes, bands: Sequence[Band]) -> None:
    """Shadings with their codes, each in the first row that is free."""
    for band, row in zip(bands, rows((band.start, band.end) for band in bands), strict=True):
        colour = palette.SEVERITIES[band.severity]
        axes.axvspan(band.start, band.end, color=colour, alpha=palette.OPACITY[band.severity], linewidth=0)
        axes.axvline(band.start, color=colour, linewidth=0.6, alpha=0.6)
        place = (band.start, 1 - 0.09 * min(row, LANES - 1))
        text = axes.annotate("-", place, (2, -2), axes.get_xaxis_transform(), "offset points", va="top", fontsize=6, color=colour)
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "pad": 0.8, "linewidth": 0})
        _write(text, f"{palette.SIGNS[band.severity]} {band.code}")


def _project(axes: Axes, projection: Projection) -> None:
    axes.plot(projection.step, projection.value, color=palette.INK, linestyle=(0, (2, 2)), linewidth=1.2)
    place = (float(projection.step[-1]), float(projection.value[0]))
    text = axes.annotate("-", place, (0, 3), textcoords="offset points", ha="right", fontsize=7, color=palette.INK)
    _write(text, projection.change)


def _mark_best(axes: Axes, panel: Panel, step: int, colour: str) -> None:
    """A line at the best checkpoint, and a star where a curve of the panel has its value."""
    axes.axvline(step, color=colour, linestyle=(0, (1, 2)), linewidth=0.9)
    for line in panel.lines:
        at = _drawable(line.curve.select(line.curve.step == step)).finite()
        if line.evaluated and len(at):
            axes.plot(at.step, at.value, "*", color=colour, markersize=8)
            return


def _write(text: Text, words: str) -> None:
    """Words from a log into a text: dollars are dollars."""
    text.set_parse_math(False)
    text.set_text(_clean(words))


def _clean(words: str) -> str:
    """Words that matplotlib's own font can show; other characters as escapes."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(sign if ord(sign) in known else f"\\u{ord(sign):04x}" for sign in safe(words))
