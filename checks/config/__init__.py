"""Config lint: what is wrong with a training config before a step is trained. One module a rule, found by its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from diag.lint import Lint


def lints() -> list[Lint]:
    """The rules of this family: every ``Lint`` that a module ``cfg…`` of this package defines."""
    found: list[Lint] = []
    for path in sorted(Path(__file__).parent.glob("cfg*.py")):
        module = import_module(f"{__name__}.{path.stem}")
        found += [
            kind()
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Lint) and kind.__module__ == module.__name__ and hasattr(kind, "code")
        ]
    return found
