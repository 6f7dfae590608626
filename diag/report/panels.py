"""What a picture of a run shows, whatever it is drawn with: panels of curves, the findings on them, and where they would have gone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from diag.check import Finding, percent
from diag.report import palette
from diag.report.chart import LOG_RATIO
from diag.run import Curve, FloatArray, IntArray, Run

if TYPE_CHECKING:
    from diag.result import RunReport

LOSS: Final = "Loss"
ACCURACY: Final = "Accuracy"
LEARNING_RATE: Final = "Learning rate"
REWARD: Final = "Reward"
LINEAR: Final = (ACCURACY, LEARNING_RATE, REWARD)
"""Panels on a linear axis whatever their range: a schedule is known by its shape, and shares are compared by differences."""
TITLES: Final = {
    "lr": LEARNING_RATE,
    "grad_norm": "Gradient norm",
    "reward": REWARD,
    "kl": "KL divergence",
    "loss_scale": "Loss scale",
    "tokens_per_second": "Tokens per second",
    "samples_per_second": "Samples per second",
    "step_time": "Step time",
    "gpu_memory": "GPU memory",
}
"""Panel titles of canonical metrics; losses and accuracies share a panel each, any other metric has one under its own name."""
USUAL: Final = (LOSS, LEARNING_RATE, "Gradient norm", ACCURACY)
"""Panels of every run that logged them, in reading order."""
USUAL_OF_REWARDS: Final = (REWARD, "KL divergence", *USUAL)
"""The same where a reward was logged, which is what such a run is about."""
OTHERS: Final = 4
"""Panels of a run that logged nothing of the usual: those of its longest curves."""
MOST_LINES: Final = 8
"""Lines of one panel; more cannot be told apart."""
EXTRAPOLATED: Final = ("earlier_gain", "latest_gain", "predicted_gain")
"""Evidence of a finding that extrapolates a loss: what its last two quarters brought and what as much training again promises, all drops
of the log loss (UND001)."""
QUARTERS: Final = 4
"""Quarters that such a finding extrapolates by."""
SMALLEST, LARGEST = 1e-200, 1e200
"""Magnitudes that are drawn as they are, so that margins and ticks can be computed on any axis; smaller ones are 0."""
LEVEL_SHARE, LEVEL_POINTS = 0.12, 20
"""A projection starts at the median of the last share of a curve with more points than these, at the last point of another: where the
extrapolation does."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; ``evaluated`` on held-out data, and so drawn with its points."""

    metric: str
    curve: Curve
    evaluated: bool


class Band(NamedTuple):
    """The steps of a finding: its number in the report, its code and severity, first and last step."""

    finding: int
    code: str
    severity: str
    start: int
    end: int


