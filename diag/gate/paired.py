"""Tests of two models on the same samples: sharper than two standard errors, as what is hard for one is hard for the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from diag.gate.lm_eval import Key, Results, Sample, read_samples
from diag.gate.run_noise import KNOWN, student
from diag.run import FloatArray

EXACT: Final = 1000
"""Samples judged differently up to which McNemar's test is exact; beyond, the normal approximation with continuity correction."""
CLOSE: Final = 1e-3
"""Relative difference up to which a number is what its samples make."""

Samples = Mapping[tuple[str, str], Sample]
Both = tuple[Samples, Samples]


def samples_of(task: str, base: Results, tuned: Results) -> Both | None:
    """The samples of both models, None unless both have them and they are of the same documents."""
    if task not in base.samples or task not in tuned.samples:
        return None
    mine, theirs = read_samples(base.samples[task]), read_samples(tuned.samples[task])
    if not mine or mine.keys() != theirs.keys() or any(mine[key].document != theirs[key].document for key in mine):
        return None
    return mine, theirs


def difference(key: Key, sign: float, samples: Both, base: float, tuned: float) -> tuple[float, float, dict[str, Any]] | None:
    """Standard error and p-value of the difference from the samples of both; None where the number cannot be made of them."""
    mine, theirs = samples
    ids = [entry for entry in mine if key.filter in ("", entry[1])]
    pairs = [(mine[entry].values.get(key.metric, ()), theirs[entry].values.get(key.metric, ())) for entry in ids]
    widths = {len(values) for pair in pairs for values in pair}
    if len(pairs) < 2 or len(widths) != 1 or not widths <= {1, 2}:
        return None
    values = np.array(pairs, dtype=np.float64)  # shape (samples, 2 models, 1 or 2)
    if not bool(np.isfinite(values).all()):
        return None
    return _mean_of_pairs(values[:, :, 0], sign, (base, tuned)) if widths == {1} else _perplexity_of_pairs(values, (base, tuned))


def _mean_of_pairs(values: FloatArray, sign: float, stated: tuple[float, float]) -> tuple[float, float, dict[str, Any]] | None:
    """The test for a number that is the mean of its samples; ``values`` has shape (samples, 2 models)."""
    if not np.allclose(values.mean(axis=0), stated, rtol=CLOSE, atol=1e-6):
        return None
    lost = sign * (values[:, 0] - values[:, 1])
    error = float(np.std(lost, ddof=1)) / math.sqrt(lost.size)
    if bool(np.isin(values, (0.0, 1.0)).all()):
        worse, better = int((lost > 0).sum()), int((lost < 0).sum())
        more = {"test": "McNemar", "samples": lost.size, "only_base_right": worse, "only_tuned_right": better}
        return error, mcnemar(worse, better), more
    return error, upper_tail(float(lost.mean()), error, lost.size - 1), {"test": "paired differences", "samples": lost.size}


def _perplexity_of_pairs(values: FloatArray, stated: tuple[float, float]) -> tuple[float, float, dict[str, Any]] | None:
    """The test for a perplexity or bits a byte; ``values`` has shape (samples, 2 models, log likelihood and length).

    Their logarithm is the ratio of two sums, and so is the difference of two of them where the lengths are the same: its variance is that
    of the residuals of the samples (the ratio estimator of survey sampling, Cochran 1977, section 6.4).
    """
    likelihood, length = values[:, :, 0], values[:, :, 1]
    if not np.array_equal(length[:, 0], length[:, 1]) or length.sum() <= 0:
        return None
    total = float(length[:, 0].sum())
    levels = -likelihood.sum(axis=0) / total
    for scale, shown in ((stated[1], np.exp(levels)), (1 / math.log(2), levels / math.log(2))):
        if np.allclose(shown, stated, rtol=CLOSE):
            lost = likelihood[:, 0] - likelihood[:, 1]
            loss = float(lost.sum()) / total
            residual = lost - loss * length[:, 0]
            error = math.sqrt(lost.size * float(np.var(residual, ddof=1))) / total
            return error * scale, upper_tail(loss, error, lost.size - 1), {"test": "paired differences", "samples": lost.size}
    return None


def upper_tail(loss: float, error: float, freedom: int) -> float:
    """One-sided p-value of a loss."""
    if not error:
        return 0.0 if loss > 0 else 1.0
    return student(loss / error, freedom)


def mcnemar(worse: int, better: int) -> float:
    """One-sided p-value of samples that got worse against those that got better (McNemar 1947): exact up to EXACT of them.

    P(X >= worse) for X binomial with ``worse + better`` trials and chance one half.
    """
    n = worse + better
    if n == 0:
        return 1.0
    if n <= EXACT:
        return float(sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n)
    return student((worse - n / 2 - 0.5) / (0.5 * math.sqrt(n)), KNOWN)
