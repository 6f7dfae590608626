"""MLflow stores written by the real client, and a real tracking server on loopback."""

from __future__ import annotations

import http.server
import math
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric
from tracking import tracking_server

import diag
from diag.adapters.mlflow import ADAPTER
from diag.adapters.mlflow_files import parse_metric
from diag.adapters.mlflow_runs import Selection
from diag.errors import InputError
from diag.loading import load
from diag.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")


def shift_of(name: str) -> float:
    """What a run's losses are raised by, so that no two runs are the same."""
    return float(sum(name.encode()))


def log_run(client: MlflowClient, experiment: str, name: str, *, points: int = 12, status: str = "FINISHED") -> str:
    """One run with a train and an eval loss, NaN, infinity, a nested name, params and tags."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    run_id: str = client.create_run(experiment_id, run_name=name).info.run_id
    metrics = []
    shift = shift_of(name)
    for step in range(1, points + 1):
        stamp = 1_700_000_000_000 + 1000 * step
        metrics.append(Metric("train/loss", shift + 1.0 / step, stamp, 10 * step))
        metrics.append(Metric("learning_rate", 1e-4, stamp, 10 * step))
        metrics.append(Metric("system/cpu_utilization_percentage", 5.0, stamp, step))
    metrics.append(Metric("eval_loss", math.nan, 1_700_000_005_000, 60))
    metrics.append(Metric("eval_loss", math.inf, 1_700_000_009_000, 90))
    metrics.append(Metric("eval_loss", 0.5, 1_700_000_012_000, 120))
    client.log_batch(run_id, metrics=metrics)
    client.log_param(run_id, "learning_rate", 1e-4)
    client.log_param(run_id, "per_device_train_batch_size", 8)
    client.log_param(run_id, "num_train_epochs", "2")
    client.set_terminated(run_id, status)
    return run_id


def assert_is_logged_run(run: Run) -> None:
    shift = shift_of(run.id)
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == [10 * step for step in range(1, 13)]
    assert loss.value.tolist() == [shift + 1.0 / step for step in range(1, 13)]
    assert loss.wall_time.tolist() == [1_700_000_000 + step for step in range(1, 13)]
    held_out = run.curves["eval/loss"]
    assert held_out.step.tolist() == [60, 90, 120]
    assert np.array_equal(held_out.value, [math.nan, math.inf, 0.5], equal_nan=True)
    assert run.curves["lr"].value.tolist() == [1e-4] * 12
    assert run.native_names["eval/loss"] == "eval_loss"
    assert not any(name.startswith("system/") for name in run.curves)
    assert "1 system metric was left out: counted in samples of the machine, not in steps" in run.notes
    assert run.hyperparameter("learning_rate") == 1e-4
    assert run.hyperparameter("num_epochs") == 2
    assert run.finished is (run.id != "f")


@pytest.fixture(scope="module")
def file_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file store with two experiments: its folder, and run name to id."""
    root = tmp_path_factory.mktemp("files") / "mlruns"
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        client = MlflowClient(root.as_uri())
        ids = {name: log_run(client, experiment, name) for experiment, name in (("one", "a"), ("one", "b"), ("two", "c"))}
        ids["trash"] = log_run(client, "two", "trash")
        client.delete_run(ids["trash"])
    finally:
        if before is None:
            del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        else:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before
    return root, ids


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A SQLite store: its file, and run name to id."""
    path = tmp_path_factory.mktemp("sql") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    ids = {name: log_run(client, experiment, name) for experiment, name in (("one", "a"), ("one", "b"), ("two", "c"))}
    ids["f"] = log_run(client, "two", "f", status="FAILED")
    ids["trash"] = log_run(client, "two", "trash")
    client.delete_run(ids["trash"])
    return path, ids


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: tuple[Path, dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """A tracking server on a copy of the database, with one more experiment logged through it: its address, and run name to id."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database[0], folder)
    with tracking_server(folder, "--default-artifact-root", folder / "artifacts") as address:
        client = MlflowClient(address)
        yield address, {**database[1], "d": log_run(client, "t/w o", "d")}


# --- the file store ---------------------------------------------------------------------------------------------------------


