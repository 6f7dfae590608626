"""The register of rules: whole, typed, and read only when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from diag.guides import cite, rule, rules
from diag.guides.register import GUIDES, KINDS


def test_whole() -> None:
    table = rules()
    assert len(table) == 607
    assert Counter(entry.seed for entry in table.values()) == {"000": 54, "001": 258, "002": 63, "003": 232}
    assert {entry.kind for entry in table.values()} == set(KINDS)
    assert all(entry.content and entry.owner and entry.source in GUIDES.values() for entry in table.values())
    for key in GUIDES:
        numbers = [int(entry.id[3:]) for entry in table.values() if entry.seed == key]
        assert numbers == list(range(1, len(numbers) + 1))


def test_look_up() -> None:
    assert rule("S1-059").content.startswith("loss barely decreases over the first 50-100 steps")
    assert rule("S1-059").owner == ("check.lr_low", "fix.lr_up")
    with pytest.raises(KeyError):
        rule("S9-001")


def test_cite() -> None:
    assert cite("S0-003 S1-028..030") == ("S0-003", "S1-028", "S1-029", "S1-030")
    assert cite("") == ()


def test_prescribing_reads_no_register() -> None:
    program = (
        "import diag.prescription, diag.guides.register as register;"
        "from diag.guides import band; band('learning_rate', 'lora', 1000, 7e9);"
        "raise SystemExit(register.rules.cache_info().currsize)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
