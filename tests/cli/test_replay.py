from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
        (["no/such/run", "--probe", "x.py", "--command", "x {overrides}"], "give one of them"),
        (["no/such/run", "--probe", "x.py", "--time-limit", "1m"], "are for a --command"),
        (["no/such/run", "--command", "x {overrides}", "--device", "cpu"], "--device is not for a --command"),
        (["no/such/run", "--command", "x {overrides}"], "no/such/run: does not exist"),
        (["{fixtures}/hf-lr-too-high", "--command", "python3 train.py"], "has no {overrides}"),
        (["{fixtures}/hf-lr-too-high", "--command", "python3 {overrides}", "--dialect", "hff"], "did you mean 'hf'?"),
        (["{fixtures}/hf-lr-too-high", "--command", "python3 {overrides}", "--time-limit", "soon"], "'soon' is no time"),
        (["{fixtures}/hf-lr-too-high", "--command", "no-such-program {overrides}"], "there is no program no-such-program"),
        (["no/such/run", "--probe", "x.py"], "no/such/run: does not exist"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py"], "there is no file x.py"),
        (["{fixtures}/all-sources", "--probe", "x.py"], "holds 12 runs; name one of them"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py", "--budget", "soon"], "'soon' is no time"),
        (["{fixtures}/hf-lr-too-high", "--probe", "x.py", "--seeds", "2"], "3<=x<=16"),
    ],
)
def test_every_mistake_is_one_line_and_exit_2(arguments: list[str], said: str, fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diag.cli.main(["replay", *(argument.replace("{fixtures}", str(fixtures)) for argument in arguments)]) == 2
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


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A training script, and in runs/hot the log of it at a learning rate that is too high."""
    for name in ("regression.py", "hf_style.py"):
        shutil.copy(Path(__file__).resolve().parent.parent / "data" / "commands" / name, tmp_path)
    subprocess.run([sys.executable, "hf_style.py", "--output_dir", "runs/hot", "--seed", "7"], check=True, cwd=tmp_path)
    return tmp_path / "hf_style.py"


@pytest.mark.slow
def test_a_command_is_run_without_torch(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"{sys.executable} hf_style.py --output_dir runs/hot {{overrides}}"
    blocked = "import sys; sys.modules['torch'] = None; from diag.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["replay", "runs/hot", "--command", line, "--steps", "40", "--seeds", "3", "--time-limit", "1m", "--format", "json"]
    before = Path("runs/hot/trainer_state.json").stat().st_mtime_ns
    done = subprocess.run([sys.executable, "-c", blocked, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["result"], outcome["probe"], outcome["steps"]) == ("CONFIRMED", line, 40)
    assert json.loads(Path("replay-hot/replay.json").read_text()) == outcome
    assert Path("runs/hot/trainer_state.json").stat().st_mtime_ns == before
    assert diag.cli.main(["replay", "runs/hot", "--command", line, "-o", "hf_style.py"]) == 2
    assert "hf_style.py is what is read" in capsys.readouterr().err


def test_an_interrupt_ends_the_command_and_keeps_what_is_finished(script: Path) -> None:
    line = f"{sys.executable} hf_style.py --nap {Path.cwd()}/naps --nap_arm prescription --sleep 0.02 {{overrides}}"
    code = (
        "import signal, sys; from diag.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job inherits that it is ignored
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["replay", "runs/hot", "--steps", "25", "--command", line, "--out", "out"]
    finished = Path("out/beginning-25/recorded/seed-0/arm.json")
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True) as process:
        for _ in range(1500):
            if Path("naps").exists():
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)  # impatient: the grandchild ignores SIGTERM
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "goes on from what is finished in out" in errors and "Traceback" not in errors
    assert finished.exists() and not Path("out/beginning-25/prescription/seed-0/arm.json").exists()
    assert [pid for pid in Path("naps").read_text().split() if is_alive(int(pid))] == []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (ProcessLookupError, FileNotFoundError):
        return False