def test_a_file_store_gives_every_active_run(file_store: tuple[Path, dict[str, str]]) -> None:
    root, _ = file_store
    sources = [source for folder in _folders(root) for source in ADAPTER.find(folder)]
    runs = [run for source in sources for run in ADAPTER.read(source)]
    assert sorted(run.id for run in runs) == ["a", "b", "c"]
    for run in runs:
        assert_is_logged_run(run)


def _folders(root: Path) -> Iterator[Any]:
    from diag.adapters import Folder

    for place, folders, files in os.walk(root):
        yield Folder(Path(place), tuple(sorted(files)), tuple(sorted(folders)))


def test_an_experiment_and_a_run_folder(file_store: tuple[Path, dict[str, str]]) -> None:
    root, ids = file_store
    (folder,) = root.glob(f"*/{ids['c']}")
    (run,) = load(folder)
    assert_is_logged_run(run)
    (run,) = load(folder.parent, adapter="mlflow")
    assert_is_logged_run(run)


def test_a_metric_file_stands_for_its_run(file_store: tuple[Path, dict[str, str]]) -> None:
    root, ids = file_store
    (metric,) = root.glob(f"*/{ids['a']}/metrics/train/loss")
    (run,) = load(metric)
    assert_is_logged_run(run)


def test_a_run_in_the_trash_says_so_where_it_is_named(file_store: tuple[Path, dict[str, str]]) -> None:
    root, ids = file_store
    (folder,) = root.glob(f"*/{ids['trash']}")
    with pytest.raises(InputError, match="trash"):
        load(folder / "meta.yaml")


def test_metric_lines_of_all_ages() -> None:
    series, bad = parse_metric(b"1000 0.5\n2000 nan 1\n3000 -inf 2 data 0123abcd\n4000 1e-05 3\n")
    assert bad == 0
    assert series.step.tolist() == [0, 1, 2, 3]
    assert np.array_equal(series.value, [0.5, math.nan, -math.inf, 1e-5], equal_nan=True)
    assert series.wall_time.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_cut_metric_line_is_skipped_with_a_note(tmp_path: Path, file_store: tuple[Path, dict[str, str]]) -> None:
    root, ids = file_store
    shutil.copytree(root, tmp_path / "mlruns")
    (metric,) = (tmp_path / "mlruns").glob(f"*/{ids['a']}/metrics/train/loss")
    metric.write_bytes(metric.read_bytes() + b"17000\n\xff\xfe garbage\n")
    (run,) = load(metric.parent.parent.parent)
    assert len(run.curves["train/loss"]) == 12
    assert "2 malformed metric lines were skipped" in run.notes


@given(st.lists(st.tuples(st.integers(0, 2**41), st.floats(), st.integers(-(2**53), 2**53))))
def test_metric_files_give_back_what_was_written(points: list[tuple[int, float, int]]) -> None:
    data = "".join(f"{stamp} {value} {step}\n" for stamp, value, step in points).encode()
    series, bad = parse_metric(data)
    assert bad == 0
    assert series.step.tolist() == [step for _, _, step in points]
    assert np.array_equal(series.value, [value for _, value, _ in points], equal_nan=True)
    assert series.wall_time.tolist() == [stamp / 1000 for stamp, _, _ in points]


@given(st.binary(max_size=200) | st.text(alphabet="0123456789 .e-+naif\n", max_size=200).map(str.encode))
def test_any_metric_file_is_read(data: bytes) -> None:
    series, bad = parse_metric(data)
    assert series.step.size == series.value.size == series.wall_time.size
    assert series.step.size + bad <= data.count(b"\n") + data.count(b"\r") + data.count(b"\x0b") + data.count(b"\x0c") + 1


def test_points_without_steps_are_counted_by_time(tmp_path: Path) -> None:
    folder = tmp_path / "mlruns" / "0" / ("0" * 32)
    (folder / "metrics").mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_id: " + "0" * 32 + "\nstatus: 1\nlifecycle_stage: active\n")
    (folder / "metrics" / "loss").write_text("3000 1.0 0\n1000 3.0 0\n2000 2.0 0\n")
    (run,) = load(folder)
    assert run.curves["train/loss"].step.tolist() == [1, 2, 3]
    assert run.curves["train/loss"].value.tolist() == [3.0, 2.0, 1.0]
    assert any("logged without steps" in note for note in run.notes)
    assert run.finished is None


# --- the database -----------------------------------------------------------------------------------------------------------


