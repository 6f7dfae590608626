"""JSON as trainers really write it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.adapters import tolerant_json
from diag.errors import InputError

ROW = {"epoch": 0.5, "loss": 1.25, "step": 10, "name": 'a "quoted" } ] , name'}
ROWS = [ROW, {**ROW, "step": 20}, {**ROW, "step": 30}]
HISTORY = {"global_step": 30, "log_history": ROWS, "max_steps": 30}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[NaN]", math.nan),
        ("[nan]", math.nan),
        ("[-nan]", math.nan),
        ("[Infinity]", math.inf),
        ("[-Infinity]", -math.inf),
        ("[inf]", math.inf),
        ("[-inf]", -math.inf),
        ("[+Inf]", math.inf),
        ("[1e999]", math.inf),
    ],
)
def test_non_finite_numbers_are_read_in_every_spelling(text: str, expected: float) -> None:
    value, notes = tolerant_json.loads(text)
    assert notes == []
    assert math.isnan(value[0]) if math.isnan(expected) else value[0] == expected


def test_words_in_strings_are_left_alone() -> None:
    value, _ = tolerant_json.loads('{"note": "nan, inf [inf]", "loss": nan}')
    assert value["note"] == "nan, inf [inf]"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_and_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(json.dumps(HISTORY).encode(encoding))
    value, _ = tolerant_json.load(path)
    assert value == HISTORY


def test_undecodable_bytes_leave_a_note(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b'{"name": "caf\xe9", "loss": 1.0}')
    value, notes = tolerant_json.load(path)
    assert value["loss"] == 1.0
    assert "UTF-8" in notes[0]


@given(st.sampled_from([None, 2]), st.data())
def test_every_truncation_keeps_exactly_the_complete_rows(indent: int | None, data: st.DataObject) -> None:
    text = json.dumps(HISTORY, indent=indent)
    ends = _row_ends(text)
    cut = data.draw(st.integers(ends[0], len(text) - 1))
    value, notes = tolerant_json.loads(text[:cut])
    assert value["log_history"] == ROWS[: sum(end <= cut for end in ends)]
    assert value["global_step"] == 30
    assert len(notes) == 1


def _row_ends(text: str) -> list[int]:
    decoder = json.JSONDecoder()
    ends, position = [], text.index("[")
    for _ in ROWS:
        position = decoder.raw_decode(text, text.index("{", position))[1]
        ends.append(position)
    return ends


@given(json_values, st.integers(0, 400))
def test_a_truncated_document_is_read_or_refused_and_never_crashes(value: Any, cut: int) -> None:
    text = json.dumps(value)[:cut]
    try:
        tolerant_json.loads(text)
    except InputError as error:
        assert "\n" not in str(error)


@given(json_values)
def test_valid_json_is_what_the_standard_library_reads(value: Any) -> None:
    assert tolerant_json.loads(json.dumps(value)) == (value, [])


@given(st.text(max_size=200))
def test_arbitrary_text_never_crashes(text: str) -> None:
    try:
        tolerant_json.loads(text)
    except InputError as error:
        assert str(error)


def test_damage_in_the_middle_keeps_what_is_before() -> None:
    text = json.dumps(HISTORY).replace('"step": 20', '"step": @@')
    value, notes = tolerant_json.loads(text)
    assert value["log_history"] == [ROW]
    assert "line 1" in notes[0]


def test_a_second_document_after_the_first_is_ignored_with_a_note() -> None:
    value, notes = tolerant_json.loads(json.dumps(HISTORY) + "\n" + json.dumps({"other": 1}))
    assert value == HISTORY
    assert "ignored" in notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"not json at all", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable JSON"),
    ],
)
def test_what_cannot_be_read_gives_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        tolerant_json.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            tolerant_json.load(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (2.5, 2.5),
        ("1e-5", 1e-5),
        (" 3.5 ", 3.5),
        ("Infinity", math.inf),
        ("-inf", -math.inf),
        ("1.#INF", math.inf),
        ("-1.#INF00", -math.inf),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_numbers(value: Any, expected: float) -> None:
    assert tolerant_json.number(value) == expected


@pytest.mark.parametrize("value", ["NaN", "nan", "-nan", "1.#QNAN", "1.#IND", math.nan])
def test_not_a_number_is_a_value(value: Any) -> None:
    result = tolerant_json.number(value)
    assert result is not None
    assert math.isnan(result)


@pytest.mark.parametrize("value", [None, "", "n/a", "NA", [], {}, "1,5", object()])
def test_what_is_no_number_is_not_logged(value: Any) -> None:
    assert tolerant_json.number(value) is None
