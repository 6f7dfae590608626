"""CFG013: an optimizer, or a setting of it, that the guides do not train language models with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

NOT_ADAPTIVE: Final = frozenset({"sgd", "rmsprop", "adagrad", "adadelta", "asgd", "rprop", "adamax"})
"""Optimizers without Adam's two moments; the guides' learning rates mean nothing with them."""

L2_ADAM: Final = frozenset({"adam", "nadam", "radam"})
"""Optimizers that add the weight decay to the gradient instead of the weights."""

HF_NAMES: Final = frozenset({"hf", "axolotl", "llamafactory"})
"""Dialects whose optimizers go by the names of Transformers."""

BETAS: Final = {
    "adam_beta1": 0,
    "adam_beta2": 1,
    "beta1": 0,
    "beta2": 1,
    "adamw_betas": None,
    "optimizer.betas": None,
    "optimizer.params.betas": None,
    "optimizer.init_args.betas": None,
    "model.optimizer.betas": None,
}
"""Keys of Adam's two decay rates, and which of the two; None for both in a list."""

USUAL_BETAS: Final = ((0.8, 0.95), (0.9, 0.9999))
"""What the two are kept within: around 0.9, and between the 0.95 and the 0.999 that language models are trained with (S1-121)."""

RECOMMENDED_BETAS: Final = (0.9, 0.999)
"""The guides' own (S1-121)."""


class OptimizerNotRecommended(Lint):
    """The optimizer is not AdamW, or its settings are not ones that language models are trained with.

    ## What it does
    Warns of SGD and its kin in fine-tuning; remarks where QLoRA is trained with another optimizer than AdamW, where Adam is given a
    weight decay, and where Adam's decay rates (betas) are unusual. Decay rates outside [0, 1) are an error.

    ## Why is this bad?
    Gradients of a transformer differ by orders of magnitude between layers; SGD gives all of them one rate, and the learning rates
    of the guides are some thousand times too low for it. Adam adds the weight decay to the gradient, where its own scaling undoes it.

    ## When it stays silent
    For AdamW in all its forms (8-bit, paged, fused), Adafactor, Lion and Muon outside QLoRA, and when the method is not known.

    ## What to do
    Train with AdamW and betas 0.9 and 0.999.

    ## References
    Guide rows S1-050, S1-121; Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019).
    """

    code = "CFG013"
    name = "optimizer-not-recommended"
    severity = WARNING
    rules = ("S1-050", "S1-121")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation about the optimizer, and one about each of its decay rates."""
        yield from self._of_betas(plan)
        optimizer, decay = plan.value("optimizer"), plan.number("weight_decay")
        if not isinstance(optimizer, str) or not plan.is_set("optimizer") or not plan.is_fine_tuning or not plan.is_guided:
            return
        if optimizer in NOT_ADAPTIVE:
            yield self._said(plan, f"{optimizer} cannot fine-tune a language model at the learning rates of the guides", WARNING)
        elif optimizer in L2_ADAM and decay and plan.is_set("weight_decay"):
            yield self._said(
                plan, f"{optimizer} adds the weight decay {show(decay)} to the gradient, where its own scaling undoes it", INFO
            )
        elif plan.method == "qlora" and "adam" not in optimizer:
            yield self._said(plan, f"{optimizer} is not what the guides train QLoRA with", INFO)

    def _said(self, plan: Plan, text: str, severity: str) -> Violation:
        key = plan.key_of("optimizer")
        name = _adamw(plan, str(plan.native(key) or ""))
        return self.violation(
            plan,
            f"{text}; use AdamW.",
            at="optimizer",
            severity=severity,
            evidence={"optimizer": plan.value("optimizer")},
            fixes=[self.set_key(plan, key, name, "AdamW, as in every recipe of the guides.")],
        )

    def _of_betas(self, plan: Plan) -> Iterator[Violation]:
        for key, which in BETAS.items():
            value = plan.native(key)
            pair = _pair(value, which)
            if pair is None:
                continue
            good = tuple(
                beta if beta is None or low <= beta <= high else usual
                for beta, (low, high), usual in zip(pair, USUAL_BETAS, RECOMMENDED_BETAS, strict=True)
            )
            if good == pair:
                continue
            impossible = any(beta is not None and not 0 <= beta < 1 for beta in pair)
            if not impossible and not (plan.is_fine_tuning and plan.is_guided):
                continue
            new: Any = list(good) if which is None else good[which]
            why = (
                "is impossible: a decay rate lies in [0, 1)" if impossible else f"is unusual; language models are trained with {show(new)}"
            )
            yield self.violation(
                plan,
                f"{key} {show(value)} {why}.",
                at=key,
                severity=ERROR if impossible else INFO,
                evidence={"value": value},
                fixes=[self.set_key(plan, key, new, "Adam's usual decay rates.", rules=("S1-121",))],
                rules=("S1-121",),
            )


def _pair(value: Any, which: int | None) -> tuple[float | None, float | None] | None:
    """The two decay rates as far as a key gives them."""
    if which is None:
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(item) for item in value):
            return float(value[0]), float(value[1])
        return None
    if not _is_number(value):
        return None
    return (float(value), None) if which == 0 else (None, float(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _adamw(plan: Plan, old: str) -> str:
    """AdamW in the words of the framework."""
    if plan.dialect in HF_NAMES:
        return "adamw_torch"
    if "." in old or plan.dialect == "automodel":
        return "torch.optim.AdamW"
    return "adamw" if old.islower() and plan.dialect not in ("deepspeed", "litgpt") else "AdamW"
