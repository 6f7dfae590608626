"""The verdict as a text summary in TensorBoard's own format, in an event file of its own beside those of the run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diag.adapters.tensorboard import OWN_FILE
from diag.whole_file import replace_bytes
from diag.writeback.content import shown
from diag.writeback.tensorboard_page import page

if TYPE_CHECKING:
    from diag.result import RunReport
    from diag.run import Origin, Run

TAG = "diag/report"
"""Tag under which TensorBoard's Text tab lists the verdict."""
FILE_VERSION = "brain.Event:2"
"""What the first record of every event file says (tensorflow/core/util/events_writer.h)."""


def write(entry: RunReport, origin: Origin, fail_on: str) -> str:
    """Write the verdict beside a run's event files, in place of an earlier one, and say where it is.

    The times in the file are the run's own: TensorBoard takes the first as the start of the run.

    Raises:
        OSError: the folder cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    del fail_on
    started, ended = _times(entry.run)
    out = io.BytesIO()
    writer = RecordWriter(out)
    for event in (
        Event(wall_time=started, file_version=FILE_VERSION),
        Event(wall_time=ended, step=entry.run.steps, summary=text_pb(TAG, page(entry))),
    ):
        writer.write(event.SerializeToString(deterministic=True))
    path = Path(origin.place) / OWN_FILE
    replace_bytes(path, out.getvalue(), mode=0o644)
    return f"TensorBoard: {shown(path)}"


def _times(run: Run) -> tuple[float, float]:
    """When the first and the last value was logged, in Unix seconds; 0 where the run does not tell."""
    times = np.concatenate([curve.wall_time for curve in run.curves.values()] or [np.empty(0)])
    known = times[np.isfinite(times)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
