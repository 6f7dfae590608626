"""Causes to ordered changes: which hyperparameter to change to what, and why.

The policy is the table ``LADDERS``: for each cause the remedies to try, in order. Remedies (``diag.remedies``) compute their
numbers from the run's own values; here they are put in order, freed of contradictions and given ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from diag import remedies as rx
from diag.case import Case, best_checkpoint
from diag.check import Finding
from diag.diagnosis import Diagnosis, RankedCause
from diag.fixes import Fix
from diag.guides.profiles import BALANCED
from diag.remedies import Change, Remedy
from diag.run import Run
from diag.vocabulary import DIVERGED, HEALTHY, INCONCLUSIVE, OVERFIT, PLATEAU, UNDERFIT, UNSTABLE

__all__ = ["FORGETTING", "LADDERS", "Fix", "best_checkpoint", "prescribe", "prescribe_against_forgetting"]


LOWER_BY_SEVERITY: Final = rx.scale_learning_rate(
    lambda case: 1 / rx.severity(case), "The learning rate is too high", "S0-044 S1-062 S1-168 S1-202"
)
LOWER_MORE: Final = rx.scale_learning_rate(
    lambda case: 1 / min(3 * rx.severity(case), 10.0), "The learning rate may be far too high", "S0-044 S1-063"
)
HALVE: Final = rx.scale_learning_rate(1 / 2, "A lower learning rate steadies the training", "S1-062 S1-177 S3-033 S3-121")
MEMORIZE_SLOWER: Final = rx.scale_learning_rate(1 / 2, "A lower learning rate memorizes more slowly", "S1-177 S1-207")
RAISE_BY_SLOWNESS: Final = rx.first_of(
    rx.start_as_usual, rx.scale_learning_rate(rx.slowness, "The learning rate is too low", "S1-059 S1-060 S1-166 S1-198 S3-034")
)
RAISE_MORE: Final = rx.scale_learning_rate(
    lambda case: 2 * rx.slowness(case), "The learning rate may be far too low", "S1-059 S1-166 S1-198 S2-005"
)
RAISE_SLIGHTLY: Final = rx.scale_learning_rate(1.5, "A higher learning rate gets further in the same steps", "S3-119")
RAISE_SLOW: Final = rx.scale_learning_rate(2.5, "A higher learning rate gets further in the same steps", "S1-060 S3-124")
CLIP: Final = rx.clip_gradients()
WARM_UP: Final = rx.lengthen_warmup()
LARGER_BATCH: Final = rx.scale_batch(4.0, "The gradient of so few samples is mostly noise", "S1-068 S3-037 S3-121")
CHECK_DATA: Final = rx.advise(
    "data", "Look at the batches{steps}: corrupt, extremely long or wrongly labelled samples.", "S1-204 S1-216 S3-117 S3-122"
)
CHECK_TRAINABLE: Final = rx.advise(
    "requires_grad",
    "Check that weights require gradients, that the optimizer holds them, and that loss mask and template leave tokens to learn from.",
    "S1-199 S1-201 S3-125",
)
INITIALIZE: Final = rx.advise(
    "initialization",
    "Initialize the weights so that the layers keep the scale of their inputs: Kaiming or Xavier, orthogonal with gain 1 if recurrent.",
)
LARGER_MODEL: Final = rx.advise("model", "Try a larger model: this one cannot express the task.", "S1-200")

LADDERS: Final[dict[str, tuple[Remedy, ...]]] = {
    "lr_too_high": (
        rx.when(rx.overflowed_in_fp16, rx.use_bf16),
        LOWER_BY_SEVERITY,
        WARM_UP,
        CLIP,
        LOWER_MORE,
        rx.decay_schedule,
        CHECK_DATA,
    ),
    "lr_too_low": (
        rx.when(
            rx.rewards,
            rx.advise(
                "reward_function",
                "Read samples with their rewards: a reward that does not tell samples of one group apart teaches nothing.",
            ),
        ),
        RAISE_BY_SLOWNESS,
        RAISE_MORE,
        rx.raise_rank,
        rx.when(rx.still_falls, rx.train_longer),
        CHECK_TRAINABLE,
    ),
    "warmup_too_short": (WARM_UP, HALVE, CLIP),
    "schedule_bug": (rx.repair_schedule, rx.when(rx.is_slow, RAISE_SLOW), HALVE),
    "too_many_epochs": (
        rx.together(rx.stop_at_best, rx.when(rx.learnt_too_fast, MEMORIZE_SLOWER)),
        rx.stop_early,
        rx.raise_dropout,
        rx.lower_rank,
        rx.raise_weight_decay,
        MEMORIZE_SLOWER,
        rx.advise("data", "Enlarge or augment the data set.", "S1-178 S1-209 S3-213"),
    ),
    "too_few_epochs": (rx.train_longer, RAISE_SLIGHTLY, RAISE_SLOW),
    "capacity_too_low": (
        rx.widen_layers,
        rx.together(rx.raise_rank, rx.when(rx.has_tiny_rank, rx.widen_targets)),
        rx.raise_unfreeze_ratio,
        rx.widen_targets,
        rx.lower_weight_decay,
        rx.raise_alpha,
        rx.use_dora,
        LARGER_MODEL,
    ),
    "capacity_too_high": (
        rx.lower_rank,
        rx.lower_unfreeze_ratio,
        rx.raise_dropout,
        rx.raise_weight_decay,
        rx.stop_at_best,
        rx.advise("model", "Try a smaller model, or fewer trainable weights.", "S1-083"),
    ),
    "regularization_too_weak": (rx.raise_dropout, rx.raise_weight_decay, rx.stop_at_best, rx.stop_early),
    "weight_decay_too_high": (rx.lower_weight_decay, rx.drop_weight_decay),
    "batch_too_small": (LARGER_BATCH, HALVE, CHECK_DATA),
    "batch_too_large": (rx.more_updates, rx.scale_batch(1 / 2, "So large a batch leaves few updates", "S1-069"), RAISE_SLIGHTLY),
    "gradient_clipping_missing": (CLIP, HALVE, WARM_UP),
    "gradient_clipping_too_tight": (rx.loosen_clipping, RAISE_SLOW),
    "exploding_gradients": (rx.together(CLIP, rx.when(rx.is_from_scratch, INITIALIZE)), LOWER_BY_SEVERITY, WARM_UP),
    "vanishing_gradients": (
        rx.together(
            rx.replace_activation,
            rx.when(
                lambda case: not rx.is_language_model(case),
                rx.advise("normalization", "Put normalization layers or residual connections between the layers."),
            ),
        ),
        RAISE_BY_SLOWNESS,
    ),
    "precision_overflow": (rx.use_bf16, CLIP, rx.split_accumulation, HALVE),
    "frozen_parameters": (rx.together(CHECK_TRAINABLE, rx.restart_learning_rate), RAISE_BY_SLOWNESS, rx.widen_targets),
    "data_corruption": (rx.together(CHECK_DATA, CLIP), HALVE),
    "eval_leak": (
        rx.advise(
            "validation_set",
            "Take the evaluation samples from a split that training never sees, and remove duplicates of training samples from it.",
            "S1-108 S1-003",
        ),
    ),
    "eval_missing": (rx.hold_out,),
    "eval_too_sparse": (rx.evaluate_often,),
    "resume_discontinuity": (
        rx.advise(
            "resume",
            "Resume optimizer, scheduler, random state and data position together with the weights{steps}.",
            "S2-027",
        ),
        WARM_UP,
    ),
    "reward_collapse": (
        rx.together(
            rx.scale_learning_rate(
                lambda case: 1 / rx.DIVERGENCE_FACTOR, "The policy moves faster than the reward can follow", "S1-063 S1-177"
            ),
            rx.advise(
                "kl_coefficient",
                "Raise the KL coefficient (beta), twofold or from 0 to 0.04, to hold the policy near its start, and make one update on each"
                " batch of samples rather than many.",
            ),
        ),
        CLIP,
        rx.advise(
            "reward_function", "Read samples from before and after the fall{steps}: the reward may be exploited or may have gone constant."
        ),
    ),
    "out_of_memory": (
        rx.halve_micro_batch,
        rx.checkpoint_activations,
        rx.shorten_sequences,
        rx.load_in_4bit,
        rx.train_adapters,
        rx.lower_unfreeze_ratio,
        rx.advise("sharding", "Shard the model over the GPUs (FSDP2, or model splitting).", "S1-211 S2-056 S2-057"),
    ),
    "throughput_degraded": (
        rx.advise(
            "data_loading",
            "Look at what slows the steps{steps}: data loader workers, storage, logging, other jobs on the machine.",
            "S3-100",
        ),
        rx.pack_sequences,
        rx.double_micro_batch,
    ),
}
"""Cause to the remedies to try, in order; a remedy that changes nothing in the run at hand is passed over."""

FORGETTING: Final[tuple[Remedy, ...]] = (
    rx.keep_base_weights,
    rx.preserve_subspace,
    rx.scale_learning_rate(1 / 2, "A lower learning rate leaves the model nearer to its base", "S1-137 S1-215"),
    rx.one_epoch_less,
)
"""What to try when benchmarks of the base model fell, in order (F19): no cause of a training log, so it stands beside the ladders."""

FALLBACK: Final = {
    OVERFIT: "too_many_epochs",
    UNDERFIT: "too_few_epochs",
    PLATEAU: "lr_too_low",
    UNSTABLE: "lr_too_high",
    DIVERGED: "lr_too_high",
}
"""What a sick verdict without any named cause is treated for."""

EXPLAINS: Final[dict[str, frozenset[str]]] = {
    "schedule_bug": frozenset({"lr_too_low", "too_few_epochs", "warmup_too_short"}),
    "gradient_clipping_too_tight": frozenset({"lr_too_low", "too_few_epochs"}),
    "frozen_parameters": frozenset({"lr_too_low", "vanishing_gradients", "too_few_epochs"}),
    "weight_decay_too_high": frozenset({"lr_too_low", "capacity_too_low"}),
    "precision_overflow": frozenset({"lr_too_high", "exploding_gradients"}),
    "data_corruption": frozenset({"lr_too_high"}),
    "batch_too_small": frozenset({"lr_too_high"}),
    "batch_too_large": frozenset({"too_few_epochs", "lr_too_low"}),
    "eval_leak": frozenset({"too_few_epochs", "too_many_epochs", "lr_too_low"}),
}
"""What looks like a second cause but follows from the first: left out of the first prescription, as the first cure may suffice."""

USUAL_LEARNING_RATE: Final = {"adam": 3e-3, "sgd": 0.1}
"""Upper end of the usual learning rates of an optimizer: three times Adam's default, and the rate that SGD with momentum takes in image
classification. Where a flat loss may come from a rate too low or too high, one above this is taken to be too high."""

HYGIENE: Final = frozenset({"eval_missing", "eval_too_sparse", "eval_leak", "throughput_degraded", "out_of_memory"})
"""Causes worth treating in a run that is healthy otherwise: they say nothing against how the model learned."""

JOINT_SCORE: Final = 0.5
"""A second cause at least this probable is treated together with the first one."""
JOINT_CAUSES: Final = 2
"""How many causes the first prescription treats at most: with more changes at once nobody learns which one helped."""
WORTH_TRYING: Final = 0.05
"""Causes less probable than this are not treated."""
DISCOUNT: Final = 0.6
"""What each further rung of a cause's ladder is worth of the one before it, when rungs of several causes are put in order."""
MOST_TURNS: Final = 2
"""How many ranks may turn the same parameter: more than two tries at one knob are a sweep."""
MAX_RANK: Final = 5
"""The prescription is this many attempts long at most: the guides plan 3 to 5 runs a data set (S1-097)."""


