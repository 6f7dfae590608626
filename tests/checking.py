"""What the tests of checks share: run one check on one run."""

from __future__ import annotations

from builders import RunBuilder

from diag import battery, diagnosis
from diag.check import Finding
from diag.diagnosis import Diagnosis
from diag.run import Run


def found(run: Run | RunBuilder, code: str) -> list[Finding]:
    """The findings of one check on a run; a check that crashes fails the test."""
    examined = battery.examine(run if isinstance(run, Run) else run.run(), select=[code])
    assert not examined.crashes
    return examined.findings


def severities(run: Run | RunBuilder, code: str) -> list[str]:
    """The severities of its findings."""
    return [finding.severity for finding in found(run, code)]


def reason(run: Run | RunBuilder, code: str) -> str:
    """Why a check did not judge a run."""
    examined = battery.examine(run if isinstance(run, Run) else run.run(), select=[code])
    return dict(examined.skipped)[code]


def diagnosed(run: Run | RunBuilder) -> Diagnosis:
    """The diagnosis of a run by the whole battery."""
    made = run if isinstance(run, Run) else run.run()
    return diagnosis.diagnose(made, battery.examine(made).findings)
