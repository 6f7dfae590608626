"""``--write-back``: the option, and what it does after a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from diag.cli.common import problem_line
from diag.result import EXIT_FAILED, EXIT_INPUT

if TYPE_CHECKING:
    from diag.result import Report


def _checked(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if value:
        from diag.writeback import check

        for target in value:
            check(target)
    return value


write_back_option = click.option(
    "--write-back",
    callback=_checked,
    multiple=True,
    metavar="TARGET",
    help="Also write the verdict to where the run was logged: mlflow, wandb or tensorboard; or to one run: mlflow:RUN_ID. May be repeated.",
)


def write_back_to(targets: tuple[str, ...], report: Report, tracking_uri: str | None, fail_on: str, *, allow_unjudged: bool = False) -> int:
    """Write the verdicts to the targets, say on stderr what was written and what not, and return the exit code.

    The code is the report's, or 2 where something could not be written and no finding fails the gate.
    """
    code = report.exit_code(fail_on, allow_unjudged=allow_unjudged)
    if not targets:
        return code
    from diag.terminal import safe
    from diag.writeback import Written, write_back

    for outcome in write_back(report, targets, tracking_uri=tracking_uri, fail_on=fail_on):
        if isinstance(outcome, Written):
            click.echo(f"diag: wrote the verdict to {safe(outcome.place)}", err=True)
        else:
            click.echo(problem_line(outcome), err=True)
            code = code if code == EXIT_FAILED else EXIT_INPUT
    return code
