"""Starting values and limits by method, dataset size, model size and profile, as the guides give them.

Every row of ``ROWS`` says for which methods and sizes it holds, what a conservative, a balanced and an aggressive reader of the guides
starts from, the interval that automatic changes are clipped to, and the ids of the rules it condenses. Sizes are numbers (training samples,
model parameters), never words. Where no guide names the balanced value itself it is the geometric mean of their bounds (``derived``).

The guides are about fine-tuning and pretraining language models; where the method of a run is unknown there is no band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from diag.guides.register import Rule, cite, rules
from diag.text import show, significant
from diag.vocabulary import METHODS

CONSERVATIVE: Final = "conservative"
BALANCED: Final = "balanced"
AGGRESSIVE: Final = "aggressive"
PROFILES: Final = (CONSERVATIVE, BALANCED, AGGRESSIVE)

SOURCES: Final = {"automodel-quick": "000", "automodel": "001", "training-hub": "002", "lesson": "003"}
"""Profiles that follow a single guide where it speaks (``SOURCE_ROWS``) and the balanced profile elsewhere, to the guide's key."""

OWN_PROFILES: Final = {"automodel": "automodel", "training_hub": "training-hub"}
"""Dialect to the guide that is about its framework."""


def default_profile(dialect: str) -> str:
    """The profile that decides where the user names none: the guide of the run's own framework, else ``balanced``."""
    return OWN_PROFILES.get(dialect, BALANCED)


EDGE: Final = 1.2
"""Within this factor of an edge between two dataset sizes their geometric mean is used: 4,999 and 5,001 samples are alike."""

TYPICAL_SAMPLES: Final = 10_000
TYPICAL_PARAMETERS: Final = 7e9
"""What an unknown size is taken for when choosing where to start; the limits are then those of all sizes."""

BATCH_COUPLING: Final = (16, 256)
"""Effective batch sizes (samples) between which the square-root rule holds (S3-044)."""

MINIMUM_STEPS: Final = 100
MINIMUM_BATCH: Final = 8
"""A run of fewer optimizer steps than this gets a smaller batch rather than more epochs, down to this many samples."""

METHOD_FACTOR: Final = {CONSERVATIVE: 5.0, BALANCED: 10.0, AGGRESSIVE: 10.0}
"""LoRA learning rate over that of full fine-tuning, by profile (S1-065, S1-125; one guide claims the opposite, S3-009, against
its own tables)."""

SHORT_RUN_METHOD_FACTOR: Final = 15.0
"""The same in the aggressive profile for runs under MINIMUM_STEPS."""

ERROR_LEARNING_RATE: Final = {"sft": 1e-4, "osft": 1e-4, "lora": 1e-3, "qlora": 1e-3}
"""At or above this a fine-tune's learning rate is an error, not a choice (S3-003, S3-184)."""

LOWEST_ADAPTER_LEARNING_RATE: Final = 1e-6
"""Below this an adapter hardly moves: an order of magnitude under every guide's lowest start (S1-031, S2-004)."""

LARGEST_EFFECTIVE_FACTOR: Final = 4.0
"""An effective learning rate, ``lr * alpha / rank``, above so many times the upper limit is an error (S3-027)."""

INFINITY: Final = math.inf
FULL: Final = ("sft",)
ADAPTERS: Final = ("lora", "qlora")
FINE: Final = ("sft", "osft")
MODEL_8B: Final = 8.5e9
MODEL_34B: Final = 34.5e9
"""Edges between "up to 8B", "9B to 34B" and "35B or more", in parameters."""


class Row(NamedTuple):
    """One row: where it holds (half-open intervals), three starting values, the clip, and the rules behind it."""

    parameter: str
    methods: tuple[str, ...]
    samples: tuple[float, float]
    parameters: tuple[float, float]
    starts: tuple[float, float, float]
    clip: tuple[float, float]
    rules: str
    derived: str = ""


class Band(NamedTuple):
    """What the guides say about one parameter of one run.

    Attributes:
        low, high: the ends of what the profiles start from.
        start: where the chosen profile starts, low <= start <= high.
        clip_low, clip_high: the interval every automatic change is kept within.
        rules: ids of the rows it rests on, and of those that scaled it.
        arithmetic: how ``start`` came about where it was scaled, such as ``1e-5 * sqrt(32 / 48)``; "" where it was not.
    """

    low: float
    start: float
    high: float
    clip_low: float
    clip_high: float
    rules: tuple[str, ...]
    arithmetic: str = ""

    def clip(self, value: float) -> float:
        """``value`` moved to the nearest end where it lies outside the limits."""
        return min(max(value, self.clip_low), self.clip_high)


_ANY = (0.0, INFINITY)
_UNDER_1K, _1K_5K, _UNDER_5K, _5K_50K, _OVER_50K = (0.0, 1e3), (1e3, 5e3), (0.0, 5e3), (5e3, 5e4), (5e4, INFINITY)
_OVER_5K = (5e3, INFINITY)
_1K_10K, _OVER_10K = (1e3, 1e4), (1e4, INFINITY)
_UP_TO_8B, _9B_UP, _9B_34B, _35B_UP, _UP_TO_34B = (
    (0.0, MODEL_8B),
    (MODEL_8B, INFINITY),
    (MODEL_8B, MODEL_34B),
    (MODEL_34B, INFINITY),
    (0.0, MODEL_34B),
)

