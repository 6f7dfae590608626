"""``diag analyze``: the main job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import problem_line, reading_options, report_options, together, unjudged_option
from diag.cli.configured import baseline_of, configured, gate_options, layout_of, policy_of, settings_of
from diag.cli.outputs import outputs, refuse_inputs, write_reports
from diag.cli.write_back import write_back_option, write_back_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.cli.outputs import Output
    from diag.configuration import Configuration, Resolved
    from diag.result import Report


analysis_options = together(
    click.option("--replayed", metavar="FILE", help="Rank the causes by what this diag replay found (its replay.json or folder)."),
    write_back_option,
    click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Analyze N runs at a time."),
    click.option("--quiet", "-q", is_flag=True, help="Text report: show only the runs that fail."),
    click.option("--verbose", "-v", is_flag=True, help="Show everything: skipped checks, all changes, all hyperparameters."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
"""The options of every command that reports an analysis of runs: how it is made, how much is shown, where else it is written."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@report_options
@gate_options
@reading_options
@click.option("--whole-runs", is_flag=True, help="Judge the whole run that a file belongs to, not the file alone.")
@unjudged_option
@analysis_options
@configured
def command(
    configuration: Configuration,
    paths: tuple[str, ...],
    outputs_: tuple[str, ...],
    adapter: str | None,
    whole_runs: bool,
    allow_unjudged: bool,
    tracking_uri: str | None,
    replayed: str | None,
    write_back: tuple[str, ...],
    quiet: bool,
    **options: Any,
) -> int:
    """Say what went wrong in training runs, why, and what to change.

    PATH is a log file, the folder of a run, a folder of many runs, or a URI (wandb://entity/project/run, mlflow:...).

    \b
    Exit codes:
      0    no finding at or above --fail-on
      1    a finding at or above --fail-on
      2    wrong usage, or an input that cannot be read
      3    nothing could be judged
      4    an adapter or check crashed where the answer would have been 0
      130  interrupted
    """
    from diag.analysis import analyze
    from diag.errors import NothingThereError, NothingToJudgeError
    from diag.gate.enforcement import enforce
    from diag.report import formats
    from diag.result import Problem, Report

    call = configuration.of_call(paths)
    wanted = outputs(outputs_, call["format"], formats())
    refuse_inputs(wanted, paths)
    baseline, policy = baseline_of(call), policy_of(configuration)
    with Progress() as progress:
        try:
            report = analyze(
                list(paths),
                adapter=adapter,
                tracking_uri=tracking_uri,
                whole_runs=whole_runs,
                replayed=replayed,
                jobs=call["jobs"],
                on_progress=progress,
                settings_of=settings_of(configuration),
            )
        except (NothingThereError, NothingToJudgeError) as error:
            if not allow_unjudged:
                raise
            report = Report((), (Problem("input", paths[0], str(error), absent=True),))
    report = enforce(report, policy, baseline)
    return deliver(report, wanted, call, write_back, tracking_uri, quiet=quiet, allow_unjudged=allow_unjudged)


def deliver(
    report: Report,
    wanted: Iterable[Output],
    call: Resolved,
    write_back: tuple[str, ...],
    tracking_uri: str | None,
    *,
    quiet: bool = False,
    allow_unjudged: bool = False,
) -> int:
    """Write a report where it is wanted, and return the exit code.

    Args:
        report: what was found.
        wanted: the reports to write.
        call: what is in force for the whole call.
        write_back: where the verdicts are written to, besides.
        tracking_uri: of an MLflow server or store.
        quiet: show only the runs that fail.
        allow_unjudged: what could not be judged is no failure.

    Raises:
        UsageError: a report would be written over a log that was read.
    """
    from diag.report import renderer

    wanted = tuple(wanted)
    refuse_inputs(wanted, [file for entry in report.runs for file in entry.run.files])
    write_reports(wanted, lambda name, layout: renderer(name)(report, layout), quiet=quiet, **layout_of(call))
    for problem in report.problems:
        click.echo(problem_line(problem), err=True)
    if allow_unjudged and not report.judged:
        click.echo(f"diag: nothing was judged{_inconclusive(report)}", err=True)
    return write_back_to(write_back, report, tracking_uri, call["fail-on"], allow_unjudged=allow_unjudged)


def _inconclusive(report: Report) -> str:
    """What there was instead of verdicts."""
    count = len(report.runs)
    return "" if not count else ": the run is INCONCLUSIVE" if count == 1 else f": all {count} runs are INCONCLUSIVE"


class Progress:
    """A progress bar on stderr, shown on a terminal from the second run on."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int, total: int, name: str) -> None:
        """Report that ``done`` of ``total`` sources are analyzed; ``name`` is the one that was."""
        if total < 2 or not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("analyzing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[name]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=total, name="")
        from rich.markup import escape

        from diag.terminal import pad, safe

        self._bar.update(self._task, completed=done, name=escape(pad(safe(name), 32).rstrip()))

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
