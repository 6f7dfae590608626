"""What the guides choose where the choice is not a number: schedules, precision, targets; and the sizes of well-known data sets."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

from diag.guides.register import cite, rules
from diag.vocabulary import METHODS

ADAPTERS: Final = ("lora", "qlora")


class Choice(NamedTuple):
    """A preferred value, the values that are fine, and the rules behind them.

    Attributes:
        parameter: canonical hyperparameter, or the quantization setting's own name.
        methods: methods it holds for.
        preferred: what to set where nothing speaks against it.
        allowed: every value that the guides accept, ``preferred`` first.
        rules: ids of guide rows.
    """

    parameter: str
    methods: tuple[str, ...]
    preferred: Any
    allowed: tuple[Any, ...]
    rules: tuple[str, ...]


CHOICES: Final = (
    Choice(
        "lr_scheduler",
        METHODS,
        "cosine",
        ("cosine", "linear", "constant", "wsd", "inverse_sqrt"),
        cite("S0-007..010 S1-025..027 S1-240 S3-016 S3-093 S3-149"),
    ),
    Choice("precision", METHODS, "bf16", ("bf16", "fp32", "tf32"), cite("S0-035..038 S1-205 S3-094 S3-168 S3-170")),
    Choice("optimizer", METHODS, "adamw", ("adamw", "adam"), cite("S1-050")),
    Choice("lora_target_modules", ADAPTERS, "all-linear", ("all-linear", "attention"), cite("S1-154 S1-183 S2-050 S3-085")),
    Choice("bias", ADAPTERS, "none", ("none",), cite("S3-086")),
    Choice("bnb_4bit_quant_type", ("qlora",), "nf4", ("nf4",), cite("S0-037 S1-055")),
    Choice("bnb_4bit_compute_dtype", ("qlora",), "bfloat16", ("bfloat16",), cite("S1-056")),
    Choice("bnb_4bit_use_double_quant", ("qlora",), True, (True,), cite("S1-057")),
    Choice("packed_sequence_size", METHODS, 2048, (2048, 1024, 4096), cite("S1-147 S1-149")),
    Choice("block_size", ("pretraining",), 2048, (2048, 512), cite("S2-022 S2-023")),
    Choice("metric_for_best_model", METHODS, "eval_loss", ("eval_loss",), cite("S3-098")),
)

DATASET_SIZES: Final = {
    "medalpaca/medical_meadow_medqa": 10_000,
    "databricks/databricks-dolly-15k": 15_000,
    "sahil2801/CodeAlpaca-20k": 20_000,
    "tatsu-lab/alpaca": 52_000,
    "Salesforce/xlam-function-calling-60k": 60_000,
    "OpenAssistant/oasst1": 85_000,
    "Open-Orca/SlimOrca": 518_000,
    "Muennighoff/natural-instructions": 800_000,
}
"""Training samples of the data sets that the guides name, rounded as they round them (S1-098..105). Bands go by these numbers, never by
words such as small or medium, which the guides use inconsistently (S1-106, S1-190)."""


def choice(parameter: str, method: str) -> Choice | None:
    """What to set a parameter to that is not a number; None where the guides do not say."""
    return next((entry for entry in CHOICES if entry.parameter == parameter and method in entry.methods), None)


def dataset_samples(name: str) -> int | None:
    """Training samples of a data set by its name on the hub, whatever the case; None if the guides do not name it."""
    wanted = name.strip().lower()
    return next((size for known, size in DATASET_SIZES.items() if known.lower() == wanted), None)


@cache
def validate() -> None:
    """Check the table: the preferred value comes first among the allowed ones, no choice is made twice, cited rules exist.

    Raises:
        ValueError: the first thing that is wrong.
    """
    made: set[tuple[str, str]] = set()
    for entry in CHOICES:
        pairs = {(entry.parameter, method) for method in entry.methods}
        if not entry.methods or not set(entry.methods) <= set(METHODS) or made & pairs:
            raise ValueError(f"{entry.parameter}: its methods {entry.methods} are unknown, or chosen for twice")
        if not entry.allowed or entry.allowed[0] != entry.preferred:
            raise ValueError(f"{entry.parameter}: {entry.preferred!r} is not the first of {entry.allowed}")
        if not entry.rules or (unknown := [identity for identity in entry.rules if identity not in rules()]):
            raise ValueError(f"{entry.parameter}: there is no row {unknown[0] if entry.rules else ''}")
        made |= pairs
    if any(size <= 0 for size in DATASET_SIZES.values()):
        raise ValueError("a data set has no samples")
