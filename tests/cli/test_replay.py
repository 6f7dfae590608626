from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import diag.cli
from diag.replay.probe import load
from diag.replay.store import Store
from diag.replay.trainer import Job
from diag.replay.training import train

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "replay_schema.json").read_text(encoding="utf-8"))
HOT = {"learning_rate": 0.09, "num_epochs": 3, "max_steps": 192, "global_batch_size": 32, "lr_scheduler": "cosine", "optimizer": "adamw"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(diag.cli.COMMANDS, "replay", "")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """The log of a training of the template with a learning rate thirty times too high."""
    assert diag.cli.main(["replay", "--init"]) == 0
    Store(tmp_path / "runs").put(Job("hot", 7, HOT, 192, 192), "", train(load("probe.py"), HOT, seed=7, steps=192, total_steps=192))
    return "runs/hot"


def test_the_template_confirms_the_cure_of_its_own_fault(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", run, "--probe", "probe.py:probe", "--out", "out"]) == 0
    text = capsys.readouterr().out
    assert "CONFIRMED" in text and "learning_rate 0.09" in text and "60 of 192 steps" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    saved = json.loads(Path("out/replay.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(saved)
    assert saved["result"] == "CONFIRMED" and saved["arms"][0]["name"] == "recorded"
    assert diag.cli.main(["replay", run, "--probe", "probe.py:probe", "--out", "out", "--format", "json", "-o", "again.json"]) == 0
    assert Path("again.json").read_text() == Path("out/replay.json").read_text()


def test_the_template_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", "--init", "mine.py"]) == 0
    before = Path("mine.py").read_text()
    assert diag.cli.main(["replay", "--init", "mine.py"]) == 2
    assert Path("mine.py").read_text() == before
    assert "exists already" in capsys.readouterr().err


def test_neither_the_probe_nor_the_log_is_written_over(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", "--init"]) == 0
    before = Path("probe.py").read_text()
    log = Path("state.json")
    log.write_bytes(next((fixtures / "hf-lr-too-high").rglob("trainer_state.json")).read_bytes())
    for read in ("probe.py", "state.json"):
        assert diag.cli.main(["replay", "state.json", "--probe", "probe.py:probe", "-o", read]) == 2
        assert f"{read} is what is read; write to another file" in capsys.readouterr().err
    assert Path("probe.py").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which run?"),
        (["no/such/run"], "which training?"),
        (["no/such/run", "--probe", "x.py"], "no/such/run: does not exist"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py"], "there is no file x.py"),
        (["{fixtures}/all-sources", "--probe", "x.py"], "holds 12 runs; name one of them"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py", "--budget", "soon"], "'soon' is no time"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py", "--seeds", "2"], "3<=x<=16"),
    ],
)
def test_every_mistake_is_one_line_and_exit_2(arguments: list[str], said: str, fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", *(argument.format(fixtures=fixtures) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list(Path.cwd().iterdir())


def test_a_healthy_run_has_nothing_to_replay(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", "--init"]) == 0
    assert diag.cli.main(["replay", f"{fixtures}/hf-healthy", "--probe", "probe.py"]) == 3
    assert "there is no prescription to replay" in capsys.readouterr().err


def test_the_causes_are_ranked_by_what_a_replay_found(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", run, "--probe", "probe.py:probe", "--out", "out", "--seeds", "3"]) == 0
    saved = json.loads(Path("out/replay.json").read_text())
    tried = {trial["cause"] for trial in saved["trials"]}
    assert "lr_too_high" in tried and saved["causes"][0]["cause"] == "lr_too_high"
    capsys.readouterr()
    assert diag.cli.main(["analyze", run, "--replayed", "out", "--format", "json", "--fail-on", "never"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert [(cause["cause"], cause["score"]) for cause in entry["causes"]] == [(c["cause"], c["score"]) for c in saved["causes"]]
    assert entry["replayed"]["result"] == "CONFIRMED"
    diag.cli.main(["analyze", run, "--replayed", "out"])
    assert "Replayed: CONFIRMED." in capsys.readouterr().out
    Path("other").mkdir()
    Path("other/metrics.csv").write_text("step,loss\n" + "".join(f"{i},{1 / i}\n" for i in range(1, 30)))
    assert diag.cli.main(["analyze", "other", "--replayed", "out"]) == 2
    assert "which is not among the runs" in capsys.readouterr().err
