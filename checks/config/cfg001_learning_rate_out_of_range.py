"""CFG001: the learning rate is outside what the guides call safe for this method, data set and model."""

from __future__ import annotations

from collections.abc import Iterator

from diag.dialects.recognition import BY_OMISSION
from diag.guides import Band, disagreement
from diag.guides import band as guided_band
from diag.guides.profiles import ERROR_LEARNING_RATE, LOWEST_ADAPTER_LEARNING_RATE
from diag.lint import Lint, Violation
from diag.plan import PRETRAINING, Plan
from diag.text import show, significant
from diag.vocabulary import ERROR, INFO, WARNING

ROUNDING = 1.05
"""Limits are met by values that were rounded to two digits."""

SMALL_MODEL = 2e9
"""Parameters below which a model bears a somewhat higher rate than the 7B models that the guides' limits are for."""

SMALL_MODEL_HEADROOM = 2.0
"""How far above the limits such a model may go with a mere remark: full fine-tuning at 5e-5 is common practice there, and the default of
TrainingArguments."""


class LearningRateOutOfRange(Lint):
    """The learning rate is outside the range of the guides for this method, data set and model.

    ## What it does
    Takes the range for the method (full fine-tuning, LoRA, QLoRA, OSFT, pretraining), the number of samples and the model's
    size, scaled to the effective batch by the square-root rule, and compares. From 1e-3 for adapters, and from 1e-4 for full
    fine-tuning, it is an error: that is a rate for training from scratch. Below 1e-6 adapters do not move.

    ## Why is this bad?
    The learning rate decides more than any other setting. Four times too high destroys what the model knew, and the loss
    may look well for a third of the run; four times too low spends the budget on nothing.

    ## When it stays silent
    When the method is not known, for models below half a billion parameters, and within the limits. In preference
    optimization and reinforcement learning, of which the guides do not speak, only rates for training from scratch are
    reported, as a warning. Without a data set or model size the limits are those of all sizes.

    ## What to do
    Set the value it names. It is the start of the chosen profile; where the guides disagree the message says so.

    ## References
    Guide rows S1-007..009, S1-031..033, S3-028..031, S3-184..187; profile table B1.
    """

    code = "CFG001"
    name = "learning-rate-out-of-range"
    severity = WARNING
    rules = ("S3-003", "S3-184")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        rate, method = plan.number("learning_rate"), plan.method
        if rate is None or method is None or not plan.is_guided or not plan.is_set("learning_rate"):
            return
        band = plan.band("learning_rate") or guided_band("learning_rate", method, plan.samples, plan.parameters, plan.profile)
        if band is None:
            return
        hard = ERROR_LEARNING_RATE.get(method)
        if hard is not None and rate >= hard:
            severity = ERROR if plan.is_supervised and not _is_method_guessed(plan) else WARNING
            why = f"at or above {show(hard)}, a rate for training from scratch"
        elif not plan.is_supervised:
            return
        elif plan.is_adapter and rate < LOWEST_ADAPTER_LEARNING_RATE:
            severity, why = ERROR, f"below {show(LOWEST_ADAPTER_LEARNING_RATE)}, where adapters do not move"
        elif _is_bearable(plan, rate, band):
            severity, why = INFO, f"above the {show(band.clip_low)} to {show(band.clip_high)} of the guides (made for larger models)"
        elif rate > band.clip_high * ROUNDING:
            severity, why = WARNING, f"above the {show(band.clip_low)} to {show(band.clip_high)} of the guides"
        elif rate < band.clip_low / ROUNDING:
            severity, why = WARNING, f"below the {show(band.clip_low)} to {show(band.clip_high)} of the guides"
        elif not band.low / ROUNDING <= rate <= band.high * ROUNDING and not (method == PRETRAINING and rate < band.low):
            severity, why = INFO, f"off the {show(significant(band.low))} to {show(significant(band.high))} that the guides start from"
        else:
            return
        start = significant(band.start)
        reason = f"Start at {show(start)}, where the {plan.profile} profile does for {method}{_sizes(plan)}."
        yield self.violation(
            plan,
            f"The learning rate {show(rate)} is {why} for {method}{_sizes(plan)}; the {plan.profile} profile starts at {show(start)}."
            + disagreement("learning_rate", method, plan.samples, model_parameters=plan.parameters),
            at="learning_rate",
            severity=severity,
            evidence={"learning_rate": rate, "low": band.clip_low, "high": band.clip_high, "start": start},
            fixes=[
                self.fix(
                    plan,
                    "learning_rate",
                    start,
                    reason,
                    rules=band.rules,
                    arithmetic=band.arithmetic,
                )
            ],
            rules=tuple(dict.fromkeys((*self.rules, *band.rules))),
        )


def _is_method_guessed(plan: Plan) -> bool:
    """Whether only what the config leaves out says that all weights are trained: it may be run with adapters all the same."""
    entry = plan.hyperparameters.get("method")
    return entry is not None and entry.note == BY_OMISSION


def _is_bearable(plan: Plan, rate: float, band: Band) -> bool:
    """Whether a rate just above the limits is one that fully trained models of one or two billion parameters are published with."""
    small = plan.method == "sft" and plan.parameters is not None and plan.parameters < SMALL_MODEL
    return small and band.clip_high * ROUNDING < rate <= SMALL_MODEL_HEADROOM * band.clip_high


def _sizes(plan: Plan) -> str:
    """``, 15,000 samples, 7B parameters``: as far as they are known."""
    samples = "" if plan.samples is None else f", {plan.samples:,.0f} samples"
    return samples + ("" if plan.parameters is None else f", {plan.parameters / 1e9:.3g}B parameters")
