"""Editing configs: only what is named changes, character for character."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from diag.documents import Document, parse
from diag.documents.editing import REMOVE, Edit, Rename, diff, edited, edits, write
from diag.errors import InputError


def change(text: str, changes: dict[str, Any], form: str = "yaml") -> str:
    """The text after the changes; making them twice must change nothing more."""
    [document] = parse(text, name="config", form=form)
    after = edited(text, edits(document, changes))
    [document] = parse(after, name="config", form=form)
    if not any(isinstance(value, Rename) for value in changes.values()):
        assert edits(document, changes) == []
    return after


# Random configs. A writer makes the text and remembers what it means.

WORDS = ["lr", "wd", "alpha", "rank", "name", "path", "type", "optim", "data", "train", "model", "warmup", "seed"]
SCALARS: list[tuple[str, Any]] = [
    ("1", 1), ("0.5", 0.5), ("1e-4", 1e-4), ("5.0e-06", 5e-6), ("true", True), ("no", False), ("null", None), ("~", None), ("", None),
    ("plain", "plain"), ("two words", "two words"), ("'it''s'", "it's"), ('"a\\tb: #"', "a\tb: #"), ("meta/X-1.5", "meta/X-1.5"),
    ("http://x:1/y", "http://x:1/y"), ("&anchor 3", 3), ("!!str 7", "7"), ("😀", "😀"),
]  # fmt: skip
FLOW_SCALARS = [scalar for scalar in SCALARS if scalar[0]]
TRICKY = ["on", "1e-4", "a: b", "x # y", "- z", "", " ", "cosine", "it's", "é", "tab\t", "line\nbreak", "\x85", "[x", "1:30", "010"]
NEW = st.one_of(
    st.integers(-10, 10**6),
    st.floats(allow_nan=False, width=32),
    st.booleans(),
    st.none(),
    st.sampled_from(TRICKY),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
NEW_VALUES = st.one_of(NEW, st.lists(NEW, max_size=4))


KINDS = ["scalar"] * 5 + ["mapping", "items", "flow", "list", "block list", "block", "empty", "folded"]


class Writer:
    """Writes random YAML."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.flat: dict[str, Any] = {}
        self.mappings: list[str] = [""]
        self.comments: dict[str, str] = {}
        self.unit = draw(st.sampled_from([2, 4]))
        self.anchors = 0

    def pick(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def note(self, key: str) -> str:
        """A trailing comment, sometimes."""
        if self.pick([True, False, False]):
            return ""
        text = f"# note {len(self.comments)}."
        self.comments[text] = key
        return f"{self.pick([' ', '  ', '      '])}{text}"

    def scalar(self, choices: list[tuple[str, Any]]) -> tuple[str, Any]:
        text, value = self.pick(choices)
        if text.startswith("&anchor"):
            self.anchors += 1
            text = text.replace("anchor", f"anchor{self.anchors}")
        return text, value

    def keys(self) -> list[str]:
        return list(self.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True)))

    def mapping(self, prefix: str, pad: str, depth: int) -> list[str]:
        lines: list[str] = []
        for word in self.keys():
            key = f"{prefix}{word}"
            if self.pick([True, False, False, False]):
                lines.append(self.pick(["", f"{pad}# above {key}", "# at the margin"]))
            shown = self.pick([word, word, f'"{word}"'])
            kind = self.pick(
                ["scalar"] * 5 + ["mapping", "items", "flow", "list", "block list", "block", "empty", "folded"] if depth < 3 else ["scalar"]
            )
            head = f"{pad}{shown}:"
            inner = pad + " " * self.unit
            if kind == "scalar":
                text, value = self.scalar(SCALARS)
                self.flat[key] = value
                lines.append(f"{head} {text}{self.note(key)}" if text else f"{head}{self.note(key)}")
            elif kind == "mapping":
                self.mappings.append(key)
                lines.append(head + self.note(key))
                lines += self.mapping(f"{key}.", inner, depth + 1)
            elif kind == "empty":
                self.mappings.append(key)
                lines.append(f"{head} {{}}{self.note(key)}")
            elif kind == "items":
                lines.append(head + self.note(key))
                for index in range(self.pick([1, 2])):
                    self.mappings.append(f"{key}.{index}")
                    item = self.mapping(f"{key}.{index}.", inner + "  ", depth + 1)
                    while not item[0].strip() or item[0].lstrip().startswith("#"):
                        item = item[1:]
                    lines += [f"{inner}- {item[0].lstrip()}", *item[1:]]
            elif kind == "flow":
                lines += self.flow(key, head, inner)
            elif kind == "list":
                items = [self.scalar(FLOW_SCALARS) for _ in range(self.pick([0, 1, 3]))]
                self.flat[key] = [value for _, value in items]
                lines.append(f"{head} [{', '.join(text for text, _ in items)}]{self.note(key)}")
            elif kind == "block list":
                items = [self.scalar(FLOW_SCALARS) for _ in range(self.pick([1, 3]))]
                self.flat[key] = [value for _, value in items]
                dash = self.pick([pad, inner])
                lines.append(head + self.note(key))
                lines += [f"{dash}- {text}{self.note(key)}" for text, _ in items]
            elif kind == "block":
                self.flat[key] = "one\n two"
                lines += [f"{head} |-{self.note(key)}", f"{inner}one", f"{inner} two", *self.pick([[], [""]])]
            else:
                self.flat[key] = "one two"
                lines += [f"{head} one", f"{inner}two{self.note(key)}"]
        return lines

    def flow(self, key: str, head: str, inner: str) -> list[str]:
        self.mappings.append(key)
        members = []
        for word in self.keys():
            text, value = self.scalar(FLOW_SCALARS)
            self.flat[f"{key}.{word}"] = value
            members.append((f"{key}.{word}", f"{word}: {text}"))
        if self.pick([True, False]):
            return [f"{head} {{{', '.join(text for _, text in members)}}}{self.note(key)}"]
        comma = self.pick(["", ","])
        lines = [
            f"{inner}{text}{',' if index < len(members) - 1 else comma}{self.note(name)}" for index, (name, text) in enumerate(members)
        ]
        return [f"{head} {{{self.note(key)}", *lines, f"{inner}}}"]


