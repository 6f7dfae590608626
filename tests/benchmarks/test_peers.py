"""The comparison with other tools: every code and label has its symptoms, the naive analyzer keeps its thresholds, the table adds up."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import diag
from diag import battery
from diag.vocabulary import CAUSES, SEVERITIES, VERDICTS

pytest.importorskip("scipy")

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """The scripts, which import one another as they do when they are run."""
    before = sys.path[:]
    sys.path.insert(0, str(PEERS))
    try:
        return {name: importlib.import_module(name) for name in ("ask", "compare", "naive", "symptoms")}
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def symptoms(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["symptoms"]


@pytest.fixture(scope="module")
def compare(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["compare"]


def label(kind: str, accepted: tuple[str, ...] = (), causes: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"run": kind, "class": kind, "accepted": list(accepted), "causes": list(causes), "also": list(also)}


# Symptoms


def test_every_verdict_and_cause_has_symptoms(symptoms: ModuleType) -> None:
    assert set(symptoms.VERDICTS) == set(VERDICTS)
    assert set(symptoms.CAUSES) == set(CAUSES)
    sick = set(CAUSES) - {"out_of_memory", "throughput_degraded"}
    assert all(symptoms.CAUSES[cause] for cause in sick)


def test_every_check_of_diag_has_an_entry(symptoms: ModuleType) -> None:
    own = {check.code for check in battery.checks() if type(check).__module__.startswith("diag.")}
    assert own <= set(symptoms.CODES["diag"])


def test_every_peer_that_is_installed_can_be_asked_and_judged(modules: dict[str, ModuleType]) -> None:
    peers = set(modules["compare"].PEERS)
    assert peers == set(modules["ask"].ASKED)
    assert peers | {"diag", "naive"} == set(modules["symptoms"].CODES)


def test_only_known_symptoms_and_severities_are_used(symptoms: ModuleType) -> None:
    tables = [symptoms.VERDICTS, symptoms.CAUSES, *symptoms.CODES.values()]
    assert {symptom for table in tables for spoken in table.values() for symptom in spoken} == set(symptoms.SYMPTOMS)
    assert set(symptoms.SEVERITIES.values()) == set(SEVERITIES)


def test_a_spike_or_a_gradient_is_right_on_a_high_learning_rate_and_overfitting_is_not(symptoms: ModuleType) -> None:
    right = symptoms.right(["UNSTABLE"], ["lr_too_high"])
    assert symptoms.spoken_of("trainspotter", ["spikes"]) & right
    assert symptoms.spoken_of("gradsnitch", ["GS003"]) & right
    assert not symptoms.spoken_of("runmedic", ["overfitting"]) & right


def test_a_cause_that_was_measured_to_matter_widens_what_is_right(symptoms: ModuleType) -> None:
    assert "overfit" not in symptoms.right(["UNSTABLE"], ["lr_too_high"])
    assert "overfit" in symptoms.right(["UNSTABLE"], ["lr_too_high", "too_many_epochs"])


def test_a_code_that_is_not_listed_speaks_of_nothing(symptoms: ModuleType) -> None:
    assert symptoms.spoken_of("losslint", ["brand_new"]) == set()


# The guides' analyzer


FLAT = [1.0] * 30


@pytest.mark.parametrize(
    ("train", "evaluations", "expected"),
    [
        (FLAT, [2.0, 1.0, 1.04], []),
        (FLAT, [2.0, 1.0, 1.06], ["overfitting"]),
        (FLAT, [2.0, 1.91, 1.92], ["hardly-improved"]),
        (FLAT, [2.0], ["hardly-improved"]),
        ([1 - 0.007 * i for i in range(20)], [2.0, 1.0], ["still-falling"]),
        ([1 - 0.005 * i for i in range(20)], [2.0, 1.0], []),
        ([1.0, 0.5, 0.4], [2.0, 1.0], []),
        ([1.0] + [0.8, 1.2] * 10, [2.0, 1.0], ["varying"]),
        ([0.8, 1.2] * 10, [2.0, 1.0], []),
        ([2.0, 1.0] * 5 + [1.0] * 20, [2.0, 1.0], []),
        ([math.nan] * 30, [2.0, 1.0], []),
    ],
)
def test_the_naive_analyzer_keeps_the_guides_thresholds(
    modules: dict[str, ModuleType], train: list[float], evaluations: list[float], expected: list[str]
) -> None:
    assert modules["naive"].findings(train, evaluations) == expected


def test_the_naive_analyzer_gives_up_without_an_evaluation(modules: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="no evaluation"):
        modules["naive"].findings(FLAT, [])


# The same data for all


def test_the_neutral_log_holds_what_was_logged(compare: ModuleType, tmp_path: Path) -> None:
    lines = [{"step": step, "train/loss": 3.0 - 0.1 * step, "train/lr": 1e-4, "train/grad_norm": 1.0} for step in range(1, 9)]
    lines += [{"step": 4, "val/loss": 2.9}, {"step": 8, "val/loss": math.nan}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run,) = diag.load(tmp_path)
    history = compare.neutral(run)["log_history"]
    assert [row["step"] for row in history] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert history[0] == {"step": 1, "loss": 2.9, "learning_rate": 1e-4, "grad_norm": 1.0}
    assert [row["eval_loss"] for row in history if "eval_loss" in row] == [2.9, pytest.approx(math.nan, nan_ok=True)]
    assert compare.neutral(run)["max_steps"] == 8


def test_the_neutral_log_is_read_back_as_the_same_run(compare: ModuleType, tmp_path: Path) -> None:
    lines = [{"step": step, "train/loss": 3.0 - 0.1 * step, "reward": 0.1 * step} for step in range(1, 9)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run,) = diag.load(tmp_path)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "trainer_state.json").write_text(json.dumps(compare.neutral(run)))
    (again,) = diag.load(tmp_path / "again")
    assert {name: curve.value.tolist() for name, curve in again.curves.items()} == {
        name: curve.value.tolist() for name, curve in run.curves.items()
    }


def test_evaluations_join_the_last_training_row(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    history = [{"step": 2, "loss": 2.0}, {"step": 4, "loss": 1.0}, {"step": 4, "eval_loss": 1.5}, {"step": 6, "loss": 0.5}]
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": history}))
    assert modules["ask"].joined(str(file)) == [
        {"step": 2, "loss": 2.0},
        {"step": 4, "loss": 1.0, "eval_loss": 1.5},
        {"step": 6, "loss": 0.5},
    ]


# Asking and judging


def test_a_peer_that_cannot_be_imported_fails_on_every_run(compare: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "trainer_state.json"
    file.write_text('{"log_history": []}')
    answers = compare.asked("losslint", Path(sys.executable), [file, file])
    assert [("losslint" in answer.problem, answer.findings) for answer in answers] == [(True, ())] * 2


def test_severities_are_put_into_common_words(compare: ModuleType) -> None:
    answer = compare.answer_of([("a", "FAIL"), ("b", "WARN"), ("c", "INFO"), ("d", "unheard of")])
    assert answer.alarms == {"a", "b", "d"}
    assert answer.errors == {"a", "d"}


def test_the_table_counts_what_was_said(compare: ModuleType) -> None:
    labels = [
        label("healthy", ("HEALTHY",)),
        label("healthy", ("HEALTHY",)),
        label("sick", ("UNSTABLE",), ("lr_too_high",)),
        label("overfit", ("OVERFIT",), ("too_many_epochs",)),
        label("leak", (), ("eval_leak",)),
        label("remark", ("HEALTHY",), ("eval_missing",)),
    ]
    said = [
        compare.answer_of([("overfit_onset", "info")], seconds=1.5),
        compare.answer_of([("parse", "warning")]),
        compare.answer_of([("nan_inf", "error"), ("overfit_onset", "info")]),
        compare.answer_of([("loss_spike", "warning")]),
        compare.answer_of([("loss_spike", "warning")]),
        compare.answer_of([], "took too long", 60.0),
    ]
    tool, *figures = compare.cells(compare.Row("losslint", "losslint 0", said), labels)
    assert tool == "losslint 0"
    assert [figure.split(" ")[0] for figure in figures] == ["1/2", "0/2", "2/2", "1/2", "0/1", "1", "61.5"]


def test_a_tool_that_could_not_be_installed_keeps_its_line(compare: ModuleType) -> None:
    labels = [label("healthy", ("HEALTHY",)), label("sick", ("UNSTABLE",), ("lr_too_high",))]
    quiet = compare.Row("naive", "naive", [compare.Answer()] * 2)
    lines = compare.table([quiet, compare.Row("runmedic", "runmedic 0", (), "no such version")], labels)
    assert len(lines) == 3
    assert lines[2].split("  ", 1) == ["runmedic 0", "not installed: no such version"]
    assert lines[0].index("healthy flagged") == lines[1].index("0/1")


def test_the_details_name_codes_and_failures(compare: ModuleType) -> None:
    labels = [label("healthy", ("HEALTHY",)), label("sick", ("UNSTABLE",), ("lr_too_high",)), label("sick", ("OVERFIT",))]
    said = [compare.answer_of([("TP-DIVERGE", "FAIL")])] * 2 + [compare.answer_of([("TP-NEW", "WARN")], "ended")]
    text = "\n".join(compare.details(compare.Row("trainproof", "trainproof", said), labels))
    assert "healthy     TP-DIVERGE 1" in text
    assert "sick right  TP-DIVERGE 1" in text
    assert "sick wrong  TP-NEW 1" in text
    assert "codes without symptoms: TP-NEW" in text
    assert "failed on sick: ended" in text
