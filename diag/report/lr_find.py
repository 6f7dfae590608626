"""The report of ``diag lr-find``: the curve with what it says, for people, as JSON, and as a drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from json import dumps
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.terminal import paint, to_ascii, wrap
from diag.text import counted, show, significant
from diag.vocabulary import INCONCLUSIVE

if TYPE_CHECKING:
    from diag.replay.range_test import RangeTest
    from diag.report import Layout
    from diag.run import FloatArray

SCHEMA_VERSION: Final = 1
GUTTER: Final = 10
INDENT: Final = "  "
CEILING: Final = 0.5
"""The drawing ends this share of the drop above where the loss began: what a diverging loss reaches says nothing."""
NEIGHBOURS: Final = 3.0
"""What to compare a suggestion with in short trainings: a factor below and above. A range test is right within it more often than not."""
SUGGESTED: Final = "SUGGESTED"


def rate(value: float) -> str:
    """A learning rate with two significant digits: ``2.8e-3``."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def curves(test: RangeTest) -> list[tuple[FloatArray, FloatArray]]:
    """Rates and centred losses of each sweep."""
    from diag.replay.range_rules import course

    return [(sweep.rates, course(sweep).mean) for sweep in test.sweeps]


# For people.


def text(test: RangeTest, layout: Layout) -> str:
    """The suggestion, the curve, what each rule says, and the guides."""
    lines = [line.rstrip() for line in _page(test, layout)]
    result = "\n".join(lines) + "\n"
    return result if layout.unicode else to_ascii(result)


def _page(test: RangeTest, layout: Layout) -> Iterator[str]:
    def bold(words: str, *styles: str) -> str:
        return paint(words, "bold", *styles) if layout.colour else words

    found = test.suggestion
    if found.value is None or found.low is None or found.high is None:
        yield bold(f"Learning rate: {INCONCLUSIVE}", "yellow")
        yield from _wrapped(f"In most of the {counted(len(test.answers), 'order')}: {found.refusal}", layout)
    else:
        yield bold(f"Learning rate: {rate(found.value)}", "green")
        both = f"The two rules say {rate(found.low)} to {rate(found.high)} over {counted(len(test.answers), 'order')} of the data"
        spread = "" if found.spread is None else f", and the orders differ by {found.spread:.2f} decades (standard deviation)"
        yield from _wrapped(both + spread, layout)
    yield from _chart(test, layout)
    yield ""
    yield from _table(test)
    yield ""
    yield from _context(test, layout)


def _table(test: RangeTest) -> Iterator[str]:
    """What each rule says of each order, then what the well-known finders would say."""
    from diag.replay.range_rules import OVER

    rows = {
        f"divergence / {OVER:g}": [entry.divergence for entry in test.answers],
        f"trailing minimum / {OVER:g}": [entry.minimum for entry in test.answers],
    }
    width = max(map(len, (*test.library, *rows)))
    for name, values in rows.items():
        yield f"{INDENT}{name:{width}}  " + "  ".join(f"{'-' if value is None else rate(value):>7}" for value in values)
    for name, value in test.library.items():
        yield f"{INDENT}{name:{width}}  {rate(value):>7}  for comparison"


def _context(test: RangeTest, layout: Layout) -> Iterator[str]:
    found = test.suggestion
    if test.guides is not None:
        limits = f"{rate(test.guides.clip_low)} to {rate(test.guides.clip_high)}, starting at {rate(test.guides.start)}"
        yield from _wrapped(f"The guides for {test.method}: {limits} ({', '.join(test.guides.rules[:4])})", layout)
    if test.recorded and found.value is not None:
        ratio = test.recorded / found.value
        there = (
            "about there"
            if 1 / 1.5 < ratio < 1.5
            else f"{show(significant(max(ratio, 1 / ratio)))} times {'above' if ratio > 1 else 'below'}"
        )
        yield from _wrapped(f"The run's own: {show(test.recorded)}, {there}", layout)
    for note in test.notes:
        yield from _wrapped(note[0].upper() + note[1:], layout)
    if found.value is not None:
        tries = ", ".join(rate(found.value * factor) for factor in (1 / NEIGHBOURS, 1.0, NEIGHBOURS))
        yield from _wrapped(f"A range test is short: compare {tries} in short trainings before a long one", layout)


