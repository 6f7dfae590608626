"""``diag lint``: look at training configs before anything has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import count, names, problem_line, report_options, unjudged_option
from diag.cli.configured import baseline_of, choices_of, configured, layout_of, lint_gate_options, policy_of_config
from diag.cli.outputs import outputs, refuse_inputs, write_reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diag.configuration import Configuration
    from diag.linting import LintReport

SHOWN_PATHS = 3
"""Files passed over that are named; the others are counted."""


def plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that reads configs: what the user says about the training, and whose guidance decides."""
    options = (
        click.option("--method", metavar="NAME", help="How the model is trained: sft, lora, qlora, osft or pretraining."),
        click.option("--model-size", callback=count, metavar="N", help="Parameters of the model: 7B, 350M."),
        click.option("--dataset-size", callback=count, metavar="N", help="Training samples: 52k, 1200."),
        click.option("--world-size", type=click.IntRange(min=1), metavar="N", help="Data-parallel processes (GPUs)."),
        click.option(
            "--sample-lengths",
            metavar="FILE",
            help="Tokens of each training sample: one number a line, a JSON array, or JSONL.",
        ),
        click.option(
            "--profile",
            metavar="NAME",
            help="Whose reading of the guides decides: conservative, balanced, aggressive; automodel, training-hub, lesson. "
            "[default: the config's own framework's, else balanced]",
        ),
        click.option("--dialect", metavar="NAME", help="How to read the configs: hf, automodel, axolotl, ... [default: detected]"),
        click.option(
            "--form", type=click.Choice(["yaml", "json", "shell", "python"]), help="How a file is written. [default: by its suffix]"
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@plan_options
@click.option("--base", metavar="CONFIG", help="The config these were derived from: what was scaled alone is a finding.")
@report_options
@lint_gate_options
@click.option(
    "--select", callback=names, multiple=True, metavar="CODES", help="Apply only these rules (codes or their beginnings, commas)."
)
@click.option("--ignore", callback=names, multiple=True, metavar="CODES", help="Leave these rules out; the longer of two matches wins.")
@unjudged_option
@click.option("--verbose", "-v", is_flag=True, help="Show everything: guide rows, silenced findings, what each config amounts to.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def command(
    configuration: Configuration,
    configs: tuple[str, ...],
    base: str | None,
    outputs_: tuple[str, ...],
    allow_unjudged: bool,
    **said: Any,
) -> int:
    """Look at training configs before anything has run.

    CONFIG is a config file (YAML, JSON), a launch script (.sh), a Python file with training calls, a folder of them, or - for
    standard input (a launch command with --form shell). Nothing in them is executed. A finding is silenced by a comment on
    its line: # diag: ignore[CFG012] reason

    \b
    Exit codes:
      0    no finding at or above --fail-on
      1    a finding at or above --fail-on
      2    wrong usage, or a config that cannot be read
      3    no training config was recognized
      4    a rule crashed where the answer would have been 0
      130  interrupted
    """
    from diag.gate.enforcement_of_configs import enforce_lint
    from diag.linting import lint
    from diag.report.lint import FORMATS, renderer

    call = configuration.of_call(configs)
    wanted = outputs(outputs_, call["format"], FORMATS)
    refuse_inputs(wanted, (*configs, *((base,) if base else ())))
    baseline = baseline_of(call)
    choices = choices_of(configuration, options_of(said))
    report = lint(configs, options_of(said), base=base, choices_of=choices, matched=allow_unjudged)
    report = enforce_lint(report, policy_of_config(configuration), baseline)
    write_reports(wanted, lambda name, layout: renderer(name)(report, layout), **layout_of(call))
    for problem in report.problems:
        click.echo(problem_line(problem), err=True)
    for line in _unrecognized(report, allow_unjudged):
        click.echo(f"diag: {line}", err=True)
    return report.exit_code(call["fail-on"], allow_unjudged=allow_unjudged)


def _unrecognized(report: LintReport, allowed: bool) -> Iterator[str]:
    """What to say of files that are no training configs: a line each, or one for all where that is allowed."""
    from diag.terminal import safe

    paths = [safe(path) for path in report.unrecognized]
    if not allowed:
        yield from (f"{path}: is not recognized as a training config; name its framework with --dialect" for path in paths)
        if not report.configs and not report.problems and not paths:
            yield "no training config was found; name the files, or a folder that holds some"
        return
    if paths:
        from diag.text import counted

        more = ", …" if len(paths) > SHOWN_PATHS else ""
        shown = ", ".join(paths[:SHOWN_PATHS])
        yield f"{counted(len(paths), 'file')} passed over, not recognized as training configs: {shown}{more}"
    if not report.configs:
        yield "nothing was judged"


def options_of(said: dict[str, Any]) -> Any:
    """``diag.plan.Options`` from the values of ``plan_options``."""
    from diag.local_data import sample_lengths
    from diag.plan import Options

    size = said["dataset_size"]
    return Options(
        method=said["method"],
        dataset_size=None if size is None else round(size),
        model_parameters=said["model_size"],
        world_size=said["world_size"],
        profile=said["profile"],
        dialect=said["dialect"],
        form=said["form"],
        sample_lengths=() if said["sample_lengths"] is None else sample_lengths(said["sample_lengths"]),
    )
