"""Pictures for papers: what is drawn, that hostile names are text, that the same runs give the same bytes."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from report_cases import HOSTILE, hostile, long_run, overfit, recorded

from diag.errors import UsageError
from diag.report import palette
from diag.report.matplotlib_images import image
from diag.report.plot import MOST_RUNS, draw
from diag.terminal import safe


def words(figure: Figure) -> list[str]:
    """Every text of a figure."""
    from matplotlib.text import Text

    return [found.get_text() for found in figure.findobj(Text) if isinstance(found, Text)]


def lines(figure: Figure, panel: int = 0) -> list[tuple[str, int]]:
    """Colour and number of points of the curves of a panel."""
    return [(str(line.get_color()), len(np.asarray(line.get_xdata()))) for line in figure.axes[panel].get_lines()]


class TestOneRun:
    def test_panels_curves_and_findings(self) -> None:
        figure = draw([recorded("hf-overfit")])
        assert [axes.get_ylabel() for axes in figure.axes] == ["Loss", "Learning rate", "Gradient norm"]
        assert figure.axes[-1].get_xlabel() == "step"
        assert (palette.LINES[0], 160) in lines(figure)
        assert (palette.LINES[1], 24) in lines(figure)
        shown = words(figure)
        assert {"✗ OVF001", "i OVF003", "i OVF004", "train/loss", "eval/loss", "hf-overfit: OVERFIT"} <= set(shown)

    def test_findings_and_title_can_be_left_out(self) -> None:
        assert not any("OVF" in word for word in words(draw([recorded("hf-overfit")], findings=False, title="")))
        assert "my words" in words(draw([recorded("hf-overfit")], title="my words"))

    def test_the_best_checkpoint_is_marked_at_its_value(self) -> None:
        stars = [line for line in draw([recorded("hf-overfit")]).axes[0].get_lines() if line.get_marker() == "*"]
        assert [np.asarray(data).round(4).tolist() for line in stars for data in line.get_data()] == [[140], [0.9181]]

    def test_a_projection_carries_its_number(self) -> None:
        assert any(word.startswith("−19.4%") for word in words(draw([recorded("hf-lora-underfit")])))

    def test_what_is_not_finite_is_marked(self) -> None:
        crosses = [line for line in draw([recorded("hf-nan")]).axes[0].get_lines() if line.get_marker() == "x"]
        assert sum(len(np.asarray(line.get_xdata())) for line in crosses) == 93 + 12

    def test_scale_and_smoothing(self) -> None:
        entry = recorded("hf-overfit")
        assert draw([entry]).axes[0].get_yscale() == "linear"
        assert draw([entry], logarithmic=True).axes[0].get_yscale() == "log"
        smoothed = lines(draw([entry], metrics=["train/loss"], smoothing=0.05))
        assert smoothed.count((palette.LINES[0], 160)) == 2

    def test_metrics_by_either_name(self) -> None:
        entry = recorded("hf-overfit")
        native = entry.run.native_names["train/loss"]
        assert native != "train/loss"
        figure = draw([entry], metrics=["eval_runtime", native])
        assert [axes.get_ylabel() for axes in figure.axes] == ["eval_runtime", "Loss"]

    def test_size(self) -> None:
        written = imread(io.BytesIO(image(draw([overfit()], width=5, height=4, dpi=50), "png")))
        assert written.shape[:2] == (200, 250)

    def test_long_curves_are_thinned_to_what_can_be_seen_with_their_spikes(self) -> None:
        entry = long_run()
        figure = draw([entry], width=4, dpi=50)
        curve = max(figure.axes[0].get_lines(), key=lambda line: len(np.asarray(line.get_xdata())))
        assert len(np.asarray(curve.get_xdata())) <= 4 * 200
        assert np.nanmax(np.asarray(curve.get_ydata())) == 40.0
        assert len(image(figure, "svg")) < 200_000


class TestSeveralRuns:
    def test_they_are_laid_over_one_another_and_named(self) -> None:
        figure = draw([recorded("hf-overfit"), recorded("hf-lr-too-high"), recorded("grpo")])
        shown = words(figure)
        assert {"hf-overfit", "hf-lr-too-high", "grpo"} <= set(shown)
        assert not any("OVF" in word for word in shown)
        assert {colour for colour, _ in lines(figure)} >= set(palette.LINES[:3])
        assert [axes.get_ylabel() for axes in figure.axes][:2] == ["Loss", "Learning rate"]

    def test_too_many_are_refused(self) -> None:
        with pytest.raises(UsageError, match=f"at most {MOST_RUNS}"):
            draw([overfit()] * (MOST_RUNS + 1))


class TestRefusals:
    def test_a_metric_that_was_not_logged(self) -> None:
        with pytest.raises(UsageError, match=r"no metric 'eval/los'; did you mean 'eval/loss'\?; logged were: "):
            draw([recorded("hf-overfit")], metrics=["eval/los"])

    def test_nothing_to_draw(self) -> None:
        entry = overfit()
        with pytest.raises(UsageError, match="nothing to draw"):
            draw([replace(entry, run=replace(entry.run, curves={}))])


class TestFiles:
    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_the_same_runs_give_the_same_bytes_without_a_date(self, kind: str) -> None:
        entry = recorded("hf-overfit")
        first, second = (image(draw([entry], dpi=40), kind) for _ in range(2))
        assert first == second
        assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate|Software|Creator", first)

    def test_hostile_names_are_text(self) -> None:
        for entry, name in zip(hostile().runs, HOSTILE, strict=True):
            figure = draw([entry], metrics=[name])
            assert sum(safe(name) in word for word in words(figure)) >= 2  # the title and the axis
            root = ElementTree.fromstring(image(figure, "svg"))
            assert [part for part in root.iter() if part.tag.endswith(("script", "image", "foreignObject"))] == []

    def test_letters_that_the_font_does_not_have_are_escapes(self) -> None:
        entry = overfit()
        figure = draw([replace(entry, run=replace(entry.run, id="训练 loss"))])
        assert "\\u8bad\\u7ec3 loss: OVERFIT" in words(figure)
        image(figure, "png")

    def test_the_ends_of_double_precision(self) -> None:
        entry = overfit()
        values = np.array([1e308, -1e308, 5e-324, np.inf, -np.inf, np.nan, 0.0, 1.0] * 25)
        curves = {name: replace(curve, value=values[: len(curve)]) for name, curve in entry.run.curves.items()}
        for logarithmic in (None, True, False):
            image(draw([replace(entry, run=replace(entry.run, curves=curves))], logarithmic=logarithmic, dpi=40), "png")
