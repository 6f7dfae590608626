"""The verdict on MLflow runs: in a file store, in a SQLite store, and on a real tracking server."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric
from tracking import free_port, tracking_server

import diag
from diag.diagnosis import RankedCause
from diag.result import Problem, Report
from diag.run import Origin
from diag.writeback import Written, write_back
from diag.writeback.content import files
from diag.writeback.mlflow import LONGEST_TAG

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")

OTHER_TAG = ("mine", "kept")


def log_run(client: MlflowClient, name: str, folder: Path) -> str:
    """A run of 30 steps with a tag and an artifact of its own; its id."""
    experiment = client.get_experiment_by_name("e")
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment("e"), run_name=name)
    run_id: str = run.info.run_id
    stamp = 1_700_000_000_000
    client.log_batch(run_id, metrics=[Metric("train/loss", 2.0 / (step + 1) + ord(name), stamp + step, step) for step in range(30)])
    client.log_param(run_id, "learning_rate", 1e-4)
    client.set_tag(run_id, *OTHER_TAG)
    (folder / "own.txt").write_text("the user's")
    client.log_artifact(run_id, str(folder / "own.txt"), "diag")
    client.set_terminated(run_id, "FINISHED")
    return run_id


@contextmanager
def file_stores() -> Iterator[None]:
    """Let the client open file stores."""
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        else:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before


def assert_is_written(client: MlflowClient, run_id: str, entry: Any, tmp_path: Path) -> None:
    """The run has the verdict in tags and artifacts, and what it had before."""
    run = client.get_run(run_id)
    own = {key: value for key, value in run.data.tags.items() if key.startswith("diag.")}
    assert own == {
        "diag.verdict": entry.diagnosis.verdict,
        "diag.confidence": f"{entry.diagnosis.confidence:.2f}",
        "diag.causes": ", ".join(f"{cause.cause} {cause.score:.2f}" for cause in entry.diagnosis.causes) or "none",
        "diag.findings": ", ".join(dict.fromkeys(finding.code for finding in entry.findings)) or "none",
        "diag.fix": own["diag.fix"],
        "diag.version": diag.__version__,
    }
    assert run.data.tags["mine"] == "kept"
    assert run.info.status == "FINISHED"
    place = tmp_path / "downloaded" / run_id
    place.mkdir(parents=True, exist_ok=True)
    got = Path(download_artifacts(run_id=run_id, artifact_path="diag", dst_path=str(place), tracking_uri=client.tracking_uri))
    assert {path.name for path in got.iterdir()} == {"own.txt", *files(entry, "error")}
    assert json.loads((got / "report.json").read_text())["runs"] == [entry.to_dict()]
    assert (got / "own.txt").read_text() == "the user's"


def test_runs_of_a_file_store(tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    with file_stores():
        client = MlflowClient(store.as_uri())
        ids = [log_run(client, name, tmp_path) for name in ("a", "b")]
    report = diag.analyze(store)
    before = report.to_json()
    for _ in range(2):
        outcomes = list(write_back(report, ["mlflow"]))
        assert {outcome.place for outcome in outcomes if isinstance(outcome, Written)} == {f"MLflow run {run_id}" for run_id in ids}
        with file_stores():
            for entry in report.runs:
                assert_is_written(client, entry.run.origins[0].id, entry, tmp_path)
        assert diag.analyze(store).to_json() == before


def test_a_copy_of_a_file_store_gets_its_own_verdict(tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    with file_stores():
        log_run(MlflowClient(store.as_uri()), "a", tmp_path)
    copy = shutil.copytree(store, tmp_path / "copy" / "mlruns")
    (outcome,) = write_back(diag.analyze(copy), ["mlflow"])
    assert isinstance(outcome, Written)
    assert len(list(copy.rglob("diag/report.json"))) == 1
    assert not list(store.rglob("report.json"))


def test_runs_of_a_database(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{shutil.copy(fixtures / 'mlflow-sqlite' / 'mlflow.db', tmp_path)}"
    client = MlflowClient(store)
    ids = {log_run(client, name, tmp_path) for name in ("a", "b")}
    report = diag.analyze("mlflow:e", tracking_uri=store)
    before = report.to_json()
    for _ in range(2):
        assert len([outcome for outcome in write_back(report, ["mlflow"]) if isinstance(outcome, Written)]) == 2
        assert {entry.run.origins[0].id for entry in report.runs} == ids
        for entry in report.runs:
            assert_is_written(client, entry.run.origins[0].id, entry, tmp_path)
        again = diag.analyze("mlflow:e", tracking_uri=store)
        assert again.to_json() == before
        assert [entry.run.config for entry in again.runs] == [entry.run.config for entry in report.runs]
    experiment = client.get_run(next(iter(ids))).info.experiment_id
    query = f"tags.diag.verdict = '{report.runs[0].diagnosis.verdict}' AND tags.diag.findings LIKE '%{report.runs[0].findings[0].code}%'"
    assert {run.info.run_id for run in client.search_runs([experiment], query)} == ids


def test_relative_artifacts_lie_beside_the_database(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = shutil.copytree(fixtures / "mlflow-sqlite", tmp_path / "store")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(list(write_back(diag.analyze(store), ["mlflow"]))) == 2
    assert len(list((store / "mlruns").rglob("diag/report.json"))) == 2
    assert not list(elsewhere.iterdir())


def test_artifacts_on_another_machine_leave_the_tags(fixtures: Path, tmp_path: Path) -> None:
    import sqlite3

    store = shutil.copytree(fixtures / "mlflow-sqlite", tmp_path / "store")
    with sqlite3.connect(store / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET artifact_uri = '/nowhere/at/all/1/run/artifacts'")
    connection.close()
    report = diag.analyze(store)
    first, _ = write_back(report, ["mlflow"])
    assert isinstance(first, Problem)
    run_id = report.runs[0].run.origins[0].id
    assert first.message == (
        f"MLflow run {run_id}: has the tags now, but not the report: "
        "its artifacts are in /nowhere/at/all/1/run/artifacts, which is not on this machine"
    )
    assert MlflowClient(f"sqlite:///{store}/mlflow.db").get_run(run_id).data.tags["diag.verdict"] == report.runs[0].diagnosis.verdict


def test_a_long_tag_is_cut_to_what_servers_take(fixtures: Path, tmp_path: Path) -> None:
    store = shutil.copytree(fixtures / "mlflow-filestore", tmp_path / "store")
    (entry,) = diag.analyze(store).runs
    causes = tuple(RankedCause(f"cause_{number}", 0.5, ()) for number in range(1000))
    report = Report((replace(entry, diagnosis=replace(entry.diagnosis, causes=causes)),))
    (outcome,) = write_back(report, ["mlflow"])
    assert isinstance(outcome, Written)
    (tag,) = store.rglob("tags/diag.causes")
    text = tag.read_text()
    assert len(text) == LONGEST_TAG
    assert text.endswith("…")


@pytest.mark.slow
def test_runs_on_a_server(tmp_path: Path, fixtures: Path, diag_command: Command) -> None:
    shutil.copy(fixtures / "mlflow-sqlite" / "mlflow.db", tmp_path)
    with tracking_server(tmp_path, "--artifacts-destination", tmp_path / "artifacts") as address:
        client = MlflowClient(address)
        ids = [log_run(client, name, tmp_path) for name in ("a", "b")]
        report = diag.analyze("mlflow:e", tracking_uri=address)
        before = report.to_json()
        for _ in range(2):
            assert len([outcome for outcome in write_back(report, ["mlflow"]) if isinstance(outcome, Written)]) == 2
            for entry in report.runs:
                assert_is_written(client, entry.run.origins[0].id, entry, tmp_path)
            assert diag.analyze("mlflow:e", tracking_uri=address).to_json() == before

        # a run that was read from a file, to a run that is named
        overfit = fixtures / "hf-overfit"
        named = diag_command("analyze", overfit, "--write-back", f"mlflow:{ids[1]}", "--tracking-uri", address)
        assert named.returncode == 1
        assert named.stderr == f"diag: wrote the verdict to MLflow run {ids[1]}\n"
        (entry,) = diag.analyze(overfit).runs
        assert_is_written(client, ids[1], entry, tmp_path)
        assert client.get_run(ids[0]).data.tags["diag.verdict"] == report.runs[0].diagnosis.verdict

        # names that stand for no run, or for several
        secret = address.replace("http://", "mlflow://user:secret@")
        for target, reason in ((f"{secret}/e", "stands for 2 runs; name one of them"), (f"{secret}/{'0' * 32}", "holds no active run")):
            (refusal,) = write_back(Report((entry,)), [target])
            assert isinstance(refusal, Problem)
            assert reason in refusal.message
            assert "secret" not in str(refusal)

        # between reading and writing the run is gone
        client.delete_run(ids[0])
        outcomes = list(write_back(report, ["mlflow"]))
        assert [isinstance(outcome, Written) for outcome in outcomes] == [False, True]
        assert f"MLflow took no verdict for {ids[0]}" in outcomes[0].message  # type: ignore[union-attr]


def test_a_server_that_is_gone_is_one_line(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (entry,) = diag.analyze(fixtures / "mlflow-filestore").runs
    entry.run.origins = [Origin("mlflow", f"http://user:secret@127.0.0.1:{free_port()}", "0" * 32)]
    (gone,) = write_back(Report((entry,)), ["mlflow"])
    assert isinstance(gone, Problem)
    assert gone.message.startswith(f"MLflow took no verdict for {'0' * 32} (MlflowException: API request to ")
    assert len(gone.message.splitlines()) == 1
    assert "secret" not in gone.message
