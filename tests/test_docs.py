"""The examples in the documentation are run, and what they print is compared.

Console blocks run in one shell each, at the top of the project, eighty columns wide. A line ``...`` stands for any lines.
After a change of the output, ``DIAG_UPDATE_DOCS=1 pytest tests/test_docs.py`` writes the new output into the pages.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from fences import pages

PAGES = pages()
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(>>> .*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x01"


def called(page: Path) -> str:
    """How a page is called: its path within the project."""
    return page.relative_to(ROOT).as_posix()


def console_blocks() -> list[tuple[Path, str]]:
    return [(page, block) for page in PAGES for block in CONSOLE.findall(page.read_text(encoding="utf-8"))]


def rerun(block: str) -> str:
    """The block with what its commands print now."""
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    script = "".join(
        f"printf '{MARK}'\n{command}\n" if not command.startswith("echo $?") else f"_c=$?; printf '{MARK}'; (exit $_c)\n{command}\n"
        for command in commands
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", f"exec 2>&1\n{script}"], capture_output=True, cwd=ROOT, env=environment, timeout=120, check=False)
    printed = done.stdout.decode("utf-8").split(MARK)[1:]
    assert len(printed) == len(commands)
    return "".join(f"$ {command}\n{output}" for command, output in zip(commands, printed, strict=True))


def matches(expected: str, actual: str) -> bool:
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in expected.splitlines())
    return re.fullmatch(pattern, actual) is not None


def test_pages_have_examples() -> None:
    assert {page.name for page, _ in console_blocks()} >= {"README.md", "cli.md", "exit-codes.md", "json.md", "tutorial.md"}


@pytest.mark.parametrize(
    ("page", "block"), [pytest.param(page, block, id=f"{called(page)}-{i}") for i, (page, block) in enumerate(console_blocks())]
)
def test_console_examples(page: Path, block: str) -> None:
    now = rerun(block)
    if os.environ.get("DIAG_UPDATE_DOCS") and not matches(block, now):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(f"```console\n{block}```", f"```console\n{now}```"), encoding="utf-8")
        return
    assert matches(block, now), f"{called(page)} no longer shows what is printed:\n{now}"


@pytest.mark.parametrize("page", [page for page in PAGES if PYTHON.search(page.read_text(encoding="utf-8"))], ids=lambda page: called(page))
def test_python_examples(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = "\n".join(PYTHON.findall(page.read_text(encoding="utf-8")))
    test = doctest.DocTestParser().get_doctest(text, {}, called(page), str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    complaints: list[str] = []
    result = runner.run(test, out=complaints.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(complaints)


def test_the_readme_test_command_is_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(python3 -m venv .*pytest.*)$", readme, re.MULTILINE)
    assert len(commands) == 1
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith(commands[0])


def test_every_relative_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "_generated" not in target:
                assert (page.parent / target).exists(), f"{called(page)}: {target}"


def test_every_verdict_cause_exit_code_adapter_and_option_is_documented() -> None:
    from diag import vocabulary
    from diag.adapters.registry import registry
    from diag.cli.analyze import command

    verdicts = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert [word for word in (*vocabulary.VERDICTS, *vocabulary.CAUSES) if f"`{word}`" not in verdicts] == []
    formats = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [name for name in registry().adapters if f"`{name}`" not in formats] == []
    cli = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [option for parameter in command.params for option in parameter.opts if option.startswith("--") and option not in cli] == []
