"""Following a run that is being written, and telling what can be said of it already.

    for event in watch("out/my-run"):
        print(event.to_dict())

``follow`` reads, ``monitor`` judges and remembers, ``loop`` decides when to look and when it is over, ``events`` says what is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from diag.analysis import Settings, checked
from diag.run import Run
from diag.vocabulary import ERROR
from diag.watching.events import Event
from diag.watching.follow import Follower
from diag.watching.loop import INTERVAL, PROGRESS, WAIT, Limits, Loop
from diag.watching.monitor import Decide, Monitor
from diag.watching.processes import Process
from diag.watching.stopping import DEFAULT, StopRule

__all__ = ["DEFAULT", "Event", "watch"]


def watch(
    path: str | os.PathLike[str],
    *,
    interval: float = INTERVAL,
    progress: float = PROGRESS,
    wait: float = WAIT,
    until_idle: float | None = None,
    timeout: float | None = None,
    pid: int | None = None,
    stop_on: str | Iterable[str] | None = DEFAULT,
    fail_on: str = ERROR,
    only_new: bool = False,
    adapter: str | None = None,
    tracking_uri: str | None = None,
    settings_of: Callable[[Run], Settings] | None = None,
    decide: Decide | None = None,
    **settings: Any,
) -> Iterator[Event]:
    """Follow a run that is being written, and yield what is new as it appears.

    Findings that only the end of a run can show are left out until it has ended, and others are told once they have stood for a while
    (``diag.watching.monitor``). A NaN is told at the first look after it was written.

    Args:
        path: a log file, the folder of a run, or a URI. Of several runs in a folder the one that was written last is followed, until
            another appears. It need not exist yet.
        interval: seconds between two looks at whether something was written.
        progress: seconds between two reports of progress.
        wait: seconds to wait for a log to appear, and to appear again after it is gone.
        until_idle: end when nothing was written for so many seconds; the run is then taken as over.
        timeout: end after so many seconds, whatever the run does.
        pid: end when the process of this number is gone.
        stop_on: verdicts, severities, or codes of findings (at least as severe as ``fail_on``) at which to end at once; None for never.
        fail_on: the mildest severity that fails the gate.
        only_new: pass over what was written before now, until it is written again.
        adapter: read only with this adapter.
        tracking_uri: MLflow server or store to read from.
        settings_of: gives a run settings of its own, in place of those that the arguments make.
        decide: what is decided about findings beside, applied to each report.
        settings: ``select``, ``ignore``, ``method``, ``model_parameters``, ``dataset_size``, ``dialect``, ``profile``, ``thresholds`` of
            ``diag.analyze``.

    Returns:
        An iterator of ``Started``, then ``Found``, ``Resolved``, ``VerdictChanged``, ``Progress`` and ``Trouble`` as things happen, and
        ``Finished`` last.

    Raises:
        UsageError: an argument is wrong; nothing was yielded yet.
    """
    chosen = checked(**settings)
    return iter(
        Loop(
            Follower(path, adapter=adapter, tracking_uri=tracking_uri, only_new=only_new),
            lambda: Monitor(settings_of or (lambda run: chosen), decide),
            StopRule.parse(stop_on, fail_on),
            None if pid is None else Process(pid),
            Limits(interval, progress, wait, until_idle, timeout),
        )
    )