ROWS: Final[tuple[Row, ...]] = (
    # Learning rate.
    Row(
        "learning_rate", FULL, _UNDER_5K, _UP_TO_8B, (1e-6, 2e-6, 5e-6), (1e-6, 1e-5), "S0-003 S1-007 S1-119 S1-163 S2-002 S3-031", BALANCED
    ),
    Row("learning_rate", FULL, _5K_50K, _UP_TO_8B, (5e-6, 1e-5, 2e-5), (1e-6, 3e-5), "S0-003 S1-008 S1-122 S2-002 S3-031"),
    Row("learning_rate", FULL, _OVER_50K, _UP_TO_8B, (5e-6, 1e-5, 2e-5), (1e-6, 3e-5), "S1-009 S1-123 S1-192 S2-002 S2-007"),
    Row("learning_rate", FULL, _UNDER_5K, _9B_UP, (1e-6, 1e-6, 3e-6), (1e-6, 5e-6), "S2-007 S3-194"),
    Row("learning_rate", FULL, _OVER_5K, _9B_UP, (1e-6, 5e-6, 1e-5), (1e-6, 2e-5), "S2-007 S3-194"),
    Row("learning_rate", ("osft",), _ANY, _ANY, (1e-6, 2e-6, 5e-6), (1e-6, 1e-5), "S2-003"),
    Row(
        "learning_rate",
        ("lora",),
        _UNDER_5K,
        _UP_TO_8B,
        (1e-5, 5e-5, 1e-4),
        (1e-5, 2e-4),
        "S0-004 S1-031 S1-182 S2-004 S3-023 S3-028 S3-185",
    ),
    Row("learning_rate", ("lora",), _5K_50K, _UP_TO_8B, (1e-5, 1e-4, 2e-4), (1e-5, 3e-4), "S1-032 S1-127 S1-191 S2-006 S3-010 S3-087"),
    Row("learning_rate", ("lora",), _OVER_50K, _UP_TO_8B, (5e-5, 1e-4, 2e-4), (1e-5, 3e-4), "S1-033 S1-126 S1-128"),
    Row("learning_rate", ("lora",), _UNDER_5K, _9B_34B, (1e-5, 3e-5, 5e-5), (1e-5, 1e-4), "S3-024 S3-029", BALANCED),
    Row("learning_rate", ("lora",), _OVER_5K, _9B_34B, (1e-5, 5e-5, 1e-4), (1e-5, 2e-4), "S3-032 S3-201"),
    Row("learning_rate", ("lora",), _ANY, _35B_UP, (1e-5, 2e-5, 5e-5), (1e-5, 5e-5), "S3-030 S3-187", BALANCED),
    Row(
        "learning_rate",
        ("qlora",),
        _ANY,
        _UP_TO_34B,
        (1e-5, 5e-5, 1e-4),
        (1e-5, 2e-4),
        "S0-005 S1-049 S1-194 S3-021 S3-022 S3-186",
        BALANCED,
    ),
    Row("learning_rate", ("qlora",), _ANY, _35B_UP, (1e-5, 2e-5, 5e-5), (1e-5, 5e-5), "S3-187", BALANCED),
    Row("learning_rate", ("pretraining",), _ANY, _ANY, (3e-4, 6e-4, 6e-4), (1e-5, 1e-3), "S0-006", CONSERVATIVE),
    # Epochs.
    Row("num_epochs", METHODS, _UNDER_1K, _ANY, (2, 3, 5), (1, 5), "S0-015..017 S1-013 S1-043 S1-077 S2-013 S3-049"),
    Row("num_epochs", METHODS, _1K_5K, _ANY, (1, 2, 3), (1, 5), "S1-013 S1-043 S3-048 S3-050"),
    Row("num_epochs", ("lora",), _5K_50K, _ANY, (1, 2, 4), (1, 5), "S1-044 S3-046 S3-051 S3-090"),
    Row("num_epochs", ("sft", "qlora", "osft", "pretraining"), _5K_50K, _ANY, (1, 2, 3), (1, 5), "S1-014 S3-046 S3-051"),
    Row("num_epochs", METHODS, _OVER_50K, _ANY, (1, 1, 3), (1, 3), "S0-018 S1-015 S1-045 S1-078 S3-052"),
    # Effective batch, samples.
    Row("global_batch_size", FINE, _UNDER_1K, _ANY, (16, 32, 64), (8, 64), "S0-019 S1-016 S2-008 S3-039"),
    Row("global_batch_size", FINE, _1K_10K, _ANY, (32, 64, 128), (16, 128), "S1-017 S2-009 S3-038"),
    Row("global_batch_size", FINE, _OVER_10K, _ANY, (64, 128, 256), (32, 512), "S0-019 S1-018 S2-010"),
    Row("global_batch_size", ADAPTERS, _UNDER_5K, _ANY, (16, 32, 64), (8, 64), "S0-020 S0-021 S1-046"),
    Row("global_batch_size", ADAPTERS, _5K_50K, _ANY, (32, 32, 64), (16, 128), "S1-047 S3-038"),
    Row("global_batch_size", ADAPTERS, _OVER_50K, _ANY, (64, 64, 128), (32, 128), "S1-048"),
    Row("global_batch_size", ("pretraining",), _ANY, _ANY, (512, 512, 1024), (256, INFINITY), "S0-022"),
    # Micro-batch, samples a device.
    Row("micro_batch_size", METHODS, _UNDER_5K, _ANY, (2, 4, 4), (1, 16), "S0-023..025 S1-019 S3-040 S3-088 S3-089"),
    Row("micro_batch_size", METHODS, _5K_50K, _ANY, (4, 4, 8), (1, 16), "S0-023..025 S1-020 S3-040"),
    Row("micro_batch_size", METHODS, _OVER_50K, _ANY, (8, 8, 16), (1, 16), "S0-026 S1-021"),
    # Weight decay.
    Row("weight_decay", FINE, _UNDER_5K, _ANY, (0.1, 0.05, 0.01), (0, 0.1), "S0-027 S1-010 S3-077"),
    Row("weight_decay", FINE, _5K_50K, _ANY, (0.01, 0.01, 0.0), (0, 0.1), "S0-027 S1-011"),
    Row("weight_decay", FINE, _OVER_50K, _ANY, (0.01, 0.0, 0.0), (0, 0.1), "S0-027 S1-012"),
    Row("weight_decay", ("lora",), _UNDER_1K, _ANY, (0.05, 0.05, 0.01), (0, 0.1), "S1-189 S3-078"),
    Row("weight_decay", ("lora",), _1K_5K, _ANY, (0.05, 0.01, 0.0), (0, 0.1), "S3-078 S3-092"),
    Row("weight_decay", ("lora",), _OVER_5K, _ANY, (0.01, 0.0, 0.0), (0, 0.1), "S0-028 S1-191"),
    Row("weight_decay", ("qlora",), _ANY, _ANY, (0.01, 0.01, 0.0), (0, 0.1), "S0-029 S1-051"),
    Row("weight_decay", ("pretraining",), _ANY, _ANY, (0.01, 0.01, 0.01), (0, 0.1), "S0-030"),
    # Adapter capacity and regularization.
    Row("lora_rank", ("lora",), _UNDER_1K, _ANY, (4, 4, 8), (4, 64), "S1-034 S1-189 S3-067..071"),
    Row("lora_rank", ("lora",), _1K_5K, _ANY, (4, 8, 16), (4, 64), "S0-031 S1-034 S1-248 S3-067..071"),
    Row("lora_rank", ("lora",), _5K_50K, _ANY, (8, 16, 32), (4, 64), "S0-031 S1-035 S2-043 S3-082"),
    Row("lora_rank", ("lora",), _OVER_50K, _ANY, (16, 32, 64), (4, 64), "S1-036 S3-063..066"),
    Row("lora_rank", ("qlora",), _ANY, _ANY, (16, 16, 64), (16, 64), "S0-032 S1-052"),
    Row(
        "alpha_to_rank",
        ADAPTERS,
        _ANY,
        _ANY,
        (1, 2, 2),
        (0.5, 4),
        "S0-033 S0-034 S1-037..039 S1-053 S1-156..159 S2-046 S3-072..074 S3-083 S3-215",
    ),
    Row("lora_dropout", ("lora",), _UNDER_5K, _ANY, (0.1, 0.05, 0.0), (0, 0.15), "S1-040 S2-048 S3-080"),
    Row("lora_dropout", ("lora",), _5K_50K, _ANY, (0.05, 0.05, 0.0), (0, 0.15), "S1-041 S2-048 S3-084"),
    Row("lora_dropout", ("lora",), _OVER_50K, _ANY, (0.05, 0.0, 0.0), (0, 0.15), "S1-042 S2-048 S3-159"),
    Row("lora_dropout", ("qlora",), _ANY, _ANY, (0.1, 0.05, 0.05), (0, 0.15), "S1-054"),
    Row("unfreeze_rank_ratio", ("osft",), _ANY, _UP_TO_8B, (0.25, 0.5, 0.6), (0.1, 0.75), "S2-030..033 S2-035..037"),
    Row("unfreeze_rank_ratio", ("osft",), _ANY, _9B_UP, (0.2, 0.4, 0.6), (0.1, 0.75), "S2-030..034 S2-036 S2-037"),
    # Stability and evaluation.
    Row("max_grad_norm", METHODS, _ANY, _ANY, (1, 1, 1), (0.1, 5), "S1-022..024 S1-087 S1-250 S3-173"),
    Row("evaluations", METHODS, _ANY, _ANY, (25, 12, 12), (8, 50), "S1-187 S3-178"),
    Row("early_stopping_patience", METHODS, _ANY, _ANY, (3, 3, 3), (2, 5), "S3-174..176"),
)


