"""``diag plot`` as a command: what it writes and what it refuses."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diag.cli.plot import command
from diag.errors import UsageError

Call = Callable[..., int]


@pytest.fixture
def call() -> Call:
    """The command in this process: its exit code."""
    return lambda *arguments: command.main([*map(str, arguments)], standalone_mode=False)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")])
def test_formats(call: Call, fixtures: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    out = tmp_path / f"curves.{suffix}"
    assert call(fixtures / "hf-overfit", "-o", out, "--dpi", 40) == 0
    assert out.read_bytes().startswith(magic)


def test_options_reach_the_picture(call: Call, fixtures: Path, tmp_path: Path) -> None:
    seen = set()
    for options in (
        [],
        ["--metric", "train/accuracy,eval/accuracy"],
        ["--log"],
        ["--linear", "--no-findings"],
        ["--smooth", 0.1],
        ["--title", "x"],
        ["--width", 4],
        ["--height", 3],
        ["--dpi", 50],
    ):
        call(fixtures / "keras-csv", "-o", tmp_path / "curves.png", "--dpi", 40, *options)
        seen.add((tmp_path / "curves.png").read_bytes())
    assert len(seen) == 9


def test_several_runs(call: Call, fixtures: Path, tmp_path: Path) -> None:
    assert call(fixtures / "hf-overfit", fixtures / "grpo", "-o", tmp_path / "curves.svg") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hf-overfit", "-o", "curves.gif"], r"a picture is written as \.png, \.svg or \.pdf"),
        (["hf-overfit", "-o", "curves"], r"\.png"),
        (["hf-overfit", "-o", "no such folder/curves.png"], "cannot write"),
        (["hf-overfit", "-o", "curves.png", "--metric", "nope"], "logged were"),
        ([".", "-o", "curves.png"], "at most 12"),
        (["hf-overfit", "-o", "curves.png", "--width", "60", "--dpi", "1200"], "72000 by .* dots is too large"),
    ],
)
def test_refusals(call: Call, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        call(fixtures / arguments[0], *arguments[1:])
    assert list(tmp_path.iterdir()) == []


def test_what_a_configuration_accepts_is_not_shaded(call: Call, fixtures: Path, tmp_path: Path) -> None:
    config = tmp_path / "diag.toml"
    config.write_text('[[accept]]\ncode = "OVF001"\nreason = "it is meant to"\n', encoding="utf-8")
    pictures = []
    for options in (["--isolated"], ["--config", config]):
        call(fixtures / "hf-overfit", "-o", tmp_path / "curves.svg", *options)
        pictures.append((tmp_path / "curves.svg").read_text(encoding="utf-8"))
    assert ["OVF001" in picture for picture in pictures] == [True, False]


def test_an_input_is_not_overwritten(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "log.svg"
    log.write_text("step,loss\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is what is read"):
        call(log, "-o", log)


def test_without_matplotlib_one_line_names_the_extra(call: Call, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else real(name, *rest))
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"^--output curves\.png needs matplotlib; install it with: pip install 'diag\[plot\]'$"):
        call(fixtures / "hf-overfit", "-o", "curves.png")
