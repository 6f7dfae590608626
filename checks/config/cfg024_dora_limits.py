"""CFG024: DoRA together with something that it does not work with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import named, switched
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO

NOT_LINEAR: Final = re.compile(r"(?:^|[._*])(?:embed\w*|wte|wpe|tok_embeddings|word_embeddings|conv\w*|patch_embed\w*)\*?$")
"""Names of embeddings and convolutions."""


class DoraLimits(Lint):
    """DoRA is switched on together with something that it does not work with.

    ## What it does
    An error for what the library refuses: quantized weights or targets that are no linear layers in NeMo AutoModel, trained
    adapter biases in PEFT, a method other than LoRA in LLaMA-Factory. Information where something else gives way silently
    (Triton kernels), and for embeddings and convolutions among the targets elsewhere.

    ## Why is this bad?
    DoRA splits each weight into magnitude and direction, which is defined for linear layers. The run fails when the adapters
    are attached, after the model was loaded.

    ## When it stays silent
    For DoRA on linear layers, which is fine; it makes a step 10 to 20% slower than LoRA.

    ## What to do
    Switch DoRA off, or what it collides with.

    ## References
    Guide row S1-153; configuration references of NeMo AutoModel, PEFT and LLaMA-Factory.
    """

    code = "CFG024"
    name = "dora-limits"
    severity = ERROR
    rules = cite("S1-153")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """What refuses DoRA first, else what gives way to it."""
        if plan.value("use_dora") is not True or not plan.is_set("use_dora"):
            return
        key = plan.key_of("use_dora")
        if (why := _refusal(plan)) is not None:
            fix = self.set_key(plan, key, False, "Train plain LoRA.", applicability=SAFE)
            yield self.violation(
                plan, f"{key} is true, but {why}: the run fails when the adapters are attached.", at="use_dora", fixes=[fix]
            )
            return
        if plan.dialect == "automodel" and (triton := switched(plan, "use_triton", True)) is not None:
            text = "use_triton is true, but with DoRA NeMo AutoModel switches its Triton kernels off without a word."
            fix = self.set_key(plan, triton, False, "Say what happens anyway.", applicability=SAFE)
            yield self.violation(plan, text, at=triton, severity=INFO, fixes=[fix])
        if targets := _not_linear(plan):
            text = f"DoRA is made for linear layers, and {show(targets)} is none; not every library supports it there."
            fix = self.set_key(plan, key, False, "Train plain LoRA.")
            yield self.violation(plan, text, at="lora_target_modules", severity=INFO, fixes=[fix])


def _refusal(plan: Plan) -> str | None:
    """Why the library will not train DoRA, None if it will."""
    if plan.dialect == "automodel":
        if plan.value("load_in_4bit") is True or plan.value("load_in_8bit") is True:
            return "NeMo AutoModel does not support DoRA on quantized weights"
        if targets := _not_linear(plan):
            return f"NeMo AutoModel supports DoRA for linear layers only, which {show(targets)} is not"
    if plan.dialect in ("hf", "peft"):
        if switched(plan, "lora_bias", True) is not None:
            return "PEFT does not support DoRA with lora_bias"
        if any(value for _, value in named(plan, "megatron_config")):
            return "PEFT does not support DoRA on Megatron layers"
    if plan.dialect == "llamafactory" and plan.native("finetuning_type") not in (None, "lora"):
        return f"LLaMA-Factory knows it for LoRA only, not for finetuning_type {plan.native('finetuning_type')}"
    return None


def _not_linear(plan: Plan) -> list[str]:
    targets = plan.value("lora_target_modules")
    return [name for name in targets if NOT_LINEAR.search(str(name).lower())] if isinstance(targets, list) else []
