"""The configuration of a command: its options, over variables, over files; and what a run or config is judged by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from diag.cli.common import together
from diag.configuration import OPTIONS, Configuration, Resolved
from diag.errors import UsageError

if TYPE_CHECKING:
    from diag.analysis import Settings
    from diag.configuration.options import Acceptance
    from diag.gate.baseline import Baseline
    from diag.gate.policy import Policy
    from diag.linting import Choices
    from diag.plan import Options
    from diag.run import Run

T = TypeVar("T")


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and ``--isolated`` to a command, and hand it its ``Configuration``.

    The values that the command line gave win; so the function reads every option of ``OPTIONS`` from the configuration.
    """

    @click.option("--config", "config_file", metavar="FILE", help="Configuration to use instead of the one found upwards from the runs.")
    @click.option("--isolated", is_flag=True, help="Use no configuration file.")
    @wraps(function)
    def command(config_file: str | None, isolated: bool, **values: Any) -> Any:
        if config_file is not None and isolated:
            raise UsageError("--config and --isolated exclude each other")
        given = {}
        for parameter, value in values.items():
            option = OPTIONS.get(parameter.rstrip("_").replace("_", "-"))
            if option is not None and _is_given(parameter):
                given[option.name] = value
        config = None if config_file is None else Path(config_file)
        return function(configuration=Configuration(given, os.environ, config, isolated), **values)

    return command


