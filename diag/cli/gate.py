"""``diag gate``: what analyze says, and whether a run is as good as known-good ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from diag.cli.analyze import Progress, analysis_options, deliver
from diag.cli.common import reading_options, report_options
from diag.cli.configured import baseline_of, configured, gate_options, gate_wants, policy_of, reading, settings_of
from diag.cli.outputs import outputs, refuse_inputs
from diag.errors import DiagError, UsageError

if TYPE_CHECKING:
    from diag.configuration import Configuration


def _if_given(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    read = reading(name)
    return lambda context, parameter, value: None if value is None else read(context, parameter, value)


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN]...")
@click.option("--against", multiple=True, metavar="REF", help="A known-good run, or a folder of them; may be repeated.")
@click.option(
    "--tolerance",
    callback=_if_given("tolerance"),
    metavar="SHARE",
    help="Relative difference that is an error; half is a warning.  [default: 5%]",
)
@click.option(
    "--run-noise",
    callback=_if_given("run-noise"),
    metavar="SHARE",
    help="Relative standard deviation between seeds, where it is known. [default: what the references show, mixed with 1.2%]",
)
@click.option("--base-results", metavar="PATH", help="lm-evaluation-harness results of the base model: a file, or the newest in a folder.")
@click.option("--tuned-results", metavar="PATH", help="Those of the tuned model.")
@report_options
@gate_options
@reading_options
@analysis_options
@configured
def command(
    configuration: Configuration,
    paths: tuple[str, ...],
    against: tuple[str, ...],
    base_results: str | None,
    tuned_results: str | None,
    outputs_: tuple[str, ...],
    adapter: str | None,
    tracking_uri: str | None,
    replayed: str | None,
    write_back: tuple[str, ...],
    quiet: bool,
    **options: Any,
) -> int:
    """Say whether runs are as good as known-good ones, besides what diag analyze says of them.

    RUN is what diag analyze takes. With --against every run is compared with the known-good ones: at its best, and at the last common
    step. With --base-results and --tuned-results the benchmarks of the model are compared with those of its base, task by task; RUN is
    then the training in between, and may be left out. RUN and REF may also be such results themselves.

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
    from diag.gate.against import against_benchmarks, against_runs
    from diag.gate.enforcement import enforce
    from diag.gate.lm_eval import read
    from diag.report import formats
    from diag.result import Report

    call = configuration.of_call(paths or [path for path in (tuned_results,) if path])
    wanted = outputs(outputs_, call["format"], formats())
    refuse_inputs(wanted, [path for path in (*paths, *against, base_results, tuned_results) if path is not None])
    if _are_results(paths, against):
        if base_results or tuned_results:
            raise UsageError("results are given twice: as RUN and --against, and by --base-results and --tuned-results")
        (tuned_results,), (base_results,), paths, against = paths, against, (), ()
    if (base_results is None) != (tuned_results is None):
        raise UsageError("--base-results and --tuned-results belong together")
    if not paths and (against or base_results is None):
        raise UsageError("name a RUN, or --base-results and --tuned-results")
    baseline, policy, wants = baseline_of(call), policy_of(configuration), gate_wants(configuration)
    base, tuned = (None if path is None else read(path) for path in (base_results, tuned_results))
    analyzed = partial(analyze, adapter=adapter, tracking_uri=tracking_uri, jobs=call["jobs"], settings_of=settings_of(configuration))
    with Progress() as progress:
        report = analyzed(list(paths), replayed=replayed, on_progress=progress) if paths else Report(())
    if against:
        with Progress() as progress:
            references = analyzed(list(against), on_progress=progress)
        if not references.runs:
            raise UsageError(f"no reference could be read: {references.problems[0].message if references.problems else ', '.join(against)}")
        report = against_runs(report, references.runs, tolerance=call["tolerance"], run_noise=call["run-noise"], wanted=wants)
        report = replace(report, problems=(*report.problems, *references.problems))
    if base is not None and tuned is not None:
        if len(report.runs) > 1:
            raise UsageError(f"the benchmarks are those of one model, and {len(report.runs)} runs are given; name the one that trained it")
        profile = configuration.at(report.runs[0].run.root)["profile"] if report.runs else None
        report = against_benchmarks(report, base, tuned, tolerance=call["tolerance"], profile=profile, wanted=wants)
    return deliver(enforce(report, policy, baseline), wanted, call, write_back, tracking_uri, quiet=quiet)


def _are_results(paths: Sequence[str], against: Sequence[str]) -> bool:
    """Whether RUN and REF are benchmark results rather than runs.

    Raises:
        UsageError: one is, and the other is not.
    """
    if len(paths) != 1 or len(against) != 1:
        return False
    run, reference = (_is_benchmark(path) for path in (paths[0], against[0]))
    if run != reference:
        odd, other = (paths[0], against[0]) if run else (against[0], paths[0])
        raise UsageError(f"{odd} holds benchmark results and {other} does not; give results of both models, and the run as RUN")
    return run


def _is_benchmark(path: str) -> bool:
    """Whether a path is a results file, or a folder with results and without a training log."""
    from pathlib import Path

    from diag.gate.lm_eval import is_results
    from diag.loading import discover

    if not is_results(path):
        return False
    try:
        return Path(path).is_file() or not discover(path)
    except DiagError:
        return True
