"""``diag lr-find``: sweep the learning rate over a few batches and say where to start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diag.cli.common import StatusLine, one_run, probe_options, refuse_overwriting, write_file, write_output
from diag.cli.probes import Source, source_options

if TYPE_CHECKING:
    from diag.replay.range_test import RangeTest
    from diag.run import Run

EXIT_INCONCLUSIVE = 3
DRAWINGS = (".svg", ".html", ".png")


@click.command()
@source_options
@click.option("--run", metavar="PATH", help="The log or folder of a run: its hyperparameters are what the probe gets.")
@click.option("--method", metavar="NAME", help="How the model is trained: sft, lora, qlora, osft or pretraining. [default: the run's]")
@click.option("--from", "low", type=float, metavar="LR", help="First learning rate. [default: by the run's method, else 1e-7]")
@click.option("--to", "high", type=float, metavar="LR", help="Last learning rate. [default: by the run's method, else 1]")
@click.option("--steps", type=click.IntRange(30, 10_000), default=100, show_default=True, metavar="N", help="Steps of each sweep.")
@click.option(
    "--orders", type=click.IntRange(1, 16), default=3, show_default=True, metavar="N", help="Sweeps, each with its own data order."
)
@click.option("--plot", metavar="FILE", help="Draw the curve to FILE: .svg, .html or .png.")
@probe_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    run: str | None,
    method: str | None,
    low: float | None,
    high: float | None,
    steps: int,
    orders: int,
    device: str,
    plot: str | None,
    format_: str,
    output: str | None,
    debug: bool,
    source: Source,
) -> int:
    """Sweep the learning rate over a few batches and say where to start.

    The training is your own code, a function that makes a small copy of it from hyperparameters and a seed (--probe; start from
    diag replay --init), or a fine-tune of a Hugging Face model on a JSONL file (--model, --data). Its batches, accumulation, parameter
    groups, weight decay, clipping and precision are used as they are; the weights are put back bit by bit.

    \b
    Exit codes:
      0    a learning rate is suggested
      2    wrong usage, an input that cannot be read, or an unusable probe
      3    INCONCLUSIVE: the loss did not fall beyond its noise and rise again
      130  interrupted
    """
    from diag.replay.range_test import range_test
    from diag.report import Layout
    from diag.report.lr_find import json, text

    source.check()
    if plot is not None:
        _check_drawing(plot)
    for written in (output, plot):
        refuse_overwriting(written, [*source.files(), *([run] if run else [])])
    examined = _of_method(method) if run is None else one_run(run, method).run
    function = source.load(examined)
    with StatusLine() as line:

        def say(done: int, total: int) -> None:
            line.show(f"sweep {min(done + 1, total)} of {total}")

        say(0, orders)
        test = range_test(function, examined, low=low, high=high, steps=steps, orders=orders, device=device, on_sweep=say)
    layout = Layout.of_output(output)
    if plot is not None:
        write_file(_drawing(test, plot), plot)
    write_output((json if format_ == "json" else text)(test, layout), output)
    return 0 if test.suggestion.value is not None else EXIT_INCONCLUSIVE


def _check_drawing(plot: str) -> None:
    """See to it that what a sweep will be drawn to can be written, before it is begun."""
    from diag.errors import UsageError
    from diag.report.matplotlib_images import require_matplotlib

    suffix = Path(plot).suffix.lower()
    if suffix not in DRAWINGS:
        raise UsageError(f"--plot {plot}: a drawing is written as {', '.join(DRAWINGS[:-1])} or {DRAWINGS[-1]}")
    if suffix == ".png":
        require_matplotlib(f"--plot {plot}: PNG", ", or write .svg or .html")


def _drawing(test: RangeTest, plot: str) -> bytes:
    from diag.report.lr_find_drawing import html, png, svg

    suffix = Path(plot).suffix.lower()
    return png(test) if suffix == ".png" else (html if suffix == ".html" else svg)(test).encode("utf-8")


def _of_method(method: str | None) -> Run | None:
    """A run of which nothing is known but the method, None where not even that is."""
    if method is None:
        return None
    from diag.choices import choose
    from diag.run import Hyperparameter, Run
    from diag.vocabulary import METHODS

    return Run("", "", "none", {}, {"method": Hyperparameter(choose("method", method, METHODS), "user")})
