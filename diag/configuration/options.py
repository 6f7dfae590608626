"""The keys of the configuration: what each holds, from a file, a variable or the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from diag.choices import choose
from diag.counts import parse_count, parse_share
from diag.errors import UsageError
from diag.result import FAIL_ON
from diag.vocabulary import ERROR, METHODS, SEVERITIES

CODE: Final = re.compile(r"[A-Z]{1,3}|[A-Z]{3}[0-9]{1,3}")
"""A code or its beginning."""

RUN: Final = "run"
CALL: Final = "call"


class Ignores(NamedTuple):
    """Checks that are left out for the runs below a path.

    ``pattern`` is in the syntax of ``.gitignore``, relative to the folder of the file it stands in.
    """

    pattern: str
    codes: tuple[str, ...]


class Acceptance(NamedTuple):
    """A finding that is fine, and why.

    Attributes:
        code: a code or its beginning.
        reason: in the user's words; never empty.
        metric: only findings about this metric; "" for any.
        run: only runs whose path matches this ``.gitignore`` pattern; "" for any.
        place: where it is written, such as ``.diagignore:3``.
    """

    code: str
    reason: str
    metric: str = ""
    run: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One key.

    Attributes:
        name: as it stands in files, with hyphens; ``DIAG_`` and the name in capitals is its variable.
        read: from a plain value (of TOML, or text) to the typed one; raises UsageError with what is wrong.
        about: one line.
        scope: ``run`` where every run may have its own value, ``call`` where one value holds for the whole call.
        default: the typed value where nothing is said.
        is_table: whether it is a table of a file, such as ``[severity]``; tables have no variable.
    """

    name: str
    read: Callable[[Any], Any]
    about: str
    scope: str = RUN
    default: Any = None
    is_table: bool = False

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return f"DIAG_{self.name.upper().replace('-', '_')}"


def codes(value: Any) -> tuple[str, ...]:
    """Codes of checks or their beginnings: a list, or text with commas.

    Raises:
        UsageError: something is no code.
    """
    found = tuple(entry.strip().upper() for entry in _texts(value, "codes") if entry.strip())
    for entry in found:
        _code(entry)
    return found


def requirements(value: Any) -> tuple[str, ...]:
    """Expressions such as ``eval/loss<=1.2``: a list, or text with one a line or separated by semicolons.

    Raises:
        UsageError: it is neither.
    """
    return tuple(entry.strip() for entry in _texts(value, "requirements", r"[;\n]") if entry.strip())


def severities(value: Any) -> tuple[tuple[str, str], ...]:
    """A table of codes, or their beginnings, and the severity of what they find; or a list of ``CODE=SEVERITY``.

    Raises:
        UsageError: a code is none, or a severity.
    """
    if not isinstance(value, Mapping):
        pairs = [entry.partition("=") for entry in _texts(value, "CODE=SEVERITY")]
        value = {code.strip(): severity.strip() for code, _, severity in pairs}
    return tuple((_code(str(code).upper()), choose(f"the severity of {code}", str(word), SEVERITIES)) for code, word in value.items())


def thresholds(value: Any) -> tuple[tuple[str, float], ...]:
    """A table of ``CODE.name`` and numbers, or of codes and tables of names and numbers; or a list of ``CODE.name=NUMBER``.

    Raises:
        UsageError: a value is no number.
    """
    if not isinstance(value, Mapping):
        pairs = [entry.partition("=") for entry in _texts(value, "CODE.name=NUMBER")]
        value = {name.strip(): number.strip() for name, _, number in pairs}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= {f"{key}.{name}": number for name, number in entry.items()} if isinstance(entry, Mapping) else {key: entry}
    return tuple((name, _number(f"the threshold {name}", number)) for name, number in flat.items())


def per_path_ignores(value: Any) -> tuple[Ignores, ...]:
    """A table of ``.gitignore`` patterns and the codes that are left out for the runs they match.

    Raises:
        UsageError: it is no table, or something is no code.
    """
    return tuple(Ignores(str(pattern), codes(entry)) for pattern, entry in _table(value).items())


