"""RLH001: the reward falls from its best and stays down."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Threshold
from diag.checks.reward._levels import MINIMUM_POINTS, levels, separation
from diag.examination import Examination
from diag.vocabulary import DIVERGED, ERROR, UNSTABLE

LOST = 0.5
"""Share of what the run had gained in reward that must be lost again."""
SIGNIFICANT = 4.0
"""Standard errors between the best and the last level; the best of 8 equal levels lies 1.4 above the mean by chance."""


class RewardCollapse(Check):
    """The reward falls from its best level and does not come back.

    ## What it does
    Compares the mean reward of the last eighth of the run with the best eighth before it. Fires when more than half of what
    was gained since the start is lost again, or when the reward ends below where it started, beyond its noise.

    ## Why is this bad?
    The policy has moved to where the reward signal no longer holds it: it repeats itself, has stopped answering, or exploited
    the reward until a penalty set in. Later samples only train it further there.

    ## When it stays silent
    Below 20 logged rewards; when the last two eighths disagree, so that the fall may be a dip.

    ## What to do
    Go back to the checkpoint at the best reward, halve the learning rate, raise the KL coefficient, and read samples
    from before and after the fall.

    ## References
    Guide row S1-177 for the factor on the learning rate.
    """

    code = "RLH001"
    name = "reward-collapse"
    severity = ERROR
    needs = ("reward",)
    rules = ("S1-177",)
    reward_logs = True
    patience = 0.1
    thresholds = (
        Threshold("lost", LOST, "share of the gain", 0.0, 10.0),
        Threshold("significant", SIGNIFICANT, "standard errors", 0.0, 100.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        curve = examination.require("reward", MINIMUM_POINTS)
        parts = levels(curve)
        start, last = parts[0], parts[-1]
        best = max(parts[:-2], key=lambda level: level.mean)
        drop, gain = best.mean - last.mean, best.mean - start.mean
        lasting = min(separation(best, last), separation(best, parts[-2]))
        lost = examination.threshold(self, "lost")
        small = drop < lost * gain or (best is start and drop < lost * abs(start.mean))
        if small or lasting < examination.threshold(self, "significant"):
            return
        share = drop / gain if gain > 0 else None
        yield self.finding(
            f"The reward falls from {best.mean:.4g} around steps {best.first} to {best.last} to {last.mean:.4g} at the end"
            + (f": {100 * min(share, 9.99):.0f}% of what was gained is lost." if share is not None else "."),
            metric="reward",
            step_start=best.last,
            step_end=last.last,
            evidence={
                "best": round(best.mean, 6),
                "final": round(last.mean, 6),
                "start": round(start.mean, 6),
                "best_step": best.last,
                "standard_errors": round(min(lasting, 999.0), 2),
                "severity_factor": 2.0,
            },
            causes={"reward_collapse": 4.0, "lr_too_high": 1.0},
            verdicts={UNSTABLE: 2.5, DIVERGED: 2.5},
        )
