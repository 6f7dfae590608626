"""The guides' advice in order: which symptom calls for which changes, how runs are planned, and what has to hold besides.

``diag.prescription.LADDERS`` and the lint rules carry the fixes; here stands what they are measured against, each with the rows it
condenses. A factor multiplies the current value, and every result is clipped to the limits of the profile tables. A change of the batch
takes the learning rate along by the square root, a change of the rank keeps alpha over rank, and running out of memory never changes the
effective batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from diag.guides.register import cite, rules
from diag.vocabulary import CAUSES

TUNING: Final = "tuning"
REPLAY: Final = "replay"
LATER: Final = (TUNING, REPLAY)
"""Parts of the tool that some rows belong to and that are not there yet: the planner of sweeps, and short confirming runs."""


class Policy(NamedTuple):
    """One symptom and its ordered changes.

    Attributes:
        id: ``F01`` to ``F28``.
        symptom: what is seen.
        steps: what to change, first thing first.
        guard: when not to, or what to mind; "" for nothing.
        rules: ids of the rows.
        causes: causes whose ladder carries it.
        linted: those of the rows that a config already breaks, so that lint carries them.
        gated: codes of the gate's findings that carry it, where it takes more than a training log to see the symptom.
        waiting: why no ladder, lint rule or gate carries it, "" where one does.
    """

    id: str
    symptom: str
    steps: tuple[str, ...]
    guard: str
    rules: tuple[str, ...]
    causes: tuple[str, ...] = ()
    linted: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    waiting: str = ""


class Item(NamedTuple):
    """One entry of the planner's rules (``P…``) or of what has to hold besides the fixes (``H…``)."""

    id: str
    title: str
    text: str
    rules: tuple[str, ...]


