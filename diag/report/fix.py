"""The output of ``diag fix``: the changes for people, as arguments, YAML, JSON or Python keyword arguments."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from json import dumps
from math import isclose
from typing import TYPE_CHECKING, Any

from diag.dialects.interpret import framework
from diag.errors import UsageError
from diag.fixes import DISPLAY, REWRITE
from diag.report.lint import INDENT, change
from diag.result import fix_to_dict, plain
from diag.terminal import paint, safe, to_ascii, wrap
from diag.text import counted, show

if TYPE_CHECKING:
    from diag.fixes import Fix
    from diag.fixing import Prescription
    from diag.report import Layout

Render = Callable[[Sequence["Prescription"], "Layout"], str]

FIX_SCHEMA_VERSION = 1


def renderer(name: str) -> Render:
    """The render function of a format.

    Raises:
        UsageError: there is no such format.
    """
    formats: dict[str, Render] = {"text": text, "args": arguments, "yaml": yaml, "json": json, "python": python}
    if name not in formats:
        raise UsageError(f"no format {name!r}; there are: {', '.join(formats)}")
    return formats[name]


def arguments(prescriptions: Sequence[Prescription], layout: Layout) -> str:
    """One line of shell words a training; what no argument can say follows as comments."""
    lines: list[str] = []
    for entry in prescriptions:
        if entry.overrides.arguments:
            lines.append(shlex.join(entry.overrides.arguments))
        elif any(fix.applicability != DISPLAY and fix.action != REWRITE for fix in entry.fixes) and entry.overrides.config:
            lines.append(f"# {framework(entry.dialect)} takes no arguments: use --format yaml or json")
        lines += [f"# {safe(note)}" for note in entry.overrides.notes]
    return "".join(f"{line}\n" for line in lines)


def yaml(prescriptions: Sequence[Prescription], layout: Layout) -> str:
    """The keys to change, nested as in the config; remarks as comments."""
    parts: list[str] = []
    for entry in prescriptions:
        notes = "".join(f"# {safe(note)}\n" for note in entry.overrides.notes)
        code = "".join(f"# {line}\n" for line in entry.overrides.code.splitlines())
        parts.append(f"{notes}{code}{entry.overrides.to_yaml()}")
    return "---\n".join(part for part in parts if part)


def json(prescriptions: Sequence[Prescription], layout: Layout) -> str:
    """Everything, as strict JSON in ASCII; ``diag/report/fix_schema.json`` describes it."""
    entries = [
        {
            "name": entry.name,
            "kind": "run" if entry.run is not None else "config",
            "dialect": entry.dialect,
            "fixes": [
                {**fix_to_dict(fix), "finding": entry.because.get(fix.because, ""), "range": _limits(fix, entry)} for fix in entry.fixes
            ],
            "overrides": plain(entry.overrides.to_json()),
        }
        for entry in prescriptions
    ]
    return dumps({"schema_version": FIX_SCHEMA_VERSION, "prescriptions": entries}, indent=2, allow_nan=False) + "\n"


def python(prescriptions: Sequence[Prescription], layout: Layout) -> str:
    """Keyword arguments, one a line; remarks as comments, code as it is."""
    lines: list[str] = []
    for entry in prescriptions:
        lines += [f"# {safe(note)}" for note in entry.overrides.notes]
        for key, value in entry.overrides.config.items():
            lines.append(f"{key}={value!r}," if key.isidentifier() else f"**{ {key: value}!r},")
        lines += entry.overrides.code.splitlines()
    return "".join(f"{line}\n" for line in lines)


def text(prescriptions: Sequence[Prescription], layout: Layout) -> str:
    """The changes with their reasons, then in the framework's words."""
    lines = [line for entry in prescriptions for line in (*_entry(entry, layout), "")]
    result = "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"
    return result if layout.unicode else to_ascii(result)


def _entry(entry: Prescription, layout: Layout) -> Iterator[str]:
    made = [fix for fix in entry.fixes if fix.applicability != DISPLAY and (fix.new is not None or fix.key)]
    heading = f"{safe(entry.name)} ({framework(entry.dialect)}): {counted(len(made), 'change') if made else 'nothing to change'}"
    yield paint(heading, "bold") if layout.colour else heading
    for number, fix in enumerate(entry.fixes, 1):
        yield from _wrapped(f"{change(fix)}", f"  {number}. ", layout)
        if fix.applicability != DISPLAY:
            yield from _wrapped(fix.reason, "     ", layout)
        if layout.verbose:
            yield from _explained(fix, entry, layout)
    overrides = entry.overrides
    if overrides.arguments:
        yield ""
        yield f"{INDENT}{shlex.join(overrides.arguments)}"
    if overrides.config and (layout.verbose or not overrides.arguments):
        yield ""
        yield from (f"{INDENT}{line}" for line in overrides.to_yaml().splitlines())
    if overrides.code:
        yield ""
        yield from (f"{INDENT}{line}" for line in overrides.code.splitlines())
    if overrides.notes:
        yield ""
        for note in overrides.notes:
            yield from _wrapped(note, "  - ", layout)


def _explained(fix: Fix, entry: Prescription, layout: Layout) -> Iterator[str]:
    """The finding, the range, the arithmetic and the guide rows behind a change."""
    if message := entry.because.get(fix.because):
        yield from _wrapped(f"finding {fix.because}: {message}", "     ", layout)
    else:
        yield from _wrapped(f"cause: {fix.because}", "     ", layout)
    if (limits := _range(fix, entry)) is not None:
        yield from _wrapped(f"range: {limits}", "     ", layout)
    if sum_ := _arithmetic(fix, entry):
        yield from _wrapped(f"arithmetic: {sum_}", "     ", layout)
    from diag.guides import rules

    known = rules()
    for identity in fix.rules:
        if identity in known:
            yield from _wrapped(f"{identity} ({known[identity].source}): {known[identity].content}", "     ", layout)


def _range(fix: Fix, entry: Prescription) -> str | None:
    """What the guides allow for the parameter, as a sentence."""
    from diag.fixing import limits

    found = limits(fix, entry)
    if found is None:
        return None
    high = "any size" if found.clip_high == float("inf") else show(found.clip_high)
    return f"{show(found.clip_low)} to {high}, the profile starts at {show(found.start)}"


def _limits(fix: Fix, entry: Prescription) -> dict[str, Any] | None:
    """What the guides allow for the parameter, as strict JSON; ``high`` is null where they set no limit."""
    from diag.fixing import limits

    found = limits(fix, entry) if fix.applicability != DISPLAY else None
    if found is None:
        return None
    return {"low": found.clip_low, "high": None if found.clip_high == float("inf") else found.clip_high, "start": found.start}


def _arithmetic(fix: Fix, entry: Prescription) -> str:
    """How the number came about: as the rule says, or by a factor from the run's own value."""
    if fix.arithmetic or entry.run is None:  # a config's number is the guides' own: it did not come from the one before
        return fix.arithmetic
    old, new = fix.old, fix.new
    if not _is_number(old) or not _is_number(new) or not old or old == new:
        return ""
    ratio = new / old
    if ratio <= 0:
        return ""
    sign, factor = ("×", ratio) if ratio > 1 else ("/", 1 / ratio)
    # A factor is told where it was one: 24 / 3.429 = 7 explains nothing.
    return f"{show(old)} {sign} {show(factor)} = {show(new)}" if isclose(factor, round(factor, 1)) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrapped(words: str, first: str, layout: Layout) -> Iterator[str]:
    for number, line in enumerate(wrap(safe(words), max(layout.width - len(first), 20))):
        yield f"{first if not number else ' ' * len(first)}{line}"
