"""CFG026: the weights are to be loaded in 4 and in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._keys import named
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR


class FourBitWithEightBit(Lint):
    """``load_in_4bit`` and ``load_in_8bit`` are both true.

    ## What it does
    Compares the two switches.

    ## Why is this bad?
    Weights have one size; every library refuses both, some after the download of the model.

    ## When it stays silent
    When at most one of them is true.

    ## What to do
    Keep 4-bit weights where the other settings are about them (QLoRA), or where memory is short; 8 bits otherwise.

    ## References
    Guide rows S2-051, S2-053, S2-054.
    """

    code = "CFG026"
    name = "four-bit-with-eight-bit"
    severity = ERROR
    rules = ("S2-054",)

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if plan.value("load_in_4bit") is not True or plan.value("load_in_8bit") is not True:
            return
        eight = plan.native("adapter") == "lora" and not list(named(plan, "bnb_4bit_quant_type", "bnb_4bit_compute_dtype"))
        off = "load_in_4bit" if eight else "load_in_8bit"
        keep = "8" if eight else "4"
        reason = f"Keep {keep}-bit weights" + (", as the adapter is plain LoRA." if eight else ": the smaller of the two.")
        yield self.violation(
            plan,
            "load_in_4bit and load_in_8bit are both true; the weights can be loaded in one of the two only, and the library refuses.",
            at="load_in_8bit",
            evidence={"load_in_4bit": True, "load_in_8bit": True},
            fixes=[self.fix(plan, off, False, reason, applicability=SAFE)],
        )
