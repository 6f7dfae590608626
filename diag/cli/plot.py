"""``diag plot``: the curves of runs as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diag.cli.common import names, problem_line, refuse_overwriting, write_file
from diag.cli.configured import baseline_of, configured, policy_of, settings_of

if TYPE_CHECKING:
    from diag.configuration import Configuration


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN...")
@click.option("--output", "-o", required=True, metavar="FILE", help="Where to draw to: .png, .svg or .pdf.")
@click.option("--metric", callback=names, multiple=True, metavar="NAMES", help="Draw these metrics rather than the usual ones (commas).")
@click.option("--log/--linear", "logarithmic", default=None, help="The scale of the values. [default: by their range]")
@click.option(
    "--smooth",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Lay a moving average over the curves; its time constant as a share of the run, such as 0.02.",
)
@click.option("--findings/--no-findings", default=True, help="Shade the findings of a single run at their steps. [default: shaded]")
@click.option("--title", metavar="TEXT", help="Above the picture; '' for none. [default: the run and its verdict]")
@click.option("--width", type=click.FloatRange(1, 60), default=8.0, show_default=True, metavar="INCHES", help="Width of the picture.")
@click.option("--height", type=click.FloatRange(1, 60), metavar="INCHES", help="Height of the picture. [default: by what is drawn]")
@click.option("--dpi", type=click.IntRange(20, 1200), default=200, show_default=True, metavar="N", help="Dots per inch of a PNG.")
@click.option("--adapter", metavar="NAME", help="Read only with this adapter (trainer_state, tensorboard, wandb, mlflow, csv, ...).")
@click.option("--tracking-uri", metavar="URI", help="MLflow server or store to read runs from.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def command(
    configuration: Configuration,
    paths: tuple[str, ...],
    output: str,
    metric: tuple[str, ...],
    logarithmic: bool | None,
    smooth: float,
    findings: bool,
    title: str | None,
    width: float,
    height: float | None,
    dpi: int,
    adapter: str | None,
    tracking_uri: str | None,
    debug: bool,
) -> int:
    """Draw the curves of runs, with what was found, as PNG, SVG or PDF.

    RUN is whatever diag analyze takes. Losses, learning rate, gradient norm and the metrics of findings get a panel each; several runs
    are laid over one another. Findings that a baseline or configuration accepts are not shaded. The same runs give the same bytes.
    Needs matplotlib: pip install 'diag[plot]'

    \b
    Exit codes:
      0    the picture was drawn
      2    wrong usage, or an input that cannot be read
      130  interrupted
    """
    from diag.analysis import analyze
    from diag.errors import UsageError
    from diag.gate.enforcement import enforce
    from diag.report.matplotlib_images import UNDATED, image, require_matplotlib
    from diag.report.plot import draw

    kind = Path(output).suffix.lower().removeprefix(".")
    if kind not in UNDATED:
        raise UsageError(f"--output {output}: a picture is written as .png, .svg or .pdf")
    require_matplotlib(f"--output {output}")
    refuse_overwriting(output, paths)
    analyzed = analyze(list(paths), adapter=adapter, tracking_uri=tracking_uri, settings_of=settings_of(configuration))
    report = enforce(analyzed, policy_of(configuration), baseline_of(configuration.of_call(paths)))
    for problem in report.problems:
        click.echo(problem_line(problem), err=True)
    figure = draw(
        report.runs,
        metrics=metric,
        logarithmic=logarithmic,
        smoothing=smooth,
        findings=findings,
        title=title,
        width=width,
        height=height,
        dpi=dpi,
    )
    write_file(image(figure, kind), output)
    return 2 if any(problem.named for problem in report.problems) else 0