class _Rung(NamedTuple):
    """A remedy of one cause that does something: its changes, and what they answer."""

    cause: RankedCause
    place: int
    changes: tuple[Change, ...]


def prescribe(run: Run, diagnosis: Diagnosis, findings: Sequence[Finding], *, profile: str = BALANCED) -> list[Fix]:
    """What to change, most promising first.

    Rank 1 holds the first remedy of the leading cause, and of the second one where it is about as sure; every later rank is
    one more remedy, to be tried if those before it did not help. Within a rank no parameter is set twice, and no later rank
    turns a parameter the other way than rank 1 does. Companion changes (the learning rate of a larger batch, the alpha of a
    higher rank) stay with the change they belong to.

    Args:
        run: the run.
        diagnosis: its verdict and ranked causes.
        findings: all findings, for their evidence.
        profile: how boldly to read the guides, one of ``diag.guides.PROFILES`` or ``SOURCES``.

    Returns:
        Fixes sorted by rank; empty for a healthy run.
    """
    case = Case(run, diagnosis, findings, profile)
    causes = _causes(case)
    ladders = [list(_climb(case, cause)) for cause in causes]
    first = [ladder[0] for cause, ladder in zip(causes, ladders, strict=True) if ladder and _is_joint(cause, causes)]
    if not first and (leading := next((ladder for ladder in ladders if ladder), None)):
        first = [leading[0]]
    rest = [rung for ladder in ladders for rung in ladder if rung not in first]
    order = {cause.cause: index for index, cause in enumerate(causes)}
    rest.sort(key=lambda rung: (-rung.cause.score * DISCOUNT**rung.place, order[rung.cause.cause], rung.place))
    return _rank(first, rest)


