"""From the losses of paired seeds to a decision: exact and sequential tests, effect and interval. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

BETTER: Final = "better"
WORSE: Final = "worse"
SAME: Final = "same"
UNDECIDED: Final = ""

MARGIN: Final = 0.005
"""Relative difference of the loss below which two arms count as equal."""
ALPHA: Final = 0.05
"""Chance of calling two equal arms different, one side, over all looks at paired seeds."""
EXACT: Final = 2.0**-5
"""What the exact test at the last look may take of it: five seeds that all agree."""
LEAST_SEEDS: Final = 3
"""Paired seeds without which nothing is decided."""
MOST_SEEDS: Final = 16
"""Paired seeds beyond which the exact test has too many sign patterns to be worth it (2 to this power)."""
STRONG: Final = 3.0
"""Noise floors from which on LEAST_SEEDS seeds that all agree are enough."""
NOISE_FLOOR: Final = 0.005
"""Least noise assumed between seeds, relative; seeds of one training differ by 1.2% in the median, 0.1% to 9% in all."""
TAU: Final = 0.01
"""Relative difference that the sequential test is tuned to find (the standard deviation of its mixture)."""
LARGEST: Final = math.log(10.0)
"""Log difference that stands for losing to a loss that is not finite, and beyond which no difference counts for more."""
T_975: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5% quantiles of Student's t with 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the recorded one, over the seeds that both finished.

    Attributes:
        seeds: how many.
        wins: in how many the arm had the lower loss.
        effect: relative improvement of the loss, 0.1 where it is a tenth lower; negative where it is higher.
        low, high: its 95% interval; -inf and 1 (the widest there is) for a single seed.
        p_better, p_worse: exact one-sided sign-flip tests.
        evidence: likelihood ratio of the mixture sequential test against no difference; decides at 1 / ALPHA.
        noise: relative standard deviation between seeds of the steadier of the two arms.
        decision: BETTER, WORSE, SAME, or UNDECIDED.
    """

    seeds: int
    wins: int
    effect: float
    low: float
    high: float
    p_better: float
    p_worse: float
    evidence: float
    noise: float
    decision: str


def compare(recorded: Sequence[float], other: Sequence[float], *, last: bool) -> Comparison:
    """Compare the losses of two arms, seed by seed.

    Stopping early is allowed: before the last look only tests count that hold for any number of looks. Those are the mixture
    sequential probability ratio test, and LEAST_SEEDS agreeing seeds with an effect of STRONG noise floors, none below one; at the last
    look, the exact sign-flip test as well.

    Args:
        recorded: losses of the recorded arm, infinite where a training diverged.
        other: losses of the other arm with the same seeds.
        last: whether no seed will follow.

    Raises:
        ValueError: there is no seed, or the two differ in length.
    """
    difference = differences(recorded, other)
    n, mean = len(difference), fmean(difference)
    spread = _deviation(difference) if n > 1 else math.inf
    noise = max(min(_variation(recorded), _variation(other)), NOISE_FLOOR)
    half = t_quantile(n - 1) * spread / math.sqrt(n) if n > 1 else math.inf
    p_better, p_worse = sign_flip(difference), sign_flip([-value for value in difference])
    evidence = likelihood_ratio(mean, max(spread, noise), n) if n > 1 else 1.0
    wins, losses = sum(value > 0 for value in difference), sum(value < 0 for value in difference)
    decision = UNDECIDED
    if n >= LEAST_SEEDS:
        strong = n in (wins, losses) and abs(mean) > STRONG * noise and min(map(abs, difference)) > noise
        settled = strong or evidence >= 1 / ALPHA or (last and min(p_better, p_worse) <= EXACT)
        if abs(mean) > MARGIN and settled:
            decision = BETTER if mean > 0 else WORSE
        elif max(abs(mean - half), abs(mean + half)) <= MARGIN:
            decision = SAME
    return Comparison(n, wins, _gain(mean), _gain(mean - half), _gain(mean + half), p_better, p_worse, evidence, noise, decision)


def differences(recorded: Sequence[float], other: Sequence[float]) -> list[float]:
    """How much lower the losses of the other arm are, relative, on a logarithmic scale where all are positive.

    Raises:
        ValueError: there is no pair, or the two differ in length.
    """
    pairs = list(zip(recorded, other, strict=True))
    if not pairs:
        raise ValueError("no seed was finished by both arms")
    finite = [value for pair in pairs for value in pair if math.isfinite(value)]
    positive = all(value > 0 for value in finite)
    scale = fmean(map(abs, finite)) if finite else 1.0
    return [_difference(a, b, positive, scale or 1.0) for a, b in pairs]


def _difference(recorded: float, other: float, positive: bool, scale: float) -> float:
    if not math.isfinite(recorded) or not math.isfinite(other):
        return LARGEST * (math.isfinite(other) - math.isfinite(recorded))
    difference = math.log(recorded / other) if positive else (recorded - other) / scale
    return min(max(difference, -LARGEST), LARGEST)


def close(one: float, other: float, tolerance: float) -> bool:
    """Whether two numbers are equal within a relative tolerance, or neither is finite."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.isfinite(one) == math.isfinite(other)
    return abs(one - other) <= tolerance * max(abs(one), abs(other))


def _gain(difference: float) -> float:
    """A log difference as a relative improvement."""
    return 1 - math.exp(-difference) if difference > -700 else -math.inf


def _variation(values: Sequence[float]) -> float:
    """Standard deviation over mean; infinite where a value is, or where there is only one."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.inf
    mean = fmean(values)
    return _deviation(values) / abs(mean) if mean else math.inf


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))


def sign_flip(difference: Sequence[float]) -> float:
    """Exact one-sided p-value of a mean above zero: the share of sign patterns with a mean at least as large.

    All of n positive gives 2 to the power of -n.
    """
    value = np.abs(np.asarray(difference, dtype=np.float64))
    n = value.size
    signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    sums = signs @ value
    return float(np.mean(sums >= sum(difference) - 1e-12 * max(float(value.sum()), 1e-300)))


def likelihood_ratio(mean: float, spread: float, n: int) -> float:
    """Mixture likelihood ratio of a normal mean with standard deviation ``spread`` against zero, after n observations.

    Averaged over effects with standard deviation TAU; whatever the number of looks, it reaches 1 / a with a chance of at most a if
    there is no effect.
    """
    variance, mixture = spread**2, n * TAU**2
    exponent = n * mixture * mean**2 / (2 * variance * (variance + mixture))
    return math.sqrt(variance / (variance + mixture)) * math.exp(min(exponent, 600.0))


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t; beyond the table by the Cornish-Fisher expansion."""
    if degrees <= len(T_975):
        return T_975[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
