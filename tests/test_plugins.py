"""Entry points: ours, and a stranger's through the same door, as the standard library finds them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from diag import plugins


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    plugins.forget()
    yield
    plugins.forget()


def distribution(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}-1.0.dist-info").mkdir(parents=True)
    (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(text)


@pytest.mark.parametrize("group", ["diag.adapters", "diag.checks", "diag.dialects", "diag.reports"])
def test_our_own_are_registered_in_name_order(group: str) -> None:
    expected = {point.name: point.value for point in entry_points(group=group)}
    assert expected
    assert {name: point.value for name, point in plugins.points(group).items()} == expected
    assert list(plugins.points(group)) == sorted(expected)


def test_a_strangers_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "stranger", "[console_scripts]\nx = y:z\n\n[diag.reports]\nshout = stranger_module:loud.render\n")
    (tmp_path / "stranger_module.py").write_text("class loud:\n    render = str.upper\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.points("diag.reports")["shout"].load()("a") == "A"
    assert "x" not in plugins.points("diag.reports")


def test_of_two_copies_of_a_package_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, value in (("late", "old"), ("early", "new")):
        distribution(tmp_path / folder, "stranger", f"[diag.reports]\nshout = {value}:render\n")
        monkeypatch.syspath_prepend(tmp_path / folder)
    assert plugins.points("diag.reports")["shout"].value == "new:render"


def test_an_archive_on_the_path_is_searched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "stranger.zip", "w") as archive:
        archive.writestr("stranger-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        archive.writestr("stranger-1.0.dist-info/entry_points.txt", "[diag.reports]\nshout = stranger:render\n")
    monkeypatch.syspath_prepend(tmp_path / "stranger.zip")
    assert plugins.points("diag.reports")["shout"].value == "stranger:render"


def test_what_is_slow_to_import_is_not_needed_for_a_small_log(fixtures: Path) -> None:
    log = fixtures / "hf-overfit" / "trainer_state.json"
    code = f"import sys; from diag.cli import main; main(['analyze', {str(log)!r}, '-o', {os.devnull!r}]); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    for heavy in ("importlib.metadata", "pandas", "rich", "ruamel", "diag.adapters.table"):
        assert f"'{heavy}'" not in loaded
    assert "'diag.adapters.trainer_state'" in loaded
