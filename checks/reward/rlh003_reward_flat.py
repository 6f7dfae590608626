"""RLH003: the reward does not rise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Threshold
from diag.checks.reward._levels import MINIMUM_POINTS, deviation, levels, separation
from diag.examination import Examination
from diag.vocabulary import INCONCLUSIVE, INFO, PLATEAU, WARNING

RISEN = 3.0
"""Standard errors above the start that the best later level must reach to count as a rise: the best of 7 equal levels lies 1.35 above
the mean by chance, so 3 keeps the error near 5%."""
SILENT = 0.9
"""Share of logged rewards with one and the same value from which there is no signal to learn from."""
ZERO_SPREAD = ("frac_reward_zero_std", "train/frac_reward_zero_std")
"""GRPO's share of groups whose samples all got the same reward, which therefore teach nothing."""


class RewardFlat(Check):
    """The reward does not rise above where it started.

    ## What it does
    Compares the best later eighth of the run with the first one, in standard errors. Remarks on a reward that never rose
    beyond its noise; warns when nearly all rewards are equal, or when nearly all groups of samples got equal rewards, so that
    there is no signal.

    ## Why is this bad?
    Nothing was learned: the task is too hard or too easy for the policy, the reward is broken, or the learning rate is too low.

    ## When it stays silent
    Below 20 logged rewards.

    ## What to do
    Look at samples with their rewards; mix easier tasks in; check that the reward separates samples of one group; raise the
    learning rate by 2.5.

    ## References
    Guide rows S1-060, S3-123.
    """

    code = "RLH003"
    name = "reward-flat"
    severity = INFO
    needs = ("reward",)
    rules = ("S1-060", "S3-123")
    reward_logs = True
    premature = "the reward may still rise"
    thresholds = (
        Threshold("risen", RISEN, "standard errors", 0.0, 100.0),
        Threshold("silent", SILENT, "share of the rewards", 0.0, 1.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("reward", MINIMUM_POINTS)
        value = curve.value
        _, counts = np.unique(np.round(value, 6), return_counts=True)
        same = float(counts.max()) / value.size
        spread = [examination.run.curves[name].finite().value for name in ZERO_SPREAD if name in examination.run.curves]
        idle = float(np.median(spread[0])) if spread and spread[0].size else 0.0
        parts = levels(curve)
        rise = max(separation(level, parts[0]) for level in parts[1:])
        most = examination.threshold(self, "silent")
        if rise >= examination.threshold(self, "risen") and same < most:
            return
        silent = same >= most or idle >= most
        if silent:
            share = max(same, idle)
            message = f"The reward carries no signal: {100 * share:.0f}% of the " + (
                "groups of samples got equal rewards." if idle >= same else "logged rewards are the same."
            )
        else:
            message = (
                f"The reward does not rise beyond its noise: {parts[0].mean:.4g} at first, {parts[-1].mean:.4g} at the end,"
                f" with a noise of {deviation(value):.3g}."
            )
        yield self.finding(
            message,
            severity=WARNING if silent else INFO,
            metric="reward",
            step_start=int(curve.step[0]),
            step_end=int(curve.step[-1]),
            evidence={
                "start": round(parts[0].mean, 6),
                "final": round(parts[-1].mean, 6),
                "standard_errors": round(float(np.clip(rise, -999, 999)), 2),
                "equal_share": round(same, 4),
                "equal_groups": round(idle, 4),
            },
            causes={"lr_too_low": 0.5},
            verdicts={PLATEAU: 3.0} if silent else {PLATEAU: 0.5, INCONCLUSIVE: 1.0},
        )
