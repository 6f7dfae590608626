"""What the user decided, applied to a report on configs: acceptances, severities, a baseline. Imports nothing that runs need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from diag.gate import acceptance
from diag.gate.baseline import Baseline, run_key
from diag.gate.policy import Policy, with_severity
from diag.linting import LintReport


def enforce_lint(report: LintReport, policy: Callable[[Path], Policy], baseline: Baseline | None = None) -> LintReport:
    """A report on configs in which everything is as the user decided; what was accepted is silenced.

    Args:
        report: of a lint.
        policy: what was decided about a config; requirements are about runs and not looked at.
        baseline: findings that were there before.
    """
    base = baseline.path.absolute().parent if baseline is not None else Path()
    left = baseline.counts() if baseline is not None else Counter()
    configs = []
    for entry in report.configs:
        decided = policy(entry.file)
        kept, accepted = acceptance.divide(entry.violations, decided.accepted)
        kept = [with_severity(violation, decided.severities) for violation in kept]
        if baseline is not None:
            kept, known = baseline.divide(run_key(str(entry.file.absolute()), entry.plan.document.path, base), kept, left)
            accepted = [*accepted, *known]
        silenced = [(violation, reason) for violation, reason, _ in accepted]
        configs.append(replace(entry, violations=tuple(kept), silenced=(*entry.silenced, *silenced)))
    return replace(report, configs=tuple(configs))
