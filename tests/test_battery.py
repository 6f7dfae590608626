"""The battery: selection, needs, order, crashes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builders import healthy

from diag import battery
from diag.check import Check, Finding
from diag.examination import Examination
from diag.vocabulary import CAUSES, SEVERITIES, VERDICTS


def codes(select: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> set[str]:
    return {check.code for check in battery.selected(select, ignore)}


def test_every_family_is_registered() -> None:
    families = {check.code[:3] for check in battery.checks()}
    assert families == {"DIV", "SPK", "OVF", "UND", "LRS", "GRD", "NSE", "EVL", "LOG", "PRC", "THR", "RLH"}


def test_codes_are_unique_and_well_formed() -> None:
    every = [check.code for check in battery.checks()]
    assert every == sorted(set(every))
    assert all(len(code) == 6 and code[:3].isupper() and code[3:].isdigit() for code in every)


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        (("OVF001",), (), {"OVF001"}),
        (("OVF",), ("OVF001",), {"OVF002", "OVF003", "OVF004"}),
        (("OVF001",), ("OVF",), {"OVF001"}),
        (("OVF", "DIV"), ("OVF00",), {"DIV001", "DIV002"}),
    ],
)
def test_the_longer_prefix_wins(select: tuple[str, ...], ignore: tuple[str, ...], expected: set[str]) -> None:
    assert codes(select, ignore) == expected


def test_ignoring_without_selecting_keeps_the_rest() -> None:
    assert codes(ignore=("LOG",)) == {code for code in codes() if not code.startswith("LOG")}


def test_what_was_not_logged_is_skipped_with_a_reason() -> None:
    skipped = dict(battery.examine(healthy().no_eval().run()).skipped)
    assert skipped["GRD003"] == "grad_norm was not logged"
    assert skipped["OVF001"] == "no evaluation loss was logged"


def test_a_reward_driven_run_is_not_judged_by_its_loss() -> None:
    examined = battery.examine(healthy().metric("reward", 1.0).run())
    assert "reward-driven" in dict(examined.skipped)["OVF001"]
    assert not {finding.code[:3] for finding in examined.findings} & {"OVF", "UND", "DIV"}


def test_findings_use_the_vocabulary_and_come_in_a_total_order() -> None:
    run = healthy().overfit(rise=0.3).spike(0.3).nan(0.9).lr("constant").grad_norm(8.0).hyperparameters(lora_rank=1, weight_decay=2.0).run()
    findings = battery.examine(run).findings
    assert len(findings) >= 5
    keys = [battery.sort_key(finding) for finding in findings]
    assert keys == sorted(set(keys))
    for finding in findings:
        assert finding.severity in SEVERITIES
        assert set(finding.causes) <= set(CAUSES)
        assert set(finding.verdicts) <= set(VERDICTS)


def test_a_check_that_crashes_is_reported_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Check):
        """Always fails."""

        code, name = "ZZZ001", "broken"

        def examine(self, examination: Examination) -> Iterator[Finding]:
            raise ZeroDivisionError("no luck")

    real = battery.checks()
    monkeypatch.setattr(battery, "checks", lambda: (*real, Broken()))
    examined = battery.examine(healthy().overfit(rise=0.3).run())
    assert examined.crashes == [battery.Crash("ZZZ001", "ZeroDivisionError: no luck")]
    assert "OVF001" in {finding.code for finding in examined.findings}


def test_every_check_has_a_page_with_all_its_sections() -> None:
    sections = ["## What it does", "## Why is this bad?", "## When it stays silent", "## What to do", "## References"]
    for check in battery.checks():
        page = check.page()
        positions = [page.find(section) for section in sections]
        assert positions == sorted(positions) and positions[0] > 0, check.code
        assert check.summary().endswith("."), check.code


def test_fingerprints_do_not_depend_on_what_was_measured() -> None:
    first = battery.examine(healthy().overfit(rise=0.2).run(), select=["OVF001"]).findings
    second = battery.examine(healthy(seed=3).overfit(rise=0.4).run(), select=["OVF001"]).findings
    assert [finding.fingerprint for finding in first] == [finding.fingerprint for finding in second]