class SourceRow(NamedTuple):
    """Where one guide alone starts with one parameter: the guide's own number, or the middle of its range."""

    guide: str
    parameter: str
    methods: tuple[str, ...]
    samples: tuple[float, float]
    start: float
    rules: str
    parameters: tuple[float, float] = _ANY


SOURCE_ROWS: Final[tuple[SourceRow, ...]] = (
    # The quick guide of NeMo AutoModel: one table by method.
    SourceRow("000", "learning_rate", FULL, _ANY, 1e-5, "S0-003"),
    SourceRow("000", "learning_rate", ADAPTERS, _ANY, 2e-4, "S0-004 S0-005"),
    SourceRow("000", "learning_rate", ("pretraining",), _ANY, 6e-4, "S0-006"),
    SourceRow("000", "num_epochs", (*FULL, *ADAPTERS), _ANY, 2, "S0-015..017"),
    SourceRow("000", "num_epochs", ("pretraining",), _ANY, 1, "S0-018"),
    SourceRow("000", "global_batch_size", FULL, _ANY, 64, "S0-019"),
    SourceRow("000", "global_batch_size", ADAPTERS, _ANY, 32, "S0-020 S0-021"),
    SourceRow("000", "global_batch_size", ("pretraining",), _ANY, 512, "S0-022"),
    SourceRow("000", "weight_decay", FULL, _ANY, 0.01, "S0-027"),
    SourceRow("000", "weight_decay", ADAPTERS, _ANY, 0.0, "S0-028 S0-029"),
    SourceRow("000", "weight_decay", ("pretraining",), _ANY, 0.01, "S0-030"),
    SourceRow("000", "lora_rank", ("lora",), _ANY, 16, "S0-031 S0-042"),
    SourceRow("000", "lora_rank", ("qlora",), _ANY, 16, "S0-032"),
    SourceRow("000", "alpha_to_rank", ADAPTERS, _ANY, 2, "S0-033 S0-034 S0-042"),
    # The long guide of NeMo AutoModel: tables by data set size, and four scenarios, which speak first.
    SourceRow("001", "learning_rate", FULL, _UNDER_5K, 1e-6, "S1-119"),
    SourceRow("001", "learning_rate", FULL, _5K_50K, 1e-5, "S1-122"),
    SourceRow("001", "learning_rate", FULL, _OVER_50K, 2e-5, "S1-192"),
    SourceRow("001", "learning_rate", ("lora",), _UNDER_5K, 2e-5, "S1-189"),
    SourceRow("001", "learning_rate", ("lora",), _5K_50K, 1e-5, "S1-191"),
    SourceRow("001", "learning_rate", ("lora",), _OVER_50K, 1e-4, "S1-127"),
    SourceRow("001", "learning_rate", ("qlora",), _ANY, 1e-5, "S1-194"),
    SourceRow("001", "num_epochs", FULL, _UNDER_5K, 2, "S1-013"),
    SourceRow("001", "num_epochs", FULL, _5K_50K, 3, "S1-014"),
    SourceRow("001", "num_epochs", FULL, _OVER_50K, 2, "S1-015 S1-192"),
    SourceRow("001", "num_epochs", ("lora",), _UNDER_1K, 3, "S1-189"),
    SourceRow("001", "num_epochs", ("lora",), _1K_5K, 3, "S1-043 S1-077"),
    SourceRow("001", "num_epochs", ("lora",), _5K_50K, 2, "S1-191"),
    SourceRow("001", "num_epochs", ("lora",), _OVER_50K, 2, "S1-045"),
    SourceRow("001", "global_batch_size", FULL, _UNDER_5K, 32, "S1-016 S1-163"),
    SourceRow("001", "global_batch_size", FULL, _5K_50K, 48, "S1-017"),
    SourceRow("001", "global_batch_size", FULL, _OVER_50K, 128, "S1-018 S1-192"),
    SourceRow("001", "global_batch_size", ("lora",), _UNDER_1K, 16, "S1-046 S1-189"),
    SourceRow("001", "global_batch_size", ("lora",), _1K_5K, 24, "S1-046"),
    SourceRow("001", "global_batch_size", ("lora",), _5K_50K, 64, "S1-047 S1-191"),
    SourceRow("001", "global_batch_size", ("lora",), _OVER_50K, 96, "S1-048"),
    SourceRow("001", "global_batch_size", ("qlora",), _ANY, 32, "S1-194"),
    SourceRow("001", "micro_batch_size", FULL, _UNDER_5K, 4, "S1-019 S1-163"),
    SourceRow("001", "micro_batch_size", FULL, _OVER_5K, 8, "S1-020 S1-021 S1-192"),
    SourceRow("001", "micro_batch_size", ("lora",), _UNDER_5K, 4, "S1-189"),
    SourceRow("001", "micro_batch_size", ("lora",), _5K_50K, 8, "S1-191"),
    SourceRow("001", "micro_batch_size", ("qlora",), _ANY, 4, "S1-194"),
    SourceRow("001", "weight_decay", FULL, _UNDER_5K, 0.03, "S1-010"),
    SourceRow("001", "weight_decay", FULL, _5K_50K, 0.01, "S1-011"),
    SourceRow("001", "weight_decay", FULL, _OVER_50K, 0.0, "S1-012 S1-192"),
    SourceRow("001", "weight_decay", ("lora",), _UNDER_1K, 0.05, "S1-189"),
    SourceRow("001", "weight_decay", ("lora",), _1K_5K, 0.0, "S1-182"),
    SourceRow("001", "weight_decay", ("lora",), _5K_50K, 0.0, "S1-191"),
    SourceRow("001", "weight_decay", ("qlora",), _ANY, 0.01, "S1-051 S1-194"),
    SourceRow("001", "lora_rank", ("lora",), _UNDER_1K, 4, "S1-189"),
    SourceRow("001", "lora_rank", ("lora",), _1K_5K, 8, "S1-034 S1-182"),
    SourceRow("001", "lora_rank", ("lora",), _5K_50K, 16, "S1-191"),
    SourceRow("001", "lora_rank", ("lora",), _OVER_50K, 32, "S1-036"),
    SourceRow("001", "lora_rank", ("qlora",), _ANY, 16, "S1-194"),
    SourceRow("001", "alpha_to_rank", ("lora",), _UNDER_5K, 4, "S1-037 S1-182 S1-189"),
    SourceRow("001", "alpha_to_rank", ("lora",), _5K_50K, 2, "S1-038 S1-191"),
    SourceRow("001", "alpha_to_rank", ("lora",), _OVER_50K, 2, "S1-039"),
    SourceRow("001", "alpha_to_rank", ("qlora",), _ANY, 2, "S1-053 S1-194"),
    SourceRow("001", "lora_dropout", ("lora",), _UNDER_1K, 0.1, "S1-040 S1-189"),
    SourceRow("001", "lora_dropout", ("lora",), _1K_5K, 0.05, "S1-040 S1-182"),
    SourceRow("001", "lora_dropout", ("lora",), _5K_50K, 0.05, "S1-041 S1-191"),
    SourceRow("001", "lora_dropout", ("lora",), _OVER_50K, 0.05, "S1-042 S1-182"),
    SourceRow("001", "lora_dropout", ("qlora",), _ANY, 0.1, "S1-194"),
    # Training Hub.
    SourceRow("002", "learning_rate", FINE, _ANY, 5e-6, "S2-002 S2-003"),
    SourceRow("002", "learning_rate", ADAPTERS, _ANY, 1e-5, "S2-004"),
    SourceRow("002", "global_batch_size", FINE, _UNDER_1K, 32, "S2-008"),
    SourceRow("002", "global_batch_size", FINE, _1K_10K, 128, "S2-009"),
    SourceRow("002", "global_batch_size", FINE, _OVER_10K, 256, "S2-010"),
    SourceRow("002", "num_epochs", FINE, _ANY, 2, "S2-013"),
    SourceRow("002", "lora_rank", ADAPTERS, _ANY, 16, "S2-043"),
    SourceRow("002", "alpha_to_rank", ADAPTERS, _ANY, 2, "S2-046"),
    SourceRow("002", "lora_dropout", ADAPTERS, _ANY, 0.0, "S2-048"),
    SourceRow("002", "unfreeze_rank_ratio", ("osft",), _ANY, 0.5, "S2-032"),
    # The lesson, whose rates go by the size of the model.
    SourceRow("003", "learning_rate", ("lora",), _ANY, 2e-4, "S3-087 S3-185", _UP_TO_8B),
    SourceRow("003", "learning_rate", ("lora",), _ANY, 7e-5, "S3-024", _9B_34B),
    SourceRow("003", "learning_rate", ("lora", "qlora"), _ANY, 5e-5, "S3-187", _35B_UP),
    SourceRow("003", "learning_rate", ("qlora",), _ANY, 5e-5, "S3-021 S3-186", _UP_TO_34B),
    SourceRow("003", "learning_rate", FULL, _ANY, 5e-6, "S3-031"),
    SourceRow("003", "num_epochs", METHODS, _UNDER_1K, 3, "S3-049"),
    SourceRow("003", "num_epochs", METHODS, _1K_5K, 2, "S3-050"),
    SourceRow("003", "num_epochs", METHODS, _OVER_5K, 1, "S3-051 S3-052"),
    SourceRow("003", "global_batch_size", (*FULL, *ADAPTERS), _UNDER_1K, 32, "S3-039"),
    SourceRow("003", "global_batch_size", (*FULL, *ADAPTERS), (1e3, INFINITY), 64, "S3-038"),
    SourceRow("003", "micro_batch_size", (*FULL, *ADAPTERS), _ANY, 4, "S3-040 S3-088"),
    SourceRow("003", "lora_rank", ADAPTERS, _ANY, 16, "S3-082"),
    SourceRow("003", "alpha_to_rank", ADAPTERS, _ANY, 2, "S3-073 S3-083"),
    SourceRow("003", "lora_dropout", ADAPTERS, _ANY, 0.05, "S3-084"),
    SourceRow("003", "weight_decay", FULL, _ANY, 0.01, "S3-077 S3-159"),
    SourceRow("003", "weight_decay", ADAPTERS, _ANY, 0.01, "S3-092"),
)

