"""No snippet of the documentation escapes: each is run, or read by what reads its like, or is listed here with the reason why not.

Console blocks and interactive Python are run by ``tests/test_docs.py``. Here every other block is looked at by its language.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fences import Block, blocks, every_block

from diag.cli import cli
from diag.dialects import table
from diag.documents import parse

RUN = {"console"}
"""Languages of which ``tests/test_docs.py`` runs every block."""
SHELL = {"sh", "bash", "shell", ""}
"""Languages of commands: whatever calls ``diag`` must be a call that it takes."""

CALLING = SHELL | {"yaml", "yml", "text", "groovy", "ini", "toml"}
"""Languages of blocks that may call ``diag``."""

NOT_RUN: dict[tuple[str, str], tuple[int, str]] = {
    ("README.md", ""): (2, "sets up an environment; what .ci/run runs"),
    ("CONTRIBUTING.md", ""): (1, "sets up an environment"),
    ("docs/ci.md", "bash"): (2, "need a Slurm cluster; tests/test_recipes.py reads them"),
    ("docs/ci.md", "groovy"): (1, "needs Jenkins; tests/test_recipes.py runs its commands"),
    ("docs/ci.md", "make"): (1, "tests/test_recipes.py runs its commands"),
    ("docs/gate.md", ""): (1, "the content of a .diagignore, which the page's console block reads"),
    ("docs/gate-reference.md", "sh"): (1, "runs benchmarks on models that are the reader's"),
    ("docs/gate-reference.md", "text"): (2, "what a benchmark of the fault runs printed, which takes hours to build"),
    ("docs/watch.md", "sh"): (1, "needs a training and its scheduler"),
    ("docs/watch.md", "text"): (1, "the live view of a terminal; tests/cli/test_watch.py looks at it"),
    ("docs/calibration.md", "sh"): (2, "builds and scores the fault benchmark, which takes hours"),
    ("docs/calibration.md", "text"): (4, "what that printed"),
    ("docs/batch-find.md", "text"): (1, "trains; its figures are of one machine"),
    ("docs/lr-find.md", "text"): (2, "trains; its figures are of one machine"),
    ("docs/replay.md", "text"): (5, "trains; its figures are of one machine, and the models are the reader's"),
}
"""Page and language to how many of its blocks are neither run nor read, and why. Blocks of ``diag`` commands alone are not among them."""


def name(block: Block) -> str:
    """How a block is called in a list of tests."""
    return f"{block.page}:{block.line}"


def calls(text: str) -> Iterator[list[str]]:
    """The words of every call of ``diag`` in a text, the shell around it cut off."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for match in re.finditer(r"(?m)(?:^|[\s;&|(\"'])(?<!-m )diag ((?:[a-z][a-z-]+)\b[^\n]*)", joined):
        call = re.split(r"\s+(?:#|\||&&|;|>|2>|<|\|\|)(?:\s|$)", match[1])[0]
        try:
            yield shlex.split(call)
        except ValueError:  # the quotation is that of a command around it
            yield shlex.split(call.rstrip("\"'`)"))


def refused(words: list[str]) -> str:
    """Why the command line does not take a call, "" if it does."""
    context = click.Context(cli, info_name="diag")
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, words = command.get_command(context, words[0]), words[1:]
    if command is None:
        return "no such command"
    try:
        options, _, _ = command.make_parser(click.Context(command, info_name="diag")).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    from diag.report import formats

    asked = options.get("format_")
    reports = any(parameter.name == "format_" and "Report format" in str(getattr(parameter, "help", "")) for parameter in command.params)
    return f"no format {asked}" if reports and isinstance(asked, str) and asked not in formats() else ""


def is_only_calls(text: str) -> bool:
    """Whether a shell block holds nothing but calls of ``diag`` and comments."""
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines()]
    return all(not line or line.startswith(("#", "diag ")) for line in lines)


BLOCKS = every_block()


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in SHELL | {"yaml", "yml", "text", "groovy", "ini", "toml"}], ids=name
)
def test_every_call_of_the_command_is_one_that_it_takes(block: Block) -> None:
    if block.language == "text":  # what was printed, and after what command
        block = block._replace(text="".join(line[2:] + "\n" for line in block.text.splitlines() if line.startswith("$ diag ")))
    assert [(words, why) for words in calls(block.text) if (why := refused(words))] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in SHELL], ids=name)
