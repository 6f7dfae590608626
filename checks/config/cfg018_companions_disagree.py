"""CFG018: two settings that say the same thing say different things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from diag.checks.config import _aims as aims
from diag.dialects.values import as_float
from diag.fixes import Fix
from diag.lint import SAFE, UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show, significant
from diag.vocabulary import ERROR, INFO, WARNING

STEPS_WIN: Final = frozenset({"hf", "llamafactory", "axolotl"})
"""Dialects that ignore the number of epochs where a number of steps is set; others end at whichever comes first."""

REFUSES_BOTH_WARMUPS: Final = frozenset({"axolotl", "litgpt", "megatron"})
"""Dialects whose framework refuses a number of warmup steps together with a share; the Trainer lets the number win."""

WARMUPS: Final = {
    "hf": ("warmup_steps", "warmup_ratio"),
    "llamafactory": ("warmup_steps", "warmup_ratio"),
    "axolotl": ("warmup_steps", "warmup_ratio"),
    "litgpt": ("train.lr_warmup_steps", "train.lr_warmup_fraction"),
    "megatron": ("lr_warmup_iters", "lr_warmup_fraction"),
}
"""Keys of the warmup in steps and as a share."""

DECAY_DEFAULT: Final = 600_000
"""nanoGPT's ``lr_decay_iters``, which does not follow ``max_iters``."""

BETA_DEFAULTS: Final = {"beta1": 0.9, "beta2": 0.95}
"""What Training Hub's backends take for the decay rate that is not given."""


