"""CFG002: the learning rate that the adapters amount to, ``lr * alpha / rank``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.checks.config._adapter_size import rank_to_match, target_alpha, whole
from diag.guides.profiles import LARGEST_EFFECTIVE_FACTOR
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, WARNING


class EffectiveLearningRate(Lint):
    """The adapters amplify the learning rate beyond what the guides call safe.

    ## What it does
    Multiplies the learning rate by alpha / rank (alpha / sqrt(rank) with rank-stabilized LoRA) and compares it with the upper
    limit of the learning rate, taken times the alpha / rank that the guides usually have. Above four times the limit itself it
    is an error (a warning for rank-stabilized LoRA, whose scale the guides do not speak of).

    ## Why is this bad?
    What the adapters add to the model is scaled by alpha / rank, so twice the alpha is about twice the learning rate. A default
    alpha of 32 with a rank of 4 is eight times the rate that the config states.

    ## When it stays silent
    Without adapters, where alpha or rank are not set, and where alpha / rank is no more than usual: then the learning rate is
    to blame, and CFG001 speaks of it.

    ## What to do
    Lower alpha to the usual multiple of the rank.

    ## References
    Guide rows S3-002, S3-019, S3-020, S3-027; Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA (2023).
    """

    code = "CFG002"
    name = "effective-learning-rate"
    severity = ERROR
    rules = ("S3-002", "S3-019", "S3-020", "S3-027")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        rate, scale, rank = plan.number("learning_rate"), plan.alpha_to_rank, plan.number("lora_rank")
        band, usual = plan.band("learning_rate"), plan.band("alpha_to_rank")
        if rate is None or scale is None or not rank or band is None or usual is None or not plan.is_adapter:
            return
        effective = rate * scale
        hard, soft = LARGEST_EFFECTIVE_FACTOR * band.clip_high, usual.high * band.clip_high
        if scale <= usual.high * 1.001 or effective <= min(hard, soft) * 1.001:
            return
        is_hard = effective > hard * 1.001
        over = f"{LARGEST_EFFECTIVE_FACTOR:.0f} times" if is_hard else f"{show(usual.high)} times (the usual alpha / rank)"
        root = "sqrt(rank)" if plan.is_rank_stabilized else "rank"
        aim = target_alpha(plan)  # what the rules about rank and alpha would set
        alpha = whole(aim) if aim is not None else max(round(usual.high * math.sqrt(rank)), 1)
        yield self.violation(
            plan,
            f"With lora_alpha / {root} = {show(scale)} the learning rate {show(rate)} amounts to {show(effective)}, above {over} the "
            f"{show(band.clip_high)} that the guides allow; set {plan.key_of('lora_alpha')} to {alpha}.",
            at="lora_alpha",
            severity=ERROR if is_hard and not plan.is_rank_stabilized else WARNING,
            evidence={"learning_rate": rate, "scale": scale, "effective": effective, "limit": hard if is_hard else soft},
            fixes=[
                self.fix(
                    plan,
                    "lora_alpha",
                    alpha,
                    f"At most {show(usual.high)} times {root}, as usual.",
                    rules=(*self.rules, *usual.rules),
                    arithmetic=f"{show(rate)} * {show(scale)} = {show(effective)}",
                ),
                *(rank_to_match(self, plan) if aim is not None else []),
            ],
        )
