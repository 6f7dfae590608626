"""The policy of the guides is carried: by the ladders of changes, by lint rules, or it says what it waits for."""

from __future__ import annotations

import pytest

from diag import rulebook
from diag.battery import checks
from diag.guides import policy
from diag.guides.policy import BESIDES, PLANNING, POLICIES, Policy
from diag.linting import lints
from diag.prescription import LADDERS


def test_tables_are_whole_and_valid() -> None:
    policy.validate()
    assert [entry.id for entry in POLICIES] == [f"F{number:02d}" for number in range(1, 29)]
    assert len(PLANNING) == 10
    assert len(BESIDES) == 14


@pytest.mark.parametrize("entry", POLICIES, ids=lambda entry: entry.id)
def test_every_fix_is_carried_or_says_why_not(entry: Policy) -> None:
    assert [cause for cause in entry.causes if not LADDERS.get(cause)] == []
    codes = {rule.code for rule in lints()}
    unlinted = [identity for identity in entry.linted if codes.isdisjoint(rulebook.uses()[identity])]
    assert unlinted == [], f"{entry.id}: no lint rule cites them"
    assert bool(entry.waiting) != bool(entry.causes or entry.linted or entry.gated)


@pytest.mark.parametrize("entry", [entry for entry in POLICIES if entry.causes], ids=lambda entry: entry.id)
def test_the_code_that_carries_a_fix_cites_it(entry: Policy) -> None:
    carriers = {label.partition(" ")[0] for identity in entry.rules for label in rulebook.uses()[identity]}
    codes = {check.code for check in checks()}
    assert carriers & {"fix", "profile", *codes}, f"{entry.id}: neither a check of its symptom nor a change cites one of its rows"


def test_only_what_no_log_shows_or_another_run_must_tell_waits() -> None:
    assert [entry.id for entry in POLICIES if entry.waiting] == ["F20", "F26"]


def test_every_rung_has_a_cause_of_the_vocabulary() -> None:
    uncovered = set(LADDERS) - {cause for entry in POLICIES for cause in entry.causes}
    assert uncovered == {"schedule_bug", "vanishing_gradients", "eval_leak", "resume_discontinuity", "reward_collapse"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "F02"}, "stands where F01 should"),
        ({"causes": ("bad_luck",)}, "there is no cause bad_luck"),
        ({"rules": ("S0-999",)}, "there is no row S0-999"),
        ({"linted": ("S0-001",)}, "not its own"),
        ({"waiting": "later"}, "says why it waits"),
        ({"steps": ()}, "are missing"),
    ],
)
def test_a_wrong_entry_is_refused(monkeypatch: pytest.MonkeyPatch, change: dict[str, object], problem: str) -> None:
    wrong = POLICIES[0]._replace(**change)  # type: ignore[arg-type]
    monkeypatch.setattr(policy, "POLICIES", (wrong, *POLICIES[1:]))
    with pytest.raises(ValueError, match=problem):
        policy.validate.__wrapped__()
