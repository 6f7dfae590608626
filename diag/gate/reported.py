"""What a comparison with known-good runs found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from diag.check import Finding
from diag.comparison import BEST, NOT_COMPARED, Compared
from diag.gate import curves, directions
from diag.gate.curves import Alignment
from diag.gate.regressions import FallsBehindReference, WorseThanReference, finding
from diag.gate.requirements import RequirementNotMeasured
from diag.gate.run_noise import USUAL
from diag.run import Run
from diag.text import counted, show
from diag.vocabulary import ERROR, WARNING

NAMED: Final = 3
"""Metrics that a message names."""


def worse(
    row: Compared,
    details: Mapping[str, Any],
    references: Sequence[Run],
    alignment: Alignment,
    tolerance: float,
    differs: Mapping[str, Mapping[str, Any]],
) -> Finding:
    """The finding of a number that is worse than that of the references.

    Args:
        row: the number.
        details: more for the evidence; ``references`` are the single values, ``behind_from`` the step from which on the run is behind.
        references: what it was compared with.
        alignment: how the curves were laid over each other.
        tolerance: relative difference from which on it is an error.
        differs: hyperparameters that differ.
    """
    assert row.difference is not None and row.noise is not None  # narrows the types; a decided row has both
    count = len(details["references"])
    whose = f"that of {references[0].id}" if count == 1 and len(references) == 1 else f"the mean of {counted(count, 'reference')}"
    chance = f"chance explains {_percent(row.noise)}"
    evidence: dict[str, Any] = {
        "value": row.value,
        "reference": row.reference,
        "relative_difference": row.difference,
        "noise": row.noise,
        "p_value": row.p_value,
        "tolerance": tolerance,
        "aligned_by": alignment.by,
        **details,
        "differs": {name: dict(values) for name, values in differs.items()},
    }
    severity = ERROR if row.difference >= tolerance else WARNING
    if row.at == BEST:
        there = "" if row.reference_step is None else f" (step {row.reference_step:,})"
        message = (
            f"The best {row.metric}, {_number(row.value)} at step {row.step:,}, is {_percent(row.difference)} worse than {whose},"
            f" {_number(row.reference)}{there}; {chance}."
        )
        return finding(
            WorseThanReference, message, severity=severity, metric=row.metric, step_start=row.step, step_end=row.step, evidence=evidence
        )
    where = {
        curves.STEP: f"at step {row.step:,}",
        curves.EPOCH: f"at epoch {show(round(alignment.until, 2))}",
        curves.SHARE: f"at the end of the run (step {row.step:,})",
    }[alignment.by]
    since = details.get("behind_from")
    behind = "" if since is None or since == row.step else f", and behind from step {since:,} on"
    message = (
        f"{row.metric} is at {_number(row.value)} {where}, {_percent(row.difference)} worse than {whose},"
        f" {_number(row.reference)}{behind}; {chance}."
    )
    start = row.step if since is None else since
    return finding(
        FallsBehindReference, message, severity=severity, metric=row.metric, step_start=start, step_end=row.step, evidence=evidence
    )


def lost(row: Compared, references: Sequence[Run], differs: Mapping[str, Mapping[str, Any]]) -> Finding:
    """The finding of a metric that is no number where that of the references is."""
    whose = references[0].id if len(references) == 1 else "the references"
    message = f"{row.metric} is {row.remark}; {whose} ended at {_number(row.reference)}."
    evidence = {"reference": row.reference, "differs": {name: dict(values) for name, values in differs.items()}}
    return finding(FallsBehindReference, message, severity=ERROR, metric=row.metric, step_start=row.step, evidence=evidence)


def unmeasured(run: Run, references: Sequence[Run], rows: Sequence[Compared], missing: Sequence[str]) -> list[Finding]:
    """What could not be compared.

    Args:
        run: the run.
        references: what it was compared with.
        rows: the numbers that were looked at.
        missing: evaluation losses of the references that the run does not have.
    """
    if not rows:
        theirs = sorted({name for reference in references for name in directions.quality(reference)})
        have = [", ".join(names[:NAMED]) or "none" for names in (theirs, directions.quality(run))]
        message = f"The run and its reference have no metric in common that tells how good they are: {have[0]} there, {have[1]} here."
        return [finding(RequirementNotMeasured, message, evidence={"missing": theirs})]
    if all(row.verdict == NOT_COMPARED for row in rows):
        why = "; ".join(f"{row.metric}: {row.remark}" for row in rows[:NAMED])
        return [
            finding(RequirementNotMeasured, f"Nothing could be compared with the reference ({why}).", evidence={"missing": list(missing)})
        ]
    if not missing:
        return []
    evaluated = any(directions.is_evaluation(name) for name in directions.quality(run))
    more = ", …" if len(missing) > NAMED else ""
    what = missing[0] if len(missing) == 1 else f"{len(missing)} evaluation losses ({', '.join(missing[:NAMED])}{more})"
    message = f"The reference logged {what} and the run did not, so that nothing says whether it is as good there."
    metric = missing[0] if len(missing) == 1 else ""
    severity = WARNING if evaluated else ERROR
    return [finding(RequirementNotMeasured, message, severity=severity, metric=metric, evidence={"missing": list(missing)})]


def notes(run: Run, references: Sequence[Run], alignment: Alignment, metrics: Sequence[str], *, with_usual_noise: bool) -> Iterator[str]:
    """What else there is to know of a comparison, one sentence each."""
    lengths = sorted({reference.steps for reference in references})
    theirs = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
    if alignment.by == curves.EPOCH:
        yield f"The same epochs took {run.steps:,} steps here and {theirs} in the reference: compared by epoch."
    elif alignment.by == curves.SHARE:
        yield f"The run has {counted(run.steps, 'step')}, the reference {theirs}: compared at the same share of the run."
    elif run.steps < curves.SHORTER * lengths[-1]:
        yield f"The run is at step {run.steps:,} of the reference's {lengths[-1]:,}: compared up to there."
    elif lengths[0] < curves.SHORTER * run.steps:
        yield f"The reference ends at step {lengths[0]:,}, the run at {run.steps:,}: compared up to there."
    if metrics and not any(directions.is_evaluation(metric) or metric == "reward" for metric in metrics):
        yield "Only what was measured on the training data can be compared; held-out data would say more."
    if metrics and with_usual_noise and len(references) == 1:
        yield (
            f"With one reference, {100 * USUAL:.2g}% between seeds is assumed; several (--against again, or a folder of runs) would"
            " show it."
        )


def _percent(relative: float) -> str:
    value = 100 * abs(relative)
    return f"{value:.3g}%" if value < 1000 else f"{value:,.0f}%"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
