"""CFG009: gradients are not clipped, or at a norm that clips nothing or everything."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config import _aims as aims
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import WARNING


class ClippingMissing(Lint):
    """Gradients are not clipped, or at a norm outside what the guides call safe.

    ## What it does
    Looks at the norm to clip gradients at, with the framework's default where the config says nothing: Hugging Face and NeMo
    AutoModel clip at 1.0 by themselves, torchtune and Lightning do not clip. 0 and ``null`` switch clipping off.

    ## Why is this bad?
    One bad batch gives a gradient a hundred times the usual; without clipping that step undoes the work of a thousand. Above 5
    the limit is never reached; below 0.1 every step is clipped, and the learning rate means nothing.

    ## When it stays silent
    Between 0.1 and 5; for models below half a billion parameters and methods that are not known; for frameworks that clip at a
    fixed norm (Training Hub's sft and osft), or that cannot clip (litgpt's finetune commands).

    ## What to do
    Clip at 1.0 and leave it there.

    ## References
    Guide rows S1-022..024, S1-087, S1-203, S1-250, S3-171, S3-173.
    """

    code = "CFG009"
    name = "clipping-missing"
    severity = WARNING
    rules = ("S1-087", "S1-203", "S3-171")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        norm = plan.number("max_grad_norm")
        if norm is None or not aims.is_language_model(plan) or _is_fixed(plan):
            return
        start, low, high = aims.clipping(plan)
        if norm == 0:
            if plan.is_default("max_grad_norm") and not (plan.is_whole and not aims.is_mentioned(plan, "max_grad_norm")):
                return
            source = f", the default of {plan.dialect}" if plan.is_default("max_grad_norm") else ""
            text = f"Gradients are not clipped ({plan.key_of('max_grad_norm')} is off{source})"
        elif norm > high * 1.001:
            text = f"Gradients are clipped at {show(norm)}, above {show(high)}, a norm that hardly any step reaches"
        elif norm < low / 1.001:
            text = f"Gradients are clipped at {show(norm)}, below {show(low)}, so that hardly any step escapes"
        else:
            return
        yield self.violation(
            plan,
            f"{text}; clip at {show(start)}.",
            at="max_grad_norm",
            evidence={"max_grad_norm": norm, "low": low, "high": high},
            fixes=[self.fix(plan, "max_grad_norm", start, f"Clip at {show(start)}.", rules=("S1-022", "S1-087", "S1-250"))],
        )


def _is_fixed(plan: Plan) -> bool:
    """Whether the key has no say."""
    if plan.dialect == "training_hub":
        return plan.method in ("sft", "osft")
    if plan.dialect == "litgpt":
        return plan.method != "pretraining"
    return plan.dialect == "axolotl" and plan.native("max_grad_norm") is None