GRID: Final = {"lora_rank": 4, "global_batch_size": 8, "num_epochs": 1, "micro_batch_size": 1}
"""Integer parameters and the multiple that a mean of two rows is rounded to."""


def band(
    parameter: str,
    method: str | None,
    dataset_size: float | None = None,
    model_parameters: float | None = None,
    profile: str = BALANCED,
    *,
    global_batch_size: float | None = None,
) -> Band | None:
    """Where to start and how far to go with one parameter.

    Args:
        parameter: canonical hyperparameter, or ``alpha_to_rank`` or ``evaluations`` (evaluations a run).
        method: one of ``diag.vocabulary.METHODS``; without one there is no band.
        dataset_size: training samples; None takes TYPICAL_SAMPLES for the start and the limits of all sizes.
        model_parameters: number of parameters of the model; None as for dataset_size.
        profile: one of PROFILES or SOURCES.
        global_batch_size: samples a step of this run; the learning rate is scaled to it by the square-root rule.

    Returns:
        The band, None where the guides say nothing.

    Raises:
        ValueError: the profile is unknown.
    """
    if profile not in PROFILES and profile not in SOURCES:
        raise ValueError(f"unknown profile {profile!r}; known are {', '.join((*PROFILES, *SOURCES))}")
    rows = [row for row in ROWS if row.parameter == parameter and method in row.methods]
    if not rows:
        return None
    samples = dataset_size or TYPICAL_SAMPLES
    parameters = model_parameters or TYPICAL_PARAMETERS
    chosen = _at(rows, samples, parameters)
    limits = [
        row
        for row in rows
        if (dataset_size is None or _holds(row.samples, samples)) and (model_parameters is None or _holds(row.parameters, parameters))
    ]
    neighbours = _neighbours(rows, samples, parameters) if dataset_size is not None else [chosen]
    starts = [_mean([row.starts[i] for row in neighbours], parameter) for i in range(len(PROFILES))]
    if dataset_size is not None and model_parameters is not None:
        clip_low, clip_high = (_mean([row.clip[i] for row in neighbours], parameter) for i in range(2))
    else:
        clip_low, clip_high = min(row.clip[0] for row in limits), max(row.clip[1] for row in limits)
    cited = [identity for row in neighbours for identity in cite(row.rules)]
    index = PROFILES.index(profile) if profile in PROFILES else PROFILES.index(BALANCED)
    start = starts[index]
    if profile in SOURCES and (own := _source(SOURCES[profile], parameter, str(method), samples, parameters)) is not None:
        start, source_rules = min(max(own[0], clip_low), clip_high), own[1]
        cited = [*cite(source_rules), *cited]
    arithmetic = ""
    if parameter == "learning_rate" and global_batch_size:
        factor = square_root_factor(_usual_batch(str(method), samples), global_batch_size)
        starts = [min(max(value * factor, clip_low), clip_high) for value in starts]
        # A guide's own rate was meant for its own batch.
        meant = _usual_batch(str(method), samples, profile) if profile in SOURCES else _usual_batch(str(method), samples)
        scaled = start * square_root_factor(meant, global_batch_size)
        if scaled != start:
            arithmetic = f"{show(start)} * sqrt({show(global_batch_size)} / {show(meant)}) = {show(significant(scaled))}"
        start = min(max(scaled, clip_low), clip_high)
        cited += ["S1-072", "S3-043", "S3-044"]
    low, high = min(*starts, start), max(*starts, start)
    return Band(low, start, high, clip_low, clip_high, tuple(dict.fromkeys(cited)), arithmetic)


