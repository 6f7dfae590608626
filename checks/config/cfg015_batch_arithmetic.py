"""CFG015: the sizes of the batch do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from diag.checks.config import _aims as aims
from diag.dialects.values import as_float
from diag.fixes import Fix
from diag.lint import SAFE, UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

LAUNCHER: Final = "the launcher"
"""Beginning of the note on a number of processes that the launch command states: ranks, of which model parallelism takes its share."""

SPLITS: Final = {
    "automodel": ("distributed.tp_size", "distributed.cp_size", "distributed.pp_size"),
    "megatron": ("tensor_model_parallel_size", "context_parallel_size", "pipeline_model_parallel_size"),
}
"""Keys of the sizes that the ranks are divided by before the rest is data-parallel."""

HF_DEEPSPEED: Final = (
    ("train_micro_batch_size_per_gpu", "per_device_train_batch_size"),
    ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("gradient_clipping", "max_grad_norm"),
    ("optimizer.params.lr", "learning_rate"),
    ("optimizer.params.weight_decay", "weight_decay"),
)
"""Keys of a DeepSpeed config inside Hugging Face arguments, and the arguments they must agree with."""


class BatchArithmetic(Lint):
    """Global batch, micro-batch, accumulation and processes do not fit together.

    ## What it does
    Applies the framework's own arithmetic. NeMo AutoModel and Megatron: the global batch is a multiple of micro-batch times
    data-parallel ranks. DeepSpeed: ``train_batch_size`` = micro-batch x accumulation x processes, and what Hugging Face arguments
    repeat must agree. litgpt: the global batch over the devices is a multiple of the micro-batch. nanoGPT: the accumulation is a
    multiple of the processes. Training Hub: ``max_tokens_per_gpu`` holds one sequence of ``max_seq_len``, and the effective batch
    decides, so that accumulation is not for the user to set. Axolotl: ``batch_size`` is another way to say accumulation.

    ## Why is this bad?
    Most frameworks refuse to start, after the model was loaded; litgpt and Training Hub train with another batch than the config
    says.

    ## When it stays silent
    Where the number of processes decides and is not known, and for sizes that are ``auto`` or computed by a script.

    ## What to do
    Change the size it names; where there is a choice it keeps the effective batch.

    ## References
    Guide rows S1-224, S2-011, S2-012, S3-036; the frameworks' configuration references.
    """

    code = "CFG015"
    name = "batch-arithmetic"
    severity = ERROR
    rules = ("S1-224", "S3-036")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """What the dialect's own arithmetic says."""
        if plan.dialect in ("automodel", "megatron"):
            yield from self._divisible(plan)
        elif plan.dialect == "deepspeed":
            yield from self._deepspeed(plan)
        elif plan.dialect == "litgpt":
            yield from self._litgpt(plan)
        elif plan.dialect == "nanogpt":
            yield from self._nanogpt(plan)
        elif plan.dialect == "training_hub":
            yield from self._training_hub(plan)
        elif plan.dialect == "axolotl":
            yield from self._axolotl(plan)
        elif plan.dialect == "hf":
            yield from self._hf_deepspeed(plan)

    def _divisible(self, plan: Plan) -> Iterator[Violation]:
        """The global batch is a multiple of micro-batch times ranks."""
        total, micro, ranks = plan.number("global_batch_size"), plan.number("micro_batch_size"), data_parallel(plan) or 1
        if (
            not total
            or not micro
            or total % (micro * ranks) == 0
            or not (plan.is_set("global_batch_size") or plan.is_set("micro_batch_size"))
        ):
            return
        of_ranks = f" x {counted_ranks(ranks)}" if ranks > 1 else ""
        fixes = self._fitted(plan, total, micro, ranks)
        yield self.violation(
            plan,
            f"{plan.key_of('global_batch_size')} {show(total)} is no multiple of "
            f"{plan.key_of('micro_batch_size')} {show(micro)}{of_ranks}; "
            f"{_told(plan, fixes)}.",
            at="global_batch_size" if plan.is_set("global_batch_size") else "micro_batch_size",
            evidence={"global_batch_size": total, "micro_batch_size": micro, "ranks": ranks},
            fixes=fixes,
        )

    def _fitted(self, plan: Plan, total: float, micro: float, ranks: float) -> list[Fix]:
        """A micro-batch that divides the share of a rank; where the ranks cannot share the batch, the nearest batch that they can."""
        unit = micro * ranks
        whole = int(total) if total % ranks == 0 else _nearest(plan, total, unit if total >= unit else ranks)
        fixes: list[Fix] = []
        if whole != total:
            fixes.append(self.fix(plan, "global_batch_size", whole, "The nearest multiple.", applicability=SAFE))
            if plan.total_steps is not None and plan.number("max_steps") is None:
                fixes += aims.rewarmed(self, plan, max(plan.total_steps * total / whole, 1.0))
        if whole % unit != 0:
            share = int(whole // ranks)
            size = aims.divisor(share, int(micro))
            arithmetic = f"{whole} / {ranks:g} = {share}"
            fixes.append(self.fix(plan, "micro_batch_size", size, f"{size} divides {share}.", applicability=SAFE, arithmetic=arithmetic))
        return fixes

    def _deepspeed(self, plan: Plan) -> Iterator[Violation]:
        """``train_batch_size`` = micro x accumulation x processes."""
        keys = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        total, micro, passes = (as_float(plan.native(key)) for key in keys)
        if total is None or (micro is None and passes is None):
            return
        world = plan.world_size
        part = (micro or 1.0) * (passes or 1.0)
        exact = micro is not None and passes is not None and world is not None
        if (exact and total == part * (world or 1)) or (not exact and total % (part * (world or 1)) == 0):
            return
        ranks = world if world is not None else max(round(total / part), 1)
        new = int(part * ranks) if exact or world is None else int(max(round(total / (part * ranks)), 1) * part * ranks)
        product = " x ".join(f"{key} {value:g}" for key, value in zip(keys[1:], (micro, passes), strict=True) if value is not None)
        yield self.violation(
            plan,
            f"train_batch_size {show(total)} is not {product} x "
            f"{'the number of processes' if world is None else counted_ranks(world)}; set it to {new}.",
            at="train_batch_size",
            evidence={"train_batch_size": total, "micro": micro, "accumulation": passes, "world_size": world},
            fixes=[self.set_key(plan, "train_batch_size", new, f"{product} x {ranks:g}.", applicability=SAFE)],
        )

    def _litgpt(self, plan: Plan) -> Iterator[Violation]:
        """Accumulation is global / devices / micro, rounded down."""
        total, micro = plan.number("global_batch_size"), plan.number("micro_batch_size")
        devices = plan.world_size or 1.0
        if not total or not micro or (total % (devices * micro) == 0 and total >= devices * micro):
            return
        if total < devices * micro:
            why = f"is smaller than what {counted_ranks(devices)} of train.micro_batch_size {show(micro)} take"
        else:
            actual = int(total // devices // micro * micro * devices)
            why = f"becomes {actual}, the multiple of train.micro_batch_size {show(micro)} x {counted_ranks(devices)} below it"
        fixes = self._fitted(plan, total, micro, devices)
        yield self.violation(
            plan,
            f"train.global_batch_size {show(total)} {why}; {_told(plan, fixes)}.",
            at="global_batch_size",
            evidence={"global_batch_size": total, "micro_batch_size": micro, "devices": devices},
            fixes=fixes,
        )

    def _nanogpt(self, plan: Plan) -> Iterator[Violation]:
        """The accumulation is divided among the processes."""
        passes, world = plan.number("gradient_accumulation_steps"), plan.world_size
        if not passes or not world or passes % world == 0 or not plan.is_set("gradient_accumulation_steps"):
            return
        new = int(max(round(passes / world), 1) * world)
        yield self.violation(
            plan,
            f"gradient_accumulation_steps {show(passes)} is no multiple of {counted_ranks(world)}; set it to {new}.",
            at="gradient_accumulation_steps",
            evidence={"gradient_accumulation_steps": passes, "world_size": world},
            fixes=[self.fix(plan, "gradient_accumulation_steps", new, "The nearest multiple.", applicability=SAFE)],
        )

    def _training_hub(self, plan: Plan) -> Iterator[Violation]:
        """Tokens hold a sequence; the effective batch decides."""
        budget, length = as_float(plan.native("max_tokens_per_gpu")), plan.number("max_seq_len")
        if budget is not None and length is not None and budget < length and plan.method in ("sft", "osft"):
            yield self.violation(
                plan,
                f"max_tokens_per_gpu {show(budget)} is below max_seq_len {show(length)}, so one sequence does not fit; "
                f"set it to {length:.0f} or more.",
                at="max_tokens_per_gpu",
                evidence={"max_tokens_per_gpu": budget, "max_seq_len": length},
                fixes=[self.set_key(plan, "max_tokens_per_gpu", int(length), "It must hold one sequence.", applicability=SAFE)],
                rules=("S2-011",),
            )
        if plan.method in ("sft", "osft"):
            for key in ("gradient_accumulation_steps", "micro_batch_size"):
                if key in plan.document.settings:
                    yield self._dropped(plan, key, f"{plan.method} derives it from effective_batch_size and max_tokens_per_gpu")
        elif plan.number("global_batch_size") is not None and plan.is_set("global_batch_size"):
            yield from self._floored(plan)

    def _dropped(self, plan: Plan, key: str, why: str) -> Violation:
        return self.violation(
            plan,
            f"{key} has no effect: {why}.",
            at=key,
            severity=WARNING,
            evidence={"value": plan.native(key)},
            fixes=[self.remove_key(plan, key, "It has no effect.", applicability=SAFE, rules=("S2-011", "S2-012"))],
            rules=("S2-011", "S2-012"),
        )

    def _floored(self, plan: Plan) -> Iterator[Violation]:
        """``lora_sft``: the micro-batch is effective / (accumulation x processes), rounded down, whatever ``micro_batch_size`` says."""
        total, passes, world = (
            plan.number("global_batch_size") or 0.0,
            plan.number("gradient_accumulation_steps") or 1.0,
            plan.world_size or 1.0,
        )
        micro = max(total // (passes * world), 1.0)
        if total % (passes * world) != 0:
            actual = int(micro * passes * world)
            if total % world == 0:
                fewer = aims.divisor(int(total // world), int(passes))
                text = f"{fewer} divides {total / world:g}, so the effective batch stays."
                fix = self.fix(plan, "gradient_accumulation_steps", fewer, text, applicability=SAFE, rules=("S2-011",))
            else:
                fix = self.fix(plan, "global_batch_size", actual, "What it becomes anyway.", applicability=SAFE, rules=("S2-011",))
            yield self.violation(
                plan,
                f"effective_batch_size {show(total)} becomes {actual}: it is divided by gradient_accumulation_steps {show(passes)} and "
                f"{counted_ranks(world)}, and rounded down.",
                at="global_batch_size",
                severity=WARNING,
                evidence={"effective_batch_size": total, "actual": actual},
                fixes=[fix],
                rules=("S2-011",),
            )
        stated = plan.number("micro_batch_size")
        if stated is not None and plan.is_set("micro_batch_size") and stated != micro and (plan.world_size is not None or total % stated):
            yield self.violation(
                plan,
                f"micro_batch_size {show(stated)} is ignored since effective_batch_size is set: {int(micro)} samples a pass.",
                at="micro_batch_size",
                severity=INFO,
                evidence={"micro_batch_size": stated, "actual": micro},
                fixes=[self.remove_key(plan, "micro_batch_size", "It has no effect.", applicability=SAFE, rules=("S2-012",))],
                rules=("S2-012",),
            )

    def _axolotl(self, plan: Plan) -> Iterator[Violation]:
        """``batch_size`` is micro-batch x accumulation; both at once are refused."""
        if "batch_size" not in plan.document.settings:
            return
        total, micro = as_float(plan.native("batch_size")), as_float(plan.native("micro_batch_size"))
        both = "gradient_accumulation_steps" in plan.document.settings
        fixes: list[Fix] = [self.remove_key(plan, "batch_size", "Accumulation says it.", applicability=SAFE if both else UNSAFE)]
        passes = int(max((total or 1) // (micro or 1), 1))
        if not both:
            text = f"batch_size {show(total or 1)} / micro_batch_size {show(micro or 1)}."
            fixes.append(self.set_key(plan, "gradient_accumulation_steps", passes, text))
        yield self.violation(
            plan,
            "batch_size and gradient_accumulation_steps are both set, which Axolotl refuses; keep gradient_accumulation_steps."
            if both
            else f"batch_size is deprecated, and Axolotl multiplies it by the number of processes; "
            f"set gradient_accumulation_steps to {passes} instead.",
            at="batch_size",
            severity=ERROR if both else WARNING,
            evidence={"batch_size": total, "micro_batch_size": micro},
            fixes=fixes,
        )

    def _hf_deepspeed(self, plan: Plan) -> Iterator[Violation]:
        """A DeepSpeed config inside the arguments repeats what they say."""
        for inner, outer in HF_DEEPSPEED:
            key = f"deepspeed.{inner}"
            theirs, own = as_float(plan.native(key)), as_float(plan.native(outer))
            if theirs is None or own is None or theirs == own:
                continue
            auto: Any = "auto"
            yield self.violation(
                plan,
                f"{key} {show(theirs)} and {outer} {show(own)} differ, which the Trainer refuses; let DeepSpeed take it over with auto.",
                at=key,
                evidence={key: theirs, outer: own},
                fixes=[self.set_key(plan, key, auto, f"The Trainer fills in {outer}.", applicability=SAFE)],
            )


def _nearest(plan: Plan, total: float, unit: float) -> int:
    """The multiple of ``unit`` nearest to the batch, or what CFG003 would set where it speaks of it."""
    band, wanted = plan.band("global_batch_size"), aims.batch(plan)
    if band is not None and wanted is not None and not band.clip_low <= total <= band.clip_high and wanted % unit == 0:
        return wanted
    return int(max(round(total / unit), 1) * unit)


def _told(plan: Plan, fixes: list[Fix]) -> str:
    """``set a to 1 and b to 2``."""
    return "set " + " and ".join(f"{plan.key_of(fix.parameter)} to {fix.new}" for fix in fixes if fix.parameter != "warmup_steps")


def data_parallel(plan: Plan) -> float | None:
    """Data-parallel ranks: the processes of the launcher, less what the model is split over; None if unknown."""
    ranks = plan.world_size
    entry = plan.hyperparameters.get("world_size")
    if ranks is None or entry is None or not entry.note.startswith(LAUNCHER):
        return ranks
    for key in SPLITS.get(plan.dialect, ()):
        size = as_float(plan.native(key))
        if size is not None and size > 1:
            ranks /= size
    return ranks if ranks >= 1 and ranks.is_integer() else None


def counted_ranks(ranks: float) -> str:
    """``4 processes``."""
    return "1 process" if ranks == 1 else f"{ranks:g} processes"