class CompanionsDisagree(Lint):
    """Two settings that belong together contradict each other.

    ## What it does
    Looks for learning rates, warmups and lengths that are said twice. NeMo AutoModel: ``lr_scheduler.max_lr`` wins over
    ``optimizer.lr``; ``init_lr`` above it, a warmup as long as the decay, or a weight decay that ends below its start stop the run.
    Hugging Face, Axolotl, LLaMA-Factory: ``max_steps`` switches the epochs off, a number of warmup steps the share. DeepSpeed: the
    scheduler's rate wins over the optimizer's. nanoGPT and Megatron: the decay does not follow the number of iterations. Training
    Hub's sft: ``beta1`` counts only together with ``beta2``.

    ## Why is this bad?
    One of the two is ignored without a word, and the reader believes the other; or the framework refuses to start.

    ## When it stays silent
    Where the two agree, or only one is set.

    ## What to do
    Keep one of them, or make them agree. Where one is ignored, the safe change takes that one out.

    ## References
    Guide rows S1-139, S1-224, S1-242; the frameworks' configuration references.
    """

    code = "CFG018"
    name = "companions-disagree"
    severity = ERROR
    rules = ("S1-139", "S1-242")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a pair."""
        yield from self._lengths(plan)
        yield from self._warmups(plan)
        if plan.dialect == "automodel":
            yield from self._automodel(plan)
        elif plan.dialect == "deepspeed":
            yield from self._deepspeed(plan)
        elif plan.dialect in ("nanogpt", "megatron"):
            yield from self._decay(plan)
        elif plan.dialect == "training_hub" and plan.method == "sft":
            yield from self._betas(plan)

    def _say(self, plan: Plan, message: str, at: str, fixes: list[Fix], severity: str = ERROR, **evidence: Any) -> Violation:
        return self.violation(plan, message, at=at, severity=severity, evidence=evidence, fixes=fixes)

    def _lengths(self, plan: Plan) -> Iterator[Violation]:
        """Epochs that a number of steps switches off."""
        key = "num_epochs" if plan.dialect == "axolotl" else "num_train_epochs"
        steps = plan.number("max_steps")
        if plan.dialect not in STEPS_WIN or steps is None or not plan.is_set("max_steps") or plan.native(key) is None:
            return
        fix = self.remove_key(plan, key, "It is ignored.", applicability=SAFE)
        text = f"{key} {show(plan.native(key))} is ignored since max_steps is {show(steps)}; keep one of the two."
        yield self._say(plan, text, key, [fix], INFO, max_steps=steps, epochs=plan.native(key))

    def _warmups(self, plan: Plan) -> Iterator[Violation]:
        """A warmup in steps and as a share."""
        count_key, share_key = WARMUPS.get(plan.dialect, ("", ""))
        count, share = as_float(plan.native(count_key)), as_float(plan.native(share_key))
        if not count or not share:
            return
        refused = plan.dialect in REFUSES_BOTH_WARMUPS
        what = "which the framework refuses" if refused else f"and {share_key} is ignored"
        fix = self.remove_key(plan, share_key, f"{count_key} says it.", applicability=SAFE)
        text = f"{count_key} {show(count)} and {share_key} {show(share)} are both set, {what}; keep one of the two."
        yield self._say(plan, text, share_key, [fix], ERROR if refused else WARNING, warmup_steps=count, warmup_ratio=share)

    def _automodel(self, plan: Plan) -> Iterator[Violation]:
        def number(key: str) -> float | None:
            return as_float(plan.native(key))

        own, top = number("optimizer.lr"), number("lr_scheduler.max_lr")
        if own is not None and top is not None and own != top:
            fix = self.set_key(plan, "optimizer.lr", top, "max_lr is what the run trains at.", applicability=SAFE)
            text = f"optimizer.lr {show(own)} is ignored: lr_scheduler.max_lr {show(top)} wins; make them agree."
            yield self._say(plan, text, "optimizer.lr", [fix], lr=own, max_lr=top)
        rate, first = top if top is not None else own, number("lr_scheduler.init_lr")
        if rate is not None and first is not None and first > rate:
            lower = significant(rate / 10)
            fix = self.set_key(plan, "lr_scheduler.init_lr", lower, "The warmup starts at a tenth.", applicability=SAFE)
            text = f"lr_scheduler.init_lr {show(first)} is above the learning rate {show(rate)}, which NeMo AutoModel refuses; "
            text += f"set {show(lower)}."
            yield self._say(plan, text, "lr_scheduler.init_lr", [fix], init_lr=first, learning_rate=rate)
        warmup, decay = number("lr_scheduler.lr_warmup_steps"), number("lr_scheduler.lr_decay_steps")
        if warmup is not None and decay is not None and warmup >= decay > 0:
            shorter = aims.warmup_steps(plan, min(decay, plan.total_steps or decay)) or 0
            fix = self.set_key(plan, "lr_scheduler.lr_warmup_steps", shorter, "Shorter than the decay.", applicability=SAFE)
            text = (
                f"lr_scheduler.lr_warmup_steps {show(warmup)} is not below lr_decay_steps {show(decay)}, which NeMo AutoModel refuses; "
                f"set {shorter}."
            )
            yield self._say(plan, text, "lr_scheduler.lr_warmup_steps", [fix], warmup=warmup, decay=decay)
        start, end = number("lr_scheduler.start_wd"), number("lr_scheduler.end_wd")
        if start is not None and end is not None and end < start:
            fix = self.set_key(plan, "lr_scheduler.end_wd", start, "It may not fall.", applicability=SAFE)
            text = f"lr_scheduler.end_wd {show(end)} is below start_wd {show(start)}, which NeMo AutoModel refuses."
            yield self._say(plan, text, "lr_scheduler.end_wd", [fix], start_wd=start, end_wd=end)

    def _deepspeed(self, plan: Plan) -> Iterator[Violation]:
        def number(key: str) -> float | None:
            return as_float(plan.native(key))

        own, top = number("optimizer.params.lr"), number("scheduler.params.warmup_max_lr")
        if own is not None and top is not None and own != top:
            fix = self.set_key(plan, "optimizer.params.lr", top, "The scheduler's rate is what the run trains at.", applicability=SAFE)
            text = f"optimizer.params.lr {show(own)} is ignored: scheduler.params.warmup_max_lr {show(top)} wins; make them agree."
            yield self._say(plan, text, "optimizer.params.lr", [fix], lr=own, warmup_max_lr=top)
        first = number("scheduler.params.warmup_min_lr")
        if first is not None and top is not None and first > top:
            fix = self.set_key(plan, "scheduler.params.warmup_min_lr", 0, "The warmup starts at 0.", applicability=SAFE)
            text = f"scheduler.params.warmup_min_lr {show(first)} is above warmup_max_lr {show(top)}, so the warmup lowers the rate."
            yield self._say(plan, text, "scheduler.params.warmup_min_lr", [fix], warmup_min_lr=first, warmup_max_lr=top)

    def _decay(self, plan: Plan) -> Iterator[Violation]:
        """A decay that does not end where the run does."""
        key = "lr_decay_iters"
        total, decay = plan.number("max_steps"), as_float(plan.native(key))
        if total is None or not plan.is_set("max_steps") or plan.native("decay_lr") is False:
            return
        missing = key not in plan.document.settings
        if missing and (plan.dialect != "nanogpt" or not plan.is_whole or total == DECAY_DEFAULT):
            return
        length = float(DECAY_DEFAULT) if missing else decay
        if length is None or length == total or (plan.dialect == "megatron" and length < total):
            return
        default = ", its default," if missing else ""
        effect = "the rate never decays to its end" if length > total else "the rest of the run stays at the lowest rate"
        fix = self.set_key(plan, key, int(total), "The decay ends where the run does.", applicability=UNSAFE)
        severity = WARNING if length > 2 * total else INFO
        yield self._say(
            plan,
            f"{key} {show(length)}{default} is not the {show(total)} iterations of the run: {effect}; set it to {show(total)}.",
            "max_steps" if missing else key,
            [fix],
            severity,
            lr_decay_iters=length,
            max_iters=total,
        )

    def _betas(self, plan: Plan) -> Iterator[Violation]:
        """One decay rate without the other is dropped."""
        given = [key for key in BETA_DEFAULTS if plan.native(key) is not None]
        if len(given) != 1 or any(key in plan.document.settings for key in BETA_DEFAULTS if key not in given):
            return
        other = next(key for key in BETA_DEFAULTS if key not in given)
        value = BETA_DEFAULTS[other]
        fix = self.set_key(plan, other, value, f"{given[0]} counts only together with {other}.")
        text = f"{given[0]} {show(plan.native(given[0]))} has no effect without {other}; set {other} too (it is {show(value)} by default)."
        yield self._say(plan, text, given[0], [fix], missing=other)
