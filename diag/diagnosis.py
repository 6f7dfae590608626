"""Findings to one verdict and ranked causes: the only place where evidence is weighed.

Every finding carries weights of evidence in nats (natural-log odds) for verdicts and causes. They are added up, as
independent evidence is, and read as probabilities: a softmax over verdicts, a logistic function for each cause, since
several causes can be true at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diag.check import Finding
from diag.examination import is_reward_driven
from diag.run import Run
from diag.vocabulary import CAUSES, DIVERGED, HEALTHY, INCONCLUSIVE, OVERFIT, PLATEAU, UNDERFIT, UNSTABLE, VERDICTS

HEALTHY_PRIOR = 1.5
"""Log odds of a healthy run against one particular sickness before anything was found."""
UNSEEN = -2.5
"""Log odds of a sickness that the battery looked for and of which it saw no sign, as far as the choice of the verdict goes."""
UNSEEN_BY_EVALS = ((10, -2.6), (6, -2.2), (0, -1.5))
"""The same for the confidence, by the evaluations that were logged (at least so many, log odds): the fewer, the more is missed. Of
the runs that were called healthy in the training part of the fault benchmark, 90% were with six evaluations or more, and 81% with fewer
or by their rewards."""
SHORT_RUN, UNSEEN_SHORT = 100, 0.4
"""Optimizer steps below which more is missed (half to four fifths were healthy), and by how much, in log odds."""
AGAINST_HEALTH = 0.5
"""Share of the evidence for a sick verdict that speaks against health as well, for the confidence: sick verdicts on that part were right
in 19 of 20 cases where the evidence alone said four in five."""
CAUSE_PRIOR = -1.5
"""Log odds of any one cause before anything was found."""
CAUSE_REPORTED = 0.2
"""Probability below which a cause is not listed."""
CAUSE_LIKELY = 0.5
"""Probability below which a cause is not listed for a healthy run."""
HYGIENE = ("eval_missing", "eval_too_sparse", "eval_leak")
"""Causes that are faults of the log rather than of the training; listed for a healthy run too."""
ENOUGH_POINTS = 5
"""Loss points below which a run without findings is inconclusive rather than healthy."""
ENOUGH_REWARDS = 20
"""Rewards below which a reward-driven run is inconclusive: single episodes differ more than policies do."""
SICK = (DIVERGED, UNSTABLE, OVERFIT, PLATEAU, UNDERFIT)
"""Verdicts from the most to the least severe; ties go to the more severe."""


@dataclass(frozen=True, slots=True)
class RankedCause:
    """One candidate cause.

    Attributes:
        cause: one of diag.vocabulary.CAUSES.
        score: in [0, 1]; the probability that the cause is among the true ones.
        because: codes of the findings that speak for it, strongest first.
    """

    cause: str
    score: float
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the findings add up to.

    Attributes:
        verdict: one of diag.vocabulary.VERDICTS.
        confidence: in [0, 1].
        causes: most likely first; empty for a healthy run without remarks.
        questions: what would have to be known to tell the leading causes apart, one sentence each.
    """

    verdict: str
    confidence: float
    causes: tuple[RankedCause, ...] = ()
    questions: tuple[str, ...] = ()


TELL_APART: dict[tuple[str, str], str] = {
    ("batch_too_small", "lr_too_high"): "Rerun a fifth at half the rate: if the noise stays, the batch is too small.",
    ("capacity_too_low", "lr_too_low"): "Rerun a fifth at three times the rate: if the plateau does not move, capacity is the limit.",
    ("data_corruption", "lr_too_high"): "Log the loss at every step and see whether the spikes return at the same batches each epoch.",
    ("eval_leak", "too_many_epochs"): "Evaluate on fresh data that shares no example with the training set.",
    ("exploding_gradients", "lr_too_high"): "Log grad_norm at every step: growth before the jump speaks for exploding gradients.",
    ("frozen_parameters", "lr_too_low"): "Compare a checkpoint with the start: unchanged weights mean frozen parameters.",
    (
        "frozen_parameters",
        "vanishing_gradients",
    ): "Log the gradient norm by layer: zero everywhere means frozen, falling with depth means vanishing.",
    (
        "lr_too_high",
        "warmup_too_short",
    ): "Rerun the first tenth with a longer warmup: if the early instability goes, the peak rate was fine.",
    (
        "lr_too_low",
        "too_few_epochs",
    ): "Rerun a fifth of the run at three times the rate: if it leads at the same step, the rate was too low.",
    ("regularization_too_weak", "too_many_epochs"): "Stop at the best step: if that loss is still too high, regularize instead.",
}
"""Pairs of causes (in alphabetical order) that one log cannot separate, and the experiment that can."""


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), safe for large magnitudes."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def diagnose(run: Run, findings: Sequence[Finding]) -> Diagnosis:
    """Weigh the findings of one run.

    The verdict is the one with the most evidence; its confidence is the softmax probability, in view of how much the log could
    show. A run with too few loss points and no sick finding is INCONCLUSIVE, and so is one of which a finding says that it cannot be
    told; the confidence is then that in nothing being wrong with what was seen.
    """
    odds = {HEALTHY: HEALTHY_PRIOR}
    for finding in findings:
        for verdict, weight in finding.verdicts.items():
            if verdict != INCONCLUSIVE:
                odds[verdict] = odds.get(verdict, 0.0) + weight
    verdict = max((HEALTHY, *SICK), key=lambda name: (odds.get(name, UNSEEN), name != HEALTHY, -VERDICTS.index(name)))
    confidence = softmax(verdict, seen(run, verdict, odds))
    causes = rank_causes(findings)
    if verdict == HEALTHY:
        causes = tuple(cause for cause in causes if cause.cause in HYGIENE or cause.score >= CAUSE_LIKELY)
        if any(finding.verdicts.get(INCONCLUSIVE, 0) > 0 for finding in findings) or not has_enough(run):
            return Diagnosis(INCONCLUSIVE, round(confidence, 4), causes, what_to_log(run))
    return Diagnosis(verdict, round(confidence, 4), causes, tuple(questions(causes)))


