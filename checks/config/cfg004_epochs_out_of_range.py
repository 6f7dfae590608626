"""CFG004: the data are gone through too often, or hardly at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.guides import disagreement
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

FROM_SCRATCH_EPOCHS: Final = 50
"""Epochs from which a fine-tune repeats what training from scratch does: ten times the guides' most, below their example of 90 (S3-005)."""


class EpochsOutOfRange(Lint):
    """The number of passes over the data is outside the range of the guides.

    ## What it does
    Compares the epochs (or the steps, where a number of steps ends the run) with the range for the number of samples. More than
    three epochs are reported unless early stopping, or keeping the best checkpoint, guards against the overfitting that becomes
    likely then. Fifty epochs or more are an error in fine-tuning.

    ## Why is this bad?
    Small data sets are learnt by heart within a few epochs; the training loss goes on falling while the model gets worse. Ninety
    epochs, usual for image models trained from scratch, destroy an instruction-tuned model.

    ## When it stays silent
    When the method is not known, for models below half a billion parameters, and within the range.

    ## What to do
    Train for the epochs it names. If three are not enough, the data, the learning rate or the model are to blame.

    ## References
    Guide rows S1-013..015, S1-043..045, S1-077, S1-078, S2-013, S2-014, S3-005, S3-046..052.
    """

    code = "CFG004"
    name = "epochs-out-of-range"
    severity = WARNING
    rules = ("S1-077", "S2-014", "S3-047")
    whole = True

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        epochs, band = plan.epochs, plan.band("num_epochs")
        by_steps = plan.number("max_steps") is not None
        if epochs is None or band is None or not (by_steps or plan.is_set("num_epochs") or plan.is_default("num_epochs")):
            return
        guarded = aims.keeps_best(plan)
        rules: tuple[str, ...] = self.rules
        if epochs >= FROM_SCRATCH_EPOCHS and plan.is_fine_tuning:
            severity, why, rules = ERROR, "a number for training from scratch, which destroys a fine-tuned model", (*rules, "S3-005")
        elif epochs > band.clip_high * 1.001:
            severity, why = WARNING, f"above the {show(band.clip_low)} to {show(band.clip_high)} of the guides"
        elif epochs > aims.OVERFITTING_EPOCHS * 1.001 and not guarded:
            severity = WARNING
            why = f"more than {aims.OVERFITTING_EPOCHS}, beyond which overfitting becomes likely, and nothing keeps the best checkpoint"
        elif plan.samples is None or by_steps or not plan.is_set("num_epochs") or band.low <= epochs <= band.high:
            return
        else:
            severity, why = INFO, f"off the {show(band.low)} to {show(band.high)} that the guides start from"
        target = aims.epochs_to_be(plan, band)
        place = "max_steps" if by_steps else "num_epochs"
        total = None if plan.steps_per_epoch is None else math.ceil(target * plan.steps_per_epoch)
        new = target if not by_steps else math.ceil(target * (plan.steps_per_epoch or 1))
        unit = "" if not by_steps else f", {plan.key_of('max_steps')} {new}"
        default = ", the default," if plan.is_default("num_epochs") and not by_steps else ""
        yield self.violation(
            plan,
            f"{significant_epochs(epochs)} epochs{default} are {why} for {aims.described(plan)}; "
            f"the {plan.profile} profile trains for {target}{unit}." + disagreement("num_epochs", str(plan.method), plan.samples),
            at=place,
            severity=severity,
            evidence={"epochs": epochs, "low": band.clip_low, "high": band.clip_high, "start": target, "keeps_best": guarded},
            fixes=[
                self.fix(
                    plan,
                    place,
                    new,
                    f"Train for {target} epochs; go on only while the evaluation improves.",
                    rules=band.rules,
                    arithmetic=f"limits {show(band.clip_low)} to {show(band.clip_high)}",
                ),
                *([] if total is None else aims.rewarmed(self, plan, total)),
            ],
            rules=tuple(dict.fromkeys((*rules, *band.rules))),
        )


def significant_epochs(epochs: float) -> str:
    """``3`` or ``4.2``."""
    return f"{epochs:.0f}" if float(epochs).is_integer() else f"{epochs:.3g}"
