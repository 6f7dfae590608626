"""The pictures on the pages of checks."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from builders import healthy
from specimens import SPECIMENS

from diag.battery import examine
from diag.check import Finding

sys.path.append(str(Path(__file__).parents[2] / "docs" / "_ext"))
from pictures import LEFT, RIGHT, WIDTH, Axis, picture

NAME = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("code", SPECIMENS)
def test_a_picture_is_well_formed_draws_every_panel_and_lies_within_its_frame(code: str) -> None:
    specimen = SPECIMENS[code]
    for run in (specimen.fires, specimen.silent):
        findings = examine(run, select=[code]).findings[:1]
        text = picture(run, findings, specimen.panels, code)
        assert picture(run, findings, specimen.panels, code) == text
        tree = ElementTree.fromstring(text)
        height = float(tree.get("viewBox", "").split()[3])
        assert len(tree.findall(f"{NAME}polyline")) >= len(specimen.panels)
        for line in tree.findall(f"{NAME}polyline"):
            points = np.array([[float(x) for x in point.split(",")] for point in line.get("points", "").split()])
            assert points[:, 0].min() >= LEFT - 0.1 and points[:, 0].max() <= WIDTH - RIGHT + 0.1
            assert points[:, 1].min() >= 0 and points[:, 1].max() <= height
        shaded = [finding for finding in findings if finding.step_start is not None]
        assert len(tree.findall(f"{NAME}rect")) == len(shaded) * len(specimen.panels)


def test_a_finding_is_shaded_where_it_lies_and_a_lost_loss_dashed() -> None:
    run = healthy().nan(at=0.5).run()
    (finding, _) = examine(run, select=["DIV001"]).findings
    tree = ElementTree.fromstring(picture(run, [finding], [("train/loss",)], "lost"))
    (rect,) = tree.findall(f"{NAME}rect")
    assert float(rect.get("x", "")) == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) * 505 / 1000, abs=0.1)
    assert float(rect.get("x", "")) + float(rect.get("width", "")) == pytest.approx(WIDTH - RIGHT, abs=0.1)
    (dashed,) = [path for path in tree.findall(f"{NAME}path") if path.get("stroke-dasharray")]
    start, end = map(float, re.findall(r"[MH]([\d.]+)", dashed.get("d", "")))
    assert start == pytest.approx(float(rect.get("x", "")), abs=2) and end == pytest.approx(WIDTH - RIGHT, abs=2)
    assert "dashed: not finite" in "".join(tree.itertext())


def test_names_from_a_log_are_text() -> None:
    name = "<script>alert(1)</script>&\"'"
    text = picture(healthy().metric(name, 1.0).run(), [Finding("X", "x", "info", "m")], [(name,)], name)
    assert "<script" not in text
    assert f"{name}" in "".join(ElementTree.fromstring(text).itertext())


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "expected"),
    [
        (0.0, 3.1, False, [0, 1, 2, 3]),
        (0.0, 1000.0, False, [0, 500, 1000]),
        (0.9, 1100.0, True, [1, 10, 100, 1000]),
        (2.0, 9.0, True, [2, 9]),
    ],
)
def test_ticks_are_round(low: float, high: float, logarithmic: bool, expected: list[float]) -> None:
    assert Axis(low, high, logarithmic, 0.0, 100.0).ticks() == pytest.approx(expected)


def test_a_loss_that_falls_by_decades_gets_a_logarithmic_axis_and_a_learning_rate_never() -> None:
    run = healthy().losses(np.geomspace(1.0, 1e-3, 200)).lr().run()
    assert "log scale" in picture(run, [], [("train/loss",)], "steep")
    assert "log scale" not in picture(run, [], [("lr",)], "rate")
