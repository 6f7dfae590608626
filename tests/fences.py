"""The fenced blocks of the documentation's pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^(\s*)(`{3,}|:{3,})\s*([^\s`]*)(.*)$")


class Block(NamedTuple):
    """A fenced block: its page relative to the project, the line of its fence, its language ("" for none), its text."""

    page: str
    line: int
    language: str
    text: str


def pages() -> list[Path]:
    """Every page that people read: at the top, below docs (generated ones aside), and those of the examples."""
    written = [page for page in DOCS.rglob("*.md") if not any(part.startswith("_") for part in page.relative_to(DOCS).parts)]
    return sorted([*ROOT.glob("*.md"), *written, *(ROOT / "examples").rglob("*.md"), *(ROOT / "fixtures").glob("*.md")])


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    page, at = path.relative_to(ROOT).as_posix(), 0
    while at < len(lines):
        opening = FENCE.match(lines[at].rstrip("\n"))
        at += 1
        if opening is None:
            continue
        indent, fence, language, start = opening[1], opening[2], opening[3], at
        while at < len(lines) and lines[at].strip() != fence:
            at += 1
        yield Block(page, start, language, "".join(line.removeprefix(indent) for line in lines[start:at]))
        at += 1


def every_block() -> list[Block]:
    """All blocks of all pages."""
    return [block for page in pages() for block in blocks(page)]