POLICIES: Final = (
    Policy(
        "F01",
        "a loss that is not finite within the first steps",
        ("bf16 in the place of fp16", "clip at 1.0", "learning rate / 10", "warm up for a tenth", "look at the data"),
        "more epochs are never the answer",
        cite("S0-044 S1-063 S1-088 S1-203 S1-205"),
        ("lr_too_high", "precision_overflow"),
    ),
    Policy(
        "F02",
        "divergence without recovery",
        ("learning rate / 5", "warm up for a tenth", "clip at 1.0", "restart from the last good checkpoint, past the batches around it"),
        "at the lowest rate it is the data",
        cite("S0-044 S1-168 S3-169"),
        ("lr_too_high", "exploding_gradients"),
    ),
    Policy(
        "F03",
        "spikes in the first tenth of the run",
        ("warmup from 5% to 10%, or twice as long", "learning rate / 2", "clip at 1.0"),
        "only if the beginning alone is spiky",
        cite("S1-144 S3-157 S3-158"),
        ("warmup_too_short",),
    ),
    Policy(
        "F04",
        "spikes again and again",
        ("clip at 1.0", "learning rate / 3", "look at the batches of the spikes", "clip at the 90th percentile of the norms"),
        "one spike that heals is only worth a note",
        cite("S1-062 S1-202 S1-204"),
        ("lr_too_high", "data_corruption"),
    ),
    Policy(
        "F05",
        "oscillation",
        ("learning rate / 2", "twice the warmup", "twice the batch, if the noise is the batch's"),
        "in the first 50 steps it counts double",
        cite("S3-033 S3-121"),
        ("lr_too_high", "batch_too_small"),
    ),
    Policy(
        "F06",
        "a loss that is flat for the first 50-100 steps",
        (
            "check what is trainable, the loss mask, the template",
            "learning rate x 5",
            "x 10",
            "twice the rank, or all layers",
            "larger model",
        ),
        "up only without spikes and with a quiet gradient norm",
        cite("S1-059 S1-166 S1-198..201 S3-034"),
        ("lr_too_low", "frozen_parameters", "capacity_too_low"),
    ),
    Policy(
        "F07",
        "a slow but steady fall",
        ("learning rate x 2.5", "half the batch"),
        "the fall has to be significant",
        cite("S1-060 S1-069"),
        ("lr_too_low", "batch_too_large"),
    ),
    Policy(
        "F08",
        "a plateau at a high loss, in training and evaluation",
        ("weight decay to 0.01, then 0", "twice the rank", "all linear layers", "alpha to twice the rank", "DoRA", "larger model"),
        "the double rank stays only for a gain of over 2%; 32 and more need 10,000 samples, code or mathematics",
        cite("S0-048 S1-081 S1-082 S1-084 S1-151 S1-157 S2-005 S2-044 S3-064..066 S3-156"),
        ("capacity_too_low", "weight_decay_too_high"),
    ),
    Policy(
        "F09",
        "both losses flat within the first epoch",
        ("learning rate x 3", "call the data exhausted, and stop"),
        "",
        cite("S1-076"),
        ("lr_too_low",),
    ),
    Policy(
        "F10",
        "a noisy loss",
        ("batch x 2 to x 4", "learning rate / 2", "look at the data"),
        "not beyond the largest batch of the tables; scatter alone is not enough",
        cite("S1-068 S3-120 S3-122"),
        ("batch_too_small",),
    ),
    Policy(
        "F11",
        "overfitting: the evaluation loss ends over 5% above its best",
        (
            "keep the best checkpoint, stop early",
            "epochs down to the best step",
            "half the rank, not below 4",
            "dropout + 0.05, up to 0.15",
            "weight decay 0.01, 0.05, 0.1",
            "learning rate / 2 to / 5",
            "more data",
        ),
        "the learning rate comes first where the best evaluation lies in the first third; over 10% is severe",
        cite("S0-045 S1-075 S1-080 S1-085 S1-172..178 S1-206..209 S3-115..117 S3-183 S3-205 S3-208..213"),
        ("too_many_epochs", "capacity_too_high", "regularization_too_weak"),
    ),
    Policy(
        "F12",
        "evaluation flat while training falls",
        ("take the checkpoint from where it became flat", "one epoch less"),
        "a note, not an alarm",
        cite("S1-074"),
        ("too_many_epochs",),
    ),
    Policy(
        "F13",
        "evaluation still falling at the end",
        ("one or two epochs more", "learning rate x 1.5 if the schedule had run out"),
        "only for a predicted gain above 1% whose lower bound is above 0",
        cite("S1-073 S3-118 S3-119"),
        ("too_few_epochs",),
    ),
    Policy(
        "F14",
        "less than 5% better than before training",
        ("check format and template", "learning rate x 2.5", "one epoch more"),
        "measured from an evaluation before training, not from the first one within it",
        cite("S3-123..125"),
        ("lr_too_low", "too_few_epochs"),
    ),
    Policy(
        "F15",
        "out of memory",
        (
            "half the micro-batch, twice the accumulation",
            "recompute activations",
            "pack or shorten, not below the 95th percentile",
            "adapters, then 4 bits",
            "a lower OSFT ratio",
            "shard the model",
        ),
        "the effective batch stays; never 4 and 8 bits together",
        cite("S0-002 S0-046 S0-047 S1-070 S1-152 S1-210..213 S2-037 S2-051 S2-056 S2-057"),
        ("out_of_memory",),
    ),
    Policy(
        "F16",
        "idle devices, slow steps",
        ("twice the micro-batch", "pack short samples", "more data loader workers"),
        "if memory allows",
        cite("S1-071 S1-148 S1-150"),
        ("throughput_degraded",),
    ),
    Policy(
        "F17",
        "gradient norms above 5, or most steps clipped",
        ("clip at 1.0 if nothing clips", "learning rate / 2", "twice the warmup"),
        "with Adam, clipping more than half of the steps means a rate too high",
        cite("S1-088 S3-173"),
        ("exploding_gradients", "gradient_clipping_missing", "gradient_clipping_too_tight"),
    ),
    Policy(
        "F18",
        "fp16 overflow, a falling loss scale",
        ("bf16", "clip at 1.0", "fewer than 16 accumulation steps"),
        "",
        cite("S3-168 S3-170..172"),
        ("precision_overflow",),
    ),
    Policy(
        "F19",
        "forgetting: a benchmark of the base model falls",
        ("adapters instead of all weights", "OSFT at 0.1-0.3", "learning rate / 2", "one epoch less"),
        "needs the benchmark before and after",
        cite("S1-137 S1-215 S2-031"),
        gated=("GAT020",),
    ),
    Policy(
        "F20",
        "repetitive or verbatim output",
        ("an earlier checkpoint", "one epoch less", "the changes for overfitting", "check data and template"),
        "",
        cite("S1-171 S1-214..217"),
        waiting="no training log holds generated text; what overfitting shows in the losses is treated under F11",
    ),
    Policy(
        "F21",
        "no evaluation",
        ("hold out a random 5-10% before training", "evaluate a dozen times"),
        "never judged well on the training loss alone",
        cite("S3-112 S3-188 S3-191 S3-192"),
        ("eval_missing", "eval_too_sparse"),
        cite("S3-191"),
    ),
    Policy(
        "F22",
        "early stopping that cannot work",
        (
            "load the best checkpoint at the end",
            "the metric is eval_loss, less is better",
            "save on evaluations",
            "patience 3, threshold 0.001",
        ),
        "an error where the callback lacks the best checkpoint",
        cite("S3-174..176 S3-179"),
        ("too_many_epochs",),
        cite("S3-174..176"),
    ),
    Policy(
        "F23",
        "another method, batch, number of devices or model",
        (
            "method: rate x 10 or / 10",
            "batch and devices: square root, between 16 and 256",
            "model: rate / 3 for ten times the size, rank x 2",
        ),
        "devices count only as far as the batch grows",
        cite("S1-066 S1-072 S3-145 S3-180 S3-196 S3-221..225"),
        linted=cite("S1-066 S3-196"),
    ),
    Policy(
        "F24",
        "a fault in data or template",
        ("check preprocessing, loss mask and unmasking, padding that masks the end token, the prompt format",),
        "",
        cite("S1-199 S1-216 S1-217 S2-025 S2-026 S2-041 S3-103"),
        ("data_corruption", "frozen_parameters"),
        cite("S2-041 S3-103"),
    ),
    Policy(
        "F25",
        "samples lost to the sequence length",
        ("the 95th to 99th percentile of the lengths", "say what share is dropped"),
        "a warning above 5%",
        cite("S2-016 S2-019 S2-020"),
        linted=cite("S2-016 S2-019 S2-020"),
    ),
    Policy(
        "F26",
        "good, and wanted cheaper",
        ("half the rank, and verify",),
        "optional",
        cite("S1-086"),
        waiting="whether half the rank is as good takes another run: tuning plans it",
    ),
    Policy(
        "F27",
        "a high rate with a short warmup and a small batch",
        ("learning rate / 3, warmup 10%, batch x 2, together",),
        "nothing else helps while the three stand",
        cite("S3-011"),
        linted=cite("S3-011"),
    ),
    Policy(
        "F28",
        "a higher rate would help, and destabilizes",
        ("twice alpha at the same rate, up to twice the rank",),
        "compare both",
        cite("S3-075"),
        ("capacity_too_low",),
    ),
)
"""Symptom to ordered changes."""

