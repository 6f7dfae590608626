"""``diag convert``: write a training config in another framework's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diag.cli.common import refuse_overwriting, write_output
from diag.cli.lint import options_of, plan_options
from diag.errors import InputError, NothingToJudgeError, UsageError


@click.command()
@click.argument("config", metavar="CONFIG[:LINE]")
@click.option("--to", required=True, metavar="DIALECT", help="The framework to write for: hf, peft, automodel, training_hub, axolotl, ...")
@plan_options
@click.option(
    "--format", "format_", default="", metavar="NAME", help="yaml, json, args or python. [default: what the framework's configs come in]"
)
@click.option("--output", "-o", metavar="FILE", help="Write the config to FILE instead of the terminal.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(config: str, to: str, format_: str, output: str | None, debug: bool, **said: Any) -> int:
    """Write a training config in another framework's words.

    CONFIG is a config file, a launch script or a Python file, or - for standard input; with several trainings in it, name the line
    that one begins on.
    The same values are written with the other framework's keys, batch sizes, warmup and units converted, and defaults that differ
    written out. What has no equivalent there is listed, in comments and on stderr. --dataset-size and --world-size tell what
    conversions of lengths and batches need.

    \b
    Exit codes:
      0    the config was written
      2    wrong usage, or a config that cannot be read
      3    CONFIG is not recognized as a training config, or says nothing that the framework has a key for
      130  interrupted
    """
    from diag.converting import FORMATS, TITLES, convert
    from diag.terminal import safe
    from diag.text import nearest

    if format_ and format_ not in FORMATS:
        raise UsageError(f"no format {format_!r}{nearest(format_, FORMATS)}; there are {', '.join(FORMATS)}")
    path, line = _split(config)
    refuse_overwriting(output, [str(path)])
    conversion = convert(_plan(path, line, options_of(said)), to)
    write_output(conversion.text(format_), output)
    for kind in TITLES:
        for remark in conversion.of_kind(kind):
            click.echo(f"diag: {kind}: {' '.join(safe(remark.text).split())}", err=True)
    return 0


def _split(config: str) -> tuple[Path, int | None]:
    """A path and the line behind it: ``train.py:12``."""
    name, colon, line = config.rpartition(":")
    return (Path(name), int(line)) if colon and line.isdecimal() and not Path(config).exists() else (Path(config), None)


def _plan(path: Path, line: int | None, options: Any) -> Any:
    """The one training config in a file.

    Raises:
        InputError: the file cannot be read, or holds several configs.
        NothingToJudgeError: there is none.
    """
    from diag.linting import check_options, plans

    check_options(options)
    found = [plan for plan in plans(path, str(path), options) if line in (None, plan.document.line)]
    if not found:
        where = "" if line is None else f" at line {line}"
        raise NothingToJudgeError(f"{path}: is not recognized as a training config{where}; name its framework with --dialect")
    if len(found) > 1:
        lines = ", ".join(str(plan.document.line) for plan in found)
        raise InputError(path, f"holds {len(found)} training configs (lines {lines})", f"name one: {path}:{found[0].document.line}")
    return found[0]
