"""Comparisons with known-good results in the report for people: a table, what differs, and notes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from diag.comparison import BENCHMARK, BETTER, NOT_COMPARED, SAME, SCORE, WITHIN_NOISE, WORSE, Compared, Comparison
from diag.result import describe_value
from diag.terminal import display_width, pad

if TYPE_CHECKING:
    from diag.report.text import _Page

COLOURS: Final = {WORSE: "red", BETTER: "green", WITHIN_NOISE: "yellow"}
SHOWN_ROWS: Final = 12
"""Rows of a table unless everything is asked for; a benchmark may have hundreds of tasks."""
SHOWN_DIFFERENCES: Final = 6
"""Hyperparameters that differ, unless everything is asked for."""
NUMBERS: Final = 55
"""Columns of a table without its first."""
INDENT: Final = "  "


def lines(comparison: Comparison, page: _Page) -> Iterator[str]:
    """One comparison, laid out for a page."""
    count = len(comparison.references)
    if comparison.kind == BENCHMARK:
        heading = f"Benchmarks against {comparison.references[0]}"
    else:
        heading = f"Against {comparison.references[0] if count == 1 else f'the mean of {count} references'}"
    yield ""
    yield from page.paragraph(heading, INDENT, None, "bold")
    shown, hidden = _chosen(comparison, page.layout.verbose)
    if shown:
        yield from _table(shown, page)
    if hidden:
        same = sum(row.verdict == SAME for row in hidden)
        what = (
            f"{len(hidden)} more, {same} of them the same (--verbose)" if same != len(hidden) else f"{same} more are the same (--verbose)"
        )
        yield INDENT * 2 + page.paint(what, "dim")
    if comparison.differs:
        yield from page.paragraph(_differences(comparison, page.layout.verbose), INDENT * 2)
    for note in comparison.notes:
        yield from page.paragraph(note, INDENT * 2, None, "dim")


def _chosen(comparison: Comparison, verbose: bool) -> tuple[list[Compared], list[Compared]]:
    """The rows to show and those to count: what stands out first, where there are too many."""
    rows = list(comparison.rows)
    if verbose or len(rows) <= SHOWN_ROWS:
        return rows, []
    rank = {WORSE: 0, WITHIN_NOISE: 1, BETTER: 2, NOT_COMPARED: 3, SAME: 4}
    order = sorted(range(len(rows)), key=lambda i: (rank[rows[i].verdict], i))
    chosen = sorted(order[:SHOWN_ROWS])
    return [rows[i] for i in chosen], [rows[i] for i in order[SHOWN_ROWS:]]


def _table(rows: list[Compared], page: _Page) -> Iterator[str]:
    names = [page.clean(row.metric) for row in rows]
    parts = [f"  {row.at}" if _has_parts(rows) else "" for row in rows]
    part = max(map(len, parts))
    room = page.width - len(INDENT * 2) - NUMBERS - part
    width = max([len("metric"), *(display_width(name) for name in names if display_width(name) <= room)])
    head = f"{pad('metric', width)}{'':{part}}  {'this run':>9}  {'reference':>9}  {'change':>8}  {'chance':>7}"
    yield INDENT * 2 + page.paint(head, "dim")
    for name, own, row in zip(names, parts, rows, strict=True):
        cells = f"{_number(row.value):>9}  {_number(row.reference):>9}  {_change(row):>8}  {_chance(row, page):>7}"
        verdict = page.paint(row.verdict, COLOURS[row.verdict]) if row.verdict in COLOURS else row.verdict
        if display_width(name) > width:  # a name is never cut: it has a line of its own
            yield from page.paragraph(name, INDENT * 2)
            name = ""
        yield f"{INDENT * 2}{pad(name, width)}{own:{part}}  {cells}  {verdict}"
        if row.remark:
            yield from page.paragraph(row.remark, INDENT * 3, None, "dim")


def _has_parts(rows: list[Compared]) -> bool:
    """Whether a metric may have several rows, as those of curves have."""
    return any(row.at != SCORE for row in rows)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _change(row: Compared) -> str:
    """How much higher or lower than the reference the number is."""
    if row.difference is None or not math.isfinite(row.difference) or row.value is None or row.reference is None:
        return ""
    size = _percent(row.difference)
    sign = "" if size == "0.0%" else "+" if row.value > row.reference else "-"
    return f"{sign}{size}"


def _chance(row: Compared, page: _Page) -> str:
    if row.noise is None:
        return ""
    return f"{page.sign('±', '+-')}{_percent(row.noise)}"


def _percent(relative: float) -> str:
    value = abs(100 * relative)
    return f"{value:.1f}%" if value < 1000 else f"{value:,.0f}%" if value < 1e6 else f"{value:.0e}%"


def _differences(comparison: Comparison, verbose: bool) -> str:
    found = list(comparison.differs.items())
    shown = found if verbose else found[:SHOWN_DIFFERENCES]
    told = [
        f"{name} {describe_value(values['run'])} instead of {' or '.join(map(describe_value, values['references']))}"
        for name, values in shown
    ]
    rest = f" and {len(found) - len(shown)} more (--verbose)" if len(found) > len(shown) else ""
    return f"What differs: {'; '.join(told)}{rest}."
