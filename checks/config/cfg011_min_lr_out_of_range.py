"""CFG011: the learning rate that the schedule ends at does not fit the one it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.lint import SAFE, UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show, significant
from diag.vocabulary import ERROR, INFO

SHARE: Final = 0.1
"""Lowest learning rate over the highest (S1-124)."""

USUAL: Final = {"sft": 1e-6}
"""Lowest learning rates that the guides' tables give, by method, whatever the highest (S1-028..030)."""


class MinLrOutOfRange(Lint):
    """The lowest learning rate is above the learning rate, or not a tenth of it.

    ## What it does
    Compares the rate that the schedule decays to with the rate it decays from. Above it is an error; above a tenth of it is a
    remark, unless it is one of the guides' own values for full fine-tuning (1e-7 below 5,000 samples, 1e-6 above).

    ## Why is this bad?
    A schedule whose end lies above its beginning raises the learning rate; NeMo AutoModel refuses to start. One that ends close to
    where it began does not settle the model. It happens when the learning rate is lowered and its companion forgotten.

    ## When it stays silent
    Where no lowest rate is set, and for one between 0 and a tenth of the learning rate.

    ## What to do
    Set it to a tenth of the learning rate.

    ## References
    Guide rows S1-028..030, S1-124, S1-241; NeMo AutoModel's scheduler: ``max_lr >= min_lr >= 0``.
    """

    code = "CFG011"
    name = "min-lr-out-of-range"
    severity = ERROR
    rules = ("S1-124", "S1-241")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        low, rate = plan.number("min_lr"), plan.number("learning_rate")
        if low is None or not rate or not plan.is_set("min_lr"):
            return
        if low > rate:
            severity, why = ERROR, f"above the learning rate {show(rate)}, so the schedule would raise it"
        elif aims.is_language_model(plan) and low > max(SHARE * rate, self._usual(plan)) * 1.02:
            severity, why = INFO, f"more than a tenth of the learning rate {show(rate)}"
        else:
            return
        start = aims.learning_rate(plan)  # what CFG001 sets where the rate itself is none the guides start from
        base = rate if start is None or aims.is_learning_rate_usual(plan) else min(rate, start)
        target = significant(SHARE * base)
        tenth = "a tenth of it" if base == rate else f"a tenth of {show(base)}, where the profile starts,"
        yield self.violation(
            plan,
            f"The lowest learning rate {show(low)} is {why}; {tenth} is {show(target)}.",
            at="min_lr",
            severity=severity,
            evidence={"min_lr": low, "learning_rate": rate, "target": target},
            fixes=[self._change(plan, target, severity)],
            rules=(*self.rules, "S1-028", "S1-029", "S1-030"),
        )

    @staticmethod
    def _usual(plan: Plan) -> float:
        usual = USUAL.get(plan.method or "", 0.0)
        return usual / 10 if plan.samples is not None and plan.samples < 5000 else usual

    def _change(self, plan: Plan, target: float, severity: str) -> Fix:
        key = plan.hyperparameters["min_lr"].key
        reason = "The schedule ends at a tenth of the learning rate."
        safe = SAFE if severity == ERROR else UNSAFE
        if isinstance(value := plan.native(key), (int, float)) and value != plan.value("min_lr"):
            return self.set_key(plan, key, SHARE, reason, applicability=safe)  # the key takes a share
        return self.fix(plan, "min_lr", target, reason, applicability=safe, arithmetic=f"{show(target * 10)} / 10")