SHORT_RUN: Final = 500
LONG_RUN: Final = 5000
"""Optimizer steps below and above which a run is short or long, for its warmup (S1-141, S1-143)."""

LONGEST_WARMUP: Final = 1000.0
"""Steps of warmup that no run needs more of (S1-139); half as many again in 4 bits."""

LONGER_IN_4BIT: Final = 1.5
"""What 4-bit weights multiply a warmup by: the guide asks for a longer one and names no factor (S3-021)."""


def warmup(total_steps: float, method: str | None = None, profile: str = BALANCED) -> Band:
    """How many of ``total_steps`` optimizer steps to warm up for, in steps.

    The start never exceeds the upper limit, and the limits never exceed a tenth of the run, except that five steps are always allowed.
    """
    fraction = 0.1 if profile == AGGRESSIVE else 0.05
    tenth = max(0.1 * total_steps, 5.0)
    if total_steps < SHORT_RUN:
        values = (5.0, max(10.0, 0.05 * total_steps), tenth)
        start, clip_low, clip_high, rules = values[_profile_index(profile)], min(5.0, tenth), tenth, "S0-011..013 S1-141 S3-058 S3-059"
    elif total_steps <= LONG_RUN:
        start, clip_low, clip_high, rules = fraction * total_steps, 50.0, max(200.0, tenth), "S1-142 S3-025 S3-091 S3-158"
        clip_low = min(clip_low, tenth)
    else:
        start, clip_low, clip_high, rules = min(fraction * total_steps, LONGEST_WARMUP), 0.0, LONGEST_WARMUP, "S0-014 S1-139 S1-143"
    cited = cite(rules)
    own = _source_warmup(SOURCES[profile], method, total_steps) if profile in SOURCES else None
    if own is not None:
        start, cited = own[0], tuple(dict.fromkeys((*cite(own[1]), *cited)))
    if method == "qlora" and profile != AGGRESSIVE:
        longest = LONGER_IN_4BIT * LONGEST_WARMUP
        start, clip_high, cited = start * LONGER_IN_4BIT, max(clip_high, min(tenth, longest)), (*cited, "S3-021")
    start = min(max(start, clip_low), clip_high)
    return Band(min(clip_low, start), start, clip_high, clip_low, clip_high, cited)


