"""One training, written to every kind of log at once: the same verdict, causes and changes whatever is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import diag

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "all-sources"
TRAININGS = sorted(path.name for path in FOLDER.iterdir())
SOURCES = ["trainer_state", "tensorboard", "wandb", "mlflow-filestore", "mlflow-sqlite", "csv", "jsonl", "console"]
ADAPTERS = {"mlflow-filestore": "mlflow", "mlflow-sqlite": "mlflow"}


def analyze(path: Path) -> dict[str, Any]:
    runs: list[dict[str, Any]] = diag.analyze(path).to_dict()["runs"]
    assert len(runs) == 1
    return runs[0]


def opinion(run: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on where the training was logged."""
    return {
        "verdict": run["verdict"],
        "first causes": [cause["cause"] for cause in run["causes"][:2]],
        "alarms": sorted({finding["code"] for finding in run["findings"] if finding["severity"] != "info"}),
        "fixes": [(fix["parameter"], fix["from"], fix["to"]) for fix in run["fixes"] if fix["rank"] == 1],
        "overrides": run["overrides"]["config"] if run["overrides"] else None,
    }


def test_there_are_at_least_two_trainings_of_every_source() -> None:
    assert len(TRAININGS) >= 2
    for training in TRAININGS:
        assert sorted(path.name for path in (FOLDER / training).iterdir()) == sorted(SOURCES)


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_read_by_its_own_adapter(training: str, source: str) -> None:
    assert analyze(FOLDER / training / source)["adapter"] == ADAPTERS.get(source, source)


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("source", SOURCES[1:])
def test_the_same_training_gets_the_same_opinion_from_every_source(training: str, source: str) -> None:
    assert opinion(analyze(FOLDER / training / source)) == opinion(analyze(FOLDER / training / "trainer_state"))


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("source", SOURCES[1:])
def test_the_same_training_gives_the_same_curves_from_every_source(training: str, source: str) -> None:
    (reference,) = diag.load(FOLDER / training / "trainer_state")
    (run,) = diag.load(FOLDER / training / source)
    # Event files hold float32, console lines four significant digits.
    tolerance = {"tensorboard": 1e-6, "console": 1e-3}.get(source, 1e-12)
    for metric in ("train/loss", "eval/loss", "lr", "grad_norm"):
        expected, found = reference.curve(metric), run.curve(metric)
        assert expected is not None
        assert found is not None, metric
        # A progress bar is drawn now and then: where an evaluation falls between two train rows, it may be behind.
        late = 3 if source == "console" and metric == "eval/loss" else 0
        assert len(found) == len(expected), metric
        assert abs(found.step - expected.step).max() <= late, metric
        assert found.value == pytest.approx(expected.value, rel=tolerance, abs=1e-12), metric


@pytest.mark.parametrize("training", TRAININGS)
def test_a_folder_with_all_of_them_accounts_for_every_log(training: str) -> None:
    report = diag.analyze(FOLDER / training).to_dict()
    adapters = {run["adapter"] for run in report["runs"]}
    notes = " ".join(note for run in report["runs"] for note in run["notes"])
    for source in SOURCES:
        adapter = ADAPTERS.get(source, source)
        assert adapter in adapters or f"({adapter})" in notes, source
    assert len({run["id"] for run in report["runs"]}) == len(report["runs"])
    assert len({run["verdict"] for run in report["runs"]}) == 1
