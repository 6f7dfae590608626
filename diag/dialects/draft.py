"""Overrides in the making: collects keys, code and remarks; knows how values are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diag.dialects import Overrides

if TYPE_CHECKING:
    from diag.prescription import Fix
    from diag.run import Run


class Draft:
    """What a dialect writes into while it renders; ``keys`` maps dotted native keys to values, in order of writing."""

    def __init__(self, dialect: str, run: Run, fixes: Sequence[Fix]) -> None:
        self.dialect = dialect
        self.run = run
        self.changes: dict[str, Any] = {fix.parameter: fix.new for fix in fixes if fix.new is not None}
        self.keys: dict[str, Any] = {}
        self.code: list[str] = []
        self.notes: list[str] = []

    def set(self, key: str, value: Any) -> None:
        """Write a native key."""
        self.keys[key] = value

    def note(self, text: str) -> None:
        """Add a remark, once."""
        if text not in self.notes:
            self.notes.append(text)

    def native(self, key: str) -> Any:
        """The run's own value of a native key, None where its config does not have it."""
        entry = self.run.config.get(key)
        return None if entry is None else entry.value

    def has(self, key: str) -> bool:
        """Whether the run's config has this native key."""
        return key in self.run.config or any(entry.key == key and entry.kind == "file" for entry in self.run.hyperparameters.values())

    def value(self, name: str) -> Any:
        """A canonical hyperparameter as it will be: changed, or the run's own, None if unknown."""
        return self.changes[name] if name in self.changes else self.run.hyperparameter(name)

    def number(self, name: str) -> float | None:
        """As ``value``, only numbers."""
        value = self.value(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None

    def is_own(self, name: str) -> bool:
        """Whether a canonical hyperparameter was read from the run's config."""
        entry = self.run.hyperparameters.get(name)
        return entry is not None and entry.kind == "file" and bool(entry.key)

    def total_steps(self) -> float | None:
        """Optimizer steps of the changed run, as far as it can be worked out."""
        steps, epochs, old = self.number("max_steps"), self.number("num_epochs"), self.run.hyperparameter("num_epochs")
        if (
            "max_steps" not in self.changes
            and "num_epochs" in self.changes
            and steps
            and epochs
            and isinstance(old, (int, float))
            and old > 0
        ):
            return steps * epochs / float(old)
        return steps

    def overrides(self, arguments: list[str]) -> Overrides:
        """The finished overrides."""
        return Overrides(self.dialect, arguments, nest(self.keys), "\n".join(self.code), self.notes)


def nest(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings, in order."""
    nested: dict[str, Any] = {}
    for key, value in keys.items():
        *parents, leaf = key.split(".")
        here = nested
        for parent in parents:
            inner = here.setdefault(parent, {})
            if not isinstance(inner, dict):
                inner = here[parent] = {}
            here = inner
        here[leaf] = value
    return nested


def argument(value: Any) -> str:
    """A value as one command-line token: shortest text that reads back as the same number, lists and mappings as JSON."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    return str(value)


def whole(value: Any) -> Any:
    """A float without a fraction as an int, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def yaml_scalar(value: Any) -> str:
    """A scalar as YAML 1.1 and 1.2 read alike.

    YAML 1.1 (PyYAML) takes ``5e-06`` for text: a float needs a dot in its mantissa and a sign in its exponent.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
        text = repr(value)
        if "e" not in text:
            return text
        mantissa, exponent = text.split("e")
        mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
        return f"{mantissa}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)


def yaml_lines(config: Mapping[str, Any], indent: int = 0) -> list[str]:
    """A nested mapping as lines of block YAML; lists in flow style. Text is always quoted, except plain words."""
    pad = "  " * indent
    lines: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines.append(f"{pad}{_yaml_key(key)}:" if value else f"{pad}{_yaml_key(key)}: {{}}")
            lines.extend(yaml_lines(value, indent + 1))
        elif isinstance(value, (list, tuple)):
            lines.append(f"{pad}{_yaml_key(key)}: [{', '.join(_yaml_text(item) for item in value)}]")
        else:
            lines.append(f"{pad}{_yaml_key(key)}: {_yaml_text(value)}")
    return lines


PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
PLAIN_TEXT_EXCEPTIONS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "none", "nan", "inf"})


def _yaml_text(value: Any) -> str:
    plain = isinstance(value, str) and PLAIN_TEXT.fullmatch(value) and value.lower() not in PLAIN_TEXT_EXCEPTIONS
    return str(value) if plain else yaml_scalar(value)


def _yaml_key(key: Any) -> str:
    return _yaml_text(str(key))
