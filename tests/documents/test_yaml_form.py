"""YAML configs as they stand in files."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.documents import Document, Setting, parse, read
from diag.errors import InputError


def one(text: str) -> Document:
    """The only document of a text."""
    [document] = parse(text, name="cfg.yaml", form="yaml")
    return document


def value_of(text: str) -> Setting:
    """The setting of ``key: text``."""
    return one(f"key: {text}\n").settings["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-6", 5e-6),
        ("1e5", 1e5),
        ("-2.5E+3", -2500.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("0x10", 16),
        ("0b11", 3),
        ("0o17", 15),
        ("010", 8),
        ("08", 8),
        ("-3", -3),
        ("yes", True),
        ("Off", False),
        ("TRUE", True),
        ("y", "y"),
        ("~", None),
        ("Null", None),
        ("-.inf", -math.inf),
        ("inf", "inf"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("1.2.3", "1.2.3"),
        ("two words", "two words"),
        ("${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("'5e-6'", "5e-6"),
        ('"yes"', "yes"),
        ("''", ""),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("!custom 5", "5"),
        ("[1, [2, 'x'], ~]", [1, [2, "x"], None]),
        ("[]", []),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_what_words_mean(text: str, value: Any) -> None:
    found = value_of(text).value
    assert (found, type(found)) == (value, type(value)) or found == value == 5.0


def test_not_a_number_is_one() -> None:
    assert math.isnan(value_of(".nan").value)


def test_a_number_that_yaml_1_1_reads_as_text_keeps_its_spelling() -> None:
    setting = value_of("5e-6  # rate")
    assert (setting.value, setting.text, setting.quoted) == (5e-6, "5e-6", False)
    setting = value_of("'5e-6'")
    assert (setting.value, setting.text, setting.quoted) == ("5e-6", "5e-6", True)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a: 1  # c\n", "1"),
        ("b: 2\r\na: 'x'\r\n", "'x'"),
        ("# 😀\nb: 😀\na: x y  # c\n", "x y"),
        ("a: &anchor !!str 5\n", "5"),
        ("a: !!str &anchor 5\n", "5"),
        ("a: !<tag:yaml.org,2002:str> 5\n", "5"),
        ("a:\n  - 1\n  - 2  # c\n\n# d\nb: 3\n", "- 1\n  - 2"),
        ("a:\n- 1\n- |\n  text\n\nb: 3\n", "- 1\n- |\n  text"),
        ("a: &l  # c\n  [1,\n   2]\n", "[1,\n   2]"),
        ("a: |\n  one\n  two\n\n# c\nb: 1\n", "|\n  one\n  two"),
        ("a: one\n  two\n\n  three  # c\n", "one\n  two\n\n  three"),
        ('a: "one\\\n  two"\n', '"one\\\n  two"'),
        ('a: "\t😀"  # c\n', '"\t😀"'),
        ("b: &x 1\na: *x  # c\n", "*x"),
        ("{b: 1, a: x}", "x"),
        ('{"a":1}', "1"),
        ("? a\n: 5\n", "5"),
        ("a:\n  5\n", "5"),
    ],
)
def test_where_values_stand(text: str, span: str) -> None:
    setting = one(text).settings["a"]
    assert text[setting.start : setting.end] == span
    assert text[setting.key_start : setting.key_end].strip('"') == "a"


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("a:\nb: 1\n", "a:"),
        ("a:   # c\nb: 1\n", "a:"),
        ("a: &x\nb: 1\n", "a: &x"),
        ("b: 1\na:", "b: 1\na:"),
        ("a :\r\n\r\n# c\r\nb: 1\r\n", "a :"),
        ("{a: , b: 1}", "{a:"),
        ("{a, b: 1}", "{a"),
    ],
)
def test_nothing_is_null_and_stands_after_the_colon(text: str, before: str) -> None:
    setting = one(text).settings["a"]
    assert (setting.value, setting.text, setting.start, setting.end) == (None, "", len(before), len(before))


def test_sections_lists_and_lines() -> None:
    document = one(
        dedent(
            """\
            # head
            peft:
              r: 8
              "quoted key": 1
            datasets:
              - path: one
                kinds: [a, b]
              -
                path: two
              - plain
            betas: [0.9, 0.99]
            pairs:
            - [1, 2]
            - [3]
            empty: {}
            1: one
            on: two
            a.b: dotted
            """
        )
    )
    assert document.flat() == {
        "peft.r": 8,
        "peft.quoted key": 1,
        "datasets.0.path": "one",
        "datasets.0.kinds": ["a", "b"],
        "datasets.1.path": "two",
        "datasets.2": "plain",
        "betas": [0.9, 0.99],
        "pairs": [[1, 2], [3]],
        "1": "one",
        "on": "two",
        "a.b": "dotted",
    }
    assert document.containers == {"": 1, "peft": 2, "datasets": 5, "datasets.0": 6, "datasets.1": 9, "empty": 15}
    assert [(setting.line, setting.column) for setting in document.settings.values()][:6] == [
        (3, 3),
        (4, 3),
        (6, 5),
        (7, 5),
        (9, 5),
        (10, 5),
    ]
    assert (document.form, document.path, document.entry, document.problems) == ("yaml", "cfg.yaml", "", [])


def test_wrapped_values_stay_wrapped() -> None:
    assert one("lr:\n  desc: null\n  value: 0.1\n").flat() == {"lr.desc": None, "lr.value": 0.1}


def test_of_a_repeated_key_the_last_one_counts() -> None:
    document = one("lr: 1\noptim: {a: 1}\nlr: 2\noptim:\n  b: 1\n  b: 2\n  b: 3\n")
    assert document.flat() == {"lr": 2, "optim.b": 3}
    assert document.repeated == {"lr": 3, "optim": 4, "optim.b": 7}
    assert document.settings["lr"].line == 3


def test_aliases_and_merges_are_followed() -> None:
    document = one(
        dedent(
            """\
            base: &base
              lr: 0.1
              wd: 0
            more: &more {wd: 1, eps: 2}
            first:
              <<: [*base, *more]
              wd: 5
            second: *base
            lists: [*base, {lr: 3}]
            """
        )
    )
    flat = document.flat()
    assert {key: value for key, value in flat.items() if key.startswith("first.")} == {"first.wd": 5, "first.lr": 0.1, "first.eps": 2}
    assert (flat["second.lr"], flat["lists.0.lr"], flat["lists.1.lr"]) == (0.1, 0.1, 3)
    assert document.settings["first.lr"].line == 2
    assert document.containers["second"] == 8


def test_the_first_document_that_is_a_config_is_read() -> None:
    document = one("---\n- list\n---\nlr: 1\n---\nlr: 2\n")
    assert document.flat() == {"lr": 1}
    assert document.problems == ["holds 3 YAML documents, only number 2 was read"]
    assert one("lr: 1\n---\n").problems == []


def test_tags_construct_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = one("a: !!python/object/apply:os.system ['touch pwned']\nb: !!python/object:argparse.Namespace\n  lr: 1\n")
    assert document.flat() == {"a": ["touch pwned"], "b.lr": 1}
    assert list(tmp_path.iterdir()) == []


def bomb(first: str, opening: str, item: str, closing: str) -> str:
    """Twenty levels of nine aliases to the level before."""
    levels = [
        f"a{level}: &a{level} {opening}{', '.join(item.format(f'k{n}', level - 1) for n in range(9))}{closing}" for level in range(1, 20)
    ]
    return "\n".join(["lr: 1", f"a0: &a0 {first}", *levels])


@pytest.mark.parametrize(
    "text",
    [
        bomb("{lr: 1}", "{", "{0}: *a{1}", "}"),
        bomb("{}", "{", "{0}: *a{1}", "}"),
        bomb("[1, 2]", "[", "*a{1}", "]"),
        "lr: 1\nself: &x\n  a: *x\n  b: *x\n",
        "lr: 1\nself: &x [*x, *x]\n",
        "lr: 1\nself: &x {<<: *x, a: {<<: *x}}\n",
    ],
    ids=["mappings", "empty", "lists", "cycle", "cyclic-list", "cyclic-merge"],
)
def test_bombs_and_cycles_end(text: str) -> None:
    document = one(text)
    assert document.flat()["lr"] == 1
    assert len(document.settings) <= 20_000
    assert all("not read" in problem for problem in document.problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cfg.yaml: holds no keys, it is empty; give"),
        ("# only\n", "cfg.yaml: holds no keys, it is empty; give"),
        ("- a\n- b\n", "cfg.yaml: holds a list where a config has keys and values; give"),
        ("lr\n", "cfg.yaml: holds text where a config has keys and values; give"),
        ("5\n", "cfg.yaml: holds a single value where a config has keys and values; give"),
        (
            "a:\n\tb: 1\n",
            r"cfg.yaml: is not valid YAML (line 2: found character '\t' that cannot start any token); use blanks in place of tabs",
        ),
        ("a: 1\nb: [1, 2\n", "cfg.yaml: is not valid YAML (line 3: expected ',' or ']', but got '<stream end>'); correct it there"),
        ("a: *x\n", "cfg.yaml: is not valid YAML (line 1: found undefined alias 'x'); correct it there"),
        ("a: 1\n  b: 2\n", "cfg.yaml: is not valid YAML (line 2: mapping values are not allowed here); correct it there"),
        ("a: 1\nb: \x0c\n", "cfg.yaml: is not valid YAML (line 2: special characters are not allowed); correct it there"),
        ("a: " + "{a: " * 5000, "cfg.yaml: is YAML that nests too deeply; give"),
        ("a: 1\n" * 60_000, "cfg.yaml: is larger than 256 KiB; give"),
    ],
    ids=["empty", "comment", "list", "text", "number", "tab", "open", "alias", "indent", "control", "deep", "large"],
)
def test_what_is_no_config_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse(text, name="cfg.yaml", form="yaml")
    assert str(raised.value).startswith(message)


def test_anchors_may_repeat() -> None:
    assert one("a: &x 1\nb: &x 2\nc: *x\n").flat() == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_do_not_move_anything(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "cfg.yml"
    path.write_bytes("é: 1\nlr: 0.1\n".encode(encoding))
    [document] = read(path)
    setting = document.settings["lr"]
    assert (document.encoding, setting.line, setting.column, document.text[setting.start : setting.end]) == (encoding, 2, 1, "0.1")


FRAGMENTS = ["a: 1", "b: ", "- ", "? ", ": ", "{", "}", "[", "]", ", ", "&a ", "*a", "!!str ", "!t ", "<<: *a", "\n", "\n  ", "\r\n", "# c"]
FRAGMENTS += ["'", '"', "|\n", "|+\n", ">-\n", "---\n", "...\n", "\t", "é", "k: &a\n  z: 1\n", "~", "%YAML 1.1\n", "\r", "- k: v\n  a: 2\n"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join) | st.text(max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_config_or_one_clear_error(text: str) -> None:
    try:
        document = one(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    for setting in document.settings.values():
        assert 0 <= setting.start <= setting.end <= len(text)
        assert 0 <= setting.key_start <= setting.key_end <= len(text)
        assert setting.line >= 1