def _chart(test: RangeTest, layout: Layout) -> Iterator[str]:
    """The mean of the sweeps over the logarithm of the rate, with bars for the suggestion and the guides."""
    from diag.report import chart
    from diag.run import Column, make_curve

    mean = _mean([losses for _, losses in curves(test)])
    points, _ = make_curve(Column(np.arange(mean.size), np.minimum(mean, _ceiling(mean))))
    plot = chart.draw(points, None, layout.width - GUTTER - 2, unicode=layout.unicode)
    if plot is None or mean.size < 2:
        return

    def sign(unicode: str, ascii_: str) -> str:
        return unicode if layout.unicode else ascii_

    def painted(words: str, style: str = "dim") -> str:
        return paint(words, style) if layout.colour else words

    yield ""
    for cells, label in zip(plot.rows, plot.labels, strict=True):
        line = "".join(cell.text for cell in cells)
        yield f"{label:>{GUTTER - 1}} {painted(sign('┤', '+') if label else sign('│', '|'))}{painted(line, 'cyan')}"
    width = len(plot.rows[0])
    yield " " * GUTTER + painted(sign("└", "+") + sign("─", "-") * width)
    yield " " * (GUTTER + 1) + painted(_ticks(test.low, _rate_at(test, mean.size - 1), width))
    found, guides = test.suggestion, test.guides
    for name, low, high, colour in (
        ("suggested", found.low, found.high, "green"),
        ("guides", guides and guides.clip_low, guides and guides.clip_high, "yellow"),
    ):
        if low is not None and high is not None:
            bar = chart.lane(plot, _step_at(test, low), _step_at(test, high), unicode=layout.unicode)
            yield f"{name:>{GUTTER}} {painted(bar, colour)}"


def _mean(losses: Sequence[FloatArray]) -> FloatArray:
    """The mean of the sweeps at each step that more than half of them reached."""
    length = sorted((entry.size for entry in losses), reverse=True)[len(losses) // 2]
    padded = np.full((len(losses), length), np.nan)
    for row, entry in zip(padded, losses, strict=True):
        row[: entry.size] = entry[:length]
    return np.asarray(np.nanmean(padded, axis=0))


def _ceiling(mean: FloatArray) -> float:
    """The highest loss that is drawn."""
    return float(mean[0] + CEILING * max(mean[0] - mean.min(), 0.1 * abs(mean[0])))


def _rate_at(test: RangeTest, step: float) -> float:
    return float(test.low * (test.high / test.low) ** (step / (test.steps - 1)))


def _step_at(test: RangeTest, rate: float) -> int:
    return round(math.log(rate / test.low) / math.log(test.high / test.low) * (test.steps - 1))


def _decades(low: float, high: float) -> list[float]:
    """The powers of ten from one rate to another."""
    return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def _ticks(low: float, high: float, width: int) -> str:
    """The line under the axis: every power of ten that has room."""
    line = ""
    for value in _decades(low, high):
        place = int(math.log(value / low) / math.log(high / low) * (width - 1) + 0.5)
        label = rate(value)
        start = min(place, width - len(label))
        if not line or start > len(line) + 1:
            line = line.ljust(start) + label
    return line


def _wrapped(words: str, layout: Layout) -> Iterator[str]:
    yield from wrap(words, max(layout.width, 20))


# For programs.


def json(test: RangeTest, layout: Layout) -> str:
    """Everything, as strict JSON in ASCII: the same bytes for the same sweeps."""
    from diag.result import plain

    found, guides = test.suggestion, test.guides
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "verdict": INCONCLUSIVE if found.value is None else SUGGESTED,
        "learning_rate": found.value,
        "low": found.low,
        "high": found.high,
        "spread_decades": found.spread,
        "reason": found.refusal,
        "plan": {"from": test.low, "to": test.high, "steps": test.steps, "orders": len(test.sweeps)},
        "method": test.method or None,
        "recorded": test.recorded,
        "guides": None
        if guides is None
        else {"low": guides.clip_low, "high": guides.clip_high, "start": guides.start, "rules": list(guides.rules)},
        "library": dict(test.library),
        "notes": list(test.notes),
        "sweeps": [
            {
                "seed": sweep.seed,
                "ended": sweep.ended,
                "minimum": entry.minimum,
                "divergence": entry.divergence,
                "drop": entry.drop,
                "noise": entry.noise,
                "refusal": entry.refusal,
                "learning_rates": sweep.rates.tolist(),
                "losses": sweep.losses.tolist(),
                "untrained_losses": sweep.untrained.tolist(),
                "smoothed_losses": losses.tolist(),
            }
            for sweep, entry, (_, losses) in zip(test.sweeps, test.answers, curves(test), strict=True)
        ],
    }
    return dumps(plain(content), indent=2, allow_nan=False) + "\n"


