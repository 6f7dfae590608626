"""The page about the configuration knows every key, and its examples are read."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from diag.configuration import OPTIONS
from diag.configuration.files import parse
from diag.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "diag" / "configuration" / "schema.json").read_text(encoding="utf-8"))


def test_every_key_is_there() -> None:
    rows = [f"| `{option.name}` | {option.about} | {'' if option.is_table else f'`{option.variable}`'} |" for option in OPTIONS.values()]
    assert [row for row in rows if row not in PAGE] == []


def test_the_examples_are_read() -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (ini,) = re.findall(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    as_toml, as_ini = parse(Path("diag.toml"), toml).values, parse(Path("setup.cfg"), ini).values
    assert as_toml["require"] == as_ini["require"]
    assert as_toml["severity"][0] == as_ini["severity"][0]
    assert len(as_toml) == 10


def test_the_schema_has_every_key_and_takes_the_example() -> None:
    assert {name: entry["description"].split(":")[0] for name, entry in SCHEMA["properties"].items()}.keys() == OPTIONS.keys()
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    validator = jsonschema.Draft7Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    validator.validate(tomllib.loads(toml))


@pytest.mark.parametrize("text", ['fial-on = "error"', 'fail-on = "fatal"', "[[accept]]\ncode = 'OVF'", "jobs = 0", "[severity]\nOVF = 3"])
def test_the_schema_refuses_what_is_refused(text: str) -> None:
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(tomllib.loads(text))
    with pytest.raises(UsageError):
        parse(Path("diag.toml"), text)
