"""``diag baseline``: accept what is there, so that the gate speaks only of what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from diag.cli.common import problem_line, reading_options
from diag.cli.configured import baseline_file, choices_of, configured, policy_of, policy_of_config, settings_of
from diag.result import NEVER
from diag.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diag.check import Finding
    from diag.configuration import Configuration
    from diag.lint import Violation
    from diag.result import Problem

FILE = click.option("--output", "-o", metavar="FILE", help="The baseline. [default: that of the configuration, else diag-baseline.json]")


PATHS = click.argument("paths", nargs=-1, metavar="[PATH]...")
CONFIGS = click.option(
    "--lint", "configs", multiple=True, metavar="CONFIG", help="Also the findings of diag lint in this config or folder."
)


@click.group()
def command() -> None:
    """Accept the findings that are there, so that the gate speaks only of new ones.

    diag baseline write RUNS keeps them in a file; with it, diag analyze RUNS --baseline FILE leaves them out.
    """


@command.command()
@PATHS
@CONFIGS
@FILE
@click.option("--reason", metavar="TEXT", help="Why the findings are fine; reasons in the file are kept.")
@reading_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def write(configuration: Configuration, paths: tuple[str, ...], configs: tuple[str, ...], output: str | None, **options: Any) -> int:
    """Write the findings of all runs at PATH to a baseline.

    A finding is known again by its run, its code and its metric, not by its numbers; one that is more severe than it was, or one more of
    a kind, is new. Runs are named relative to the folder of FILE: keep it in the repository, beside what it is about. What the file held
    of other runs is kept.
    """
    from diag.gate import baseline

    place = _place(configuration, paths or configs, output)
    before = baseline.read(place) if place.exists() else None
    seen = _seen(configuration, paths, configs, options, place.absolute().parent)
    reason = options["reason"] or baseline.REASON
    found = [row for name, findings in seen.found.items() for row in baseline.entries(name, findings, before, reason)]
    others = [entry for entry in before.entries.values() if entry.run not in seen.found] if before is not None else []
    _write(place, baseline.to_json([*others, *found]))
    click.echo(f"{counted(sum(entry.count for entry in found), 'finding')} of {_subjects(seen)} written to {place}")
    return seen.code


@command.command()
@PATHS
@CONFIGS
@FILE
@reading_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def prune(configuration: Configuration, paths: tuple[str, ...], configs: tuple[str, ...], output: str | None, **options: Any) -> int:
    """Remove what the runs at PATH no longer have from a baseline; nothing is added.

    What the file holds of runs that are not at PATH is kept.
    """
    from diag.gate import baseline

    place = _place(configuration, paths or configs, output)
    before = baseline.read(place)
    seen = _seen(configuration, paths, configs, options, place.absolute().parent)
    now = [row for name, findings in seen.found.items() for row in baseline.entries(name, findings, before)]
    kept = baseline.common(before, now, seen.found)
    _write(place, baseline.to_json(kept))
    count = sum(entry.count for entry in before.entries.values()) - sum(entry.count for entry in kept)
    click.echo(f"{counted(count, 'finding')} removed from {place}")
    return seen.code


class _Seen(NamedTuple):
    """What runs and configs have now, by what a baseline calls them; ``code`` is the exit code."""

    found: dict[str, Sequence[Finding | Violation]]
    runs: int
    code: int


def _subjects(seen: _Seen) -> str:
    configs = len(seen.found) - seen.runs
    return " and ".join(counted(number, noun) for number, noun in ((seen.runs, "run"), (configs, "config")) if number)


def _seen(configuration: Configuration, paths: tuple[str, ...], configs: tuple[str, ...], options: dict[str, Any], base: Path) -> _Seen:
    """Everything at the paths, with all decided but the baseline.

    Raises:
        UsageError: there are no paths.
    """
    from diag.errors import UsageError

    if not paths and not configs:
        raise UsageError("name runs, or configs with --lint")
    found: dict[str, Sequence[Finding | Violation]] = {}
    codes: list[int] = []
    problems: list[Problem] = []
    if paths:
        from diag.analysis import analyze
        from diag.gate.enforcement import enforce, run_keys

        policy, decided = policy_of(configuration), settings_of(configuration)
        report = enforce(
            analyze(list(paths), adapter=options["adapter"], tracking_uri=options["tracking_uri"], settings_of=decided), policy
        )
        keys = run_keys((entry.run for entry in report.runs), base)
        found |= {keys[entry.run.id]: entry.findings for entry in report.runs}
        codes.append(report.exit_code(NEVER))
        problems += report.problems
    runs = len(found)
    if configs:
        from diag.gate.baseline import run_key
        from diag.gate.enforcement_of_configs import enforce_lint
        from diag.linting import lint
        from diag.plan import Options

        linted = enforce_lint(lint(configs, choices_of=choices_of(configuration, Options())), policy_of_config(configuration))
        for entry in linted.configs:
            name = run_key(str(entry.file.absolute()), entry.plan.document.path, base)
            found[name] = [*found.get(name, ()), *entry.violations]
        codes.append(linted.exit_code(NEVER))
        problems += linted.problems
    for problem in problems:
        click.echo(problem_line(problem), err=True)
    return _Seen(found, runs, max(codes))


def _place(configuration: Configuration, paths: tuple[str, ...], output: str | None) -> Path:
    """The file: the one named, else that of the configuration, else one in the working directory."""
    from diag.gate.baseline import NAME

    return Path(output) if output is not None else baseline_file(configuration.of_call(paths)) or Path(NAME)


def _write(place: Path, text: str) -> None:
    """Put the file in place at once.

    Raises:
        UsageError: it cannot be written.
    """
    from diag.errors import UsageError
    from diag.whole_file import replace

    try:
        target = place.resolve()
        replace(target, text, encoding="ascii", mode=target.stat().st_mode & 0o777 if target.exists() else 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or error}") from error
