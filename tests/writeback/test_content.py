"""What is written of a run, whatever the target."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import diag
from diag.fixes import DISPLAY, Fix
from diag.result import RunReport
from diag.writeback.content import fields, files, library, shown


@pytest.fixture(scope="module")
def overfit(fixtures: Path) -> RunReport:
    (entry,) = diag.analyze(fixtures / "hf-overfit").runs
    return entry


def test_the_verdict_in_short(overfit: RunReport) -> None:
    assert fields(overfit) == {
        "verdict": "OVERFIT",
        "confidence": pytest.approx(overfit.diagnosis.confidence, abs=1e-4),
        "causes": ", ".join(f"{cause.cause} {cause.score:.2f}" for cause in overfit.diagnosis.causes),
        "findings": "OVF001, GRD004, OVF003, OVF004",
        "fix": "num_epochs 24 → 7",
        "version": diag.__version__,
    }


def test_a_field_is_never_empty_and_advice_says_what_to_do(overfit: RunReport) -> None:
    nothing = replace(overfit, findings=(), fixes=(), diagnosis=replace(overfit.diagnosis, causes=()))
    assert {name for name, value in fields(nothing).items() if value == "none"} == {"causes", "findings", "fix"}
    advice = replace(overfit, fixes=(Fix("data", None, None, None, 1, "DIV001", "Look at the\nsamples.", applicability=DISPLAY),))
    assert fields(advice)["fix"] == "data: Look at the samples."


def test_the_report_is_of_the_run_alone(fixtures: Path) -> None:
    report = diag.analyze(fixtures / "mlflow-sqlite")
    for entry in report.runs:
        (run,) = json.loads(files(entry, "never")["report.json"])["runs"]
        assert run == entry.to_dict()


def test_a_library_is_lent_an_environment_and_kept_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("DIAG_TEST_OWN", "user's")
    monkeypatch.delenv("DIAG_TEST_NEW", raising=False)
    with library({"DIAG_TEST_OWN": "ours", "DIAG_TEST_NEW": "ours"}):
        assert (os.environ["DIAG_TEST_OWN"], os.environ["DIAG_TEST_NEW"]) == ("user's", "ours")
        logging.getLogger("a.tracker").critical("a traceback")
        warnings.warn("old", FutureWarning, stacklevel=1)
    assert os.environ["DIAG_TEST_OWN"] == "user's"
    assert "DIAG_TEST_NEW" not in os.environ
    assert not caplog.records
    assert not recwarn.list
    logging.getLogger("a.tracker").critical("heard again")
    assert caplog.messages == ["heard again"]


def test_paths_are_shown_as_one_types_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a b") == "'a b'"
    assert shown(tmp_path.parent / "other") == str(tmp_path.parent / "other")
