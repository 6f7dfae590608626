"""CFG035: early stopping that cannot work, or that waits too long or too short."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._aims import is_language_model
from diag.checks.config._evaluation import MISSING, evaluation, evaluations
from diag.guides import band, cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import ERROR, INFO, WARNING

PATIENCE = 3
"""Evaluations (S3-174)."""

WASTED = 0.25
"""Share of a run's evaluations that the patience may let overfit: 3 of 12 (S3-179)."""


class EarlyStoppingValues(Lint):
    """Early stopping cannot work, or its patience does not fit the run.

    ## What it does
    Early stopping without an evaluation, without the best model loaded at the end, or with a metric read the wrong way round
    is an error. A patience outside 2 to 5 evaluations, or of more than a quarter of all evaluations, is reported.

    ## Why is this bad?
    The Trainer returns the last checkpoint unless it is told to load the best one: with a patience of 3 that is the one
    after three evaluations of overfitting. A loss that counts as better when it is greater stops the run at once and keeps the worst.

    ## When it stays silent
    Without early stopping. Of how many evaluations it may wait, for small models and those of vision, which train for hundreds of epochs.

    ## What to do
    Patience 3, threshold 0.001, ``load_best_model_at_end``, the evaluation loss, lower is better.

    ## References
    Guide rows S3-098, S3-174..176, S3-179.
    """

    code = "CFG035"
    name = "early-stopping-values"
    severity = WARNING
    rules = cite("S3-098 S3-174 S3-175 S3-176 S3-179")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """What is wrong with the values, one violation each."""
        yield from self._direction(plan)
        patience = plan.number("early_stopping_patience")
        if patience is None or not plan.is_set("early_stopping_patience"):
            return
        if evaluation(plan) == MISSING:
            yield self.violation(
                plan, "Early stopping never acts, as the training never evaluates.", at="early_stopping_patience", severity=ERROR
            )
            return
        if plan.dialect == "hf" and plan.value("load_best_model_at_end") is not True and plan.is_whole:
            reason = "The callback requires it, and else returns the last checkpoint."
            yield self.violation(
                plan,
                "Early stopping without load_best_model_at_end returns the last checkpoint, not the best; newer versions refuse it.",
                at="early_stopping_patience",
                severity=ERROR,
                fixes=[self.set_key(plan, "load_best_model_at_end", True, reason, applicability=SAFE)],
            )
        if not is_language_model(plan):
            return
        limits = band("early_stopping_patience", "sft")
        if limits is not None and not limits.clip_low <= patience <= limits.clip_high:
            yield self.violation(
                plan,
                f"A patience of {counted(patience, 'evaluation')} is outside the {limits.clip_low:.0f} to {limits.clip_high:.0f} of the "
                f"guides: take {PATIENCE}.",
                at="early_stopping_patience",
                severity=INFO,
                evidence={"patience": patience},
                fixes=[self.fix(plan, "early_stopping_patience", PATIENCE, "Long enough for noise, short enough to save the run.")],
            )
        elif (count := evaluations(plan)) is not None and count >= 1 and patience > WASTED * count + 0.5:
            yield self.violation(
                plan,
                f"A patience of {show(patience)} lets up to {min(patience / count, 1):.0%} of the {count:.0f} evaluations pass before the "
                f"run stops; the guides' 3 of 12 are {WASTED:.0%}: evaluate more often.",
                at="early_stopping_patience",
                severity=INFO,
                evidence={"patience": patience, "evaluations": count},
            )

    def _direction(self, plan: Plan) -> Iterator[Violation]:
        """The metric of the best model, and which way it gets better."""
        metric, greater = plan.native("metric_for_best_model"), plan.native("greater_is_better")
        if not isinstance(metric, str) or not isinstance(greater, bool) or "loss" not in metric or greater is False:
            return
        fix = self.set_key(plan, "greater_is_better", False, "A loss is better when it is lower.", applicability=SAFE)
        yield self.violation(plan, f"{metric} counts as better when it is greater.", at="greater_is_better", severity=ERROR, fixes=[fix])
