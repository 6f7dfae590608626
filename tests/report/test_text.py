"""The report for people: it fits, it is safe to print, and nothing that matters is left out of the chart."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st

from diag.analysis import judge
from diag.check import Finding
from diag.diagnosis import Diagnosis, RankedCause
from diag.dialects import Overrides
from diag.prescription import Fix
from diag.report import Layout, chart
from diag.report.text import render
from diag.result import Problem, Report, RunReport
from diag.run import Checkpoint, Column, Curve, Run, make_curve
from diag.terminal import display_width, pad, safe, to_ascii, wrap

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def curve(values: Any, every: int = 1) -> Curve:
    value = np.asarray(values, dtype=np.float64)
    return make_curve(Column(np.arange(1, value.size + 1) * every, value))[0]


def overfit() -> RunReport:
    run = healthy(epochs=10).overfit().lr().hyperparameters(num_epochs=10.0, learning_rate=2e-5).run(dialect="hf", id="a-run")
    return judge(run)[0]


def plot_text(drawn: chart.Chart) -> list[str]:
    return ["".join(cell.text for cell in row) for row in drawn.rows]


class TestPage:
    def test_says_what_matters(self) -> None:
        text = render(Report((overfit(),)), Layout())
        for words in (
            "a-run  OVERFIT",
            "% confident",
            "OVF001 overfit-gap",
            "Likely causes",
            "too_many_epochs",
            "num_epochs  10 →",
            "--num_train_epochs",
        ):
            assert words in text

    @pytest.mark.parametrize("width", [60, 80, 120])
    @pytest.mark.parametrize("verbose", [False, True])
    def test_every_line_fits(self, width: int, verbose: bool) -> None:
        entry = overfit()
        entry.run.notes.append(
            "A note of some length that has to be broken somewhere, /and/a/path/that/is/longer/than/a/narrow/terminal/can/show"
        )
        text = render(Report((entry, entry)), Layout(width=width, verbose=verbose))
        pasted = ("--", "num_train", "load_best")  # what is to be pasted is never broken
        too_long = [line for line in text.splitlines() if display_width(line) > width and not line.strip().startswith(pasted)]
        assert [line for line in too_long if not _is_table(line)] == []

    def test_colours_are_all_that_colour_adds(self) -> None:
        report = Report((overfit(),))
        plain, coloured = render(report, Layout()), render(report, Layout(colour=True))
        assert "\x1b[" not in plain
        assert "\x1b[" in coloured
        assert [line.rstrip() for line in ANSI.sub("", coloured).splitlines()] == plain.splitlines()

    def test_ascii_where_the_terminal_has_nothing_else(self) -> None:
        assert render(Report((overfit(),)), Layout(unicode=False, verbose=True)).isascii()

    def test_many_runs_start_with_a_table(self) -> None:
        well = judge(healthy().run(id="well"))[0]
        lines = render(Report((overfit(), well), (Problem("input", "x", "is empty"),)), Layout()).splitlines()
        assert lines[0].split() == ["run", "verdict", "conf", "cause", "findings"]
        assert lines[1].split()[:2] == ["a-run", "OVERFIT"]
        assert lines[2].split()[:2] == ["well", "HEALTHY"]
        assert lines[-2] == "2 runs: 1 HEALTHY, 1 OVERFIT"
        assert lines[-1] == "1 problem; see the messages"

    def test_nothing_was_read(self) -> None:
        assert render(Report(()), Layout()) == "\n"

    def test_a_run_without_anything_to_draw(self) -> None:
        entry = RunReport(Run("empty", "", "csv", {}), (), (), Diagnosis("INCONCLUSIVE", 0.9, (), ("Log the loss.",)), None, (), None)
        text = render(Report((entry,)), Layout())
        assert "INCONCLUSIVE" in text
        assert "Log the loss." in text

    def test_a_factor_where_the_value_is_unknown(self) -> None:
        fix = Fix("learning_rate", None, None, 0.2, 1, "SPK001", "Too high.")
        entry = replace(
            overfit(), fixes=(fix, replace(fix, factor=3.0, rank=2)), overrides=Overrides("hf", [], {}, "x = 1", ["Mind this."])
        )
        text = render(Report((entry,)), Layout())
        assert "divide by 5" in text
        assert "multiply by 3" in text
        assert "x = 1" in text
        assert "Mind this." in text

    @pytest.mark.parametrize(
        ("checkpoint", "words"),
        [
            (Checkpoint(400, "checkpoint-400", True), "checkpoint-400  step 400, on disk"),
            (Checkpoint(400, "checkpoint-400", False), "checkpoint-400  step 400, no longer on disk"),
            (Checkpoint(400, "", False), "step 400  no checkpoint of that step was found"),
        ],
    )
    def test_checkpoint(self, checkpoint: Checkpoint, words: str) -> None:
        assert words in render(Report((replace(overfit(), best_checkpoint=checkpoint),)), Layout())

    def test_arguments_are_quoted_for_a_shell(self) -> None:
        entry = replace(overfit(), overrides=Overrides("hf", ["--a", "x y", "--b.c", "['*_proj']"], {}))
        text = render(Report((entry,)), Layout())
        assert "--a 'x y' \\\n" in text
        assert "--b.c '['\"'\"'*_proj'\"'\"']'" in text

    @given(st.text(alphabet=st.characters(), max_size=40), st.booleans())
    def test_nothing_from_a_log_controls_the_terminal(self, text: str, unicode: bool) -> None:
        finding = Finding("OVF001", "overfit-gap", "error", text or "m", metric=text)
        run = Run(text, text, "csv", {"train/loss": curve([3, 2, 1])}, notes=[text])
        fix = Fix("learning_rate", text, text, None, 1, "OVF001", text)
        diagnosis = Diagnosis("OVERFIT", 0.9, (RankedCause("lr_too_high", 0.5, ("OVF001",)),), (text,))
        entry = RunReport(
            run,
            (finding,),
            (("GRD001", text),),
            diagnosis,
            Checkpoint(1, text, True),
            (fix,),
            Overrides("hf", [text], {"a": text}, text, [text]),
        )
        shown = render(Report((entry, entry)), Layout(unicode=unicode, verbose=True))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
        assert unicode or shown.isascii()


def _is_table(line: str) -> bool:
    return bool(re.search(r"\b(OVERFIT|verdict)\b", line))


class TestChart:
    def test_a_spike_survives_downsampling(self) -> None:
        values = np.full(10_000, 1.0) + 0.01 * np.sin(np.arange(10_000))
        values[5_000] = 1.4
        drawn = chart.draw(curve(values), None, 60)
        assert drawn is not None
        assert plot_text(drawn)[0].index("↑") == 30

    def test_a_spike_beyond_the_axis_is_marked_and_named(self) -> None:
        values = np.linspace(2, 1, 300)
        values[150] = 80.0
        drawn = chart.draw(curve(values), None, 60)
        assert drawn is not None
        assert drawn.cut == 80.0
        assert plot_text(drawn)[0].count("↑") == 1
        assert float(drawn.labels[0]) < 3

    def test_a_wide_range_gets_a_logarithmic_axis(self) -> None:
        wide, narrow = chart.draw(curve(np.geomspace(10, 0.01, 200)), None, 40), chart.draw(curve(np.linspace(3, 1, 200)), None, 40)
        assert wide is not None
        assert narrow is not None
        assert (wide.logarithmic, narrow.logarithmic) == (True, False)

    def test_what_is_not_finite_is_marked(self) -> None:
        drawn = chart.draw(curve([3, 2, 1, math.nan, math.inf, 1]), None, 30)
        assert drawn is not None
        assert sum(cell.kind == "nonfinite" for cell in drawn.rows[0]) == 2

    def test_nothing_to_draw(self) -> None:
        assert chart.draw(None, None, 30) is None
        assert chart.draw(curve([math.nan]), None, 30) is None

    def test_evaluations_are_drawn_over_the_line(self) -> None:
        drawn = chart.draw(curve(np.linspace(3, 1, 100)), curve([2.5, 2.0, 1.5], every=33), 50)
        assert drawn is not None
        assert sum(cell.kind == "eval" for row in drawn.rows for cell in row) == 3

    @given(st.lists(st.floats(width=64), min_size=1, max_size=60), st.integers(5, 100), st.booleans())
    def test_any_values_can_be_drawn(self, values: list[float], width: int, unicode: bool) -> None:
        drawn = chart.draw(curve(values), curve(values[::2], every=2), width, unicode=unicode)
        assert (drawn is None) == (not np.isfinite(values).any())
        if drawn is not None:
            assert {len(row) for row in plot_text(drawn)} == {width}
            assert len(chart.ticks(drawn)) >= 1
            assert len(chart.lane(drawn, 1, len(values), unicode=unicode)) <= width

    def test_a_lane_covers_its_steps(self) -> None:
        drawn = chart.draw(curve(np.linspace(3, 1, 100)), None, 50)
        assert drawn is not None
        assert chart.lane(drawn, 50, 100) == " " * 24 + "├" + "─" * 24 + "┤"
        assert chart.lane(drawn, 50, 50) == " " * 24 + "▲"
        assert chart.lane(drawn, -5, 5000).startswith("├")


class TestTerminal:
    @given(st.text(alphabet=st.characters()))
    def test_safe_text_is_printable_and_stays_so(self, text: str) -> None:
        assert all(character.isprintable() for character in safe(text))
        assert safe(safe(text)) == safe(text)

    @given(st.text(alphabet=st.characters()), st.integers(1, 60))
    def test_padded_text_has_the_width(self, text: str, width: int) -> None:
        assert display_width(pad(safe(text), width)) == width

    @given(st.text(), st.integers(4, 60))
    def test_wrapping_keeps_every_character(self, text: str, width: int) -> None:
        lines = wrap(safe(text), width)
        assert "".join("".join(lines).split()) == "".join(safe(text).split())
        assert all(display_width(line) <= width for line in lines)

    def test_ascii_spellings(self) -> None:
        assert to_ascii("2e-5 → 1e-5 × “α” ✓") == '2e-5 -> 1e-5 x "alpha" \\u2713'


class TestLayout:
    def test_columns_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import io

        for columns, width in (("200", 120), ("10", 60), ("100", 100), ("junk", 80), ("0", 80)):
            monkeypatch.setenv("COLUMNS", columns)
            assert Layout.of_stream(io.StringIO()).width == width
