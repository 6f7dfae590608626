from __future__ import annotations

from pathlib import Path

import pytest

from diag.whole_file import replace


def test_a_file_is_made_or_replaced_as_it_is_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text, mode in (("a: 1\r\n", 0o600), ("b: é\n", 0o644)):
        replace(path, text, encoding="utf-8", mode=mode)
        assert path.read_bytes() == text.encode()
        assert path.stat().st_mode & 0o777 == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n")
    with pytest.raises(UnicodeEncodeError):
        replace(path, "é", encoding="ascii", mode=0o644)
    assert path.read_text() == "a: 1\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]
    with pytest.raises(OSError, match="No such file"):
        replace(tmp_path / "nowhere" / "x", "", encoding="utf-8", mode=0o644)
