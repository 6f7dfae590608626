"""``diag watch``: follow a run while it is being written."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import names, problem_line, reading_options
from diag.cli.configured import baseline_of, configured, gate_options, policy_of, settings_of

if TYPE_CHECKING:
    from diag.configuration import Configuration
    from diag.report.watch import View
    from diag.result import Problem, RunReport
    from diag.watching.events import Event
    from diag.watching.monitor import Decide

GATE = "GAT"
"""Beginning of the codes of what the gate itself finds."""

SECONDS = click.FloatRange(min=0)


@click.command()
@click.argument("path", metavar="PATH")
@click.option(
    "--format",
    "shown_as",
    type=click.Choice(["auto", "live", "json"]),
    default="auto",
    show_default=True,
    help="A live view, or a JSON line an event; by default the view on a terminal.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "never"]),
    default="error",
    show_default=True,
    help="Exit with 1 if a finding is at least this severe at the end.",
)
@click.option(
    "--stop-on",
    callback=names,
    multiple=True,
    metavar="WHAT",
    help="End with 1 at the first of these: verdicts, severities, codes at or above --fail-on; or never. [default: DIVERGED,DIV]",
)
@click.option("--exec", "command_", metavar="CMD", help="Run a command for each new finding at or above --fail-on; no shell.")
@click.option("--interval", type=click.FloatRange(min=0.05), default=1.0, show_default=True, metavar="SECONDS", help="Look so often.")
@click.option("--wait", type=SECONDS, default=600.0, show_default=True, metavar="SECONDS", help="Wait so long for a log to appear.")
@click.option("--until-idle", type=SECONDS, metavar="SECONDS", help="End when nothing was written for so long.")
@click.option("--timeout", type=SECONDS, metavar="SECONDS", help="End after so long, whatever the run does.")
@click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="End when this process is gone.")
@click.option("--new", "only_new", is_flag=True, help="Pass over what was written before the watch began.")
@gate_options
@reading_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def command(
    configuration: Configuration,
    path: str,
    shown_as: str,
    stop_on: tuple[str, ...],
    command_: str | None,
    interval: float,
    wait: float,
    until_idle: float | None,
    timeout: float | None,
    pid: int | None,
    only_new: bool,
    adapter: str | None,
    tracking_uri: str | None,
    **options: Any,
) -> int:
    """Follow a run that is being written, and tell what is wrong as it appears.

    PATH is the folder of a run, a log file or a URI; it need not exist yet. Reported at once is what one look shows for good, such as a
    NaN; the rest once it has stood for a while, and what only the end can show when the run has ended.

    \b
    Exit codes:
      0    it is over, and no finding is at or above --fail-on
      1    a finding at or above --fail-on, or one of --stop-on
      2    wrong usage, or a log that cannot be read
      3    nothing could be judged, or no log appeared
      4    an adapter or check crashed where the answer would have been 0
      130  interrupted
    """
    from diag.cli.watch_exec import Hook
    from diag.terminal import safe
    from diag.watching import watch
    from diag.watching.events import NO_LOG, Finished, Found, Trouble
    from diag.watching.stopping import DEFAULT, is_at_least

    fail_on = configuration.of_call([path])["fail-on"]
    is_live = shown_as == "live" or (shown_as == "auto" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb")
    hook = None if command_ is None else Hook(command_, quiet=is_live)
    events = watch(
        path,
        interval=interval,
        **({"progress": 0.0} if is_live else {}),
        wait=wait,
        until_idle=until_idle,
        timeout=timeout,
        pid=pid,
        stop_on=stop_on or DEFAULT,
        fail_on=fail_on,
        only_new=only_new,
        adapter=adapter,
        tracking_uri=tracking_uri,
        settings_of=settings_of(configuration),
        decide=_decided(configuration, path),
    )
    code, no_log = 0, False
    with _terminated_as_interrupted(), _view(path, fail_on, is_live=is_live) as view:
        for event in events:
            told: list[Event] = [event]
            if hook is not None and isinstance(event, Found) and is_at_least(event.finding, fail_on):
                hook.start(event)
            if hook is not None:
                told[:0] = map(Trouble, hook.ended(wait=isinstance(event, Finished)))
            for one in told:
                view.show(one)
                if isinstance(one, Trouble) and not is_live:
                    click.echo(problem_line(one.problem), err=True)
            if isinstance(event, Finished):
                code = event.exit_code(fail_on)
                no_log = event.reason == NO_LOG and not event.problems
    if no_log:
        click.echo(f"diag: {safe(path)}: no log appeared in {wait:g} seconds; check the path, or give it longer with --wait", err=True)
    return code


def _decided(configuration: Configuration, path: str) -> Decide:
    """What the user decided about findings, for a report of a run that goes on, or has ended."""
    from diag.gate.enforcement import enforce
    from diag.result import Report

    baseline, policy = baseline_of(configuration.of_call([path])), policy_of(configuration)

    def decide(report: RunReport) -> tuple[RunReport, list[Problem]]:
        decided = enforce(Report((report,)), policy, baseline)
        (entry,) = decided.runs
        if report.run.ongoing:  # what a metric must be, and which acceptance nothing needs, is known at the end
            entry = replace(entry, findings=tuple(finding for finding in entry.findings if not finding.code.startswith(GATE)))
        return entry, list(decided.problems)

    return decide


def _view(path: str, fail_on: str, *, is_live: bool) -> View:
    from diag.report.watch import JsonLines, LiveView

    return LiveView(path) if is_live else JsonLines(fail_on)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, so that the terminal is restored on either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
