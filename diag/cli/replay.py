"""``diag replay``: test a prescription by short trainings."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diag.cli.common import StatusLine, one_run, probe_options, refuse_overwriting, write_output
from diag.cli.probes import Source, source_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diag.replay.trainer import Job, Trainer
    from diag.result import RunReport

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Option callback: seconds, or a number with a unit, such as ``90s``, ``5m``, ``1.5h``."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise click.BadParameter(f"{value!r} is no time; write it like 300, 90s, 5m or 1h", context, parameter)
    return seconds


@click.command()
@click.argument("run", required=False)
@source_options
@click.option(
    "--command",
    "command_line",
    metavar="LINE",
    help="Instead: your training command, with {overrides} where options may be added. It is run, an arm and a seed at a time.",
)
@click.option("--dialect", metavar="NAME", help="With --command: whose options it takes, if not those of the run's own framework.")
@click.option("--time-limit", callback=duration, metavar="TIME", help="With --command: end a training after this time. [default: none]")
@click.option("--init", metavar="[FILE]", is_flag=False, flag_value="probe.py", help="Write a probe to start from (probe.py), and end.")
@click.option("--seeds", type=click.IntRange(3, 16), default=5, show_default=True, metavar="N", help="Most paired seeds.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Optimizer steps to train. [default: a quarter of the plan]")
@click.option("--budget", callback=duration, metavar="TIME", help="Stop after this time, with what is finished: 90s, 5m, 1h.")
@click.option(
    "--stack",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Train arms and seeds of a probe as one stacked model: where it is faster, wherever it can be, or never.",
)
@click.option("--explore", is_flag=True, help="Also undo usual mistakes that the log does not name.")
@click.option("--out", metavar="DIR", help="Folder of the results; what is finished there is not trained again. [default: replay-RUN]")
@probe_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    run: str | None,
    command_line: str | None,
    dialect: str | None,
    time_limit: float | None,
    init: str | None,
    seeds: int,
    steps: int | None,
    budget: float | None,
    stack: str,
    explore: bool,
    device: str,
    out: str | None,
    format_: str,
    output: str | None,
    debug: bool,
    source: Source,
) -> int:
    """Test the prescription of a run by short trainings with and without it.

    RUN is the log or the folder of one run. The training is your own code, a function that makes a small copy of it from
    hyperparameters and a seed (--probe; start from --init), or a fine-tune of a Hugging Face model on a JSONL file (--model, --data). It is
    trained as recorded and as prescribed, with the same seeds, until it is clear which is better.

    With --command it is your training command that is run, in any framework, such as "python train.py -c cfg.yaml {overrides}".
    {overrides} becomes what an arm changes, in the words of the run's framework. {seed}, {steps}, {total_steps}, {out} (the folder of
    the training) and hyperparameters such as {learning_rate} are filled in too. No shell is involved.

    \b
    Exit codes:
      0    CONFIRMED: the prescription helps
      1    REFUTED: it does harm
      2    wrong usage, an input that cannot be read, or a probe or command that cannot be used
      3    INCONCLUSIVE, or there is no prescription to test
      130  interrupted; what was finished is kept
    """
    if init is not None:
        from diag.replay.probe import write_template

        write_template(Path(init))
        click.echo(f"Wrote {init}. Make it your training, then: diag replay {run or 'RUN'} --probe {init}:probe", err=True)
        return 0
    if run is None:
        raise click.UsageError("which run? Give its log or folder", click.get_current_context())
    if command_line is None:
        source.check()
    elif source.is_given:
        raise click.UsageError("--command, --probe and --model are different trainings; give one of them", click.get_current_context())
    if command_line is None and (dialect, time_limit) != (None, None):
        raise click.UsageError("--dialect and --time-limit are for a --command", click.get_current_context())
    if command_line is not None and device != "auto":
        raise click.UsageError("--device is not for a --command, which chooses for itself", click.get_current_context())
    from diag.replay.experiment import Settings, replay
    from diag.replay.store import OUTCOME, write
    from diag.report import Layout
    from diag.report.replay import render, render_json

    trainer: Trainer
    if command_line is None:
        from diag.replay.probe import require_torch
        from diag.replay.probing import ProbeTrainer

        require_torch()
        refuse_overwriting(output, [run, *source.files()])
        report = one_run(run)
        folder = _folder(out, report)
        trainer = ProbeTrainer(source.load(report.run), device, stack={"always": True, "never": False}.get(stack))
    else:
        from diag.replay.command import CommandTrainer

        report = one_run(run, dialect=dialect)
        folder = _folder(out, report)
        trainer = CommandTrainer(command_line, report.run, folder, time_limit=math.inf if time_limit is None else time_limit)
        refuse_overwriting(output, [run, *map(str, trainer.files)])
    numbers = itertools.count(1)
    settings = Settings(seeds, steps, math.inf if budget is None else budget, explore)
    try:
        with StatusLine() as line:

            def say(jobs: Sequence[Job]) -> None:
                arms = ", ".join(dict.fromkeys(job.arm for job in jobs))
                seeds = ", ".join(str(seed) for seed in dict.fromkeys(job.seed for job in jobs))
                line.show(f"training {next(numbers)}: {arms}; seed {seeds}; {max(job.steps for job in jobs)} steps")

            outcome = replay(report, trainer, settings, folder=folder, begin=say)
    except KeyboardInterrupt:
        click.echo(f"diag: the same command goes on from what is finished in {folder}", err=True)
        raise
    write(folder / OUTCOME, render_json(outcome))
    layout = Layout.of_output(output)
    write_output(render_json(outcome) if format_ == "json" else render(outcome, layout), output)
    return outcome.exit_code


def _folder(out: str | None, report: RunReport) -> Path:
    """Where the results go."""
    return Path(out) if out else Path(f"replay-{re.sub(r'[^A-Za-z0-9._-]+', '-', report.run.id)}")
