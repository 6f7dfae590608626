"""The verdict in the summary of a W&B run: in the file of an offline run, or through the public API.

An offline run keeps its summary as records in its ``.wandb`` file, which ``wandb sync`` uploads. The verdict goes there as one more
summary record before the record of the run's end, and the report into the run's files. Resuming the run offline through
``wandb.init`` would leave the file alone, but ``wandb sync`` then uploads the summary of the second folder in place of the first's
(seen with wandb 0.31): the final loss and the run time would be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from diag.adapters.wandb import OWN_PREFIX, SCHEME, TIMEOUT, no_questions, remote_error
from diag.errors import InputError
from diag.whole_file import replace_bytes
from diag.writeback.content import FILE_FORMATS, FOLDER, fields, files, library, shown
from diag.writeback.wandb_log import Framed, framed, records

if TYPE_CHECKING:
    from diag.result import RunReport
    from diag.run import Origin

SYNCED = ".synced"
"""Suffix of the marker that ``wandb sync`` leaves beside a file that it has uploaded."""
REPORTS = {f"{FOLDER}/{name}" for name in FILE_FORMATS.values()}
"""Paths of the reports among the files of a run."""
QUIET = {"WANDB_ERROR_REPORTING": "false"}
"""The library reports its own crashes over the network unless told not to."""


def write(entry: RunReport, origin: Origin, fail_on: str) -> str:
    """Write the verdict to a run, and say where it is.

    Raises:
        InputError: it cannot be written there.
    """
    if origin.place.startswith(f"{SCHEME}://"):
        return _write_remote(entry, origin, fail_on)
    path = Path(origin.place).resolve()
    reports = files(entry, fail_on)
    with library(QUIET):
        data = _with_verdict(path, entry, reports)
    folder = path.parent / "files" / FOLDER
    if not folder.resolve().is_relative_to(path.parent):
        raise InputError(folder, "is a link that leads out of the run's folder", "remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in reports.items():
        replace_bytes(folder / name, content, mode=0o644)
    replace_bytes(path, data, mode=path.stat().st_mode & 0o7777)
    again = " --include-synced" if path.with_name(path.name + SYNCED).exists() else ""
    return f"W&B run {origin.id}; to upload it: wandb sync{again} {shown(path.parent)}"


def _with_verdict(path: Path, entry: RunReport, reports: Iterable[str]) -> bytes:
    """The run's file with the verdict before its end, in place of one that was written earlier.

    What lies before stays as it is, byte for byte; what comes after is framed anew.

    Raises:
        InputError: it is damaged, has no end, or is of a run whose summary is on the server.
    """
    messages = _messages()
    data = path.read_bytes()
    kept: list[Framed] = []
    end = start = None
    uploaded = "wandb://ENTITY/PROJECT/RUN_ID"
    offline = False
    try:
        for framed_record in records(data):
            record = messages.Record.FromString(framed_record.payload)
            kind = record.WhichOneof("record_type")
            if kind in ("summary", "files") and _is_own(record):
                start = framed_record.at if start is None else start
                continue
            if kind == "run":
                offline = offline or record.run.telemetry.feature.offline
                uploaded = f"wandb://{record.run.entity or 'ENTITY'}/{record.run.project or 'PROJECT'}/{record.run.run_id}"
            elif kind == "exit":
                end = len(kept)
            kept.append(framed_record)
    except ValueError as error:  # protobuf's DecodeError is one
        raise InputError(path, str(error), f"wait until the run has ended, or upload it and analyze {uploaded}") from None
    if end is None:
        raise InputError(path, "has no record of the run's end: it is still running, or was killed", f"upload it and analyze {uploaded}")
    if not offline:
        raise InputError(path, "is of a run that was uploaded while it ran", f"analyze {uploaded} to write to the server")
    start = kept[end].at if start is None else min(start, kept[end].at)
    before = [record.payload for record in kept[:end] if record.at >= start]
    after = [record.payload for record in kept[end:] if record.at >= start]
    new = [record.SerializeToString(deterministic=True) for record in _new_records(entry, reports)]
    return data[:start] + framed([*before, *new, *after], start)


def _new_records(entry: RunReport, reports: Iterable[str]) -> Iterator[Any]:
    """The records of the verdict: one for the summary, one that has the report uploaded with the run's files."""
    messages = _messages()
    items = [messages.SummaryItem(key=OWN_PREFIX + name, value_json=json.dumps(value)) for name, value in fields(entry).items()]
    yield messages.Record(summary=messages.SummaryRecord(update=items))
    paths = [messages.FilesItem(path=f"{FOLDER}/{name}") for name in reports]
    yield messages.Record(files=messages.FilesRecord(files=paths))


def _messages() -> Any:
    """The library's module of message types."""
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2


def _is_own(record: Any) -> bool:
    """Whether a record was written here: a summary or a list of files that speaks of the verdict alone."""
    keys = [item.key for item in record.summary.update]
    paths = [item.path for item in record.files.files]
    if keys:
        return not record.summary.remove and all(key.startswith(OWN_PREFIX) for key in keys)
    return bool(paths) and all(path in REPORTS for path in paths)


def _write_remote(entry: RunReport, origin: Origin, fail_on: str) -> str:
    """Write to a run on the server."""
    try:
        with library(QUIET), no_questions(), TemporaryDirectory() as folder:
            import wandb

            run = wandb.Api(timeout=TIMEOUT).run(origin.place.removeprefix(f"{SCHEME}://"))
            summary: Any = run.summary
            summary.update({OWN_PREFIX + name: value for name, value in fields(entry).items()})
            for name, content in files(entry, fail_on).items():
                place = Path(folder) / FOLDER / name
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(content)
                run.upload_file(str(place), root=folder)
    except Exception as error:  # the library raises errors of requests, of GraphQL and of its own
        raise remote_error(origin.place, error) from None
    return f"W&B run {origin.id}"
