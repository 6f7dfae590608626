"""CFG031: the evaluation samples are training samples."""

from __future__ import annotations

import re
from collections.abc import Iterator

from diag.guides import cite
from diag.lint import Fix, Lint, Violation
from diag.plan import Plan
from diag.splits import shared_data
from diag.vocabulary import ERROR

HEAD = re.compile(r"^(?P<name>[^\[]+)\[:(?P<end>\d+%?)\]$")
"""A slice from the beginning of a split, as the datasets library writes it."""

HELD_OUT = ("[:95%]", "[95%:]")
"""Training and evaluation slices: 5% held out, the lower end of the guides' 5 to 10% (S1-003, S3-190)."""


class EvaluationOnTrainingData(Lint):
    """The validation set is drawn from the training split.

    ## What it does
    Compares what is named for training and for evaluation: the same file, the same split of the same data set, or slices of
    a split that overlap. A limit on the number of validation samples does not separate them.

    ## Why is this bad?
    The evaluation loss then measures memory: it keeps falling while the model overfits, and early stopping never stops. Several
    published example configs do this; it is not to be copied.

    ## When it stays silent
    For disjoint slices such as ``train[:95%]`` and ``train[95%:]``, and where the config does not say where the samples come from.

    ## What to do
    Name a held-out split, or cut one off with disjoint slices.

    ## References
    Guide rows S1-003, S1-107, S1-108.
    """

    code = "CFG031"
    name = "evaluation-on-training-data"
    severity = ERROR
    rules = cite("S1-003 S1-107 S1-108")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        overlap = shared_data(plan.flat)
        if overlap is None:
            return
        evaluation, training, value = overlap
        fixes = self._slices(plan, evaluation, training) or [
            self.advise("validation_set", "Take the evaluation samples from a split or file that training does not see.")
        ]
        yield self.violation(
            plan,
            f"{evaluation} draws from the training data: {training} is {plan.native(training) or value}, too.",
            at=evaluation,
            evidence={"evaluation_key": evaluation, "training_key": training, "value": value},
            fixes=fixes,
        )

    def _slices(self, plan: Plan, evaluation: str, training: str) -> list[Fix]:
        """Disjoint slices of the common split, where both are named by split keys."""
        mine = plan.native(evaluation)
        section = training.rpartition(".")[0]
        if not evaluation.endswith(".split") or not isinstance(mine, str) or not section:
            return []
        key = f"{section}.split"
        theirs = plan.native(key)
        base = (theirs if isinstance(theirs, str) else "train").partition("[")[0]
        if theirs is not None and "[" in str(theirs):
            return []
        reason = "Training and evaluation samples are kept apart."
        if match := HEAD.match(mine):
            return [self.set_key(plan, key, f"{base}[{match['end']}:]", reason)]
        if "[" in mine:
            return []
        return [self.set_key(plan, key, base + HELD_OUT[0], reason), self.set_key(plan, evaluation, base + HELD_OUT[1], reason)]
