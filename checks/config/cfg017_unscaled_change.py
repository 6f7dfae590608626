"""CFG017: something changed against the config this one was derived from, and what hangs on it did not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from diag.guides import method_factor, square_root_factor
from diag.guides.profiles import BALANCED
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show, significant
from diag.vocabulary import WARNING

SIZE_FACTOR: Final = 3.0
"""What the learning rate is divided by for ten times the parameters (S3-221: three to five)."""

SMALLEST_CHANGE: Final = 1.15
"""Factor below which a change needs no companion."""

LARGEST_RANK: Final = 64
"""Rank that a larger model is given at most (S3-145)."""


class UnscaledChange(Lint):
    """Batch, method, model or rank changed against the base config, and the learning rate or alpha did not follow.

    ## What it does
    Compares the config with the one it was derived from (``--base``). The effective batch, through micro-batch, accumulation or
    GPUs, multiplies the learning rate by the square root of its change, between 16 and 256 samples; full fine-tuning to adapters
    by ten, and back by a tenth; ten times the parameters divide it by three. A new rank takes alpha along.

    ## Why is this bad?
    The same learning rate with twice the batch is too low, with half of it too high; copied from adapters to full fine-tuning
    it is ten times too high; copied from 7B to 70B it is three to five times too high. A rank without its alpha
    changes the effective learning rate.

    ## When it stays silent
    Without a base; where the learning rate followed, at least half of the way; where it is what the profile starts from, whatever
    the base had; and where the batch of one of the two is not known.

    ## What to do
    Set the learning rate it names; after a change of the model search the learning rate again.

    ## References
    Guide rows S1-065, S1-066, S1-072, S1-125, S3-043, S3-044, S3-145, S3-180..182, S3-193..196, S3-221..224.
    """

    code = "CFG017"
    name = "unscaled-change"
    severity = WARNING
    rules = ("S3-196",)

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation about the learning rate, one about alpha."""
        if plan.base is None:
            return
        yield from self._of_rate(plan, plan.base)
        yield from self._of_alpha(plan, plan.base)

    def _of_rate(self, plan: Plan, base: Plan) -> Iterator[Violation]:
        rate, old = plan.number("learning_rate"), base.number("learning_rate")
        changes = _changes(plan, base)
        if not rate or not old or not changes:
            return
        factor = math.prod(change[1] for change in changes)
        target = old * factor
        band = plan.band("learning_rate")
        if band is not None:
            target = min(max(target, band.low), band.high)
            if abs(math.log(rate / band.start)) < math.log(SMALLEST_CHANGE):
                return
        target = significant(target)
        largest = max(abs(math.log(change[1])) for change in changes)
        if abs(math.log(rate / target)) <= max(largest / 2 * 1.001, math.log(SMALLEST_CHANGE)):
            return
        what = " and ".join(change[0] for change in changes)
        verb = "stayed" if abs(rate / old - 1) < 0.01 else f"went from {show(old)} to"
        rules = tuple(dict.fromkeys(rule for change in changes for rule in change[2]))
        fixes = [
            self.fix(
                plan,
                "learning_rate",
                target,
                f"Scaled along: {what}.",
                rules=rules,
                arithmetic=f"{show(old)} * {factor:.3g} = {show(significant(old * factor))}" + _limits(band, old * factor),
            )
        ]
        if any("S3-221" in change[2] for change in changes):
            fixes.append(self.advise("learning_rate", _transfer(plan), rules=("S3-145", "S3-193", "S3-195", "S3-223")))
        yield self.violation(
            plan,
            f"Against {base.document.path}, {what}, but the learning rate {verb} {show(rate)}; scaled along it is {show(target)}.",
            at="learning_rate",
            evidence={"learning_rate": rate, "base": old, "factor": factor, "target": target},
            fixes=fixes,
            rules=tuple(dict.fromkeys((*self.rules, *rules))),
        )

    def _of_alpha(self, plan: Plan, base: Plan) -> Iterator[Violation]:
        rank, old_rank = plan.number("lora_rank"), base.number("lora_rank")
        alpha, old_alpha = plan.number("lora_alpha"), base.number("lora_alpha")
        scale, usual = base.alpha_to_rank, plan.band("alpha_to_rank")
        if not rank or not old_rank or not alpha or rank == old_rank or alpha != old_alpha or scale is None or plan.is_rank_stabilized:
            return
        if usual is not None:
            if plan.alpha_to_rank is not None and usual.low <= plan.alpha_to_rank <= usual.high:
                return
            scale = min(max(scale, usual.low), usual.high)
        target = max(round(scale * rank), 1)
        if target == alpha:
            return
        yield self.violation(
            plan,
            f"Against {base.document.path}, the rank went from {show(old_rank)} to {show(rank)}, but alpha stayed {show(alpha)}, so the "
            f"adapters are scaled by {show(alpha / rank)} instead of {show(alpha / old_rank)}; set it to {target}.",
            at="lora_alpha",
            evidence={"lora_rank": rank, "base_rank": old_rank, "lora_alpha": alpha, "target": target},
            fixes=[
                self.fix(plan, "lora_alpha", target, f"{show(scale)} times the rank, as before.", arithmetic=f"{show(scale)} * {rank:g}")
            ],
            rules=("S3-224",),
        )


def _changes(plan: Plan, base: Plan) -> list[tuple[str, float, tuple[str, ...]]]:
    """What changed that the learning rate hangs on: in words, the factor, guide rows."""
    found: list[tuple[str, float, tuple[str, ...]]] = []
    old, new = base.global_batch, plan.global_batch
    if old and new and plan.is_batch_certain == base.is_batch_certain and (factor := square_root_factor(old, new)) != 1:
        text = f"the effective batch went from {show(old)} to {show(new)}"
        found.append((text, factor, ("S1-072", "S3-043", "S3-044", "S3-180", "S3-181", "S3-182", "S3-196")))
    if plan.method and base.method and (factor := method_factor(base.method, plan.method, plan.profile or BALANCED, plan.total_steps)) != 1:
        found.append((f"the method went from {base.method} to {plan.method}", factor, ("S1-065", "S1-066", "S1-125")))
    if plan.parameters and base.parameters and plan.parameters > base.parameters and plan.is_guided:
        factor = SIZE_FACTOR ** -math.log10(plan.parameters / base.parameters)
        text = f"the model went from {base.parameters / 1e9:.3g}B to {plan.parameters / 1e9:.3g}B parameters"
        found.append((text, factor, ("S3-193", "S3-194", "S3-195", "S3-221")))
    return [change for change in found if abs(math.log(change[1])) > math.log(SMALLEST_CHANGE)]


def _transfer(plan: Plan) -> str:
    """What else a larger model asks for."""
    rank = plan.number("lora_rank")
    more = f" A rank of {min(int(2 * rank), LARGEST_RANK)} may be needed, alpha along with it." if rank and rank < LARGEST_RANK else ""
    return f"Search the learning rate again: what suits one size overfits or underfits another.{more}"


def _limits(band: object, value: float) -> str:
    low, high = getattr(band, "low", None), getattr(band, "high", None)
    return "" if low is None or high is None or low <= value <= high else f", within {show(significant(low))} to {show(significant(high))}"
