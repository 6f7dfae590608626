"""How many samples a config's local data holds, and how long they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import diag.local_data
from diag.errors import InputError
from diag.local_data import local_data, sample_lengths


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


@pytest.mark.parametrize(
    ("name", "content", "size"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', 2),
        ("a.jsonl", '{"a": 1}\n{"a": 2}', 2),
        ("a.jsonl", '{"a": 1}\n\n\n  \n{"a": 2}\n\n', 2),
        ("a.jsonl", '{"a": 1}\r\n\r\n{"a": 2}\r\n', 2),
        ("a.JSONL", '{"a": 1}\n', 1),
        ("a.ndjson", "{}\n" * 7, 7),
        ("a.txt", "one\ntwo\nthree\n", 3),
        ("a.csv", "text,label\na,0\nb,1\n", 2),
        ("a.csv", 'text,label\n"a\nb",0\n"say ""hi""\n\nthere",1\n', 2),
        ("a.tsv", 'text\tlabel\n5" disk\t0\nb\t1\n', 2),
        ("a.json", '[{"a": 1}, {"a": 2}, {"a": 3}]', 3),
        ("a.json", '{"a": 1}\n{"a": 2}\n', 2),
    ],
)
def test_samples_are_counted(tmp_path: Path, name: str, content: str, size: int) -> None:
    write(tmp_path, name, content)
    assert local_data({"train_file": name}, tmp_path) == {"dataset_size": size, "source": f"{name}, train_file"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", ""),
        ("a.jsonl", "\n\n \n"),
        ("a.json", '{"a": 1}'),
        ("a.json", "[]"),
        ("a.csv", "text,label\n"),
        ("a.parquet", b"PAR1"),
        ("a", "x\n"),
        ("gone", None),
    ],
)
def test_what_cannot_be_counted_says_nothing(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        write(tmp_path, name, content)
    assert local_data({"train_file": name}, tmp_path) == {}


@pytest.mark.parametrize(
    "value", [None, 5, True, {"a": 1}, "", "a\0b.jsonl", "x" * 5000 + ".jsonl", "https://host/a.jsonl", [], [None, 3], "."]
)
def test_odd_values_are_passed_over(tmp_path: Path, value: Any) -> None:
    assert local_data({"train_file": value}, tmp_path) == {}


def test_evaluation_data_does_not_count(tmp_path: Path) -> None:
    name = write(tmp_path, "a.jsonl", "{}\n")
    for key in (
        "validation_file",
        "eval_dataset",
        "validation_dataset.path_or_dataset",
        "test_datasets.0.path",
        "val.data_path",
        "output_path",
    ):
        assert local_data({key: name}, tmp_path) == {}, key
    for key in (
        "train_file",
        "data_path",
        "dataset.path_or_dataset",
        "datasets.0.path",
        "dataset_name",
        "dataset.source",
        "train.data_files",
    ):
        assert local_data({key: name}, tmp_path)["dataset_size"] == 1, key


def test_several_files_add_up_and_one_named_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "data/a.jsonl", "{}\n" * 3)
    write(tmp_path, "data/b.json", "[1, 2]")
    flat = {"datasets.0.path": "data/a.jsonl", "datasets.1.path": "data/b.json", "dataset_name": "data/a.jsonl"}
    assert local_data(flat, tmp_path) == {
        "dataset_size": 5,
        "source": "data/a.jsonl, datasets.0.path; data/b.json, datasets.1.path",
    }
    assert local_data({"data_files": ["data/a.jsonl", "data/b.json"]}, tmp_path)["dataset_size"] == 5


def test_paths_are_relative_to_the_config_then_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "config/a.jsonl", "{}\n")
    write(tmp_path, "a.jsonl", "{}\n" * 2)
    write(tmp_path, "b.jsonl", "{}\n" * 3)
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config"
    assert local_data({"train_file": "a.jsonl"}, config)["dataset_size"] == 1
    assert local_data({"train_file": "b.jsonl"}, config)["dataset_size"] == 3
    assert local_data({"train_file": str(tmp_path / "b.jsonl")}, config)["dataset_size"] == 3


def test_lines_longer_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diag.local_data, "CHUNK", 8)
    write(tmp_path, "a.jsonl", ('{"text": "' + "x" * 100 + '"}\n') * 3 + " " * 50 + "\n")
    assert local_data({"train_file": "a.jsonl"}, tmp_path)["dataset_size"] == 3


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.jsonl", "{}\n" * 10)
    write(tmp_path, "a.json", "[1, 2, 3, 4]")
    monkeypatch.setattr(diag.local_data, "MAX_JSON_BYTES", 5)
    assert local_data({"train_file": "a.json"}, tmp_path) == {}
    monkeypatch.setattr(diag.local_data, "MAX_BYTES", 20)
    assert local_data({"train_file": "a.jsonl"}, tmp_path) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    (tmp_path / "c.jsonl").symlink_to("gone")
    assert local_data({"datasets.0.path": "a.jsonl", "datasets.1.path": "b.jsonl", "datasets.2.path": "c.jsonl"}, tmp_path) == {}


class TestSampleLengths:
    @pytest.mark.parametrize(
        ("text", "lengths"),
        [
            ("1\n2\n\n3\n", (1, 2, 3)),
            ("\ufeff1\n2\n", (1, 2)),
            ("# tokens\n5\n6.0\n", (5, 6)),
            ("name,tokens\na,5\nb,7\n", (5, 7)),
            ("[1, 2, 3]", (1, 2, 3)),
            ('{"length": 4}\n{"num_tokens": 5}\n{"input_ids": [1, 2]}\n', (4, 5, 2)),
            ('[{"tokens": 4}, {"len": 9}]', (4, 9)),
            ("7", (7,)),
            ("0\n", (0,)),
        ],
    )
    def test_forms(self, tmp_path: Path, text: str, lengths: tuple[int, ...]) -> None:
        assert sample_lengths(tmp_path / write(tmp_path, "lengths", text)) == lengths

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "holds no lengths"),
            (b"# nothing\n", "holds no lengths"),
            (b"tokens\n", "holds no lengths"),
            (b"1\nword\n", "item 2 holds no length"),
            (b"1\n-5\n", "item 2 holds no length"),
            (b"1\nnan\n", "item 2 holds no length"),
            (b"1\n1e300\n", "item 2 holds no length"),
            (b"1\n" + b"9" * 6000 + b"\n", "item 2 holds no length"),
            (b"[1, true]", "item 2 holds no length"),
            (b'[{"text": "a"}]', "item 1 holds no length"),
            (b"\xff\xfe\x00", "is not UTF-8 text"),
            (b"[" * 50_000, "holds no length"),
        ],
    )
    def test_what_is_none_is_one_clear_error(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            sample_lengths(tmp_path / write(tmp_path, "lengths", content))
        assert "\n" not in str(caught.value)

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "gone", tmp_path):
            with pytest.raises(InputError, match="cannot be read"):
                sample_lengths(path)
