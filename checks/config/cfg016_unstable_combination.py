"""CFG016: a high learning rate, a short warmup and a small batch, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.checks.config.cfg006_warmup_out_of_range import SHORTEST_SHARE, warmup_fixes
from diag.guides import warmup
from diag.guides.profiles import BALANCED, BATCH_COUPLING
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import ERROR, WARNING

NODE: Final = 8
"""Processes granted to a run of unknown size before its batch is called small."""

LARGER: Final = "A larger batch makes calmer steps."

KNOWN: Final = frozenset({"hf", "llamafactory", "training_hub"})
"""Dialects that warm up for no step unless told to."""


class UnstableCombination(Lint):
    """The learning rate is high, the warmup short and the batch small, all at once.

    ## What it does
    Looks for a learning rate above what the guides start from, together with a warmup below 3% of the run (or none) and an effective
    batch below 16 samples.

    ## Why is this bad?
    Each of the three makes steps wilder, and together they multiply: the noise of a small batch goes straight into large steps
    that start before the optimizer has its estimates. No other tuning repairs that. It is a warning where the batch cannot grow, as
    too few steps would be left, or is known for one process only.

    ## When it stays silent
    When one of the three is as it should be, or not known.

    ## What to do
    All three: the profile's learning rate, its warmup, and twice the batch or more.

    ## References
    Guide rows S3-011, S3-200, S3-043.
    """

    code = "CFG016"
    name = "unstable-combination"
    severity = ERROR
    rules = ("S3-011", "S3-200")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        rate, band, batch, start = plan.number("learning_rate"), plan.band("learning_rate"), plan.global_batch, aims.learning_rate(plan)
        if rate is None or band is None or batch is None or start is None or not plan.is_fine_tuning:
            return
        if rate <= band.high * 1.001 or not _is_warmup_short(plan) or not aims.is_mentioned(plan, "micro_batch_size", "global_batch_size"):
            return
        if plan.dialect in aims.DERIVED and plan.number("global_batch_size") is None:
            return
        granted = batch if plan.is_batch_certain else batch * NODE
        if granted >= BATCH_COUPLING[0]:
            return
        target = aims.batch(plan) or BATCH_COUPLING[0]
        fixes = [self.fix(plan, "learning_rate", start, "Where the profile starts.", rules=band.rules, arithmetic=f"was {show(rate)}")]
        larger = [] if target <= batch or aims.is_run_short(plan) else aims.resized(self, plan, target, LARGER, rules=("S3-011",))
        if not any(fix.parameter == "warmup_steps" for fix in larger):
            fixes += warmup_fixes(self, plan, next((name for name in ("warmup_steps", "warmup_ratio") if plan.is_set(name)), ""))
        fixes += [fix for fix in larger if fix.parameter != "learning_rate"]
        steps = plan.warmup_steps
        warm = "no warmup" if not steps else f"a warmup of {counted(round(steps), 'step')}"
        of = "" if plan.is_batch_certain else " a process"
        yield self.violation(
            plan,
            f"A learning rate of {show(rate)} (above {show(band.high)}), {warm} and an effective batch of {counted(batch, 'sample')}{of} "
            f"together make training unstable; start at {show(start)}, warm up, and take {target} samples.",
            at="learning_rate",
            severity=ERROR if plan.is_batch_certain and not aims.is_run_short(plan) else WARNING,
            evidence={"learning_rate": rate, "warmup_steps": steps, "global_batch_size": batch},
            fixes=fixes,
        )


def _is_warmup_short(plan: Plan) -> bool:
    """Whether the run is known to warm up for less than SHORTEST_SHARE of it, and for less than the guides' fewest steps."""
    share, steps, total = plan.warmup_share, plan.warmup_steps, plan.total_steps
    if share is None and steps is None:
        return plan.is_whole and plan.dialect in KNOWN and not aims.is_mentioned(plan, "warmup_steps", "warmup_ratio")
    if share == 0 or steps == 0:
        return True
    if share is None:
        return False
    enough = total is not None and steps is not None and steps >= warmup(total, plan.method, plan.profile or BALANCED).clip_low
    return share < SHORTEST_SHARE and not enough
