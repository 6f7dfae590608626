"""Overrides in the making: collects keys, code and remarks; knows how values are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diag.dialects import Overrides

if TYPE_CHECKING:
    from diag.fixes import Fix
    from diag.run import Run


class Draft:
    """What a dialect writes into while it renders.

    Attributes:
        keys: dotted native keys to values, in order of writing.
        changes: canonical names to the values that are written.
        scope: the command, function or class that a whole config is written for, None where only overrides are.
        length: optimizer steps of the training, where neither ``max_steps`` nor the run tells.
        reasons: canonical names to why they could not be written, in a whole config.
        rephrased: canonical names to how they were written, where they do not read back as the same value.
    """

    def __init__(self, dialect: str, run: Run, fixes: Sequence[Fix], scope: str | None = None, length: float | None = None) -> None:
        self.dialect = dialect
        self.run = run
        self.scope = scope
        self.length = length
        self.changes: dict[str, Any] = {fix.parameter: fix.new for fix in fixes if fix.new is not None}
        self.keys: dict[str, Any] = {}
        self.code: list[str] = []
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        self.rephrased: dict[str, str] = {}
        self._is_rephrased = False

    @property
    def is_whole(self) -> bool:
        """Whether a whole config is being written, not overrides of one."""
        return self.scope is not None

    def set(self, key: str, value: Any) -> None:
        """Write a native key."""
        self.keys[key] = value

    def note(self, text: str) -> None:
        """Add a remark, once."""
        if text not in self.notes:
            self.notes.append(text)

    def rephrase(self, text: str) -> None:
        """Remark that what is being written is said in other terms."""
        self._is_rephrased = True
        self.note(text)

    def settle(self, name: str, before: list[str]) -> None:
        """Move the remarks on one hyperparameter to where they belong; ``before`` are the remarks that stay."""
        if self.notes:
            (self.rephrased if self._is_rephrased else self.reasons)[name] = " ".join(self.notes)
        self.notes, self._is_rephrased = before, False

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
        return steps or self.length

    def overrides(self, arguments: list[str]) -> Overrides:
        """The finished overrides."""
        return Overrides(self.dialect, arguments, nest(self.keys), "\n".join(self.code), self.notes)


def nest(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings, in order; parts that count from 0 are the items of a list."""
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
    return {key: _lists(value) for key, value in nested.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(item) for key, item in value.items()}
    return list(inner.values()) if inner and list(inner) == [str(index) for index in range(len(inner))] else inner


def argument(value: Any) -> str:
    """A value as one command-line token: shortest text that reads back as the same number, lists and mappings as JSON."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    return str(value)


SAME = 1e-9
"""Relative difference up to which two numbers are the same."""


def shortest(value: float) -> float:
    """The number of fewest digits that is the same for all purposes: 0.1 for 0.09999999999999999."""
    return next((short for digits in (3, 6, 9) if math.isclose(short := float(f"{value:.{digits}g}"), value, rel_tol=SAME)), value)


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
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            lines.append(f"{pad}{_yaml_key(key)}:")
            for item in value:
                inner = yaml_lines(item, indent + 2) if isinstance(item, Mapping) else []
                first = inner[0].lstrip() if inner else _yaml_text(item)
                lines.append(f"{pad}  - {first}")
                lines.extend(inner[1:])
        elif isinstance(value, (list, tuple)):
            lines.append(f"{pad}{_yaml_key(key)}: [{', '.join(_yaml_text(item) for item in value)}]")
        else:
            lines.append(f"{pad}{_yaml_key(key)}: {_yaml_text(value)}")
    return lines


PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
PLAIN_TEXT_EXCEPTIONS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "none", "nan", "inf"})


def _yaml_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_yaml_text(item) for item in value)}]"
    plain = isinstance(value, str) and PLAIN_TEXT.fullmatch(value) and value.lower() not in PLAIN_TEXT_EXCEPTIONS
    return str(value) if plain else yaml_scalar(value)


def _yaml_key(key: Any) -> str:
    return _yaml_text(str(key))
