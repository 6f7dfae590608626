"""CFG008: a language model is trained in something else than bf16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._aims import to_bf16
from diag.dialects.values import as_bool
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO, WARNING

SWITCHES: Final = {
    "hf": ("bf16", "fp16"),
    "llamafactory": ("bf16", "fp16"),
    "axolotl": ("bf16", "fp16"),
    "training_hub": ("bf16", "fp16"),
    "megatron": ("bf16", "fp16"),
    "deepspeed": ("bf16.enabled", "fp16.enabled"),
}
"""Keys of the dialects that switch bf16 and fp16 on separately."""

IGNORES_FP16: Final = frozenset({"axolotl"})
"""Dialects whose framework ignores fp16 where bf16 is on; the others refuse to start."""

FP32_BY_DEFAULT: Final = frozenset({"hf", "llamafactory"})
"""Dialects whose framework trains in fp32 unless told otherwise."""

TRL_KEYS: Final = frozenset(
    {"max_length", "max_seq_length", "packing", "dataset_name", "dataset_text_field", "completion_only_loss", "assistant_only_loss"}
)
"""Keys that only TRL's configs have; its trainers turn bf16 on by themselves."""


class PrecisionNotBf16(Lint):
    """A language model is trained in fp16 or fp32, or in both halves at once.

    ## What it does
    Looks at the precision. bf16 and fp16 both switched on is an error; fp16 is a warning, and only a remark where bf16 is switched
    off in so many words, as one does for hardware without it. fp32, set or by default, is a remark.

    ## Why is this bad?
    fp16 overflows where bf16 does not; fp32 takes twice the memory and half the speed for nothing that fine-tuning needs.
    With both switches on, the Trainer refuses to start.

    ## When it stays silent
    With bf16 and fp8; when the method is not known; for models below half a billion parameters.

    ## What to do
    Train in bf16; on hardware without it keep fp16, with clipping at 1.0 and little accumulation.

    ## References
    Guide rows S0-035..038, S1-205, S3-094, S3-168, S3-170.
    """

    code = "CFG008"
    name = "precision-not-bf16"
    severity = WARNING
    rules = ("S1-205", "S3-094")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        on, off = SWITCHES.get(plan.dialect, ("", ""))
        if on and as_bool(plan.native(on)) is True and as_bool(plan.native(off)) is True:
            ignored = plan.dialect in IGNORES_FP16
            what = f"{off} is ignored" if ignored else "the trainer refuses to start"
            yield self.violation(
                plan,
                f"{on} and {off} are both on: {what}; switch {off} off.",
                at=off,
                severity=WARNING if ignored else ERROR,
                evidence={on: True, off: True},
                fixes=[self.set_key(plan, off, False, "Only one half precision can be on.", applicability=SAFE)],
            )
            return
        if plan.method is None or not plan.is_guided:
            return
        precision = plan.value("precision")
        if precision == "fp16":
            on_purpose = bool(on) and as_bool(plan.native(on)) is False
            why = "with bf16 switched off" if on_purpose else "which overflows where bf16 does not"
            yield self._said(plan, f"{described(plan)} is trained in fp16, {why}", INFO if on_purpose else WARNING, "fp16")
        elif precision == "fp32" and plan.dialect != "training_hub":
            default = " by default" if plan.is_default("precision") else ""
            text = f"{described(plan)} is trained in fp32{default}, at twice the memory of bf16 and half its speed"
            yield self._said(plan, text, INFO, "fp32")
        elif precision is None and plan.dialect in FP32_BY_DEFAULT and plan.is_whole and not self._is_chosen(plan):
            yield self._said(plan, f"{described(plan)} is trained without mixed precision, in the precision of its weights", INFO, "fp32")

    @staticmethod
    def _is_chosen(plan: Plan) -> bool:
        """Whether something else decides: a script, a file the config names, TRL, or pure bf16."""
        settings = plan.document.settings
        others = (
            "bf16",
            "fp16",
            "precision",
            "deepspeed",
            "pure_bf16",
            "torch_dtype",
            "dtype",
            "fsdp",
            "accelerate_config",
            "half_precision_backend",
        )
        tail = {key.rsplit(".", 1)[-1] for key in settings}
        return (
            plan.document.entry.startswith("trl")
            or plan.document.launcher in ("accelerate", "deepspeed")
            or plan.document.entry.endswith("Config")
            or bool(TRL_KEYS & settings.keys())
            or any(name in tail for name in others)
        )

    def _said(self, plan: Plan, text: str, severity: str, precision: str) -> Violation:
        return self.violation(
            plan,
            f"{text}; the guides train in bf16.",
            at="precision",
            severity=severity,
            evidence={"precision": precision},
            fixes=[to_bf16(self, plan, "bf16 has the range of fp32 at half its size.", ("S0-035", "S3-170"))],
        )


def described(plan: Plan) -> str:
    """The subject of the sentence."""
    return "A 4-bit model" if plan.method == "qlora" else "The model"