PLANNING: Final = (
    Item(
        "P01",
        "order",
        "the learning rate, then batch and rank, then epochs and warmup, then regularization",
        cite("S0-050..054 S1-090..096 S3-202"),
    ),
    Item(
        "P02",
        "learning rate",
        "three values over a factor of ten, a fifth of the planned steps each, judged by a smooth fall and the last value",
        cite(
            "S0-003..005 S0-044 S0-051 S1-009 S1-031..033 S1-049 S1-116 S1-122..124 S1-126 S1-128 S1-131 S1-132 S1-167 S1-182 S1-191 "
            "S1-194 S1-257 S2-004 S2-005 S3-010 S3-022 S3-024 S3-029 S3-030 S3-032 S3-087 S3-127 S3-146 S3-152..154 S3-181 S3-185 S3-187 "
            "S3-193 S3-201"
        ),
    ),
    Item("P03", "rank", "doubled, and kept for a gain above 2%", cite("S3-155 S3-156")),
    Item(
        "P04",
        "budget",
        "of 20 GPU-hours: 1 for rates, 2 for ranks, 2 for warmup and weight decay, 8 for the run, 1 for evaluation, 6 in reserve",
        cite("S3-161..167"),
    ),
    Item("P05", "search space", "the ranges that a sampler draws from", cite("S3-008 S3-127..132 S3-148 S3-149")),
    Item(
        "P06",
        "search method",
        "random below 10 trials, even at 15-20, a model of the objective above, given 5 dimensions, half an hour a trial and smoothness",
        cite("S3-216..220"),
    ),
    Item(
        "P07",
        "trials",
        "20 of one epoch, the first 5 random, patience 3, seed 42, a failure counts as infinite, resumable",
        cite("S3-133 S3-135 S3-136 S3-138..140"),
    ),
    Item(
        "P08",
        "smaller model first",
        "15 trials on the small one, 3 verified on the large one: 80-90% of the gain for 10-20% of the cost",
        cite("S3-142 S3-143 S3-198 S3-199 S3-226"),
    ),
    Item("P09", "runs", "3 to 5 a data set", cite("S1-097 S1-252")),
    Item("P10", "worth", "5-6 runs in order reach 80-90% of what a search does, for 20-30% of its cost", cite("S3-160")),
)
"""How a series of runs is planned."""