@st.composite
def yaml_configs(draw: Any) -> tuple[str, Writer]:
    writer = Writer(draw)
    lines = writer.mapping("", "", 0)
    start = writer.pick([[], ["---"], ["# head", ""], ["%YAML 1.2", "---"]])
    end = writer.pick([[], ["# tail"], ["..."], ["---", "other: 1"]])
    newline = writer.pick(["\n", "\n", "\r\n"])
    return newline.join([*start, *lines, *end]) + writer.pick([newline, newline, ""]), writer


@st.composite
def change_sets(draw: Any, flat: dict[str, Any], mappings: list[str]) -> dict[str, Any]:
    """Changes that do not contradict each other."""
    changes: dict[str, Any] = {}
    keys = [key for key in (*flat, *mappings) if key and not key.rpartition(".")[2].isdigit()]
    for key in draw(st.lists(st.sampled_from(keys), max_size=3, unique=True)) if keys else []:
        if any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in changes):
            continue
        kind = draw(st.sampled_from(["set", "set", "remove", "rename"]))
        if kind == "remove":
            changes[key] = REMOVE
        elif kind == "rename":
            changes[key] = Rename(draw(st.sampled_from(["renamed", "on", "a b", "é#"])) + str(len(changes)))
        elif key in flat:
            changes[key] = draw(NEW_VALUES)
    for number in range(draw(st.integers(0, 2))):
        parent = draw(st.sampled_from(mappings))
        key = f"{parent}.new{number}".lstrip(".")
        if any(key.startswith(f"{other}.") for other in changes):
            continue
        if draw(st.booleans()):
            changes[key] = draw(NEW_VALUES)
        else:
            changes[f"{key}.deeper.still"] = draw(NEW_VALUES)
    return changes


