"""Rules that are cited exist, and those that profiles and fixes must carry are cited."""

from __future__ import annotations

import re
from pathlib import Path

from diag.guides import cite, rules
from diag.guides.profiles import ROWS, SOURCE_ROWS

ROOT = Path(__file__).resolve().parents[2]
CITATION = re.compile(r"\bS\d-\d{3}(?:\.\.\d{3})?\b")

ELSEWHERE = {
    "fix.emit": "how overrides are written is a matter of the dialects",
    "fix.to_peft": "switching the method after forgetting needs a benchmark of the base model, which no log holds",
}
"""Owners whose rules are not carried by profiles or prescription, and why."""

SETTINGS = {"S3-099", "S3-101"}
"""Example settings of a training script that profiles do not repeat (logging interval, unused columns)."""


def cited() -> set[str]:
    found: set[str] = set()
    for folder in ("diag", "checks"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(identity for match in CITATION.findall(path.read_text(encoding="utf-8")) for identity in cite(match))
    return found


def test_every_citation_exists() -> None:
    assert sorted(cited() - set(rules())) == []
    assert all(set(cite(row.rules)) <= set(rules()) for row in ROWS)
    assert all(set(cite(entry[-1])) <= set(rules()) for entry in SOURCE_ROWS)


def test_every_rule_of_profiles_and_fixes_is_carried() -> None:
    mine = {
        entry.id
        for entry in rules().values()
        if any(owner.startswith(("fix", "profile")) for owner in entry.owner)
        and not any(owner.split(" ")[0] in ELSEWHERE for owner in entry.owner)
    }
    assert sorted(mine - cited() - SETTINGS) == []
