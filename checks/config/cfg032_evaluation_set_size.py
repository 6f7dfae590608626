"""CFG032: the evaluation set is too small to tell runs apart, or takes too much of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.checks.config._evaluation import CONFIGURED, evaluation
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

LEAST = 100
"""Samples of an evaluation set below which its mean loss says little (profile table, evaluation set)."""

LOW, HIGH = 0.05, 0.10
"""Share of the data that the guides hold out (S1-003, S3-190)."""

TOO_MUCH = 0.3
"""Share above which more data would serve the training better."""

Z95 = 1.96
"""Standard errors in a 95% interval."""

SHARES = ("val_set_size", "val_size", "validation_split")
"""Keys whose value is a share of the training data below 1, and a number of samples from 1 on."""

LIMITS = (
    "validation_dataset.limit_dataset_samples",
    "validation_dataset.limit",
    "validation_dataset.num_samples_limit",
    "max_eval_samples",
)
"""Keys that limit the number of evaluation samples."""


class EvaluationSetSize(Lint):
    """The evaluation set is too small to tell runs apart, or takes too much of the data.

    ## What it does
    Reads how many samples are held out: a number, a limit, or a share of the data set where its size is known. Below 100
    samples it warns; outside the guides' 5 to 10% it says so.

    ## Why is this bad?
    The mean loss over n samples is known to about 2/sqrt(n) of their spread. With 50 samples two runs that differ by a quarter
    of the spread look the same, and early stopping follows the noise.

    ## When it stays silent
    When the size is not known, and for fixed numbers of at least 100 samples.

    ## What to do
    Hold out 5 to 10% of the samples, at least 100.

    ## References
    Guide rows S1-003, S1-107, S3-190.
    """

    code = "CFG032"
    name = "evaluation-set-size"
    severity = WARNING
    rules = cite("S1-003 S1-107 S3-190")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if evaluation(plan) != CONFIGURED:
            return
        for key in (*SHARES, *LIMITS):
            value = plan.native(key)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
                continue
            share = float(value) if value < 1 else None
            count = float(value) if value >= 1 else None if plan.samples is None or share is None else share * plan.samples
            if count is not None and count < LEAST:
                wanted = LEAST if share is None else round(min(LEAST / (plan.samples or LEAST), TOO_MUCH), 3)
                reason = f"{LEAST} samples know the mean loss to {show(round(Z95 / math.sqrt(LEAST), 2))} of their spread."
                yield self.violation(
                    plan,
                    f"{key} leaves {count:,.0f} evaluation samples, whose mean loss is known only to "
                    f"{show(round(Z95 / math.sqrt(count), 2))} of the samples' spread: take at least {LEAST}.",
                    at=key,
                    evidence={"samples": count, "least": LEAST},
                    fixes=[self.set_key(plan, key, wanted, reason)] if share is None or share * 1.001 < wanted else [],
                )
            elif share is not None and share > TOO_MUCH:
                yield self.violation(
                    plan,
                    f"{key} holds out {share:.0%} of the samples; the guides hold out {LOW:.0%} to {HIGH:.0%}.",
                    at=key,
                    severity=INFO,
                    evidence={"share": share},
                    fixes=[self.set_key(plan, key, HIGH, "More samples are left to learn from.")],
                )
            return
