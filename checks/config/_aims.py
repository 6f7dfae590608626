"""What the rules of optimization aim at: one value for each setting, so that no two of them pull it in different directions."""

from __future__ import annotations

import math
from typing import Final

from diag.dialects.table import documented
from diag.fixes import Fix
from diag.guides import Band, band, guarded_batch, square_root_factor, warmup
from diag.guides.profiles import BALANCED, MINIMUM_BATCH, MINIMUM_STEPS
from diag.lint import UNSAFE, Lint
from diag.plan import Plan
from diag.text import counted, show, significant

LANGUAGE: Final = frozenset(
    {"automodel", "training_hub", "axolotl", "llamafactory", "torchtune", "litgpt", "deepspeed", "nanogpt", "megatron"}
)
"""Dialects of frameworks that train language models only, or hardly anything else."""

SHARES: Final = frozenset({"hf", "axolotl", "llamafactory", "megatron"})
"""Dialects that take a warmup as a share of the run."""

USUAL_WARMUP: Final = 0.05
"""Share of a run of unknown length to warm up for (S3-091)."""

OVERFITTING_EPOCHS: Final = 3
"""Epochs beyond which overfitting becomes likely (S1-077, S3-047)."""

ROUNDING: Final = 1.05
"""Factor that writing a number with two digits may cost."""

DERIVED: Final = frozenset({"automodel", "litgpt", "megatron"})
"""Dialects that hold the effective batch and the micro-batch, and derive the accumulation."""

STEP: Final = 8
"""Samples: batches that are made smaller stay multiples of this where they can."""


def is_language_model(plan: Plan) -> bool:
    """Whether the guides are about what this config trains: a language model that is not small."""
    return plan.is_guided and (plan.method is not None or plan.dialect in LANGUAGE)


def is_mentioned(plan: Plan, *names: str) -> bool:
    """Whether the config sets one of these, canonical names or native keys, if only to what a script computes."""
    settings = plan.document.settings
    return any(name in settings or plan.is_set(name) for name in names) or any(
        row.native in settings for row in documented(plan.dialect) if row.canonical in names
    )


def described(plan: Plan) -> str:
    """``lora, 15,000 samples``: what a band was looked up for, as far as it is known."""
    parts = [str(plan.method)]
    if plan.samples is not None:
        parts.append(f"{plan.samples:,.0f} samples")
    if plan.parameters is not None:
        parts.append(f"{plan.parameters / 1e9:.3g}B parameters")
    return ", ".join(parts)


def learning_rate(plan: Plan) -> float | None:
    """Where the profile starts, to two digits."""
    found = plan.band("learning_rate")
    return None if found is None else significant(found.start)


def is_learning_rate_usual(plan: Plan) -> bool:
    """Whether the learning rate is one that the guides start from."""
    rate, found = plan.number("learning_rate"), plan.band("learning_rate")
    return rate is not None and found is not None and found.low / ROUNDING <= rate <= found.high * ROUNDING


def batch(plan: Plan) -> int | None:
    """The effective batch to set: where the profile starts, smaller where the run would be too short, a multiple of what a pass holds.

    None where the guides do not say, or where so many processes cannot share a batch within the limits.
    """
    found = plan.band("global_batch_size")
    if found is None:
        return None
    wanted = affordable(plan, int(found.start))
    return _reachable(plan, wanted, min(found.clip_low, wanted), found.clip_high)


