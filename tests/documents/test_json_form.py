"""JSON configs as they stand in files."""

from __future__ import annotations

import json
import math
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.documents import Document, parse
from diag.errors import InputError


def one(text: str) -> Document:
    """The only document of a text."""
    [document] = parse(text, name="cfg.json", form="json")
    return document


def test_sections_lists_and_lines() -> None:
    document = one(
        dedent(
            """\
            {
              "lr": 1e-4, "name": "5e-6",
              "zero": {"stage": 2, "q\\u0022": true},
              "betas": [
                0.9, [1, null]
              ],
              "datasets": [{"path": "one"}, "two"],
              "none": null, "empty": {}, "list": []
            }
            """
        )
    )
    assert document.flat() == {
        "lr": 1e-4,
        "name": "5e-6",
        "zero.stage": 2,
        'zero.q"': True,
        "betas": [0.9, [1, None]],
        "datasets.0.path": "one",
        "datasets.1": "two",
        "none": None,
        "list": [],
    }
    assert document.containers == {"": 1, "zero": 3, "datasets": 7, "datasets.0": 7, "empty": 8}
    settings = document.settings
    assert [(setting.line, setting.column) for setting in settings.values()] == [
        (2, 3), (2, 15), (3, 12), (3, 24), (4, 3), (7, 17), (7, 33), (8, 3), (8, 30),
    ]  # fmt: skip
    assert (settings["name"].text, settings["name"].quoted, settings["lr"].text, settings["lr"].quoted) == ("5e-6", True, "1e-4", False)
    assert (document.form, document.ignores, document.problems) == ("json", [], [])


def test_of_a_repeated_key_the_last_one_counts() -> None:
    document = one('{"lr": 1, "o": {"a": 1},\n"lr": 2,\n"o": {"b": 1, "b": 2}}')
    assert document.flat() == {"lr": 2, "o.b": 2}
    assert document.repeated == {"lr": 2, "o": 3, "o.b": 3}


def test_numbers_that_json_has_not_are_read_and_named() -> None:
    document = one('{"a": NaN, "b": -Infinity, "c": [Infinity, NaN]}')
    assert math.isnan(document.flat()["a"])
    assert document.flat()["b"] == -math.inf
    assert document.problems == ["writes -Infinity, Infinity, NaN, which only Python takes for JSON"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cfg.json: holds no keys, it is empty; give"),
        (" \n", "cfg.json: holds no keys, it is empty; give"),
        ("[1]", "cfg.json: holds a list where a config has keys and values; give"),
        ('"x"', "cfg.json: holds a single value where a config has keys and values; give"),
        ('{\n  // c\n  "a": 1}', "cfg.json: is not valid JSON (line 2: a comment); JSON has none: take it out"),
        ('{"a": 1 /* c */}', "cfg.json: is not valid JSON (line 1: a comment); JSON has none: take it out"),
        ('{"a": 1,\n}', "cfg.json: is not valid JSON (line "),
        ('{"a": [1,]}', "cfg.json: is not valid JSON (line 1: a comma "),
        ("{'a': 1}", "cfg.json: is not valid JSON (line 1: text in single quotes); write it in double quotes"),
        ('{"a": True}', "cfg.json: is not valid JSON (line 1: a Python word); write true, false or null"),
        ('{"a": 1}\n{"a": 2}\n', "cfg.json: is not valid JSON (line 2: more after the end of the object); a config is one object"),
        ('{"a": 1', "cfg.json: is not valid JSON (line 1: the text ends too early); close what is open"),
        ('{"a" 1}', "cfg.json: is not valid JSON (line 1: expecting ':' delimiter); correct it there"),
        ('{"a":' * 100_000, "cfg.json: is JSON that nests too deeply; give"),
        ('{"a": ' + "9" * 5000 + "}", "cfg.json: is JSON that Python does not read ("),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_config_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        one(text)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_deep_and_large_configs_are_read_in_part() -> None:
    document = one('{"lr": 1, "a": ' + '{"a": ' * 60 + "1" + "}" * 60 + "}")
    assert (document.flat(), document.problems) == ({"lr": 1}, ["nests deeper than 32 levels, the rest was not read"])
    document = one(json.dumps({f"k{number}": number for number in range(30_000)}))
    assert len(document.settings) == 20_000
    assert document.problems == ["holds more than 20000 values, the rest was not read"]


KEYS = st.text(st.characters(exclude_characters="."), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_characters="."), max_size=4), JSON, max_size=4),
    st.sampled_from([None, 2, "\t"]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_spans_lines_and_columns_point_at_keys_and_values(config: dict[str, Any], indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(config, indent=indent, ensure_ascii=ascii_only)
    document = one(text)
    rows = text.split("\n")
    for setting in document.settings.values():
        assert repr(json.loads(text[setting.start : setting.end])) == repr(setting.value)
        key = text[setting.key_start : setting.key_end]
        if key:
            assert rows[setting.line - 1][setting.column - 1 :].startswith(key)
            assert setting.key.endswith(json.loads(key))


FRAGMENTS = [
    "{",
    "}",
    '"a"',
    ":",
    ",",
    "[",
    "]",
    "1",
    "null",
    "NaN",
    '"b\\n"',
    " ",
    "\n",
    "\r\n",
    '{"a": 1, "b": {"c": [1]}}',
    "//",
    "-1e5",
    "\\",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | st.text(max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_config_or_one_clear_error(text: str) -> None:
    try:
        document = one(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert repr(json.loads(text)) != ""
    assert document.containers[""] == 1
