"""Comparisons as a part of a report: their findings among those of the run, their numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from diag.comparison import Comparison
from diag.errors import UsageError
from diag.gate import benchmarks, reference
from diag.gate.reference import TOLERANCE, Outcome
from diag.gate.regressions import BenchmarkRegression, FallsBehindReference, WorseThanReference
from diag.gate.requirements import RequirementNotMeasured
from diag.result import Report, RunReport, sort_findings
from diag.vocabulary import HEALTHY, INCONCLUSIVE

if TYPE_CHECKING:
    from diag.check import Documented, Finding
    from diag.gate.lm_eval import Results
    from diag.run import Run

Wanted = Callable[["Run", str], bool]
"""Whether findings with a code are wanted for a run."""


def everything(run: Run, code: str) -> bool:
    """No code is left out."""
    return True


def against_runs(
    report: Report,
    references: Sequence[RunReport],
    *,
    tolerance: float = TOLERANCE,
    run_noise: float | None = None,
    wanted: Wanted = everything,
) -> Report:
    """The report with every run compared with the known-good ones.

    A run that is among its references is left out of them; one that is its only reference, beside other runs, is not compared.

    Args:
        report: of the runs to judge.
        references: the known-good runs and what was concluded about them.
        tolerance: relative difference from which on worse is an error.
        run_noise: relative standard deviation between runs that differ in the seed alone, where it is known.
        wanted: which of the findings to add.

    Raises:
        UsageError: there is no reference but the run itself, or a number is impossible.
    """
    runs = []
    for entry in report.runs:
        others = [known for known in references if not _is_same(known.run, entry.run)]
        if references and not others:
            if len(report.runs) == 1:
                raise UsageError(f"{entry.run.path} is its own reference; name another run that is known to be good")
            runs.append(entry)
            continue
        outcome = reference.compare(entry.run, [known.run for known in others], tolerance=tolerance, run_noise=run_noise)
        sick = [f"{known.run.id} is {known.diagnosis.verdict} itself: a doubtful reference." for known in others if _is_sick(known)]
        comparison = replace(outcome.comparison, notes=(*sick, *outcome.comparison.notes))
        runs.append(
            _with(entry, Outcome(comparison, outcome.findings), (RequirementNotMeasured, WorseThanReference, FallsBehindReference), wanted)
        )
    return replace(report, runs=tuple(runs))


def _is_same(one: Run, other: Run) -> bool:
    """Whether two runs are one, read twice: they lie in one folder, and all they logged is the same, the times included."""
    if not one.root or one.root != other.root or one.curves.keys() != other.curves.keys():
        return False
    pairs = [(curve, other.curves[name]) for name, curve in one.curves.items()]
    return all(
        np.array_equal(mine.step, theirs.step)
        and np.array_equal(mine.value, theirs.value, equal_nan=True)
        and np.array_equal(mine.wall_time, theirs.wall_time, equal_nan=True)
        for mine, theirs in pairs
    )


def _is_sick(known: RunReport) -> bool:
    return known.diagnosis.verdict not in (HEALTHY, INCONCLUSIVE)


def against_benchmarks(
    report: Report, base: Results, tuned: Results, *, tolerance: float = TOLERANCE, profile: str | None = None, wanted: Wanted = everything
) -> Report:
    """The report with the benchmarks of its run, or of a model whose run is not known, compared with those of the base model.

    Where something was forgotten and the run is known, what to change is computed from its own values (F19).

    Args:
        report: of one run, or of none.
        base: results of the base model.
        tuned: results of the model that the run trained.
        tolerance: relative drop from which on worse is an error.
        profile: how boldly to change things; by default as the run's own framework has it.
        wanted: which of the findings to add.

    Raises:
        UsageError: both results are one file, or the tolerance is impossible.
        InputError: a file of samples cannot be read.
    """
    if base.path == tuned.path:
        raise UsageError(f"the results of the base model and of the tuned one are both {base.path}")
    outcome = benchmarks.compare(base, tuned, tolerance=tolerance)
    entry = report.runs[0] if report.runs else _unknown_run(tuned)
    entry = _with(entry, outcome, (RequirementNotMeasured, BenchmarkRegression), wanted)
    if report.runs and any(finding.code == BenchmarkRegression.code for finding in entry.findings):
        entry = _treated(entry, profile)
    return replace(report, runs=(entry, *report.runs[1:]))


def _with(entry: RunReport, outcome: Outcome, judged: Iterable[type[Documented]], wanted: Wanted) -> RunReport:
    findings: list[Finding] = [finding for finding in outcome.findings if wanted(entry.run, finding.code)]
    codes = {page.code for page in judged if wanted(entry.run, page.code)} if outcome.comparison.judged or findings else set()
    comparisons: tuple[Comparison, ...] = (*entry.comparisons, outcome.comparison)
    return replace(
        entry,
        findings=sort_findings([*entry.findings, *findings]),
        examined=tuple(sorted({*entry.examined, *codes})),
        comparisons=comparisons,
    )


def _treated(entry: RunReport, profile: str | None) -> RunReport:
    """The run with what to change against forgetting among its fixes."""
    from diag.case import Case
    from diag.dialects import render
    from diag.guides import default_profile
    from diag.prescription import prescribe_against_forgetting

    case = Case(entry.run, entry.diagnosis, entry.findings, profile or default_profile(entry.run.dialect))
    fixes = tuple(prescribe_against_forgetting(case, BenchmarkRegression.code, entry.fixes))
    return replace(entry, fixes=fixes, overrides=render(entry.run.dialect, entry.run, fixes) if fixes else None)


def _unknown_run(tuned: Results) -> RunReport:
    """What stands for the run of a model of which only benchmarks are known."""
    from diag.diagnosis import Diagnosis
    from diag.run import Run

    run = Run(
        id=tuned.model or "tuned model",
        path=tuned.path,
        adapter="lm_eval",
        curves={},
        notes=["No training log was given: only the benchmarks were compared."],
    )
    return RunReport(run, (), (), Diagnosis(INCONCLUSIVE, 1.0), None, (), None)
