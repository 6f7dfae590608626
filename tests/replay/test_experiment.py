from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diag
from diag.analysis import judge
from diag.diagnosis import Diagnosis, RankedCause
from diag.errors import NothingToJudgeError, UsageError
from diag.fixes import Fix
from diag.replay.decision import BETTER
from diag.replay.experiment import Settings, replay
from diag.replay.guard import ProbeError
from diag.replay.horizon import BEGINNING, SUBSET, WHOLE, Horizon
from diag.replay.outcome import CONFIRMED, INCONCLUSIVE, REFUTED, Outcome
from diag.replay.probe import Probe, ProbeFunction
from diag.replay.probing import ProbeTrainer
from diag.replay.trainer import Begin, Job, Stop, Trained
from diag.replay.training import train
from diag.result import RunReport
from diag.run import Run

HOT = {
    "learning_rate": 0.5,
    "lr_scheduler": "constant",
    "optimizer": "adamw",
    "max_steps": 160,
    "global_batch_size": 16,
    "micro_batch_size": 16,
    "max_grad_norm": 1.0,
}
"""Learns well at a hundredth of this rate."""


def make(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
    """Four classes of points around four centres."""
    data = torch.Generator().manual_seed(0)
    labels = torch.arange(320) % 4
    x = torch.randn(4, 6, generator=data)[labels] + 0.7 * torch.randn(320, 6, generator=data)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    order = torch.Generator().manual_seed(seed)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x[batch]), labels[batch])

    def batches() -> Any:
        return torch.split(torch.randperm(256, generator=order), hyperparameters["micro_batch_size"])

    return Probe(model, batches, loss, lambda: [torch.arange(256, 320)])


PROBE = ProbeFunction("make", make, "digest")


@pytest.fixture(scope="module")
def hot() -> RunReport:
    """A run whose learning rate is too high, as its log tells it."""
    done = train(make, HOT, seed=9, steps=160, total_steps=160)
    report, problems = judge(done.to_run("hot", HOT, 160))
    assert not problems and report.diagnosis.causes[0].cause == "lr_too_high"
    return report


def change(parameter: str, new: Any, rank: int = 1) -> Fix:
    return Fix(parameter, HOT.get(parameter), new, None, rank, "LRS001", "because")


LOWER, HIGHER = change("learning_rate", 0.01), change("learning_rate", 5.0)


def test_the_right_prescription_is_confirmed_and_the_symptom_goes(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), fixes=[LOWER])
    recorded, prescription = outcome.arms[:2]
    assert outcome.result == CONFIRMED
    assert (outcome.horizon, outcome.metric, outcome.exit_code) == (Horizon(BEGINNING, 40, 160), "eval/loss", 0)
    assert recorded.reappeared == len(recorded.seeds) >= 3
    assert prescription.reappeared == 0
    assert prescription.comparison is not None
    assert prescription.comparison.wins == len(prescription.seeds)
    assert prescription.comparison.effect > 0.3


def test_the_runs_own_prescription_is_tested_with_its_alternatives(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE))
    assert outcome.result == CONFIRMED
    assert outcome.arms[1].changes == tuple((fix.parameter, fix.old, fix.new) for fix in hot.fixes if fix.rank == 1)
    assert {"random", "lr-find"} <= {arm.name for arm in outcome.arms}
    assert all(arm.dropped or arm.comparison for arm in outcome.arms[1:])


def test_the_swapped_prescription_is_refuted(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE, stack=False), fixes=[HIGHER])  # so high a rate amplifies the last digit of a sum
    assert outcome.result == REFUTED
    assert outcome.exit_code == 1


def test_a_steadier_but_slower_training_is_not_refuted(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), Settings(steps=40), fixes=[change("learning_rate", 0.002)])
    assert outcome.result == INCONCLUSIVE
    assert "The symptom goes, but the loss is" in outcome.reason and "40 of 160" in outcome.reason


def test_what_a_quarter_of_the_plan_does_not_decide_is_trained_to_the_end(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), fixes=[change("learning_rate", 0.002)])
    assert (outcome.result, outcome.horizon) == (CONFIRMED, Horizon(WHOLE, 160, 160))


def test_a_budget_that_ends_in_the_longer_training_leaves_the_shorter_one(hot: RunReport, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def clock(jobs: Sequence[Job]) -> None:
        nonlocal now
        now = float(jobs[0].steps == 160)

    outcome = replay(hot, ProbeTrainer(PROBE), Settings(budget=0.5), fixes=[change("learning_rate", 0.002)], begin=clock)
    assert (outcome.result, outcome.horizon) == (INCONCLUSIVE, Horizon(BEGINNING, 40, 160))


def test_a_change_of_the_length_of_the_run_is_trained_to_its_end_on_part_of_the_data(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), Settings(seeds=3), fixes=[change("max_steps", 80)])
    assert (outcome.horizon.kind, outcome.horizon.steps, outcome.horizon.total_steps) in ((SUBSET, 60, 160), (WHOLE, 160, 160))
    assert outcome.arms[1].steps * 2 == outcome.arms[0].steps == outcome.horizon.steps


