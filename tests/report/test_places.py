"""Where findings stand: the config line to change, the row of the log, or what is known instead; paths as platforms want them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import healthy

import diag
from diag.analysis import judge
from diag.check import Finding
from diag.fixes import Fix
from diag.linting import lint
from diag.report.places import CONFIG, GATE, LOG, RUN, Base, Place, RunPlaces, best_first, of_violation
from diag.result import RunReport
from diag.run import LogEvent

ROOT = Path(__file__).resolve().parents[2]


def line_of(place: Place) -> str:
    """The text a place points at."""
    return Path(place.file).read_text(encoding="utf-8").split("\n")[place.line - 1][place.column - 1 : place.end_column - 1].strip()


def only(path: Path) -> RunReport:
    (entry,) = diag.analyze(path).runs
    return entry


def finding(metric: str, step: int | None, code: str = "OVF001") -> Finding:
    return Finding(code, "overfit-gap", "error", "message", metric, step, None)


class TestLogs:
    @pytest.mark.parametrize(
        ("folder", "metric", "step", "shown"),
        [
            ("trainer_state", "eval/loss", 140, '"eval_loss": 0.91805'),
            ("trainer_state", "train/loss", 30, '"loss": '),
            ("jsonl", "eval/loss", 140, '"eval_loss": 0.91805'),
            ("csv", "eval/loss", 140, "0.91805"),
            ("console", "eval/loss", 140, "'eval_loss': '0.9181'"),
            ("mlflow-filestore", "eval/loss", 140, "0.91805"),
        ],
    )
    def test_a_finding_stands_on_the_row_in_which_it_begins(self, fixtures: Path, folder: str, metric: str, step: int, shown: str) -> None:
        entry = only(fixtures / "all-sources" / "overfit" / folder)
        entry = replace(entry, findings=(finding(metric, step),), fixes=())
        (place,) = RunPlaces(entry, Base(fixtures)).of(entry.findings[0])
        assert place.kind == LOG
        assert place.inside
        assert shown in line_of(place)

    @pytest.mark.parametrize("folder", ["tensorboard", "wandb", "mlflow-sqlite"])
    def test_binary_logs_have_line_one(self, fixtures: Path, folder: str) -> None:
        entry = replace(only(fixtures / "all-sources" / "overfit" / folder), fixes=())
        (place,) = RunPlaces(entry, Base(fixtures)).of(finding("eval/loss", 140))
        assert (place.kind, place.line, place.column, place.end_column) == (LOG, 1, 1, 1)
        assert Path(place.file).is_file()

    def test_the_evaluation_of_a_second_file_is_found_there(self, fixtures: Path) -> None:
        entry = replace(only(fixtures / "automodel-jsonl"), findings=(finding("eval/loss", 140), finding("train/loss", 21)), fixes=())
        places = RunPlaces(entry, Base(fixtures))
        first, second = (places.of(found)[0] for found in entry.findings)
        assert first.path.endswith("validation.jsonl")
        assert json.loads(line_of(first))["step"] == 139  # counted from 0 there
        assert second.path.endswith("training.jsonl")
        assert json.loads(line_of(second))["step"] == 20

    def test_a_crash_stands_on_its_own_line(self, tmp_path: Path) -> None:
        log = tmp_path / "train.log"
        text = (
            "".join(f"step {step} loss {3 - step / 100:.3f}\n" for step in range(1, 90)) + "torch.OutOfMemoryError: CUDA out of memory.\n"
        )
        log.write_text(text, encoding="utf-8")
        entry = only(log)
        crash = next(found for found in entry.findings if found.code == "LOG006")
        (place,) = RunPlaces(entry, Base(tmp_path)).of(crash)
        assert "OutOfMemory" in line_of(place)

    def test_a_finding_about_nothing_in_particular_has_line_one(self, fixtures: Path) -> None:
        entry = replace(only(fixtures / "hf-healthy"), fixes=())
        assert RunPlaces(entry, Base(fixtures)).of(finding("", None))[0].line == 1
        assert RunPlaces(entry, Base(fixtures)).of(finding("never/logged", None))[0].path.endswith("hf-healthy/trainer_state.json")

    def test_without_lines_nothing_is_read(self, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from diag.adapters import lines

        entry = only(fixtures / "hf-overfit")
        monkeypatch.setattr(lines, "read", lambda *_: pytest.fail("the log was read"))
        for found in entry.findings:
            assert RunPlaces(entry, Base(fixtures), with_lines=False).of(found)[0].line == 1

    def test_a_log_is_read_once_a_run(self, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from diag.adapters import lines

        entry, read = only(fixtures / "hf-overfit"), lines.read
        calls: list[Path] = []

        def counted(path: Path, *given: Any) -> Any:
            calls.append(path)
            return read(path, *given)

        monkeypatch.setattr(lines, "read", counted)
        places = RunPlaces(entry, Base(fixtures))
        assert len({places.of(found) for found in entry.findings}) > 1
        assert len(calls) == 1

    def test_a_log_that_is_gone_has_line_one(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-overfit")
        entry.run.files = (str(fixtures / "gone.json"),)
        assert RunPlaces(entry, Base(fixtures)).of(finding("eval/loss", 140))[0].line == 1


class TestConfigs:
    def test_the_line_to_change_comes_first(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-nan")
        found = next(found for found in entry.findings if found.code == "DIV001")
        config, log = RunPlaces(entry, Base(fixtures)).of(found)
        assert config.kind == CONFIG
        assert "learning_rate" in line_of(config)
        assert log.kind == LOG

    def test_only_of_a_change_that_answers_the_finding(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-nan")
        kinds = {place.kind for found in entry.findings if found.code == "GRD003" for place in RunPlaces(entry, Base(fixtures)).of(found)}
        assert kinds == {LOG}

    def test_a_later_prescription_points_nowhere(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-nan")
        later = tuple(replace(fix, rank=2) for fix in entry.fixes)
        found = next(found for found in entry.findings if found.code == "DIV001")
        assert RunPlaces(replace(entry, fixes=later), Base(fixtures)).of(found)[0].kind == LOG

    def test_what_the_log_recorded_itself_is_nothing_to_change(self, tmp_path: Path, fixtures: Path) -> None:
        state = tmp_path / "trainer_state.json"
        state.write_bytes((fixtures / "hf-overfit" / "trainer_state.json").read_bytes())
        entry = only(state)
        assert entry.run.hyperparameters["num_epochs"].file == "trainer_state.json"
        found = next(found for found in entry.findings if found.code == "OVF001")
        assert {place.kind for place in RunPlaces(entry, Base(tmp_path)).of(found)} == {LOG}

    def test_a_fix_of_a_native_key(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-nan")
        fix = Fix("learning_rate", 1, 2, None, 1, "OVF001", "why", key="learning_rate")
        assert "learning_rate" in line_of(RunPlaces(replace(entry, fixes=(fix,)), Base(fixtures)).of(finding("eval/loss", 140))[0])


class TestPaths:
    def test_are_relative_to_the_repository(self, tmp_path: Path, fixtures: Path) -> None:
        (tmp_path / ".git").mkdir()
        folder = tmp_path / "deep" / "down"
        folder.mkdir(parents=True)
        assert Base(folder).root == tmp_path
        assert Base(folder).place(LOG, folder / "a.json", "x").path == "deep/down/a.json"

    def test_are_relative_to_the_working_directory_where_there_is_none(self, tmp_path: Path) -> None:
        if not any((parent / ".git").exists() for parent in tmp_path.parents):
            assert Base(tmp_path).root == tmp_path

    def test_never_lead_upwards(self, tmp_path: Path) -> None:
        folder = tmp_path / "repository"
        (folder / ".git").mkdir(parents=True)
        outside = Base(folder).place(LOG, tmp_path / "elsewhere" / "a.json", "run/a.json")
        assert (outside.path, outside.inside) == ("run/a.json", False)
        assert Base(folder).place(LOG, folder / "b" / ".." / "a.json", "x").path == "a.json"

    def test_links_are_resolved(self, tmp_path: Path) -> None:
        folder = tmp_path / "repository"
        (folder / ".git").mkdir(parents=True)
        (tmp_path / "scratch").mkdir()
        (folder / "runs").symlink_to(tmp_path / "scratch")
        (folder / "loop").symlink_to("loop")
        assert not Base(folder).place(LOG, folder / "runs" / "a.json", "x").inside
        assert Base(folder).place(LOG, folder / "loop" / "a.json", "x").path

    def test_a_run_outside_is_called_by_its_id(self, fixtures: Path, tmp_path: Path) -> None:
        entry = replace(only(fixtures / "hf-overfit"), fixes=())
        (place,) = RunPlaces(entry, Base(tmp_path)).of(finding("eval/loss", 140))
        assert (place.path, place.inside) == ("hf-overfit/trainer_state.json", False)

    def test_the_gate_stands_in_for_what_lies_outside(self, fixtures: Path, tmp_path: Path) -> None:
        entry = replace(only(fixtures / "hf-overfit"), fixes=())
        gate = tmp_path / "diag.toml"
        gate.write_text("", encoding="utf-8")
        first, second = RunPlaces(entry, Base(tmp_path), str(gate)).of(finding("eval/loss", 140))
        assert (first.kind, first.path, first.line) == (GATE, "diag.toml", 1)
        assert (second.kind, second.inside) == (LOG, False)

    def test_the_gate_comes_last_where_the_log_can_be_shown(self, fixtures: Path) -> None:
        entry = replace(only(fixtures / "hf-overfit"), fixes=())
        places = RunPlaces(entry, Base(fixtures), str(fixtures / "README.md")).of(finding("eval/loss", 140))
        assert [place.kind for place in places] == [LOG, GATE]

    def test_a_remote_run_has_its_name(self) -> None:
        run = healthy().overfit().run(id="abc", path="wandb://team/project/abc")
        entry = judge(run)[0]
        assert RunPlaces(entry, Base()).of(entry.findings[0]) == (Place(RUN, "wandb://team/project/abc"),)

    def test_repetitions_are_left_out(self) -> None:
        place = Place(LOG, "a", "/a", True)
        assert best_first([Place(LOG, "b", "/b"), place, place]) == (place, Place(LOG, "b", "/b"))

    def test_an_event_of_a_file_that_was_not_read_is_ignored(self, fixtures: Path) -> None:
        entry = only(fixtures / "hf-overfit")
        entry.run.events = [LogEvent("traceback", 3, "boom", "other.log", 7)]
        crash = replace(finding("", 3, "LOG006"), evidence={"file": "other.log", "line": 7})
        assert RunPlaces(entry, Base(fixtures)).of(crash)[-1].path.endswith("trainer_state.json")


def test_a_lint_finding_stands_on_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (entry,) = lint(["examples/mistral-lora.yaml"]).configs
    for violation in entry.violations:
        (place,) = of_violation(violation, entry, Base())
        assert (place.path, place.kind) == ("examples/mistral-lora.yaml", CONFIG)
        assert violation.key.split(".")[-1] in line_of(place)


def test_a_config_from_standard_input_has_no_file() -> None:
    from diag.documents import parse
    from diag.linting import inspect, lints, plan_of
    from diag.plan import Options

    (document,) = parse(
        "learning_rate: 5.0\nnum_train_epochs: 2\noutput_dir: out\nper_device_train_batch_size: 8\n", name="<stdin>", form="yaml"
    )
    plan = plan_of(document, Options())
    assert plan is not None
    entry = inspect(plan, lints())
    (place,) = of_violation(entry.violations[0], entry, Base())
    assert (place.path, place.file, place.inside) == ("<stdin>", "", False)
