"""The recipes of the documentation: every file in them is valid, and every command in them runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import ROOT
from running import ACTION, run_step, schema_check

import diag.report
from diag.gate import baseline

PAGES = [ROOT / "docs" / name for name in ("ci.md", "pre-commit.md")]
BLOCK = re.compile(r"^```(yaml|bash|groovy|make)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCHEMAS = {
    ".github/workflows/": ("github-workflows",),
    ".gitlab-ci.yml": ("gitlab-ci", "--data-transform", "gitlab-ci"),
    "azure-pipelines.yml": ("azure-pipelines", "--data-transform", "azure-pipelines"),
}

CONFIG = """\
learning_rate: 2.0e-5
per_device_train_batch_size: 8
num_train_epochs: 3
weight_decay: 0.01
warmup_steps: 30
eval_strategy: steps
eval_steps: 100
save_strategy: steps
save_steps: 100
load_best_model_at_end: true
output_dir: out
"""
"""A config in which nothing is found at the level of a warning."""


class Recipe(NamedTuple):
    """A file of a recipe; its name stands in its first comment."""

    page: str
    language: str
    name: str
    text: str


def recipes() -> Iterator[Recipe]:
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            match = re.search(r"^(?:#|//) (\S+)$", text, re.MULTILINE)
            assert match is not None, f"{page.name}: what is this?\n{text}"
            yield Recipe(page.name, language, match[1], text)


RECIPES = list(recipes())


def texts(value: Any) -> Iterator[str]:
    """The commands in a parsed file: texts, and lists that begin with the program."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, list):
        yield from ([" ".join(value)] if value[:1] == ["diag"] else [text for entry in value for text in texts(entry)])
    elif isinstance(value, str):
        yield value


def commands(recipe: Recipe) -> list[str]:
    """The calls of ``diag`` in a recipe."""
    if recipe.language == "yaml":
        return [text for text in texts(yaml.safe_load(recipe.text)) if text.startswith("diag ")]
    pattern = r"""(?:^\s*|sh '|--wrap ")(diag [^'\n]*?)(?:'|"\)|$)"""
    return re.findall(pattern, recipe.text, re.MULTILINE)


def formats_in(command: str) -> set[str]:
    """The formats of the reports that a command writes to files."""
    return set(re.findall(r"--output \"?(\w+)=", command))


def parameters(language: str | None = None) -> list[Any]:
    return [pytest.param(recipe, id=f"{recipe.page}-{recipe.name}") for recipe in RECIPES if language in (None, recipe.language)]


@pytest.fixture
def workspace(tmp_path: Path, fixtures: Path) -> Path:
    """What the recipes speak of: runs that are fine, a config that is, a baseline."""
    place = tmp_path / "workspace"
    for folder in ("runs/1", "runs/77"):
        (place / folder).mkdir(parents=True)
        shutil.copy(fixtures / "hf-healthy" / "trainer_state.json", place / folder)
    (place / "configs").mkdir()
    (place / "configs" / "train.yaml").write_text(CONFIG)
    return place


def test_there_is_a_recipe_for_each_place() -> None:
    assert {recipe.name for recipe in RECIPES} >= {
        ".github/workflows/train.yml",
        ".gitlab-ci.yml",
        ".pre-commit-config.yaml",
        "Jenkinsfile",
        "Makefile",
        "azure-pipelines.yml",
        "job.yaml",
        "train.sbatch",
    }
    assert sum(len(commands(recipe)) for recipe in RECIPES) >= 9


@pytest.mark.parametrize("recipe", parameters())
def test_its_commands_run(recipe: Recipe, workspace: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "SLURM_JOB_ID": "77",
        "TRAINING": "77",
        "RUN": "runs/77",
    }
    for command in commands(recipe):
        done = subprocess.run(["bash", "-euc", command], cwd=workspace, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
        for name in re.findall(r"--output \"?\w+=([\w.-]+)", command):
            assert (workspace / name).stat().st_size > 0, command
    assert (tmp_path / "summary.md").exists() == any("GITHUB_STEP_SUMMARY" in command for command in commands(recipe))


@pytest.mark.parametrize("recipe", [entry for entry in parameters("yaml") if entry.values[0].name.startswith(tuple(SCHEMAS))])
def test_it_is_valid_by_the_published_schema(recipe: Recipe, tmp_path: Path) -> None:
    (schema,) = (schema for name, schema in SCHEMAS.items() if recipe.name.startswith(name))
    file = tmp_path / "recipe.yml"
    file.write_text(recipe.text, encoding="utf-8")
    schema_check(*schema, file)


@pytest.mark.parametrize("recipe", parameters("bash"))
def test_scripts_are_well_formed(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(recipe.text)
    subprocess.run(["bash", "-n", tmp_path / "script"], check=True)


def test_the_workflow_uses_the_action_as_it_is(workspace: Path, tmp_path: Path) -> None:
    (text,) = (recipe.text for recipe in RECIPES if recipe.name == ".github/workflows/train.yml")
    (step,) = (step for step in yaml.safe_load(text)["jobs"]["train"]["steps"] if "OWNER/diag@" in step.get("uses", ""))
    result = run_step("gate", step["with"], workspace, tmp_path)
    assert (result.code, result.outputs["verdict"]) == (0, "HEALTHY"), result.printed
    assert result.summary


def test_every_input_and_output_of_the_action_is_documented() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    for name, entry in ACTION["inputs"].items():
        row = re.search(rf"^\| `{name}` \| (.*?) ?\|", page, re.MULTILINE)
        assert row is not None, name
        assert row[1].strip("`") == entry["default"]
    assert [name for name in ACTION["outputs"] if not re.search(rf"^\| `{name}` \|", page, re.MULTILINE)] == []


class TestPreCommit:
    CONFIGS = [recipe.text for recipe in RECIPES if recipe.name == ".pre-commit-config.yaml"]

    @pytest.mark.parametrize("text", CONFIGS)
    def test_the_configuration_is_valid(self, text: str, tmp_path: Path) -> None:
        from pre_commit.clientlib import load_config

        (tmp_path / "config.yaml").write_text(text)
        assert load_config(str(tmp_path / "config.yaml"))["repos"]

    @pytest.mark.parametrize("text", CONFIGS)
    def test_the_arguments_are_those_of_the_commands(self, text: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from diag.cli import main

        monkeypatch.chdir(workspace)
        assert main(["baseline", "write", "runs"]) == 0
        assert Path(baseline.NAME).exists()
        manifest = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
        paths = {"diag-logs": "runs/1/trainer_state.json", "diag-config": "configs/train.yaml"}
        for hook in yaml.safe_load(text)["repos"][0]["hooks"]:
            _, *entry = manifest[hook["id"]]["entry"].split()
            assert main([*entry, *hook.get("args", []), paths[hook["id"]]]) == 0

    def test_every_name_on_the_page_is_taken(self) -> None:
        page = (ROOT / "docs" / "pre-commit.md").read_text(encoding="utf-8")
        manifest = {hook["id"]: re.compile(hook["files"]) for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
        for name, command, names in re.findall(r"^\| `(diag-\w+)` \| `(.*?)` \| (.*) \|$", page, re.MULTILINE):
            assert command == {hook["id"]: hook["entry"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}[name]
            files = [word.replace("*", "x") for word in re.findall(r"`([\w*-]+\.[\w.]+)`", names)]
            assert len(files) >= 7
            assert [file for file in files if not manifest[name].search(file)] == []


def test_the_formats_of_the_recipes_are_known() -> None:
    used = {name for recipe in RECIPES for command in commands(recipe) for name in formats_in(command)}
    assert used <= set(diag.report.formats())
