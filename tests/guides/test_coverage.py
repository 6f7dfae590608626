"""Rules that are cited exist, and every row of the guides is used, or waits for a part that is not there yet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diag import rulebook
from diag.guides import rules
from diag.guides.policy import LATER

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def sections(page: Path) -> dict[str, str]:
    """Anchor of every section of a page to its text, without examples."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^##+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-"): body for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_citation_exists() -> None:
    sources = [path for folder in ("diag", "checks") for path in (ROOT / folder).rglob("*.py")]
    cited = {identity for path in (*sources, *PAGES) for identity in rulebook.cited_in(path.read_text(encoding="utf-8"))}
    assert sorted(cited - set(rules())) == []


def test_every_row_is_used_or_waits() -> None:
    said = rulebook.problems()
    assert said == [], "\n".join(said)
    assert len(rulebook.uses()) == len(rules()) == 607


def test_only_the_planner_and_the_confirming_runs_are_waited_for() -> None:
    later = rulebook.waiting()
    assert {place.target for place in later.values()} == set(LATER)
    owners = ("plan", "replay", "lrfind")
    assert [identity for identity in later if not any(part.startswith(owners) for part in rules()[identity].owner)] == []


def test_pages_say_what_they_are_said_to_say() -> None:
    texts = {page.name: sections(page) for page in PAGES}
    missing = [
        f"{identity} is not cited in {place.target}"
        for identity, places in rulebook.places().items()
        for place in places
        if place.kind == "docs"
        and identity not in rulebook.cited_in(texts.get(place.target.partition("#")[0], {}).get(place.target.partition("#")[2], ""))
    ]
    assert missing == []


def test_uses_name_what_carries_a_row() -> None:
    used = rulebook.uses()
    assert "CFG001" in used["S3-184"]
    assert {"OVF001", "fix"} <= set(used["S1-075"])
    assert "profile learning_rate" in used["S1-127"]
    assert "choice lr_scheduler" in used["S0-007"]
    assert used["S0-041"] == ("automodel step_scheduler.num_epochs",)
    assert used["S3-104"] == ("docs lr-find.md#the-finder-that-the-guides-print",)
    assert used["S3-152"] == ()
    assert rulebook.waiting()["S3-152"].target == "replay"


def test_a_row_without_a_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {identity: places for identity, places in rulebook.places().items() if identity not in ("S3-041", "S3-104")}
    monkeypatch.setattr(rulebook, "places", lambda: fewer)
    monkeypatch.setattr(rulebook, "uses", rulebook.uses.__wrapped__)
    said = rulebook.problems()
    assert len(said) == 2
    assert said[0].startswith("S3-041 (docs) is used by nothing: example: per-device 8")
    assert said[1].startswith("S3-104 (lrfind) is used by nothing")


def test_a_place_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    place = rulebook.Place
    wrong = {
        "S0-039": (place("dialect", "automodel optimizer.no_such_key"),),
        "S1-130": (place("adapter", "punch_cards"),),
        "S1-170": (place("check", "OVF999"),),
        "S1-075": (place("waiting", "tuning", "not really"),),
    }
    places = {**rulebook.places(), **wrong}
    monkeypatch.setattr(rulebook, "places", lambda: places)
    monkeypatch.setattr(rulebook, "uses", rulebook.uses.__wrapped__)
    said = "\n".join(rulebook.problems())
    assert "S0-039: the table of automodel has no key optimizer.no_such_key" in said
    assert "S1-130: there is no adapter punch_cards" in said
    assert "S1-170: there is no check OVF999" in said
    assert "S1-075 waits for tuning, but OVF001" in said


@pytest.mark.parametrize(
    "line", ["S0-001\tsomewhere:else", "S0-001\tdocs:", "S0-001\twaiting:tuning", "S0-001\twaiting:later\twhy", "S9-999\tdocs:a.md#b"]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "coverage.tsv"
    path.write_text(f"rows\twhere\treason\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"coverage.tsv:2: "):
        rulebook.read(path)


def test_advice_names_what_condenses_a_row() -> None:
    assert rulebook.advice()["S2-004"] == ("P02", "conflict 1")
    assert "F06" in rulebook.advice()["S1-059"]


def test_what_a_row_is_about() -> None:
    table = rules()
    assert "learning_rate" in rulebook.parameters_of(table["S0-044"])
    assert "num_epochs" in rulebook.parameters_of(table["S3-049"])
    assert rulebook.methods_of(table["S0-005"]) == ("qlora",)
    assert set(rulebook.methods_of(table["S2-003"])) == {"osft", "sft"}
    assert rulebook.methods_of(table["S1-072"]) == ()
