"""Where the guides contradict each other, or themselves, and what is done instead.

A conflict that is about a starting value is settled by the profile; the others are settled once, for everybody. ``decision`` is the
resolution in a few words, for the end of a message; ``resolution`` is the whole of it.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from diag.guides.profiles import ADAPTERS, FINE
from diag.guides.register import GUIDES, cite, rules
from diag.vocabulary import HYPERPARAMETERS, METHODS


class Conflict(NamedTuple):
    """One disagreement.

    Attributes:
        number: its number, from 1.
        title: what is disagreed about.
        guides: keys of the guides on either side; one where a guide contradicts itself.
        resolution: what is done.
        evidence: what speaks for the resolution beyond the guides, "" where nothing had to.
        rules: ids of the rows.
        parameters: canonical parameters whose starting value is in dispute, none where it is not about one.
        methods: methods for which it is.
        decision: the resolution in a few words.
    """

    number: int
    title: str
    guides: tuple[str, ...]
    resolution: str
    evidence: str
    rules: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    decision: str = ""


_STUDY: Final = "A 2025 study of LoRA (Thinking Machines) finds its best rate at about ten times that of full fine-tuning"

CONFLICTS: Final = (
    Conflict(
        1,
        "Where LoRA's learning rate starts",
        ("000", "001", "002", "003"),
        "The profile decides. Conservative follows the most cautious guide (1e-5), aggressive the boldest (2e-4), and balanced takes the "
        "geometric centre of the guide that goes by data set size and the one that goes by model size. A probe of a third, one and three "
        "times the balanced rate settles it for the run at hand.",
        f"{_STUDY}; a 2026 comparison of methods finds that a tuned rate leaves 1-2% between them.",
        cite("S0-004 S1-031 S2-004 S3-028"),
        ("learning_rate",),
        ("lora",),
        "the profile decides, and a probe at a third and at three times the rate settles it",
    ),
    Conflict(
        2,
        "Whether rates of full fine-tuning are too high for LoRA",
        ("003", "001"),
        "They are not: adapters take about ten times the rate. The dangerous copy is the other one, an adapter's rate in full fine-tuning.",
        f"{_STUDY}, and the tables of the guide that says otherwise agree with that.",
        cite("S1-065 S3-009"),
    ),
    Conflict(
        3,
        "How many times the rate of full fine-tuning an adapter takes",
        ("001",),
        "Ten times; five in the conservative profile, fifteen in the aggressive one for runs of fewer than 100 steps.",
        f"{_STUDY}, and higher still in very short runs.",
        cite("S1-065 S1-125"),
    ),
    Conflict(
        4,
        "Whether the learning rate falls or rises with the data set",
        ("002", "001"),
        "Neither by itself. In the guide where it rises the batch rises along, from 16 to 128 samples, and the square root of that is the "
        "rise. The rate is coupled to the batch, and the data set's size moves it no further.",
        "The square-root rule for adaptive optimizers.",
        cite("S2-007"),
        ("learning_rate",),
        FINE,
        "the profile decides, and the rate follows the batch, not the data set",
    ),
    Conflict(
        5,
        "How large the effective batch is",
        ("002", "001", "003"),
        "The profile decides, and a run that would have fewer than 100 optimizer steps gets a smaller batch.",
        "Adapters lose more than full fine-tuning does at large batches (the same 2025 study).",
        cite("S2-009 S2-010"),
        ("global_batch_size",),
        METHODS,
        "the profile decides, as long as the run keeps 100 steps",
    ),
    Conflict(
        6,
        "Whether QLoRA may start at 2e-4",
        ("000", "001", "003"),
        "It starts at 5e-5, in the aggressive profile at 1e-4; from there to 2e-4, where the limits end, lint has a note and no warning.",
        "",
        cite("S0-005 S3-186"),
        ("learning_rate",),
        ("qlora",),
        "balanced starts at 5e-5, and 2e-4 is for those who insist",
    ),
    Conflict(
        7,
        "Upper end of LoRA's rate for a 13B model",
        ("003",),
        "The aggressive profile starts at 1e-4; automatic changes end at 2e-4.",
        "",
        cite("S3-032"),
    ),
    Conflict(
        8,
        "Epochs on few samples: three to five, or never above three",
        ("001", "003"),
        "Three below 1,000 samples, two below 5,000. Five only in the aggressive profile, with early stopping and the best checkpoint.",
        "In pretraining, data repeated four times costs little; fine-tunes memorize at the first epoch boundary.",
        cite("S1-043 S1-077"),
        ("num_epochs",),
        METHODS,
        "the profile decides, and more than three need early stopping",
    ),
    Conflict(
        9,
        "alpha: once, twice, or two to four times the rank, or 32 whatever the rank",
        ("000", "001", "002", "003"),
        "Twice the rank. A fixed alpha of 32 is a warning where the rank is 8 or less, and more than eight times the rank is an error.",
        "With the update divided by the rank, the best learning rate hardly depends on the rank.",
        cite("S1-159"),
        ("alpha_to_rank",),
        ADAPTERS,
        "balanced takes twice the rank",
    ),
    Conflict(
        10,
        "Weight decay of adapters",
        ("000", "001", "003"),
        "By data set size: 0.05 below 1,000 samples, 0.01 below 5,000, 0 above.",
        "",
        cite("S0-028"),
        ("weight_decay",),
        ADAPTERS,
        "it goes by the data set's size",
    ),
    Conflict(
        11,
        "Dropout of adapters",
        ("002", "001", "003"),
        "By data set size; none with the Unsloth backend, whose fast path needs that, unless overfitting was found.",
        "",
        cite("S2-048"),
        ("lora_dropout",),
        ADAPTERS,
        "it goes by the data set's size, and Unsloth takes none",
    ),
    Conflict(
        12,
        "Warmup: ten steps, a tenth, or 3-10% of the run",
        ("000", "001", "003"),
        "By the length of the run: few steps below 500, a twentieth in between, at most 1,000 steps above 5,000.",
        "",
        cite("S0-011..013"),
        ("warmup_steps", "warmup_ratio"),
        METHODS,
        "it goes by the length of the run",
    ),
    Conflict(
        13,
        "What to divide a learning rate by that is too high",
        ("000", "001"),
        "By severity: 2 for oscillation, 3 for repeated spikes, 5 for divergence, 10 for a loss that is not finite in the first steps.",
        "",
        cite("S0-044 S1-062 S1-063"),
    ),
    Conflict(
        14,
        "What to multiply a learning rate by that is too low",
        ("001",),
        "Five where the loss is flat, ten in a second attempt, 2.5 where it falls slowly but steadily.",
        "",
        cite("S1-059 S1-060"),
    ),
    Conflict(
        15,
        "How the rate follows a smaller batch",
        ("001", "003"),
        "By the square root of the ratio, always; in proportion is for optimizers that do not adapt.",
        "",
        cite("S1-069"),
    ),
    Conflict(
        16,
        "The rate at more than 16 accumulation steps: down in proportion, or up with the square root",
        ("003",),
        "Down only to get an fp16 run through; in bf16 the square-root rule holds.",
        "",
        cite("S3-172"),
    ),
    Conflict(
        17,
        "Whether a learning rate carries over to a larger model",
        ("003",),
        "Divided by three for each factor of ten in parameters, which is three to five from 7B to 70B; the share of warmup and alpha over "
        "rank stay, the rank doubles up to 64, and a short run verifies it.",
        "",
        cite("S3-147"),
    ),
    Conflict(
        18,
        "What the keys of rank and alpha are called in NeMo AutoModel",
        ("000", "001"),
        "Changes are written under the keys that the config has, and lint names the key that the framework does not know.",
        "",
        cite("S0-042"),
    ),
    Conflict(
        19,
        "Example configs that validate on training samples and do not shuffle",
        ("001",),
        "Both are findings, and neither is ever written into a config.",
        "",
        cite("S1-108 S1-109"),
    ),
    Conflict(
        20,
        "What a small data set is",
        ("001",),
        "Numbers only: the words stand for different sizes in different places.",
        "",
        cite("S1-106 S1-190"),
    ),
    Conflict(
        21,
        "A verdict of instability for runs that learnt too little",
        ("003",),
        "One verdict a class: a run that learnt too little is UNDERFIT or PLATEAU, and UNSTABLE is for instability.",
        "",
        cite("S3-126"),
    ),
)


def conflict_of(parameter: str, method: str) -> Conflict | None:
    """The conflict about where a parameter starts for a method, None if there is none."""
    return next((entry for entry in CONFLICTS if parameter in entry.parameters and method in entry.methods), None)


@cache
def validate() -> None:
    """Check the table: numbered in order, known guides, parameters and rows, and never two conflicts about one starting value.

    Raises:
        ValueError: the first thing that is wrong.
    """
    disputed: set[tuple[str, str]] = set()
    for number, entry in enumerate(CONFLICTS, start=1):
        what = f"conflict {entry.number}"
        if entry.number != number:
            raise ValueError(f"{what} stands where {number} should")
        if not (entry.title and entry.resolution and entry.rules and set(entry.guides) <= set(GUIDES)):
            raise ValueError(f"{what}: title, resolution, rules or guides are missing or unknown")
        if unknown := [identity for identity in entry.rules if identity not in rules()]:
            raise ValueError(f"{what}: there is no row {unknown[0]}")
        if not set(entry.parameters) <= {*HYPERPARAMETERS, "alpha_to_rank"} or not set(entry.methods) <= set(METHODS):
            raise ValueError(f"{what}: unknown parameters {entry.parameters} or methods {entry.methods}")
        if bool(entry.parameters) != bool(entry.decision):
            raise ValueError(f"{what}: a dispute about a starting value needs a decision, and only such a one")
        pairs = {(parameter, method) for parameter in entry.parameters for method in entry.methods}
        if pairs & disputed:
            raise ValueError(f"{what}: another conflict is about the same starting value")
        disputed |= pairs
