"""``diag schema``: the schemas that the package ships, and that every report is held to."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import diag
from diag.cli import main
from diag.cli.schema import SCHEMAS

PACKAGE = Path(diag.__file__).parent


@pytest.mark.parametrize("name", SCHEMAS)
def test_prints_a_valid_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validators.validator_for(schema).check_schema(schema)
    if name != "config":  # every other one is of something with a version; that of a stream stands in its first event
        versioned = schema["$defs"]["started"] if name == "watch" else schema
        assert versioned["properties"]["schema_version"] == {"const": 1}


def test_knows_every_schema_of_the_package() -> None:
    assert {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*schema.json")} == set(SCHEMAS.values())


def test_the_report_is_what_is_meant_without_a_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert main(["schema", "report", "--output", str(tmp_path / "schema.json")]) == 0
    assert (
        (tmp_path / "schema.json").read_text(encoding="utf-8")
        == printed
        == (PACKAGE / "report" / "schema.json").read_text(encoding="utf-8")
    )


def test_an_unknown_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "reprot"]) == 2
    assert "did you mean 'report'?" in capsys.readouterr().err


def test_holds_what_the_commands_write(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["schema", "report"])
    schema = json.loads(capsys.readouterr().out)
    main(["analyze", str(fixtures), "--format", "json"])
    jsonschema.Draft202012Validator(schema).validate(json.loads(capsys.readouterr().out))
