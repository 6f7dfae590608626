"""Where a learning-rate range test says to start: rules on the losses of one exponential sweep, numpy only.

The rules of the well-known finders are computed beside the ones that decide, so that a reader can see where they would have led;
``benchmarks/lr_find.py`` compares them all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from diag.run import FloatArray
from diag.stats import noise_scale

WINDOW: Final = 9
"""Losses in a centred mean: wide enough to see through the noise of a batch, half a decade of a hundred-step sweep."""

TRAILING: Final = 0.5
"""Share of a sweep's steps that the trailing average of the second rule looks back over: half of them, 0.98 as the weight of the past of a
hundred steps."""

OVER: Final = 10.0
"""What the rate at either place is divided by. A rate that is survived for a few steps is no rate to train with: on tasks of
``benchmarks/lr_find.py`` (``--seed 5 --tasks 32`` and ``--seed 6 --tasks 18``) the best rate of a full training lay 1.08 and 0.96 decades
below them (median), alike in both sets. The bottom of the curve, or a rise of a fifth from it, is reached at rates that vary more from task
to task: the bottom is flat, and the way out of it is steep."""

LEAST_DROP: Final = 4.0
"""A drop of fewer standard errors of a centred mean than this is not told from noise: with four, most of three sweeps over a loss that only
has noise pass in 1 to 3% of trials (with three, in 11 to 15%), as the tests repeat."""

NEIGHBOURHOOD: Final = 15
"""Losses on each side of the minimum that its noise is measured over."""

COUPLING: Final = 21
"""Losses over which it is measured how much of a batch's difficulty is still seen in its loss."""

STOP: Final = 4.0
"""A sweep ends when the centred mean is this many times its best, and no better than where it began."""

SMOOTHING: Final = 0.98
"""Weight of the past in the bias-corrected moving average of fastai's finder, whatever the number of its steps."""

SKIPPED_START, SKIPPED_END = 0.1, 5
"""Share of the steps at the start, and steps at the end, that fastai's finder leaves out."""

DIVERGED: Final = "diverged"
NOT_FINITE: Final = "not finite"
COMPLETE: Final = "complete"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep.

    Attributes:
        rates: learning rate of each step, rising by a constant factor.
        losses: finite loss of each step's batch before its update.
        untrained: what the loss of the same batch is with the weights that the sweep began with.
        ended: COMPLETE, DIVERGED or NOT_FINITE (the loss after the last one here was NaN or infinite).
        seed: of the weights and the data order.
        steps: how many were planned.
    """

    rates: FloatArray
    losses: FloatArray
    untrained: FloatArray
    ended: str = COMPLETE
    seed: int = 0
    steps: int = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What the two rules say of one sweep.

    Attributes:
        minimum: rate at the lowest trailing average, over OVER; None where refused.
        divergence: rate at which the loss is back where it began, over OVER; None where refused, or where it did not get there.
        drop: from the first losses to the lowest centred mean.
        noise: standard error of that mean.
        refusal: why there is no answer, "" if there is one.
    """

    minimum: float | None
    divergence: float | None
    drop: float
    noise: float
    refusal: str = ""

    @property
    def value(self) -> float | None:
        """The geometric mean of the two rules, None where refused."""
        if self.minimum is None:
            return None
        return self.minimum if self.divergence is None else math.sqrt(self.minimum * self.divergence)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What several sweeps say together.

    Attributes:
        value: geometric mean of the two rules, each the median over the sweeps; None where most sweeps were refused.
        low, high: the interval from the lowest to the highest answer of either rule in any sweep; None as above.
        spread: standard deviation of the sweeps' own answers in decades, None for fewer than two.
        refusal: why there is no suggestion, "" if there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    spread: float | None
    refusal: str = ""