# As a drawing.

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 46, 46
COLOURS: Final = {"curve": "#1f6f8b", "suggested": "#2e7d32", "guides": "#f2d694", "recorded": "#a33", "ink": "#333", "grid": "#ddd"}


def drawing(test: RangeTest, *, as_page: bool = False) -> str:
    """The curve of every sweep, the guides' range behind it and the suggestion over it, as SVG, or as a page of HTML that holds it."""
    svg = "\n".join(_svg(test)) + "\n"
    if not as_page:
        return svg
    title = escape(_title(test))
    return f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<body>\n{svg}</body>\n</html>\n'


def _title(test: RangeTest) -> str:
    found = test.suggestion.value
    return f"Learning-rate range test: {INCONCLUSIVE if found is None else rate(found)}"


def _svg(test: RangeTest) -> Iterator[str]:
    found, guides = test.suggestion, test.guides
    shown = curves(test)
    mean = _mean([losses for _, losses in shown])
    highest, lowest = _ceiling(mean), min(float(losses.min()) for _, losses in shown)
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
    yield f"<title>{escape(_title(test))}</title>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    if guides is not None:
        yield band(guides.clip_low, guides.clip_high, COLOURS["guides"], 0.6, f"the guides for {test.method}")
    if found.low is not None and found.high is not None:
        yield band(found.low, found.high, COLOURS["suggested"], 0.15, "the interval of both rules over the orders")
    for power in _decades(test.low, test.high):
        yield f'<line x1="{x(power)}" x2="{x(power)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{COLOURS["grid"]}"/>'
        yield f'<text x="{x(power)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="{COLOURS["ink"]}">{rate(power)}</text>'
    for value in (lowest, (lowest + highest) / 2, highest):
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="{COLOURS["ink"]}">{value:.3g}</text>'
    for rates, losses in shown:
        last = losses.size - 1
        while last > 0 and losses[last - 1] >= highest:  # where a loss left the drawing for good
            last -= 1
        points = " ".join(f"{x(float(a))},{y(float(b))}" for a, b in zip(rates[: last + 1], losses, strict=False))
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS["curve"]}" stroke-width="1.5"/>'
    if test.recorded and test.low <= test.recorded <= test.high:
        yield line(test.recorded, COLOURS["recorded"], f"the run's own: {show(test.recorded)}", "2 4")
    if found.value is not None:
        yield line(found.value, COLOURS["suggested"], f"suggested: {rate(found.value)}")
    yield f'<text x="{LEFT}" y="22" font-size="15" fill="{COLOURS["ink"]}">{escape(_title(test))}</text>'
    yield f'<text x="{LEFT}" y="38" fill="{COLOURS["ink"]}">{escape(_legend(test))}</text>'
    yield f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle" fill="{COLOURS["ink"]}">learning rate</text>'
    yield "</svg>"


def _legend(test: RangeTest) -> str:
    parts = [f"blue: the loss of {counted(len(test.sweeps), 'order')}"]
    if test.suggestion.value is not None:
        parts.append("green: the suggestion and its interval")
    if test.guides is not None:
        parts.append(f"yellow: the guides for {test.method}")
    if test.recorded:
        parts.append("red: the run's own")
    return "; ".join(parts)
