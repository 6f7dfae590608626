"""What a watch stops on, in the user's words."""

from __future__ import annotations

import pytest

from diag.check import Finding
from diag.errors import UsageError
from diag.watching.stopping import DEFAULT, StopRule


def finding(code: str, severity: str) -> Finding:
    return Finding(code, "a-name", severity, "It is so.")


BLOW_UP, SPIKES, NAN = finding("DIV002", "warning"), finding("SPK001", "warning"), finding("DIV001", "error")


@pytest.mark.parametrize(
    ("names", "fail_on", "verdict", "findings", "stops"),
    [
        (DEFAULT, "error", "HEALTHY", [], False),
        (DEFAULT, "error", "DIVERGED", [], True),
        (DEFAULT, "error", "UNSTABLE", [BLOW_UP], False),
        (DEFAULT, "warning", "UNSTABLE", [BLOW_UP], True),
        (DEFAULT, "error", "HEALTHY", [NAN], True),
        ("warning", "error", "HEALTHY", [SPIKES], True),
        ("error", "error", "HEALTHY", [SPIKES], False),
        (["overfit", "spk"], "warning", "OVERFIT", [], True),
        (["overfit", "spk"], "warning", "HEALTHY", [SPIKES], True),
        (["overfit", "spk"], "error", "HEALTHY", [SPIKES, NAN], False),
        ("never", "error", "DIVERGED", [NAN], False),
        (None, "error", "DIVERGED", [NAN], False),
        ("DIV", "never", "DIVERGED", [NAN], False),
    ],
)
def test_rules(names: str | list[str] | None, fail_on: str, verdict: str, findings: list[Finding], stops: bool) -> None:
    reason = StopRule.parse(names, fail_on).reason(verdict, findings)
    assert bool(reason) is stops


def test_the_reason_names_the_finding() -> None:
    assert StopRule.parse(DEFAULT).reason("DIVERGED", [SPIKES, NAN]) == "DIV001 a-name: It is so."
    assert StopRule.parse("DIVERGED").reason("DIVERGED", [NAN]) == "the verdict so far is DIVERGED"


@pytest.mark.parametrize("names", ["DIVERGENT", "HEALTHY", ["DIV", "XYZ"]])
def test_words_that_mean_nothing_are_refused(names: str | list[str]) -> None:
    with pytest.raises(UsageError):
        StopRule.parse(names)
