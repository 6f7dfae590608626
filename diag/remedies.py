"""Remedies: the single changes that prescriptions are made of, each computed from the run's own value.

A remedy takes a Case and returns the changes that belong together, the main one first, or none where it would change nothing.
The functions here build remedies; ``diag.prescription`` says which cause calls for which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from diag.case import Case, best_checkpoint
from diag.examination import is_reward_driven
from diag.guides import cite, method_factor, square_root_factor, warmup
from diag.guides.profiles import MINIMUM_STEPS
from diag.text import show, significant
from diag.vocabulary import DIVERGED, OVERFIT, PLATEAU, UNDERFIT, UNSTABLE

SAFE: Final = "safe"
UNSAFE: Final = "unsafe"
DISPLAY: Final = "display"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one parameter; see ``diag.prescription.Fix`` for the fields.

    ``companion`` marks a change that only keeps another one consistent, such as the learning rate that follows the batch.
    """

    parameter: str
    old: Any
    new: Any
    reason: str
    rules: tuple[str, ...] = ()
    factor: float | None = None
    applicability: str = UNSAFE
    companion: bool = False

    @property
    def direction(self) -> int:
        """1 for up, -1 for down, 0 where that has no meaning."""
        if self.factor is not None:
            return (self.factor > 1) - (self.factor < 1)
        numbers = [value for value in (self.old, self.new) if isinstance(value, (int, float)) and not isinstance(value, bool)]
        return (numbers[1] > numbers[0]) - (numbers[1] < numbers[0]) if len(numbers) == 2 else 0


Changes = tuple[Change, ...]
Remedy = Callable[[Case], Changes]

# How hard to turn the learning rate (the severity ladder of the guides).

OSCILLATION_FACTOR: Final = 2.0
SPIKES_FACTOR: Final = 3.0
DIVERGENCE_FACTOR: Final = 5.0
EARLY_NAN_FACTOR: Final = 10.0
FLAT_FACTOR: Final = 5.0
SLOW_FACTOR: Final = 2.5
EARLY: Final = 0.05
"""Share of the run. A loss that is not finite within it was lost from the start (S1-063)."""
FLAT_FALL: Final = 0.05
"""A training loss that fell by less than this fraction is flat, not slow (S3-123)."""

UNMOVED_FACTOR: Final = 10.0
UNMOVED_FALL: Final = 0.02
"""A training loss that fell by less than this fraction did not move at all: five-fold will not do."""
FAR_BELOW: Final = 10.0
"""Times below the usual rate from which on the usual one is set rather than the run's own scaled."""
SGD_LEARNING_RATE: Final = 0.01
"""Where to restart SGD: the default of Keras, a tenth of what large image classifiers use with momentum."""
LAYER_KEY: Final = re.compile(r"(?:^|[._/])(?:hidden(?:_size|_dim|_units)?|num_hidden|layers|n_layers|num_layers|depth)$", re.IGNORECASE)
"""Config keys of a net that is spelled out."""
ROUNDING: Final = 0.05
"""Relative difference that two significant digits can make."""

IDLE_LEARNING_RATE: Final = 1e-7
"""Below this nothing trains: it is under the lowest limit of every method of the guides (1e-6) and of any optimizer's default."""
FINE_TUNING_LEARNING_RATE: Final = 1e-5
"""Where to restart a language model of unknown method (S1-122)."""
LANGUAGE_MODEL_ONLY_DIALECTS: Final = (
    "automodel",
    "training_hub",
    "axolotl",
    "llamafactory",
    "torchtune",
    "litgpt",
    "nanogpt",
    "megatron",
)
"""Dialects of frameworks that train nothing but language models."""
LANGUAGE_MODEL_DIALECTS: Final = ("hf", *LANGUAGE_MODEL_ONLY_DIALECTS)
"""Dialects of frameworks that mostly train language models; the Trainer of ``hf`` trains nets of any kind."""
ADAM_LEARNING_RATE: Final = 1e-3
"""Where to restart any other model: the default of Adam and AdamW in PyTorch and Keras."""


def severity(case: Case) -> float:
    """What to divide a learning rate by that is too high: oscillation 2, repeated spikes 3, divergence 5, NaN in the first steps 10."""
    stated = case.evidence("severity_factor", "lr_too_high")
    if isinstance(stated, (int, float)) and stated > 1:
        return max(float(stated), min(excess(case), MOST_FACTOR))
    families = {finding.code[:3] for finding in case.findings if finding.severity != "info"}
    verdict = case.diagnosis.verdict
    if verdict == DIVERGED:
        lost = [finding.step_start for finding in case.findings if finding.code == "DIV001" and finding.step_start is not None]
        return EARLY_NAN_FACTOR if lost and min(lost) <= EARLY * case.total_steps else DIVERGENCE_FACTOR
    if verdict == UNSTABLE:
        oscillates = any("oscillat" in finding.name for finding in case.findings)
        return OSCILLATION_FACTOR if oscillates and "DIV" not in families else SPIKES_FACTOR
    if verdict == OVERFIT:
        return OSCILLATION_FACTOR
    return DIVERGENCE_FACTOR if "DIV" in families else SPIKES_FACTOR


def excess(case: Case) -> float:
    """How many times the rate exceeds the upper end of what is usual for the run, as LRS001 found; 1 where it does not."""
    usual, rate = case.evidence("usual_high", "lr_too_high"), case.learning_rate
    return rate / usual if isinstance(usual, (int, float)) and usual > 0 and rate else 1.0


MOST_FACTOR: Final = 100.0
"""What a learning rate is divided by at most to bring it back to the upper end of what is usual."""