class Projection(NamedTuple):
    """Where a loss would go with as much training again: steps and values, shape (5,), from where it is now, and the change in words."""

    metric: str
    step: IntArray
    value: FloatArray
    change: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves on one pair of axes.

    Attributes:
        title: a phrase, or the name of the metric as it was logged.
        lines: training curves first.
        bands: the findings about these metrics that have steps, in the order of the report.
        projection: of the first finding that has one.
        left_out: metrics that would have been too many lines.
    """

    title: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    projection: Projection | None = None
    left_out: tuple[str, ...] = ()

    @property
    def values(self) -> FloatArray:
        """Every finite value that is drawn."""
        return np.concatenate(
            [*(line.curve.finite().value for line in self.lines), self.projection.value if self.projection else np.empty(0)]
        )

    @property
    def styled(self) -> list[tuple[Line, int, int]]:
        """Each line with its colour and its dash pattern, as indices into ``diag.report.palette``."""
        found = []
        for evaluated, group in groupby(self.lines, key=lambda line: line.evaluated):
            found += [(line, *palette.style(number, evaluated)) for number, line in enumerate(group)]
        return found

    @property
    def logarithmic(self) -> bool:
        """Whether a linear axis would hide the lower part."""
        return wants_logarithm(self.title, self.values)


def panels(entry: RunReport, metrics: Sequence[str] = ()) -> tuple[Panel, ...]:
    """The panels of a run.

    Args:
        entry: the run and what was found.
        metrics: canonical metric names to show, in this order; those that were not logged are left out. If empty, the usual ones, then
            what findings are about.
    """
    run = entry.run
    grouped: dict[str, list[str]] = {}
    for metric in metrics or _in_order(run, entry.findings):
        if len(run.curves.get(metric, ())):
            grouped.setdefault(title(metric), []).append(metric)
    shown = {metric: place for place, names in grouped.items() for metric in names}
    first = next(iter(grouped), "")
    bands: dict[str, list[Band]] = {place: [] for place in grouped}
    projections: dict[str, Projection] = {}
    start, end = _span(run.curves[metric] for metric in shown)
    for number, finding in enumerate(entry.findings):
        place = shown.get(finding.metric, "" if metrics else first)
        if place and (finding.step_start is not None or finding.step_end is not None):
            left = start if finding.step_start is None else finding.step_start
            right = end if finding.step_end is None else finding.step_end
            bands[place].append(Band(number, finding.code, finding.severity, left, max(left, right)))
        found = _projection(finding, run.curves.get(finding.metric))
        if place and found is not None:
            projections.setdefault(place, found)
    return tuple(
        Panel(
            place,
            tuple(Line(name, run.curves[name], name.startswith("eval/")) for name in names[:MOST_LINES]),
            tuple(bands[place]),
            projections.get(place),
            tuple(names[MOST_LINES:]),
        )
        for place, names in grouped.items()
    )


def wants_logarithm(title: str, values: FloatArray) -> bool:
    """Whether a linear axis for these finite values would hide the lower part."""
    return title not in LINEAR and values.size > 0 and float(values.min()) > 0 and float(values.max()) / LOG_RATIO >= float(values.min())


def title(metric: str) -> str:
    """The title of the panel that a metric is drawn in."""
    head, _, tail = metric.rpartition("/")
    if tail in ("loss", "accuracy") and (head in ("train", "eval") or head.startswith("eval/")):
        return LOSS if tail == "loss" else ACCURACY
    return TITLES.get(metric, metric)


def span(shown: Iterable[Panel]) -> tuple[int, int]:
    """The first and the last step of all panels, projections included; 0 and 0 where there is nothing to show."""
    shown = list(shown)
    curves = [line.curve for panel in shown for line in panel.lines]
    return _span([*curves, *(panel.projection for panel in shown if panel.projection is not None)])


def drawable(value: FloatArray) -> FloatArray:
    """Values that axes can be computed for; NaN for what is not finite."""
    near = np.where(np.abs(value) < SMALLEST, 0.0, np.clip(value, -LARGEST, LARGEST))
    return np.where(np.isfinite(value), near, np.nan)


def rows(intervals: Iterable[tuple[float, float]]) -> list[int]:
    """For each interval the first row in which it touches none of those before it."""
    taken: list[list[tuple[float, float]]] = []
    found = []
    for start, end in intervals:
        row = next((i for i, others in enumerate(taken) if all(start > right or end < left for left, right in others)), len(taken))
        if row == len(taken):
            taken.append([])
        taken[row].append((start, end))
        found.append(row)
    return found


def _span(curves: Iterable[Curve | Projection]) -> tuple[int, int]:
    ends = [(int(curve.step[0]), int(curve.step[-1])) for curve in curves if curve.step.size]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else (0, 0)


def _in_order(run: Run, findings: Sequence[Finding]) -> Iterator[str]:
    """The metrics to show, each once."""
    logged = sorted((metric for metric, curve in run.curves.items() if len(curve)), key=_rank)
    usual = USUAL_OF_REWARDS if "reward" in run.curves else USUAL
    order: Mapping[str, int] = {place: i for i, place in enumerate(usual)}
    chosen = sorted((metric for metric in logged if title(metric) in order), key=lambda metric: order[title(metric)])
    chosen += [finding.metric for finding in findings if finding.metric in run.curves]
    return iter(dict.fromkeys(chosen or sorted(logged, key=lambda metric: -len(run.curves[metric]))[:OTHERS]))


def _rank(metric: str) -> tuple[bool, int, str]:
    """Training before evaluation, the plain evaluation set before named ones, then by name."""
    return metric.startswith("eval/"), metric.count("/"), metric


def _projection(finding: Finding, curve: Curve | None) -> Projection | None:
    """The extrapolation of a finding, from the level that its curve ends at; None where it has none."""
    gains = [finding.evidence.get(name) for name in EXTRAPOLATED]
    if curve is None or not all(isinstance(gain, (int, float)) and math.isfinite(gain) for gain in gains):
        return None
    earlier, latest, predicted = (float(gain) for gain in gains if gain is not None)
    finite = curve.finite()
    if predicted <= 0 or not len(finite) or float(finite.value.min()) <= 0 or finite.step[-1] <= 0:
        return None
    near = finite.step >= finite.step[-1] * (1 - LEVEL_SHARE) if len(finite) > LEVEL_POINTS else finite.step == finite.step[-1]
    ratio = min(1.0, max(0.0, latest / earlier)) if earlier > 0 else 1.0
    drops = np.cumsum([0.0, *(ratio**quarter for quarter in range(1, QUARTERS + 1))])
    shape = drops / drops[-1] if drops[-1] > 0 else np.linspace(0.0, 1.0, QUARTERS + 1)
    step = finite.step[-1] + np.round(np.arange(QUARTERS + 1) / QUARTERS * float(finite.step[-1])).astype(np.int64)
    value = float(np.median(finite.value[near])) * np.exp(-predicted * shape)
    return Projection(finding.metric, step, value, f"−{percent(-predicted)} from as much training again")
