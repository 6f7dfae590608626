"""The example plug-in, installed for real; and plug-ins that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from diag import battery, plugins

EXAMPLE = ROOT / "examples" / "diag-plugin-example"
LOG = str(ROOT / "fixtures" / "hf-overfit")


def call(module: str, *arguments: str, beside: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a module with a folder of packages on the path."""
    environment = {**os.environ, "PYTHONPATH": str(beside), "NO_COLOR": "1", "COLUMNS": "120", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as pip installs it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    done = call("pip", "install", *options, "--target", str(folder / "site"), str(source), beside=folder)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_its_own_tests_pass(installed: Path) -> None:
    done = call("pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"), beside=installed, cwd=EXAMPLE)
    assert done.returncode == 0, done.stdout


def test_its_check_is_listed_explained_selected_and_set(installed: Path) -> None:
    assert "CKP001  checkpoint-gap " in call("diag", "checks", beside=installed).stdout
    page = call("diag", "explain", "checkpoint-gap", beside=installed).stdout
    assert "# CKP001 checkpoint-gap" in page
    assert "`CKP001.longest` 0.25 (share of the run): Share of the run between two checkpoints" in page
    done = call("diag", "analyze", LOG, "--select", "CKP", "--format", "json", "--fail-on", "warning", beside=installed)
    (finding,) = json.loads(done.stdout)["runs"][0]["findings"]
    assert (done.returncode, finding["code"], finding["step_start"], finding["step_end"]) == (1, "CKP001", 0, 140)
    done = call("diag", "analyze", LOG, "--select", "CKP", "--threshold", "CKP001.longest=0.5", "--format", "json", beside=installed)
    assert json.loads(done.stdout)["runs"][0]["findings"] == []


def test_it_judges_beside_the_others_and_its_report_format_is_known(installed: Path) -> None:
    done = call("diag", "analyze", LOG, "--format", "tally", beside=installed)
    assert (done.stdout, done.stderr) == ("hf-overfit\tOVERFIT\t1 error\t1 warning\t3 info\n", "")


@pytest.fixture
def anew() -> Iterator[None]:
    """Entry points are looked up anew, before and after."""
    plugins.forget()
    battery._registered.cache_clear()
    yield
    plugins.forget()
    battery._registered.cache_clear()


def stranger(folder: Path, source: str, group: str = "diag.checks", attribute: str = "") -> Path:
    """A package that registers one module of this source."""
    info = folder / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nodd = stranger{attribute}\n")
    (folder / "stranger.py").write_text(source)
    return folder


CHECK = """
from diag.check import Check

class Odd(Check):
    "Says nothing."
    code, name = {code!r}, "odd"
    def examine(self, examination):
        return []

def checks():
    return [Odd()]
"""

BROKEN = {
    "import": ("import no_such_module_of_a_stranger\n", "ModuleNotFoundError: No module named 'no_such_module_of_a_stranger'"),
    "exit": ("raise SystemExit(0)\n", "SystemExit: 0"),
    "attribute": ("x = 1\n", "AttributeError"),
    "no check": ("def checks():\n    return ['odd']\n", "which is no diag.check.Check"),
    "no code": (CHECK.format(code="odd-1"), "Odd has no code of three capital letters and three digits"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plug_in_that_cannot_be_used_is_told_with_the_reason(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: None
) -> None:
    source, reason = BROKEN[kind]
    monkeypatch.syspath_prepend(stranger(tmp_path, source))
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    (broken,) = battery.broken()
    assert broken.message.startswith("the plug-in 'odd' of diag.checks (stranger) cannot be used (")
    assert reason in broken.message
    assert "OVF001" in [check.code for check in battery.checks()]


def test_the_rest_goes_on_but_the_gate_does_not_pass(tmp_path: Path) -> None:
    folder = stranger(tmp_path, BROKEN["exit"][0])
    done = call("diag", "analyze", LOG, "--format", "json", "--fail-on", "never", beside=folder)
    assert json.loads(done.stdout)["runs"][0]["verdict"] == "OVERFIT"
    (line,) = done.stderr.splitlines()
    assert line == "diag: the plug-in 'odd' of diag.checks (stranger) cannot be used (SystemExit: 0); mend or uninstall it"
    assert done.returncode == 4, "what it would have said is missing"
    listed = call("diag", "checks", beside=folder)
    assert (listed.returncode, listed.stderr.splitlines(), "OVF001" in listed.stdout) == (0, [line], True)


@pytest.mark.parametrize(
    ("group", "attribute", "arguments"),
    [
        ("diag.adapters", ":ADAPTER", ("analyze", LOG)),
        ("diag.dialects", ":DIALECT", ("analyze", LOG)),
        ("diag.lints", "", ("lint", "examples/mistral-lora.yaml")),
        ("diag.reports", ":render", ("analyze", LOG, "--format", "odd")),
    ],
    ids=["adapter", "dialect", "lint", "report"],
)
def test_so_are_those_of_the_other_kinds(group: str, attribute: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = call("diag", *arguments, "--fail-on", "never", beside=stranger(tmp_path, "import no_such_module\n", group, attribute))
    (line,) = done.stderr.splitlines()
    assert line.startswith("diag: ")
    assert "No module named 'no_such_module'" in line
    assert (done.returncode, bool(done.stdout)) == ((2, False) if group == "diag.reports" else (4, True))


def test_an_adapter_that_lacks_something_is_told_by_it(tmp_path: Path) -> None:
    source = "class ADAPTER:\n    name, fidelity = 'odd', 1\n    find = find_file = read = None\n"
    done = call("diag", "analyze", LOG, beside=stranger(tmp_path, source, "diag.adapters", ":ADAPTER"))
    (line,) = done.stderr.splitlines()
    assert "TypeError: it has no schemes" in line


def test_two_checks_with_one_code_are_refused_with_both_places(tmp_path: Path) -> None:
    done = call("diag", "analyze", LOG, beside=stranger(tmp_path, CHECK.format(code="OVF001")))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("diag: two plug-ins have a check OVF001: ")
    assert "'odd' (stranger)" in line
    assert "'overfitting' (diag.checks.overfitting)" in line
