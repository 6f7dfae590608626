"""The report of ``diag lr-find``: the curve with what it says, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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

    mean = mean_curve([losses for _, losses in curves(test)])
    points, _ = make_curve(Column(np.arange(mean.size), np.minimum(mean, ceiling(mean))))
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


def mean_curve(losses: Sequence[FloatArray]) -> FloatArray:
    """The mean of the sweeps at each step that more than half of them reached."""
    length = sorted((entry.size for entry in losses), reverse=True)[len(losses) // 2]
    padded = np.full((len(losses), length), np.nan)
    for row, entry in zip(padded, losses, strict=True):
        row[: entry.size] = entry[:length]
    return np.asarray(np.nanmean(padded, axis=0))


def ceiling(mean: FloatArray) -> float:
    """The highest loss that is drawn."""
    return float(mean[0] + CEILING * max(mean[0] - mean.min(), 0.1 * abs(mean[0])))


def _rate_at(test: RangeTest, step: float) -> float:
    return float(test.low * (test.high / test.low) ** (step / (test.steps - 1)))


def _step_at(test: RangeTest, rate: float) -> int:
    return round(math.log(rate / test.low) / math.log(test.high / test.low) * (test.steps - 1))


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from one rate to another."""
    return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def _ticks(low: float, high: float, width: int) -> str:
    """The line under the axis: every power of ten that has room."""
    line = ""
    for value in decades(low, high):
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
    """Everything, as strict JSON in ASCII, the same bytes for the same sweeps; ``diag/report/lr_find_schema.json`` describes it."""
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