def expected(flat: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What a config says after changes."""
    wanted = {}
    for key, value in flat.items():
        over = next((name for name in changes if key == name or key.startswith(f"{name}.")), None)
        if over is None:
            wanted[key] = value
        elif isinstance(change := changes[over], Rename):
            wanted[over[: len(over) - len(over.rpartition(".")[2])] + change.to + key[len(over) :]] = value
    return wanted | {key: value for key, value in changes.items() if value is not REMOVE and not isinstance(value, Rename)}


def typed(value: Any) -> Any:
    """A value that equals no other one: ``True`` is not 1, but 1 is 1.0."""
    return [typed(item) for item in value] if isinstance(value, list) else (isinstance(value, bool), value)


def plain(flat: dict[str, Any]) -> dict[str, Any]:
    return {key: typed(value) for key, value in flat.items()}


def says(document: Document) -> dict[str, Any]:
    return plain(document.flat())


SLOW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@given(yaml_configs())
@SLOW
def test_any_yaml_is_read_as_it_was_meant(config: tuple[str, Writer]) -> None:
    text, writer = config
    [document] = parse(text, name="config", form="yaml")
    assert plain(writer.flat) == says(document)
    for setting in document.settings.values():
        rows = text.splitlines()
        assert rows[setting.line - 1][setting.column - 1 :].startswith(text[setting.key_start : setting.key_end])
        assert text[setting.key_start : setting.key_end].strip('"') == setting.key.rpartition(".")[2]


@given(st.data())
@SLOW
def test_any_yaml_says_what_it_is_changed_to_and_else_stays(data: st.DataObject) -> None:
    text, writer = data.draw(yaml_configs())
    changes = data.draw(change_sets(writer.flat, writer.mappings))
    after = change(text, changes)
    [document] = parse(after, name="config", form="yaml")
    assert plain(expected(writer.flat, changes)) == says(document)
    for comment, owner in writer.comments.items():
        if not any(owner == key or owner.startswith(f"{key}.") for key in changes):
            assert comment in after, "comments of what does not change stay"
    assert ("\r\n" in text) == ("\r\n" in after) or "\n" not in after
    assert after.replace("\r\n", "").count("\n") == 0 or "\r\n" not in text
    touched = {line.strip() for line in text.splitlines()} - {line.strip() for line in after.splitlines()}
    assert len(touched) <= 4 * len(changes) or any(value is REMOVE or isinstance(value, list) for value in changes.values())


@given(NEW)
@settings(SLOW, max_examples=50)
def test_a_value_means_the_same_to_every_yaml_parser(value: Any) -> None:
    for old in ("x_x", "'x_x'", '"x_x"', "-7777", ""):
        after = change(f"key: {old}\nflow: {{key: -7777}}\n", {"key": value, "flow.key": value, "new": [value]})
        for read in (pyyaml.safe_load(after), YAML(typ="safe", pure=True).load(after)):
            assert [repr(read["key"]), repr(read["flow"]["key"]), repr(read["new"][0])] == [repr(value)] * 3


JSON_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
JSON_KEYS = st.sampled_from(["lr", "wd", "optim", "a b", "é", 'q"', "\\"])
JSON_CONFIGS = st.dictionaries(
    JSON_KEYS,
    st.recursive(
        JSON_SCALARS | st.lists(JSON_SCALARS, max_size=3),
        lambda inner: (
            st.dictionaries(JSON_KEYS, inner, max_size=4) | st.lists(st.dictionaries(JSON_KEYS, inner, max_size=2), min_size=1, max_size=2)
        ),
        max_leaves=10,
    ),
    max_size=5,
)


def flattened(value: Any, prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """Settings and mappings of nested data."""
    flat: dict[str, Any] = {}
    mappings = [prefix.rstrip(".")] if isinstance(value, dict) else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(item, dict) for item in inner)):
            deeper, sections = flattened(inner, f"{prefix}{key}.")
            flat |= deeper
            mappings += sections
        else:
            flat[f"{prefix}{key}"] = inner
    return flat, mappings


@given(st.data(), JSON_CONFIGS, st.sampled_from([None, 0, 1, 2, 4, "\t"]), st.booleans(), st.sampled_from(["", "\n", "\r\n"]))
@SLOW
def test_any_json_says_what_it_is_changed_to_and_else_stays(
    data: st.DataObject, config: dict[str, Any], indent: int | str | None, ascii_only: bool, newline: str
) -> None:
    text = json.dumps(config, indent=indent, ensure_ascii=ascii_only) + newline
    if newline == "\r\n" and indent is not None:
        text = text.replace("\n", "\r\n").replace("\r\r", "\r")
    flat, mappings = flattened(config)
    [document] = parse(text, name="config", form="json")
    assert plain(flat) == says(document)
    for setting in document.settings.values():
        assert json.loads(text[setting.start : setting.end]) == setting.value
    changes = data.draw(change_sets(flat, mappings))
    after = change(text, changes, "json")
    assert plain(expected(flat, changes)) == plain(flattened(json.loads(after))[0])
    assert (after.count("\n") == 0) == (text.count("\n") == 0) or after.strip() == "{}" or text.strip() == "{}"
    assert after.count("\n") - after.count("\r\n") == 0 or "\r" not in text


# YAML, case by case.

CONFIG = dedent(
    """\
    # How the model was trained.
    model:
      name: 'base'   # quoted
      lr: 1e-4       # as in the paper
      wd: 0.1        # decay

    train: {epochs: 3, seed: 1}  # flow
    modules:
      - q_proj  # query
      - "v_proj"
    # about the data
    datasets:
      - path: one  # first
        type: chat
      - path: two
    empty: {}
    nothing:
    # the end
    """
)


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that are only in one of two texts."""
    changed = diff(before, after, "x").splitlines()[2:]
    return [line[1:] for line in changed if line[0] == "-"], [line[1:] for line in changed if line[0] == "+"]


@pytest.mark.parametrize(
    ("changes", "gone", "new"),
    [
        ({"model.lr": 2e-5}, ["  lr: 1e-4       # as in the paper"], ["  lr: 2.0e-05    # as in the paper"]),
        ({"model.name": "it's"}, ["  name: 'base'   # quoted"], ["  name: 'it''s'  # quoted"]),
        ({"model.name": None}, ["  name: 'base'   # quoted"], ["  name: null     # quoted"]),
        ({"train.epochs": 10}, ["train: {epochs: 3, seed: 1}  # flow"], ["train: {epochs: 10, seed: 1}  # flow"]),
        ({"train.epochs": REMOVE}, ["train: {epochs: 3, seed: 1}  # flow"], ["train: {seed: 1}  # flow"]),
        ({"train.seed": REMOVE, "train.epochs": REMOVE}, ["train: {epochs: 3, seed: 1}  # flow"], ["train: {}  # flow"]),
        ({"train.new": [1, "a, b"]}, ["train: {epochs: 3, seed: 1}  # flow"], ['train: {epochs: 3, seed: 1, new: [1, "a, b"]}  # flow']),
        ({"model.wd": REMOVE}, ["  wd: 0.1        # decay"], []),
        ({"model.new": True}, [], ["  new: true"]),
        ({"modules": ["q_proj", "v_proj", "o_proj"]}, [], ["  - o_proj"]),
        ({"modules": ["v_proj"]}, ["  - q_proj  # query"], []),
        ({"modules": ["k_proj", "v_proj"]}, ["  - q_proj  # query"], ["  - k_proj  # query"]),
        ({"modules": "all-linear"}, ["modules:", "  - q_proj  # query", '  - "v_proj"'], ["modules: all-linear"]),
        ({"modules": []}, ["modules:", "  - q_proj  # query", '  - "v_proj"'], ["modules: []"]),
        ({"datasets.0.type": "text"}, ["    type: chat"], ["    type: text"]),
        ({"datasets.0.path": REMOVE}, ["  - path: one  # first", "    type: chat"], ["  - type: chat"]),
        ({"datasets.1.path": REMOVE}, ["  - path: two"], ["  - {}"]),
        ({"datasets.1.type": "chat"}, [], ["    type: chat"]),
        ({"empty.lr": 0.5}, ["empty: {}"], ["empty: {lr: 0.5}"]),
        ({"nothing": "x"}, ["nothing:"], ["nothing: x"]),
        ({"nothing.lr": 1, "nothing.a.b": 2}, [], ["  lr: 1", "  a:", "    b: 2"]),
        ({"new.section": {"lr": 1, "empty": {}}}, [], ["new:", "  section:", "    lr: 1", "    empty: {}"]),
        ({"model.lr": Rename("learning_rate")}, ["  lr: 1e-4       # as in the paper"], ["  learning_rate: 1e-4       # as in the paper"]),
        ({"datasets": REMOVE}, ["datasets:", "  - path: one  # first", "    type: chat", "  - path: two"], []),
        ({"model": {"wd": 0.2}}, ["  wd: 0.1        # decay"], ["  wd: 0.2        # decay"]),
        ({"model.lr": 0.0001, "modules": ["q_proj", "v_proj"], "absent": REMOVE}, [], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_yaml_changes_only_these_lines(changes: dict[str, Any], gone: list[str], new: list[str], newline: str) -> None:
    text = CONFIG.replace("\n", newline)
    after = change(text, changes)
    assert after.count("\r") == (after.count("\n") if newline == "\r\n" else 0)
    assert lines_changed(CONFIG, after.replace("\r\n", "\n")) == (gone, new)


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("a: 1", {"b": 2}, "a: 1\nb: 2"),
        ("a: 1\nb: 2", {"b": REMOVE}, "a: 1"),
        ("a: 1\n", {"a": REMOVE}, "{}\n"),
        ("{a: 1}\n", {"a": REMOVE, "b": 2}, "{b: 2}\n"),
        ("a: 1\n# end\n...\n", {"b": 2}, "a: 1\nb: 2\n# end\n...\n"),
        ("---\na: 1\n---\nz: 1\n", {"b": 2}, "---\na: 1\nb: 2\n---\nz: 1\n"),
        ("a: |\n  x\n\nb: 1\n", {"a": "z"}, "a: z\n\nb: 1\n"),
        ("a: |+\n  x\n\n", {"b": 1}, "a: |+\n  x\n\nb: 1\n"),
        ("a: one\n  two  # c\nb: 1\n", {"a": 5}, "a: 5  # c\nb: 1\n"),
        ("a: &x 1\nb: *x\n", {"b": 2}, "a: &x 1\nb: 2\n"),
        ("a: &x 1\nb: *x\n", {"a": 2, "b": 2}, "a: &x 2\nb: *x\n"),
        ("a: !!float 1  # c\n", {"a": "x"}, "a: x  # c\n"),
        ("a: &x !!str 1\nb: *x\n", {"a": 2}, "a: &x 2\nb: *x\n"),
        ("s:\n    a: 1\n", {"t.b": 2}, "s:\n    a: 1\nt:\n    b: 2\n"),
        ("s:\n- a: 1\n- b: 1\n", {"s.0.c": [2], "d": 1}, "s:\n- a: 1\n  c: [2]\n- b: 1\nd: 1\n"),
        ("s: {\n  a: 1,  # x\n  b: 2  # y\n}\n", {"s.c": 3}, "s: {\n  a: 1,  # x\n  b: 2,  # y\n  c: 3\n}\n"),
        ("s: {\n  a: 1,  # x\n  b: 2  # y\n}\n", {"s.a": REMOVE}, "s: {\n  b: 2  # y\n}\n"),
        ("s: {\n  a: 1,  # x\n  b: 2  # y\n}\n", {"s.b": REMOVE}, "s: {\n  a: 1,  # x\n}\n"),
        ("l: [\n  a,\n  b,\n]\n", {"l": ["c"]}, "l: [\n  c\n]\n"),
        ("l: ['a', 'b']\n", {"l": ["c", 1]}, "l: ['c', 1]\n"),
        ("a: 1\nb: 2\na: 3\n", {"a": 4}, "a: 1\nb: 2\na: 4\n"),
        ("a: 1\nb: 2\na: 3\n", {"a": REMOVE}, "b: 2\n"),
        ("on: True\n", {"on": False}, "on: False\n"),
        ("a: 1\n", {"on": 1, "b c": 2, "d: e": 3}, 'a: 1\n"on": 1\nb c: 2\n"d: e": 3\n'),
        ("'a': 1\n", {"a": Rename("b")}, "'b': 1\n"),
        ("a:   # nothing yet\nb: 1\n", {"a": 2}, "a: 2   # nothing yet\nb: 1\n"),
        ("- a: 1\n---\na: 1\n", {"a": 2}, "- a: 1\n---\na: 2\n"),
    ],
)
def test_yaml_edits(before: str, changes: dict[str, Any], after: str) -> None:
    assert change(before, changes) == after


MERGED = dedent(
    """\
    base: &base
      lr: 1.0
      deep: {x: 1}
    first:
      <<: *base
      wd: 0.1
    second: *base
    """
)


def test_a_merged_key_is_set_where_it_is_asked_for() -> None:
    assert lines_changed(MERGED, change(MERGED, {"first.lr": 2.0})) == ([], ["  lr: 2.0"])


def test_a_section_that_others_refer_to_changes_for_them_too() -> None:
    after = change(MERGED, {"base.lr": 2.0})
    assert lines_changed(MERGED, after) == (["  lr: 1.0"], ["  lr: 2.0"])
    assert parse(after, name="x", form="yaml")[0].flat()["second.lr"] == 2.0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"second.lr": 2.0}, "second.lr stands in a section that is used more than once"),
        ({"second.new": 2.0}, "second.new would go into a section that is used more than once"),
        ({"first.deep.x": 2}, "first.deep.x stands in a section that is used more than once"),
        ({"first.lr": REMOVE}, "first.lr stands in a section that is used more than once"),
        ({"second.lr": Rename("rate")}, "second.lr stands in a section that is used more than once"),
        ({"base": REMOVE}, "cannot be edited to set base"),
        ({"base": 1}, "base is a section, not a value"),
        ({"first.wd.x": 1}, "first.wd.x cannot be set, first.wd is no section"),
        ({"first.wd": {"x": 1}}, "first.wd is a value, not a section"),
        ({"absent": Rename("other")}, "absent is not set, so it cannot be renamed"),
        ({"base.lr": Rename("deep")}, "base.lr cannot become deep, which is set too"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any], problem: str) -> None:
    [document] = parse(MERGED, name="cfg.yaml", form="yaml")
    with pytest.raises(InputError) as raised:
        edits(document, changes)
    assert raised.value.problem.startswith(problem)
    assert str(raised.value).startswith("cfg.yaml: ")
    assert "\n" not in str(raised.value)


