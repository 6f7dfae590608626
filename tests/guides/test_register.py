"""The register of rules: whole, typed, and read only when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from diag.guides import choices, cite, profiles, rule, rules
from diag.guides.register import COLUMNS, FILE, GUIDES, KINDS, read


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


GOOD = ("S0-001", "000", "range", "lint.lr_range; docs", "a rule")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({0: "S0-1"}, "is not of the form"),
        ({0: "S1-001"}, "cannot be a row of guide"),
        ({1: "004"}, "cannot be a row of guide"),
        ({2: "opinion"}, "kind 'opinion' is none of"),
        ({3: "lint.lr_range; linter"}, "owner 'linter' is none of"),
        ({3: ""}, "owner '' is none of"),
        ({4: " "}, "says nothing"),
        ({4: "a\trule"}, "6 cells instead of 5"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path: Path, change: dict[int, str], problem: str) -> None:
    path = tmp_path / "rules.tsv"
    bad = [change.get(index, cell) for index, cell in enumerate(GOOD)]
    path.write_text("\n".join("\t".join(cells) for cells in (COLUMNS, ("S0-009", *GOOD[1:]), bad)), encoding="utf-8")
    with pytest.raises(ValueError, match=problem) as caught:
        read(path)
    assert str(caught.value).startswith("rules.tsv:3: ")


def test_an_id_is_given_once_and_the_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "rules.tsv"
    path.write_text("\n".join("\t".join(cells) for cells in (COLUMNS, GOOD, GOOD)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"rules.tsv:3: S0-001 is there twice"):
        read(path)
    path.write_text("id\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rules.tsv:1: the columns must be"):
        read(path)
    assert read(FILE) == rules()


def test_tables_are_valid() -> None:
    profiles.validate()
    choices.validate()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (profiles.ROWS[0]._replace(starts=(1e-6, 2e-6, 5e-5)), "is not inside"),
        (profiles.ROWS[0]._replace(starts=(2e-6, 1e-6, 5e-6)), "falls from one profile"),
        (profiles.ROWS[0]._replace(samples=(0.0, 6e3)), "2 rows hold"),
        (profiles.ROWS[0]._replace(samples=(0.0, 4e3)), "0 rows hold"),
        (profiles.ROWS[0]._replace(rules="S0-999"), "there is no row S0-999"),
        (profiles.ROWS[0]._replace(rules=""), "no rule is cited"),
        (profiles.ROWS[0]._replace(derived="bold"), "is no profile"),
    ],
)
def test_a_wrong_profile_row_is_refused(monkeypatch: pytest.MonkeyPatch, row: profiles.Row, problem: str) -> None:
    monkeypatch.setattr(profiles, "ROWS", (row, *profiles.ROWS[1:]))
    with pytest.raises(ValueError, match=problem):
        profiles.validate.__wrapped__()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (profiles.SOURCE_ROWS[0]._replace(rules="S1-003"), "a row of another guide"),
        (profiles.SOURCE_ROWS[0]._replace(guide="009"), "no such guide"),
        (profiles.SOURCE_ROWS[0]._replace(methods=("sft", "lora")), "2 rows hold"),
    ],
)
def test_a_wrong_row_of_one_guide_is_refused(monkeypatch: pytest.MonkeyPatch, row: profiles.SourceRow, problem: str) -> None:
    monkeypatch.setattr(profiles, "SOURCE_ROWS", (row, *profiles.SOURCE_ROWS[1:]))
    with pytest.raises(ValueError, match=problem):
        profiles.validate.__wrapped__()


def test_a_wrong_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = choices.CHOICES[0]
    for wrong in (first._replace(preferred="wsd"), first._replace(methods=("mlp",)), first._replace(rules=("S0-999",))):
        monkeypatch.setattr(choices, "CHOICES", (wrong, *choices.CHOICES[1:]))
        with pytest.raises(ValueError, match=r"lr_scheduler"):
            choices.validate.__wrapped__()
