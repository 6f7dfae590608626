"""The report of a replay: for people, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING, Final

from diag.terminal import display_width, pad, paint, safe, to_ascii, wrap
from diag.text import counted, show

if TYPE_CHECKING:
    from diag.replay.outcome import ArmResult, Outcome
    from diag.report import Layout

COLOURS: Final = {"CONFIRMED": "green", "REFUTED": "red"}
"""INCONCLUSIVE is yellow."""
INDENT: Final = "  "
SHOWN_CAUSES: Final = 3
"""Causes that are shown: those of the JSON report are all."""
ALONE: Final = "only-"
"""How the names of arms begin that make a single change of a prescription."""
LEAST, MOST = -0.9, 9.0
"""Relative changes beyond which the number says nothing more: a loss that is not finite counts as ten times higher."""


def render_json(outcome: Outcome) -> str:
    """The outcome as strict JSON; ``diag/report/replay_schema.json`` describes it."""
    return json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render(outcome: Outcome, layout: Layout) -> str:
    """The outcome as text that is safe to print: the result and why, a table of the arms, remarks."""
    return "\n".join(line.rstrip() for line in _lines(outcome, layout)) + "\n"


def _lines(outcome: Outcome, layout: Layout) -> Iterator[str]:
    def styled(text: str, *styles: str) -> str:
        return paint(text, *styles) if layout.colour else text

    def paragraph(text: str, *styles: str) -> Iterator[str]:
        for line in wrap(_clean(text, layout), layout.width - len(INDENT)):
            yield INDENT + styled(line, *styles)

    rule = "─" if layout.unicode else "-"
    yield styled(rule * layout.width, "dim")
    name, room = _clean(outcome.run, layout), layout.width - len("replay of ") - len(outcome.result)
    if display_width(name) >= room:
        name = _clean(pad(name, room - 3).rstrip(), layout)
    room -= display_width(name)
    yield f"replay of {styled(name, 'bold')}{' ' * room}{styled(outcome.result, 'bold', COLOURS.get(outcome.result, 'yellow'))}"
    most = max((len(arm.seeds) for arm in outcome.arms), default=0)
    yield from paragraph(
        f"{outcome.verdict} in the log · {outcome.probe} on {outcome.device} · {outcome.horizon} · {counted(most, 'seed')}", "dim"
    )
    yield ""
    yield from paragraph(outcome.reason, "bold")
    yield ""
    yield from (INDENT + line for line in _table(outcome, layout))
    if outcome.trials and outcome.causes:
        causes = ", ".join(f"{cause.cause} {cause.score:.0%}" for cause in outcome.causes[:SHOWN_CAUSES])
        yield ""
        yield from paragraph(f"Causes, by the log and by what was tried: {causes}.")
    if outcome.untested:
        yield ""
        yield from paragraph(f"Prescribed too, but nothing that a short training shows: {', '.join(outcome.untested)}.")
    for note in outcome.notes:
        yield ""
        yield from paragraph(note, "dim")


def _clean(text: str, layout: Layout) -> str:
    """Text of strangers, safe and in characters that the terminal has."""
    return safe(text) if layout.unicode else to_ascii(safe(text))


def _table(outcome: Outcome, layout: Layout) -> Iterator[str]:
    header = ("arm", outcome.metric, "change", "better", "symptom", "verdict")
    rows = [_row(arm) for arm in outcome.arms]
    widths = [max(display_width(row[i]) for row in [header, *rows]) for i in range(len(header))]
    yield "  ".join(pad(cell, width) for cell, width in zip(header, widths, strict=True))
    for arm, row in zip(outcome.arms, rows, strict=True):
        yield "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True))
        for line in wrap(_clean("; ".join(_remarks(arm)), layout), layout.width - 2 * len(INDENT)):
            yield INDENT + line


def _row(arm: ArmResult) -> tuple[str, ...]:
    n, comparison, name = len(arm.seeds), arm.comparison, "alone" if arm.name.startswith(ALONE) else arm.name
    if not n or arm.dropped:
        return name, "dropped" if n else "not tried", "", "", "", ""
    loss = median(seed.final for seed in arm.seeds)
    verdicts = [seed.verdict for seed in arm.seeds]
    common = max(dict.fromkeys(verdicts), key=verdicts.count)
    change = "" if comparison is None else _percent(-comparison.effect)
    wins = "" if comparison is None else f"{comparison.wins} of {comparison.seeds}"
    return name, show(loss) if math.isfinite(loss) else "diverged", change, wins, f"{arm.reappeared} of {n}", common


def _remarks(arm: ArmResult) -> Iterator[str]:
    """What stands under an arm: what it changes, the interval of its effect, why it was dropped."""
    yield arm.label
    if arm.comparison is not None and arm.comparison.seeds > 1:
        yield f"95% interval {_percent(-arm.comparison.high)} to {_percent(-arm.comparison.low)}"
    if arm.dropped:
        yield arm.dropped


def _percent(value: float) -> str:
    """A relative change; without a sign where it rounds to none, and a bound where the comparison counts no further."""
    if round(value, 3) >= MOST:
        return f"over {MOST:+.0%}"
    if round(value, 3) <= LEAST:
        return f"under {LEAST:+.0%}"
    return f"{value:+.1%}" if round(value, 3) else "0.0%"
