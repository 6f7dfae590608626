"""``diag schema``: print the JSON Schema of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from diag.cli.common import OUTPUT, write_output

SCHEMAS: Final = {
    "report": "schema.json",
    "lint": "lint_schema.json",
    "fix": "fix_schema.json",
    "replay": "replay_schema.json",
    "lr-find": "lr_find_schema.json",
    "batch-find": "batch_find_schema.json",
}
"""What can be described, and the file in the package that does it."""


@click.command()
@click.argument("name", default="report", metavar="[NAME]")
@OUTPUT
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(name: str, output: str | None, debug: bool) -> None:
    """Print the JSON Schema of what a command writes with --format json.

    NAME is report (diag analyze; the default), lint, fix, replay, lr-find or batch-find.
    """
    from diag import report
    from diag.choices import choose

    file = Path(report.__file__).parent / SCHEMAS[choose("the schema", name, list(SCHEMAS))]
    write_output(file.read_text(encoding="utf-8"), output)
