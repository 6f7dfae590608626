"""Comparisons in the report for people."""

from __future__ import annotations

import re

import pytest
from builders import healthy

from diag.analysis import judge
from diag.comparison import BENCHMARK, NOT_COMPARED, RUN, SAME, WORSE, Compared, Comparison
from diag.report import Layout
from diag.report.text import render
from diag.result import Report, RunReport

HOSTILE = "eval/\x1b[31m<script>alert(1)</script>\n::error::=cmd()\u202e/loss"


def page(comparison: Comparison, **layout: object) -> str:
    entry = judge(healthy().run())[0]
    report = RunReport(**{**{name: getattr(entry, name) for name in entry.__dataclass_fields__}, "comparisons": (comparison,)})
    return render(Report((report,)), Layout(width=80).with_(**layout))


def table(text: str) -> list[str]:
    return text.split("  Against ")[-1].split("  Benchmarks against ")[-1].split("\n\n")[0].splitlines()


def row(metric: str = "eval/loss", **changes: object) -> Compared:
    fields: dict[str, object] = {"metric": metric, "at": "best", "value": 1.5, "reference": 1.0, "difference": 0.5, "noise": 0.04}
    return Compared(**{**fields, "p_value": 0.001, "verdict": WORSE, **changes})  # type: ignore[arg-type]


def test_the_columns() -> None:
    lines = table(page(Comparison(RUN, ("golden",), 0.05, (row(), row(at="end", value=0.9, difference=-0.1, verdict=SAME)))))
    assert lines == [
        "golden",
        "    metric            this run  reference    change   chance",
        "    eval/loss  best        1.5          1    +50.0%    ±4.0%  worse",
        "    eval/loss  end         0.9          1    -10.0%    ±4.0%  same",
    ]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"value": 0.7, "reference": 0.8, "difference": 0.125}, "-12.5%"),
        ({"difference": 123.4}, "+12,340%"),
        ({"difference": 3.2e21}, "+3e+23%"),
        ({"difference": 1e-9}, " 0.0%"),
        ({"difference": float("inf")}, "1 "),
        ({"difference": None, "noise": None, "value": None}, "1 "),
    ],
)
def test_numbers_of_all_sizes(change: dict[str, object], shown: str) -> None:
    lines = table(page(Comparison(RUN, ("golden",), 0.05, (row("eval/loss", **change),))))
    assert shown in lines[2]
    assert max(map(len, lines)) <= 80


def test_long_names_are_not_cut_and_nothing_is_wider_than_the_page() -> None:
    name = "leaderboard_mmlu_pro_with_a_very_long_name/exact_match,custom-extract-and-more"
    text = page(Comparison(BENCHMARK, ("results/" + "deep/" * 30 + "results.json",), 0.05, (row(name, at="score"),)))
    assert name in text.replace("\n    ", "")
    assert max(map(len, text.splitlines())) <= 80


def test_hostile_names_are_harmless() -> None:
    differs = {HOSTILE: {"run": HOSTILE, "references": [HOSTILE]}}
    text = page(Comparison(RUN, (HOSTILE,), 0.05, (row(HOSTILE, remark=HOSTILE),), differs=differs, notes=(HOSTILE,)))
    assert "\x1b" not in text and "\u202e" not in text
    assert re.search(r"^::error", text, re.MULTILINE) is None
    assert "<script>" in text  # harmless on a terminal, and escaped by the formats that a browser shows


def test_what_stands_out_is_shown_of_many_rows() -> None:
    rows = tuple(row(f"task{i}", at="score", difference=0.0, verdict=SAME) for i in range(40))
    rows += (row("lost", at="score"), row("odd", at="score", verdict=NOT_COMPARED, remark="why"))
    lines = table(page(Comparison(BENCHMARK, ("base",), 0.05, rows)))
    assert [line.split()[0] for line in lines if " worse" in line or "not compared" in line] == ["lost", "odd"]
    assert lines[-1].strip() == "30 more are the same (--verbose)"
    assert len(table(page(Comparison(BENCHMARK, ("base",), 0.05, rows), verbose=True))) > 42


def test_without_unicode_all_is_ascii() -> None:
    assert page(Comparison(RUN, ("gölden",), 0.05, (row("eval/verlüst/loss"),)), unicode=False).isascii()
