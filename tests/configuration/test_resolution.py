"""Which layer wins, and that every value knows where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.configuration import Configuration, files
from diag.errors import UsageError


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    files.find.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "diag.toml").write_text(
        'fail-on = "info"\nprofile = "aggressive"\n[per-path-ignores]\n"smoke/" = ["OVF"]\n"*.yaml" = ["CFG"]\n'
    )
    (tmp_path / "smoke" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_order_of_the_layers(project: Path) -> None:
    def origin(given: dict[str, object], variables: dict[str, str]) -> tuple[object, str]:
        return tuple(Configuration(given, variables).at(project).settings["fail-on"])

    assert origin({}, {}) == ("info", "diag.toml:1")
    assert origin({}, {"DIAG_FAIL_ON": "warning"}) == ("warning", "DIAG_FAIL_ON")
    assert origin({"fail-on": "never"}, {"DIAG_FAIL_ON": "warning"}) == ("never", "the command line")
    assert Configuration({}, {}, isolated=True).at(project).settings["fail-on"] == ("error", "default")
    assert origin({}, {"DIAG_FAIL_ON": ""}) == ("info", "diag.toml:1")


def test_the_command_line_replaces_single_entries_of_a_table(project: Path) -> None:
    (project / "diag.toml").write_text('[severity]\nOVF = "info"\nSPK = "info"\n')
    resolved = Configuration({"severity": (("OVF", "error"), ("GRD", "error"))}, {}).at(project)
    assert dict(resolved["severity"]) == {"OVF": "error", "SPK": "info", "GRD": "error"}
    assert resolved.settings["severity"].origin == "the command line, diag.toml:1"
    assert resolved.says("severity") == f"{project / 'diag.toml'}:1: "


def test_a_wrong_variable_is_named(project: Path) -> None:
    with pytest.raises(UsageError, match="DIAG_FAIL_ON: the value is 'fatal'"):
        Configuration({}, {"DIAG_FAIL_ON": "fatal"}).at(project)


def test_the_file_is_that_of_the_run_else_that_of_the_working_directory(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("scratch")
    assert Configuration({}, {}).at(elsewhere)["fail-on"] == "info"
    (elsewhere / "diag.toml").write_text('fail-on = "warning"\n')
    files.find.cache_clear()
    assert Configuration({}, {}).at(elsewhere)["fail-on"] == "warning"
    assert Configuration({}, {}, config=project / "diag.toml").at(elsewhere)["fail-on"] == "info"
    assert Configuration({}, {}).at(None)["fail-on"] == "info"


def test_the_call_is_decided_where_all_its_paths_lie(project: Path) -> None:
    (project / "smoke" / "diag.toml").write_text("jobs = 2\n")
    (project / "other").mkdir()
    found = Configuration({}, {})
    assert found.of_call([str(project / "smoke" / "one")])["jobs"] == 2
    assert found.of_call([str(project / "smoke" / "one"), str(project / "other")])["jobs"] == 1
    assert found.of_call(["wandb://a/b/c"])["fail-on"] == "info"


def test_paths_match_as_in_gitignore(project: Path) -> None:
    resolved = Configuration({}, {}).at(project)
    assert resolved.ignored_at(str(project / "smoke" / "one")) == ("OVF",)
    assert resolved.ignored_at(str(project / "smoke.d")) == ()
    assert resolved.ignored_at(str(project / "conf" / "a.yaml")) == ("CFG",)
    assert resolved.ignored_at("/somewhere/else/b.yaml") == ("CFG",)