def test_a_database_gives_every_active_run(database: tuple[Path, dict[str, str]]) -> None:
    path, ids = database
    source = ADAPTER.find_file(path)
    assert source is not None
    runs = {run.id: run for run in ADAPTER.read(source)}
    assert sorted(runs) == ["a", "b", "c", "f"]
    assert runs["f"].finished is False
    for name in "abcf":
        assert_is_logged_run(runs[name])
        assert ids[name] in runs[name].path


def test_nothing_is_written_beside_a_database(tmp_path: Path, database: tuple[Path, dict[str, str]]) -> None:
    for mode in ("DELETE", "WAL"):
        path = tmp_path / mode / "mlflow.db"
        path.parent.mkdir()
        shutil.copy(database[0], path)
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.close()
        content = path.read_bytes()
        assert load(path)
        assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]
        assert path.read_bytes() == content


def test_a_database_that_is_being_written_is_read(
    tmp_path: Path, database: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diag.adapters.mlflow_sqlite.BUSY_SECONDS", 0.05)
    path = tmp_path / "mlflow.db"
    shutil.copy(database[0], path)
    writer = sqlite3.connect(path, isolation_level=None)
    try:
        writer.execute("BEGIN EXCLUSIVE")
        runs = load(path)
    finally:
        writer.close()
    assert_is_logged_run(next(run for run in runs if run.id == "a"))
    assert any("locked by a writer" in note for note in runs[0].notes)


def test_a_damaged_database_is_one_line(tmp_path: Path, database: tuple[Path, dict[str, str]]) -> None:
    path = tmp_path / "mlflow.db"
    data = database[0].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError) as error:
        load(path, adapter="mlflow")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_databases_are_not_mlflow(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE metrics (key TEXT)")
    connection.close()
    assert ADAPTER.find_file(path) is None
    (tmp_path / "text.db").write_text("no database")
    assert ADAPTER.find_file(tmp_path / "text.db") is None


def test_the_evaluation_that_the_trainer_logs_later_is_no_run_of_its_own(tmp_path: Path, database: tuple[Path, dict[str, str]]) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(database[0], path)
    client = MlflowClient(f"sqlite:///{path}")
    run_id = log_run(client, "hf", "training")
    client.log_param(run_id, "output_dir", "/data/out")
    late = client.create_run(client.get_run(run_id).info.experiment_id).info.run_id
    client.log_batch(late, metrics=[Metric("eval_loss", 0.4, 1_700_000_020_000, 120), Metric("epoch", 2.0, 1_700_000_020_000, 120)])
    (run,) = load("mlflow:hf", tracking_uri=str(path))
    assert run.id == "training"
    assert run.curves["eval/loss"].value[-1] == 0.5


# --- the server -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", "abcdf"),
        ("one", "ab"),
        ("t%2Fw%20o", "d"),
        ("one/b", "b"),
        ("c", "c"),
        ("?run=a&run=c", "ac"),
        ("?experiment=two", "cf"),
        ("?experiment=one&run=b", "b"),
    ],
)
def test_runs_of_a_server_are_chosen(server: tuple[str, dict[str, str]], selector: str, expected: str) -> None:
    address, _ = server
    runs = load(f"mlflow:{selector}", tracking_uri=address)
    assert sorted(run.id for run in runs) == list(expected)
    for run in runs:
        assert_is_logged_run(run)


@pytest.mark.slow
def test_runs_of_a_server_by_id_and_in_one_uri(server: tuple[str, dict[str, str]]) -> None:
    address, ids = server
    for uri in (f"mlflow:{ids['b']}", f"mlflow:one/{ids['b']}", f"mlflow:?run={ids['b']}"):
        (run,) = load(uri, tracking_uri=address)
        assert run.id == "b"
        assert ids["b"] in run.path
    (run,) = load(f"mlflow://{address.removeprefix('http://')}/one/a")
    assert_is_logged_run(run)