def slowness(case: Case) -> float:
    """What to multiply a learning rate by that is too low: flat 5, slow but steady 2.5."""
    stated = case.evidence("severity_factor", "lr_too_low")
    if isinstance(stated, (int, float)) and stated > 1:
        return float(stated)
    curve = case.run.curve("train/loss")
    finite = curve.finite() if curve is not None else None
    if finite is None or len(finite) < 4:
        return FLAT_FACTOR if case.diagnosis.verdict == PLATEAU else SLOW_FACTOR
    quarter = max(len(finite) // 4, 1)
    start, end = float(np.median(finite.value[:quarter])), float(np.median(finite.value[-quarter:]))
    fall = (start - end) / abs(start) if start else 0.0
    if fall >= FLAT_FALL:
        return SLOW_FACTOR
    return UNMOVED_FACTOR if fall < UNMOVED_FALL and usual_learning_rate(case) is None else FLAT_FACTOR


def usual_learning_rate(case: Case) -> float | None:
    """Where a run of this kind usually starts; None where nothing tells what kind it is, as usual rates differ a thousandfold."""
    limits = case.band("learning_rate")
    if limits is not None:
        return limits.start
    if "sgd" in str(case.value("optimizer") or "").lower():
        return SGD_LEARNING_RATE
    if is_language_model(case):
        return FINE_TUNING_LEARNING_RATE
    return ADAM_LEARNING_RATE if is_small_net(case) else None


def is_small_net(case: Case) -> bool:
    """Whether the configuration spells out layers, as only that of a net trained from scratch does."""
    return any(LAYER_KEY.search(key) for key in case.run.config)


def scale_learning_rate(factor: float | Callable[[Case], float], why: str, rules: str, *, companion: bool = False) -> Remedy:
    """Multiply the peak learning rate; ``min_lr``, where set, keeps its ratio to it (S1-124)."""

    def remedy(case: Case) -> Changes:
        times = factor(case) if callable(factor) else factor
        if times == 1:
            return ()
        old, cited = case.learning_rate, cite(rules)
        verb = f"multiply it by {show(significant(times))}" if times > 1 else f"divide it by {show(significant(1 / times))}"
        if old is None:
            return (Change("learning_rate", None, None, f"{why}: {verb}.", cited, significant(times, 3), companion=companion),)
        if old < IDLE_LEARNING_RATE:
            return restart_learning_rate(case) if times > 1 else ()
        clipped = case.clip("learning_rate", old, old * times)
        new = significant(clipped)
        if clipped == old or new == old or (clipped > old) != (times > 1):
            return ()
        ratio = max(new / old, old / new)
        asked = max(times, 1 / times)
        ratio = significant(asked if abs(ratio / asked - 1) < ROUNDING else ratio)
        verb = f"multiply it by {show(ratio)}" if times > 1 else f"divide it by {show(ratio)}"
        limits = case.band("learning_rate")
        kept = ""
        if limits is not None and abs(new / (old * times) - 1) > ROUNDING:
            kept = f", kept near the {show(limits.clip_low)} to {show(limits.clip_high)} of the guides for {case.method}"
            cited += limits.rules
        changes = [Change("learning_rate", old, new, f"{why}: {verb}, from {show(old)} to {show(new)}{kept}.", cited, companion=companion)]
        lowest = case.number("min_lr")
        if lowest and case.is_configured("min_lr"):
            scaled = significant(lowest * new / old)
            reason = f"min_lr keeps its ratio to the learning rate, from {show(lowest)} to {show(scaled)}."
            changes.append(Change("min_lr", lowest, scaled, reason, ("S1-124",), companion=True))
        return tuple(changes)

    return remedy


def restart_learning_rate(case: Case) -> Changes:
    """A learning rate so low that nothing trains is set, not scaled."""
    old = case.learning_rate
    if old is None or old >= IDLE_LEARNING_RATE:
        return ()
    limits = case.band("learning_rate")
    new = significant(usual_learning_rate(case) or ADAM_LEARNING_RATE)
    rules = limits.rules if limits is not None else ("S1-122",) if is_language_model(case) else ()
    return (Change("learning_rate", old, new, f"At a learning rate of {show(old)} no weight moves: set it to {show(new)}.", rules),)


def start_as_usual(case: Case) -> Changes:
    """A learning rate ten times or more below where runs of this kind start is set there; a factor would only creep up to it."""
    old, usual = case.learning_rate, usual_learning_rate(case)
    if old is None or usual is None or not IDLE_LEARNING_RATE <= old <= usual / FAR_BELOW:
        return ()
    limits, new = case.band("learning_rate"), significant(usual)
    reason = f"The learning rate is {show(significant(usual / old))} times below where runs of this kind start: set it to {show(new)}."
    return (Change("learning_rate", old, new, reason, cite("S1-059 S1-198") + (limits.rules if limits is not None else ())),)


def lengthen_warmup(share: float = 0.1) -> Remedy:
    """Warm up for ``share`` of the run (at most 1,000 steps), or twice as long where it already does."""

    def remedy(case: Case) -> Changes:
        return _set_warmup(case, share, shorter=False)

    return remedy


def shorten_warmup(case: Case) -> Changes:
    """Warm up for a twentieth of the run where the warmup took too much of it."""
    return _set_warmup(case, 0.05, shorter=True)


def _set_warmup(case: Case, share: float, *, shorter: bool) -> Changes:
    total = case.total_steps
    limits = warmup(total, case.method, case.profile)
    target = min(max(share * total, min(limits.clip_low, total / 2)), max(limits.clip_high, 5.0))
    steps, ratio = case.number("warmup_steps"), case.number("warmup_ratio")
    if steps is not None and 0 < steps < 1:  # a share of the run, as newer Hugging Face releases allow
        steps, ratio = None, steps
    by_steps = steps is not None and (steps > 0 or ratio is None)
    current = steps if by_steps else ratio * total if ratio is not None else None
    if current is not None and not shorter and current >= target:
        target = 2 * current
        if target > total / 2:
            return ()
    if current is not None and shorter and current <= target:
        return ()
    was = "" if current is None else f" instead of {show(current)}"
    verb = "shorten the warmup" if shorter else "warm the learning rate up"
    reason = f"{verb[0].upper()}{verb[1:]}: {round(target)} of {total} steps{was}."
    if by_steps:
        return (Change("warmup_steps", int(steps or 0), max(round(target), 1), reason, limits.rules),)
    return (Change("warmup_ratio", ratio, significant(target / total), reason, limits.rules),)


def clip_gradients(to: float = 1.0) -> Remedy:
    """Clip the gradient norm where it is not clipped, or only above ``to``."""

    def remedy(case: Case) -> Changes:
        old = case.value("max_grad_norm")
        number = case.number("max_grad_norm")
        if number is not None and 0 < number <= to:
            return ()
        was = f"Gradients are clipped only above {show(number)}" if number else "Gradients are not clipped"
        reason = f"{'Make sure that gradients are clipped' if old is None else was}: set max_grad_norm to {show(to)}."
        return (Change("max_grad_norm", old, to, reason, cite("S1-087 S1-088 S1-203 S3-171")),)

    return remedy


def loosen_clipping(case: Case) -> Changes:
    """Raise a clipping threshold that throttles every step: to 1, the usual value, or five times higher where it is 1 already."""
    old = case.number("max_grad_norm")
    reason = "Nearly every gradient is clipped, so the threshold sets the size of the step"
    if old is None or old <= 0:
        return (Change("max_grad_norm", None, 1.0, f"{reason}: set max_grad_norm to 1.", cite("S1-087 S1-250")),)
    new = 1.0 if old < 1 else min(5 * old, max(5.0, old))
    if new <= old:
        return ()
    return (Change("max_grad_norm", old, new, f"{reason}: raise max_grad_norm from {show(old)} to {show(new)}.", cite("S1-087 S3-173")),)


# Length of the run.


def stop_at_best(case: Case) -> Changes:
    """As many epochs as it took to reach the best evaluation (at most 3 in a fine-tune), or that many steps."""
    step = case.evidence("best_step", "too_many_epochs") or case.evidence("optimal_step", "too_many_epochs")
    if not isinstance(step, (int, float)) or step <= 0:
        best = best_checkpoint(case.run)
        step = best.step if best is not None and any(True for _ in case.run.eval_losses()) else None
    epochs, per_epoch = case.epochs, case.steps_per_epoch
    cited = cite("S0-045 S1-172 S1-173 S1-206 S1-214 S3-115 S3-209")
    if step is None:
        if epochs is None or epochs <= 1:
            return ()
        new = math.ceil(epochs / 2)
        return (Change("num_epochs", _whole(epochs), new, f"Train {new} epochs instead of {show(epochs)}.", cited),)
    if epochs is not None and per_epoch:
        at = step / per_epoch
        new = max(math.ceil(at - 0.05), 1)
        if case.is_fine_tuning and epochs > 3:
            new = min(new, 3)
        if new < epochs:
            reason = (
                f"The best evaluation came at step {show(step)}, epoch {show(round(at, 2))}: train {new} instead of {show(epochs)} epochs."
            )
            return (Change("num_epochs", _whole(epochs), new, reason, cited),)
    if step < 0.95 * case.total_steps:
        reason = f"The best evaluation came at step {show(step)} of {case.total_steps}: stop there."
        return (Change("max_steps", case.value("max_steps"), int(step), reason, cited),)
    return ()


def stop_early(case: Case) -> Changes:
    """Keep the best checkpoint and stop after three evaluations without gain."""
    changes = []
    if case.value("load_best_model_at_end") is not True:
        reason = "Load the checkpoint with the lowest eval loss at the end."
        changes.append(
            Change("load_best_model_at_end", case.value("load_best_model_at_end"), True, reason, cite("S3-097 S3-176"), None, SAFE)
        )
    if not case.number("early_stopping_patience"):
        reason = "Stop after 3 evaluations without an improvement of 0.001."
        changes.append(Change("early_stopping_patience", None, 3, reason, cite("S3-174 S3-179 S3-208"), None, SAFE))
        changes.append(Change("early_stopping_threshold", None, 0.001, reason, ("S3-175",), None, SAFE, companion=True))
    every, saved = case.number("eval_steps"), case.number("save_steps")
    if changes and every and saved and saved % every:
        reason = f"Checkpoints must fall on evaluations: save every {show(every)} steps."
        changes.append(
            Change("save_steps", case.value("save_steps"), case.value("eval_steps"), reason, ("S3-096",), None, SAFE, companion=True)
        )
    return tuple(changes)


def train_longer(case: Case) -> Changes:
    """More epochs: one or half as many again where little is left to gain, twice as many where much is."""
    share = _gain_left(case)
    much = share is None or share >= 0.1
    cited = cite("S1-073 S1-258 S3-119")
    why = "The run may be too short"
    if share is not None and share >= 0.01:
        why = f"The loss is still falling at the end, with {round(100 * share)}% of its fall in the last third"
    epochs = case.epochs
    if epochs is not None and (case.number("num_epochs") or not case.number("max_steps")):
        short = case.total_steps < SHORT_STEPS or epochs < SHORT_EPOCHS
        wanted = max(epochs + 1, (SHORT_TIMES if short else 2) * epochs if much else 1.5 * epochs)
        new = _whole(case.clip("num_epochs", epochs, math.ceil(wanted)))
        if new > epochs:
            return (Change("num_epochs", _whole(epochs), new, f"{why}: train {show(new)} instead of {show(epochs)} epochs.", cited),)
        return ()
    steps = int(case.number("max_steps") or case.total_steps)
    new_steps = math.ceil(steps * (2 if much else 1.5))
    return (Change("max_steps", case.value("max_steps"), new_steps, f"{why}: train {new_steps} instead of {steps} steps.", cited),)


SHORT_STEPS, SHORT_EPOCHS, SHORT_TIMES = 150, 2.0, 3
"""A run of fewer optimizer steps or epochs is short by itself (guides: at least 100 steps, 3 epochs), and is made three times as long."""


def _gain_left(case: Case) -> float | None:
    """Share of the whole fall of the loss (eval where logged) that fell in the last third; None below 6 points."""
    curves = [curve.finite() for _, curve in case.run.eval_losses()] + [c.finite() for c in [case.run.curve("train/loss")] if c is not None]
    for curve in curves:
        n = len(curve)
        if n < 6:
            continue
        edge = max(n // 10, 1)
        start, third, end = (float(np.median(part)) for part in (curve.value[:edge], curve.value[-n // 3 :][:edge], curve.value[-edge:]))
        return max((third - end) / (start - end), 0.0) if start > end else 0.0
    return None


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


# Batch.


SMALLEST_BATCH: Final = 16
"""Samples an optimizer step that a batch is raised to at least: the smallest that most guide rows start from (S1-068, S3-037)."""


def scale_batch(times: float, why: str, rules: str) -> Remedy:
    """A larger or smaller effective batch, with the learning rate times the square root of the ratio between 16 and 256 samples."""

    def remedy(case: Case) -> Changes:
        old, cited = case.batch, cite(rules)
        if old is None:
            verb = f"multiply the effective batch by {show(times)}" if times > 1 else f"divide the effective batch by {show(1 / times)}"
            return (Change("global_batch_size", None, None, f"{why}: {verb}.", cited, times),)
        new = _batch(case, old, times)
        if new == old:
            return ()
        changes = [Change("global_batch_size", old, new, f"{why}: {new} samples a step instead of {old}.", cited)]
        factor = square_root_factor(old, new)
        if factor != 1:
            text = f"The learning rate follows the batch by the square root of {show(new / old)}"
            changes += scale_learning_rate(factor, text, "S1-072 S3-043 S3-044 S3-196", companion=True)(case)
        return tuple(changes)

    return remedy


def _batch(case: Case, old: int, times: float) -> int:
    wanted = max(old * times, float(SMALLEST_BATCH)) if times > 1 else old * times
    limits = case.band("global_batch_size")
    if limits is not None and times > 1:
        wanted = max(min(wanted, limits.high), min(limits.start, old * times), 2.0 * old)
    new = round(case.clip("global_batch_size", old, wanted))
    if times > 1:  # leave enough steps to learn in
        affordable = math.floor(old * case.total_steps / MINIMUM_STEPS)
        new = min(new, max(affordable, old))
    return max(new, 1)


def more_updates(case: Case) -> Changes:
    """A batch so much smaller that the run has some 300 updates (an eighth at least), at the same learning rate and cost."""
    old = case.batch
    if old is None or old < 2 or case.total_steps >= ENOUGH_STEPS:
        return ()
    new = max(round(old * max(case.total_steps / ENOUGH_STEPS, 1 / MOST_SPLIT)), 1)
    reason = f"{case.total_steps} updates are few: {new} samples a step instead of {old} make {old / new:.3g} times as many."
    return (Change("global_batch_size", old, new, reason, cite("S1-069")),)


ENOUGH_STEPS, MOST_SPLIT = 300, 8
"""Optimizer steps to aim at (three times the guides' least, 100), and by how much a batch is split for it at most."""


def halve_micro_batch(case: Case) -> Changes:
    """Half the micro-batch and twice the accumulation: the same optimizer step in less memory."""
    micro, accumulation = case.number("micro_batch_size"), case.number("gradient_accumulation_steps")
    cited = cite("S0-002 S0-046 S0-047 S1-070 S1-210 S3-042 S3-204")
    if micro is None:
        reason = "Halve the micro-batch and double the accumulation; the effective batch stays the same."
        return (
            Change("micro_batch_size", None, None, reason, cited, 0.5, SAFE),
            Change(
                "gradient_accumulation_steps", case.value("gradient_accumulation_steps"), None, reason, cited, 2.0, SAFE, companion=True
            ),
        )
    if micro < 2:
        return ()
    new = int(micro) // 2
    times = micro / new
    steps = int(accumulation or 1)
    more = max(round(steps * times), steps + 1)
    if case.number("global_batch_size") and new * more != micro * steps:
        new, more = 1, int(micro) * steps
    reason = f"A micro-batch of {new} instead of {show(micro)} with {more} accumulation steps keeps the effective batch in less memory."
    return (
        Change("micro_batch_size", int(micro), new, reason, cited, None, SAFE),
        Change("gradient_accumulation_steps", int(accumulation) if accumulation else None, more, reason, cited, None, SAFE, companion=True),
    )


def double_micro_batch(case: Case) -> Changes:
    """Twice the micro-batch at half the accumulation, where there is accumulation to trade."""
    micro, accumulation = case.number("micro_batch_size"), case.number("gradient_accumulation_steps")
    if not micro or not accumulation or accumulation < 2 or accumulation % 2:
        return ()
    reason = f"If memory allows, a micro-batch of {2 * int(micro)} with half the accumulation makes the same step in fewer passes."
    return (
        Change("micro_batch_size", int(micro), 2 * int(micro), reason, cite("S1-071")),
        Change("gradient_accumulation_steps", int(accumulation), int(accumulation) // 2, reason, cite("S1-071"), companion=True),
    )


# Capacity and regularization.


def raise_rank(case: Case) -> Changes:
    """Twice the LoRA rank, at least where the guides start (8 or more), with alpha keeping its ratio."""
    old = case.number("lora_rank")
    cited = cite("S0-048 S0-054 S1-084 S1-201 S2-044 S3-155 S3-156")
    if old is None:
        if case.method not in ("lora", "qlora"):
            return ()
        return (Change("lora_rank", None, None, "The adapter is too small for the task: double its rank.", cited, 2.0), *_alpha(case, 2.0))
    limits = case.band("lora_rank")
    start = limits.start if limits is not None else 0.0
    new = round(case.clip("lora_rank", old, max(2 * old, start, 8.0)))
    if new <= old:
        return ()
    reason = f"The adapter of rank {show(old)} is too small for the task: try rank {new}."
    return (Change("lora_rank", int(old), new, reason, cited), *_alpha(case, new / old))


def lower_rank(case: Case) -> Changes:
    """Half the LoRA rank, not below 4, with alpha keeping its ratio."""
    old = case.number("lora_rank")
    if old is None or old < 8:
        return ()
    new = int(old) // 2
    reason = f"Fewer weights can memorize less: rank {new} instead of {show(old)}."
    return (Change("lora_rank", int(old), new, reason, cite("S0-054 S1-085 S1-176 S1-208 S3-116 S3-210")), *_alpha(case, new / old))


def _alpha(case: Case, times: float) -> Changes:
    old, rank = case.number("lora_alpha"), case.number("lora_rank")
    if old is None or (rank and times > 1 and old / rank > HIGHEST_ALPHA):
        return ()  # the higher rank brings an alpha that was too high for the old one into its range
    new = _whole(significant(old * times, 4))
    return (Change("lora_alpha", _whole(old), new, f"alpha over rank stays the same: {show(new)}.", cite("S1-155 S3-019"), companion=True),)


HIGHEST_ALPHA: Final = 2.0
"""Largest alpha over rank of the guides (S1-157, S3-020)."""


def raise_alpha(case: Case) -> Changes:
    """alpha over rank from 1 or less to 2."""
    rank, alpha = case.number("lora_rank"), case.number("lora_alpha")
    if not rank or not alpha or alpha / rank > 1:
        return ()
    new = _whole(min(2 * alpha, 2 * rank))
    reason = f"alpha over rank is {show(alpha / rank)}: raise alpha to {show(new)}."
    return (Change("lora_alpha", _whole(alpha), new, reason, cite("S1-157 S3-020 S3-075")),)


def widen_layers(case: Case) -> Changes:
    """Hidden layers of 32 units or more where the configuration says that they are a few units wide."""
    old = case.evidence("hidden_width", "capacity_too_low")
    if not isinstance(old, (int, float)):
        return ()
    reason = (
        f"Make the hidden layers {USUAL_WIDTH} units wide instead of {show(old)}: all that the model knows of a sample passes through them."
    )
    return (Change("hidden_width", _whole(old), USUAL_WIDTH, reason, cite("S1-200"), None, DISPLAY),)


USUAL_WIDTH: Final = 32
"""Units of a hidden layer to start from on small data: the middle of the 16 to 64 of common tutorials."""
FEED_FORWARD: Final = ("all-linear", "gate", "up_proj", "down_proj", "fc", "mlp", "w1", "proj_in")
"""Parts of names that show that adapters sit on the feed-forward layers too, so that there is little left to widen to."""


def widen_targets(case: Case) -> Changes:
    """Adapters on every linear layer."""
    targets = case.value("lora_target_modules")
    if case.method not in ("lora", "qlora") or any(word in str(targets) for word in FEED_FORWARD):
        return ()
    reason = "Put adapters on all linear layers, not on some of them."
    return (Change("lora_target_modules", targets, "all-linear", reason, cite("S1-183 S1-201 S2-050")),)


def use_dora(case: Case) -> Changes:
    """DoRA instead of LoRA."""
    if case.method != "lora" or case.value("use_dora") is True:
        return ()
    return (Change("use_dora", case.value("use_dora"), True, "DoRA learns more at the same rank, 10-20% slower.", cite("S1-151..153")),)


def raise_unfreeze_ratio(case: Case) -> Changes:
    """More of each matrix's spectrum for OSFT to train."""
    old = case.number("unfreeze_rank_ratio")
    if case.method != "osft" or old is None:
        return ()
    new = significant(case.clip("unfreeze_rank_ratio", old, min(old + 0.2, 1.0)))
    if new <= old:
        return ()
    reason = f"OSFT trains a share of {show(old)} of each matrix: try {show(new)}."
    return (Change("unfreeze_rank_ratio", old, new, reason, cite("S2-032..034")),)


def lower_unfreeze_ratio(case: Case) -> Changes:
    """Less of each matrix's spectrum for OSFT to train."""
    old = case.number("unfreeze_rank_ratio")
    if case.method != "osft" or old is None:
        return ()
    new = significant(case.clip("unfreeze_rank_ratio", old, old - 0.2))
    if not 0 < new < old:
        return ()
    reason = f"OSFT trains a share of {show(old)} of each matrix: try {show(new)}."
    return (Change("unfreeze_rank_ratio", old, new, reason, cite("S2-031 S2-036 S2-037")),)


ADAPTER_DROPOUT: Final = (0.05, 0.15)
"""Step and ceiling of LoRA dropout (S1-175, S3-130)."""
DROPOUT: Final = (0.1, 0.3)
"""Step and ceiling of a model's own dropout; the guides speak of adapters only, and this is the common range of feed-forward nets."""


def raise_dropout(case: Case) -> Changes:
    """More dropout: of the adapter in a LoRA run, else of the model where its config has one."""
    adapter = case.method in ("lora", "qlora") or case.number("lora_rank") is not None
    name, (step, ceiling) = ("lora_dropout", ADAPTER_DROPOUT) if adapter else ("dropout", DROPOUT)
    old = case.number(name)
    if old is None and not adapter:
        return ()
    new = significant(min((old or 0.0) + step, max(ceiling, old or 0.0)))
    if old is not None and new <= old:
        return ()
    reason = f"Regularize: {name} {show(new)}" + ("" if old is None else f" instead of {show(old)}") + "."
    return (Change(name, old, new, reason, cite("S1-175 S3-116 S3-211")),)


WEIGHT_DECAY_LADDER: Final = (0.01, 0.05, 0.1)
"""S1-080."""


def raise_weight_decay(case: Case) -> Changes:
    """The next rung of 0.01, 0.05, 0.1."""
    old = case.number("weight_decay")
    new = next((rung for rung in WEIGHT_DECAY_LADDER if rung > (old or 0.0)), None)
    if new is None:
        return ()
    was = "" if old is None else f" instead of {show(old)}"
    reason = f"Regularize: weight_decay {show(new)}{was}."
    return (Change("weight_decay", old, new, reason, cite("S1-075 S1-080 S1-174 S3-078 S3-212")),)


def lower_weight_decay(case: Case) -> Changes:
    """To 0.01, or to 0 from there."""
    old = case.number("weight_decay")
    new = 0.01 if old is None or old > 0.01 else 0.0
    if old is not None and new >= old:
        return ()
    was = "" if old is None else f" from {show(old)}"
    reason = f"Weight decay pulls the weights back faster than the loss moves them: lower it{was} to {show(new)}."
    return (Change("weight_decay", old, new, reason, cite("S1-081 S1-082 S3-079")),)


def drop_weight_decay(case: Case) -> Changes:
    """To 0."""
    old = case.number("weight_decay")
    if old is None or old == 0:
        return ()
    return (Change("weight_decay", old, 0.0, f"Train without weight decay instead of {show(old)}.", cite("S1-081 S1-082")),)


# Schedule, precision, memory, evaluation.

SCHEDULE_FAULTS: Final = (
    "lr_zero",
    "zero_tail",
    "decays_too_early",
    "warmup_exceeds_run",
    "stopped_in_warmup",
    "never_warms_up",
    "never_decays",
    "rises",
    "cycles",
)
"""Kinds of schedule faults, as findings name them under ``bug`` in their evidence."""


def schedule_fault(case: Case) -> str:
    """Which of SCHEDULE_FAULTS it is: as a finding says, else as the configuration and the logged learning rate show; "" if neither."""
    stated = case.evidence("bug")
    if stated in SCHEDULE_FAULTS:
        return str(stated)
    steps = case.number("warmup_steps")
    if steps is not None and steps >= case.total_steps:
        return "warmup_exceeds_run"
    curve = case.run.curve("lr")
    finite = curve.finite() if curve is not None else None
    if finite is not None and len(finite) >= 3:
        peak = float(finite.value.max())
        if peak == 0:
            return "lr_zero"
        if float(finite.value[-1]) == 0 and np.count_nonzero(finite.value == 0) > 0.1 * len(finite):
            return "zero_tail"
        if float(finite.value[-1]) >= 0.9 * peak:
            return "never_decays" if float(finite.value.min()) >= 0.9 * peak else "rises"
    return "never_decays" if is_constant(case) else ""


def is_constant(case: Case) -> bool:
    """Whether the configured schedule is a constant one."""
    return "constant" in str(case.value("lr_scheduler") or "")


def repair_schedule(case: Case) -> Changes:
    """Whatever is wrong with the schedule, put right."""
    fault = schedule_fault(case)
    if fault == "warmup_exceeds_run":
        return shorten_warmup(case) or _decay(case, "The learning rate is still rising at the end of the run")
    if fault == "stopped_in_warmup":
        planned = case.run.planned_steps or case.total_steps
        reason = f"The run stopped at step {case.run.steps} of {planned}, within its warmup: let it run on."
        return (Change("run", None, None, reason, (), None, DISPLAY),)
    if fault == "never_warms_up":
        return lengthen_warmup(0.05)(case)
    if fault == "lr_zero":
        return restart_learning_rate(case) or shorten_warmup(case) or _horizon(case, "The learning rate is 0 throughout")
    if fault in ("zero_tail", "decays_too_early"):
        return _horizon(case, "The learning rate runs out before the run does")
    if fault == "cycles":
        return _horizon(case, "The learning rate falls and rises again")
    if fault == "rises":
        return _decay(case, "The learning rate rises when it should fall")
    return _decay(case, "The learning rate never decays" if fault == "never_decays" else "The schedule does not do what it should")


def _decay(case: Case, why: str) -> Changes:
    old = case.value("lr_scheduler")
    if old is not None and not is_constant(case):
        return _horizon(case, f"{why} although the scheduler is {old}")
    reason = f"{why}: use a cosine schedule over the {case.total_steps} steps of the run."
    return (Change("lr_scheduler", old, "cosine", reason, cite("S0-007..010 S1-240 S3-015 S3-057")),)


def _horizon(case: Case, why: str) -> Changes:
    reason = f"{why}: step the scheduler once an optimizer step, and give it the run's own length of {case.total_steps} steps."
    return (Change("lr_decay_steps", None, case.total_steps, reason, cite("S1-256 S3-056 S3-057"), None, DISPLAY),)


def decay_schedule(case: Case) -> Changes:
    """A cosine schedule where the learning rate is constant."""
    if not is_constant(case):
        return ()
    return _decay(case, "A constant learning rate keeps the noise of its last steps")


def use_bf16(case: Case) -> Changes:
    """bfloat16, which has the range of float32 (float32 where the overflow came in bfloat16)."""
    old = case.value("precision")
    if old == "bf16":
        return (Change("precision", old, "fp32", "Numbers overflow even in bf16: train in fp32 to find where.", cite("S1-205")),)
    if old in ("fp32", "tf32"):
        return ()
    reason = "fp16 ends at 65504 and the gradients do not: train in bf16 (fp32 where the hardware has no bf16)."
    return (Change("precision", old, "bf16", reason, cite("S1-205 S3-094 S3-168 S3-170")),)


def split_accumulation(case: Case) -> Changes:
    """Fewer than 16 accumulation steps in fp16."""
    accumulation, micro = case.number("gradient_accumulation_steps"), case.number("micro_batch_size")
    if not accumulation or accumulation < 16:
        return ()
    reason = f"{show(accumulation)} accumulation steps in fp16 can overflow: accumulate 8."
    changes = [Change("gradient_accumulation_steps", int(accumulation), 8, reason, cite("S3-168 S3-169 S3-172"))]
    if micro:
        new = max(round(micro * accumulation / 8), 1)
        changes.append(Change("micro_batch_size", int(micro), new, "The effective batch stays the same.", ("S0-047",), companion=True))
    return tuple(changes)


def checkpoint_activations(case: Case) -> Changes:
    """Recompute activations instead of keeping them."""
    if case.value("gradient_checkpointing") is True:
        return ()
    reason = "Recompute activations in the backward pass instead of keeping them."
    return (Change("gradient_checkpointing", case.value("gradient_checkpointing"), True, reason, cite("S1-213"), None, SAFE),)


def load_in_4bit(case: Case) -> Changes:
    """A 4-bit base model under the adapters."""
    if case.method != "lora" or case.value("load_in_4bit") is True or case.value("load_in_8bit") is True:
        return ()
    reason = "Load the base model in 4 bits (QLoRA)."
    return (Change("load_in_4bit", case.value("load_in_4bit"), True, reason, cite("S1-211 S2-051..054")),)


def train_adapters(case: Case) -> Changes:
    """LoRA in the place of full fine-tuning, with the learning rate that goes with it."""
    if case.method != "sft":
        return ()
    factor = method_factor("sft", "lora", case.profile, case.total_steps)
    reason = f"Train adapters instead of all weights, with {show(factor)} times the learning rate."
    return (Change("method", "sft", "lora", reason, cite("S1-065 S1-066 S1-179 S1-181"), None, DISPLAY),)


# Forgetting.


def keep_base_weights(case: Case) -> Changes:
    """Adapters in the place of full fine-tuning, which leave the weights of the base model as they are."""
    if case.method != "sft":
        return ()
    factor, rate = method_factor("sft", "lora", case.profile, case.total_steps), case.learning_rate
    scaled = "" if rate is None else f", {show(significant(rate * factor))} instead of {show(rate)}"
    reason = (
        "Training all weights overwrote what the base model knew: train adapters (LoRA), which leave them as they are, with"
        f" {show(factor)} times the learning rate{scaled}."
    )
    return (Change("method", "sft", "lora", reason, cite("S1-137 S1-215 S1-065 S1-066"), None, DISPLAY),)


PRESERVING_RATIO: Final = (0.1, 0.3)
"""Unfreeze ratio of OSFT that keeps most of what the model knew (S2-031)."""


def preserve_subspace(case: Case) -> Changes:
    """OSFT with an unfreeze ratio of 0.1 to 0.3; where all weights are trained, the advice to use it."""
    low, high = PRESERVING_RATIO
    cited = cite("S1-215 S2-031")
    if case.method == "sft":
        reason = (
            f"Or train with OSFT at an unfreeze_rank_ratio of {show(low)} to {show(high)}, which spares the directions that the model"
            " uses most."
        )
        return (Change("method", "sft", "osft", reason, cited, None, DISPLAY),)
    old = case.number("unfreeze_rank_ratio")
    if case.method != "osft" or (old is not None and old <= low):
        return ()
    new = high if old is None or old > high else low
    was = "" if old is None else f" instead of {show(old)}"
    return (Change("unfreeze_rank_ratio", old, new, f"Train a smaller share of each matrix: {show(new)}{was}.", cited),)


def one_epoch_less(case: Case) -> Changes:
    """One epoch less, where there is more than one."""
    epochs = case.epochs
    if epochs is None or epochs <= 1:
        return ()
    new = _whole(max(float(math.ceil(epochs - 1)), 1.0))
    reason = f"Every epoch moves the model further from its base: train {show(new)} instead of {show(epochs)} epochs."
    return (Change("num_epochs", _whole(epochs), new, reason, cite("S1-137 S1-215")),)


def shorten_sequences(case: Case) -> Changes:
    """Half the sequence length, where it is known."""
    old = case.number("max_seq_len")
    if not old or old < 256:
        return ()
    reason = f"Shorten sequences from {show(old)} to {int(old) // 2} tokens if 95% of the samples fit."
    return (Change("max_seq_len", int(old), int(old) // 2, reason, cite("S1-145 S1-212 S2-017 S2-020")),)


def pack_sequences(case: Case) -> Changes:
    """Several short samples in one sequence."""
    if case.method is None or case.value("packing") is True:
        return ()
    reason = "Pack short samples together; that is worth a factor of 1.5 to 3 in throughput where they vary in length."
    return (Change("packing", case.value("packing"), True, reason, cite("S1-146 S1-148..150")),)


EVALUATIONS: Final = 12
"""Evaluations a run should have (S3-178)."""


def evaluate_often(case: Case) -> Changes:
    """Twelve evaluations a run."""
    old = case.number("eval_steps")
    wanted = max(case.total_steps // EVALUATIONS, 1)
    if old is not None and 0 < old <= wanted:
        return ()
    reason = f"Evaluate every {wanted} steps: {EVALUATIONS} times in {case.total_steps} steps."
    return (Change("eval_steps", _whole(old) if old else None, wanted, reason, cite("S1-187 S3-095 S3-177 S3-178"), None, SAFE),)


def hold_out(case: Case) -> Changes:
    """A validation set where there is none."""
    size = case.dataset_size
    count = f" ({max(round(0.05 * size), 1)} to {max(round(0.1 * size), 1)} samples)" if size else ""
    reason = f"Hold out a random 5-10% of the data{count} before training and evaluate on it."
    return (Change("validation_set", None, None, reason, cite("S1-003 S1-004 S3-112 S3-190..192"), None, DISPLAY), *evaluate_often(case))


def advise(parameter: str, reason: str, rules: str = "") -> Remedy:
    """Something to do that is no hyperparameter; ``{steps}`` in the text becomes the steps of the findings."""

    def remedy(case: Case) -> Changes:
        return (Change(parameter, None, None, reason.replace("{steps}", _where(case)), cite(rules), None, DISPLAY),)

    return remedy


ACTIVATION_KEY: Final = re.compile(
    r"(?:^|[._/])(?:activation|activation_fn|activation_function|act_fn|hidden_act|nonlinearity)$", re.IGNORECASE
)
"""Config keys that name the activation function."""
SATURATING: Final = ("sigmoid", "tanh", "hard_sigmoid", "softsign")
"""Activations whose slope goes to zero away from the origin."""


def replace_activation(case: Case) -> Changes:
    """ReLU in the place of an activation that saturates, unless the config says that there is none."""
    entry = next((case.run.config[key] for key in sorted(case.run.config) if ACTIVATION_KEY.search(key)), None)
    old = str(entry.value).lower() if entry is not None and isinstance(entry.value, str) else None
    if old is not None and old not in SATURATING:
        return ()
    if old is None and is_language_model(case):
        return ()
    which = f"{old} ({entry.source})" if entry is not None and old is not None else "sigmoid or tanh"
    reason = (
        f"Gradients die on their way through the layers: use ReLU or GELU instead of {which}, with the initialization that goes with it."
    )
    return (Change("activation", old, "relu", reason, (), None, DISPLAY),)


def _where(case: Case) -> str:
    starts = sorted({finding.step_start for finding in case.findings if finding.step_start is not None and finding.causes})[:3]
    return f" around step{'s' if len(starts) > 1 else ''} {', '.join(map(str, starts))}" if starts else ""


def together(*remedies: Remedy) -> Remedy:
    """Several remedies in one step."""

    def remedy(case: Case) -> Changes:
        return tuple(change for one in remedies for change in one(case))

    return remedy


def first_of(*remedies: Remedy) -> Remedy:
    """The first of several remedies that does something."""

    def remedy(case: Case) -> Changes:
        return next((changes for one in remedies if (changes := one(case))), ())

    return remedy


def when(condition: Callable[[Case], bool], remedy: Remedy) -> Remedy:
    """A remedy for some runs only."""

    def guarded(case: Case) -> Changes:
        return remedy(case) if condition(case) else ()

    return guarded


def learnt_too_fast(case: Case) -> bool:
    """Whether the best evaluation lies in the first third and the last one is worse than the first (S3-183, S1-177)."""
    for _, curve in case.run.eval_losses():
        finite = curve.finite()
        if len(finite) >= 3:
            best = int(np.argmin(finite.value))
            early = float(finite.step[best]) <= case.total_steps / 3
            return early and case.diagnosis.verdict == OVERFIT and float(finite.value[-1]) > float(finite.value[0])
    return False


def overflowed_in_fp16(case: Case) -> bool:
    """Whether a loss became non-finite in a run that trains in fp16."""
    if case.value("precision") != "fp16":
        return False
    losses = [case.run.curve("train/loss"), *(curve for _, curve in case.run.eval_losses())]
    return any(curve is not None and not bool(np.isfinite(curve.value).all()) for curve in losses)


def is_language_model(case: Case) -> bool:
    """Whether the run trains a language model, whose layers are what they are."""
    return case.method is not None or case.run.dialect in LANGUAGE_MODEL_DIALECTS


def rewards(case: Case) -> bool:
    """Whether the run optimizes a reward, so that its loss says nothing."""
    return is_reward_driven(case.run)


def still_falls(case: Case) -> bool:
    """Whether the loss was still falling in the last third of the run."""
    share = _gain_left(case)
    return not rewards(case) and (share is None or share >= 0.02)


def is_slow(case: Case) -> bool:
    """Whether the run was judged not to have learnt enough."""
    return case.diagnosis.verdict in (UNDERFIT, PLATEAU)


def is_from_scratch(case: Case) -> bool:
    """Whether nothing says that the run continues from trained weights."""
    return case.method in (None, "pretraining") and case.run.dialect not in LANGUAGE_MODEL_ONLY_DIALECTS


def has_tiny_rank(case: Case) -> bool:
    """Whether the adapter's rank is below every recommendation, as UND004 found."""
    rank, smallest = case.number("lora_rank"), case.evidence("smallest_recommended", "capacity_too_low")
    return rank is not None and isinstance(smallest, (int, float)) and rank < smallest
