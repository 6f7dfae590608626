"""CFG021: alpha is out of proportion to the adapters' rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._adapter_size import HIGHEST_QUIET_SCALE, LOWEST_SCALE, rank_to_match, target_alpha, target_rank, whole
from diag.checks.config._keys import is_open
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

UNSTABLE_SCALE: Final = 4.0
"""``alpha / rank`` above which the guides expect instability (S1-158)."""

HIGHEST_SCALE: Final = 8.0
"""``alpha / rank`` above which the updates are a different training altogether (S3-006)."""

FIXED_ALPHA: Final = 32
"""The alpha that quick-start tables give whatever the rank (S0-033, S1-053, S1-129)."""

SMALL_RANK: Final = 8
"""Ranks up to this make a fixed alpha of 32 four times the rank and more."""

LIBRARY_DEFAULTS: Final = {"automodel": (8.0, 32.0), "training_hub": (16.0, 32.0), "litgpt": (8.0, 16.0)}
"""Rank and alpha that a framework uses where its config sets only one of them (their configuration references)."""

PEFT_DEFAULTS: Final = (8.0, 8.0)
"""The same of PEFT's LoraConfig, whose rank is called ``r``."""


class LoraAlphaOutOfRange(Lint):
    """Alpha is out of proportion to the rank of the adapters.

    ## What it does
    Looks at ``alpha / rank``, the factor that the adapters' update is multiplied by. An error above 8, a warning above 4, and
    a warning above 2 where a rank of 8 or less came with the fixed alpha of 32 (information in NeMo AutoModel, whose default
    that is); information between 2 and 4 otherwise, and below 0.5. Where the config sets only one of the two, the other is
    the framework's default.

    ## Why is this bad?
    Only the ratio counts, not alpha: a rank of 4 with alpha 32 is eight times as loud as a rank of 32 with the same alpha,
    and twice the ratio is about twice the learning rate. Far above 2 the training becomes unstable; far below 0.5 the adapter
    hardly speaks.

    ## When it stays silent
    For rank-stabilized LoRA, which scales by the square root of the rank, where LLaMA-Factory derives alpha (twice the rank),
    and for models below half a billion parameters.

    ## What to do
    Set alpha to once or twice the rank. The guides disagree: one calls alpha = rank the good default, others use twice the
    rank, and one table goes to four times.

    ## References
    Guide rows S0-033, S0-034, S1-037..039, S1-053, S1-129, S1-155, S1-156, S1-158, S2-046, S3-006, S3-019, S3-020,
    S3-072..074, S3-083, S3-215.
    """

    code = "CFG021"
    name = "lora-alpha-out-of-range"
    severity = WARNING
    rules = cite("S0-033 S0-034 S1-037..039 S1-053 S1-129 S1-155 S1-156 S1-158 S2-046 S3-006 S3-019 S3-020 S3-072..074 S3-083 S3-215")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        pair = _pair(plan)
        if pair is None or not plan.is_adapter or plan.is_rank_stabilized or not plan.is_guided:
            return
        rank, alpha = pair
        scale = alpha / rank
        if (found := _judge(plan, rank, alpha)) is None:
            return
        severity, why = found
        wanted_rank = target_rank(plan) or rank
        wanted = target_alpha(plan) or HIGHEST_QUIET_SCALE * wanted_rank
        reason = f"Set alpha {show(wanted)}, {show(wanted / wanted_rank)} times the rank."
        arithmetic = f"{show(wanted / wanted_rank)} x {show(wanted_rank)}"
        fixes = [self.fix(plan, "lora_alpha", whole(wanted), reason, arithmetic=arithmetic), *rank_to_match(self, plan)]
        dispute = " The guides disagree: one takes alpha = rank, others twice the rank, one two to four times." if 2 < scale <= 4 else ""
        yield self.violation(
            plan,
            f"Alpha {show(alpha)} with rank {show(rank)} scales the adapters by {show(scale)}, {why}; "
            f"{show(wanted / wanted_rank)} times the rank is alpha {show(wanted)}.{dispute}",
            at="lora_alpha" if plan.is_set("lora_alpha") else "lora_rank",
            severity=severity,
            evidence={"lora_rank": rank, "lora_alpha": alpha, "scale": scale, "alpha": wanted},
            fixes=fixes,
        )


def _pair(plan: Plan) -> tuple[float, float] | None:
    """Rank and alpha; where the config sets only one, the other is its framework's default."""
    rank, alpha = plan.number("lora_rank"), plan.number("lora_alpha")
    if rank and alpha is not None:
        return rank, alpha
    if (not rank and alpha is None) or is_open(plan):
        return None
    known = PEFT_DEFAULTS if _is_peft(plan) else LIBRARY_DEFAULTS.get(plan.dialect)
    return None if known is None else (rank or known[0], known[1] if alpha is None else alpha)


def _is_peft(plan: Plan) -> bool:
    """Whether the keys are those of PEFT's own LoraConfig, in a section or a file of their own."""
    leaf = plan.key_of("lora_rank").rsplit(".", 1)[-1]
    return plan.dialect in ("peft", "hf") and leaf == "r" and plan.is_set("lora_rank")


def _judge(plan: Plan, rank: float, alpha: float) -> tuple[str, str] | None:
    scale = alpha / rank
    if scale > HIGHEST_SCALE:
        return ERROR, f"above {show(HIGHEST_SCALE)}, which is another training than the learning rate says"
    if scale > UNSTABLE_SCALE:
        return WARNING, f"above {show(UNSTABLE_SCALE)}, which can destabilize it"
    if scale > HIGHEST_QUIET_SCALE:
        fixed = rank <= SMALL_RANK and alpha == FIXED_ALPHA and plan.dialect != "automodel"
        return (WARNING, "because the alpha of 32 was made for ranks of 16 and more") if fixed else (INFO, "more than twice the rank")
    if scale < LOWEST_SCALE:
        return INFO, f"less than {show(LOWEST_SCALE)}, the most cautious of the guides"
    return None
