"""CFG025: how the weights are quantized, and whether anything is left that can be trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import is_computed, is_open, named
from diag.dialects.values import as_bool
from diag.fixes import Fix
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

START: Final = (16, 32)
"""Rank and alpha to begin QLoRA with (S1-052, S1-053)."""

BITS_AND_BYTES: Final = ("quantization_config", "bnb_config")
"""Sections that hold the arguments of transformers' BitsAndBytesConfig, whose defaults are fp4 and float32."""

AUTOMODEL_ADAPTER: Final = "nemo_automodel.components._peft.lora.PeftConfig"


class QloraSettings(Lint):
    """Quantized weights without adapters, or quantized in another way than QLoRA is meant to be.

    ## What it does
    An error where weights are loaded in 4 or 8 bits and nothing is attached to them that can be trained, and for Axolotl's
    ``adapter: qlora`` without ``load_in_4bit``. A warning for the fp4 type, information for a compute type other than
    bfloat16 and for switched-off double quantization; in a BitsAndBytesConfig also where these are missing, because its
    defaults are fp4 and float32.

    ## Why is this bad?
    Quantized weights have no gradients: without adapters every framework refuses to train. nf4 fits the distribution of
    weights and fp4 does not; float32 computation throws away the speed that bfloat16 has on the same weights; double
    quantization saves another 0.4 bits a parameter at no cost.

    ## When it stays silent
    Where a script may attach adapters in code, and where the framework's own defaults are the right ones. 4-bit weights save
    the most memory, 8-bit weights are the milder alternative; both are fine with adapters.

    ## What to do
    Attach adapters, and use nf4 with bfloat16 and double quantization.

    ## References
    Guide rows S1-052, S1-053, S1-055..057, S2-051, S2-053; documentation of transformers' BitsAndBytesConfig.
    """

    code = "CFG025"
    name = "qlora-settings"
    severity = WARNING
    rules = cite("S1-055..057 S2-051 S2-053")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """First whether anything can be trained, then how the weights are quantized."""
        four, eight = plan.value("load_in_4bit") is True, plan.value("load_in_8bit") is True
        open_ = is_computed(plan, "load_in_4bit") or is_open(plan)
        if plan.dialect == "axolotl" and plan.native("adapter") == "qlora" and not four and not open_:
            text = "The adapter is qlora, but load_in_4bit is not true; Axolotl refuses that."
            fix = self.fix(plan, "load_in_4bit", True, "QLoRA is LoRA on 4-bit weights.", applicability=SAFE)
            yield self.violation(plan, text, at="adapter", severity=ERROR, fixes=[fix], rules=("S2-051",))
        if (four or eight) and (found := _no_adapter(plan)) is not None:
            at = "load_in_4bit" if four else "load_in_8bit"
            bits = 4 if four else 8
            text = f"The weights are loaded in {bits} bits and {found}: quantized weights cannot be trained, only adapters on them."
            cited = cite("S1-052 S1-053 S2-051 S2-053")
            yield self.violation(plan, text, at=at, severity=ERROR, fixes=self._attach(plan), rules=cited)
        if four:
            yield from self._quantization(plan)

    def _attach(self, plan: Plan) -> list[Fix]:
        """The changes that attach adapters to all linear layers, in the framework's own words."""
        reason = "Train adapters on the quantized weights."
        rank, alpha = START
        if plan.dialect == "llamafactory":
            return [self.set_key(plan, "finetuning_type", "lora", reason)]
        if plan.dialect == "hf":
            return [self.set_key(plan, "use_peft", True, reason)]
        if plan.dialect == "automodel":
            keys = {"_target_": AUTOMODEL_ADAPTER, "match_all_linear": True, "dim": rank, "alpha": alpha}
            return [self.set_key(plan, f"peft.{key}", value, reason) for key, value in keys.items()]
        keys = {
            "adapter": "qlora" if plan.value("load_in_4bit") is True else "lora",
            "lora_r": rank,
            "lora_alpha": alpha,
            "lora_target_linear": True,
        }
        return [self.set_key(plan, key, value, reason) for key, value in keys.items()]

    def _quantization(self, plan: Plan) -> Iterator[Violation]:
        for key, value in named(plan, "bnb_4bit_quant_type", "quantization_type"):
            if str(value).lower() == "fp4":
                fix = self.set_key(plan, key, "nf4", "nf4 fits the distribution of weights.")
                yield self.violation(plan, "The weights are quantized to fp4; the guides use nf4.", at=key, fixes=[fix], rules=("S1-055",))
        for key, value in named(plan, "bnb_4bit_compute_dtype"):
            word = str(value).lower().removeprefix("torch.")
            if word in ("float32", "fp32", "float16", "fp16"):
                text = f"The 4-bit weights are computed with in {word}; the guides use bfloat16."
                fix = self.set_key(plan, key, _like(value, "bfloat16"), "bfloat16 is as fast as float16 and does not overflow.")
                yield self.violation(plan, text, at=key, severity=INFO, fixes=[fix], rules=("S1-056",))
        for key, value in named(plan, "bnb_4bit_use_double_quant", "use_bnb_nested_quant", "double_quantization"):
            if as_bool(value) is False:
                fix = self.set_key(plan, key, True, "Saves another 0.4 bits a parameter.")
                text = "Double quantization is switched off; the guides use it."
                yield self.violation(plan, text, at=key, severity=INFO, fixes=[fix], rules=("S1-057",))
        if plan.dialect == "litgpt" and (name := str(plan.native("quantize"))) in ("bnb.fp4", "bnb.fp4-dq", "bnb.nf4"):
            severity = WARNING if "fp4" in name else INFO
            text = f"The weights are quantized with {name}; the guides use nf4 with double quantization, bnb.nf4-dq."
            fix = self.set_key(plan, "quantize", "bnb.nf4-dq", "nf4 with double quantization.")
            yield self.violation(plan, text, at="quantize", severity=severity, fixes=[fix], rules=("S1-055", "S1-057"))
        yield from self._silent_defaults(plan)

    def _silent_defaults(self, plan: Plan) -> Iterator[Violation]:
        """What a BitsAndBytesConfig leaves open, its defaults being fp4, float32 and no double quantization."""
        section = next((name for name in BITS_AND_BYTES if as_bool(plan.native(f"{name}.load_in_4bit")) is True), None)
        if section is None or plan.dialect != "hf":
            return
        wanted = {
            "bnb_4bit_quant_type": ("nf4", "fp4"),
            "bnb_4bit_compute_dtype": ("bfloat16", "float32"),
            "bnb_4bit_use_double_quant": (True, "off"),
        }
        missing = {key: values for key, values in wanted.items() if not plan.has(f"{section}.{key}")}
        if not missing:
            return
        listed = ", ".join(f"{key} ({show(default)})" for key, (_, default) in missing.items())
        fixes = [self.set_key(plan, f"{section}.{key}", value, "As QLoRA is meant to be.") for key, (value, _) in missing.items()]
        text = f"{section} leaves {listed} to the library's defaults; the guides use nf4, bfloat16 and double quantization."
        yield self.violation(plan, text, at=f"{section}.load_in_4bit", severity=INFO, fixes=fixes, rules=("S1-055", "S1-056", "S1-057"))


def _like(old: object, new: str) -> str:
    """``new`` spelt as ``old`` is: with ``torch.`` before it where that has it."""
    return f"torch.{new}" if str(old).startswith("torch.") else new


def _no_adapter(plan: Plan) -> str | None:
    """Why no adapter is attached, in words; None where one is, or may be."""
    if plan.is_adapter and plan.dialect not in ("llamafactory", "axolotl"):
        return None
    if plan.dialect == "axolotl" and not plan.native("adapter") and not is_computed(plan, "adapter") and plan.is_whole:
        return "no adapter is set"
    if plan.dialect == "llamafactory" and plan.native("finetuning_type") in ("full", "freeze"):
        return f"finetuning_type is {plan.native('finetuning_type')}"
    if plan.dialect == "automodel" and plan.is_whole and not plan.has("peft") and not plan.section("peft"):
        return "there is no peft section"
    if plan.dialect == "hf" and not plan.is_adapter:
        off = as_bool(plan.native("use_peft")) is False
        silent = plan.document.entry.startswith("trl ") and not plan.has("use_peft") and plan.is_whole
        return "use_peft is not true" if off or silent else None
    return None
