"""The register: every rule, number and threshold of the published guides, one row each.

The rows live in ``rules.tsv`` beside this module and are parsed when one is first asked for. Findings and fixes cite them by id.
"""

from __future__ import annotations

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
    """The whole register by id, in the order of the guides. Parsed once."""
    table: dict[str, Rule] = {}
    lines = Path(__file__).with_name("rules.tsv").read_text(encoding="utf-8").splitlines()
    for line in lines[1:]:
        identity, seed, kind, owner, content = line.split("\t")
        table[identity] = Rule(identity, seed, kind, content, tuple(owner.split("; ")))
    return table


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
