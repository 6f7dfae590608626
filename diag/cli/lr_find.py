"""``diag lr-find``: sweep the learning rate over a few batches and say where to start."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from diag.cli.common import StatusLine, one_run, probe_options, refuse_overwriting, write_output

EXIT_INCONCLUSIVE = 3


@click.command()
@click.option("--probe", required=True, metavar="SPEC", help="The training: file.py:function or package.module:function. Its code is run.")
@click.option("--run", metavar="PATH", help="The log or folder of a run: its hyperparameters are what the probe gets.")
@click.option("--from", "low", type=float, metavar="LR", help="First learning rate. [default: by the run's method, else 1e-7]")
@click.option("--to", "high", type=float, metavar="LR", help="Last learning rate. [default: by the run's method, else 1]")
@click.option("--steps", type=click.IntRange(30, 10_000), default=100, show_default=True, metavar="N", help="Steps of each sweep.")
@click.option(
    "--orders", type=click.IntRange(1, 16), default=3, show_default=True, metavar="N", help="Sweeps, each with its own data order."
)
@click.option("--plot", metavar="FILE", help="Draw the curve to FILE: .svg or .html.")
@probe_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    probe: str,
    run: str | None,
    low: float | None,
    high: float | None,
    steps: int,
    orders: int,
    device: str,
    plot: str | None,
    format_: str,
    output: str | None,
    debug: bool,
) -> int:
    """Sweep the learning rate over a few batches and say where to start.

    The probe is your own code: a function that makes a small copy of the training from hyperparameters and a seed (start from
    diag replay --init). Its batches, accumulation, parameter groups, weight decay, clipping and precision are used as they are; the
    weights are put back bit by bit.

    \b
    Exit codes:
      0    a learning rate is suggested
      2    wrong usage, an input that cannot be read, or an unusable probe
      3    INCONCLUSIVE: the loss did not fall beyond its noise and rise again
      130  interrupted
    """
    from diag.errors import UsageError
    from diag.replay.probe import load
    from diag.replay.range_test import range_test
    from diag.report import Layout
    from diag.report.lr_find import drawing, json, text

    if plot is not None and Path(plot).suffix.lower() not in (".svg", ".html"):
        raise UsageError(f"--plot {plot}: a drawing is written as .svg or .html")
    for written in (output, plot):
        refuse_overwriting(written, [probe.rpartition(":")[0] or probe, *([run] if run else [])])
    examined = None if run is None else one_run(run).run
    function = load(probe)
    with StatusLine() as line:

        def say(done: int, total: int) -> None:
            line.show(f"sweep {min(done + 1, total)} of {total}")

        say(0, orders)
        test = range_test(function, examined, low=low, high=high, steps=steps, orders=orders, device=device, on_sweep=say)
    layout = Layout.of_file() if output not in (None, "-") else Layout.of_stream(sys.stdout)
    if plot is not None:
        write_output(drawing(test, as_page=Path(plot).suffix.lower() == ".html"), plot)
    write_output((json if format_ == "json" else text)(test, layout), output)
    return 0 if test.suggestion.value is not None else EXIT_INCONCLUSIVE
