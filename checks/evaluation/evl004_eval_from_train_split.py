"""EVL004: the configuration evaluates on the training data."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.splits import shared_data
from diag.vocabulary import WARNING


class EvalFromTrainSplit(Check):
    """The configuration takes the evaluation samples from the training data.

    ## What it does
    Reads the configuration beside the log: the same file for training and evaluation, or the same data set with the
    training split named for both, without slices that keep them apart.

    ## Why is this bad?
    The evaluation then measures memory, and overfitting cannot be seen.

    ## When it stays silent
    When the two splits are disjoint slices such as ``train[:95%]`` and ``train[95%:]``, and when the configuration does
    not say where the evaluation samples come from.

    ## What to do
    Name a held-out split, or cut one off with disjoint slices.

    ## References
    Guide rows S1-003, S1-107, S1-108.
    """

    code = "EVL004"
    name = "eval-from-train-split"
    severity = WARNING
    rules = ("S1-003", "S1-107", "S1-108")
    patience = 0.0

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        config = examination.run.config
        if not config:
            raise Skip("no configuration was found beside the log")
        overlap = shared_data({key: entry.value for key, entry in config.items()})
        if overlap is None:
            return
        evaluation, training, value = overlap
        entry = config[evaluation]
        place = f" ({entry.source})" if entry.file else ""
        yield self.finding(
            f"{evaluation} evaluates on the training data: {training} is {value}, too{place}.",
            metric="eval/loss",
            evidence={"evaluation_key": evaluation, "training_key": training, "value": value},
            causes={"eval_leak": 3.0},
        )
