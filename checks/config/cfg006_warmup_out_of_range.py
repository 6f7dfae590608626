"""CFG006: the learning rate rises for too long, not long enough, or never gets to its peak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.guides import warmup
from diag.guides.profiles import BALANCED
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted, show, significant
from diag.vocabulary import ERROR, INFO, WARNING

LONGEST_SHARE: Final = 0.1
"""Share of a run above which a warmup is too long, whatever the run's length (S3-058)."""

SHORTEST_SHARE: Final = 0.03
"""Share of a run that is warmup enough, however few steps it is (S3-058)."""

WITHOUT: Final = frozenset({"hf", "llamafactory"})
"""Dialects whose framework warms up for no step unless told to."""

TOLERANCE: Final = 1.05
"""Factor that rounding to whole steps may cost."""


class WarmupOutOfRange(Lint):
    """The warmup does not fit the length of the run.

    ## What it does
    Compares the steps of warmup with the optimizer steps of the run: 5 to 10 for a run below 500 steps, 50 to 200 (or up to a
    tenth) up to 5,000 steps, a tenth but not above 1,000 for longer ones; QLoRA may take half as many more. A share is
    multiplied by the steps. A warmup as long as the run is an error. No warmup at all is a warning where the learning rate is
    above what the guides start from.

    ## Why is this bad?
    A rate that still rises when the run ends never reaches its peak; the run trained at a fraction of what the config says.
    Without warmup the first steps, taken before the optimizer knows the size of the gradients, can undo the pretraining.

    ## When it stays silent
    Where the number of steps is not known (shares above a tenth are reported all the same), for constant schedules, and where the
    framework chooses a warmup itself: NeMo AutoModel a tenth of the run but at most 1,000 steps, Axolotl 3% but at most 100.

    ## What to do
    Set the steps, or the share, that it names.

    ## References
    Guide rows S0-011..014, S1-139..143, S1-242, S3-016, S3-021, S3-025, S3-056, S3-058, S3-059, S3-091.
    """

    code = "CFG006"
    name = "warmup-out-of-range"
    severity = WARNING
    rules = ("S1-139", "S1-140", "S1-242", "S3-056", "S3-058")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if not aims.is_language_model(plan) and not _is_endless(plan):
            return
        if plan.value("lr_scheduler") == "constant" and plan.dialect not in ("automodel", "megatron"):
            return  # no warmup whatever the key says, CFG012 tells
        if not (plan.is_set("warmup_steps") or plan.is_set("warmup_ratio")):
            yield from self._missing(plan)
            return
        steps, share, total = plan.warmup_steps, plan.warmup_share, plan.total_steps
        name = "warmup_steps" if plan.is_set("warmup_steps") else "warmup_ratio"
        found = None if total is None else warmup(total, plan.method, plan.profile or BALANCED)
        length = "a run of unknown length" if total is None else f"a run of {counted(total, 'step')}"
        if _is_endless(plan):
            at_most = "" if plan.is_batch_certain or plan.number("max_steps") is not None else " at most"
            where = "" if share is not None and share >= 1 and name == "warmup_ratio" else f" in {length}{at_most}"
            text = f"{where}: the learning rate never reaches its peak".removeprefix(" ")
            yield from self._said(plan, name, text, ERROR)
        elif steps == 0 or share == 0:
            yield from self._missing(plan)
        elif found is None or total is None or steps is None:
            if share is not None and share > LONGEST_SHARE * TOLERANCE:
                yield from self._said(plan, name, f"above the {show(LONGEST_SHARE)} of a run that the guides allow", WARNING)
        elif steps > found.clip_high * TOLERANCE + 1:
            within = steps <= LONGEST_SHARE * total * TOLERANCE + 1
            text = f"in {length}, above the {show(found.clip_high)} that the guides allow"
            yield from self._said(plan, name, text, INFO if within else WARNING, found.rules)
        elif steps < found.clip_low / TOLERANCE and steps < SHORTEST_SHARE * total / TOLERANCE and _is_certain(plan, name):
            yield from self._said(plan, name, f"in {length}, below the {show(found.clip_low)} steps of the guides", INFO, found.rules)

    def _missing(self, plan: Plan) -> Iterator[Violation]:
        """No warmup: said of whole configs whose framework has none by itself."""
        off = plan.warmup_steps == 0 or plan.warmup_share == 0
        silent = aims.is_mentioned(plan, "warmup_steps", "warmup_ratio") and not off
        known = off or plan.dialect in WITHOUT or (plan.dialect == "training_hub" and plan.method in ("sft", "osft"))
        without_section = plan.dialect == "automodel" and not any(key.startswith("lr_scheduler.") for key in plan.document.settings)
        if not plan.is_whole or silent or not known or without_section or plan.number("learning_rate") is None or plan.method is None:
            return
        if plan.dialect == "hf" and plan.value("lr_scheduler") in ("constant", "reduce_lr_on_plateau"):
            return
        rate, band = plan.number("learning_rate"), plan.band("learning_rate")
        is_high = rate is not None and band is not None and rate > band.high * 1.001
        text = f"at a learning rate of {show(rate)}"
        if is_high and band is not None:
            text += f", above the {show(band.high)} that the guides start from"
        yield from self._said(plan, "warmup_steps", text, WARNING if is_high else INFO, missing=True)

    def _said(
        self, plan: Plan, name: str, text: str, severity: str, rules: tuple[str, ...] = (), *, missing: bool = False
    ) -> Iterator[Violation]:
        steps, share = plan.warmup_steps, plan.warmup_share
        amount = "There is no warmup" if missing else f"The warmup is {_amount(plan, name)}"
        fixes = warmup_fixes(self, plan, next((own for own in (name, "warmup_ratio") if plan.is_set(own)), ""))
        fix = fixes[0]
        if severity == INFO and fix.new is not None and fix.new == plan.number(fix.parameter):
            return  # right for the length that the run will have once other findings are settled
        todo = f"; set {fix.key or plan.key_of(fix.parameter)} to {show(fix.new)}." if fix.new is not None else "."
        yield self.violation(
            plan,
            f"{amount}{'' if text.startswith(':') else ' '}{text}{todo}",
            at=name,
            severity=severity,
            evidence={"warmup_steps": steps, "warmup_share": share, "total_steps": plan.total_steps},
            fixes=fixes,
            rules=tuple(dict.fromkeys((*self.rules, *rules))),
        )


