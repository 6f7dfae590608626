"""Reading what lm-evaluation-harness leaves behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import InputError
from diag.gate import lm_eval
from diag.gate.lm_eval import Key


def write(folder: Path, content: Any, time: str = "2026-01-02T03-04-05.678", name: str = "results") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}_{time}.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def results(**changes: Any) -> dict[str, Any]:
    """What the harness writes, in short."""
    return {
        "results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.02}},
        "group_subtasks": {"arc": []},
        "configs": {"arc": {}},
        "versions": {"arc": 1.0},
        "n-shot": {"arc": 5},
        "higher_is_better": {"arc": {"acc": True}},
        "n-samples": {"arc": {"original": 900, "effective": 600}},
        "config": {"model": "hf", "limit": None},
        **changes,
    }


def test_a_recorded_result(fixtures: Path) -> None:
    found = lm_eval.read(fixtures / "lm-eval" / "base")
    assert found.model == "models/base"
    assert found.scores[Key("known_words", "acc", "none")].value == 1.0
    assert found.scores[Key("known_text", "byte_perplexity", "none")].stderr is None
    assert found.scores[Key("known_text", "byte_perplexity", "none")].higher is False
    assert {key.filter for key in found.scores if key.task == "known_spelling"} == {"strict-match", "first-word"}
    assert found.groups == {"words": ("known_words", "new_words")}
    assert found.counts["known_words"] == 80
    assert set(found.samples) == {"known_spelling", "known_text", "known_words", "new_words"}
    samples = lm_eval.read_samples(found.samples["known_text"])
    assert len(samples) == 80
    assert all(len(sample.values["byte_perplexity"]) == 2 for sample in samples.values())


def test_the_newest_in_a_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "model", results(), "2026-01-02T03-04-05")
    newest = write(tmp_path / "other", results(model_name="newest"), "2026-02-01T00-00-00")
    found = lm_eval.read(tmp_path)
    assert (found.model, found.path) == ("newest", str(newest))
    assert "newest of 2" in found.notes[0]


def test_folders_too_deep_and_links_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c" / "d", results())
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"holds no results_\*\.json"):
        lm_eval.read(tmp_path)


def test_a_file_of_the_output_paths_own_name(tmp_path: Path) -> None:
    file = write(tmp_path, results(), name="my-model")
    assert lm_eval.is_results(file)
    assert lm_eval.read(file).scores


def test_results_of_version_0_3_have_no_filters(tmp_path: Path) -> None:
    old = {"results": {"arc": {"acc": 0.5, "acc_stderr": 0.02}}, "versions": {"arc": 0}, "config": {"model": "hf"}}
    found = lm_eval.read(write(tmp_path, old))
    score = found.scores[Key("arc", "acc", "")]
    assert (score.value, score.stderr, score.higher) == (0.5, 0.02, True)
    assert next(iter(found.scores)).label == "arc/acc"


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("acc_norm", True),
        ("exact_match", True),
        ("word_perplexity", False),
        ("bits_per_byte", False),
        ("acc_filtered", True),
        ("odd", None),
    ],
)
def test_which_way_is_better_where_the_results_do_not_say(tmp_path: Path, metric: str, higher: bool | None) -> None:
    row = {f"{metric},none": 0.5}
    found = lm_eval.read(write(tmp_path, results(results={"arc": row}, higher_is_better={})))
    assert [score.higher for score in found.scores.values()] == [higher]


@pytest.mark.parametrize("stderr", ["N/A", None, "NaN", -1, [], True and "?"])
def test_a_standard_error_that_is_none(tmp_path: Path, stderr: Any) -> None:
    row = {"acc,none": 0.5, "acc_stderr,none": stderr}
    found = lm_eval.read(write(tmp_path, results(results={"arc": row})))
    assert found.scores[Key("arc", "acc", "none")].stderr is None


def test_a_value_that_is_nan(tmp_path: Path) -> None:
    text = json.dumps(results()).replace('"acc,none": 0.5', '"acc,none": NaN')
    assert math.isnan(lm_eval.read(write(tmp_path, text)).scores[Key("arc", "acc", "none")].value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("{", "not whole or not JSON"),
        (json.dumps(results())[:-30], "not whole or not JSON"),
        ("[]", "no results file"),
        ("{}", "no results file"),
        ('{"results": {}}', "no results file"),
        ('{"results": {"arc": {"acc": 1}}}', "no results file"),
        ("[" * 100_000, "nested too deeply"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    ],
)
def test_what_is_no_results_file(tmp_path: Path, content: str, words: str) -> None:
    file = write(tmp_path, content)
    assert not lm_eval.is_results(file)
    with pytest.raises(InputError, match=words) as error:
        lm_eval.read(file)
    assert str(file) in str(error.value)


def test_paths_that_are_nothing(tmp_path: Path, fixtures: Path) -> None:
    assert not lm_eval.is_results(tmp_path)
    assert not lm_eval.is_results(tmp_path / "missing.json")
    assert not lm_eval.is_results(fixtures / "hf-healthy")
    assert not lm_eval.is_results(fixtures / "hf-healthy" / "trainer_state.json")
    with pytest.raises(InputError):
        lm_eval.read(tmp_path / "missing.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers(-10, 10) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["arc", "acc,none", "acc_stderr,none", "x"]), inner),
        max_leaves=12,
    ).flatmap(lambda value: st.sampled_from(sorted(results())).map(lambda key: (key, value)))
)
def test_any_table_may_hold_anything(tmp_path_factory: pytest.TempPathFactory, change: tuple[str, Any]) -> None:
    file = write(tmp_path_factory.mktemp("any"), results(**{change[0]: change[1]}))
    try:
        found = lm_eval.read(file)
    except InputError:
        return
    assert all(isinstance(score.value, float) for score in found.scores.values())
    file.unlink()


def test_lines_that_are_no_samples_are_passed_over(tmp_path: Path) -> None:
    good = {"doc_id": 1, "filter": "none", "metrics": ["acc", "f1"], "acc": 1.0, "f1": [0.5, "x"], "doc_hash": "h"}
    file = tmp_path / "samples.jsonl"
    file.write_bytes(b"\n".join([b"", b"{", b"[]", b'{"doc_id": {}}', json.dumps(good).encode(), b"\xff\xfe", b"[" * 100_000]))
    found = lm_eval.read_samples(file)
    assert {key: sample.values for key, sample in found.items()} == {("1", "none"): {"acc": (1.0,)}}
    with pytest.raises(InputError):
        lm_eval.read_samples(tmp_path)
