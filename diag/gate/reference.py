"""A run beside known-good ones: the statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from diag.check import Finding
from diag.comparison import BEST, BETTER, END, RUN, SAME, WITHIN_NOISE, WORSE, Compared, Comparison
from diag.errors import UsageError
from diag.gate import curves, directions, pace, reported
from diag.gate.curves import Alignment, Ends, Laid
from diag.gate.differing import differing
from diag.gate.run_noise import Spread, holm, spread
from diag.run import Run

TOLERANCE: Final = 0.05
"""Relative difference from which on worse is an error: 5% of an evaluation loss is a problem (S3-114, S3-205)."""
WARNS: Final = 0.5
"""Share of the tolerance from which on it is a warning."""
ALPHA: Final = 0.05
"""Chance that a run which is no worse than its references gets a finding, all metrics together."""


LARGEST: Final = 50.0
"""Differences of logarithms are cut here before they are exponentiated."""


class Outcome(NamedTuple):
    """What a comparison says: the numbers for the report, and the findings."""

    comparison: Comparison
    findings: tuple[Finding, ...]


class _Scale(NamedTuple):
    """How the values of a metric are compared.

    Attributes:
        way: LOWER or HIGHER, whichever is better.
        logarithmic: whether their logarithms are.
        unit: what a difference is relative to; 1 for logarithms.
    """

    way: int
    logarithmic: bool
    unit: float

    def shown(self, y: float) -> float:
        """A value as it was logged."""
        return math.exp(y) if self.logarithmic else self.way * y * self.unit

    def relative(self, difference: float) -> float:
        """A difference as a relative one, positive where it is for the worse."""
        return math.expm1(min(difference, LARGEST)) if self.logarithmic else difference


class _Test(NamedTuple):
    """One number with its spread, before it is known how many there are."""

    row: Compared
    difference: float
    spread: Spread
    scale: _Scale
    evidence: dict[str, Any]


def compare(run: Run, references: Sequence[Run], *, tolerance: float = TOLERANCE, run_noise: float | None = None) -> Outcome:
    """Compare a run with one or more known-good runs of its kind.

    Args:
        run: the run to judge.
        references: the known-good ones; with two or more of them their spread tells what differs by chance.
        tolerance: relative difference from which on worse is an error; from half of it on it is a warning.
        run_noise: relative standard deviation of the metrics between runs that differ in the seed alone, where it is known.

    Returns:
        The comparison, and findings GAT002, GAT010 and GAT011.

    Raises:
        UsageError: there is no reference, or a number is impossible.
    """
    if not references:
        raise UsageError("there is no reference to compare with")
    if not 0 < tolerance < math.inf:
        raise UsageError(f"the tolerance is {tolerance:g}; it must be above 0")
    if run_noise is not None and not 0 <= run_noise < math.inf:
        raise UsageError(f"the run-to-run noise is {run_noise:g}; it must be 0 or more")
    alignment = curves.align([run, *references])
    metrics, missing = directions.common(run, list(references))
    differs = differing(run, references)
    rows: list[Compared] = []
    tests: list[_Test] = []
    for metric in metrics:
        found, untested = _metric(metric, run, references, alignment, run_noise)
        rows += untested
        tests += found
    findings = [reported.lost(row, references, differs) for row in rows if row.verdict == WORSE]
    # what is worse and what is better are two families of hypotheses, so that turned round the verdicts are turned round as well
    worse, better = (holm([test.spread.p_value(sign * test.difference) for test in tests], ALPHA) for sign in (1, -1))
    for test, *levels in zip(tests, worse, better, strict=True):
        row = _decided(test, levels[test.difference < 0], tolerance)
        rows.append(row)
        if row.verdict == WORSE:
            findings.append(reported.worse(row, test.evidence, references, alignment, tolerance, differs))
    findings += reported.unmeasured(run, references, rows, missing)
    for metric in directions.throughput(run, list(references)):
        if (measured := pace.compared(metric, run, references)) is not None:
            rows.append(measured)
            if measured.verdict == WORSE:
                findings.append(pace.slower(measured))
    place = {metric: index for index, metric in enumerate(metrics)}
    rows.sort(key=lambda row: (place.get(row.metric, len(place)), row.at != BEST))
    comparison = Comparison(
        kind=RUN,
        references=tuple(reference.id for reference in references),
        tolerance=tolerance,
        rows=tuple(rows),
        aligned=alignment.by,
        until=alignment.until,
        differs=differs,
        notes=tuple(reported.notes(run, references, alignment, metrics, with_usual_noise=run_noise is None)),
    )
    return Outcome(comparison, tuple(findings))


def _metric(
    metric: str, run: Run, references: Sequence[Run], alignment: Alignment, run_noise: float | None
) -> tuple[list[_Test], list[Compared]]:
    """What can be tested of a metric, and rows of what cannot."""
    way = directions.direction(metric)
    logged = [(one, scale) for one, scale in zip([run, *references], alignment.scales, strict=True) if one is run or metric in one.curves]
    logarithmic = curves.is_logarithmic(metric, [one.curves[metric] for one, _ in logged], way)
    mine, *theirs = (curves.lay(metric, one.curves[metric], way, scale, alignment.cut, logarithmic) for one, scale in logged)
    good = [one for one in theirs if one is not None]
    if not good:
        return [], [Compared(metric, BEST, None, None, remark="the reference has no finite value of it")]
    scale = _Scale(way, logarithmic, 1.0 if logarithmic else _unit([*good, *([] if mine is None else [mine])]))
    good = [one.over(scale.unit) for one in good]
    if mine is None:
        return [], [_lost(metric, scale, good, "never a finite number")]
    mine = mine.over(scale.unit)
    ended = [one for one in good if one.lost is None] or good
    best = _best(metric, scale, mine, good, run_noise)
    if mine.lost is not None and ended[0].lost is None:
        return [best], [_lost(metric, scale, ended, f"not a number from step {mine.lost:,} on", mine.lost)]
    common = curves.ends([mine, *ended])
    if common is None:
        return [best], [Compared(metric, END, None, None, remark="the curves have no steps in common")]
    return [best, _end(metric, scale, mine, ended, common, run_noise)], []


def _lost(metric: str, scale: _Scale, theirs: Sequence[Laid], remark: str, step: int | None = None) -> Compared:
    level = scale.shown(_mean([float(one.y[-1]) for one in theirs]))
    return Compared(metric, END, None, level, verdict=WORSE, step=step, remark=remark)


def _best(metric: str, scale: _Scale, mine: Laid, theirs: Sequence[Laid], run_noise: float | None) -> _Test:
    (value, *values), (x, *positions), variances = zip(*(one.best for one in (mine, *theirs)), strict=True)
    step = theirs[0].step(positions[0]) if len(theirs) == 1 else None
    return _test(metric, BEST, scale, value, values, variances, run_noise, (mine.step(x), step), {})


def _end(metric: str, scale: _Scale, mine: Laid, theirs: Sequence[Laid], common: Ends, run_noise: float | None) -> _Test:
    value, *values = common.levels
    step = theirs[0].step(common.high) if len(theirs) == 1 else None
    evidence: dict[str, Any] = {"share_behind": round(common.share, 3)}
    if common.behind is not None:
        evidence["behind_from"] = mine.step(common.behind)
    return _test(metric, END, scale, value, values, common.variances, run_noise, (mine.step(common.high), step), evidence)


def _test(
    metric: str,
    at: str,
    scale: _Scale,
    value: float,
    values: Sequence[float],
    variances: Sequence[float],
    run_noise: float | None,
    steps: tuple[int, int | None],
    evidence: dict[str, Any],
) -> _Test:
    mean = _mean(values)
    row = Compared(metric, at, scale.shown(value), scale.shown(mean), step=steps[0], reference_step=steps[1])
    return _Test(row, value - mean, spread(values, variances, run_noise), scale, {"references": list(map(scale.shown, values)), **evidence})


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _unit(laid: Sequence[Laid]) -> float:
    """What a difference is relative to where there are no logarithms: the largest best value, range or noise of any of the runs.

    A reward may pass through zero, so that its value alone measures nothing.
    """
    sizes = [max(abs(float(one.y.min())), float(one.y.max() - one.y.min()), one.sigma) for one in laid]
    return max(sizes) or 1.0


def _decided(test: _Test, level: float, tolerance: float) -> Compared:
    """The row with its verdict, at the level that the number of tests leaves."""
    noise, bar = test.spread.explains(level), WARNS * tolerance
    worse, better = test.scale.relative(test.difference), test.scale.relative(-test.difference)
    verdict = SAME
    if worse >= bar:
        verdict = WORSE if test.difference > noise else WITHIN_NOISE
    elif better >= bar:
        verdict = BETTER if -test.difference > noise else WITHIN_NOISE
    p_value = test.spread.p_value(test.difference)
    return replace(test.row, difference=worse, noise=test.scale.relative(noise), p_value=p_value, verdict=verdict)