def test_removing_what_a_merge_overrides_keeps_the_merge() -> None:
    assert lines_changed(MERGED, change(MERGED, {"first.wd": REMOVE})) == (["  wd: 0.1"], [])


# JSON, case by case.

JSON_TEXT = dedent(
    """\
    {
        "lr": 1e-4,
        "modules": [
            "q",
            "v"
        ],
        "peft": {"r": 8, "alpha": 16},
        "empty": {},
        "nothing": null,
        "optim": {
            "wd": 0.1
        }
    }
    """
)


@pytest.mark.parametrize(
    ("changes", "gone", "new"),
    [
        ({"lr": 2e-5}, ['    "lr": 1e-4,'], ['    "lr": 2e-05,']),
        ({"lr": 0.0001}, [], []),
        ({"lr": "é"}, ['    "lr": 1e-4,'], ['    "lr": "é",']),
        ({"lr": REMOVE}, ['    "lr": 1e-4,'], []),
        ({"lr": Rename("rate")}, ['    "lr": 1e-4,'], ['    "rate": 1e-4,']),
        ({"modules": ["q", "v", "o"]}, ['        "v"'], ['        "v",', '        "o"']),
        ({"peft.r": REMOVE}, ['    "peft": {"r": 8, "alpha": 16},'], ['    "peft": {"alpha": 16},']),
        ({"peft.alpha": REMOVE}, ['    "peft": {"r": 8, "alpha": 16},'], ['    "peft": {"r": 8},']),
        ({"peft.d": None}, ['    "peft": {"r": 8, "alpha": 16},'], ['    "peft": {"r": 8, "alpha": 16, "d": null},']),
        ({"empty.a.b": 1}, ['    "empty": {},'], ['    "empty": {', '        "a": {', '            "b": 1', "        }", "    },"]),
        ({"nothing.a": 1}, ['    "nothing": null,'], ['    "nothing": {', '        "a": 1', "    },"]),
        ({"optim.wd": REMOVE}, ['    "optim": {', '        "wd": 0.1', "    }"], ['    "optim": {}']),
        ({"optim.lr": 1}, ['        "wd": 0.1'], ['        "wd": 0.1,', '        "lr": 1']),
        ({"optim": REMOVE}, ['    "nothing": null,', '    "optim": {', '        "wd": 0.1', "    }"], ['    "nothing": null']),
    ],
    ids=str,
)
def test_json_changes_only_these_lines(changes: dict[str, Any], gone: list[str], new: list[str]) -> None:
    assert lines_changed(JSON_TEXT, change(JSON_TEXT, changes, "json")) == (gone, new)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{"a": 1}'),
        ('{"b":2}', '{"b":2,"a":1}'),
        ('{ "b" : 2 }', '{ "b" : 2, "a" : 1 }'),
        ('{\r\n\t"b": 2\r\n}\r\n', '{\r\n\t"b": 2,\r\n\t"a": 1\r\n}\r\n'),
        ('{"a": 2, "a": 3}', '{"a": 2, "a": 1}'),
    ],
)
def test_json_keeps_its_style(before: str, after: str) -> None:
    assert change(before, {"a": 1}, "json") == after


