"""The tables of a framework's keys, included by the pages about frameworks."""

from __future__ import annotations

from pages import escaped

from diag.dialects import table
from diag.dialects.recognition import DIALECTS
from diag.vocabulary import HYPERPARAMETERS

LONGEST = 30
"""Characters of a default that are shown."""


def key_tables() -> dict[str, str]:
    """Name of a dialect to the table of the keys that stand for hyperparameters, in the order of the vocabulary."""
    return {dialect: _table(dialect) for dialect in DIALECTS if table.rows(dialect)}


def _table(dialect: str) -> str:
    lines = ["| hyperparameter | key, and others that are read | default |", "|---|---|---|"]
    for name in HYPERPARAMETERS:
        rows = [row for row in table.rows(dialect) if row.canonical == name]
        if rows:
            keys = ", ".join(dict.fromkeys(_key(row) for row in rows))
            default = rows[0].default if len(rows[0].default) <= LONGEST else ""
            lines.append(f"| `{name}` | {keys} | {escaped(default)} |")
    return "\n".join([*lines, ""])


def _key(row: table.Row) -> str:
    until = f" (until {row.until})" if row.until else f" (from {row.since})" if row.since else ""
    return f"`{row.native}`{until}"