def prescribe_against_forgetting(case: Case, because: str, earlier: Sequence[Fix] = ()) -> list[Fix]:
    """What to change when benchmarks of the base model fell (F19), one change a rank.

    Args:
        case: the run that was trained.
        because: code of the finding that this answers.
        earlier: what is prescribed already. Its first rank stays the first, and nothing here turns a parameter of it; its later ranks
            follow after what is said here.

    Returns:
        All fixes, sorted by rank, MAX_RANK ranks at most.
    """
    cause = RankedCause("forgetting", 1.0, (because,))
    first = [fix for fix in earlier if fix.rank == 1]
    taken = {fix.parameter for fix in first}
    changes = [found for remedy in FORGETTING if (found := remedy(case)) and found[0].parameter not in taken]
    rungs = [_Rung(cause, place, found) for place, found in enumerate(changes)]
    own = [replace(fix, rank=fix.rank + bool(first)) for fix in _rank(rungs[:1], rungs[1:])]
    taken |= {fix.parameter for fix in own}
    rest = [fix for fix in earlier if fix.rank > 1 and fix.parameter not in taken]
    last = max((fix.rank for fix in [*first, *own]), default=0)
    ranks = {rank: last + place for place, rank in enumerate(sorted({fix.rank for fix in rest}), start=1)}
    fixes = [*first, *own, *(replace(fix, rank=ranks[fix.rank]) for fix in rest)]
    return [fix for fix in fixes if fix.rank <= MAX_RANK]


