"""Changing a config's text: only the values that are named, everything else stays character for character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import unified_diff
from errno import EACCES
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.documents import Document
from diag.errors import InputError
from diag.whole_file import replace

WRITABLE: Final = 0o222
"""Permission bits of which a file has one at least if somebody may write it; replacing it would need none of them."""


class _Remove:
    """The type of REMOVE."""

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: Final = _Remove()
"""In place of a value: take the key out."""


class Rename(NamedTuple):
    """In place of a value: keep the value, change the key's name (its last part) to ``to``."""

    to: str


class Rewrite(NamedTuple):
    """In place of a value: write it anew although the config says it already, as other parsers of YAML read something else."""

    value: Any


class Edit(NamedTuple):
    """Characters ``start`` to ``end`` of a text become ``text``."""

    start: int
    end: int
    text: str


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the document's text so that it says ``changes``.

    Args:
        document: the config.
        changes: dotted native key to its new value (scalars, lists of scalars, mappings of them for new sections), REMOVE,
            Rename or (YAML) Rewrite. A key that has the value already gives no edit.

    Returns:
        Edits that do not overlap, by position.

    Raises:
        InputError: a change cannot be written into this form (a value that the script computes, a key inside an alias).
    """
    from diag.dialects.draft import yaml_scalar

    module = import_module(f"diag.documents.{document.form}_form")
    anew = {key: change for key, change in changes.items() if isinstance(change, Rewrite)}
    found: list[Edit] = module.edits(document, {key: change for key, change in changes.items() if key not in anew})
    for key, change in anew.items():
        setting, text = document.settings[key], yaml_scalar(change.value)
        if setting.text != text or setting.quoted:
            found.append(Edit(setting.start, setting.end, text))
    return sorted(set(found))


def edited(text: str, found: Iterable[Edit]) -> str:
    """The text with the edits made.

    Raises:
        ValueError: edits overlap.
    """
    parts: list[str] = []
    position = 0
    for edit in sorted(found):
        if edit.start < position:
            raise ValueError(f"edits overlap at character {edit.start}")
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    parts.append(text[position:])
    return "".join(parts)


def diff(before: str, after: str, name: str) -> str:
    """A unified diff that ``patch -p1`` and ``git apply`` take; "" where nothing changed."""
    name += "\t" if " " in name else ""  # where the name ends
    # Newlines alone end lines here: str.splitlines() knows more than the programs that apply a diff.
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    lines = unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def write(path: Path, text: str, encoding: str) -> None:
    """Replace a file's content at once: a reader sees the old file or the new one, never half of it. Keeps its permissions.

    Raises:
        InputError: the file cannot be replaced.
    """
    target = path.resolve()  # a link stays a link
    try:
        if not target.stat().st_mode & WRITABLE:
            raise PermissionError(EACCES, "read-only")
        replace(target, text, encoding=encoding, mode=target.stat().st_mode & 0o7777)
    except OSError as error:
        raise InputError(str(path), f"cannot be written ({error.strerror or type(error).__name__})", "check its permissions") from error
