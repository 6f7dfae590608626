from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import InputError
from diag.replay import samples as module
from diag.replay.samples import Sample, Samples


def read(tmp_path: Path, *rows: Any) -> list[Sample]:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return list(Samples(path))


PART = {"type": "text"}
CHAT = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"})


@pytest.mark.parametrize(
    ("row", "sample"),
    [
        ({"text": "a b", "id": 7}, Sample((("a b", True),))),
        ({"prompt": "a", "completion": "b"}, Sample((("a", False), ("b", True)))),
        ({"prompt": [CHAT[0]], "completion": [CHAT[1]]}, Sample(messages=CHAT)),
        ({"instruction": "add", "output": "3"}, Sample((("### Instruction:\nadd\n\n### Response:\n", False), ("3", True)))),
        (
            {"instruction": "add", "input": "1 {2}", "output": "3"},
            Sample((("### Instruction:\nadd\n\n### Input:\n1 {2}\n\n### Response:\n", False), ("3", True))),
        ),
        ({"messages": CHAT}, Sample(messages=CHAT)),
        (
            {"messages": [{"role": "user", "content": [PART | {"text": "h"}, PART | {"text": "i"}]}]},
            Sample(messages=CHAT[:1]),
        ),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, Sample(messages=CHAT)),
        ({"conversations": CHAT}, Sample(messages=CHAT)),
        ({"text": "a", "label": 3}, Sample((("a", False),), label=3)),
        ({"text": "a", "label": "good"}, Sample((("a", False),), label="good")),
        ({"text": "a", "label": True}, Sample((("a", False),), label=1)),
    ],
)
def test_every_form_is_read(row: dict[str, Any], sample: Sample, tmp_path: Path) -> None:
    assert read(tmp_path, row) == [sample]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "is not JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("[1]", "is a JSON array, not an object"),
        ("7", "is no JSON object"),
        ("[" * 100_000, "is not JSON that can be read"),
        ('{"text": ' + "9" * 5000 + "}", "is not JSON that can be read"),
        ({"chosen": "a", "rejected": "b"}, 'has "chosen", "rejected"; expected {"text"}'),
        ({"text": 3}, 'has something that is no string as "text"'),
        ({"prompt": "a"}, 'has no "text", which the lines before have'),
        ('{"text": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_malformed_line_is_named(row: Any, said: str, tmp_path: Path) -> None:
    before = [] if isinstance(row, dict) and "chosen" in row else [{"text": "good"}, ""]
    with pytest.raises(InputError) as error:
        read(tmp_path, *before, row)
    assert said in str(error.value) and f"line {len(before) + 1} " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": "hi"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        {"conversations": [{"from": "martian", "value": "hi"}]},
        {"conversations": [7]},
        {"text": "a", "label": 0.5},
        {"text": "a", "label": None},
        {"text": "a", "label": -1},
        {"prompt": ["a"], "completion": "b"},
        {"instruction": "a", "input": 7, "output": "b"},
    ],
)
def test_a_line_of_the_wrong_types_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.jsonl: line 1 has"):
        read(tmp_path, row)


def test_marks_line_ends_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "tw\xc3\xb6"}')
    found = Samples(path)
    assert [sample.parts[0][0] for sample in found] == ["one", "twö"]
    assert (found.number(1), found[-1], len(found[0:9])) == (4, found[1], 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no samples"),
        (b"\n \r\n", "holds no samples"),
        ('{"text": "a"}\n'.encode("utf-16"), "line 1 is not UTF-8 text (byte 1)"),
        (b'{"text": "a"}\n{"text": "\xe4"}\n', "line 2 is not UTF-8 text (byte 11)"),
        (b'{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n', 'some of the "label"s are numbers'),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(data)
    with pytest.raises(InputError) as error:
        Samples(tmp_path / "data.jsonl")
    assert said in str(error.value)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Samples(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="is no file"):
        Samples(tmp_path)


def test_of_a_huge_file_the_beginning_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "0123456789"}\n' * 4 + "rubbish\n" * 1000)
    with pytest.raises(InputError, match="line 5 is not JSON"):
        Samples(path)
    path.write_text('{"text": "0123456789"}\n' * 5 + "rubbish\n" * 1000)
    found = Samples(path)
    assert (len(found), found.is_cut) == (5, True)
    monkeypatch.setattr(module, "MOST_LINE_BYTES", 50)
    path.write_text('{"text": "' + "x" * 60 + '"}')
    with pytest.raises(InputError, match="line 1 is longer than"):
        Samples(path)


def test_labels_are_listed_in_order_and_the_digest_follows_the_content(tmp_path: Path) -> None:
    read(tmp_path, {"text": "a", "label": "z"}, {"text": "b", "label": "a"})
    first = Samples(tmp_path / "data.jsonl")
    assert first.labels == ("a", "z") and not first.is_cut
    assert Samples(tmp_path / "data.jsonl").digest == first.digest
    read(tmp_path, {"text": "a", "label": "z"}, {"text": "c", "label": "a"})
    assert Samples(tmp_path / "data.jsonl").digest != first.digest


def test_a_file_that_changes_meanwhile_is_an_error_not_a_surprise(tmp_path: Path) -> None:
    read(tmp_path, {"text": "a"}, {"text": "b"})
    found = Samples(tmp_path / "data.jsonl")
    (tmp_path / "data.jsonl").write_text("{}")
    with pytest.raises(InputError, match="line 2 is not JSON"):
        found[1]


@given(st.binary(max_size=200))
def test_no_bytes_make_it_crash(data: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        (path := Path(folder, "data.jsonl")).write_bytes(data)
        try:
            assert len(list(Samples(path))) > 0
        except InputError as error:
            assert "\n" not in str(error)


INNER = st.sampled_from(["role", "content", "from", "value", "type", "text"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["text", "label", "prompt", "completion", "instruction", "input", "output", "messages", "conversations"])


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=3), min_size=1, max_size=3))
def test_no_values_make_it_crash(rows: list[dict[str, Any]]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        try:
            assert len(read(Path(folder), *rows)) == len(rows)
        except InputError as error:
            assert "\n" not in str(error)
