"""The page about the configuration knows every key, and its examples are read."""

from __future__ import annotations

import re
from pathlib import Path

from diag.configuration import OPTIONS
from diag.configuration.files import parse

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_every_key_is_there() -> None:
    rows = [f"| `{option.name}` | {option.about} | {'' if option.is_table else f'`{option.variable}`'} |" for option in OPTIONS.values()]
    assert [row for row in rows if row.replace("|  |", "|  |") not in PAGE] == []


def test_the_examples_are_read() -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (ini,) = re.findall(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    as_toml, as_ini = parse(Path("diag.toml"), toml).values, parse(Path("setup.cfg"), ini).values
    assert as_toml["require"] == as_ini["require"]
    assert as_toml["severity"][0] == as_ini["severity"][0]
    assert len(as_toml) == 10