def acceptances(value: Any) -> tuple[Acceptance, ...]:
    """Findings that are accepted: an array of tables with ``code`` and ``reason``, and ``metric`` or ``run`` to narrow them.

    A table of codes and reasons, as ``setup.cfg`` can hold it, does as well.

    Raises:
        UsageError: an entry has no code or no reason, or a key that there is not.
    """
    if isinstance(value, Mapping):
        value = [{"code": code, "reason": reason} for code, reason in value.items()]
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise UsageError("is no array of tables, such as [[accept]] with code and reason")
    found = []
    for entry in value:
        for key in entry:
            choose("a key", str(key), ("code", "reason", "metric", "run"))
        code, reason = str(entry.get("code", "")).strip().upper(), str(entry.get("reason", "")).strip()
        if not code or not reason:
            raise UsageError(f"the entry of {code or 'no code'} needs a code and a reason")
        found.append(Acceptance(_code(code), reason, str(entry.get("metric", "")), str(entry.get("run", ""))))
    return tuple(found)


def _texts(value: Any, what: str, separator: str = r"[,\s]+") -> list[str]:
    if isinstance(value, str):
        return re.split(separator, value)
    if isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value):
        return list(value) if what == "requirements" else [part for entry in value for part in re.split(separator, entry)]
    raise UsageError(f"is no list of {what}")


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError("is no table")
    return value


def _code(text: str) -> str:
    if CODE.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no code or beginning of one, such as OVF001 or OVF")
    return text


def _number(what: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{what} is {value!r}, which is no number")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError("is no text")
    return value.strip()


def _choice(*known: str) -> Callable[[Any], str]:
    return lambda value: choose("the value", str(value), known)


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number("it", value)
        if number != int(number) or number < least:
            raise UsageError(f"is {value!r}; it must be a whole number from {least} on")
        return int(number)

    return read


def _share(value: Any) -> float:
    return parse_share(str(value))


def _tolerance(value: Any) -> float:
    if not (share := _share(value)) > 0:
        raise UsageError(f"is {value!r}; it must be above 0, such as 5% or 0.05")
    return share


def _flag(value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False, "": False}
    if (text := str(value).strip().lower()) not in known:
        raise UsageError(f"is {value!r}; it must be true or false")
    return known[text]


def _count(value: Any) -> float:
    return parse_count(str(value)) if not isinstance(value, bool) else _number("it", value)


def _samples(value: Any) -> int:
    return round(_count(value))


OPTIONS: Final[dict[str, Option]] = {
    option.name: option
    for option in (
        Option("select", codes, "Codes of checks and lint rules, or their beginnings: only these are applied.", default=()),
        Option("ignore", codes, "Codes, or their beginnings, that are left out; the longer of two matches wins.", default=()),
        Option(
            "per-path-ignores",
            per_path_ignores,
            "Codes that are left out for runs and configs whose path matches.",
            default=(),
            is_table=True,
        ),
        Option("severity", severities, "The severity of all that a check finds.", default=(), is_table=True),
        Option("thresholds", thresholds, "Where a check draws the line: CODE.name and a number.", default=(), is_table=True),
        Option("tolerance", _tolerance, "Relative difference from a reference that is an error; for diag gate.", scope=CALL, default=0.05),
        Option("run-noise", _share, "Relative standard deviation between seeds, where it is known; for diag gate.", scope=CALL),
        Option("require", requirements, "What metrics must be: eval/loss<=1.2, best(eval/loss)<=1.1.", default=()),
        Option("accept", acceptances, "Findings that are fine, each with a reason.", default=(), is_table=True),
        Option("baseline", _text, "File of accepted findings, written by diag baseline write.", scope=CALL),
        Option("fail-on", _choice(*FAIL_ON), "The mildest severity that fails the gate, or never.", scope=CALL, default=ERROR),
        Option("profile", _text, "How bold changes are, or whose guide decides."),
        Option("method", _choice(*METHODS), "How the models are trained."),
        Option("dataset-size", _samples, "Training samples, such as 52k."),
        Option("model-size", _count, "Parameters of the model, such as 7B."),
        Option("world-size", _whole(1), "Data-parallel processes; for diag lint."),
        Option("dialect", _text, "Framework that changes are written for; for diag analyze."),
        Option("format", _text, "Report format.", scope=CALL, default="text"),
        Option("jobs", _whole(1), "Runs analyzed at a time.", scope=CALL, default=1),
        Option("verbose", _flag, "Show everything.", scope=CALL, default=False),
    )
}
"""Every key by its name. None of them makes anything be written or run: a file that came with a downloaded run cannot do harm."""
