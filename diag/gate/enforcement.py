"""What the user decided, applied to a report: requirements, acceptances, severities, a baseline, in this order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from diag.adapters.same_run import run_folder
from diag.battery import checks
from diag.configuration.options import Acceptance
from diag.errors import DiagError
from diag.gate import acceptance, pages, requirements
from diag.gate.baseline import Baseline, run_key
from diag.gate.policy import Policy, with_severity
from diag.result import Accepted, Problem, Report, RunReport, sort_findings
from diag.run import Run


def enforce(report: Report, policy: Callable[[Run], Policy], baseline: Baseline | None = None) -> Report:
    """A report in which everything is as the user decided.

    Args:
        report: of an analysis.
        policy: what was decided about a run.
        baseline: findings that were there before.

    Returns:
        The report; a ``.diagignore`` that cannot be read, or has a line without a code or a reason, is among its problems.
    """
    names = run_keys((entry.run for entry in report.runs), baseline.path.absolute().parent) if baseline is not None else {}
    left = baseline.counts() if baseline is not None else Counter()
    runs: list[RunReport] = []
    problems: list[Problem] = []
    for entry in report.runs:
        own: tuple[Acceptance, ...] = ()
        if (file := _acceptances(entry.run)) is not None:
            name = _shown(file)
            try:
                own = acceptance.read(file, name)
            except DiagError as error:  # nothing is accepted then, and the call fails
                problems.append(Problem("input", name, str(error)))
        decided = _decided(entry, policy(entry.run), own)
        if baseline is not None:
            kept, known = baseline.divide(names[entry.run.id], decided.findings, left)
            decided = replace(decided, findings=tuple(kept), accepted=(*decided.accepted, *(Accepted(*item) for item in known)))
        runs.append(decided)
    return replace(report, runs=tuple(runs), problems=(*report.problems, *problems))


def _acceptances(run: Run) -> Path | None:
    """The ``.diagignore`` of a run: in the folder of its log, or above it as far as that of the run (loggers make folders within it)."""
    if not run.root:
        return None
    home = run_folder(run)
    for folder in (place := Path(run.root), *place.parents):
        if (folder / acceptance.NAME).is_file():
            return folder / acceptance.NAME
        if folder == home or not folder.is_relative_to(home):
            break
    return None


def _shown(path: Path) -> str:
    """A path relative to the working directory where that is shorter."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


def run_keys(runs: Iterable[Run], base: Path) -> dict[str, str]:
    """What a baseline in the folder ``base`` calls each run, by the run's id in this report.

    Where several runs lie in one folder, as those of a database do, each one's own name is added.
    """
    listed = list(runs)
    roots = {run.id: run_key(run.root, run.path, base) for run in listed}
    shared = Counter(roots.values())
    return {name: root if shared[root] == 1 else f"{root}::{name.rsplit('/', 1)[-1]}" for name, root in roots.items()}


def _decided(entry: RunReport, policy: Policy, own: tuple[Acceptance, ...]) -> RunReport:
    results = tuple(requirements.outcomes(entry.run, policy.requirements))
    found = [*entry.findings, *requirements.findings(entry.run, results)]
    kept, divided = acceptance.divide(found, (*own, *policy.accepted))
    accepted = tuple(Accepted(*item) for item in divided)
    if own:
        known = [*(check.code for check in checks()), *(page.code for page in pages())]
        kept += acceptance.unused(own, accepted, entry.examined, known)
    return replace(
        entry,
        findings=sort_findings([with_severity(finding, policy.severities) for finding in kept]),
        accepted=accepted,
        requirements=results,
    )
