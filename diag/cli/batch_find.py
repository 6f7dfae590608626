"""``diag batch-find``: train with growing micro-batches and say which fits and which pays."""

from __future__ import annotations

import re

import click

from diag.cli.common import StatusLine, one_run, probe_options, refuse_overwriting, write_output
from diag.cli.probes import probe_file

EXIT_INCONCLUSIVE = 3
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def memory(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Option callback: bytes, or a number with a unit of 1024, such as ``4G``, ``1.5GiB``, ``512MB``."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", value.strip().lower())
    size = int(float(match[1]) * 1024 ** _POWERS[match[2]]) if match else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no amount of memory; write it like 4G, 512M or 1.5GiB", context, parameter)
    return size


@click.command()
@click.option("--probe", required=True, metavar="SPEC", help="The training: file.py:function or package.module:function. Its code is run.")
@click.option("--run", metavar="PATH", help="The log or folder of a run: its hyperparameters are what the probe gets.")
@click.option("--max", "most", type=click.IntRange(1), metavar="N", help="Largest size to try. [default: the run's step, else 1024]")
@click.option(
    "--memory-limit", "limit", callback=memory, metavar="SIZE", help="What a training may take: 4G. [default: 90% of what is free]"
)
@probe_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    probe: str,
    run: str | None,
    most: int | None,
    limit: int | None,
    device: str,
    format_: str,
    output: str | None,
    debug: bool,
) -> int:
    """Train with growing micro-batches and say which fits and which pays.

    The probe is your own code: a function that makes a small copy of the training from hyperparameters and a seed (start from
    diag replay --init). Each size is trained for a few optimizer steps in a process of its own. With --run, the change is said in the
    words of the run's framework, and keeps its global batch.

    \b
    Exit codes:
      0    a size is suggested
      2    wrong usage, an input that cannot be read, or an unusable probe
      3    INCONCLUSIVE: nothing fits, or the probe's batches do not follow micro_batch_size
      130  interrupted
    """
    from diag.replay.batch_test import batch_test
    from diag.replay.probe import load
    from diag.report import Layout
    from diag.report.batch_find import json, text

    refuse_overwriting(output, [probe_file(probe), *([run] if run else [])])
    examined = None if run is None else one_run(run).run
    function = load(probe)
    with StatusLine() as line:
        test = batch_test(
            function, examined, most=most, limit=limit, device=device, on_trial=lambda size: line.show(f"trying a micro-batch of {size}")
        )
    layout = Layout.of_output(output)
    write_output((json if format_ == "json" else text)(test, layout), output)
    return 0 if test.suggested is not None else EXIT_INCONCLUSIVE
