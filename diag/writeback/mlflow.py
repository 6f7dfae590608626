"""The verdict as tags and artifacts of an MLflow run, through MLflow's client: on a server, in a SQLite file or in a file store."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from diag.errors import InputError
from diag.writeback.content import FOLDER, fields, files, library

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from diag.result import RunReport
    from diag.run import Origin

TAG_PREFIX = "diag."
LONGEST_TAG = 5000
"""Characters of a tag's value that every server takes: MLflow allowed 5,000 up to 2.12, and 8,000 since
(mlflow.utils.validation.MAX_TAG_VAL_LENGTH)."""
CLIENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""How the client is to behave: open file stores (MLflow 3 refuses them otherwise), send nothing elsewhere, give up within a minute or
two (seconds for the timeout)."""
LEVELS = 3
"""Folders below the root of local artifacts: ``ROOT/EXPERIMENT/RUN/artifacts``."""


def write(entry: RunReport, origin: Origin, fail_on: str) -> str:
    """Write the verdict to a run, in place of an earlier one, and say where it is.

    Raises:
        InputError: the tags were written, but not the report.
        Exception: the client's own, where nothing was written.
    """
    with library(CLIENT):
        from mlflow import MlflowClient
        from mlflow.entities import RunTag

        client = MlflowClient(_tracking_uri(origin.place))
        texts = {name: f"{value:.2f}" if isinstance(value, float) else value for name, value in fields(entry).items()}
        client.log_batch(origin.id, tags=[RunTag(TAG_PREFIX + name, _cut(text)) for name, text in texts.items()])
        try:
            _write_report(client, origin, files(entry, fail_on))
        except Exception as error:
            raise InputError(f"MLflow run {origin.id}", f"has the tags now, but not the report: {error}") from error
    return f"MLflow run {origin.id}"


def _tracking_uri(place: str) -> str:
    """The tracking URI of the store in which a run was found."""
    path = Path(place)
    if path.is_dir():  # STORE/EXPERIMENT/RUN
        (path / "artifacts").mkdir(exist_ok=True)  # a run without this folder is none for the client, and Git keeps no empty folders
        return path.parent.parent.as_uri()
    return f"sqlite:///{place}" if path.is_file() else place


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TAG else text[: LONGEST_TAG - 1] + "…"


def _local_artifacts(uri: str, place: Path) -> Path | None:
    """The folder that holds a run's artifacts; None where they are sent to a server or a bucket, which the client does.

    The client itself would take a relative path from where it runs, and in a copy of a store write to where it was copied from.

    Args:
        uri: where the store says they are.
        place: the store, as ``diag.run.Origin`` has it.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path))
    if place.is_dir():
        own = place / "artifacts"
        return own if path.parts[-LEVELS:] == own.parts[-LEVELS:] else path
    return place.parent / path if place.is_file() else path


def _write_report(client: MlflowClient, origin: Origin, contents: dict[str, bytes]) -> None:
    """Add files to a run's artifacts, over older ones of their names.

    Raises:
        FileNotFoundError: the artifacts are on another machine; the client would make their folders on this one.
        Exception: the client's own.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    uri = client.get_run(origin.id).info.artifact_uri
    local = _local_artifacts(uri, Path(origin.place))
    with TemporaryDirectory() as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        if local is None:
            client.log_artifacts(origin.id, folder, FOLDER)
            return
        above_root = local.parents[min(LEVELS, len(local.parents) - 1)]  # the root itself is made with the first artifact
        if not local.is_absolute() or not above_root.is_dir():
            raise FileNotFoundError(f"its artifacts are in {uri}, which is not on this machine")
        repository: Any = LocalArtifactRepository(local.as_uri())
        repository.log_artifacts(folder, FOLDER)