def warmup_fixes(rule: Lint, plan: Plan, name: str = "") -> list[Fix]:
    """The warmup to set: as the config counts it (``name``), else in steps where they are certain, else as a share."""
    entry = plan.hyperparameters.get("warmup_ratio")
    if entry is not None and entry.key.endswith("epochs") and (epochs := plan.number("num_epochs")):
        length = significant(aims.warmup_share(plan) * epochs)
        return [rule.set_key(plan, entry.key, length, f"Warm up for {length:g} epochs.", rules=("S3-025", "S3-056"))]
    total = aims.length_to_be(plan)
    count, share = aims.warmup_steps(plan, total), aims.warmup_share(plan)
    certain = count is not None and (plan.is_batch_certain or plan.number("max_steps") is not None)
    rules = ("S3-025", "S3-058", "S3-091")
    if name == "warmup_ratio" or (not (name and count is not None) and not certain and plan.dialect in aims.SHARES):
        reason = f"Warm up for {share:.3g} of the run."
        if plan.dialect == "axolotl" and "warmup_steps" in plan.document.settings:
            away = rule.remove_key(plan, "warmup_steps", "It would win over the share.", rules=rules)
            return [rule.set_key(plan, "warmup_ratio", share, reason, rules=rules), away]
        return [rule.fix(plan, "warmup_ratio", share, reason, rules=rules)]
    if count is None or total is None:
        return [rule.advise("warmup_steps", f"Warm up for about {show(aims.USUAL_WARMUP)} of the steps.", rules=("S3-025", "S3-056"))]
    text = f"Warm up for {counted(count, 'step')} of {counted(total, 'step')}."
    rules = ("S1-141", "S1-142", "S1-143")
    return [rule.fix(plan, "warmup_steps", count, text, rules=rules, arithmetic=f"{count} / {total:g} of the run")]


def _amount(plan: Plan, name: str) -> str:
    steps, share = plan.warmup_steps, plan.warmup_share
    if name == "warmup_ratio" and share is not None and share >= 1:
        return "the whole run"
    if name == "warmup_ratio" and share is not None:
        return f"{show(share)} of the run" + ("" if not steps else f" ({counted(round(steps), 'step')})")
    return counted(steps or 0, "step")


def _is_certain(plan: Plan, name: str) -> bool:
    """Whether the run's length, which a share of it follows, is known and not only its upper limit."""
    return plan.is_batch_certain or name == "warmup_ratio" or plan.number("max_steps") is not None


def _is_endless(plan: Plan) -> bool:
    """Whether the warmup takes the whole run."""
    steps, share, total = plan.warmup_steps, plan.warmup_share, plan.total_steps
    if not (plan.is_set("warmup_steps") or plan.is_set("warmup_ratio")):
        return False
    return (share is not None and share >= 1) or (steps is not None and total is not None and steps >= total > 0)
