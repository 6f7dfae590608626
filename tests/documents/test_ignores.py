"""Comments that silence findings."""

from __future__ import annotations

from textwrap import dedent

import pytest

from diag.documents import Ignore, parse
from diag.documents.ignores import ignores


@pytest.mark.parametrize(
    ("comment", "codes", "reason"),
    [
        ("# diag: ignore", (), ""),
        ("# diag: ignore[CFG012]", ("CFG012",), ""),
        ("# diag: ignore[CFG012] tested on this set", ("CFG012",), "tested on this set"),
        ("# diag: ignore[cfg012, CFG1]: both - fine", ("CFG012", "CFG1"), "both - fine"),
        ("#diag:ignore[CFG012 CFG013]", ("CFG012", "CFG013"), ""),
        ("# diag: ignore[]", (), ""),
        ("# see above  # diag: ignore[CFG012]", ("CFG012",), ""),
    ],
)
def test_a_comment_after_a_value_is_about_its_line(comment: str, codes: tuple[str, ...], reason: str) -> None:
    assert ignores(f"a: 1\nlr: 1e-3  {comment}\nb: 2\n") == [Ignore(2, codes, reason, 2)]


def test_a_comment_alone_on_its_line_is_about_the_next_line_of_content() -> None:
    text = dedent(
        """\
        # diag: ignore[CFG001] one
        # about the rate

        lr: 1e-3
          # diag: ignore[CFG002]
        wd: 0.1
        # diag: ignore[CFG003]
        """
    )
    assert [(ignore.line, ignore.codes[0], ignore.at) for ignore in ignores(text)] == [(4, "CFG001", 1), (6, "CFG002", 5), (7, "CFG003", 7)]


def test_a_whole_file_is_silenced() -> None:
    assert ignores("lr: 1\n# diag: ignore-file[CFG0] a fixture\n") == [Ignore(0, ("CFG0",), "a fixture", 2)]


@pytest.mark.parametrize("text", ["lr: 1  # diagonal: ignore\n", "url: x#diag: ignore\n", "lr: 1  # ignore diag: this\n", "lr: 1\n"])
def test_other_comments_silence_nothing(text: str) -> None:
    assert ignores(text) == []


def test_lines_are_counted_with_any_newline() -> None:
    assert [ignore.line for ignore in ignores("a: 1\r\nlr: 1  # diag: ignore\r\n")] == [2]


def test_a_document_knows_its_comments_and_json_has_none() -> None:
    [document] = parse("lr: 1  # diag: ignore[CFG012]\n", name="a.yaml", form="yaml")
    assert document.ignores == [Ignore(1, ("CFG012",), "", 1)]
    [document] = parse('{"note": "# diag: ignore"}', name="a.json", form="json")
    assert document.ignores == []
