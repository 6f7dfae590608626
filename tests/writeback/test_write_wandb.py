"""The verdict in the file of an offline W&B run that the real library wrote, and what ``wandb sync`` makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st
from wandb.proto import wandb_internal_pb2
from wandb_server import Uploaded, settings, sync, wandb_server

import diag
from diag.adapters.wandb_records import FILE_HEADER, frames
from diag.result import Problem
from diag.writeback import Written, write_back
from diag.writeback.content import files
from diag.writeback.wandb_log import framed, records

WRITER = textwrap.dedent(
    """
    import os, sys
    import wandb

    quiet = wandb.Settings(console="off", silent=True, x_disable_stats=True)
    run = wandb.init(mode="offline", dir=sys.argv[1], project="p", name="r", config={"learning_rate": 0.1}, settings=quiet)
    for step in range(40):
        run.log({"loss": 3.0 - step / 20})
    run.summary["mine"] = 7
    os.makedirs(os.path.join(run.dir, "diag"))
    with open(os.path.join(run.dir, "diag", "own.txt"), "w") as file:
        file.write("the user's")
    run.save(os.path.join(run.dir, "diag", "own.txt"), base_path=run.dir)
    run.finish(exit_code=3)
    """
)

REMOTE = textwrap.dedent(
    """
    import sys
    import diag
    from diag.run import Origin
    from diag.writeback.wandb import write

    (entry,) = diag.analyze(sys.argv[1]).runs
    print(write(entry, Origin("wandb", "wandb://me/p/abc", "abc"), "error"))
    """
)

HEADER = b":W&B\xe1\xbe\x00"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one offline run."""
    folder = tmp_path_factory.mktemp("wandb")
    done = subprocess.run([sys.executable, "-c", WRITER, str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def offline(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(written, tmp_path / "copy", symlinks=True)


def log_of(folder: Path) -> Path:
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return path


def write(folder: Path) -> Written:
    (outcome,) = write_back(diag.analyze(folder), ["wandb"])
    assert isinstance(outcome, Written), outcome
    return outcome


def refused(folder: Path) -> str:
    (outcome,) = write_back(diag.analyze(folder), ["wandb"])
    assert isinstance(outcome, Problem)
    return outcome.message


def kinds(path: Path) -> list[str]:
    found = [wandb_internal_pb2.Record.FromString(record.payload) for record in records(path.read_bytes())]  # type: ignore[attr-defined]
    return [record.WhichOneof("record_type") for record in found]


def test_after_a_sync_the_run_has_its_own_summary_and_the_verdict(offline: Path, tmp_path: Path) -> None:
    report = diag.analyze(offline)
    (entry,) = report.runs
    place = write(offline).place
    with wandb_server() as (address, runs):
        sync(address, tmp_path, log_of(offline).parent)
        (uploaded,) = runs.values()
    assert uploaded.summary["mine"] == 7
    assert uploaded.summary["loss"] == pytest.approx(3.0 - 39 / 20)
    assert uploaded.summary["diag/verdict"] == entry.diagnosis.verdict
    assert uploaded.summary["diag/confidence"] == pytest.approx(entry.diagnosis.confidence)
    assert uploaded.summary["diag/findings"].split(", ") == list(dict.fromkeys(finding.code for finding in entry.findings))
    assert set(uploaded.summary) > {"diag/causes", "diag/fix", "diag/version", "_runtime"}
    assert json.loads(uploaded.files["diag/report.json"]) == report.to_dict()
    assert uploaded.files["diag/own.txt"] == b"the user's"
    assert len(uploaded.history) == 40
    assert uploaded.exit_code == 3
    assert place.startswith(f"W&B run {entry.run.origins[0].id}; to upload it: wandb sync ")
    assert "--include-synced" in write(offline).place  # the library has left its marker


def test_a_second_verdict_replaces_the_first_and_what_was_logged_stays(offline: Path) -> None:
    path, report = log_of(offline), diag.analyze(offline)
    original, before = path.read_bytes(), kinds(path)
    write(offline)
    once = path.read_bytes()
    assert kinds(path) == [*before[:-1], "summary", "files", "exit"]
    assert once.startswith(original[: [record.at for record in records(original)][-1]])
    write(offline)
    assert path.read_bytes() == once
    assert diag.analyze(offline).to_json() == report.to_json()
    assert {file.name for file in path.parent.rglob("diag/*")} == {"own.txt", *files(report.runs[0], "error")}


def test_a_resumed_run_gets_its_verdict_in_the_last_launch_and_is_still_one_run(offline: Path) -> None:
    first = log_of(offline).parent
    second = first.with_name("offline-run-29991231_235959" + first.name[first.name.rindex("-") :])
    shutil.copytree(first, second)
    untouched = next(first.glob("*.wandb")).read_bytes()
    before = diag.analyze(offline).to_json()
    write(offline)
    assert next(first.glob("*.wandb")).read_bytes() == untouched
    assert next(second.glob("*.wandb")).read_bytes() != untouched
    assert diag.analyze(offline).to_json() == before


def test_a_run_that_may_still_be_running_is_left_alone(offline: Path) -> None:
    path = log_of(offline)
    data = path.read_bytes()
    end = [record.at for record in records(data)][-1]
    for cut, reason in ((data[:end], "no record of the run's end"), (data[:-3], "is cut off")):
        path.write_bytes(cut)
        assert reason in refused(offline)
        assert path.read_bytes() == cut
        assert not (path.parent / "files" / "diag" / "report.json").exists()


def test_a_link_out_of_the_folder_is_not_followed(offline: Path, tmp_path: Path) -> None:
    path = log_of(offline)
    data = path.read_bytes()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    shutil.rmtree(path.parent / "files" / "diag")
    (path.parent / "files" / "diag").symlink_to(elsewhere)
    assert "leads out of the run's folder" in refused(offline)
    assert not list(elsewhere.iterdir())
    assert path.read_bytes() == data


def test_a_damaged_file_is_left_alone(offline: Path) -> None:
    path = log_of(offline)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    assert "is damaged at byte" in refused(offline)
    assert path.read_bytes() == data


def test_a_run_that_was_uploaded_while_it_ran_is_left_alone(offline: Path) -> None:
    path = log_of(offline)
    payloads = []
    for framed_record in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(framed_record.payload)  # type: ignore[attr-defined]
        if record.HasField("run"):
            record.run.telemetry.feature.offline = False
            record.run.entity = "team"
        payloads.append(record.SerializeToString())
    path.write_bytes(HEADER + framed(payloads, FILE_HEADER))
    run = path.stem.removeprefix("run-")
    assert refused(offline).endswith(f"is of a run that was uploaded while it ran; analyze wandb://team/p/{run} to write to the server")


def test_the_public_api_gets_the_verdict_beside_what_the_run_logged(fixtures: Path, tmp_path: Path) -> None:
    with wandb_server() as (address, runs):
        runs["abc"] = Uploaded(summary={"loss": 0.5})
        command = [sys.executable, "-c", REMOTE, str(fixtures / "hf-overfit")]
        environment = {**os.environ, **settings(address, tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
        assert done.stdout == "W&B run abc\n", done.stderr
    assert runs["abc"].summary["loss"] == 0.5
    assert runs["abc"].summary["diag/verdict"] == "OVERFIT"
    assert json.loads(runs["abc"].files["diag/report.json"])["runs"][0]["verdict"] == "OVERFIT"


def test_a_run_on_the_server_needs_a_login(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    nobody = {"WANDB_API_KEY": "", "NETRC": str(tmp_path / "netrc"), "HOME": str(tmp_path)}
    done = diag_command("analyze", fixtures / "hf-healthy", "--write-back", "wandb://e/p/r", env=nobody)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["diag: wandb://e/p/r: needs a W&B login; run: wandb login, or set WANDB_API_KEY"]


def test_a_verdict_in_a_downloaded_summary_is_no_metric(tmp_path: Path) -> None:
    files = tmp_path / "run-20260101_000000-abc" / "files"
    files.mkdir(parents=True)
    summary = {"loss": 0.5, "diag/verdict": "HEALTHY", "diag/confidence": 0.9}
    (files / "wandb-summary.json").write_text(json.dumps(summary))
    (run,) = diag.load(tmp_path)
    assert set(run.curves) == {"train/loss"}


# --- the framing of the file ---


@given(st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 100_000).map(bytes)), max_size=8))
def test_framing_is_what_the_adapter_reads(payloads: list[bytes]) -> None:
    data = HEADER + framed(payloads, FILE_HEADER)
    assert [record.payload for record in records(data)] == payloads
    buffer, spans, note = frames(data)
    assert [buffer[start:end] for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)] == payloads
    assert note == ""


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_a_complaint(data: bytes) -> None:
    for candidate in (data, HEADER + data):
        try:
            list(records(candidate))
        except ValueError as error:
            assert str(error)


def test_framing_of_the_library_is_framed_alike(written: Path) -> None:
    data = log_of(written).read_bytes()
    assert framed([record.payload for record in records(data)], FILE_HEADER) == data[FILE_HEADER:]
