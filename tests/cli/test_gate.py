"""``diag gate``: exit codes, options, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diag.cli import cli
from diag.errors import DiagError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
BASE, TUNED = str(FIXTURES / "lm-eval" / "base"), str(FIXTURES / "lm-eval" / "tuned")


def gate(*arguments: str) -> tuple[int, str]:
    """Exit code and what was printed; errors as ``diag`` prints them."""
    done = CliRunner().invoke(cli, ["gate", *arguments], standalone_mode=False)
    if isinstance(done.exception, DiagError):
        return done.exception.exit_code, str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return getattr(done.exception, "exit_code", 99), getattr(done.exception, "message", repr(done.exception))
    return int(done.return_value), done.output


def case(name: str) -> str:
    return str(FIXTURES / name)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param([case("hf-healthy")], 0, id="plain, as analyze"),
        pytest.param([case("hf-overfit")], 1, id="plain, sick"),
        pytest.param([case("hf-healthy"), "--against", case("references")], 0, id="as good as its references"),
        pytest.param([case("hf-healthy"), "--against", case("references/seed-1"), "--against", case("references/seed-2")], 0, id="two"),
        pytest.param([case("hf-healthy"), "--against", case("console-hf")], 0, id="the same training, read from its console"),
        pytest.param([case("hf-lora-underfit"), "--against", case("hf-healthy")], 1, id="worse"),
        pytest.param([case("hf-lora-underfit"), "--against", case("hf-healthy"), "--fail-on", "never"], 0, id="never fails"),
        pytest.param([case("grpo"), "--against", case("hf-healthy")], 1, id="nothing in common"),
        pytest.param([case("grpo"), "--against", case("hf-healthy"), "--ignore", "GAT002"], 0, id="which was ignored"),
        pytest.param([TUNED, "--against", BASE], 1, id="forgotten"),
        pytest.param([BASE, "--against", TUNED], 1, id="the other way round"),
        pytest.param(["--base-results", BASE, "--tuned-results", TUNED], 1, id="results by name"),
        pytest.param([case("hf-healthy"), "--base-results", BASE, "--tuned-results", TUNED], 1, id="results and the run"),
        pytest.param([TUNED, "--against", BASE, "--severity", "GAT020=warning"], 0, id="severity of one's own"),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    assert gate(*arguments)[0] == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a RUN"),
        (["--against", BASE], "name a RUN"),
        ([case("hf-healthy"), "--against", "nowhere"], "nowhere: does not exist"),
        (["nowhere", "--against", case("hf-healthy")], "nowhere: does not exist"),
        ([case("hf-healthy"), "--base-results", BASE], "belong together"),
        (["--base-results", BASE, "--tuned-results", "nowhere"], "nowhere"),
        (["--base-results", case("hf-healthy"), "--tuned-results", TUNED], r"holds no results_*.json"),
        ([case("hf-healthy"), "--against", BASE], "holds benchmark results"),
        ([TUNED, "--against", case("hf-healthy")], "holds benchmark results"),
        ([TUNED, "--against", BASE, "--base-results", BASE, "--tuned-results", TUNED], "given twice"),
        ([case("hf-healthy"), "--against", case("hf-healthy")], "is its own reference"),
        ([BASE, "--against", BASE], "are both"),
        ([case("all-sources"), "--base-results", BASE, "--tuned-results", TUNED], "runs are given"),
        ([case("hf-healthy"), "--against", case("references"), "--tolerance", "5"], "write it like 5% or 0.05"),
        ([case("hf-healthy"), "--against", case("references"), "--tolerance", "0"], "above 0"),
        ([case("hf-healthy"), "--against", case("references"), "--run-noise", "-1%"], "is not a share"),
        ([case("hf-healthy"), "--against", case("references"), "--select", "NOPE"], "NOPE"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str) -> None:
    code, printed = gate(*arguments)
    assert code == 2
    assert words in printed


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    log = tmp_path / "trainer_state.json"
    shutil.copy(case("hf-healthy/trainer_state.json"), log)
    code, printed = gate(case("hf-healthy"), "--against", str(log), "--output", str(log))
    assert (code, "what is read" in printed) == (2, True)
    assert json.loads(log.read_text())


def report(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gate(*arguments, "--format", "json")[1])
    return document["runs"][0]  # type: ignore[no-any-return]


def test_the_comparison_is_in_the_json_report() -> None:
    run = report(case("hf-lora-underfit"), "--against", case("hf-healthy"))
    (comparison,) = run["comparisons"]
    assert comparison["references"] == ["hf-healthy"]
    assert comparison["differs"]["learning_rate"] == {"run": 1e-5, "references": [2e-5]}
    assert [(row["metric"], row["at"], row["verdict"]) for row in comparison["rows"]] == [
        ("eval/loss", "best", "worse"),
        ("eval/loss", "end", "worse"),
    ]
    assert report(case("hf-healthy"))["comparisons"] == []


def test_selecting_the_gates_codes_runs_no_check() -> None:
    run = report(case("hf-overfit"), "--against", case("hf-healthy"), "--select", "gat011")
    assert [finding["code"] for finding in run["findings"]] == ["GAT011"]
    assert run["examined"] == ["GAT011"]


def test_selecting_checks_leaves_the_comparison() -> None:
    run = report(case("hf-overfit"), "--against", case("hf-healthy"), "--select", "OVF001", "--ignore", "GAT010")
    assert [finding["code"] for finding in run["findings"]] == ["GAT011", "OVF001"]


def test_a_known_noise_and_a_tolerance() -> None:
    arguments = (case("references/seed-1"), "--against", case("hf-healthy"))
    assert gate(*arguments, "--tolerance", "0.01%", "--fail-on", "warning")[0] == 0
    assert gate(*arguments, "--tolerance", "0.01%", "--run-noise", "0", "--fail-on", "warning")[0] in (0, 1)
    (row, _) = report(*arguments, "--run-noise", "0.1%")["comparisons"][0]["rows"]
    assert row["noise"] < 0.02


def test_tolerance_may_stand_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(case("hf-healthy"), tmp_path / "run")
    (tmp_path / "diag.toml").write_text('tolerance = "3%"\nrun-noise = 0.002\n')
    assert report(str(tmp_path / "run"), "--against", case("references"))["comparisons"][0]["tolerance"] == 0.03
    monkeypatch.setenv("DIAG_TOLERANCE", "4%")
    assert report(str(tmp_path / "run"), "--against", case("references"))["comparisons"][0]["tolerance"] == 0.04


def test_an_unreadable_reference_among_several_fails_the_call() -> None:
    code, printed = gate(case("hf-healthy"), "--against", case("references"), "--against", "nowhere")
    assert code == 2
    assert "nowhere: does not exist" in printed


def test_truncated_results_are_one_line(tmp_path: Path) -> None:
    (file,) = Path(TUNED).glob("results_*.json")
    cut = tmp_path / file.name
    cut.write_text(file.read_text()[:2000])
    code, printed = gate("--base-results", BASE, "--tuned-results", str(cut))
    assert code == 2
    assert "not whole or not JSON" in printed
    assert "\n" not in printed.strip()


def test_a_model_that_forgot_nothing_passes(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "tuned")
    assert gate("--base-results", BASE, "--tuned-results", str(tmp_path / "tuned"))[0] == 0
    assert gate(case("hf-healthy"), "--base-results", BASE, "--tuned-results", str(tmp_path / "tuned"))[0] == 0


def test_a_hostile_model_name(tmp_path: Path) -> None:
    (file,) = Path(TUNED).glob("results_*.json")
    content = json.loads(file.read_text())
    content["model_name"] = "\x1b[31m<script>\n::error::"
    content["results"]["\x1b[2J=cmd()\n::error::"] = content["results"].pop("known_words")
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        (tmp_path / side / file.name).write_text(json.dumps(content))
    code, printed = gate("--base-results", str(tmp_path / "base"), "--tuned-results", str(tmp_path / "tuned"))
    assert code == 0
    assert "\x1b" not in printed
    assert not any(line.startswith("::") for line in printed.splitlines())


def test_nothing_is_written_beside_what_is_read(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "base")
    before = sorted(tmp_path.rglob("*"))
    gate("--base-results", str(tmp_path / "base"), "--tuned-results", TUNED)
    assert sorted(tmp_path.rglob("*")) == before
