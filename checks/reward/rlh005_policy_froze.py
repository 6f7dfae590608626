"""RLH005: the gradient dies while the reward is no better than at the start."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.checks.reward._levels import MINIMUM_POINTS, levels, separation
from diag.examination import Examination
from diag.vocabulary import ERROR, PLATEAU, UNSTABLE

DEAD = 1e-3
"""Share of the norms of the first quarter of the run (the ninth of ten: a collapsing policy has dead steps early) below which no weight
moves any more."""
LASTING = 0.25
"""Share of the run at its end that is dead: a reward that is reached by then would show."""
DEAD_EXCEPTIONS = 0.1
"""Share of the norms there that may be larger: a last sample of the old policy."""
RISEN = 4.0
"""Standard errors above the start from which on the reward has risen, and the gradient may rest."""


class PolicyFroze(Check):
    """The gradient norm falls to nothing while the reward has not risen: the policy always does the same.

    ## What it does
    Looks for a last quarter of the run, or more, in which nearly every gradient norm is below 1/1,000 of the first ones, and
    compares the reward there with that at the start.

    ## Why is this bad?
    A policy that gives every action the probability 0 or 1 has no gradient left: no reward can move it any more, and
    the rest of the run is lost.

    ## When it stays silent
    When the reward rose: a policy that solved its task may come to rest. When no gradient norm was logged.

    ## What to do
    Go back to a checkpoint from before, halve the learning rate, hold the policy near its start with a KL coefficient or an entropy
    bonus, and collect samples from the current policy.

    ## References
    Guide row S1-177 for the factor on the learning rate.
    """

    code = "RLH005"
    name = "policy-froze"
    severity = ERROR
    needs = ("reward", "grad_norm")
    rules = ("S1-177",)
    reward_logs = True
    patience = 0.25
    thresholds = (
        Threshold("dead", DEAD, "ratio of norms", 0.0, 1.0),
        Threshold("risen", RISEN, "standard errors", 0.0, 100.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        rewards, norms = examination.require("reward", MINIMUM_POINTS), examination.require("grad_norm", MINIMUM_POINTS)
        alive = float(np.quantile(norms.value[: max(4, len(norms) // 4)], 0.9))
        dead = norms.value < examination.threshold(self, "dead") * alive
        last = norms.step > norms.step[-1] - LASTING * (norms.step[-1] - norms.step[0])
        if alive <= 0 or float(np.mean(dead[last])) < 1 - DEAD_EXCEPTIONS:
            return
        parts = levels(rewards)
        if separation(parts[-1], parts[0]) > examination.threshold(self, "risen"):
            return
        since = int(norms.step[int(np.flatnonzero(~dead)[-1])]) if bool((~dead).any()) else int(norms.step[0])
        yield self.finding(
            f"The gradient norm falls from {alive:.3g} to nothing by step {since}, with the reward at {parts[-1].mean:.4g} after"
            f" {parts[0].mean:.4g} at the start: the policy no longer changes.",
            metric="grad_norm",
            step_start=since,
            step_end=int(norms.step[-1]),
            evidence={"first_norm": round(alive, 6), "start": round(parts[0].mean, 6), "final": round(parts[-1].mean, 6)},
            causes={"reward_collapse": 3.5, "lr_too_high": 2.0},
            verdicts={PLATEAU: 4.0, UNSTABLE: 2.5},
        )
