"""Which of the known: option values and code prefixes, refused with the nearest known one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diag.errors import UsageError
from diag.text import nearest


def choose(what: str, value: str, known: Sequence[str]) -> str:
    """``value`` if it is known.

    Raises:
        UsageError: it is not; the message lists what is.
    """
    if value not in known:
        raise UsageError(f"{what} is {value!r}; it must be one of {', '.join(known)}{nearest(value, known)}")
    return value


def checked_codes(prefixes: Iterable[str], codes: Sequence[str], what: str = "check") -> tuple[str, ...]:
    """The prefixes in upper case.

    Raises:
        UsageError: no code begins with one of them.
    """
    wanted = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    cleaned = tuple(prefix.strip().upper() for prefix in wanted)
    for prefix in cleaned:
        if not prefix or not any(code.startswith(prefix) for code in codes):
            raise UsageError(
                f"no {what} has a code that begins with {prefix!r}{nearest(prefix, sorted({*codes, *(code[:3] for code in codes)}))}"
            )
    return cleaned


def prefixed(code: str, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> bool:
    """Whether a code starts with a prefix of ``select`` (any if empty) and not with one of ``ignore``; the longer match wins."""
    chosen, dropped = tuple(select), tuple(ignore)

    def longest(prefixes: tuple[str, ...]) -> int:
        return max((len(prefix) for prefix in prefixes if code.startswith(prefix)), default=-1)

    wanted = longest(chosen) if chosen else 0
    return wanted >= 0 and wanted > longest(dropped)