def test_shell_blocks_are_shell(block: Block) -> None:
    if (block.page, block.language) in NOT_RUN and not is_only_calls(block.text) and block.language == "":
        return
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in ("yaml", "yml")], ids=name)
def test_yaml_is_read_and_its_keys_are_known_where_a_framework_reads_it(block: Block) -> None:
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load(block.text)
    assert isinstance(content, (dict, list))
    dialect = Path(block.page).stem
    if Path(block.page).parent.name == "frameworks":
        known = {row.native for row in table.documented(dialect)}
        (document,) = parse(block.text, name="config.yaml", form="yaml")
        assert [key for key in document.settings if key not in known] == []
    if isinstance(content, dict) and "jobs" in content:
        steps = [step for job in content["jobs"].values() for step in job.get("steps", [])]
        assert [step for step in steps if not {"uses", "run"} & step.keys()] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in ("toml", "ini", "cfg")], ids=name)
def test_configurations_are_read_as_the_command_reads_them(block: Block, tmp_path: Path) -> None:
    from diag.configuration import files

    if block.language != "toml":
        file = tmp_path / "setup.cfg"
    else:
        content = tomllib.loads(block.text)
        file = tmp_path / ("pyproject.toml" if {"tool", "project"} & content.keys() else "diag.toml")
        if "diag" not in content.get("tool", {}) and file.name == "pyproject.toml":
            assert "[project" in block.text, "TOML that nothing here reads"
            return
    file.write_text(block.text, encoding="utf-8")
    assert files.read(file).values


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in ("python", "py")], ids=name)
def test_python_compiles_and_what_it_imports_is_there(block: Block) -> None:
    if block.text.startswith(">>> "):
        return  # run as a doctest
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_json_is_json() -> None:
    for block in BLOCKS:
        if block.language in ("json", "jsonl"):
            for text in block.text.splitlines() if block.language == "jsonl" else [block.text]:
                json.loads(text)


def test_what_is_neither_run_nor_read_is_listed_with_its_reason_and_its_number() -> None:
    read = RUN | {"yaml", "yml", "toml", "ini", "cfg", "python", "py", "json", "jsonl"}
    left = [block for block in BLOCKS if block.language not in read and not block.language.startswith("{")]
    left = [block for block in left if not (block.language in SHELL and is_only_calls(block.text))]
    assert Counter((block.page, block.language) for block in left) == {key: count for key, (count, _) in NOT_RUN.items()}
    assert all(len(reason) > 10 for _, reason in NOT_RUN.values())


def test_fences_are_found_in_lists_and_in_longer_fences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "- item\n\n  ```sh\n  diag analyze RUN\n  ```\n\n````text\n```yaml\na: 1\n```\n````\n\n```{toctree}\nx\n```\n", encoding="utf-8"
    )
    monkeypatch.setattr("fences.ROOT", tmp_path)
    found = [(block.language, block.text, block.line) for block in blocks(page)]
    assert found == [("sh", "diag analyze RUN\n", 3), ("text", "```yaml\na: 1\n```\n", 7), ("{toctree}", "x\n", 13)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("diag analyze RUN --fail-on warning  # a gate", ""),
        ("x=1 && diag lint a.yaml | head", ""),
        ("diag analyze RUN --fali-on warning", "No such option"),
        ("diag analyse RUN", "no such command"),
        ("diag analyze RUN --format txt", "no format txt"),
        ("diag baseline write RUN", ""),
        ("run: diag lint --frmt json", "No such option"),
    ],
)
def test_a_misspelt_call_is_noticed(text: str, why: str) -> None:
    (words,) = calls(text)
    try:
        said = refused(words)
    except click.UsageError as error:
        said = "no such command" if "no command" in error.format_message() else error.format_message()
    assert (why in said) if why else said == ""
