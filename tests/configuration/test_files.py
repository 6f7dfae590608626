"""Where configuration files are found, how they are read, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.configuration import files
from diag.errors import DiagError, InputError, UsageError

TOML = 'fail-on = "warning"\nselect = ["OVF"]\n\n[severity]\nOVF001 = "info"\n'
INI = "[metadata]\nname = x\n[diag]\nfail-on = warning\nselect =\n    OVF\n[diag:severity]\nOVF001 = info\n"
EXPECTED = {"fail-on": "warning", "select": ("OVF",), "severity": (("OVF001", "info"),)}


def pyproject(text: str) -> str:
    return "[project]\nname = 'x'\n[tool.diag]\n" + text.replace("[severity]", "[tool.diag.severity]")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    files.find.cache_clear()


@pytest.mark.parametrize(("name", "text"), [("diag.toml", TOML), ("pyproject.toml", pyproject(TOML)), ("setup.cfg", INI)])
def test_the_three_files_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    found = files.find(tmp_path / "runs" / "one")
    assert found is not None
    assert found.path == tmp_path / name
    assert dict(found.values) == EXPECTED


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject(TOML))
    found = files.find(tmp_path)
    assert found is not None
    lines = (tmp_path / "pyproject.toml").read_text().splitlines()
    assert lines[found.lines["fail-on"] - 1] == 'fail-on = "warning"'
    assert lines[found.lines["severity"] - 1] == "[tool.diag.severity]"
    assert found.place("select") == "pyproject.toml:5"


def test_the_nearest_file_with_our_section_counts(tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text(TOML)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.other]\ndiag = 1\n")
    (inner / "setup.cfg").write_text("[flake8]\nignore = E1\n")
    found = files.find(inner)
    assert found is not None
    assert found.path == tmp_path / "diag.toml"


def test_a_table_whose_name_only_begins_like_ours_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text(TOML)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "pyproject.toml").write_text("[tool.diag-notes]\nauthor = 1\n")
    found = files.find(tmp_path / "inner")
    assert found is not None
    assert found.path == tmp_path / "diag.toml"


def test_other_sections_may_be_written_with_colons(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text(INI.replace("name = x", "name: x\nversion: 1"))
    found = files.find(tmp_path)
    assert found is not None
    assert dict(found.values) == EXPECTED


def test_of_one_folder_diag_toml_comes_first(tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text("jobs = 2\n")
    (tmp_path / "pyproject.toml").write_text(pyproject(TOML))
    found = files.find(tmp_path)
    assert found is not None
    assert dict(found.values) == {"jobs": 2}


def test_the_search_ends_at_the_repository(tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text(TOML)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "runs").mkdir()
    assert files.find(tmp_path / "repository" / "runs") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('fial-on = "error"', ["line 1", "'fial-on'", "did you mean 'fail-on'"]),
        ('\n\n[severty]\nOVF001 = "info"', ["line 3", "did you mean 'severity'"]),
        ('fail-on = "fatal"\nmethod = "lore"', ["line 1", "line 2", "did you mean 'lora'"]),
        ('fail-on = "error"\nfail_on = "info"', ["twice"]),
        ("fail-on = ", ["no valid TOML"]),
        ("\x00", ["no valid TOML"]),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "diag.toml"
    path.write_text(text)
    with pytest.raises((InputError, UsageError)) as error:
        files.find(tmp_path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_underscores_do_as_well(tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text('fail_on = "info"\n')
    found = files.find(tmp_path)
    assert found is not None
    assert found.values["fail-on"] == "info"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("diag.toml", b"\xff\xfe", "not UTF-8"),
        ("diag.toml", b"#" * (files.MAX_BYTES + 1), "larger than"),
        ("setup.cfg", b"[diag]\nno equals sign\n", "no valid INI"),
        ("setup.cfg", b"[diag]\n[diag]\n", "no valid INI"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        files.find(tmp_path)


def test_a_named_file_must_be_there_and_have_our_section(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        files.read(tmp_path / "diag.toml")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(InputError, match=r"no section \[tool.diag\]"):
        files.read(tmp_path / "pyproject.toml")
    (tmp_path / "gate.toml").write_text(TOML)
    assert dict(files.read(tmp_path / "gate.toml").values) == EXPECTED
    (tmp_path / "gate.cfg").write_text(INI)
    assert dict(files.read(tmp_path / "gate.cfg").values) == EXPECTED


@given(st.sampled_from(["diag.toml", "pyproject.toml", "setup.cfg"]), st.text(max_size=200))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    prefix = {"diag.toml": "", "pyproject.toml": "[tool.diag]\n", "setup.cfg": "[diag]\n"}[name]
    try:
        files.parse(Path("/x") / name, prefix + text)
    except DiagError as error:
        assert str(error).startswith(f"/x/{name}")
