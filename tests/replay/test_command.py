from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import diag
from diag.analysis import analyze
from diag.errors import UsageError
from diag.replay.command import CommandTrainer
from diag.replay.experiment import Settings, replay
from diag.replay.guard import ProbeError
from diag.replay.outcome import CONFIRMED, INCONCLUSIVE
from diag.replay.trainer import TIME_LIMIT, Job, Stop, Trained
from diag.result import RunReport

SCRIPTS = Path(__file__).resolve().parent.parent / "data" / "commands"
FAST = Settings(steps=40)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's project, with a script and the log of a run whose learning rate is too high."""
    for name in ("regression.py", "hf_style.py", "hf_trainer.py", "dotlist.py"):
        shutil.copy(SCRIPTS / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hot(here: Path) -> RunReport:
    subprocess.run([sys.executable, "hf_style.py", "--output_dir", "runs/hot", "--seed", "7"], check=True, cwd=here)
    (report,) = analyze("runs/hot").runs
    assert report.diagnosis.causes[0].cause == "lr_too_high" and report.fixes[0].parameter == "learning_rate"
    return report


def trainer(report: RunReport, options: str = "{overrides}", **settings: Any) -> CommandTrainer:
    return CommandTrainer(f"{sys.executable} hf_style.py {options}", report.run, Path("replay"), grace=1.0, **settings)


def job(made: CommandTrainer, arm: str = "recorded", seed: int = 0, steps: int = 40, **changes: Any) -> Job:
    known = {name: entry.value for name, entry in made._run.hyperparameters.items()}
    return Job(arm, seed, known | changes, steps, known["max_steps"])


def train(made: CommandTrainer, *jobs: Job, stop: Stop | None = None, deadline: float = math.inf) -> list[tuple[Job, Trained]]:
    return list(made.train(jobs, stop=stop, deadline=deadline, begin=lambda jobs: None))


def output(arm: str = "recorded", seed: int = 0) -> str:
    return (Path("replay") / arm / f"seed-{seed}" / "work" / "output.log").read_text()


def alive(pids: Iterable[str]) -> list[str]:
    found = []
    for pid in pids:
        try:
            os.kill(int(pid), 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X"):
                found.append(pid)
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


def test_a_prescription_is_confirmed_by_the_users_own_command(hot: RunReport) -> None:
    made = trainer(hot)
    outcome = replay(hot, made, FAST, folder=Path("replay"), fixes=hot.fixes[:1])
    assert outcome.result == CONFIRMED, outcome.reason
    assert (outcome.metric, outcome.device, outcome.probe) == ("eval/loss", "command", made.spec)
    recorded, prescription = outcome.arms[:2]
    assert prescription.changes == (("learning_rate", 0.1, 0.01),)
    assert [seed.steps for seed in recorded.seeds] == [40] * len(recorded.seeds)
    assert len({seed.final for seed in recorded.seeds}) == len(recorded.seeds), "seeds differ"
    written = json.loads(Path(f"replay/{outcome.horizon.name}/prescription/seed-1/work/out/training_args.json").read_text())
    assert (written["learning_rate"], written["seed"]) == (0.01, 1)
    assert not Path("out").exists()


def test_what_is_finished_is_not_trained_again(hot: RunReport) -> None:
    first = replay(hot, trainer(hot), FAST, folder=Path("replay"), fixes=hot.fixes[:1])
    before = {path: path.stat().st_mtime_ns for path in Path("replay").rglob("output.log")}
    assert replay(hot, trainer(hot), FAST, folder=Path("replay"), fixes=hot.fixes[:1]) == first
    assert {path: path.stat().st_mtime_ns for path in Path("replay").rglob("output.log")} == before
    Path("hf_style.py").write_text(Path("hf_style.py").read_text() + "\n# changed\n")
    digests = {made.digest for made in (trainer(hot), trainer(hot, "--sleep 0 {overrides}"), trainer(hot, time_limit=9.0))}
    assert len(digests) == 3
    with pytest.raises(ProbeError, match="exit code 3"):
        Path("hf_style.py").write_text("raise SystemExit(3)")
        replay(hot, trainer(hot), FAST, folder=Path("replay"), fixes=hot.fixes[:1])


def test_a_command_without_steps_keeps_its_schedule_and_is_ended(hot: RunReport) -> None:
    made = trainer(hot, "--lr_scheduler_type linear --sleep 0.02 {overrides}")
    ((_, done),) = train(made, job(made, steps=10))
    assert done.rows[-1]["step"] == 10 and done.stopped == ""
    assert done.values("lr")[-1] == pytest.approx(0.1 * (1 - 9 / 160))
    state = json.loads(Path("replay/recorded/seed-0/work/out/trainer_state.json").read_text())
    assert 10 < state["global_step"] < 160


def test_a_schedule_other_than_that_of_the_log_is_told(hot: RunReport) -> None:
    made = trainer(hot, "--lr_scheduler_type linear {overrides} --max_steps {steps}")
    ((_, done),) = train(made, job(made, steps=20))
    assert len(done.rows) == 10
    assert any("as recorded, the learning rate at step 2 is 0.095, where the log of the run has 0.1" in note for note in done.notes)
    same = trainer(hot, "{overrides} --max_steps {steps}")
    ((_, done),) = train(same, job(same, steps=20))
    assert not any("learning rate" in note or "schedule" in note for note in done.notes)


def test_what_a_process_is_told(hot: RunReport, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = here / "show.py"
    script.write_text(
        "import json, os, sys, regression\n"
        "names = [name for name in os.environ if name.startswith(('DIAG_REPLAY', 'WANDB_MODE', 'PYTHONUNBUFFERED'))]\n"
        "print(json.dumps({name: os.environ[name] for name in names}), json.dumps(sys.argv[1:]), file=sys.stderr)\n"
        "print(sys.stdin.read())\n"
        "for step in range(1, 41): print(f'step {step}: loss {2 - step / 40:.3f}')\n"
    )
    monkeypatch.delenv("WANDB_MODE", raising=False)
    made = CommandTrainer(f"{sys.executable} -m show {{seed}} {{total_steps}} {{out}} {{overrides}}", hot.run, Path("replay"))
    hostile = "$(touch x) `touch x`; touch x 'a' \"b\""
    ((_, done),) = train(made, job(made, "only-optimizer", seed=3, optimizer=hostile))
    environment, words = (json.loads(part) for part in output("only-optimizer", 3).splitlines()[0].replace("} [", "}\n[").split("\n"))
    assert environment == {
        "DIAG_REPLAY_ARM": "only-optimizer",
        "DIAG_REPLAY_SEED": "3",
        "DIAG_REPLAY_STEPS": "40",
        "WANDB_MODE": "offline",
        "PYTHONUNBUFFERED": "1",
    }
    assert words == ["3", "160", f"{here}/replay/only-optimizer/seed-3/work", "--optim", hostile]
    assert not list(here.rglob("x"))
    assert done.values("train/loss")[-1] == 1.0
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(made, job(made, seed=3))
    assert json.loads(output(seed=3).partition("} ")[0] + "}")["WANDB_MODE"] == "disabled"


def test_a_dotlist_command_reads_what_its_config_names(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "samples.txt").write_text("samples\n")
    config = {
        "recipe": "TrainFinetuneRecipeForNextTokenPrediction",
        "seed": 42,
        "step_scheduler": {"global_batch_size": 16, "local_batch_size": 16, "num_epochs": 2, "max_steps": 160, "val_every_steps": 10},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1},
        "lr_scheduler": {"lr_decay_style": "linear", "lr_warmup_steps": 0, "lr_decay_steps": 160},
        "clip_grad_norm": {"max_norm": 1.0},
        "dataset": {"path_or_dataset_id": "data/samples.txt"},
        "checkpoint": {"checkpoint_dir": "checkpoints"},
    }
    (here / "cfg.yaml").write_text(json.dumps(config))
    subprocess.run([sys.executable, "dotlist.py", "-c", "cfg.yaml"], check=True, cwd=here)
    (report,) = analyze("checkpoints").runs
    assert report.run.dialect == "automodel"
    rest = "--step_scheduler.max_steps {steps} --lr_scheduler.lr_decay_steps {total_steps}"
    made = CommandTrainer(f"{sys.executable} dotlist.py -c cfg.yaml {{overrides}} {rest}", report.run, Path("replay"))
    changed = job(made, "prescription", seed=4, learning_rate=0.01, max_steps=160)
    (_, recorded), (_, done) = train(made, job(made, seed=4, max_steps=160), changed)
    assert not recorded.notes
    assert done.loss < recorded.loss
    assert done.values("lr")[-1] == pytest.approx(0.01 * (1 - 39 / 160)), "the schedule is that of the whole plan"
    used = Path("replay/prescription/seed-4/work/checkpoints/epoch_0_step_1/config.yaml").read_text()
    assert "lr: 0.01" in used and "seed: 4" in used and "max_steps: 40" in used


def test_the_time_limit_ends_all_processes_and_keeps_what_was_read(hot: RunReport, here: Path) -> None:
    made = trainer(hot, f"--nap {here}/naps --sleep 0.05 {{overrides}}", time_limit=1.5)
    ((_, done),) = train(made, job(made, steps=160))
    assert done.stopped == TIME_LIMIT and 2 <= done.rows[-1]["step"] < 160 and math.isfinite(done.loss)
    assert any("time limit ended trainings" in note for note in done.notes)
    assert alive((here / "naps").read_text().split()) == []


def test_a_budget_ends_all_processes_and_the_training_begins_anew(hot: RunReport, here: Path) -> None:
    made = trainer(hot, f"--nap {here}/naps --sleep 0.05 {{overrides}}")
    assert train(made, job(made, steps=160), deadline=time.monotonic() + 1.5) == []
    assert alive((here / "naps").read_text().split()) == []
    (left,) = diag.load("replay/recorded/seed-0/work")
    assert 2 <= left.steps < 160
    assert train(made, job(made), deadline=time.monotonic() - 1) == []
    assert train(trainer(hot), job(made))[0][1].rows[-1]["step"] == 40


def test_a_training_that_falls_behind_is_ended_however_late_it_is_noticed(hot: RunReport) -> None:
    def behind(marks: Any) -> list[str]:
        return [f"behind at step {row['step']}" if row["step"] >= 20 else "" for _, row in marks]

    results = []
    for sleep in ("0", "0.03"):
        made = trainer(hot, f"--sleep {sleep} {{overrides}}")
        ((_, done),) = train(made, job(made, steps=120), stop=behind)
        results.append((done.stopped, done.rows, done.loss))
    assert results[0] == results[1]
    assert results[0][0] == "behind at step 20" and results[0][1][-1]["step"] == 20


def test_a_loss_that_is_no_number_is_a_result(hot: RunReport) -> None:
    made = trainer(hot, "--nan_at 11 {overrides}")
    ((_, done),) = train(made, job(made))
    assert done.loss == math.inf and done.rows[-1]["step"] == 11


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--no_such_option 1", "exit code 2: hf_style.py: error: unrecognized arguments: --no_such_option 1"),
        ("--fail_at 7", "it ran out of memory: halve micro_batch_size and double gradient_accumulation_steps"),
        ("--logging_steps 500 --eval_steps 500", "no loss was logged in the first 40 steps"),
    ],
)
def test_a_command_that_fails(hot: RunReport, options: str, said: str) -> None:
    made = trainer(hot, f"{options} {{overrides}} --max_steps 100" if "500" not in options else f"{options} {{overrides}} --max_steps 1000")
    with pytest.raises(ProbeError) as caught:
        train(made, job(made))
    assert said in str(caught.value) and "replay/recorded/seed-0/work/output.log" in str(caught.value) and "\n" not in str(caught.value)