@pytest.mark.slow
def test_long_lists_are_paged(server: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diag.adapters.mlflow_server.PAGE", 1)
    assert len(load("mlflow:", tracking_uri=server[0])) == 5


@pytest.mark.slow
def test_what_a_server_does_not_have_is_one_line(server: tuple[str, dict[str, str]]) -> None:
    address, ids = server
    for selector in ("nowhere", "0" * 32, "one/c", ids["trash"]):
        with pytest.raises(InputError, match="holds no active run"):
            load(f"mlflow:{selector}", tracking_uri=address)


@pytest.mark.slow
def test_all_stores_give_the_same_run(
    server: tuple[str, dict[str, str]], file_store: tuple[Path, dict[str, str]], database: tuple[Path, dict[str, str]]
) -> None:
    uris = [server[0], f"sqlite:///{database[0]}", str(database[0]), str(file_store[0]), file_store[0].as_uri()]
    runs = [load("mlflow:one/a", tracking_uri=uri) for uri in uris]
    for (run,) in runs:
        assert_is_logged_run(run)
        assert {name: entry.value for name, entry in run.hyperparameters.items()} == {
            name: entry.value for name, entry in runs[0][0].hyperparameters.items()
        }


@contextmanager
def answering(status: int, body: bytes, kind: str, logins: list[str | None] | None = None) -> Iterator[str]:
    """A server that gives one answer to everything: its address. It notes the login of every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if logins is not None:
                logins.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, b"<html>hello</html>", "text/html", "not as an MLflow tracking server"),
        (404, b"<html>not found</html>", "text/html", "not as an MLflow tracking server"),
        (200, b"[1, 2]", "application/json", "not as an MLflow tracking server"),
        (401, b"", "text/plain", "refuses access"),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "it\\nbroke"}', "application/json", "HTTP 500: it broke"),
        (200, b'{"experiments": 5, "runs": {"info": []}}', "application/json", "holds no active run"),
    ],
)
def test_other_servers_are_one_line(status: int, body: bytes, kind: str, words: str) -> None:
    with answering(status, body, kind) as address, pytest.raises(InputError) as error:
        load("mlflow:x", tracking_uri=address)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("login", "variables", "header"),
    [
        ("us%40er:p%3Aw@", {}, "Basic dXNAZXI6cDp3"),
        ("", {"USERNAME": "u", "PASSWORD": "p"}, "Basic dTpw"),
        ("a:b@", {"USERNAME": "u", "PASSWORD": "p"}, "Basic YTpi"),
        ("", {"TOKEN": "t"}, "Bearer t"),
        ("", {}, None),
    ],
)
def test_a_login_is_sent_and_never_told(
    login: str, variables: dict[str, str], header: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    logins: list[str | None] = []
    with answering(403, b"", "text/plain", logins) as address:
        uri = address.replace("http://", f"mlflow://{login}") + "/e"
        with pytest.raises(InputError) as error:
            load(uri)
        report = diag.analyze([uri, tmp_path])
    assert set(logins) == {header}
    assert str(error.value).startswith(f"{address}: refuses access (HTTP 403); set MLFLOW_TRACKING_USERNAME")
    assert "@" not in report.to_json()


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(401, b"", "text/plain") as address, pytest.raises(InputError, match="refuses access"):
        load("mlflow:x", tracking_uri=address)


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(InputError, match="cannot be reached"):
        load("mlflow:x", tracking_uri=address)


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diag.adapters.mlflow_server.TIMEOUT_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match=r"did not answer within 0\.1 seconds"):
            load("mlflow:x", tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    ("uri", "tracking", "words"),
    [
        ("mlflow:x", None, "does not say where"),
        ("mlflow:x", "databricks://profile", "not a tracking URI"),
        ("mlflow:x", "sqlite:////nowhere/mlflow.db", "does not exist"),
        ("mlflow:a/b/c", "http://127.0.0.1:1", "not a choice of runs"),
        ("mlflow:?colour=red", "http://127.0.0.1:1", "?colour= means nothing"),
        ("mlflow://127.0.0.1:notaport/x", None, "is not an address"),
        ("mlflow://[/x", None, "is not an address"),
    ],
)
def test_wrong_uris_are_one_line(uri: str, tracking: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError) as error:
        load(uri, tracking_uri=tracking)
    assert words in str(error.value)


@given(path=st.text(max_size=30), query=st.text(max_size=30))
def test_any_selector_is_understood_or_refused(path: str, query: str) -> None:
    try:
        selection = Selection.parse("mlflow:", path, query)
    except InputError as error:
        assert "mlflow:" in str(error)
    else:
        assert str(selection)