def test_a_change_the_probe_does_not_use_is_found_out(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), fixes=[change("lora_rank", 32)])
    assert outcome.result == INCONCLUSIVE
    assert "does not use lora_rank" in outcome.reason


def test_the_same_replay_gives_the_same_outcome(hot: RunReport) -> None:
    for stack in (True, False):
        first, second = (replay(hot, ProbeTrainer(PROBE, stack=stack), fixes=[LOWER]) for _ in range(2))
        assert first.to_dict() == second.to_dict()


def test_what_is_finished_is_not_trained_again(hot: RunReport, tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []

    def again(function: ProbeFunction = PROBE) -> Outcome:
        done.clear()
        return replay(
            hot,
            ProbeTrainer(function, stack=False),
            folder=tmp_path,
            fixes=[LOWER],
            begin=lambda jobs: done.extend((job.arm, job.seed) for job in jobs),
        )

    first = again()
    assert ("recorded", 0) in done and ("prescription", 2) in done
    assert again().to_dict() == first.to_dict()
    assert done == []
    shutil.rmtree(tmp_path / "beginning-40" / "prescription" / "seed-1")
    assert again().to_dict() == first.to_dict()
    assert done == [("prescription", 1)]
    again(ProbeFunction("make", make, "another file"))
    assert ("recorded", 0) in done


def test_an_interrupted_replay_keeps_what_was_finished(hot: RunReport, tmp_path: Path) -> None:
    count = itertools.count()

    def interrupt(jobs: Sequence[Job]) -> None:
        if next(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(hot, ProbeTrainer(PROBE, stack=False), folder=tmp_path, fixes=[LOWER], begin=interrupt)
    assert len(list(tmp_path.glob("*/*/seed-*/arm.json"))) == 3


def test_the_folder_holds_runs_like_any_other(hot: RunReport, tmp_path: Path) -> None:
    replay(hot, ProbeTrainer(PROBE), folder=tmp_path, fixes=[LOWER])
    report = diag.analyze(tmp_path)
    assert not report.problems
    by_id = {entry.run.id: entry for entry in report.runs}
    assert by_id["beginning-40/recorded/seed-0"].run.hyperparameter("learning_rate") == 0.5
    assert by_id["beginning-40/prescription/seed-0"].run.steps == 40


def test_the_probe_is_never_shorter_than_its_warmup(hot: RunReport) -> None:
    longer = change("warmup_steps", 30)
    outcome = replay(hot, ProbeTrainer(PROBE), Settings(seeds=3, steps=10), fixes=[longer])
    assert outcome.horizon.steps == 50
    assert "50 steps were probed instead of 10" in outcome.notes[0]


def test_a_probe_with_a_shorter_plan_has_a_shorter_warmup(hot: RunReport) -> None:
    def shorter(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        return replace(make(hyperparameters, seed), planned_steps=80)

    trainer = ProbeTrainer(ProbeFunction("shorter", shorter, ""))
    outcome = replay(hot, trainer, Settings(seeds=3, steps=36), fixes=[change("warmup_steps", 32)])
    assert outcome.horizon.total_steps == 80
    assert outcome.arms[1].changes == (("warmup_steps", None, 16),)
    assert outcome.horizon.steps == 36


def test_a_larger_batch_sees_as_many_samples(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), Settings(seeds=3, steps=40), fixes=[change("global_batch_size", 64)])
    assert [(arm.steps, arm.total_steps) for arm in outcome.arms[:2]] == [(40, 160), (10, 40)]


def test_unseeded_randomness_is_found_out(hot: RunReport) -> None:
    calls = itertools.count()

    def careless(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        return make(hyperparameters, next(calls))

    with pytest.raises(ProbeError, match="unseeded randomness: two identical trainings differ at step 1"):
        replay(hot, ProbeTrainer(ProbeFunction("careless", careless, "")), fixes=[LOWER])


def test_a_loss_that_is_no_number_before_anything_was_learned(hot: RunReport) -> None:
    def broken(hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        probe = make(hyperparameters, seed)
        return Probe(probe.model, probe.batches, lambda model, batch: probe.loss(model, batch) * math.nan)

    with pytest.raises(ProbeError, match="the loss is nan at the first step"):
        replay(hot, ProbeTrainer(ProbeFunction("broken", broken, "")), fixes=[LOWER])


def test_a_spent_budget_is_inconclusive(hot: RunReport) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), Settings(budget=1e-9), fixes=[LOWER])
    assert (outcome.result, outcome.exit_code) == (INCONCLUSIVE, 3)
    assert "budget" in outcome.reason


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_trained(hot: RunReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        replay(hot, ProbeTrainer(PROBE), folder=tmp_path / "file" / "out", fixes=[LOWER], begin=lambda jobs: pytest.fail("trained"))


def test_a_seed_that_one_arm_did_not_finish_does_not_count(hot: RunReport, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def clock(jobs: Sequence[Job]) -> None:
        nonlocal now
        now = float((jobs[0].arm, jobs[0].seed) == ("prescription", 1))

    outcome = replay(hot, ProbeTrainer(PROBE, stack=False), Settings(budget=0.5), fixes=[LOWER], begin=clock)
    assert outcome.result == INCONCLUSIVE and "after 1 seed" in outcome.reason
    assert [len(arm.seeds) for arm in outcome.arms[:2]] == [1, 1]


def test_nothing_to_test(hot: RunReport) -> None:
    with pytest.raises(NothingToJudgeError, match="there is no prescription"):
        replay(hot, ProbeTrainer(PROBE), fixes=[])
    with pytest.raises(NothingToJudgeError, match="nothing that a short training can show"):
        replay(hot, ProbeTrainer(PROBE), fixes=[change("load_best_model_at_end", True)])


@pytest.mark.parametrize("wrong", [{"seeds": 2}, {"seeds": 99}, {"steps": 0}, {"budget": 0.0}, {"budget": math.nan}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Settings(**wrong)


def test_where_the_log_shows_nothing_the_usual_changes_are_tried(hot: RunReport) -> None:
    """A run a little too slow, that looks like a healthy one of a harder task."""
    slow = HOT | {"learning_rate": 0.0005}
    report, _ = judge(train(make, slow, seed=9, steps=160, total_steps=160).to_run("slow", slow, 160))
    report = replace(report, fixes=(), findings=(), diagnosis=Diagnosis("HEALTHY", 0.8))
    with pytest.raises(NothingToJudgeError, match="--explore tries the usual changes"):
        replay(report, ProbeTrainer(PROBE))
    outcome = replay(report, ProbeTrainer(PROBE), Settings(seeds=3, explore=True))
    assert (outcome.result, outcome.horizon.kind) == (CONFIRMED, WHOLE)
    assert outcome.causes[0].cause in ("lr_too_low", "too_few_epochs", "batch_too_large")
    assert "The log shows nothing wrong, but the loss is" in outcome.reason


def test_a_cause_whose_change_does_not_help_falls_behind(hot: RunReport) -> None:
    causes = (RankedCause("lr_too_low", 0.7), RankedCause("lr_too_high", 0.6))
    doubtful = replace(hot, diagnosis=replace(hot.diagnosis, causes=causes))
    outcome = replay(doubtful, ProbeTrainer(PROBE))
    assert outcome.causes[0].cause == "lr_too_high"
    assert {trial.cause for trial in outcome.trials} == {"lr_too_low", "lr_too_high"}


def test_a_learning_rate_in_question_is_swept_too(hot: RunReport, tmp_path: Path) -> None:
    outcome = replay(hot, ProbeTrainer(PROBE), folder=tmp_path)
    assert outcome.found_rate is not None and outcome.found_rate.rate is not None
    assert 0.001 < outcome.found_rate.rate < 0.1
    assert any(arm.name == "lr-find" for arm in outcome.arms)
    assert any("A range test suggests a learning rate of" in note for note in outcome.notes)
    kept = (tmp_path / "lr-find.json").stat().st_mtime_ns
    assert replay(hot, ProbeTrainer(PROBE), folder=tmp_path).found_rate == outcome.found_rate
    assert (tmp_path / "lr-find.json").stat().st_mtime_ns == kept
    assert replay(hot, ProbeTrainer(PROBE), fixes=[change("weight_decay", 0.1)]).found_rate is None


class Scripted:
    """A trainer whose losses are known: seeds differ much, and the change gains one percent with every seed."""

    spec, digest, device, small = "scripted", "", "cpu", False

    def settle(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        return dict(hyperparameters)

    def planned_steps(self, hyperparameters: Mapping[str, Any]) -> int | None:
        return 160

    def check(self, job: Job) -> None:
        pass

    def train(self, jobs: Iterable[Job], *, stop: Stop | None, deadline: float, begin: Begin) -> Iterator[tuple[Job, Trained]]:
        for job in jobs:
            loss = (1.0 + 0.1 * (-1) ** job.seed) * (0.99 if job.hyperparameters["learning_rate"] != HOT["learning_rate"] else 1.0)
            rows = [{"step": float(step), "train/loss": loss} for step in range(1, job.steps + 1)]
            yield job, Trained(rows, job.steps, job.total_steps, loss)

    def find_rate(self, run: Run) -> None:
        return None

    def remarks(self) -> list[str]:
        return []


def test_the_exact_test_counts_at_the_last_look_only(hot: RunReport) -> None:
    """Five seeds that agree would pass it; it may be asked once, and eight were allowed."""
    recorded, prescription = replay(hot, Scripted(), Settings(seeds=8), fixes=[LOWER]).arms[:2]
    assert len(recorded.seeds) == len(prescription.seeds) == 8
    assert prescription.comparison is not None and prescription.comparison.decision == BETTER
