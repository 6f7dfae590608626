"""How fast a run trained, beside its references: a matter of the machine as much as of the run, so a remark or a warning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from diag.check import Finding
from diag.comparison import BETTER, SAME, TYPICAL, WORSE, Compared
from diag.gate import directions
from diag.gate.curves import OVERFLOWN
from diag.gate.regressions import WorseThanReference, finding
from diag.run import FloatArray, Run
from diag.vocabulary import INFO, WARNING

SLOWER: Final = 1.5
"""Ratio of the time a step takes from which on a slower pace is a warning (as THR002 has it within a run)."""
NOTICEABLE: Final = 1.2
"""The same for a remark: below it, another machine or its load is enough to explain it."""
WARM: Final = 0.05
"""Share of the points at the start that the pace leaves out: compilation, cold caches."""


def compared(metric: str, run: Run, references: Sequence[Run]) -> Compared | None:
    """The median pace beside that of the references; None where it cannot be told."""
    mine = _times(metric, run)
    theirs = [times for reference in references if (times := _times(metric, reference)) is not None]
    if mine is None or not theirs:
        return None
    own, usual = float(np.median(mine)), float(np.median([float(np.median(times)) for times in theirs]))
    apart = float(np.quantile(mine, 0.25)) > max(float(np.quantile(times, 0.75)) for times in theirs)
    verdict = WORSE if own >= NOTICEABLE * usual and apart else BETTER if usual >= NOTICEABLE * own else SAME
    if _is_rate(metric):
        return Compared(metric, TYPICAL, 1 / own, 1 / usual, difference=1 - usual / own, verdict=verdict)
    return Compared(metric, TYPICAL, own, usual, difference=own / usual - 1, verdict=verdict)


def slower(row: Compared) -> Finding:
    """The finding of a slower pace."""
    assert row.value is not None and row.reference is not None  # narrows the types; a row of the pace has both
    times = row.reference / row.value if _is_rate(row.metric) else row.value / row.reference
    message = f"The run is {times:.2g} times slower than its reference: {row.metric} {row.value:.4g} instead of {row.reference:.4g}."
    evidence = {"value": row.value, "reference": row.reference, "times_slower": round(times, 3)}
    return finding(WorseThanReference, message, severity=WARNING if times >= SLOWER else INFO, metric=row.metric, evidence=evidence)


def _is_rate(metric: str) -> bool:
    return directions.direction(metric) == directions.HIGHER


def _times(metric: str, run: Run) -> FloatArray | None:
    """Time a step or token took, in the metric's own unit, without the start; None where it was not logged."""
    curve = run.curve(metric)
    if curve is None:
        return None
    value = curve.value[math.ceil(WARM * len(curve)) if len(curve) > 1 else 0 :]
    value = value[(value > 1 / OVERFLOWN) & (value < OVERFLOWN)]
    if not value.size:
        return None
    return 1 / value if _is_rate(metric) else value