BESIDES: Final = (
    Item(
        "H01",
        "healthy",
        "a fast early fall and a good plateau, a steady fall of the training loss, evaluation falling or flat, a smooth first tenth: keep "
        "the rate and the clipping at 1.0, tune only min_lr and warmup",
        cite("S1-061 S1-089 S1-164 S1-165 S3-035"),
    ),
    Item(
        "H02",
        "overfitting",
        "training falls and evaluation rises, in loss or perplexity, or the output degrades; whatever the number of epochs",
        cite("S1-064 S1-170 S2-014 S3-047 S3-054 S3-114 S3-206 S3-207"),
    ),
    Item("H03", "after overfitting", "where capacity is short once it is cured, weight decay goes back to 0.01", cite("S3-079")),
    Item(
        "H04",
        "batch",
        "micro-batch x accumulation x devices, a whole number of accumulation steps; the rate follows its square root",
        cite("S1-224 S2-060 S3-036 S3-043"),
    ),
    Item(
        "H05",
        "adapters",
        "effective rate = rate x alpha / rank; parameters = the sum of rank x (inputs + outputs), under 1% of the model",
        cite("S1-180 S3-018..020 S3-060 S3-214"),
    ),
    Item("H06", "warmup", "steps = share x all steps", cite("S3-056")),
    Item("H07", "evaluation", "samples between evaluations = steps between x micro-batch x accumulation", cite("S3-177")),
    Item("H08", "4 bits", "AdamW, nf4, bf16 compute, double quantization", cite("S1-050 S1-055..057 S2-052")),
    Item("H09", "OSFT", "trainable dimensions = ratio x the smaller side of a matrix", cite("S2-035")),
    Item("H10", "not for fine-tuning", "epochs, batches and rates of training from scratch", cite("S3-004 S3-005")),
    Item(
        "H11",
        "costs",
        "13.5 bytes a parameter on disk for a full state; 500-1000 USD for a 70B sweep; 5-15% to gain",
        cite("S2-028 S3-013 S3-197"),
    ),
    Item("H12", "learning rate finder", "ends at four times the best loss", cite("S3-104..106 S3-108")),
    Item("H13", "epochs", "fewer the more samples there are", cite("S3-048")),
    Item("H14", "transfer", "the claim that rates carry over unchanged is kept as conflict 17 only", cite("S3-144")),
)
"""What healthy means, formulas, and facts that no fix carries."""


@cache
def validate() -> None:
    """Check the tables: ids in order, known causes and rows, and every policy carried by something or with a reason why not.

    Raises:
        ValueError: the first thing that is wrong.
    """
    tables: tuple[tuple[str, Sequence[Policy | Item]], ...] = (("F", POLICIES), ("P", PLANNING), ("H", BESIDES))
    for letter, table in tables:
        for number, entry in enumerate(table, start=1):
            if entry.id != f"{letter}{number:02d}":
                raise ValueError(f"{entry.id} stands where {letter}{number:02d} should")
            if unknown := [identity for identity in entry.rules if identity not in rules()]:
                raise ValueError(f"{entry.id}: there is no row {unknown[0]}")
    for policy in POLICIES:
        if unknown := [cause for cause in policy.causes if cause not in CAUSES]:
            raise ValueError(f"{policy.id}: there is no cause {unknown[0]}")
        if not (policy.symptom and policy.steps and policy.rules and set(policy.linted) <= set(policy.rules)):
            raise ValueError(f"{policy.id}: symptom, steps or rows are missing, or lint carries a row that is not its own")
        if bool(policy.causes or policy.linted or policy.gated) == bool(policy.waiting):
            raise ValueError(f"{policy.id}: it is carried by causes, lint rules or the gate, or it says why it waits")