def centred_mean(losses: FloatArray, window: int = WINDOW) -> FloatArray:
    """The mean of the ``window`` values around each; at the ends it shrinks evenly on both sides, so that a trend is not bent."""
    half = min(window // 2, (losses.size - 1) // 2)
    out = np.array(losses, dtype=np.float64)
    if half > 0:
        out[half : losses.size - half] = np.lib.stride_tricks.sliding_window_view(losses, 2 * half + 1).mean(axis=1)
    for place in range(half):
        out[place] = losses[: 2 * place + 1].mean()
        out[losses.size - 1 - place] = losses[losses.size - 1 - 2 * place :].mean()
    return out


class Course(NamedTuple):
    """What a sweep's losses are without the luck of the draw.

    Attributes:
        losses: of each step, as if every batch were equally hard.
        mean: their centred mean.
        start: the loss of all batches before anything was trained.
    """

    losses: FloatArray
    mean: FloatArray
    start: float


def course(sweep: Sweep) -> Course:
    """Take from each loss what the untrained weights say is the batch's own difficulty.

    How much of it a partly trained model still sees is the regression of the second differences of the losses on those of the untrained
    losses, over COUPLING steps around each; all of it at first, when the weights have hardly moved, and less and less later. The untrained
    losses do not depend on what was trained, so that taking a share of their deviation from their mean biases nothing.
    """
    losses, untrained = sweep.losses, sweep.untrained
    if losses.size < 3 or untrained.shape != losses.shape or not np.isfinite(untrained).all():
        return Course(losses, centred_mean(losses), float(losses[:WINDOW].mean()))
    ours, theirs = np.diff(losses, 2), np.diff(untrained, 2)
    window = np.ones(min(COUPLING, ours.size))
    with np.errstate(over="ignore", invalid="ignore"):
        common = np.convolve(ours * theirs, window, "same")
        whole = np.convolve(theirs * theirs, window, "same")
        share = np.clip(np.nan_to_num(common / np.where(whole > 0, whole, 1.0)), 0.0, 1.0)
    share = np.concatenate([share[:1], share, share[-1:]])
    plain = losses - share * (untrained - untrained.mean())
    return Course(plain, centred_mean(plain), float(untrained.mean()))


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the latest centred mean is STOP times the best, and back above the first losses."""
    if len(losses) < 2 * WINDOW:
        return False
    means = np.convolve(np.asarray(losses), np.full(WINDOW, 1 / WINDOW), "valid")
    best = float(means.min())
    return bool(means[-1] > best + (STOP - 1) * abs(best) and means[-1] > means[0])


def answer(sweep: Sweep) -> Answer:
    """Apply both rules to one sweep, or say why not."""
    rates, losses = sweep.rates, sweep.losses
    half = WINDOW // 2
    if losses.size < 2 * WINDOW:
        return Answer(
            None, None, 0.0, math.nan, f"the loss was {_end(sweep)} after {losses.size} steps, too few to see a curve; start lower"
        )
    plain, mean, start = course(sweep)
    lowest = half + int(np.argmin(mean[half : losses.size - half]))
    drop = start - float(mean[lowest])
    noise = noise_scale(plain[max(lowest - NEIGHBOURHOOD, 0) : lowest + NEIGHBOURHOOD]) / math.sqrt(WINDOW)

    def refused(why: str) -> Answer:
        return Answer(None, None, drop, noise, why)

    if drop < LEAST_DROP * noise or drop <= 0:
        if drop <= 0 and mean[-1] > start + LEAST_DROP * noise:
            return refused("the loss only rose; start lower")
        return refused(f"the loss did not fall beyond its noise (by {max(drop, 0.0):.2g}, {noise:.2g}); take larger batches or more steps")
    if lowest == half:
        return refused("the loss was lowest at the first rates; start lower")
    average = moving_average(plain, 1 - 1 / (TRAILING * sweep.steps))
    turn = int(np.argmin(average))
    if sweep.ended == COMPLETE and (lowest >= losses.size - 1 - half or turn == losses.size - 1):
        return refused("the loss had not risen again at the last rate; sweep further up")
    back = lowest + np.flatnonzero(mean[lowest:] >= start)
    place = int(back[0]) if back.size else losses.size - 1
    divergence = float(rates[place]) / OVER if back.size or sweep.ended != COMPLETE else None
    return Answer(float(rates[turn]) / OVER, divergence, drop, noise)


def _end(sweep: Sweep) -> str:
    return {COMPLETE: "seen to its end", DIVERGED: "out of bounds", NOT_FINITE: "NaN or infinite"}[sweep.ended]


def suggest(answers: Sequence[Answer]) -> Suggestion:
    """Put the answers of several sweeps together; refused unless more than half of them answered."""
    given = [entry for entry in answers if entry.value is not None]
    if 2 * len(given) <= len(answers):
        refusals = [entry.refusal for entry in answers if entry.refusal]
        advice = Counter(refusal.rpartition("; ")[2] for refusal in refusals).most_common(1)[0][0]
        return Suggestion(None, None, None, None, next(refusal for refusal in refusals if refusal.endswith(advice)))
    minima = [entry.minimum for entry in given if entry.minimum is not None]
    divergences = [entry.divergence for entry in given if entry.divergence is not None]
    middle = [float(np.exp(np.median(np.log(rule)))) for rule in (minima, divergences) if rule]
    logs = np.log10([entry.value for entry in given])  # type: ignore[arg-type]
    return Suggestion(
        value=math.exp(sum(map(math.log, middle)) / len(middle)),
        low=min(minima + divergences),
        high=max(minima + divergences),
        spread=float(logs.std(ddof=1)) if len(given) > 1 else None,
    )


# The rules of the well-known finders, on the same losses.


def moving_average(losses: FloatArray, weight: float = SMOOTHING) -> FloatArray:
    """The exponential moving average, corrected for having started at zero."""
    out = np.empty(losses.size)
    value = 0.0
    for index, loss in enumerate(losses):
        value = weight * value + (1 - weight) * float(loss)
        out[index] = value / (1 - weight ** (index + 1))
    return out


def steepest(rates: FloatArray, smooth: FloatArray) -> float:
    """The rate at which the smoothed loss falls fastest in the logarithm of the rate."""
    return float(rates[np.argmin(np.diff(smooth) / np.diff(np.log(rates)))])


def valley(rates: FloatArray, smooth: FloatArray) -> float:
    """The rate half-way along the longest falling subsequence: fastai's default."""
    length = np.ones(smooth.size, dtype=np.int64)
    for end in range(1, smooth.size):
        higher = smooth[:end] > smooth[end]
        if higher.any():
            length[end] = length[:end][higher].max() + 1
    end = int(length.argmax())
    third = length[end] / 3
    return float(rates[max(end - int(length[end]), 0) + int(third) + int(third / 2)])


def tenth_of_minimum(rates: FloatArray, smooth: FloatArray) -> float:
    """A tenth of the rate at which the smoothed loss is lowest."""
    return float(rates[np.argmin(smooth)]) / 10


LIBRARY_RULES: Final = {"fastai valley": valley, "fastai steepest": steepest, "fastai minimum / 10": tenth_of_minimum}


def library_answers(sweep: Sweep) -> dict[str, float]:
    """What each of LIBRARY_RULES says of one sweep; empty where too little is left of it."""
    kept = slice(int(sweep.steps * SKIPPED_START), -SKIPPED_END)
    rates, smooth = sweep.rates[kept], moving_average(sweep.losses)[kept]
    return {name: rule(rates, smooth) for name, rule in LIBRARY_RULES.items()} if rates.size > 1 else {}


def library_suggestions(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """The median over the sweeps of what each library rule says."""
    said = [library_answers(sweep) for sweep in sweeps]
    return {name: float(np.exp(np.median(np.log([entry[name] for entry in said if entry])))) for name in LIBRARY_RULES if any(said)}
