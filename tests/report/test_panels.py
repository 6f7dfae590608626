"""What a picture of a run shows: which panels, which curves, the findings at their steps, projections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import healthy
from hypothesis import given
from hypothesis import strategies as st
from report_cases import overfit, recorded

from diag.analysis import judge
from diag.check import Finding
from diag.report.panels import MOST_LINES, OTHERS, panels, rows, span
from diag.result import RunReport
from diag.run import Run


def titles(entry: RunReport) -> list[str]:
    return [panel.title for panel in panels(entry)]


def with_findings(entry: RunReport, *findings: Finding) -> RunReport:
    return replace(entry, findings=findings)


def entry_of(run: Run) -> RunReport:
    return judge(run)[0]


class TestWhatIsShown:
    def test_the_usual_panels_with_losses_together(self) -> None:
        shown = panels(recorded("hf-overfit"))
        assert [(panel.title, [line.metric for line in panel.lines]) for panel in shown] == [
            ("Loss", ["train/loss", "eval/loss"]),
            ("Learning rate", ["lr"]),
            ("Gradient norm", ["grad_norm"]),
        ]
        assert [line.evaluated for line in shown[0].lines] == [False, True]

    def test_a_reward_comes_first_and_what_findings_are_about_last(self) -> None:
        assert titles(recorded("grpo")) == ["Reward", "KL divergence", "Loss", "Learning rate", "Gradient norm"]
        entry = entry_of(healthy().metric("step_time", np.ones(200)).metric("other", np.ones(200)).run())
        assert titles(entry) == ["Loss"]
        about = Finding("THR001", "stall", "warning", "…", "step_time", 10, 20)
        assert titles(with_findings(entry, about)) == ["Loss", "Step time"]

    def test_a_run_with_nothing_of_the_usual_shows_its_longest_curves(self) -> None:
        builder = healthy(n=50)
        for number in range(6):
            builder = builder.metric(f"m{number}", np.full(50, float(number)))
        run = builder.run()
        for name in ("train/loss", "eval/loss"):
            del run.curves[name]
        assert titles(entry_of(run)) == [f"m{number}" for number in range(OTHERS)]

    def test_metrics_may_be_chosen(self) -> None:
        shown = panels(recorded("hf-overfit"), ["grad_norm", "eval/loss", "no such"])
        assert [panel.title for panel in shown] == ["Gradient norm", "Loss"]
        assert [line.metric for line in shown[1].lines] == ["eval/loss"]
        assert [band.code for band in shown[1].bands] == ["OVF001", "OVF004"]

    def test_so_many_evaluation_sets_that_none_could_be_told_apart(self) -> None:
        run = healthy().run()
        for number in range(12):
            run.curves[f"eval/set{number:02}/loss"] = run.curves["eval/loss"]
        (panel,) = panels(entry_of(run))
        assert len(panel.lines) == MOST_LINES
        assert len(panel.left_out) == 14 - MOST_LINES
        assert panel.lines[0].metric == "train/loss"
        styles = [(colour, dash) for _, colour, dash in panel.styled]
        assert len(set(styles)) == len(styles)

    def test_an_empty_run_shows_nothing(self) -> None:
        entry = entry_of(Run("empty", "", "csv", {}))
        assert panels(entry) == ()
        assert span(()) == (0, 0)


class TestFindings:
    def test_they_are_where_their_metric_is(self) -> None:
        loss, rate, norm = panels(recorded("hf-overfit"))
        assert [(band.code, band.start, band.end) for band in loss.bands] == [
            ("OVF001", 140, 480),
            ("OVF003", 3, 480),
            ("OVF004", 140, 480),
        ]
        assert rate.bands == ()
        assert [band.code for band in norm.bands] == ["GRD004"]

    def test_without_a_metric_they_are_in_the_first_panel_and_without_steps_nowhere(self) -> None:
        entry = with_findings(
            overfit(),
            Finding("LOG005", "a", "warning", "…", "", 100, None),
            Finding("LOG006", "b", "error", "…", "", None, None),
            Finding("THR001", "c", "error", "…", "not logged", None, 200),
        )
        shown = panels(entry)
        assert [(band.finding, band.code, band.start, band.end) for band in shown[0].bands] == [
            (0, "LOG005", 100, 1000),
            (2, "THR001", 5, 200),
        ]

    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=20))
    def test_rows_never_hold_two_that_touch(self, spans: list[tuple[int, int]]) -> None:
        intervals = [(float(start), float(start + length)) for start, length in spans]
        found = rows(intervals)
        assert len(found) == len(intervals)
        for i, (a, b) in enumerate(intervals):
            for j, (c, d) in enumerate(intervals[:i]):
                if found[i] == found[j]:
                    assert b < c or d < a


class TestProjection:
    def test_it_is_the_one_that_the_finding_speaks_of(self) -> None:
        entry = recorded("hf-lora-underfit")
        (finding,) = [one for one in entry.findings if one.code == "UND001"]
        found = panels(entry)[0].projection
        assert found is not None
        last = entry.run.curves["eval/loss"]
        assert (found.step[0], found.step[-1]) == (last.step[-1], 2 * last.step[-1])
        assert found.value[0] == last.value[-1]
        assert found.value[-1] / found.value[0] == pytest.approx(math.exp(-finding.evidence["predicted_gain"]))
        assert bool((np.diff(found.value) < 0).all())
        falls = -np.diff(np.log(found.value))
        ratio = finding.evidence["latest_gain"] / finding.evidence["earlier_gain"]
        assert falls[1:] / falls[:-1] == pytest.approx(ratio)
        assert found.change.startswith("−19.4%")
        assert "19.4%" in finding.message
        assert span(panels(entry)) == (2, 512)

    def test_there_is_none_without_a_fit(self) -> None:
        assert all(panel.projection is None for panel in panels(recorded("hf-overfit")))

    @pytest.mark.parametrize("gain", [0.0, -0.1, math.nan, None, "much"])
    def test_nor_where_nothing_is_gained_or_known(self, gain: object) -> None:
        evidence = {"earlier_gain": 0.1, "latest_gain": 0.1, "predicted_gain": gain}
        entry = with_findings(overfit(), Finding("UND001", "a", "warning", "…", "eval/loss", 1, 2, evidence=evidence))
        assert panels(entry)[0].projection is None

    def test_nor_of_a_loss_that_is_not_positive(self) -> None:
        evidence = {"earlier_gain": 0.1, "latest_gain": 0.1, "predicted_gain": 0.2}
        run = healthy().losses(train=np.linspace(1, -1, 200)).run()
        entry = with_findings(entry_of(run), Finding("UND001", "a", "warning", "…", "train/loss", 1, 2, evidence=evidence))
        assert panels(entry)[0].projection is None


def test_a_scale_is_logarithmic_where_a_linear_one_would_hide_the_lower_part() -> None:
    assert not panels(recorded("hf-overfit"))[0].logarithmic
    blown = panels(entry_of(healthy().blow_up(to=500.0).lr().run()))
    assert [panel.logarithmic for panel in blown] == [True, False]
    assert not panels(recorded("grpo"))[0].logarithmic
