"""Findings that are fine, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.check import Finding
from diag.configuration.options import Acceptance
from diag.errors import InputError, UsageError
from diag.gate import acceptance
from diag.gate.acceptance import divide, parse, unused
from diag.result import Accepted


def finding(code: str, metric: str = "") -> Finding:
    return Finding(code, "name", "error", "Message.", metric)


def test_lines() -> None:
    text = "# why\n\nOVF001  this is a demo\nOVF, SPK001: two families\nGRD004[grad_norm] clipped on purpose\n"
    assert parse(text) == (
        Acceptance("OVF001", "this is a demo", place=".diagignore:3"),
        Acceptance("OVF", "two families", place=".diagignore:4"),
        Acceptance("SPK001", "two families", place=".diagignore:4"),
        Acceptance("GRD004", "clipped on purpose", "grad_norm", place=".diagignore:5"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OVF001", "line 1 gives no reason"),
        ("OVF001:", "line 1 gives no reason"),
        ("OVF001[eval/loss]", "line 1 gives no reason"),
        ("\noverfitting is fine", "line 2 does not begin with a code"),
        ("OVF0012 x", "line 1 does not begin with a code"),
        ("all is well", "line 1 does not begin with a code"),
        ("All is well", "line 1 does not begin with a code"),
        ("* all is well", "line 1 does not begin with a code"),
    ],
)
def test_a_code_and_a_reason_are_required(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert all(entry.code and entry.reason for entry in parse(text))
    except UsageError as error:
        assert str(error).startswith("line ")


def test_files(tmp_path: Path) -> None:
    file = tmp_path / ".diagignore"
    assert acceptance.read(file, "x") == ()
    file.write_bytes(b"\xef\xbb\xbfOVF why\r\n")
    assert [entry.reason for entry in acceptance.read(file, "x")] == ["why"]
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"^runs/.diagignore: is not UTF-8"):
        acceptance.read(file, "runs/.diagignore")
    file.write_bytes(b"OVF")
    with pytest.raises(UsageError, match=r"^runs/.diagignore: line 1"):
        acceptance.read(file, "runs/.diagignore")


def test_divide_by_code_and_metric() -> None:
    found = [finding("OVF001", "eval/loss"), finding("OVF001", "eval/a/loss"), finding("SPK001")]
    kept, accepted = divide(found, [Acceptance("OVF", "fine", "eval/loss", place="here"), Acceptance("OVF001", "second", "eval/loss")])
    assert kept == found[1:]
    assert accepted == [(found[0], "fine", "here")]


def test_what_accepts_nothing_is_told_where_the_check_judged() -> None:
    entries = parse("OVF001 a\nSPK001 b\nOVX c\nGRD001 d\nLRS e")
    _, accepted = divide([finding("OVF001")], entries)
    known = ["OVF001", "SPK001", "GRD001", "LRS001", "LRS002"]
    places = unused(entries, [Accepted(*item) for item in accepted], ["OVF001", "SPK001", "LRS001"], known)
    assert [(f.code, f.severity) for f in places] == [("GAT090", "info")] * 2
    assert [f.message for f in places] == [
        ".diagignore:2 accepts SPK001, which was not found.",
        ".diagignore:3 accepts OVX, which is no code of a check.",
    ]
