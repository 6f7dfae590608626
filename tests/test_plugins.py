"""Entry points: ours, and a stranger's through the same door."""

from __future__ import annotations

from collections.abc import Iterator
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
    names = list(plugins.points(group))
    assert names
    assert names == sorted(names)


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
