from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag.diagnosis import RankedCause
from diag.replay.decision import compare
from diag.replay.horizon import BEGINNING, Horizon
from diag.replay.outcome import CONFIRMED, RESULTS, ArmResult, Outcome, Seed
from diag.report import Layout
from diag.report.replay import render, render_json
from diag.terminal import display_width

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "replay_schema.json").read_text(encoding="utf-8"))
finals = st.lists(st.one_of(st.floats(1e-6, 1e6), st.just(math.inf)), min_size=1, max_size=5)


def arm(name: str, losses: list[float], recorded: list[float] | None = None, dropped: str = "") -> ArmResult:
    seeds = tuple(Seed(i, loss, math.nan, 0, 1.0, "INCONCLUSIVE", True, 100, "") for i, loss in enumerate(losses))
    comparison = None if recorded is None or dropped else compare(recorded, losses, last=True)
    return ArmResult(name, "learning_rate 0.09 → 0.01", (("learning_rate", 0.09, 0.01),), 100, 400, seeds, comparison, dropped)


def outcome(recorded: list[float], other: list[float], name: str = "run", result: str = CONFIRMED) -> Outcome:
    arms = (
        arm("recorded", recorded),
        arm("prescription", other, recorded),
        arm("only-gradient_accumulation_steps", other, recorded),
        arm("rank-2", other, recorded, dropped="behind at step 48"),
    )
    horizon = Horizon(BEGINNING, 100, 400)
    known = (name, name, "probe.py", result, "Why.", "UNSTABLE", ("LRS001",), "cpu")
    return Outcome(*known, horizon, "eval/loss", arms, untested=("data",), notes=("A note.",))


@given(st.data(), st.sampled_from(RESULTS), st.integers(72, 120), st.booleans(), st.text(max_size=150))
def test_any_outcome_fits_the_terminal_and_is_strict_json(data: st.DataObject, result: str, width: int, unicode: bool, name: str) -> None:
    recorded = data.draw(finals)
    other = data.draw(st.lists(st.one_of(st.floats(1e-6, 1e6), st.just(math.inf)), min_size=len(recorded), max_size=len(recorded)))
    found = outcome(recorded, other, name, result)
    text = render(found, Layout(width=width, unicode=unicode))
    assert result in text
    assert unicode or text.isascii()
    assert all(display_width(line) <= width for line in text.splitlines())
    assert all(line.isprintable() for line in text.splitlines())
    content = json.loads(render_json(found), parse_constant=lambda constant: pytest.fail(constant))
    jsonschema.Draft202012Validator(SCHEMA).validate(content)


def test_the_schema_of_the_report_is_strict() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    content = json.loads(render_json(outcome([2.0, 2.1, 1.9], [1.0, 1.05, 0.95])))
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert not validator.is_valid({**content, "more": 1})
    assert not validator.is_valid({**content, "arms": [{**content["arms"][0], "more": 1}]})


def test_the_table_says_what_was_found() -> None:
    text = render(outcome([2.0, 2.1, 1.9], [1.0, 1.05, 0.95]), Layout())
    assert "-50.0%  3 of 3  3 of 3   INCONCLUSIVE" in text
    assert "learning_rate 0.09 → 0.01; 95% interval -50.0% to -50.0%" in text
    assert "learning_rate 0.09 → 0.01; behind at step 48" in text
    assert "alone" in text and "dropped" in text and "100 of 400 steps (25%)" in text


def test_a_diverged_arm_gets_a_bound_rather_than_a_number() -> None:
    text = render(outcome([math.inf] * 3, [1.0, 1.05, 0.95]), Layout())
    assert "diverged" in text and "under -90%" in text
    assert "over +900%" in render(outcome([1.0, 1.05, 0.95], [math.inf] * 3), Layout())


def test_colours_are_used_only_where_wanted() -> None:
    found = outcome([2.0, 2.1, 1.9], [1.0, 1.05, 0.95])
    assert "\x1b[1;32mCONFIRMED" in render(found, Layout(colour=True))
    assert "\x1b" not in render(found, Layout())


def test_the_causes_are_told_where_their_changes_were_tried() -> None:
    found = outcome([2.0, 2.1, 1.9], [1.0, 1.05, 0.95])
    tried = replace(found.arms[1], causes=("lr_too_high",))
    causes = (RankedCause("lr_too_high", 0.93), RankedCause("batch_too_small", 0.4))
    text = render(replace(found, arms=(found.arms[0], tried, *found.arms[2:]), causes=causes), Layout())
    assert "Causes, by the log and by what was tried: lr_too_high 93%, batch_too_small" in text
    assert "Causes" not in render(replace(found, causes=causes), Layout())
