"""SPK001: isolated jumps of the training loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag import stats
from diag.check import Check, Finding, Threshold, percent
from diag.examination import Examination, Series
from diag.run import FloatArray, IntArray
from diag.vocabulary import INFO, UNSTABLE, WARNING

MINIMUM_POINTS = 20
"""Logged training losses below which spikes are not looked for."""
REPEATED = 3
"""Spikes from which on it is no accident (peers warn from 3 on; one recovered spike in a good run is not instability)."""
SPIKE_SHARE = 0.002
"""Share of spike points above which a long run is unstable (spike score, warn above 0.2%)."""
HEIGHT = 1.2
"""Median ratio of spikes to their surroundings below which they cost nothing and stay a remark."""
START = 0.05
"""Share of the run that is not searched: the loss falls too steeply there."""
BACK = 0.3
"""Share of its height above which a spike has not come back yet; a decay with an e-folding time of one row has come down to 0.37."""
MOSTLY = 0.7
"""Share of the spikes that must be brief for all of them to count as such."""
RESOLVED = 0.015
"""Share of the run between two rows up to which a spike of one row was brief. The recovery from a step that was too large takes one to
several hundredths of the run (0.7 to 4.5% in the trainings of the fault benchmark); a coarser log shows it as a single row as well."""


def episodes(index: IntArray) -> list[IntArray]:
    """Spike points joined into episodes: points at most two apart belong together."""
    return list(np.split(index, np.flatnonzero(np.diff(index) > 2) + 1)) if index.size else []


class LossSpikes(Check):
    """The training loss jumps up and comes back.

    ## What it does
    Measures each point against a running median and the run's own noise. A jump counts when it exceeds six noise
    scales, 10%, and one and a half times the largest jump downward (heavy tails are symmetric, spikes are not).

    ## Why is this bad?
    Repeated spikes waste progress and often announce divergence. Spikes that have returned at the next logged point come
    from single bad batches; spikes that take several points to decay come from a step that was too large. Where a logged
    point stands for more than 1.5% of the run, the two look alike and both are named.

    ## When it stays silent
    One or two recovered spikes are a remark (info). The first 5% of the run are not searched.

    ## What to do
    For lone one-step spikes, look at the batches at those steps. Otherwise clip gradients at 1.0 and divide the
    learning rate by 3.

    ## References
    Guide rows S1-062, S1-202, S1-204, S3-122; fix F04.
    """

    code = "SPK001"
    name = "loss-spikes"
    severity = WARNING
    needs = ("train/loss",)
    rules = ("S1-062", "S1-202", "S1-204")
    thresholds = (
        Threshold("repeated", REPEATED, "spikes", 1, 1_000_000),
        Threshold("height", HEIGHT, "ratio of losses", 1.0, 1e6),
        Threshold("spike_share", SPIKE_SHARE, "share of the points", 0.0, 1.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, for all spikes of the run."""
        train = examination.require_train(MINIMUM_POINTS)
        index = stats.spikes(train.y)
        found = [episode for episode in episodes(index) if train.progress[episode[0]] > START]
        if not found:
            return
        trend = stats.running_median(train.y, stats.SPIKE_WINDOW)
        heights = np.array([float((train.y - trend)[episode].max()) for episode in found])
        widths = np.array([episode.size for episode in found])
        relative = math.expm1(min(float(np.median(heights)), 50.0))
        high = float(np.median(heights)) >= math.log(examination.threshold(self, "height"))
        many = len(found) >= examination.threshold(self, "repeated")
        repeated = many and high and index.size / len(train) > examination.threshold(self, "spike_share")
        brief = bool(np.median(widths) <= 1) and returns_at_once(train, found, trend)
        resolved = float(np.median(np.diff(train.progress))) <= RESOLVED
        steps = [int(train.curve.step[episode[0]]) for episode in found]
        clip = examination.run.hyperparameters.get("max_grad_norm")
        if brief and resolved:
            causes = {"data_corruption": 2.5, "lr_too_high": 0.3}
        elif brief:
            causes = {"lr_too_high": 1.2, "data_corruption": 1.2}
        else:
            causes = {
                "lr_too_high": 2.0,
                "gradient_clipping_missing": 1.0 if clip is None or not clip.value else -0.5,
                "data_corruption": 0.5,
            }
        count = f"{len(found)} spikes" if len(found) > 1 else "One spike"
        yield self.finding(
            f"{count} of the training loss, {percent(float(np.median(heights)))} above {'their' if len(found) > 1 else 'its'} surroundings"
            f"{', each back within one logged point' if brief and len(found) > 1 else ''}.",
            severity=WARNING if repeated else INFO,
            metric="train/loss",
            step_start=steps[0],
            step_end=int(train.curve.step[found[-1][-1]]),
            evidence={
                "spikes": len(found),
                "steps": steps[:20],
                "median_height": round(relative, 4),
                "share": round(index.size / len(train), 5),
                "brief": brief,
                "severity_factor": 3.0,
            },
            causes=causes if repeated else {},
            verdicts={UNSTABLE: 3.5} if repeated else {},
        )


def returns_at_once(train: Series, found: list[IntArray], trend: FloatArray) -> bool:
    """Whether the point after each spike has come down to BACK of its height above the trend, in most episodes."""
    above = train.y - trend
    after = np.array([above[min(int(episode[-1]) + 1, len(train) - 1)] for episode in found])
    return bool(np.mean(after < BACK * np.array([above[episode].max() for episode in found])) >= MOSTLY)