def seen(run: Run, verdict: str, odds: Mapping[str, float]) -> dict[str, float]:
    """The odds of every verdict for the confidence, from those that findings gave.

    What was not seen weighs by how much the log could show, and sickness speaks against health.
    """
    unseen = unseen_odds(run)
    whole = {name: odds.get(name, unseen) for name in (HEALTHY, *SICK)}
    if verdict != HEALTHY:
        whole[HEALTHY] -= AGAINST_HEALTH * max(whole[verdict], 0.0)
    return whole


def unseen_odds(run: Run) -> float:
    """Log odds of a sickness that was looked for and not seen, by how much the log could show."""
    evals = 0 if is_reward_driven(run) else max((len(curve.finite()) for _, curve in run.eval_losses()), default=0)
    odds = next(value for least, value in UNSEEN_BY_EVALS if evals >= least)
    return odds + (UNSEEN_SHORT if run.steps < SHORT_RUN else 0.0)


def softmax(name: str, odds: Mapping[str, float]) -> float:
    """Probability of one of several exclusive answers from their log odds."""
    top = max(odds.values())
    return math.exp(odds[name] - top) / sum(math.exp(value - top) for value in odds.values())


def has_enough(run: Run) -> bool:
    """Whether the run logged enough of a loss (or reward) to be called healthy."""
    if is_reward_driven(run):
        return "reward" in run.curves and len(run.curves["reward"].finite()) >= ENOUGH_REWARDS
    names = ("train/loss", *(name for name, _ in run.eval_losses()))
    return any(name in run.curves and len(run.curves[name].finite()) >= ENOUGH_POINTS for name in names)


def what_to_log(run: Run) -> tuple[str, ...]:
    """What an inconclusive run should log next time, one sentence each."""
    wanted = []
    if is_reward_driven(run):
        return ("Log the mean reward at least every 1% of the run; the losses of reward-driven training do not measure progress.",)
    if "train/loss" not in run.curves and not run.curves:
        wanted.append("No metric was logged: log the training loss at least every 1% of the run.")
    elif "train/loss" not in run.curves:
        wanted.append("Log the training loss at least every 1% of the run.")
    elif not has_enough(run):
        wanted.append("Log the training loss more often, at least every 1% of the run.")
    if next(run.eval_losses(), None) is None:
        wanted.append("Evaluate on held-out data at least 12 times in a run.")
    return tuple(wanted)


def rank_causes(findings: Iterable[Finding]) -> tuple[RankedCause, ...]:
    """Causes by their added evidence, most likely first; equal ones in the order of the vocabulary."""
    total: dict[str, float] = defaultdict(float)
    because: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for finding in findings:
        for cause, weight in finding.causes.items():
            total[cause] += weight
            if weight > 0:
                because[cause].append((-weight, finding.code))
    ranked = sorted(total, key=lambda cause: (-total[cause], CAUSES.index(cause)))
    return tuple(
        RankedCause(cause, round(score, 4), tuple(dict.fromkeys(code for _, code in sorted(because[cause]))))
        for cause in ranked
        if (score := logistic(CAUSE_PRIOR + total[cause])) >= CAUSE_REPORTED
    )


def questions(causes: Sequence[RankedCause]) -> Iterable[str]:
    """What would tell the two leading causes apart, where that is known."""
    leading = [cause.cause for cause in causes[:2]]
    if len(leading) == 2 and (question := TELL_APART.get((min(leading), max(leading)))):
        yield question
