"""``diag schema``: print the JSON Schema of a report, or of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from diag.cli.common import OUTPUT, write_output

SCHEMAS: Final = {
    "report": "report/schema.json",
    "watch": "report/watch_schema.json",
    "lint": "report/lint_schema.json",
    "fix": "report/fix_schema.json",
    "replay": "report/replay_schema.json",
    "lr-find": "report/lr_find_schema.json",
    "batch-find": "report/batch_find_schema.json",
    "config": "configuration/schema.json",
}
"""What can be described, and the file in the package that does it."""


@click.command()
@click.argument("name", default="report", metavar="[NAME]")
@OUTPUT
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(name: str, output: str | None, debug: bool) -> None:
    """Print the JSON Schema of what a command writes with --format json, or of the configuration.

    NAME is report (diag analyze; the default), watch, lint, fix, replay, lr-find, batch-find or config (diag.toml).
    """
    import diag
    from diag.choices import choose

    file = Path(diag.__file__).parent / SCHEMAS[choose("the schema", name, list(SCHEMAS))]
    write_output(file.read_text(encoding="utf-8"), output)
