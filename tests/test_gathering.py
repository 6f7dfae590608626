"""Files that are named one by one: those of one run are judged as one run, once."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX import SummaryWriter

import diag
from diag.adapters import registry
from diag.analysis import analyze
from diag.errors import InputError, NothingThereError
from diag.gathering import gather
from diag.result import Report


def write_events(folder: Path, tag: str, steps: Sequence[int], start: float = 2.0) -> Path:
    """An event file of its own in ``folder``."""
    before = set(folder.glob("events.*"))
    with SummaryWriter(str(folder), filename_suffix=f".{len(before)}") as writer:
        for step in steps:
            writer.add_scalar(tag, start / (step + 1), step)
    (path,) = set(folder.glob("events.*")) - before
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; its files are named relative to it, as a hook names them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*paths: Path) -> list[Path]:
    return [path.relative_to(Path.cwd()) for path in paths]


def ids(report: Report) -> list[str]:
    return [entry.run.id for entry in report.runs]


class TestFilesOfOneRun:
    def test_states_of_a_training_and_its_checkpoints(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "hf-overfit", here / "out")
        states = named(*sorted((here / "out").rglob("trainer_state.json")))
        assert len(states) == 5
        (entry,) = analyze(states).runs
        assert (entry.run.id, entry.run.path, entry.run.steps) == ("out", "out/trainer_state.json", 480)
        assert (entry.diagnosis.verdict, entry.run.hyperparameters["learning_rate"].source) != ("HEALTHY", "")

    def test_the_newest_of_the_checkpoints_named_counts(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "hf-overfit", here / "out")
        states = named(*(here / "out" / f"checkpoint-{step}" / "trainer_state.json" for step in (140, 280)))
        (entry,) = analyze(states).runs
        assert (entry.run.steps, entry.run.path) == (280, "out/checkpoint-280/trainer_state.json")

    def test_event_files_of_one_folder(self, here: Path) -> None:
        files = [write_events(here / "tb", "train/loss", range(1, 50)), write_events(here / "tb", "train/loss", range(50, 90))]
        (entry,) = analyze(named(*files)).runs
        assert entry.run.steps == 89
        assert len(entry.run.curves["train/loss"]) == 89

    def test_event_files_of_train_and_val_folders(self, here: Path) -> None:
        files = [write_events(here / "run" / split, "epoch_loss", range(30)) for split in ("train", "validation")]
        (entry,) = analyze(named(*files)).runs
        assert entry.run.id == "run"
        assert {"train/loss", "eval/loss"} <= set(entry.run.curves)

    def test_training_and_validation_tables(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "automodel-jsonl", here / "run")
        (entry,) = analyze(named(here / "run" / "validation.jsonl", here / "run" / "training.jsonl")).runs
        assert {"train/loss", "eval/loss"} <= set(entry.run.curves)

    def test_a_resumed_wandb_run(self, here: Path, fixtures: Path) -> None:
        (first,) = (fixtures / "wandb-overfit" / "wandb").iterdir()
        for name in (first.name, first.name.replace("20261121", "20261122")):
            shutil.copytree(first, here / "wandb" / name)
        logs = named(*sorted(here.rglob("*.wandb")))
        assert len(logs) == 2
        assert len(analyze(logs).runs) == 1

    def test_formats_of_one_run(self, here: Path, fixtures: Path) -> None:
        source = fixtures / "all-sources" / "overfit"
        shutil.copytree(source / "trainer_state", here / "run")
        shutil.copytree(source / "tensorboard" / "runs", here / "run" / "runs")
        files = named(here / "run" / "trainer_state.json", *(here / "run" / "runs").iterdir())
        (entry,) = analyze(files).runs
        assert entry.run.adapter == "trainer_state"
        assert any("the same run is also in" in note for note in entry.run.notes)

    def test_runs_beside_each_other_stay_apart(self, here: Path) -> None:
        files = [write_events(here / "runs" / name, "train/loss", range(30), start) for name, start in (("a", 2.0), ("b", 3.0))]
        assert ids(analyze(named(*files))) == ["runs/a", "runs/b"]

    def test_tables_of_several_runs_in_one_folder_stay_apart(self, here: Path) -> None:
        for name, start in (("log_a.csv", 2.0), ("log_b.csv", 3.0)):
            (here / name).write_text("step,loss\n" + "".join(f"{step},{start / step}\n" for step in range(1, 30)))
        assert len(analyze(named(here / "log_a.csv", here / "log_b.csv")).runs) == 2


class TestOnlyTheFilesNamedCount:
    def test_of_the_event_files_in_a_folder(self, here: Path) -> None:
        first, second = (write_events(here / "tb", "train/loss", steps) for steps in (range(1, 50), range(50, 90)))
        write_events(here / "tb", "train/loss", range(90, 200))
        (entry,) = analyze(named(first, second)).runs
        assert entry.run.steps == 89
        (alone,) = analyze(named(first)).runs
        assert alone.run.steps == 49

    def test_unless_whole_runs_are_asked_for(self, here: Path) -> None:
        first = write_events(here / "tb", "train/loss", range(1, 50))
        write_events(here / "tb", "train/loss", range(50, 90))
        (entry,) = analyze(named(first), whole_runs=True).runs
        assert entry.run.steps == 89


class TestWholeRuns:
    def test_a_validation_log_is_judged_with_its_training_log(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "automodel-jsonl", here / "run")
        log = named(here / "run" / "validation.jsonl")
        assert "train/loss" not in analyze(log).runs[0].run.curves
        (whole,) = analyze(log, whole_runs=True).runs
        assert {"train/loss", "eval/loss"} <= set(whole.run.curves)

    def test_a_checkpoint_is_judged_as_the_run_it_is_of(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "hf-overfit", here / "out")
        (entry,) = analyze(named(here / "out" / "checkpoint-140" / "trainer_state.json"), whole_runs=True).runs
        assert (entry.run.id, entry.run.steps) == ("out", 480)

    def test_an_event_file_with_those_of_the_other_split(self, here: Path) -> None:
        files = [write_events(here / "run" / split, "epoch_loss", range(30)) for split in ("train", "validation")]
        (entry,) = analyze(named(files[1]), whole_runs=True).runs
        assert {"train/loss", "eval/loss"} <= set(entry.run.curves)

    def test_logs_in_the_working_directory_itself(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "automodel-jsonl", here, dirs_exist_ok=True)
        (entry,) = analyze(["validation.jsonl"], whole_runs=True).runs
        assert (entry.run.id, entry.run.path) == (here.name, "training.jsonl")

    def test_folders_are_searched_as_ever(self, fixtures: Path) -> None:
        assert analyze(fixtures / "hf-overfit", whole_runs=True).to_json() == analyze(fixtures / "hf-overfit").to_json()


class TestNamedTwice:
    def test_a_file_and_its_folder(self, here: Path, fixtures: Path) -> None:
        shutil.copytree(fixtures / "hf-overfit", here / "out")
        for paths in itertools.permutations(["out", "out/trainer_state.json", "out/checkpoint-140/trainer_state.json"]):
            assert ids(analyze(paths)) == ["out"]

    def test_a_file_in_several_spellings(self, here: Path, fixtures: Path) -> None:
        shutil.copy(fixtures / "hf-healthy" / "trainer_state.json", here)
        assert len(analyze(["trainer_state.json", "./trainer_state.json", here / "trainer_state.json"]).runs) == 1

    def test_a_folder_and_one_inside_it(self, here: Path, fixtures: Path) -> None:
        for name in ("hf-healthy", "hf-overfit"):
            shutil.copytree(fixtures / name, here / "runs" / name)
        for paths in itertools.permutations(["runs", "runs/hf-overfit", "runs/hf-overfit/"]):
            assert sorted(Path(entry.run.id).name for entry in analyze(paths).runs) == ["hf-healthy", "hf-overfit"]

    def test_runs_of_one_store_are_all_kept(self, fixtures: Path) -> None:
        store = fixtures / "mlflow-sqlite"
        once = analyze(store)
        assert len(analyze([store, *store.glob("*.db")]).runs) == len(once.runs) > 0


class TestWhatCannotBeRead:
    @pytest.fixture
    def logs(self, here: Path, fixtures: Path) -> Callable[..., Report]:
        shutil.copy(fixtures / "hf-healthy" / "trainer_state.json", here / "good.json")
        (here / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")
        (here / "scores.csv").write_text("name,score\na,1\nb,2\n")
        (here / "broken.json").write_text('{"log_history": [')
        (here / "trainer_state.json").write_text("{")
        return lambda *names: analyze([*names], whole_runs=True)

    def test_is_a_problem_a_file(self, logs: Callable[..., Report]) -> None:
        report = logs("good.json", "gone.csv", "pointer.csv", "scores.csv", "trainer_state.json")
        assert len(report.runs) == 1
        assert {(problem.path, problem.absent) for problem in report.problems} == {
            ("gone.csv", True),
            ("pointer.csv", True),
            ("scores.csv", True),
            ("trainer_state.json", False),
        }
        assert report.exit_code() == 2
        assert report.exit_code(allow_unjudged=True) == 2

    def test_where_there_is_nothing_to_judge_can_be_allowed(self, logs: Callable[..., Report]) -> None:
        report = logs("good.json", "gone.csv", "pointer.csv", "scores.csv")
        assert report.exit_code() == 2
        assert report.exit_code(allow_unjudged=True) == 0

    def test_where_nothing_at_all_can_be_judged(self, logs: Callable[..., Report]) -> None:
        report = logs("gone.csv", "pointer.csv")
        assert (report.runs, report.exit_code(), report.exit_code(allow_unjudged=True)) == ((), 2, 0)

    @pytest.mark.parametrize("name", ["gone.csv", "pointer.csv", "scores.csv"])
    def test_alone_it_is_an_error_of_its_kind(self, logs: Callable[..., Report], name: str) -> None:
        with pytest.raises(NothingThereError, match=name):
            logs(name)

    def test_a_broken_log_is_another(self, logs: Callable[..., Report]) -> None:
        with pytest.raises(InputError) as caught:
            logs("trainer_state.json")
        assert not isinstance(caught.value, NothingThereError)

    def test_an_adapter_that_crashes_around_a_file_is_a_problem_and_the_file_is_judged(
        self, logs: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from diag.adapters.trainer_state import TrainerStateAdapter

        def crash(*_: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(TrainerStateAdapter, "find", crash)
        report = logs("good.json")
        assert [entry.diagnosis.verdict for entry in report.runs] == ["HEALTHY"]
        assert {problem.kind for problem in report.problems} == {"crash"}


def test_a_short_run_is_unjudged(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.9\n3,1.8\n")
    report = analyze(tmp_path / "metrics.csv")
    assert (report.judged, report.exit_code(), report.exit_code(allow_unjudged=True)) == (False, 3, 0)


def test_a_finding_fails_whatever_else_is_allowed(fixtures: Path) -> None:
    assert analyze([fixtures / "hf-overfit", "gone.csv"]).exit_code(allow_unjudged=True) == 1


def test_files_elsewhere_are_told_from_a_folder_above_them(tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = analyze([fixtures / name / "trainer_state.json" for name in ("hf-healthy", "hf-overfit")])
    assert [(entry.run.id, entry.run.path) for entry in report.runs] == [
        ("hf-healthy", "hf-healthy/trainer_state.json"),
        ("hf-overfit", "hf-overfit/trainer_state.json"),
    ]


def test_the_order_of_the_paths_is_kept(fixtures: Path) -> None:
    paths = [fixtures / name / "trainer_state.json" for name in ("hf-overfit", "hf-healthy")]
    assert [Path(name).name for name in ids(analyze(paths))] == ["hf-overfit", "hf-healthy"]
    assert [Path(name).name for name in ids(analyze([fixtures / "hf-nan", *paths]))] == ["hf-nan", "hf-overfit", "hf-healthy"]


@given(st.lists(st.sampled_from(range(6)), min_size=1, max_size=8), st.booleans())
def test_every_file_is_read_by_one_source(tmp_path_factory: pytest.TempPathFactory, picks: list[int], whole: bool) -> None:
    base = tmp_path_factory.getbasetemp() / "every-file"
    if not base.exists():
        state = json.dumps({"global_step": 9, "log_history": [{"loss": 1.0, "step": 1}, {"loss": 0.5, "step": 9}]})
        for folder in ("run", "run/checkpoint-5", "other"):
            (base / folder).mkdir(parents=True)
            (base / folder / "trainer_state.json").write_text(state)
        for name in ("run/training.jsonl", "run/validation.jsonl", "run/log.jsonl"):
            (base / name).write_text("".join(json.dumps({"step": step, "loss": 2 / step, "val_loss": 1.0}) + "\n" for step in range(1, 9)))
    files = sorted(path for path in base.rglob("*") if path.is_file())
    chosen = [files[pick] for pick in picks]
    groups, problems = gather(chosen, whole_runs=whole)
    assert problems == []
    read = [file for group in groups for source in group.sources for file in source.files]
    assert len(read) == len(set(read))
    assert set(chosen) <= set(read)
    assert {source.adapter for group in groups for source in group.sources} <= set(registry.registry().adapters)


def test_the_python_interface_says_the_same(fixtures: Path) -> None:
    assert diag.analyze([fixtures / "hf-healthy" / "trainer_state.json"], whole_runs=True).runs[0].diagnosis.verdict == "HEALTHY"