def square_root_factor(old_batch: float, new_batch: float) -> float:
    """What a change of the effective batch multiplies the learning rate by: the square root of the ratio.

    Only the part of the change inside BATCH_COUPLING counts, and a change of the number of devices counts only as far as the batch
    really grows (S1-072, S2-060, S3-043, S3-044, S3-180..182).
    """
    low, high = BATCH_COUPLING
    return math.sqrt(min(max(new_batch, low), high) / min(max(old_batch, low), high))


def method_factor(old: str, new: str, profile: str = BALANCED, total_steps: float | None = None) -> float:
    """What a change between full fine-tuning and adapters multiplies the learning rate by (S1-065, S1-066, S1-125)."""
    if (old in ADAPTERS) == (new in ADAPTERS):
        return 1.0
    factor = METHOD_FACTOR.get(profile, METHOD_FACTOR[BALANCED])
    if profile == AGGRESSIVE and total_steps is not None and total_steps < MINIMUM_STEPS:
        factor = SHORT_RUN_METHOD_FACTOR
    return factor if new in ADAPTERS else 1.0 / factor


def guarded_batch(dataset_size: float, num_epochs: float, global_batch_size: int) -> int:
    """The batch, made smaller where the run would have fewer than MINIMUM_STEPS steps, but not below MINIMUM_BATCH samples."""
    affordable = math.floor(dataset_size * num_epochs / MINIMUM_STEPS)
    return max(min(global_batch_size, max(affordable, MINIMUM_BATCH)), 1)


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value < interval[1]


