"""RLH002: the KL divergence from the reference policy runs away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.examination import Examination
from diag.vocabulary import DIVERGED, UNSTABLE, WARNING

MINIMUM_POINTS = 16
"""Logged divergences below which nothing is said."""
GROWTH = 10.0
"""Ratio to the settled level that counts as running away: adaptive KL controllers correct a factor of 1.5 to 2 by themselves."""
SMALLEST = 0.2
"""Divergence, nats, below which the policy is still close to its reference, whatever the growth."""
SETTLED = (0.1, 0.5)
"""Share of the run whose median is the settled level: after the first steps, where the divergence is zero by construction."""
END = 0.2
"""Share of the run at its end whose median is compared with it."""


class KlBlowUp(Check):
    """The KL divergence from the reference policy grows without bound.

    ## What it does
    Compares the median divergence of the last fifth of the run with that of the time before its middle. Fires above a
    tenfold growth to at least 0.2 nats, and on values that are not finite.

    ## Why is this bad?
    A policy far from its reference has usually found an exploit of the reward; its text degenerates before the reward shows it.

    ## When it stays silent
    Below 16 logged values, and on steady growth: a policy that learns moves away from its reference.

    ## What to do
    Halve the learning rate, raise the KL coefficient (beta), keep the checkpoint from before the rise.

    ## References
    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2, for adaptive KL control.
    """

    code = "RLH002"
    name = "kl-blow-up"
    severity = WARNING
    needs = ("kl",)
    reward_logs = True
    premature = "the level at which the divergence settles is not known yet"
    thresholds = (
        Threshold("growth", GROWTH, "ratio of divergences", 1.0, 1e9),
        Threshold("smallest", SMALLEST, "nats", 0.0, 1e6),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        run = examination.run
        curve = examination.require("kl", MINIMUM_POINTS)
        logged = run.curves["kl"]
        n = len(curve)
        value = np.abs(curve.value)
        settled = float(np.median(value[int(SETTLED[0] * n) : int(SETTLED[1] * n)]))
        end = float(np.median(value[-max(int(END * n), 3) :]))
        lost = len(logged) - n
        growth, smallest = examination.threshold(self, "growth"), examination.threshold(self, "smallest")
        if not lost and (end < smallest or end < growth * settled):
            return
        risen = np.flatnonzero(value > max(growth * settled, smallest))
        step = int(curve.step[risen[0]]) if risen.size else int(logged.step[int(np.argmin(np.isfinite(logged.value)))])
        message = (
            f"The KL divergence is not finite in {lost} of {len(logged)} logged values."
            if lost
            else f"The KL divergence grows from {settled:.3g} to {end:.3g} nats, from step {step} on."
        )
        yield self.finding(
            message,
            metric="kl",
            step_start=step,
            step_end=int(logged.step[-1]),
            evidence={"settled": round(settled, 6), "final": round(end, 6), "nonfinite": lost, "severity_factor": 2.0},
            causes={"reward_collapse": 1.5, "lr_too_high": 1.5},
            verdicts={UNSTABLE: 2.0, DIVERGED: 1.0},
        )