def test_a_command_that_logs_nothing(hot: RunReport) -> None:
    made = CommandTrainer("echo nothing {overrides}", hot.run, Path("replay"))
    with pytest.raises(ProbeError, match="without a log of a loss that any adapter reads"):
        train(made, job(made))
    sleeper = "'import time; time.sleep(60)'"
    made = CommandTrainer(f"{sys.executable} -c {sleeper} {{overrides}} {{steps}}", hot.run, Path("replay"), time_limit=0.3, grace=1.0)
    with pytest.raises(ProbeError, match="time limit was reached before any loss was logged"):
        train(made, job(made))
    made = CommandTrainer(f"{sys.executable} -c 'open(\"data.txt\")' {{overrides}}", hot.run, Path("replay"))
    with pytest.raises(ProbeError, match=r"data.txt.*write paths below .* in full"):
        train(made, job(made))


def test_a_failure_after_the_last_step_is_none(hot: RunReport) -> None:
    made = trainer(hot, "{overrides} --max_steps {steps} --fail_at {steps}")
    ((_, done),) = train(made, job(made))
    assert done.rows[-1]["step"] == 40 and math.isfinite(done.loss)


def test_only_what_decides_must_succeed(hot: RunReport) -> None:
    made = trainer(hot, "--fail_above 0.3 {overrides}")
    bad, good = job(made, "random", learning_rate=1.0), job(made)
    unspelled = job(made, "rank-2", lora_rank=8)
    assert [done.arm for done, _ in train(made, unspelled, bad, good)] == ["recorded"]
    assert any(
        remark.startswith("random was not trained: the command ended with exit code 1: learning_rate 1.0") for remark in made.remarks()
    )
    assert any("rank-2 was not trained: hf has no command-line option for lora_rank" in remark for remark in made.remarks())
    with pytest.raises(ProbeError, match="not supported"):
        train(made, job(made, "prescription", learning_rate=1.0))