def _at(rows: list[Row], samples: float, parameters: float) -> Row:
    return next(row for row in rows if _holds(row.samples, samples) and _holds(row.parameters, parameters))


def _neighbours(rows: list[Row], samples: float, parameters: float) -> list[Row]:
    """The row that holds, and the one across an edge of the dataset sizes closer than EDGE."""
    probes = (samples / EDGE, samples, samples * EDGE)
    return list(dict.fromkeys(_at(rows, probe, parameters) for probe in probes))


def _mean(values: list[float], parameter: str) -> float:
    """Geometric mean, arithmetic where a value is zero; whole numbers stay on their GRID."""
    if len(set(values)) == 1:
        return values[0]
    if min(values) > 0 and max(values) < INFINITY:
        mean = math.exp(sum(map(math.log, values)) / len(values))
    else:
        mean = sum(values) / len(values)
    grid = GRID.get(parameter)
    return mean if grid is None else float(max(grid * round(mean / grid), grid))


def _source(guide: str, parameter: str, method: str, samples: float, parameters: float) -> tuple[float, str] | None:
    for row in SOURCE_ROWS:
        is_asked = (row.guide, row.parameter) == (guide, parameter) and method in row.methods
        if is_asked and _holds(row.samples, samples) and _holds(row.parameters, parameters):
            return row.start, row.rules
    return None


def _source_warmup(guide: str, method: str | None, total_steps: float) -> tuple[float, str] | None:
    """How many steps one guide warms up for, where it says."""
    if guide == "000":
        return (700.0, "S0-014") if method == "pretraining" else (10.0, "S0-011..013")
    if guide == "001":
        short = total_steps < SHORT_RUN
        return (10.0, "S1-141") if short else (min(0.1 * total_steps, LONGEST_WARMUP), "S1-139 S1-142 S1-143")
    return (0.05 * total_steps, "S3-091") if guide == "003" else None


DISAGREEMENT: Final = 2.0
"""Guides whose starting values lie this factor apart, or further, disagree."""