def reading(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Option callback: a repeatable option that is read as the key of that name is."""

    def read(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            return OPTIONS[name].read(value)
        except UsageError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return read


_REQUIRE = click.option(
    "--require",
    multiple=True,
    callback=reading("require"),
    metavar="EXPRESSION",
    help="What a metric must be: 'eval/loss<=1.2', 'best(eval/loss)<=1.1'.",
)
_SEVERITY = click.option(
    "--severity",
    multiple=True,
    callback=reading("severity"),
    metavar="CODE=SEVERITY",
    help="The severity of all that a check finds.",
)
_BASELINE = click.option("--baseline", metavar="FILE", help="Report only what is not in this file (see diag baseline).")

_THRESHOLD = click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    callback=reading("thresholds"),
    metavar="CODE.NAME=VALUE",
    help="Judge by another number: OVF001.problem=0.08 (diag explain CODE lists those of a check).",
)

gate_options = together(_REQUIRE, _SEVERITY, _THRESHOLD, _BASELINE)
"""The options that say what runs have to be, and what is fine about them."""

lint_gate_options = together(_SEVERITY, _BASELINE)
"""The same for configs, which have no metrics."""


def _is_given(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def settings_of(configuration: Configuration) -> Callable[[Run], Settings]:
    """How each run is to be analyzed; runs for which the same is in force share their settings."""
    from diag.analysis import checked
    from diag.battery import checked_thresholds, checks
    from diag.gate import pages

    known, of_the_gate = [check.code for check in checks()], [page.code for page in pages()]
    made: dict[tuple[int, tuple[str, ...]], Settings] = {}

    def of_checks(resolved: Resolved, name: str) -> tuple[str, ...]:
        """The codes of an option but those of the gate, of which the battery knows nothing."""
        codes = tuple(code.upper() for code in _own(resolved, name, known))
        return tuple(code for code in codes if _matching((code,), known) or not _matching((code,), of_the_gate))

    def is_about_the_gate_alone(resolved: Resolved) -> bool:
        return bool(_matching((code.upper() for code in resolved["select"]), of_the_gate)) and not of_checks(resolved, "select")

    def find(run: Run) -> Settings:
        resolved = configuration.at(run.root)
        ignored = resolved.ignored_at(run.root)
        key = (id(resolved), ignored)
        if key not in made:
            numbers = _located(resolved, lambda: checked_thresholds(dict(resolved["thresholds"])), "thresholds")
            made[key] = _located(
                resolved,
                lambda: checked(
                    select=of_checks(resolved, "select"),
                    ignore=(
                        *of_checks(resolved, "ignore"),
                        *_matching(_known(resolved, "per-path-ignores", ignored), known),
                        *(known if is_about_the_gate_alone(resolved) else ()),
                    ),
                    method=resolved["method"],
                    model_parameters=resolved["model-size"],
                    dataset_size=resolved["dataset-size"],
                    dialect=resolved["dialect"],
                    profile=resolved["profile"],
                    thresholds=numbers,
                ),
            )
        return made[key]

    return find


def gate_wants(configuration: Configuration) -> Callable[[Run, str], bool]:
    """Whether a finding of the gate with this code is wanted for a run; a selection that names none of the gate's codes is about checks."""
    from diag.choices import prefixed
    from diag.gate import pages

    known = [page.code for page in pages()]

    def find(run: Run, code: str) -> bool:
        resolved = configuration.at(run.root)
        select, ignore = (_matching((code.upper() for code in resolved[name]), known) for name in ("select", "ignore"))
        return prefixed(code, select, (*ignore, *resolved.ignored_at(run.root)))

    return find


def choices_of(configuration: Configuration, options: Options) -> Callable[[Path], Choices]:
    """How each config is to be linted.

    Args:
        configuration: of the call.
        options: what the command line says of the configs; what it leaves open the configuration may say.
    """
    from dataclasses import replace

    from diag.linting import Choices, lints

    known = [rule.code for rule in lints()]

    def find(path: Path) -> Choices:
        place = path.absolute()
        resolved = configuration.at(place.parent)
        said = {
            "method": resolved["method"],
            "model_parameters": resolved["model-size"],
            "dataset_size": None if resolved["dataset-size"] is None else round(resolved["dataset-size"]),
            "world_size": resolved["world-size"],
            "profile": resolved["profile"],
        }
        ignored = _known(resolved, "per-path-ignores", resolved.ignored_at(str(place)))
        return Choices(
            replace(options, **{name: value for name, value in said.items() if value is not None}),
            _own(resolved, "select", known),
            (*_own(resolved, "ignore", known), *_matching(ignored, known)),
        )

    return find


def policy_of_config(configuration: Configuration) -> Callable[[Path], Policy]:
    """What was decided about each config's findings; it raises UsageError for a code that is nobody's."""
    from diag.gate.policy import Policy

    def find(file: Path) -> Policy:
        resolved = configuration.at(file.absolute().parent)
        _check_codes(resolved)
        return Policy((), resolved["severity"], accepted_at(resolved, str(file.absolute())))

    return find


def accepted_at(resolved: Resolved, path: str) -> tuple[Acceptance, ...]:
    """The findings that a configuration accepts for a run or config; ``path`` is absolute."""
    from diag.configuration.resolution import matches

    base = resolved.file.path.parent if resolved.file is not None else Path.cwd()
    return tuple(entry for entry in resolved["accept"] if not entry.run or matches(path, entry.run, base))


def policy_of(configuration: Configuration) -> Callable[[Run], Policy]:
    """What was decided about each run's findings.

    Raises:
        UsageError: an option of the command line is no requirement.
    """
    from diag.gate.policy import Policy
    from diag.gate.requirements import Requirement, parse

    for text in configuration.given.get("require", ()):
        parse(text)
    parsed: dict[int, tuple[Requirement, ...]] = {}

    def find(run: Run) -> Policy:
        resolved = configuration.at(run.root)
        if id(resolved) not in parsed:
            _check_codes(resolved)
            parsed[id(resolved)] = _located(resolved, lambda: tuple(parse(text) for text in resolved["require"]), "require")
        return Policy(parsed[id(resolved)], resolved["severity"], accepted_at(resolved, run.root))

    return find


def baseline_file(resolved: Resolved) -> Path | None:
    """The baseline in force; a path in a file is relative to that file."""
    name: str | None = resolved["baseline"]
    if name is None:
        return None
    in_file = resolved.file is not None and resolved.settings["baseline"].origin.startswith(resolved.file.path.name)
    return resolved.file.path.parent / name if in_file and resolved.file is not None else Path(name)


def baseline_of(resolved: Resolved) -> Baseline | None:
    """The findings that were there before, None where no baseline is in force.

    Raises:
        InputError: the baseline cannot be read.
    """
    from diag.gate import baseline

    path = baseline_file(resolved)
    return None if path is None else baseline.read(path)


def layout_of(resolved: Resolved) -> dict[str, Any]:
    """What the reports of a call have in common, as attributes of ``diag.report.Layout``."""
    declared_in = "" if resolved.file is None else str(resolved.file.path)
    return {"fail_on": resolved["fail-on"], "verbose": resolved["verbose"], "declared_in": declared_in}


def _own(resolved: Resolved, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The codes of an option that concern a command: a file's codes of lint rules are not for ``diag analyze``.

    Args:
        resolved: what is in force.
        name: the option.
        known: codes that the command knows.

    Raises:
        UsageError: a code of a file is nobody's.
    """
    codes: tuple[str, ...] = resolved[name]
    return _matching(_known(resolved, name, codes), known) if resolved.says(name) else codes


def _matching(codes: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    return tuple(code for code in codes if any(other.startswith(code) for other in known))


def _known(resolved: Resolved, name: str, codes: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The codes, each that of a check, of a finding of the gate, or of a lint rule, or the beginning of one.

    Raises:
        UsageError: one is not.
    """
    if not codes:
        return ()
    from diag.battery import checks
    from diag.gate import pages

    known = [*(check.code for check in checks()), *(page.code for page in pages())]
    strange = [code for code in codes if not any(other.startswith(code) for other in known)]
    if strange:
        from diag.choices import checked_codes
        from diag.linting import lints

        every = [*known, *(rule.code for rule in lints())]
        _located(resolved, lambda: checked_codes(strange, every, "check or rule"), name)
    return tuple(codes)


def _check_codes(resolved: Resolved) -> None:
    """Refuse severities and acceptances of codes that are nobody's.

    Raises:
        UsageError: there are some.
    """
    _known(resolved, "severity", [code for code, _ in resolved["severity"]])
    _known(resolved, "accept", [entry.code for entry in resolved["accept"]])


def _located(resolved: Resolved, call: Callable[[], T], name: str = "") -> T:
    """The result of a call; an error begins with where the option came from, or with the file if it is not known which option it is."""
    try:
        return call()
    except UsageError as error:
        place = resolved.says(name) if name else f"{resolved.file.path}: " if resolved.file is not None else ""
        raise UsageError(f"{place}{error}") from None
