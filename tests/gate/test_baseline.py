"""Findings that were there before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.check import Finding
from diag.errors import InputError
from diag.gate import baseline
from diag.gate.baseline import Baseline, Entry, common, entries, run_key, to_json
from diag.vocabulary import SEVERITIES

FINDINGS = st.lists(
    st.builds(
        Finding, st.sampled_from(["OVF001", "SPK005"]), st.just("x"), st.sampled_from(SEVERITIES), st.just("M."), st.sampled_from(["", "a"])
    ),
    max_size=6,
)


def made(path: Path, rows: list[Entry]) -> Baseline:
    path.write_text(to_json(rows))
    return baseline.read(path)


@given(found=FINDINGS)
def test_what_was_written_is_known_again(tmp_path_factory: pytest.TempPathFactory, found: list[Finding]) -> None:
    known = made(tmp_path_factory.getbasetemp() / "baseline.json", entries("a", found))
    new, old = known.divide("a", found, known.counts())
    assert new == []
    assert [item[0] for item in old] == found
    assert known.divide("b", found, known.counts())[0] == found
    assert common(known, entries("a", found), ["a"]) == list(known.entries.values())


def test_one_more_and_one_that_is_worse_are_new(tmp_path: Path) -> None:
    spike = Finding("SPK005", "x", "warning", "M.")
    known = made(tmp_path / "b.json", entries("a", [spike, spike]))
    assert len(known.divide("a", [spike] * 3, known.counts())[0]) == 1
    worse = Finding("SPK005", "x", "error", "M.")
    assert known.divide("a", [worse], known.counts())[0] == [worse]
    milder = Finding("SPK005", "x", "info", "M.")
    assert known.divide("a", [milder], known.counts())[0] == []


def test_numbers_do_not_matter_but_the_metric_does(tmp_path: Path) -> None:
    known = made(tmp_path / "b.json", entries("a", [Finding("OVF001", "x", "error", "Rises 5%.", "eval/loss", 3, 9)]))
    assert known.divide("a", [Finding("OVF001", "x", "error", "Rises 7%.", "eval/loss", 4, 8)], known.counts())[0] == []
    assert len(known.divide("a", [Finding("OVF001", "x", "error", "Rises 5%.", "eval/b/loss", 3, 9)], known.counts())[0]) == 1


def test_reasons_are_kept(tmp_path: Path) -> None:
    finding = Finding("OVF001", "x", "error", "M.")
    before = made(tmp_path / "b.json", entries("a", [finding], reason="a demo"))
    rows = entries("a", [finding, Finding("SPK001", "x", "info", "M.")], before, "new here")
    assert [(row.code, row.reason) for row in rows] == [("OVF001", "a demo"), ("SPK001", "new here")]


def test_pruning_keeps_other_runs_and_adds_nothing(tmp_path: Path) -> None:
    before = made(
        tmp_path / "b.json", [Entry("a", "OVF001", "", "error", 2), Entry("a", "SPK001", "", "info"), Entry("b", "OVF001", "", "info")]
    )
    now = [Entry("a", "OVF001", "", "warning", 1), Entry("a", "GRD001", "", "error")]
    assert common(before, now, ["a"]) == [Entry("a", "OVF001", "", "warning", 1), Entry("b", "OVF001", "", "info")]


def test_the_file_is_sorted_and_the_same_for_any_order() -> None:
    rows = [Entry("b", "OVF001", "", "error"), Entry("a", "SPK001", "é", "info")]
    assert to_json(rows) == to_json(rows[::-1])
    assert to_json(rows).isascii()
    assert [row["run"] for row in json.loads(to_json(rows))["findings"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no valid JSON"),
        ("[]", "is no baseline"),
        ('{"schema_version": 2, "findings": []}', "a baseline of version 2"),
        ('{"schema_version": 1, "findings": {}}', "where one of version 1 is read"),
        ('{"schema_version": 1, "findings": [3]}', "finding 1 is not as"),
        (
            '{"schema_version": 1, "findings": [{"run": "a", "code": "b", "metric": "", "severity": "error", "reason": "", "count": 0}]}',
            "finding 1",
        ),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_what_is_no_baseline(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(InputError, match=words) as error:
        baseline.read(tmp_path / "b.json")
    assert "diag baseline write" in str(error.value)


def test_runs_are_named_relative_to_the_file() -> None:
    assert run_key("/p/runs/a", "x", Path("/p")) == "runs/a"
    assert run_key("/p/runs/a", "x", Path("/p/ci")) == "../runs/a"
    assert run_key("", "wandb://a/b/c", Path("/p")) == "wandb://a/b/c"
