"""What must not change an opinion: the unit of the loss, the unit of the step, the density, the order and the kind of the log."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from invariance_logs import FILES, Rows, rows_of, shuffle, trackers
from invariance_runs import KINDS, Training, in_unit, relabelled, thinned, training

import diag
from diag.analysis import judge
from diag.run import Curve, Run

BITS = 1 / math.log(2)
ROWS = 200
"""Train rows of a log that is then written twice and half as often."""
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
few = settings(max_examples=4, phases=[Phase.explicit, Phase.generate])  # a shorter seed is no simpler example
kinds = pytest.mark.parametrize("kind", sorted(KINDS))


@dataclass(frozen=True)
class Opinion:
    """What is said of a run: the verdict, the leading cause, and the codes of the findings that are warnings or errors."""

    verdict: str
    cause: str
    alarms: tuple[str, ...] = ()


def opinion(run: Run) -> Opinion:
    report, problems = judge(run)
    assert problems == []
    alarms = sorted({finding.code for finding in report.findings if finding.severity != "info"})
    causes = report.diagnosis.causes
    return Opinion(report.diagnosis.verdict, causes[0].cause if causes else "", tuple(alarms))


def opinion_of(path: Path) -> Opinion:
    """Opinion of the only run in a folder."""
    (run,) = diag.load(path)
    return opinion(run)


def verdict_and_cause(run: Run) -> tuple[str, str]:
    said = opinion(run)
    return said.verdict, said.cause


class Log(NamedTuple):
    """A made training and how it is logged."""

    kind: str
    seed: int
    steps: int
    noise: float
    evaluations: int
    window: bool

    @property
    def every(self) -> int:
        """Steps from one train row to the next."""
        return self.steps // ROWS

    def run(self, every: int | None = None, *, window: bool | None = None) -> Run:
        """The run, at this or another interval, with means of the interval or single batches."""
        made = training(self.kind, seed=self.seed, steps=self.steps, noise=self.noise, evaluations=self.evaluations)
        return made.log(every or self.every, window=self.window if window is None else window)


def logs(kind: str) -> st.SearchStrategy[Log]:
    """Logs of a kind of training whose trouble, if any, is clear."""
    noise, evaluations = st.sampled_from([0.02, 0.05, 0.1]), st.sampled_from([8, 12, 40])
    return st.builds(Log, st.just(kind), seeds, st.sampled_from([400, 1600, 4000]), noise, evaluations, st.booleans())


seeds = st.integers(0, 10_000)


# --- made runs ---------------------------------------------------------------------------------------------------------


@kinds
@given(data=st.data())
@few
def test_the_verdict_is_the_one_that_was_built_in(kind: str, data: st.DataObject) -> None:
    assert opinion(data.draw(logs(kind)).run()).verdict in KINDS[kind][1]


@kinds
@given(data=st.data())
@few
def test_bits_for_nats(kind: str, data: st.DataObject) -> None:
    run = data.draw(logs(kind)).run()
    assert opinion(in_unit(run, BITS)) == opinion(run)


@kinds
@given(data=st.data(), count=st.sampled_from([(4, 0), (10, 0), (1, -1)]))
@few
def test_steps_counted_otherwise(kind: str, data: st.DataObject, count: tuple[int, int]) -> None:
    run = data.draw(logs(kind)).run()
    assert opinion(relabelled(run, *count)) == opinion(run)


@kinds
@given(data=st.data())
@few
def test_logged_half_and_twice_as_often(kind: str, data: st.DataObject) -> None:
    log = data.draw(logs(kind))
    said = opinion(log.run())
    for every in (2 * log.every, log.every // 2):
        view = opinion(log.run(every))
        assert view.verdict == said.verdict
        assert view.cause == said.cause or kind == "spiky"  # how wide a spike is shows in a dense log only


@kinds
@given(data=st.data())
@few
def test_single_batches_for_means(kind: str, data: st.DataObject) -> None:
    log = data.draw(logs(kind))
    assert opinion(log.run(window=False)).verdict == opinion(log.run(window=True)).verdict


@pytest.mark.parametrize("kind", ["healthy", "no evaluations", "plateau", "flat"])
@pytest.mark.parametrize("window", [True, False])
@given(seed=seeds)
@settings(few, max_examples=5)
def test_noise_is_no_divergence_however_often_it_is_logged(kind: str, window: bool, seed: int) -> None:
    made = training(kind, seed=seed, noise=0.3)
    for every in (4, 8, 16):
        assert opinion(made.log(every, window=window)).verdict not in {"DIVERGED", "UNSTABLE"}


@given(seed=seeds)
@few
def test_a_spike_that_takes_time_to_come_back_is_not_blamed_on_the_data_in_a_dense_log_either(seed: int) -> None:
    made = training("spiky", seed=seed)
    assert {opinion(made.log(every)).cause for every in (4, 8)} == {"lr_too_high"}


# --- what a threshold in steps or nats would change -----------------------------------------------------------------------


def smooth(steps: int, evaluations: int = 40) -> Training:
    """A cosine that ended while the loss still fell by a few percent a quarter, seen by evaluations without noise."""
    random = np.random.default_rng(0)
    made = training("healthy", steps=steps, evaluations=evaluations)
    level = 1.5 + 0.9 * np.exp(-0.5 * np.cumsum(made.rate) / made.rate.sum())
    return replace(made, train=level * np.exp(0.02 * random.standard_normal(steps)), held_out=1.02 * level, epochs=1.0)


@pytest.mark.parametrize("factor", [4, 10])
def test_a_run_that_ended_too_early_is_no_longer_for_counting_micro_steps(factor: int) -> None:
    run = smooth(400).log(2)
    assert verdict_and_cause(relabelled(run, factor)) == verdict_and_cause(run) == ("UNDERFIT", "too_few_epochs")


def sized(made: Training, batch: int = 32) -> Training:
    """The training with the sizes that tell how many optimizer steps it made, whatever the log counts."""
    samples = round(made.train.size * batch / made.epochs)
    return replace(made, known={"dataset_size": samples, "global_batch_size": batch, "num_epochs": made.epochs})


@pytest.mark.parametrize("epochs", [1.0, 6.0])
def test_what_ended_a_short_run_too_early_is_not_told_by_the_labels_of_its_steps(epochs: float) -> None:
    made = replace(smooth(90), epochs=epochs)
    assert opinion(relabelled(made.log(1), 10)).verdict == opinion(made.log(1)).verdict == "UNDERFIT"
    run = sized(made).log(1)
    assert verdict_and_cause(relabelled(run, 10)) == verdict_and_cause(run)


@pytest.mark.parametrize("factor", [4, 10])
def test_a_scheduler_that_is_not_stepped_is_seen_in_a_short_run_too(factor: int) -> None:
    run = training("scheduler not stepped", steps=150).log(1)
    assert verdict_and_cause(relabelled(run, factor)) == verdict_and_cause(run)
    assert opinion(run).cause == "schedule_bug"


@pytest.mark.parametrize("evaluations", [5, 6, 7])
def test_as_many_evaluations_are_enough_in_any_unit_of_the_step(evaluations: int) -> None:
    run = training("healthy", steps=400, evaluations=evaluations).log(2)
    assert verdict_and_cause(relabelled(run, 10)) == verdict_and_cause(run) == ("HEALTHY", "")


def test_a_missing_warmup_is_seen_in_any_unit_of_the_step_and_at_any_interval() -> None:
    steps = 400
    rate = 0.05 * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    made = replace(training("healthy", steps=steps), rate=rate, known={"method": "pretraining", "optimizer": "adamw"})
    run = made.log(1)
    assert "LRS007" in opinion(run).alarms
    assert "LRS007" in opinion(relabelled(run, 10)).alarms
    assert "LRS007" in opinion(made.log(4)).alarms


def test_a_loss_of_guessing_is_known_in_bits_too() -> None:
    random = np.random.default_rng(0)
    made = training("flat", steps=400)
    made = replace(made, train=math.log(10) * np.exp(0.003 * random.standard_normal(400)), held_out=np.full(400, math.log(10)) * 1.001)
    run = made.log(4)
    late = replace(run, curves={name: curve.select(curve.step > 28) for name, curve in run.curves.items()})
    assert opinion(late).verdict == "PLATEAU"
    assert opinion(in_unit(late, BITS)) == opinion(late)


def test_a_loss_scale_that_collapses_does_so_in_any_unit_of_the_step() -> None:
    run = training("healthy", steps=1000).log(10)
    loss = run.curves["train/loss"]
    scale = np.full(len(loss), 65536.0)
    for at in (50, 55, 60, 65):
        scale[at:] /= 2
    run.curves["loss_scale"] = Curve(loss.step, scale, loss.epoch, loss.wall_time)
    assert "PRC001" in opinion(run).alarms
    assert opinion(relabelled(run, 4)) == opinion(run)


def leaked(steps: int) -> Training:
    """Ten epochs over few samples, all of which are evaluated on: both losses fall together."""
    made = training("healthy", steps=steps)
    fall = np.exp(-1.2 * np.arange(1, steps + 1) / steps)
    return replace(made, train=made.train * fall, held_out=made.held_out * fall, epochs=10.0, known={"global_batch_size": 8})


def test_a_leak_does_not_vanish_with_the_samples_that_are_inferred_from_micro_steps() -> None:
    run = leaked(800).log(4)
    assert "EVL003" in opinion(run).alarms
    assert opinion(relabelled(run, 10)) == opinion(run)


@pytest.mark.parametrize("steps", [50, 80])
def test_a_short_run_has_a_leak_in_any_unit_of_the_step_or_in_none(steps: int) -> None:
    run = sized(leaked(steps)).log(1)
    assert opinion(relabelled(run, 10)) == opinion(run)


# --- files: the order of the rows, the kind of the log ------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one log at a time."""
    yield tmp_path / "log"


