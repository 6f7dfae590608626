"""``diag fix``: from findings to changes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from diag.cli.common import problem_line, refuse_overwriting, write_output
from diag.cli.lint import options_of, plan_options
from diag.errors import DiagError, InputError, NothingToJudgeError, UsageError

if TYPE_CHECKING:
    from diag.fixing import Prescription
    from diag.plan import Plan


@click.command()
@click.argument("target", metavar="TARGET")
@plan_options
@click.option("--apply", "apply_to", metavar="CONFIG", help="Edit CONFIG in place: only the values named, atomically.")
@click.option("--config", "config", metavar="CONFIG", help="Write the changes of a run in the words of CONFIG, without touching it.")
@click.option("--diff", is_flag=True, help="Print a unified diff of the config instead; nothing is written.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "args", "yaml", "json", "python"]),
    default="text",
    show_default=True,
    help="How to print the changes: for people, as arguments, YAML, JSON, or Python keyword arguments.",
)
@click.option(
    "--level",
    type=click.Choice(["error", "warning", "info"]),
    default="warning",
    show_default=True,
    help="Least severity of the lint findings to settle.",
)
@click.option("--safe-only", is_flag=True, help="Only changes that cannot hurt the result.")
@click.option("--explain", is_flag=True, help="Show for each change the finding, the guide rows, the range and the arithmetic.")
@click.option("--output", "-o", metavar="FILE", help="Write to FILE instead of the terminal.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    target: str,
    apply_to: str | None,
    config: str | None,
    diff: bool,
    format_: str,
    level: str,
    safe_only: bool,
    explain: bool,
    output: str | None,
    debug: bool,
    **said: Any,
) -> int:
    """Turn the findings of a run, or the lint findings of a config, into changes.

    TARGET is a run (what diag analyze takes) or a config (what diag lint takes, one at a time; - is standard input). From a run it
    is the first prescription, from a config what settles the findings; both in the order in which the guides tune. In a file with
    several trainings, FILE:LINE names the one that begins on that line.

    With --apply the changes are written into CONFIG, comments, key order and quoting kept; applying twice changes nothing. A change
    the framework would not take is refused. A run's own config is first copied to CONFIG.as_trained, so that the run goes on being
    judged by what it was trained with.

    \b
    Exit codes:
      0    the changes were printed or made, or there are none
      2    wrong usage, an input that cannot be read, or a change that was refused
      3    no run was found, or the config is not recognized
      130  interrupted
    """
    from diag.documents.editing import diff as unified
    from diag.documents.editing import write
    from diag.linting import STDIN
    from diag.report import Layout
    from diag.report.fix import renderer

    options = options_of(said)
    refuse_overwriting(output, [_split(name)[0] for name in (target, apply_to, config) if name is not None])
    plan, refused = _config(target, options)
    done: list[tuple[Path, str, str, str]] = []
    if plan is not None:
        if config is not None:
            raise UsageError(f"--config is for the changes of a run; {target} is a config itself")
        if apply_to is not None and target == STDIN:
            raise UsageError("standard input cannot be edited in place; print it with --diff")
        if apply_to is not None and Path(apply_to).resolve() != Path(_split(target)[0]).resolve():
            raise UsageError(f"--apply {apply_to} is not the config that is to be fixed; name {target} twice, or name a run")
        prescriptions = _settle(plan, level, safe_only, done if apply_to is not None or diff else None)
    else:
        if apply_to is not None and config is not None:
            raise UsageError("--config writes the changes down and --apply makes them; give one of the two")
        try:
            prescriptions = _run(target, options, apply_to or config, safe_only, done if apply_to is not None or diff else None)
        except InputError as error:
            if refused is None:
                raise
            raise refused from error
    if diff and not done:
        raise UsageError("--diff needs a config; name it with --config")
    if diff:
        # A byte order mark is part of the first line to the programs that apply a diff.
        marks = ["\ufeff" if encoding == "utf-8-sig" else "" for *_, encoding in done]
        parts = [unified(mark + old, mark + new, _relative(path)) for (path, old, new, _), mark in zip(done, marks, strict=True)]
        write_output("".join(parts), output)
        return 0
    layout = Layout.of_output(output)
    write_output(renderer(format_)(prescriptions, layout.with_(verbose=explain)), output)
    for path, before, after, encoding in done if apply_to is not None else ():
        if before == after:
            click.echo(f"diag: {path}: nothing to change", err=True)
            continue
        copied = _keep(path, prescriptions[0], target)
        try:
            write(path, after, encoding)
        except InputError:
            if copied is not None:
                copied.unlink(missing_ok=True)
            raise
        click.echo(f"diag: {path}: changed{f'; {copied.name} keeps what the run was trained with' if copied else ''}", err=True)
    return 0


def _keep(path: Path, prescription: Prescription, target: str) -> Path | None:
    """Keep a copy of a config that the run was trained with before it is changed, so that the run can still be judged, and fixed, by it.

    Returns:
        The copy, None where the config is not the run's own or a copy is there already.
    """
    from diag.config_files import as_trained, kept
    from diag.configs import CLIMB, SUFFIXES

    run = prescription.run
    if run is None or path.suffix.lower() not in SUFFIXES or as_trained(path) != path:
        return None
    # The run names its config from its folder, or by its bare name where that lies in a folder around it.
    files = {entry.file for entry in (*run.config.values(), *run.hyperparameters.values()) if entry.file}
    log = (Path(target) / run.path).resolve() if Path(target).is_dir() else Path(target).resolve()
    around = list(log.parents)[: CLIMB + 2]
    own = path.parent.resolve() / path.name
    if own not in [next((folder / file for folder in around if (folder / file).is_file()), None) for file in files]:
        return None
    try:
        return Path(shutil.copy(path, kept(path)))
    except OSError as error:
        raise InputError(
            path, f"cannot be changed: no copy can be kept beside it ({error.strerror or error})", "check the folder"
        ) from error


def _relative(path: Path) -> str:
    """A path for a diff: below the working folder where it lies there, never absolute."""
    try:
        path = path.resolve().relative_to(Path.cwd()) if path.is_absolute() else path
    except ValueError:
        path = path.relative_to(path.anchor)
    return path.as_posix()


def _split(target: str) -> tuple[str, int | None]:
    """A path and the line behind it: ``train.py:12``."""
    match = re.fullmatch(r"(.+):(\d+)", target)
    return (match[1], int(match[2])) if match and not Path(target).exists() else (target, None)


def _config(target: str, options: Any) -> tuple[Plan | None, DiagError | None]:
    """The plan of the target if it is a config; None if it is a run, with the error to raise if it is none of that either."""
    from diag.documents import SUFFIXES
    from diag.fixing import plan_in
    from diag.linting import STDIN

    name, line = _split(target)
    path = Path(name)
    if name != STDIN and (not path.is_file() or (options.form is None and path.suffix.lower() not in SUFFIXES)):
        return None, None
    try:
        return plan_in(path, line, options), None
    except (InputError, NothingToJudgeError) as error:
        if line is not None or path.suffix.lower() != ".json":
            raise
        return None, error  # it may be a log in JSON


def _settle(plan: Plan, level: str, safe_only: bool, done: list[tuple[Path, str, str, str]] | None) -> list[Prescription]:
    """What settles a config's findings; with ``done`` its text before and after is added there."""
    from diag.fixing import merged, of_plan, settled

    try:
        text, rounds = settled(plan, level=level, safe_only=safe_only)
    except InputError:
        if done is not None:
            raise
        return [of_plan(plan, level=level, safe_only=safe_only)]  # it can be said, though not written there
    if done is not None:
        done.append((Path(plan.document.path), plan.document.text, text, plan.document.encoding))
    return [merged(plan, rounds)]


