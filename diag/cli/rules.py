"""``diag rules``: list what the published guides say, and what uses it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import names, write_output
from diag.errors import NothingToJudgeError, UsageError
from diag.text import nearest

if TYPE_CHECKING:
    from diag.guides import Rule
    from diag.report import Layout


def _filter(name: str, short: str, metavar: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(name, short, callback=names, multiple=True, metavar=metavar, help=text)


@click.command()
@_filter("--parameter", "parameters", "NAME", "Only rows about this hyperparameter (lr, batch, rank, weight_decay, ...).")
@_filter("--method", "methods", "NAME", "Only rows that name this method: sft, lora, qlora, osft or pretraining.")
@_filter("--source", "sources", "NAME", "Only rows of this guide: 000, S0, or by its profile, automodel, training-hub, lesson, ...")
@_filter("--owner", "owners", "PREFIX", "Only rows that belong to this part of diag: lint, fix, check.overfit_gap, ...")
@_filter("--kind", "kinds", "NAME", "Only rows of this kind: range, default, symptom, threshold, ...")
@_filter("--id", "ids", "ID", "Only these rows: S1-059, or a range, S1-028..030.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    parameters: tuple[str, ...],
    methods: tuple[str, ...],
    sources: tuple[str, ...],
    owners: tuple[str, ...],
    kinds: tuple[str, ...],
    ids: tuple[str, ...],
    format_: str,
    debug: bool,
) -> None:
    """List the rows of the published guides: id, kind, guide, what it says, and what uses it.

    Filters may be repeated or hold commas: within one any value will do, and a row has to pass all of them.

    \b
    Exit codes:
      0  rows were listed
      2  a filter names something that is not known
      3  no row passes all filters
    """
    from diag.guides import rules
    from diag.report import Layout

    found = _select(parameters, methods, sources, owners, kinds, ids)
    if not found:
        asked = {"parameter": parameters, "method": methods, "source": sources, "owner": owners, "kind": kinds, "id": ids}
        said = " and ".join(f"--{name} {','.join(values)}" for name, values in asked.items() if values)
        raise NothingToJudgeError(f"no row matches {said}; take one of them away")
    if format_ == "json":
        rows = [_to_dict(rule) for rule in found]
        write_output(json.dumps({"schema_version": 1, "rules": rows}, indent=2) + "\n", None)
        return
    layout = Layout.of_stream(sys.stdout)
    lines = [line for rule in found for line in _entry(rule, layout)]
    count = f"{len(found)} of {len(rules())} rows" if len(found) != 1 else "1 row"
    write_output("\n".join([*lines, count, ""]), None)


def _select(
    parameters: tuple[str, ...],
    methods: tuple[str, ...],
    sources: tuple[str, ...],
    owners: tuple[str, ...],
    kinds: tuple[str, ...],
    ids: tuple[str, ...],
) -> list[Rule]:
    from diag.guides.register import GUIDES, KINDS, cite, rules
    from diag.rulebook import ALIASES, WORDS, methods_of, parameters_of
    from diag.vocabulary import METHODS

    table = rules()
    spoken = {**{name: (name,) for name in WORDS}, **ALIASES}
    wanted = {name for word in parameters for name in spoken[_known(_spelled(word), spoken, "parameter")]}
    asked = {_known(word.lower(), METHODS, "method") for word in methods}
    guides = {_guide(word) for word in sources}
    known = {identity for part in (cite(_range(word)) for word in ids) for identity in part}
    for identity in known:
        _known(identity, table, "row")
    for word in kinds:
        _known(word.lower(), KINDS, "kind")
    parts = sorted({part for rule in table.values() for part in rule.owner})
    for word in owners:
        if not any(part.startswith(word.lower()) for part in parts):
            raise UsageError(f"no row belongs to {word!r}{nearest(word, parts)}; owners begin with {', '.join(_owners())}")
    return [
        rule
        for rule in table.values()
        if (not parameters or wanted.intersection(parameters_of(rule)))
        and (not methods or asked.intersection(methods_of(rule)))
        and (not sources or rule.seed in guides)
        and (not owners or any(part.startswith(word.lower()) for part in rule.owner for word in owners))
        and (not kinds or rule.kind in {word.lower() for word in kinds})
        and (not ids or rule.id in known)
        and rule.seed in GUIDES
    ]


def _known(word: str, known: Collection[str], what: str) -> str:
    if word not in known:
        listed = f"; known are {', '.join(known)}" if len(known) < 12 else ""
        raise UsageError(f"no {what} {word!r}{nearest(word, known) or listed}")
    return word


def _spelled(word: str) -> str:
    return word.lower().replace("-", "_")


def _range(word: str) -> str:
    """A row id or range of ids as ``cite`` reads it."""
    import re

    text = word.upper()
    match = re.fullmatch(r"S(\d)-\d{3}(?:\.\.(?:S\1-)?(\d{3}))?", text)
    if match is None:
        raise UsageError(f"{word!r} is no row id; write it like S1-059, or S1-028..030 for several")
    return text if match[2] is None else f"{text[:6]}..{match[2]}"


def _owners() -> tuple[str, ...]:
    from diag.guides.register import OWNERS

    return OWNERS


def _guide(word: str) -> str:
    """Key of a guide from the key, ``S0`` to ``S3``, or the name of its profile."""
    from diag.guides.profiles import SOURCES
    from diag.guides.register import GUIDES

    text = word.lower().replace("_", "-")
    spoken = {**{key: key for key in GUIDES}, **{f"s{int(key)}": key for key in GUIDES}, **SOURCES}
    if text not in spoken:
        raise UsageError(f"no guide {word!r}{nearest(text, SOURCES) or '; known are ' + ', '.join((*SOURCES, *GUIDES))}")
    return spoken[text]


def _to_dict(rule: Rule) -> dict[str, Any]:
    from diag.rulebook import advice, methods_of, parameters_of, uses, waiting

    later = waiting().get(rule.id)
    return {
        "id": rule.id,
        "kind": rule.kind,
        "guide": {"key": rule.seed, "profile": _profile(rule), "title": rule.source},
        "content": rule.content,
        "owner": list(rule.owner),
        "parameters": list(parameters_of(rule)),
        "methods": list(methods_of(rule)),
        "used_by": list(uses()[rule.id]),
        "advice": list(advice()[rule.id]),
        "waiting": None if later is None else {"part": later.target, "reason": later.reason},
    }


def _profile(rule: Rule) -> str:
    from diag.guides.profiles import SOURCES

    return next(name for name, key in SOURCES.items() if key == rule.seed)


def _entry(rule: Rule, layout: Layout) -> Iterable[str]:
    """One row: a headline, what it says, what uses it."""
    from diag.rulebook import advice, uses, waiting
    from diag.terminal import paint, to_ascii, wrap

    later = waiting().get(rule.id)
    used = ", ".join((*uses()[rule.id], *advice()[rule.id])) or "nothing"
    text = f"waits for {later.target}: {later.reason}" if later is not None else f"used by {used}"
    head = f"{rule.id}  {rule.kind}  {_profile(rule)}"
    room = max(20, layout.width - 2)
    body = [*wrap(rule.content, room), *wrap(text, room)]
    yield paint(head, "bold") if layout.colour else head
    for line in body:
        yield "  " + (line if layout.unicode else to_ascii(line))
    yield ""
