"""The report of ``diag batch-find``: every size with its memory and its rate, and what to train with; for people, and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from json import dumps
from typing import TYPE_CHECKING, Any, Final

from diag.terminal import paint, safe, to_ascii, wrap
from diag.text import counted
from diag.vocabulary import INCONCLUSIVE

if TYPE_CHECKING:
    from diag.replay.batch_test import BatchTest
    from diag.report import Layout

SCHEMA_VERSION: Final = 1
FOUND: Final = "FOUND"
INDENT: Final = "  "
KIB: Final = 1024


def amount(size: int) -> str:
    """Bytes for people: ``310 MiB``, ``4.0 GiB``."""
    return f"{size / KIB**3:,.1f} GiB" if size >= KIB**3 else f"{size / KIB**2:,.0f} MiB"


# For people.


def text(test: BatchTest, layout: Layout) -> str:
    """The size to train with, what was tried, and the change to the run."""
    lines = [line.rstrip() for line in _page(test, layout)]
    result = "\n".join(lines) + "\n"
    return result if layout.unicode else to_ascii(result)


def _page(test: BatchTest, layout: Layout) -> Iterator[str]:
    def bold(words: str, *styles: str) -> str:
        return paint(words, "bold", *styles) if layout.colour else words

    width = max(layout.width, 20)
    if test.suggested is None:
        yield bold(f"Micro-batch: {INCONCLUSIVE}", "yellow")
        yield from wrap(test.reason[0].upper() + test.reason[1:], width)
    else:
        yield bold(f"Micro-batch: {test.suggested}", "green")
        yield from wrap(f"{_fits(test)}; {_pays(test)}", width)
    yield ""
    yield f"{INDENT}{'size':>6}  {'memory':>9}  {'samples/s':>11}"
    for trial in test.trials:
        memory = "-" if trial.memory is None else amount(trial.memory)
        rate = "-" if trial.rate is None else f"{trial.rate:.3g}" if trial.rate < 100 else f"{trial.rate:,.0f}"
        mark = "<- train with this" if trial.size == test.suggested else trial.why
        yield f"{INDENT}{trial.size:>6}  {memory:>9}  {rate:>11}  {mark}"
    for note in test.notes:
        yield ""
        yield from wrap(note[0].upper() + note[1:], width)
    if test.suggested is not None:
        yield ""
        yield from _change(test, layout)


def _fits(test: BatchTest) -> str:
    from diag.replay.batch_test import DATA, MEMORY

    room = "" if test.limit is None else f" into {amount(test.limit)} on {test.device}"
    if test.ended == MEMORY:
        return f"The largest that fits{room} is {test.largest}"
    if test.ended == DATA:
        return f"All sizes fit{room}, up to {test.largest}, the largest power of two that a pass of the probe's data fills"
    return f"All sizes up to {test.largest} fit{room}; larger ones were not tried (--max)"


def _pays(test: BatchTest) -> str:
    from diag.replay.batch_test import WORTH

    if test.pays == test.largest:
        return "it is the fastest, too"
    return f"from {test.pays} on, none is faster by more than {WORTH:.0%}"


def _change(test: BatchTest, layout: Layout) -> Iterator[str]:
    micro, times = test.recorded
    width = max(layout.width, 20)
    if test.share is None:
        words = f"Set micro_batch_size to {test.suggested}, and gradient_accumulation_steps so that the global batch stays (S0-047)"
        yield from wrap(words, width)
        return
    if test.overrides is None:
        yield from wrap(f"The run has it already: micro_batch_size {micro}, gradient_accumulation_steps {times or 1}", width)
        return
    changes = f"micro_batch_size {_from(micro)}{test.suggested}, gradient_accumulation_steps {_from(times)}{test.accumulation}"
    whole = counted(test.share, "sample")
    yield from wrap(f"Change in the run: {changes}; a step keeps its {whole} on each device (S0-047)", width)
    overrides = test.overrides
    if overrides.arguments:
        yield ""
        yield INDENT + safe(shlex.join(overrides.arguments))
    elif overrides.config:
        yield ""
        yield from (INDENT + safe(line) for line in overrides.to_yaml().splitlines())
    for line in overrides.code.splitlines():
        yield INDENT + safe(line)
    for note in overrides.notes:
        yield ""
        yield from wrap(safe(note), width)


def _from(value: int | None) -> str:
    return "" if value is None else f"{value} → "


# For programs.


def json(test: BatchTest, layout: Layout) -> str:
    """Everything, as strict JSON in ASCII; ``diag/report/batch_find_schema.json`` describes it."""
    from diag.result import plain

    micro, times = test.recorded
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "verdict": INCONCLUSIVE if test.suggested is None else FOUND,
        "micro_batch_size": test.suggested,
        "gradient_accumulation_steps": test.accumulation,
        "largest": test.largest,
        "pays_from": test.pays,
        "reason": test.reason,
        "device": test.device,
        "memory_limit": test.limit,
        "ended": test.ended,
        "largest_asked": test.bound,
        "samples_per_step": test.share,
        "recorded": {"micro_batch_size": micro, "gradient_accumulation_steps": times},
        "trials": [
            {"size": trial.size, "fits": trial.fits, "memory": trial.memory, "samples_per_second": trial.rate, "why": trial.why}
            for trial in test.trials
        ],
        "notes": list(test.notes),
        "overrides": None if test.overrides is None else test.overrides.to_json(),
    }
    return dumps(plain(content), indent=2, allow_nan=False) + "\n"
