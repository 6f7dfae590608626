"""The drawing of ``diag lr-find``: the sweeps with their mean, the guides' range behind them, as SVG, HTML or PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from diag.report.lr_find import ceiling, curves, decades, mean_curve, rate
from diag.report.matplotlib_images import blank, image
from diag.text import counted, show
from diag.vocabulary import INCONCLUSIVE

if TYPE_CHECKING:
    from diag.replay.range_test import RangeTest
    from diag.run import FloatArray

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 46, 46
COLOURS: Final = {"curve": "#1f6f8b", "suggested": "#2e7d32", "guides": "#f2d694", "recorded": "#a33", "ink": "#333", "grid": "#ddd"}
BEHIND, INTERVAL, ORDER = 0.6, 0.15, 0.35
"""Opacity of the guides' range, of the suggestion's interval, and of the orders behind their mean."""
DOTS_PER_INCH: Final = 200
SVG_DOTS_PER_INCH: Final = 100
"""What a unit of the drawing is taken for, so that lines and letters of the PNG have the sizes of the SVG."""


def html(test: RangeTest) -> str:
    """A page that holds the SVG."""
    head = f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title(test))}</title>\n'
    return f"{head}<body>\n{svg(test)}</body>\n</html>\n"


def svg(test: RangeTest) -> str:
    """The drawing as SVG."""
    return "\n".join(_svg(test)) + "\n"


def title(test: RangeTest) -> str:
    """What was found, in a line."""
    found = test.suggestion.value
    return f"Learning-rate range test: {INCONCLUSIVE if found is None else rate(found)}"


def _svg(test: RangeTest) -> Iterator[str]:
    found, guides = test.suggestion, test.guides
    orders, mean = _lines(test)
    lowest, highest = _bounds(test)
    span = highest - lowest or 1.0

    def x(value: float) -> float:
        share = math.log(value / test.low) / math.log(test.high / test.low)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (highest - min(value, highest)) / span * (HEIGHT - TOP - BOTTOM), 1)

    def band(low: float, high: float, colour: str, opacity: float, words: str) -> str:
        width = max(x(high) - x(low), 1.0)
        box = f'<rect x="{x(low)}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}" fill="{colour}" opacity="{opacity}">'
        return f"{box}<title>{escape(words)}</title></rect>"

    def line(value: float, colour: str, words: str, dash: str = "") -> str:
        style = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{x(value)}" x2="{x(value)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        return f'<line {ends} stroke="{colour}" stroke-width="2"{style}><title>{escape(words)}</title></line>'

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="12">'
    yield f"<title>{escape(title(test))}</title>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    if guides is not None:
        yield band(guides.clip_low, guides.clip_high, COLOURS["guides"], BEHIND, f"the guides for {test.method}")
    if found.low is not None and found.high is not None:
        yield band(found.low, found.high, COLOURS["suggested"], INTERVAL, "the interval of both rules over the orders")
    for power in decades(test.low, test.high):
        yield f'<line x1="{x(power)}" x2="{x(power)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{COLOURS["grid"]}"/>'
        yield f'<text x="{x(power)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="{COLOURS["ink"]}">{rate(power)}</text>'
    for value in (lowest, (lowest + highest) / 2, highest):
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="{COLOURS["ink"]}">{value:.3g}</text>'
    for (rates, losses), width, opacity in [*((entry, 1, ORDER) for entry in orders), (mean, 2, 1)]:
        points = " ".join(f"{x(float(a))},{y(float(b))}" for a, b in zip(rates, losses, strict=True))
        style = f'fill="none" stroke="{COLOURS["curve"]}" stroke-width="{width}" opacity="{opacity}"'
        yield f'<polyline points="{points}" {style}/>'
    if test.recorded and test.low <= test.recorded <= test.high:
        yield line(test.recorded, COLOURS["recorded"], f"the run's own: {show(test.recorded)}", "2 4")
    if found.value is not None:
        yield line(found.value, COLOURS["suggested"], f"suggested: {rate(found.value)}")
    yield f'<text x="{LEFT}" y="22" font-size="15" fill="{COLOURS["ink"]}">{escape(title(test))}</text>'
    yield f'<text x="{LEFT}" y="38" fill="{COLOURS["ink"]}">{escape(_legend(test))}</text>'
    yield f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle" fill="{COLOURS["ink"]}">learning rate</text>'
    yield "</svg>"


Line = tuple["FloatArray", "FloatArray"]
"""Learning rates and losses."""


def _lines(test: RangeTest) -> tuple[list[Line], Line]:
    """The orders, none where there is one alone, and their mean; each up to where it leaves the drawing for good."""
    found = curves(test)
    mean = mean_curve([losses for _, losses in found])
    highest = ceiling(mean)

    def within(rates: FloatArray, losses: FloatArray) -> Line:
        last = losses.size - 1
        while last > 0 and losses[last - 1] >= highest:
            last -= 1
        return rates[: last + 1], losses[: last + 1]

    longest = max((rates for rates, _ in found), key=len)
    orders = [within(rates, losses) for rates, losses in found] if len(found) > 1 else []
    return orders, within(longest[: mean.size], mean)


def _bounds(test: RangeTest) -> tuple[float, float]:
    """The lowest and the highest loss that is drawn."""
    losses = [losses for _, losses in curves(test)]
    return min(float(entry.min()) for entry in losses), ceiling(mean_curve(losses))


def _legend(test: RangeTest) -> str:
    drawn = f"the mean loss of {counted(len(test.sweeps), 'order')}, thin each" if len(test.sweeps) > 1 else "the loss"
    parts = [f"blue: {drawn}"]
    if test.suggestion.value is not None:
        parts.append("green: the suggestion and its interval")
    if test.guides is not None:
        parts.append(f"yellow: the guides for {test.method}")
    if test.recorded:
        parts.append("red: the run's own")
    return "; ".join(parts)


def png(test: RangeTest) -> bytes:
    """The drawing as PNG, the same bytes for the same sweeps and version of matplotlib."""
    figure = blank(WIDTH / SVG_DOTS_PER_INCH, HEIGHT / SVG_DOTS_PER_INCH, DOTS_PER_INCH)
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT))
    orders, mean = _lines(test)
    lowest, highest = _bounds(test)
    found, guides = test.suggestion, test.guides
    axes.set_xscale("log")
    axes.set_xlim(test.low, test.high)
    axes.set_ylim(lowest, highest if highest > lowest else lowest + 1.0)
    axes.grid(axis="x", color=COLOURS["grid"])
    if guides is not None:
        axes.axvspan(guides.clip_low, guides.clip_high, color=COLOURS["guides"], alpha=BEHIND, linewidth=0)
    if found.low is not None and found.high is not None:
        axes.axvspan(found.low, found.high, color=COLOURS["suggested"], alpha=INTERVAL, linewidth=0)
    for rates, losses in orders:
        axes.plot(rates, losses, color=COLOURS["curve"], linewidth=0.8, alpha=ORDER)
    axes.plot(*mean, color=COLOURS["curve"], linewidth=1.6)
    if test.recorded and test.low <= test.recorded <= test.high:
        axes.axvline(test.recorded, color=COLOURS["recorded"], linestyle=":")
    if found.value is not None:
        axes.axvline(found.value, color=COLOURS["suggested"])
    figure.text(LEFT / WIDTH, 1 - 22 / HEIGHT, title(test), fontsize=11, color=COLOURS["ink"])
    figure.text(LEFT / WIDTH, 1 - 38 / HEIGHT, _legend(test), fontsize=7, color=COLOURS["ink"], parse_math=False)
    axes.set_xlabel("learning rate", fontsize=8)
    axes.tick_params(labelsize=8)
    return image(figure, "png")
