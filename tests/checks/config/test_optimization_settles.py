"""The rules of optimization together: however a config is spoiled, their changes come to an end and leave nothing to change."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from linting import plan, violations
from recipes import ALL

from diag.fixing import of_plan, rewritten
from diag.lint import Violation
from diag.vocabulary import INFO

NUMBER = re.compile(r"(?<=[:= ])\d[\d.]*(?:e-?\d+)?(?=[,\n}\s]|$)")
RULES = tuple(f"CFG{number:03d}" for number in range(1, 19))
ROUNDS = 6


def spoiled(text: str, factors: dict[int, float]) -> str:
    """The text with some of its numbers multiplied; whole numbers stay whole."""
    spots = list(NUMBER.finditer(text))
    for index, factor in sorted({index % len(spots): factor for index, factor in factors.items()}.items(), reverse=True):
        old = spots[index]
        value = float(old[0]) * factor
        new = f"{value:.1e}" if "." in old[0] or "e" in old[0] else str(max(int(value), 1))
        text = text[: old.start()] + new + text[old.end() :]
    return text


def ours(text: str, form: str, options: dict[str, Any]) -> list[Violation]:
    found = violations(text, "CFG0", form, **options)
    return [entry for entry in found if entry.code in RULES and any(fix.applicability != "display" for fix in entry.fixes)]


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(ALL)),
    factors=st.dictionaries(st.integers(0, 40), st.sampled_from([0.01, 0.1, 0.5, 2, 3, 10, 100]), min_size=1, max_size=4),
    dataset_size=st.sampled_from([None, 300, 900, 1100, 4000, 5100, 20_000, 60_000, 1_000_000]),
    world_size=st.sampled_from([None, 1, 2, 4, 8]),
    profile=st.sampled_from([None, "conservative", "aggressive", "lesson"]),
)
def test_changes_come_to_an_end(
    name: str, factors: dict[int, float], dataset_size: int | None, world_size: int | None, profile: str | None
) -> None:
    text, form = ALL[name]
    text = spoiled(text, factors)
    options: dict[str, Any] = {"dataset_size": dataset_size, "world_size": world_size, "profile": profile}
    for _ in range(ROUNDS):
        found = ours(text, form, options)
        if not found:
            return
        made = plan(text, form, **options)
        text = rewritten(of_plan(made, level=INFO, violations=found), made.document)
    left = ours(text, form, options)
    assert not left, [(entry.code, entry.message) for entry in left]
