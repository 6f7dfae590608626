"""``diag config``: what is in force, and where it comes from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import write_output
from diag.cli.configured import configured

if TYPE_CHECKING:
    from diag.configuration import Configuration, Resolved


@click.command()
@click.argument("path", default=".", metavar="[PATH]")
@click.option("--format", "format_output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@configured
def command(configuration: Configuration, path: str, format_output: str, debug: bool) -> None:
    """Print the configuration that a run or config at PATH is judged by, and where each value comes from.

    An option of the command line wins over a variable DIAG_*, that over a file, and that over the default. The file is the nearest
    diag.toml, pyproject.toml with [tool.diag] or setup.cfg with [diag], upwards from PATH, else upwards from the working directory.
    """
    from diag.errors import InputError

    place = Path(path)
    if not place.exists():
        raise InputError(path, "does not exist", "name a run, a config or a folder")
    resolved = configuration.at(place if place.is_dir() else place.parent)
    if format_output == "json":
        rows = {name: {"value": plain_value(entry.value), "source": entry.origin} for name, entry in resolved.settings.items()}
        content = {"schema_version": 1, "file": _file(resolved), "settings": rows}
        write_output(json.dumps(content, indent=2) + "\n", None)
        return
    write_output("\n".join([*_lines(resolved), ""]), None)


def plain_value(value: Any) -> Any:
    """A value as it would stand in a file: tuples as lists, pairs as tables."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain_value(entry) for name, entry in value._asdict().items() if entry != ""}
    if isinstance(value, tuple) and value and all(isinstance(entry, tuple) and not hasattr(entry, "_asdict") for entry in value):
        return {name: plain_value(entry) for name, entry in value}
    if isinstance(value, tuple):
        return [plain_value(entry) for entry in value]
    return value


def _file(resolved: Resolved) -> str | None:
    if resolved.file is None:
        return None
    try:
        return Path(os.path.relpath(resolved.file.path)).as_posix()
    except ValueError:  # another drive
        return str(resolved.file.path)


def _lines(resolved: Resolved) -> Iterator[str]:
    from diag.configuration import OPTIONS
    from diag.report import Layout
    from diag.terminal import safe, to_ascii

    layout = Layout.of_stream(sys.stdout)
    yield f"file: {safe(_file(resolved) or 'none was found')}"
    yield ""
    shown = {name: _shown(entry.value) for name, entry in resolved.settings.items()}
    width = max(len(name) for name in shown)
    room = min(max(len(text) for text in shown.values()), max(layout.width - width - 30, 20))
    for name, text in shown.items():
        line = f"{name:{width}}  {safe(text):{room}}  {safe(resolved.settings[name].origin)}"
        yield (line if layout.unicode else to_ascii(line)).rstrip()
    yield ""
    yield f"{len(OPTIONS)} keys; a variable is DIAG_ and the key in capitals, such as {OPTIONS['fail-on'].variable}"


def _shown(value: Any) -> str:
    value = plain_value(value)
    if value is None or value in ([], {}, ()):
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(entry) for entry in value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
