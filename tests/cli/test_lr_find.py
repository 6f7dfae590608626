"""``diag lr-find`` as a command: what it prints, draws and refuses."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import diag
from diag.cli.lr_find import command
from diag.errors import DiagError, UsageError
from diag.replay.probe import TEMPLATE
from diag.replay.range_rules import Sweep, answer, library_suggestions, suggest
from diag.replay.range_test import RangeTest, guides
from diag.report import Layout
from diag.report import lr_find as report
from diag.report import lr_find_drawing as drawings
from diag.run import Hyperparameter, Run

Call = Callable[..., tuple[int, str]]
SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "lr_find_schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    path = tmp_path / "my_probe.py"
    path.write_text(TEMPLATE.replace("{name}", path.name), encoding="utf-8")
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command in this process: exit code and stdout."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str]:
        code = command.main([*map(str, arguments)], standalone_mode=False)
        return code, capsys.readouterr().out

    return run


def made(best: float | None = 1e-2, *, method: str = "lora") -> RangeTest:
    """A range test over curves that turn at a known rate, or over a flat noisy one."""
    low, high, steps = 1e-6, 1.0, 100
    rates = np.geomspace(low, high, steps)
    sweeps = []
    for seed in range(3):
        luck = np.random.default_rng(seed).normal(0, 0.05, steps)
        losses = np.full(steps, 2.0) + luck
        if best is not None:
            decades = np.log10(rates / best)
            losses += -1 / (1 + np.exp(-4 * (decades + 1))) + np.minimum(np.exp(5 * (decades - 0.5)), 20.0)
        sweeps.append(Sweep(rates, losses, np.full(steps, 2.0), seed=seed))
    known = {"method": Hyperparameter(method, "user"), "dataset_size": Hyperparameter(10_000, "user")}
    answers = tuple(answer(entry) for entry in sweeps)
    return RangeTest(
        low, high, steps, tuple(sweeps), answers, suggest(answers), library_suggestions(sweeps),
        guides(Run("run", "run", "none", {}, known)), method, 1e-4,
    )  # fmt: skip


# The command.


def test_the_template_gets_a_suggestion(call: Call, probe: Path) -> None:
    code, out = call("--probe", f"{probe}:probe", "--steps", 60)
    assert code == 0
    found = re.match(r"Learning rate: (\S+)\n", out)
    assert found is not None
    assert 1e-4 < float(found[1]) < 1e-1
    assert max(map(len, out.splitlines())) <= 80


def test_the_same_call_writes_the_same_bytes(call: Call, probe: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        call("--probe", probe, "--steps", 40, "--format", "json", "-o", tmp_path / f"{name}.json", "--plot", tmp_path / f"{name}.svg")
        written.append(((tmp_path / f"{name}.json").read_bytes(), (tmp_path / f"{name}.svg").read_bytes()))
    assert written[0] == written[1]
    assert json.loads(written[0][0])["plan"] == {"from": 1e-7, "to": 1.0, "steps": 40, "orders": 3}


def test_a_sweep_that_sees_no_turn_exits_with_3(call: Call, probe: Path) -> None:
    code, out = call("--probe", probe, "--to", "1e-4", "--steps", 40, "--orders", 1)
    assert code == 3
    assert out.startswith("Learning rate: INCONCLUSIVE\n")


def test_the_run_gives_the_probe_its_hyperparameters(call: Call, tmp_path: Path, fixtures: Path) -> None:
    source = TEMPLATE.replace(
        "points, labels = made_data()", "print('got', hyperparameters['learning_rate']); points, labels = made_data()"
    )
    path = tmp_path / "spy.py"
    path.write_text(source, encoding="utf-8")
    code, out = call("--probe", path, "--run", fixtures / "hf-overfit", "--steps", 40, "--orders", 1, "--format", "json")
    first, _, rest = out.partition("\n")
    assert first.startswith("got ")
    assert json.loads(rest)["recorded"] == float(first.split()[1])
    assert code in (0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plot", "curve.pdf"], ".svg, .html or .png"),
        (["--method", "lorra"], "did you mean 'lora'"),
        (["--from", "0.5", "--to", "1"], "ten times"),
        (["--probe", "no_such_file.py:probe"], "no_such_file.py"),
        (["--run", "no/such/run"], "does not exist"),
        (["--run", "."], "runs"),
    ],
)
def test_what_cannot_be_done_is_said(call: Call, probe: Path, fixtures: Path, arguments: list[str], words: str) -> None:
    arguments = [str(fixtures) if argument == "." else argument for argument in arguments]
    with pytest.raises(DiagError, match=re.escape(words)) as caught:
        call("--probe", probe, "--steps", 40, *arguments)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_the_probe_is_not_overwritten(call: Call, probe: Path) -> None:
    before = probe.read_bytes()
    with pytest.raises(UsageError, match="another file"):
        call("--probe", f"{probe}:probe", "--steps", 40, "-o", probe)
    assert probe.read_bytes() == before


def test_a_drawing_may_be_a_page(call: Call, probe: Path, tmp_path: Path) -> None:
    call("--probe", probe, "--steps", 40, "--orders", 1, "--plot", tmp_path / "curve.html")
    page = (tmp_path / "curve.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<svg" in page


# The report.


def test_the_text_names_suggestion_rules_guides_and_what_to_try() -> None:
    text = report.text(made(), Layout())
    assert re.search(r"^Learning rate: \d\.?\d?e-3$", text, re.MULTILINE)
    assert "divergence / 10" in text
    assert "trailing minimum / 10" in text
    assert "fastai valley" in text
    assert "The guides for lora: " in text
    assert "The run's own: 1e-4, " in text
    assert "times below" in text
    assert re.search(r"^ +suggested +(├─*┤|▲)$", text, re.MULTILINE)
    assert re.search(r"^ +guides +├─+┤$", text, re.MULTILINE)
    assert "1e-6" in text
    assert "1e0" in text


def test_a_refusal_says_why_and_suggests_nothing() -> None:
    text = report.text(made(None), Layout())
    assert text.startswith("Learning rate: INCONCLUSIVE\nIn most of the 3 orders: the loss did not fall beyond its noise")
    assert "suggested" not in text
    assert "compare" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_fits_the_terminal(width: int) -> None:
    for test in (made(), made(None)):
        assert max(len(line) for line in report.text(test, Layout(width=width)).splitlines()) <= width


def test_the_text_can_be_ascii() -> None:
    assert report.text(made(), Layout(unicode=False)).isascii()
    assert "\x1b[" in report.text(made(), Layout(colour=True))
    assert "\x1b[" not in report.text(made(), Layout())


def test_the_json_holds_everything() -> None:
    test = made()
    content = json.loads(report.json(test, Layout()))
    assert content["schema_version"] == 1
    assert content["verdict"] == "SUGGESTED"
    assert content["low"] <= content["learning_rate"] <= content["high"]
    assert [len(entry["losses"]) for entry in content["sweeps"]] == [100] * 3
    assert {len(entry[name]) for entry in content["sweeps"] for name in ("learning_rates", "untrained_losses", "smoothed_losses")} == {100}
    assert content["guides"]["low"] < content["guides"]["start"] < content["guides"]["high"]
    refused = json.loads(report.json(made(None), Layout()))
    assert (refused["verdict"], refused["learning_rate"]) == ("INCONCLUSIVE", None)
    assert refused["reason"]


def test_the_drawing_is_svg_with_a_thin_line_for_each_order_behind_their_mean() -> None:
    for test in (made(), made(None)):
        root = ElementTree.fromstring(drawings.svg(test))
        space = "{http://www.w3.org/2000/svg}"
        curves = root.findall(f"{space}polyline")
        assert [curve.attrib["stroke-width"] for curve in curves] == ["1", "1", "1", "2"]
        for curve in curves:
            points = [tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split()]
            assert all(0 <= x <= drawings.WIDTH and 0 <= y <= drawings.HEIGHT for x, y in points)
            assert [x for x, _ in points] == sorted(x for x, _ in points)
        titles = [title.text or "" for title in root.iter(f"{space}title")]
        assert any("guides for lora" in title for title in titles)
        assert any(title.startswith("suggested") for title in titles) == (test.suggestion.value is not None)


def test_one_order_is_its_own_mean() -> None:
    test = made()
    alone = replace(test, sweeps=test.sweeps[:1], answers=test.answers[:1])
    assert drawings.svg(alone).count("<polyline") == 1
    assert "blue: the loss;" in drawings.svg(alone)


def test_the_png_shows_the_same() -> None:
    from matplotlib.image import imread

    test = made()
    written = drawings.png(test)
    assert written == drawings.png(test)
    image = imread(io.BytesIO(written))
    scale = drawings.DOTS_PER_INCH / drawings.SVG_DOTS_PER_INCH
    assert image.shape[:2] == (drawings.HEIGHT * scale, drawings.WIDTH * scale)

    def share(name: str, part: slice) -> float:
        """Of a band of columns, how much has about a colour."""
        colour = np.array([int(drawings.COLOURS[name][place : place + 2], 16) for place in (1, 3, 5)]) / 255
        mixed = 1 - drawings.BEHIND * (1 - colour) if name == "guides" else colour
        return float((np.abs(image[:, part, :3] - mixed).max(axis=2) < 0.1).mean())

    assert test.guides is not None
    left, right = (column(test, value) for value in (test.guides.clip_low, test.guides.clip_high))
    assert share("guides", slice(left + 4, right - 4)) > 0.5
    assert share("guides", slice(right + 8, right + 60)) < 0.05
    assert test.suggestion.value is not None
    at = column(test, test.suggestion.value)
    assert share("suggested", slice(at - 1, at + 2)) > 0.2


def column(test: RangeTest, value: float) -> int:
    """Where a learning rate is in the PNG."""
    share = np.log(value / test.low) / np.log(test.high / test.low)
    scale = drawings.DOTS_PER_INCH / drawings.SVG_DOTS_PER_INCH
    return round(scale * (drawings.LEFT + float(share) * (drawings.WIDTH - drawings.LEFT - drawings.RIGHT)))


def test_png_without_matplotlib_names_the_extra_before_anything_is_trained(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else real(name, *rest))
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match=r"PNG needs matplotlib; install it with: pip install 'diag\[plot\]'"):
        call("--probe", "no_such_file.py", "--plot", "curve.png")


def test_a_method_brings_the_guides_range(call: Call, probe: Path, tmp_path: Path) -> None:
    arguments = ("--probe", probe, "--method", "lora", "--steps", 40, "--orders", 1, "--format", "json")
    _, out = call(*arguments, "--plot", tmp_path / "curve.png")
    content = json.loads(out)
    assert (content["method"], content["recorded"]) == ("lora", None)
    assert (content["guides"]["low"], content["guides"]["high"]) == (1e-5, 3e-4)
    assert content["plan"]["from"] == pytest.approx(1e-6)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_names_in_the_drawing_are_escaped() -> None:
    test = made(method="lora")
    object.__setattr__(test, "method", "<script>alert(1)</script>")
    assert "<script>" not in drawings.html(test)


def test_every_report_is_what_the_schema_says(call: Call, probe: Path, fixtures: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    _, out = call("--probe", probe, "--run", fixtures / "hf-overfit", "--steps", 40, "--orders", 2, "--format", "json")
    blind = replace(made(), sweeps=(replace(made().sweeps[0], untrained=np.full(100, np.inf)), *made().sweeps[1:]), notes=("A note.",))
    for content in (out, *(report.json(test, Layout()) for test in (made(), made(None), made(method="unheard-of"), blind))):
        validator.validate(json.loads(content))
    assert not validator.is_valid({**json.loads(out), "more": 1})


def test_a_sweep_of_one_loss_is_drawn_without_fault() -> None:
    rates = np.geomspace(1e-6, 1.0, 100)[:1]
    sweeps = (Sweep(rates, np.array([2.0]), np.array([2.0]), "not finite"),)
    answers = (answer(sweeps[0]),)
    test = RangeTest(1e-6, 1.0, 100, sweeps, answers, suggest(answers), {})
    assert "INCONCLUSIVE" in report.text(test, Layout())
    assert drawings.svg(test).startswith("<svg")
    content = json.loads(report.json(test, Layout()))
    assert content["library"] == {}
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
