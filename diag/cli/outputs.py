"""Where reports go: one to the terminal or a file, and as many more formats beside it as are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diag.cli.common import refuse_overwriting, write_output
from diag.errors import UsageError

if TYPE_CHECKING:
    from diag.report import Layout

STDOUT = "-"


class Output(NamedTuple):
    """One report to write: in which format, and to which file; ``-`` is standard output."""

    format: str
    path: str


def outputs(values: Sequence[str], format_: str, formats: Iterable[str]) -> tuple[Output, ...]:
    """What ``--format`` and all ``--output`` options ask for.

    ``--output FILE`` writes the report of ``--format`` to a file instead of standard output; ``--output FORMAT=FILE`` writes one more.

    Args:
        values: the values of ``--output``.
        format_: the value of ``--format``.
        formats: the formats there are.

    Raises:
        UsageError: there is no such format, two reports go to one place, or FILE is given twice.
    """
    known = sorted(formats)
    main = STDOUT
    plain: list[str] = []
    more: list[Output] = []
    for value in values:
        name, equals, path = value.partition("=")
        if equals and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            if name not in known:
                raise UsageError(_unknown(name, known) + f"; a file of that name is ./{value}")
            if not path:
                raise UsageError(f"--output {value} names no file: write {name}=FILE")
            more.append(Output(name, path))
        else:
            plain.append(value)
    if len(plain) > 1:
        raise UsageError(f"--output is given {len(plain)} files; write FORMAT=FILE for all but one")
    if plain:
        main = plain[0]
    if format_ not in known:
        raise UsageError(_unknown(format_, known))
    found = [Output(format_, main), *more]
    # a report that is asked for on standard output takes the place of the usual one
    if main == STDOUT and any(output.path == STDOUT for output in more):
        found = more
    places = [output.path if output.path == STDOUT else str(Path(output.path).resolve()) for output in found]
    for output, place in zip(found, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"two reports are to be written to {'standard output' if place == STDOUT else output.path}")
    return tuple(found)


def _unknown(name: str, known: Sequence[str]) -> str:
    from diag.text import nearest

    return f"no report format {name!r}{nearest(name, known)}; there are: {', '.join(known) or 'none (is the package installed?)'}"


def write_reports(wanted: Iterable[Output], render: Callable[[str, Layout], str | bytes], **layout: object) -> None:
    """Render and write every report.

    Args:
        wanted: the reports.
        render: from a format and a layout to the report.
        layout: what the layouts have besides what their places ask for.

    Raises:
        UsageError: a file cannot be written.
    """
    from diag.report import Layout

    for output in wanted:
        write_output(render(output.format, Layout.of_output(output.path).with_(**layout)), output.path)


def refuse_inputs(wanted: Iterable[Output], inputs: Sequence[str]) -> None:
    """Refuse reports that would be written over what is read.

    Raises:
        UsageError: one would.
    """
    for output in wanted:
        refuse_overwriting(output.path, inputs)