# The file.


def test_edits_that_overlap_are_an_error() -> None:
    with pytest.raises(ValueError, match="overlap at character 1"):
        edited("abc", [Edit(0, 2, "x"), Edit(1, 3, "y")])
    assert edited("abc", [Edit(2, 2, "x"), Edit(0, 1, "")]) == "bxc"


@pytest.mark.parametrize(("before", "after"), [("a: 1\nb: 2", "a: 1\nb: 3"), ("a: 1\nb: 2\n", "a: 1\nb: 3\nc: 4\n"), ("a: 1", "a: 1\n")])
def test_the_diff_is_one_that_git_applies(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "c.yaml").write_text(before)
    (tmp_path / "d.diff").write_text(diff(before, after, "c.yaml"))
    subprocess.run(
        ["git", "apply", "d.diff"], cwd=tmp_path, check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    )
    assert (tmp_path / "c.yaml").read_text() == after
    assert diff(before, before, "c.yaml") == ""


def test_a_file_is_replaced_whole_and_keeps_its_permissions_and_newlines(tmp_path: Path) -> None:
    target = tmp_path / "config.yaml"
    target.write_bytes(b"a: 1\r\n")
    target.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(target)
    write(link, "a: é\r\n", "utf-8-sig")
    assert target.read_bytes() == b"\xef\xbb\xbfa: \xc3\xa9\r\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "link.yaml"]


def test_a_file_that_cannot_be_replaced_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "absent" / "config.yaml", "a: 1\n", "utf-8")
