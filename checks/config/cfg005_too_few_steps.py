"""CFG005: the run is over before the optimizer has done its work."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.guides.profiles import MINIMUM_STEPS
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted
from diag.vocabulary import INFO, WARNING


class TooFewSteps(Lint):
    """The run has fewer than 100 optimizer steps.

    ## What it does
    Divides samples times epochs by the effective batch, or takes the number of steps where that ends the run.

    ## Why is this bad?
    An effective batch of 128 on 1,000 samples for 3 epochs is 24 steps: the warmup takes a good part of them, and the schedule
    has no time to settle. The loss is then still falling when the run ends.

    ## When it stays silent
    When neither the number of samples nor of steps is known, and for models below half a billion parameters.

    ## What to do
    Make the batch smaller first, down to 8 samples; only then train for more epochs, up to 3. If both are done, more data helps.
    A run that a small number of steps ends on purpose is only remarked upon.

    ## References
    Guide rows S1-069, S2-008..010; profile algorithm B3, step 4.
    """

    code = "CFG005"
    name = "too-few-steps"
    severity = WARNING
    rules = ("S1-069", "S2-009")
    whole = True

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        steps, batch = plan.total_steps, plan.global_batch
        if steps is None or steps >= MINIMUM_STEPS or not aims.is_language_model(plan):
            return
        if plan.number("max_steps") is not None:
            advice = self.advise("max_steps", f"Train for {MINIMUM_STEPS} steps or more, except to try things out.")
            yield self._said(plan, steps, f"{plan.key_of('max_steps')} ends it", "max_steps", INFO, [advice])
            return
        epochs, samples = plan.number("num_epochs"), plan.samples
        if epochs is None or samples is None or batch is None:
            return
        fixes: list[Fix] = []
        smaller = aims.smaller_batch(plan)
        if smaller is not None:
            text = f"A batch of {smaller} gives {counted(math.ceil(samples * epochs / smaller), 'step')}."
            arithmetic = f"{samples:,.0f} * {epochs:g} / {smaller}"
            fixes = aims.resized(self, plan, smaller, text, rules=self.rules, arithmetic=arithmetic)
        left = smaller or batch
        if samples * epochs / left < MINIMUM_STEPS - 1 and epochs < aims.OVERFITTING_EPOCHS:
            more = min(math.ceil(MINIMUM_STEPS * left / samples), aims.OVERFITTING_EPOCHS)
            text = f"The batch is as small as it should be, so train for {counted(more, 'epoch')}."
            fixes = [fix for fix in fixes if fix.parameter != "warmup_steps"]
            fixes.append(self.fix(plan, "num_epochs", more, text, arithmetic=f"{MINIMUM_STEPS} * {left:g} / {samples:,.0f}"))
            fixes += aims.rewarmed(self, plan, more * math.ceil(samples / left))
        why = f"{samples:,.0f} samples, {epochs:g} epochs and an effective batch of {batch:g}"
        if not plan.is_batch_certain:
            why += " a process (the number of processes is not known)"
        place = "global_batch_size" if plan.is_set("global_batch_size") else "gradient_accumulation_steps"
        if not plan.is_set(place):
            place = "micro_batch_size" if plan.is_set("micro_batch_size") else "num_epochs"
        if fixes:
            yield self._said(plan, steps, why, place, WARNING, fixes)
        else:
            advice = self.advise("data", "More data would make the run longer; more epochs would overfit.")
            yield self._said(plan, steps, why, place, INFO, [advice])

    def _said(self, plan: Plan, steps: float, why: str, at: str, severity: str, fixes: list[Fix]) -> Violation:
        todo = " and ".join(f"{fix.parameter} {fix.new}" for fix in fixes if fix.parameter in ("global_batch_size", "num_epochs"))
        return self.violation(
            plan,
            f"The run has {counted(steps, 'optimizer step')} ({why}), fewer than the {MINIMUM_STEPS} that a schedule needs"
            + (f"; {todo} make it long enough." if todo else "."),
            at=at,
            severity=severity,
            evidence={"total_steps": steps, "minimum": MINIMUM_STEPS},
            fixes=fixes,
        )
