"""The register: every rule, number and threshold of the published guides, one row each.

The rows live in ``rules.tsv`` beside this module and are parsed when one is first asked for. Findings and fixes cite them by id.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

GUIDES: Final = {
    "000": "NeMo AutoModel quick hyperparameter guide",
    "001": "NeMo AutoModel fine-tuning hyperparameter guide",
    "002": "Training Hub hyperparameter guide",
    "003": "Fine-tuning hyperparameter search lesson",
}
"""Key in the ``seed`` column to the title of the guide the row was taken from."""

KINDS: Final = ("range", "default", "symptom", "scaling", "protocol", "constraint", "threshold", "fact")

OWNERS: Final = ("check", "lint", "fix", "profile", "plan", "replay", "lrfind", "adapter", "cli", "docs")
"""First words of owners: the parts of the tool that a row can belong to."""

FILE: Final = Path(__file__).with_name("rules.tsv")
COLUMNS: Final = ("id", "seed", "kind", "owner", "content")
_ID: Final = re.compile(r"S(\d)-(\d{3})")


class Rule(NamedTuple):
    """One row of the register.

    Attributes:
        id: stable id such as ``S1-059``.
        seed: key in GUIDES.
        kind: one of KINDS.
        content: the rule itself.
        owner: the parts of the tool that carry it, such as ``fix.lr_up`` or ``docs``.
    """

    id: str
    seed: str
    kind: str
    content: str
    owner: tuple[str, ...]

    @property
    def source(self) -> str:
        """Title of the guide."""
        return GUIDES[self.seed]


@cache
def rules() -> dict[str, Rule]:
    """The whole register by id, in the order of the guides. Parsed and checked once.

    Raises:
        ValueError: a row is malformed; the message names file and line.
    """
    return read(FILE)


def read(path: Path) -> dict[str, Rule]:
    """A register from its file: one line of COLUMNS, then one row a line, tab-separated.

    Raises:
        ValueError: a row is malformed; the message names file and line.
    """
    table: dict[str, Rule] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        raise ValueError(f"{path.name}:1: the columns must be {', '.join(COLUMNS)}")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        problem = _problem(cells) or (f"{cells[0]} is there twice" if cells[0] in table else "")
        if problem:
            raise ValueError(f"{path.name}:{number}: {problem}")
        identity, seed, kind, owner, content = cells
        table[identity] = Rule(identity, seed, kind, content, tuple(owner.split("; ")))
    return table


def _problem(cells: list[str]) -> str:
    """What is wrong with one row, "" for nothing."""
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} cells instead of {len(COLUMNS)}"
    identity, seed, kind, owner, content = cells
    match = _ID.fullmatch(identity)
    if match is None:
        return f"id {identity!r} is not of the form S1-059"
    if seed not in GUIDES or int(seed) != int(match[1]):
        return f"{identity} cannot be a row of guide {seed!r}"
    if kind not in KINDS:
        return f"kind {kind!r} is none of {', '.join(KINDS)}"
    if not content.strip():
        return f"{identity} says nothing"
    unknown = [part for part in owner.split("; ") if re.split(r"[. ]", part)[0] not in OWNERS]
    return f"owner {unknown[0]!r} is none of {', '.join(OWNERS)}" if unknown else ""


def rule(identity: str) -> Rule:
    """The row with this id.

    Raises:
        KeyError: there is no such row.
    """
    return rules()[identity]


def cite(text: str) -> tuple[str, ...]:
    """Rule ids from a compact citation: ``"S0-003 S1-028..030"`` is ``S0-003, S1-028, S1-029, S1-030``."""
    identities: list[str] = []
    for word in text.split():
        first, _, last = word.partition("..")
        if not last:
            identities.append(first)
            continue
        guide, start = first.split("-")
        identities += [f"{guide}-{number:03d}" for number in range(int(start), int(last) + 1)]
    return tuple(identities)
