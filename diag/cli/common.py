"""What the commands share: suggestions, option types, writing the output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diag.counts import parse_count
from diag.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from diag.result import Problem, RunReport

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def count(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Option callback: a positive count with an optional suffix, such as ``7B``, ``350M``, ``1.3e9``, ``8x7B``, ``52k``."""
    if value is None:
        return None
    try:
        return parse_count(value)
    except UsageError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def names(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Option callback: names from an option that may be repeated and may hold commas."""
    return tuple(part.strip() for group in value for part in group.split(",") if part.strip())


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


OUTPUT = click.option("--output", "-o", metavar="FILE", help="Write the report to FILE instead of the terminal.")

FORMATS = "text, json, concise, csv, github, gitlab, html, junit, markdown, parquet, sarif"
"""Report formats as the help names them."""

report_options = together(
    click.option(
        "--format",
        "format_",
        default="text",
        show_default=True,
        metavar="NAME",
        help=f"Report format: {FORMATS.replace('html', 'html (of runs)')}.",
    ),
    click.option(
        "--output",
        "-o",
        "outputs_",
        multiple=True,
        metavar="[FORMAT=]FILE",
        help="Write the report to FILE instead of the terminal; with FORMAT= one more report, as often as wanted.",
    ),
    click.option(
        "--fail-on",
        type=click.Choice(["error", "warning", "info", "never"]),
        default="error",
        show_default=True,
        help="Exit with 1 if a finding is at least this severe.",
    ),
)
"""The options of every command that reports findings: in which format, where to, and what fails."""

unjudged_option = click.option(
    "--allow-unjudged/--no-allow-unjudged",
    help="Do not fail where there is nothing to judge: exit with 0 instead of 3, pass over files that are no log or config.",
)
"""The option of every command that a hook or pipeline calls on files chosen by their names."""

reading_options = together(
    click.option(
        "--select", callback=names, multiple=True, metavar="CODES", help="Run only these checks (codes or their beginnings, commas)."
    ),
    click.option(
        "--ignore", callback=names, multiple=True, metavar="CODES", help="Leave these checks out; the longer of two matches wins."
    ),
    click.option("--adapter", metavar="NAME", help="Read only with this adapter (trainer_state, tensorboard, wandb, mlflow, csv, ...)."),
    click.option("--tracking-uri", metavar="URI", help="MLflow server or store to read runs from."),
    click.option("--method", metavar="NAME", help="How the model was trained: sft, lora, qlora, osft or pretraining."),
    click.option("--model-size", callback=count, metavar="N", help="Parameters of the model: 7B, 350M."),
    click.option("--dataset-size", callback=count, metavar="N", help="Training samples: 52k, 1200."),
    click.option("--dialect", metavar="NAME", help="Write the changes for this framework: hf, automodel, training_hub, ..."),
    click.option(
        "--profile",
        metavar="NAME",
        help="How bold the changes are: conservative, balanced, aggressive; or whose: automodel, training-hub, lesson. "
        "[default: the run's own framework's, else balanced]",
    ),
)
"""The options of every command that analyzes runs: how to read them, which checks, and what the logs do not say."""

probe_options = together(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True, help="Where to train."),
    click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Report format."),
    OUTPUT,
)
"""The options of every command that trains a probe: on which device, and the report of it."""


class StatusLine:
    """One line on stderr, where that is a terminal, gone at the end: what is being done."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __enter__(self) -> StatusLine:
        return self

    def show(self, text: str) -> None:
        """Say what is being done now."""
        if self._shows:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def __exit__(self, *error: object) -> None:
        self.show("")


def problem_line(problem: Problem) -> str:
    """What could not be read, or crashed, as one line for stderr."""
    from diag.terminal import safe

    path = "" if problem.path in problem.message else f"{problem.path}: "
    return f"diag: {safe(path + problem.message)}"


def warn_of_broken_plugins() -> None:
    """Say on stderr which plug-ins of checks and lint rules cannot be used, a line each."""
    from diag import battery, linting
    from diag.terminal import safe

    for entry in (*battery.broken(), *linting.broken()):
        click.echo(f"diag: {safe(entry.message)}", err=True)


def one_run(path: str, method: str | None = None, dialect: str | None = None) -> RunReport:
    """The examination of the run at a path that holds just one.

    Args:
        path: its log or folder.
        method: how the model was trained, where the user says so.
        dialect: in whose words its config is, where the user says so.

    Raises:
        UsageError: there are several, or none, or there is no such dialect.
    """
    from diag.analysis import analyze

    reports = analyze(path, method=method, dialect=dialect).runs
    if len(reports) != 1:
        raise UsageError(f"{path} holds {len(reports)} runs; name one of them: {', '.join(report.run.path for report in reports[:5])}")
    return reports[0]


def refuse_overwriting(output: str | None, inputs: Iterable[str]) -> None:
    """Refuse an output file that is one of the inputs.

    Raises:
        UsageError: it is.
    """
    if output in (None, "-"):
        return
    for name in inputs:
        if name != "-" and Path(name).resolve() == Path(str(output)).resolve():
            raise UsageError(f"{output} is what is read; write to another file")


def write_file(content: bytes, path: str) -> None:
    """Write to a file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        Path(path).write_bytes(content)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def write_output(content: str | bytes, output: str | None) -> None:
    """Write to a file, or to stdout; a reader that has left (``| head``) is no error.

    Raises:
        UsageError: the file cannot be written, or bytes would be written to a terminal.
    """
    if output is not None and output != "-":
        write_file(content.encode("utf-8") if isinstance(content, str) else content, output)
        return
    if isinstance(content, bytes) and sys.stdout.isatty():
        raise UsageError("this format is not for a terminal; write it to a file with --output FILE")
    try:
        if isinstance(content, str):
            sys.stdout.write(content)
        else:
            sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except BrokenPipeError:
        from diag.cli import silence_stdout

        silence_stdout()
