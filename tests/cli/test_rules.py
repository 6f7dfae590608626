"""``diag rules``: the rows of the guides, filtered, with what uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from diag.cli.rules import command
from diag.errors import NothingToJudgeError, UsageError

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), env={"NO_COLOR": "1", "COLUMNS": "80"})


def ids(*arguments: str) -> list[str]:
    done = run(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return [entry["id"] for entry in json.loads(done.stdout)["rules"]]


def error(*arguments: str) -> str:
    caught = run(*arguments).exception
    assert isinstance(caught, (UsageError, NothingToJudgeError))
    return str(caught)


def test_all_rows() -> None:
    assert len(ids()) == 607


def test_a_row_says_what_it_is_and_what_uses_it() -> None:
    done = run("--id", "s1-059")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "S1-059  symptom  automodel"
    assert "loss barely decreases over the first 50-100 steps" in done.stdout
    assert "LRS002" in done.stdout
    assert "F06" in done.stdout
    assert lines[-1] == "1 row"
    assert all(len(line) <= 80 for line in lines)


def test_the_json_of_a_row() -> None:
    (row,) = json.loads(run("--id", "S2-004", "--format", "json").stdout)["rules"]
    assert row == {
        "id": "S2-004",
        "kind": "default",
        "guide": {"key": "002", "profile": "training-hub", "title": "Training Hub hyperparameter guide"},
        "content": "method=LoRA: starting LR 1e-5",
        "owner": ["profile.conservative", "lint.lr_range"],
        "parameters": ["learning_rate"],
        "methods": ["lora"],
        "used_by": row["used_by"],
        "advice": ["P02", "conflict 1"],
        "waiting": None,
    }
    assert "profile learning_rate" in row["used_by"]


def test_a_row_that_waits_says_for_what() -> None:
    assert "waits for tuning: short runs at several" in run("--id", "S1-116").stdout


@pytest.mark.parametrize(
    ("arguments", "some", "none"),
    [
        (("--parameter", "lr"), "S0-003", "S0-015"),
        (("--parameter", "rank"), "S1-034", "S1-013"),
        (("--parameter", "weight-decay"), "S1-080", "S1-034"),
        (("--parameter", "batch"), "S2-009", "S2-004"),
        (("--method", "qlora"), "S1-051", "S0-004"),
        (("--method", "LoRA"), "S0-004", "S0-005"),
        (("--source", "training-hub"), "S2-009", "S1-009"),
        (("--source", "S3"), "S3-001", "S1-001"),
        (("--source", "000,lesson"), "S0-001", "S1-001"),
        (("--owner", "check.overfit_gap"), "S1-075", "S1-074"),
        (("--owner", "lint"), "S0-003", "S1-001"),
        (("--kind", "symptom"), "S0-044", "S0-003"),
        (("--id", "S1-028..030"), "S1-029", "S1-031"),
        (("--id", "S1-028..S1-030,S2-001"), "S2-001", "S2-002"),
    ],
)
def test_filters(arguments: tuple[str, ...], some: str, none: str) -> None:
    found = ids(*arguments)
    assert some in found
    assert none not in found


def test_filters_narrow_each_other() -> None:
    assert ids("--parameter", "lr", "--method", "lora", "--source", "training-hub") == ["S2-004", "S2-005", "S2-006"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parameter", "learnin_rate"), "no parameter 'learnin_rate'; did you mean 'learning_rate'?"),
        (("--method", "lorra"), "no method 'lorra'; did you mean 'lora'?"),
        (("--source", "training_hubb"), "no guide 'training_hubb'; did you mean 'training-hub'?"),
        (("--owner", "check.overfitgap"), "did you mean 'check.overfit_gap'?"),
        (("--kind", "sympton"), "no kind 'sympton'; did you mean 'symptom'?"),
        (("--kind", "zzz"), "known are range, default"),
        (("--id", "S1-999"), "no row 'S1-999'"),
        (("--id", "OVF001"), "'OVF001' is no row id; write it like S1-059"),
    ],
)
def test_an_unknown_value_is_named_with_the_nearest(arguments: tuple[str, ...], said: str) -> None:
    assert said in error(*arguments)


def test_exit_codes(diag_command: Command) -> None:
    found = diag_command("rules", "--parameter", "weight_decay", "--source", "training-hub")
    assert found.returncode == 3
    assert found.stdout == ""
    assert found.stderr == "diag: no row matches --parameter weight_decay and --source training-hub; take one of them away\n"
    wrong = diag_command("rules", "--kind", "rule")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1


def test_a_reader_that_leaves_and_a_terminal_without_unicode(diag_command: Command) -> None:
    pipe = f"{sys.executable} -m diag rules | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", pipe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "S0-001  protocol  automodel-quick\n", "")
    plain = diag_command("rules", "--id", "S0-001", env={"PYTHONIOENCODING": "ascii", "COLUMNS": "64"})
    assert plain.returncode == 0
    assert plain.stdout.isascii()
    assert max(map(len, plain.stdout.splitlines())) <= 64


def test_the_output_is_strict_json_with_a_version() -> None:
    def refuse(word: str) -> Any:
        raise AssertionError(word)

    report = json.loads(run("--source", "002", "--format", "json").stdout, parse_constant=refuse)
    assert report["schema_version"] == 1
    assert len(report["rules"]) == 63
