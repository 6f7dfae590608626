"""RLH006: the policy stays where it started."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.checks.reward._levels import MINIMUM_POINTS, levels
from diag.examination import Examination
from diag.vocabulary import UNDERFIT, WARNING

NEAR = 0.1
"""KL divergence from the start, nats, up to which the policy says nearly what it said before."""
RISEN = 0.15
"""Rise of the reward, relative to its first level, above which something was learned however small the divergence."""
GROWS = 1.5
"""Growth of the divergence over the second half of the run that shows that it is still on its way."""


class PolicyBarelyMoved(Check):
    """The policy has hardly left its start, and the reward has hardly risen, but both still grow.

    ## What it does
    Compares the divergence (KL) of the last eighth of the run with 0.1 nats and with that in its middle, and the reward with that of the
    first eighth. Fires when the divergence is small and still growing and the reward rose by less than 15%.

    ## Why is this bad?
    The updates are too small for the number of steps: the run ends before the policy has tried anything else.

    ## When it stays silent
    When the reward rose by 15% or more, when the divergence has settled (a KL coefficient holds it there), when no KL was logged.

    ## What to do
    Raise the learning rate 5-fold and look at the reward after a tenth of the run; or train longer.

    ## References
    Guide rows S1-060, S3-123.
    """

    code = "RLH006"
    name = "policy-barely-moved"
    severity = WARNING
    needs = ("reward", "kl")
    rules = ("S1-060", "S3-123")
    reward_logs = True
    premature = "the policy is still on its way"
    thresholds = (
        Threshold("near", NEAR, "nats", 0.0, 1e6),
        Threshold("risen", RISEN, "relative rise", 0.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        rewards, distance = examination.require("reward", MINIMUM_POINTS), examination.require("kl", MINIMUM_POINTS)
        first, *_, last = levels(rewards)
        rise = (last.mean - first.mean) / abs(first.mean) if first.mean else math.inf
        parts = [float(np.median(part)) for part in np.array_split(np.abs(distance.value), 8)]
        middle, end = parts[3], parts[-1]
        moved = end > examination.threshold(self, "near") or rise > examination.threshold(self, "risen")
        if moved or end < GROWS * middle or rise <= 0:
            return
        yield self.finding(
            f"The policy ends {end:.2g} nats from its start, and the reward at {last.mean:.4g} after {first.mean:.4g}:"
            " both still grow, slowly.",
            metric="kl",
            step_start=int(distance.step[0]),
            step_end=int(distance.step[-1]),
            evidence={"divergence": round(end, 6), "divergence_in_the_middle": round(middle, 6), "relative_rise": round(rise, 4)},
            causes={"lr_too_low": 3.0, "too_few_epochs": 1.0},
            verdicts={UNDERFIT: 3.0},
        )
