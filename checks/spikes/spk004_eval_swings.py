"""SPK004: the evaluation loss swings from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold, percent
from diag.examination import Examination
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_EVALS = 6
"""Evaluations below which their noise is not measured."""
WILD = 0.7
"""Noise of the evaluation loss (log units) that no evaluation set is small enough to explain: factors of two and more."""
NOTABLE = 0.025
"""Noise of the evaluation loss (log units) that is worth a remark."""
STILL_HOT = 0.5
"""Relative learning rate above which swings at the end cannot anneal away."""


class EvalSwings(Check):
    """The evaluation loss jumps between evaluations and does not settle.

    ## What it does
    Measures the noise of the evaluation loss over the second half of the run from second differences. Swings by
    factors of two are instability whatever else was logged. Smaller swings at an undecayed learning rate are evidence
    for a rate that is too high; LRS001 weighs it with the rest.

    ## Why is this bad?
    Which checkpoint is kept is then a matter of luck, and the weights move further in a step than the optimum is wide.

    ## When it stays silent
    Small evaluation sets are noisy: up to factors of two the swings are a remark only.

    ## What to do
    Lower the learning rate by 2 to 3, or let it decay; average more evaluation samples.

    ## References
    Guide rows S1-062, S3-121; fix F05.
    """

    code = "SPK004"
    name = "eval-swings"
    severity = WARNING
    needs = ("eval/loss",)
    rules = ("S1-062", "S3-121")
    patience = 0.1
    thresholds = (
        Threshold("notable", NOTABLE, "log units", 0.0, 100.0),
        Threshold("wild", WILD, "log units", 0.0, 100.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for the noisiest evaluation loss."""
        series = max(examination.require_evals(MINIMUM_EVALS), key=lambda one: swing(one.y))
        noise = swing(series.y)
        hot = float(examination.schedule(series.step[-1:])[0]) >= STILL_HOT
        wild = noise > examination.threshold(self, "wild") and len(series) >= 10
        if noise < examination.threshold(self, "notable") or not (hot or wild):
            return
        half = series.y[len(series) // 2 :]
        yield self.finding(
            f"{series.name} swings by {percent(noise)} from one evaluation to the next in the second half of the run.",
            severity=WARNING if wild else INFO,
            metric=series.name,
            step_start=int(series.curve.step[len(series) // 2]),
            step_end=int(series.curve.step[-1]),
            evidence={"noise": round(noise, 4), "spread": round(float(half.max() - half.min()), 4), "severity_factor": 3.0},
            causes={"lr_too_high": 1.5} if wild else {},
            verdicts={UNSTABLE: 4.0} if wild else {},
        )


def swing(y: stats.FloatArray) -> float:
    """Noise of an evaluation loss on the log scale: the larger of that of its second half (at least 5 points) and of all but its
    first fifth. The estimate is a median, and swings that come in bursts may spare one half."""
    return max(stats.noise_scale(np.asarray(y[-max(5, y.size // 2) :])), stats.noise_scale(np.asarray(y[y.size // 5 :])))
