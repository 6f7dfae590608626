"""Elements of a page. Text becomes part of one only by being escaped, so that nothing a log says can become markup.

>>> from diag.report.html.elements import element
>>> element("p", "1 < 2, says ", element("b", "a\\x1b[31m<script>"), class_="note")
'<p class="note">1 &lt; 2, says <b>a\\\\x1b[31m&lt;script&gt;</b></p>'
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any, Final

from diag.terminal import safe

VOID: Final = frozenset({"br", "col", "input", "link", "meta"})
"""Elements of HTML without content and end tag that are used here."""


class Markup(str):
    """What may stand in a page as it is; made by the functions of this module alone."""

    __slots__ = ()


Content = str | None | Iterable["Content"]
"""Plain text, markup, nothing, or several of these."""


def text(words: str) -> Markup:
    """Plain text on one line: escaped, with control characters and directional overrides shown as escapes."""
    return Markup(escape(safe(words)))


def lines(words: str) -> Markup:
    """Plain text whose line ends are kept."""
    return Markup("\n".join(text(line) for line in words.splitlines()))


def join(*content: Content) -> Markup:
    """Content one after the other."""
    return Markup("".join(_parts(content)))


def element(tag: str, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """An element of HTML or SVG.

    Args:
        tag: its name; not from a log.
        content: text, which is escaped; markup; None, which is nothing; or iterables of these.
        attributes: values, which are escaped; True for an attribute without a value; None and False for none. ``class_`` is ``class``, and
            other underscores are hyphens.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(_number(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{''.join(_parts(content))}</{tag}>")


def raw(tag: str, source: str, **attributes: str | None) -> Markup:
    """A ``script`` or ``style`` with source of our own.

    Raises:
        ValueError: the source would end the element early.
    """
    if f"</{tag}" in source.lower() or "<!--" in source:
        raise ValueError(f"this {tag} cannot stand in a page")
    return Markup(f"{element(tag, **attributes).removesuffix(f'</{tag}>')}{source}</{tag}>")


def data(value: Any, **attributes: str) -> Markup:
    """JSON for the scripts of the page; whatever it holds cannot end the element or start another."""
    written = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return raw("script", written, type="application/json", **attributes)


def _parts(content: Iterable[Content]) -> Iterable[str]:
    for part in content:
        if part is None:
            continue
        if isinstance(part, str):
            yield part if isinstance(part, Markup) else text(part)
        else:
            yield from _parts(part)


def _number(value: str | float) -> str:
    """Numbers with four decimals at most: coordinates in hundredths of a pixel and shares."""
    return value if isinstance(value, str) else f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