NO_RUN: Final = "{}: no run was found; give a log, the folder of a run, or one config"
"""What to say where nothing at the target is a run."""


def _run(
    target: str, options: Any, config: str | None, safe_only: bool, done: list[tuple[Path, str, str, str]] | None
) -> list[Prescription]:
    """The first prescription of every run at the target; with ``done`` the config's text before and after is added there."""
    from diag.analysis import analyze
    from diag.fixing import of_report, plan_in, rewritten

    try:
        report = analyze(
            target,
            method=options.method,
            model_parameters=options.model_parameters,
            dataset_size=options.dataset_size,
            dialect=options.dialect if config is None else None,
            profile=options.profile,
        )
    except NothingToJudgeError as error:
        raise NothingToJudgeError(NO_RUN.format(target)) from error
    for problem in report.problems:
        click.echo(problem_line(problem), err=True)
    if not report.runs:
        raise NothingToJudgeError(NO_RUN.format(target))
    if config is None:
        return [_kept(of_report(entry), safe_only) for entry in report.runs]
    if len(report.runs) > 1:
        names = ", ".join(entry.run.path for entry in report.runs[:3])
        raise UsageError(f"{target} holds {len(report.runs)} runs ({names}, ...); name the one that {config} is to be changed for")
    name, line = _split(config)
    plan = plan_in(Path(name), line, options, report.runs[0].run.dialect)
    prescription = _kept(of_report(report.runs[0], plan), safe_only)
    if done is not None:
        done.append((Path(name), plan.document.text, rewritten(prescription, plan.document), plan.document.encoding))
    return [prescription]


def _kept(prescription: Prescription, safe_only: bool) -> Prescription:
    """The prescription with only its safe changes, if so wished."""
    if not safe_only:
        return prescription
    from dataclasses import replace

    from diag.dialects import render
    from diag.fixes import SAFE
    from diag.fixing import in_words_of

    fixes = tuple(fix for fix in prescription.fixes if fix.applicability == SAFE)
    assert prescription.run is not None  # it comes from a run
    run = prescription.run if prescription.plan is None else in_words_of(prescription.run, prescription.plan)
    return replace(prescription, fixes=fixes, overrides=render(prescription.dialect, run, fixes))