def test_one_training_an_arm_where_seeds_make_no_difference(hot: RunReport) -> None:
    del hot.run.hyperparameters["seed"]
    hot.run.dialect = "generic"
    made = trainer(hot, "--sleep 0 {overrides}")
    outcome = replay(hot, made, FAST, folder=Path("replay"), fixes=hot.fixes[:1])
    assert outcome.result == INCONCLUSIVE
    assert len(list(Path(f"replay/{outcome.horizon.name}/recorded").iterdir())) == 1
    assert any("write the option for it with {seed}" in note for note in outcome.notes)


def test_a_folder_of_somebody_elses_is_left_alone(hot: RunReport) -> None:
    precious = Path("replay/recorded/seed-0/work/precious")
    precious.parent.mkdir(parents=True)
    precious.write_text("")
    made = trainer(hot)
    with pytest.raises(UsageError, match="holds something that no replay made"):
        train(made, job(made))
    assert precious.exists()


@pytest.mark.slow
def test_the_trainer_of_transformers_trains_as_its_log_says(here: Path) -> None:
    options = (
        "--learning_rate 0.05 --lr_scheduler_type cosine --warmup_steps 8 --num_train_epochs 10 --per_device_train_batch_size 32"
        " --logging_steps 2 --eval_strategy steps --eval_steps 10 --save_strategy no --report_to none --output_dir out"
    )
    subprocess.run([sys.executable, "hf_trainer.py", *options.split(), "--seed", "7"], check=True, cwd=here, capture_output=True)
    (report,) = analyze("out").runs
    made = CommandTrainer(f"{sys.executable} hf_trainer.py {options} {{overrides}}", report.run, Path("replay"))
    assert (report.run.dialect, made.planned_steps({})) == ("hf", 160)
    as_logged = Job("recorded", 7, {"max_steps": 160}, 40, 160)
    ((_, recorded),) = train(made, as_logged)
    assert recorded.notes == () and recorded.rows[-1]["step"] == 40
    for name in ("train/loss", "eval/loss", "lr", "grad_norm"):
        logged = {
            step: value for step, value in zip(report.run.curves[name].step, report.run.curves[name].value, strict=True) if step <= 40
        }
        assert {row["step"]: row[name] for row in recorded.rows if name in row} == pytest.approx(logged, rel=1e-3), name