def _is_joint(cause: RankedCause, causes: Sequence[RankedCause]) -> bool:
    """Whether a cause is treated in the first prescription."""
    leading = causes[0]
    if cause is leading:
        return True
    return cause in causes[:JOINT_CAUSES] and cause.score >= JOINT_SCORE and cause.cause not in EXPLAINS.get(leading.cause, frozenset())


def _causes(case: Case) -> list[RankedCause]:
    """The causes to treat, most probable first."""
    diagnosis = case.diagnosis
    causes = [
        cause for index, cause in enumerate(diagnosis.causes) if cause.cause in LADDERS and (index == 0 or cause.score >= WORTH_TRYING)
    ]
    if diagnosis.verdict == HEALTHY:
        return [cause for cause in causes if cause.cause in HYGIENE]
    names = {cause.cause for cause in causes}
    if {"lr_too_low", "lr_too_high"} <= names and _is_high(case):
        causes = [cause for cause in causes if cause.cause != "lr_too_low"]
        causes.sort(key=lambda cause: cause.cause != "lr_too_high")
    if causes:
        return causes
    if diagnosis.verdict in FALLBACK:
        return [RankedCause(FALLBACK[diagnosis.verdict], diagnosis.confidence)]
    if diagnosis.verdict == INCONCLUSIVE and not any(True for _ in case.run.eval_losses()):
        return [RankedCause("eval_missing", diagnosis.confidence)]
    if diagnosis.verdict == INCONCLUSIVE:
        return [RankedCause("eval_too_sparse", diagnosis.confidence)]
    return []


def _is_high(case: Case) -> bool:
    """Whether the learning rate is above what its optimizer usually takes."""
    name = str(case.value("optimizer") or "").lower()
    usual = next((rate for family, rate in USUAL_LEARNING_RATE.items() if family in name), None)
    return usual is not None and case.learning_rate is not None and case.learning_rate > usual


def _climb(case: Case, cause: RankedCause) -> Iterator[_Rung]:
    place = 0
    for remedy in LADDERS[cause.cause]:
        if changes := remedy(case):
            yield _Rung(cause, place, changes)
            place += 1


def _rank(first: Sequence[_Rung], rest: Sequence[_Rung]) -> list[Fix]:
    fixes: list[Fix] = []
    turned: dict[str, int] = {}
    done: set[tuple[str, Any, Any]] = set()
    set_now: set[str] = set()
    for rung in first:
        if rung.changes[0].parameter in set_now:
            continue
        for change in rung.changes:
            if change.parameter in set_now:
                continue
            set_now.add(change.parameter)
            turned[change.parameter] = change.direction
            done.add(_key(change))
            fixes.append(_fix(change, rung, 1))
    turns = Counter(turned.keys())
    rank = 1
    for rung in rest:
        if rank == MAX_RANK:
            break
        if any(turned.get(change.parameter, 0) * change.direction < 0 for change in rung.changes if not change.companion):
            continue
        new = [change for change in rung.changes if _key(change) not in done]
        if not new or all(change.companion for change in new) or turns[rung.changes[0].parameter] >= MOST_TURNS:
            continue
        turns[rung.changes[0].parameter] += 1
        rank += 1
        kept = [change for change in rung.changes if change in new or change.companion]
        for change in kept:
            done.add(_key(change))
            fixes.append(_fix(change, rung, rank))
    return fixes


def _key(change: Change) -> tuple[str, Any, Any]:
    """What makes two changes the same: parameter, value (its text, as values may be lists), factor; advice also by its words."""
    return change.parameter, repr(change.new), change.factor if change.new is not None or change.factor else change.reason


def _fix(change: Change, rung: _Rung, rank: int) -> Fix:
    because = rung.cause.because[0] if rung.cause.because else rung.cause.cause
    return Fix(
        change.parameter,
        change.old,
        change.new,
        change.factor,
        rank,
        because,
        change.reason,
        tuple(dict.fromkeys(change.rules)),
        change.applicability,
    )