def affordable(plan: Plan, wanted: int) -> int:
    """``wanted`` samples a step, or as few as give the run MINIMUM_STEPS steps, not below MINIMUM_BATCH."""
    epochs = plan.number("num_epochs")
    if plan.number("max_steps") is not None or plan.samples is None or not epochs:
        return wanted
    guarded = guarded_batch(plan.samples, epochs, wanted)
    return guarded if guarded >= wanted else max(guarded // STEP * STEP, min(guarded, MINIMUM_BATCH))


def smaller_batch(plan: Plan) -> int | None:
    """The largest batch below this run's that gives it MINIMUM_STEPS steps and that its processes can share; None if there is none."""
    current = plan.global_batch
    if current is None:
        return None
    if (found := plan.band("global_batch_size")) is not None and current > found.clip_high:
        return batch(plan)
    limit = affordable(plan, int(current))
    for unit in units(plan):
        count = math.floor(limit / unit)
        if count >= 1 and count * unit >= min(limit, MINIMUM_BATCH) and count * unit < current:
            return int(count * unit)
    return None


def units(plan: Plan) -> tuple[float, float]:
    """What an effective batch should be, and what it must be, a multiple of."""
    world = plan.world_size or 1.0
    if plan.dialect == "training_hub":
        passes = plan.number("gradient_accumulation_steps") if plan.method not in ("sft", "osft") else None
        return (passes or 1.0) * world, world
    if plan.dialect == "deepspeed" and (total := plan.number("global_batch_size")):
        one = total / (plan.number("gradient_accumulation_steps") or 1.0)
        return one, one
    return (plan.number("micro_batch_size") or 1.0) * world, world


def _reachable(plan: Plan, wanted: int, low: float, high: float) -> int | None:
    """The multiple of what the processes hold in one pass (or of the processes alone) nearest to ``wanted``, None if none is in limits."""
    for unit in units(plan):
        value = max(round(wanted / unit), 1) * unit
        if low <= value <= high:
            return int(value)
    return None


def is_run_short(plan: Plan) -> bool:
    """Whether a larger batch would leave the run with fewer than MINIMUM_STEPS steps."""
    steps = plan.total_steps
    return steps is not None and plan.number("max_steps") is None and steps < 2 * MINIMUM_STEPS


def warmup_steps(plan: Plan, total: float | None = None) -> int | None:
    """Steps of warmup to set for a run of ``total`` steps (this run's own if not given), None if that is unknown."""
    total = plan.total_steps if total is None else total
    if total is None:
        return None
    found = warmup(total, plan.method, plan.profile or BALANCED)
    return min(max(round(found.start), 1), max(math.ceil(total) - 1, 0))


def keeps_best(plan: Plan) -> bool:
    """Whether something guards against the last epochs: early stopping, or a best checkpoint that is kept."""
    if plan.number("early_stopping_patience") is not None or plan.value("load_best_model_at_end") is True:
        return True
    if plan.native("save_best_val_loss") is True or any(str(value).endswith("EarlyStopping") for value in plan.flat.values()):
        return True
    # NeMo AutoModel keeps the checkpoint of the lowest validation loss by itself.
    return plan.dialect == "automodel" and any(key.startswith("validation_dataset") for key in plan.document.settings)


def epochs_to_be(plan: Plan, found: Band) -> int:
    """Where the profile starts; above OVERFITTING_EPOCHS only where the best checkpoint is kept."""
    epochs = max(round(found.start), 1)
    return epochs if keeps_best(plan) else min(epochs, OVERFITTING_EPOCHS)


def length_to_be(plan: Plan) -> float | None:
    """Steps that the run will have once batch and epochs are what the guides allow; as it is where they are."""
    total, epochs, samples, current = plan.total_steps, plan.epochs, plan.samples, plan.global_batch
    passes, size = plan.band("num_epochs"), plan.band("global_batch_size")
    if total is None or epochs is None or samples is None or not current:
        return total
    if passes is not None and epochs > (passes.clip_high if keeps_best(plan) else min(passes.clip_high, OVERFITTING_EPOCHS)):
        epochs = epochs_to_be(plan, passes)
    if size is not None and plan.number("max_steps") is None and not size.clip_low <= current <= size.clip_high:
        current = batch(plan) or current
    current = max(current, plan.world_size or 1.0)  # every process takes a sample, as CFG015 sees to
    return min(total, max(math.ceil(epochs * max(math.ceil(samples / current), 1)), 1))


def warmup_share(plan: Plan) -> float:
    """The same as a share of the run."""
    steps = warmup_steps(plan)
    return USUAL_WARMUP if steps is None or not plan.total_steps else min(significant(steps / plan.total_steps), 0.5)


def resized(rule: Lint, plan: Plan, target: int, reason: str, *, rules: tuple[str, ...], arithmetic: str = "") -> list[Fix]:
    """Everything that another effective batch takes: the batch, what it is made of, the learning rate, and the warmup of another length."""
    fixes = [rule.fix(plan, "global_batch_size", target, reason, rules=rules, arithmetic=arithmetic)]
    micro, world, passes = plan.number("micro_batch_size"), plan.world_size or 1.0, plan.number("gradient_accumulation_steps")
    old = plan.global_batch or target
    if plan.dialect in DERIVED and micro and target % world == 0 and target % (micro * world) != 0:
        size = divisor(int(target // world), int(micro))
        fixes.append(rule.fix(plan, "micro_batch_size", size, f"{size} divides {target // world:g}.", rules=("S1-224",)))
    elif plan.dialect == "deepspeed" and passes and plan.is_set("gradient_accumulation_steps"):
        count = max(round(passes * target / old), 1)
        fixes.append(rule.fix(plan, "gradient_accumulation_steps", count, f"{target} samples take {count}.", rules=("S3-036",)))
    fixes += _rescaled(rule, plan, old, target)
    epochs = plan.number("num_epochs")
    if plan.samples is not None and epochs and plan.number("max_steps") is None:
        fixes += rewarmed(rule, plan, max(math.ceil(epochs * max(math.ceil(plan.samples / target), 1)), 1))
    return fixes


def _rescaled(rule: Lint, plan: Plan, old: float, target: float) -> list[Fix]:
    """The learning rate for another batch, where it was a usual one for the old batch; CFG001 speaks otherwise."""
    rate, found = plan.number("learning_rate"), plan.band("learning_rate")
    if rate is None or found is None or not plan.is_batch_certain or not plan.is_set("learning_rate") or not is_learning_rate_usual(plan):
        return []
    factor = square_root_factor(old, target)
    scaled = significant(found.clip(rate * factor))
    if scaled == significant(rate):
        return []
    text = f"The square root of the change of the batch, {show(factor)}, scales the learning rate."
    return [
        rule.fix(plan, "learning_rate", scaled, text, rules=("S1-072", "S3-043", "S3-044"), arithmetic=f"{show(rate)} * {show(factor)}")
    ]


def rewarmed(rule: Lint, plan: Plan, total: float) -> list[Fix]:
    """A warmup counted in steps for a run of another length, where the old one does not fit it."""
    steps, old = plan.number("warmup_steps"), plan.total_steps
    if not steps or not plan.is_set("warmup_steps") or not is_language_model(plan):
        return []
    lengths = [length for length in (old, total) if length is not None]
    bands = [warmup(length, plan.method, plan.profile or BALANCED) for length in lengths]
    if all(found.clip_low <= steps <= found.clip_high for found in bands):
        return []
    count = warmup_steps(plan, min(total, length_to_be(plan) or total))  # other rules may make the run shorter still
    if not count or count == steps:
        return []
    text = f"Warm up for {counted(count, 'step')} of the shorter run."
    return [rule.fix(plan, "warmup_steps", count, text, rules=("S1-141", "S1-142", "S1-143"))]


def to_bf16(rule: Lint, plan: Plan, reason: str, rules: tuple[str, ...]) -> Fix:
    """Train in bf16. Megatron-LM's switches are only there or not, and take no ``False``: one is put in place of the other."""
    if plan.dialect == "megatron" and plan.native("fp16") is True and not plan.has("bf16"):
        return rule.rename_key(plan, "fp16", "bf16", reason, applicability=UNSAFE)
    return rule.fix(plan, "precision", "bf16", reason, rules=rules)


def divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is at most ``limit``."""
    return next(size for size in range(max(min(limit, number), 1), 0, -1) if number % size == 0)


def clipping(plan: Plan) -> tuple[float, float, float]:
    """Where to clip gradients: start, and the limits; alike for all methods."""
    found = band("max_grad_norm", plan.method or "sft")
    assert found is not None
    return found.start, found.clip_low, found.clip_high