def said_of_file(folder: Path, kind: str, rows: Rows) -> Opinion:
    """Opinion of the rows as one kind of log."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    FILES[kind](folder, rows)
    return opinion_of(folder)


@kinds
@pytest.mark.parametrize(("log", "evaluations"), [("trainer_state", 4), ("jsonl", 12), ("csv", 5)])
def test_rows_shuffled(kind: str, log: str, evaluations: int, folder: Path) -> None:
    rows = rows_of(training(kind, seed=evaluations, evaluations=evaluations).log(16))
    said = said_of_file(folder, log, rows)
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        assert said_of_file(folder, log, rows) == said


def test_no_evaluation_is_lost_when_rows_are_shuffled(folder: Path) -> None:
    rows = rows_of(training("healthy", evaluations=4).log(8))
    for seed in range(20):
        random.Random(seed).shuffle(rows)
        folder.mkdir(exist_ok=True)
        FILES["jsonl"](folder, rows)
        (run,) = diag.load(folder)
        assert len(run.curves["eval/loss"]) == 4
        assert run.overlaps == []


@kinds
@pytest.mark.parametrize(("peak", "others"), [(2e-7, list(FILES)), (5e-4, ["trainer_state", "csv"])])
def test_another_logger_wrote_it(kind: str, peak: float, others: list[str], folder: Path) -> None:
    made = training(kind)
    rows = rows_of(replace(made, rate=made.rate / made.rate.max() * peak).log(16))
    said = said_of_file(folder, "jsonl", rows)
    assert {log: said_of_file(folder, log, rows) for log in others} == dict.fromkeys(others, said)


@pytest.mark.slow
def test_mlflow_and_wandb_wrote_it(tmp_path: Path, folder: Path) -> None:
    rows = {kind: rows_of(training(kind, steps=800).log(8)) for kind in ("healthy", "overfit", "nan")}
    trackers([(tmp_path / kind, made) for kind, made in rows.items()])
    for kind, made in rows.items():
        said = said_of_file(folder, "jsonl", made)
        assert {log: opinion_of(tmp_path / kind / log) for log in ("mlflow", "wandb")} == {"mlflow": said, "wandb": said}, kind


# --- recorded runs -------------------------------------------------------------------------------------------------------

RECORDED = sorted(path for path in FIXTURES.iterdir() if path.is_dir() and path.name not in ("record", "all-sources", "lm-eval"))
EVERY_SOURCE = sorted((FIXTURES / "all-sources").glob("*/trainer_state"))


def name_of(path: Path) -> str:
    """A recorded run's folder, for the test's id."""
    return str(path.relative_to(FIXTURES))


recorded = pytest.mark.parametrize("path", [*RECORDED, *EVERY_SOURCE], ids=name_of)


@cache
def loaded(path: Path) -> tuple[tuple[Run, Opinion], ...]:
    """The runs at a path and what is said of them."""
    return tuple((run, opinion(run)) for run in diag.load(path))


@recorded
def test_recorded_runs_in_bits(path: Path) -> None:
    for run, said in loaded(path):
        assert opinion(in_unit(run, BITS)) == said


@recorded
@pytest.mark.parametrize("count", [(1, 0), (4, 0), (10, 0), (1, -1)])
def test_recorded_runs_with_steps_counted_otherwise(path: Path, count: tuple[int, int]) -> None:
    for run, said in loaded(path):
        assert opinion(relabelled(run, *count)) == said


BOTH_RIGHT = {"hot": {"UNSTABLE", "PLATEAU"}}
"""Runs of which two things are true: a rate of 2.0 threw the weights away in the first steps, and nothing was learned since."""


@recorded
@pytest.mark.parametrize("window", [True, False])
def test_recorded_runs_with_half_of_the_rows(path: Path, window: bool) -> None:
    for run, said in loaded(path):
        loss = run.curve("train/loss")
        if loss is not None and len(loss) >= 60:
            assert opinion(thinned(run, window=window)).verdict in BOTH_RIGHT.get(run.id, {said.verdict})


def tables(path: Path) -> list[Path]:
    """The files of a recorded run whose rows say which step they are of."""
    return [file for file in sorted(path.rglob("*")) if file.name == "trainer_state.json" or file.suffix in (".jsonl", ".csv")]


@pytest.mark.parametrize("path", [path for path in (*RECORDED, *EVERY_SOURCE) if tables(path)], ids=name_of)
def test_recorded_runs_with_rows_shuffled(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    order = random.Random(0)
    for file in tables(copy):
        shuffle(file, order)
    assert [said for _, said in loaded(copy)] == [said for _, said in loaded(path)]