def starts_by_guide(
    parameter: str,
    method: str,
    dataset_size: float | None = None,
    model_parameters: float | None = None,
    *,
    total_steps: float | None = None,
) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Where each guide that speaks of a parameter starts, by the name of its profile, with the ids of the rows.

    ``warmup_steps`` needs ``total_steps``, the optimizer steps of the run.
    """
    samples, parameters = dataset_size or TYPICAL_SAMPLES, model_parameters or TYPICAL_PARAMETERS
    found: dict[str, tuple[float, str] | None] = {}
    for name, key in SOURCES.items():
        if parameter == "warmup_steps" and total_steps:
            found[name] = _source_warmup(key, method, total_steps)
        else:
            found[name] = _source(key, parameter, method, samples, parameters)
    return {name: (own[0], cite(own[1])) for name, own in found.items() if own is not None}


def disagreement(
    parameter: str,
    method: str,
    dataset_size: float | None = None,
    model_parameters: float | None = None,
    *,
    total_steps: float | None = None,
) -> str:
    """A sentence, with a blank before it, that says where the guides start if they disagree, and what decides; "" if they do not."""
    found = starts_by_guide(parameter, method, dataset_size, model_parameters, total_steps=total_steps)
    starts = {name: value for name, (value, _) in found.items()}
    if len(starts) < 2 or max(starts.values()) < DISAGREEMENT * min(starts.values()) or max(starts.values()) <= 0:
        return ""
    listed = ", ".join(f"{name} at {show(value)}" for name, value in sorted(starts.items(), key=lambda item: (item[1], item[0])))
    from diag.guides.conflicts import conflict_of

    conflict = conflict_of(parameter, method)
    decided = f"; {conflict.decision} (conflict {conflict.number})" if conflict is not None and conflict.decision else ""
    return f" The guides disagree: {listed}{decided}."


def _usual_batch(method: str, samples: float, profile: str = BALANCED) -> float:
    """The effective batch that the learning rates of a profile were meant for: its guide's own where it names one, else the balanced."""
    own = _source(SOURCES[profile], "global_batch_size", method, samples, TYPICAL_PARAMETERS) if profile in SOURCES else None
    if own is not None:
        return own[0]
    candidates = [row for row in ROWS if row.parameter == "global_batch_size" and method in row.methods]
    return _at(candidates, samples, TYPICAL_PARAMETERS).starts[1]


def _profile_index(profile: str) -> int:
    return PROFILES.index(profile) if profile in PROFILES else PROFILES.index(BALANCED)


ORDERED: Final = ("learning_rate", "lora_rank", "num_epochs", "alpha_to_rank")
"""Parameters of which a bolder profile never starts lower."""


@cache
def validate() -> None:
    """Check the tables: every run has one row, starts lie inside their limits, bolder profiles start no lower, cited rules exist.

    Not called when the tables are used, as it reads the register; once a process.

    Raises:
        ValueError: the first thing that is wrong.
    """
    known = rules()
    for row in ROWS:
        what = f"{row.parameter} for {', '.join(row.methods)} at {row.samples} samples, {row.parameters} parameters"
        low, high = row.clip
        if not low < high or not all(low <= start <= high for start in row.starts):
            raise ValueError(f"{what}: {row.starts} is not inside {row.clip}")
        if row.parameter in ORDERED and list(row.starts) != sorted(row.starts):
            raise ValueError(f"{what}: {row.starts} falls from one profile to a bolder one")
        if row.derived not in ("", *PROFILES):
            raise ValueError(f"{what}: {row.derived!r} is no profile")
        _check_citation(what, row.rules, known)
    for own in SOURCE_ROWS:
        what = f"guide {own.guide}: {own.parameter} for {', '.join(own.methods)} at {own.samples} samples"
        if own.guide not in SOURCES.values() or own.parameter not in {row.parameter for row in ROWS} or not own.start >= 0:
            raise ValueError(f"{what}: no such guide, parameter or start")
        _check_citation(what, own.rules, known)
        if strangers := [identity for identity in cite(own.rules) if known[identity].seed != own.guide]:
            raise ValueError(f"{what}: {strangers[0]} is a row of another guide")
    for method in METHODS:
        for parameter in {row.parameter for row in ROWS}:
            _check_tiling(f"{parameter} for {method}", [row for row in ROWS if row.parameter == parameter and method in row.methods], True)
            for guide in SOURCES.values():
                mine = [row for row in SOURCE_ROWS if (row.guide, row.parameter) == (guide, parameter) and method in row.methods]
                _check_tiling(f"guide {guide}: {parameter} for {method}", mine, False)


def _check_citation(what: str, text: str, known: dict[str, Rule]) -> None:
    cited = cite(text)
    if not cited:
        raise ValueError(f"{what}: no rule is cited")
    if unknown := [identity for identity in cited if identity not in known]:
        raise ValueError(f"{what}: there is no row {unknown[0]}")


def _check_tiling(what: str, mine: Sequence[Row | SourceRow], complete: bool) -> None:
    """At most one row for each run, and with ``complete`` exactly one unless there is none at all."""
    samples = sorted({edge for row in mine for edge in row.samples} | {0.0})
    parameters = sorted({edge for row in mine for edge in row.parameters} | {0.0})
    for size in samples:
        for model in parameters:
            hits = sum(_holds(row.samples, size) and _holds(row.parameters, model) for row in mine)
            if hits > 1 or (complete and mine and hits == 0 and INFINITY not in (size, model)):
                raise ValueError(f"{what}: {hits} rows hold at {size} samples, {model} parameters")
