"""RLH004: preference training whose margin or accuracy does not grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.run import Curve
from diag.vocabulary import INFO

CHANCE = 0.55
"""Accuracy at telling the chosen from the rejected answer up to which it is no better than guessing (0.5)."""
MINIMUM_POINTS = 8
"""Logged margins or accuracies below which nothing is said."""
END = 0.25
"""Share of the run at its end that is judged."""


class PreferenceMargin(Check):
    """Preference training does not separate chosen from rejected answers.

    ## What it does
    Reads the implicit reward margins and accuracies that DPO-like trainers log. Remarks when the accuracy ends near
    chance, when the margin ends at or below zero, and when the margin grows although the chosen answers themselves become
    less likely.

    ## Why is this bad?
    The loss of such a run falls also when both answers become unlikely, and near ln 2 = 0.693 nothing has been learned.

    ## When it stays silent
    Where no margins or accuracies are logged, or fewer than 8 of them.

    ## What to do
    Check that chosen and rejected answers differ and are not swapped; raise the learning rate (5e-7 to 5e-6 is usual) or
    beta; for chosen answers that become unlikely lower the learning rate or add a likelihood term.

    ## References
    Rafailov et al. 2023 (arXiv 2305.18290); Pal et al. 2024 (arXiv 2402.13228) for chosen answers becoming unlikely.
    """

    code = "RLH004"
    name = "preference-margin"
    severity = INFO
    reward_logs = True
    premature = "the margin may still grow"
    thresholds = (Threshold("chance", CHANCE, "accuracy", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one remark."""
        accuracy, margin = _find(examination, "accuracies"), _find(examination, "margins")
        if accuracy is None and margin is None:
            raise Skip("no preference margins or accuracies were logged")
        judged = [item for item in (accuracy, margin) if item is not None and len(item[1]) >= MINIMUM_POINTS]
        if not judged:
            raise Skip(f"needs {MINIMUM_POINTS} preference margins or accuracies")
        evidence: dict[str, float] = {}
        remarks = []
        for name, curve in judged:
            end = float(curve.value[-max(int(END * len(curve)), 2) :].mean())
            evidence[name] = round(end, 6)
            if name.endswith("accuracies") and end <= examination.threshold(self, "chance"):
                remarks.append(f"an accuracy of {end:.3g} at the end is no better than guessing")
            if name.endswith("margins") and end <= 0:
                remarks.append(f"the margin ends at {end:.3g}, so rejected answers are preferred")
        chosen = _find(examination, "chosen")
        if not remarks and margin is not None and chosen is not None and len(chosen[1]) >= MINIMUM_POINTS:
            tail = chosen[1].value[-max(int(END * len(chosen[1])), 2) :]
            gain = float(margin[1].value[-1])
            if float(np.median(tail)) < 0 < gain and abs(float(np.median(tail))) > gain:
                evidence[chosen[0]] = round(float(np.median(tail)), 6)
                remarks.append(
                    f"the margin grows while the chosen answers become less likely (implicit reward {float(np.median(tail)):.3g})"
                )
        if remarks:
            name, curve = judged[0]
            yield self.finding(
                f"Preference training: {'; '.join(remarks)}.",
                metric=name,
                step_start=int(curve.step[0]),
                step_end=int(curve.step[-1]),
                evidence=evidence,
                causes={"lr_too_low": 0.5} if name.endswith("accuracies") else {},
            )


def _find(examination: Examination, word: str) -> tuple[str, Curve] | None:
    """The training curve ``rewards/<word>``, under whatever prefix, before that of an evaluation."""
    names = [name for name in examination.run.curves if name.endswith(f"rewards/{word}")]
    names.sort(key=lambda name: ("eval" in name, len(name), name))
    for name in names:
        curve = examination.run.curves[name].finite()
        if len(curve):
            return name, curve
    return None
