"""The named numbers that a check decides by, with what its source says of them: unit and origin stand in the docstring below each.

Read from the source, so that a number and what is said of it stay in one place.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from diag.check import Check

OWNERS = ("diag.checks.", "diag.examination")
"""Modules whose constants a check may share: other checks, and the examination."""


class Constant(NamedTuple):
    """A module's constant.

    Attributes:
        name: upper case.
        value: its source text.
        about: the docstring below it (below the assignment that it is a part of), "" if there is none.
        module: where it is defined.
    """

    name: str
    value: str
    about: str
    module: str


@cache
def constants(module: str) -> tuple[Constant, ...]:
    """The constants of a module, in order; none where its source is not at hand."""
    tree = _tree(module)
    found: list[Constant] = []
    for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        for name, value in _assigned(statement):
            found.append(Constant(name, value, _text(following), module))
    return tuple(found)


def constants_of(check: Check) -> tuple[Constant, ...]:
    """The constants that a check decides by: its own, all of the helpers of its family, and those it shares with others."""
    module = type(check).__module__
    found = list(constants(module))
    for statement in _tree(module).body:
        if not isinstance(statement, ast.ImportFrom) or not (statement.module or "").startswith(OWNERS):
            continue
        source = statement.module or ""
        names = {alias.name for alias in statement.names}
        helper = source.rpartition(".")[2].startswith("_")
        found += [entry for entry in constants(source) if helper or entry.name in names]
    return tuple(found)


def about(check: Check, name: str) -> str:
    """What the source says of a threshold, one line."""
    return next((" ".join(entry.about.split()) for entry in constants(type(check).__module__) if entry.name == name.upper()), "")


@cache
def _tree(module: str) -> ast.Module:
    file = getattr(sys.modules.get(module) or import_module(module), "__file__", None)
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8")) if file else ast.Module([], [])
    except OSError:
        return ast.Module([], [])


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Names in upper case that a statement assigns, and the source of their values."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
        pairs = [(statement.target, statement.value)]
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple) and isinstance(statement.value, ast.Tuple):
        pairs = [
            (target, value)
            for target, value in zip(statement.targets[0].elts, statement.value.elts, strict=True)
            if isinstance(target, ast.Name)
        ]
    elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        pairs = [(statement.targets[0], statement.value)]
    else:
        return
    for target, value in pairs:
        if target.id.isupper():
            yield target.id, ast.unparse(value)


def _text(statement: ast.stmt | None) -> str:
    """The text of a statement that is a docstring, "" for any other."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return statement.value.value.strip()
    return ""
