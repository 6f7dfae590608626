"""The HTML report without a browser: text stays text, nothing is loaded, all that was found is there, and it stays small."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import HOSTILE, hostile, long_run, overfit, recorded

from diag.check import Finding
from diag.gate.requirements import Outcome
from diag.report import Layout, palette
from diag.report.downsampling import thin
from diag.report.html import render
from diag.report.html.axes import Frame, short, step_ticks, ticks
from diag.report.html.chart_data import LEAST, MOST, PAGE_POINTS, chart_data, stretches
from diag.report.html.elements import Markup, data, element, lines, raw, text
from diag.report.html.page import LIBRARY, LIBRARY_STYLE, asset
from diag.report.panels import panels
from diag.result import Accepted, Problem, Report, RunReport
from diag.terminal import safe

MEGABYTE = 1_000_000


class Reader(HTMLParser):
    """Reads a page as a browser does: elements with their attributes, texts, scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]][-1] += data
        else:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(*entries: RunReport, problems: tuple[Problem, ...] = (), **layout: Any) -> str:
    return render(Report(entries, problems), Layout(**layout))


class TestElements:
    @given(st.text(max_size=40), st.text(max_size=40))
    def test_text_comes_back_as_it_is_shown_on_a_terminal(self, inside: str, attribute: str) -> None:
        read = Reader(element("p", inside, title=attribute))
        assert read.elements == [("p", {"title": safe(attribute)})]
        assert "".join(read.texts) == safe(inside)

    @pytest.mark.parametrize("words", HOSTILE)
    def test_nothing_hostile_becomes_markup(self, words: str) -> None:
        written = element("a", words, [words, None], element("b", words), href=words)
        assert [name for name, _ in Reader(written).elements] == ["a", "b"]

    def test_attributes(self) -> None:
        assert element("input", type="search", checked=True, disabled=False, value=None) == '<input type="search" checked>'
        assert element("rect", class_="a", stroke_width=1.50, x=2, viewBox="0 0 1 1") == (
            '<rect class="a" stroke-width="1.5" x="2" viewBox="0 0 1 1"></rect>'
        )

    def test_lines_are_kept(self) -> None:
        assert lines("a <\nb\x1b") == "a &lt;\nb\\x1b"

    def test_source_that_would_end_its_element_is_refused(self) -> None:
        for source in ("x = '</script>'", "x = '</SCRIPT>'", "<!-- "):
            with pytest.raises(ValueError, match="cannot stand"):
                raw("script", source)

    @given(
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
    )
    def test_data_is_json_that_ends_nothing(self, value: Any) -> None:
        (source,) = Reader(data(value, id="x")).raw["script"]
        assert json.loads(source) == value
        assert not re.search(r"[<>&\u2028\u2029]", source)

    def test_markup_is_only_made_here(self) -> None:
        assert isinstance(element("p"), Markup)
        assert element("p", "" + text("<")) == "<p>&amp;lt;</p>"  # joined with a plain string it is one, and escaped again


class TestPage:
    def test_it_says_everything(self) -> None:
        entry = recorded("hf-overfit")
        shown = " ".join(Reader(page(entry)).texts)
        for words in ("hf-overfit", "OVERFIT", "98% confident", "480 steps", "gate failed", "checkpoint-140", "--num_train_epochs 7"):
            assert words in shown
        for finding in entry.findings:
            assert finding.code in shown and finding.name in shown and finding.message in shown
            assert all(label in shown for label in finding.evidence)
        for cause in entry.diagnosis.causes:
            assert cause.cause in shown and f"{cause.score:.0%}" in shown
        for fix in entry.fixes:
            assert fix.reason in shown
        for name, known in entry.run.hyperparameters.items():
            assert name in shown and known.source in shown
        for code, reason in entry.skipped:
            assert code in shown and reason in shown
        for metric, curve in entry.run.curves.items():
            assert metric in shown and f"{len(curve):,}" in shown

    def test_what_the_gate_says(self) -> None:
        assert "gate passed: no finding is at or above error" in page(recorded("hf-healthy"))
        assert "gate failed: a finding is at or above warning" in page(recorded("hf-overfit"), fail_on="warning")
        assert "gate" not in "".join(Reader(page(recorded("hf-overfit"), fail_on="never")).texts)
        broken = Problem("input", "broken.json", "is no log")
        assert "an input could not be read" in page(recorded("hf-healthy"), problems=(broken,))
        assert "nothing could be judged" in page()
        crash = Problem("crash", "a", "check XYZ001 crashed")
        assert "a check or an adapter crashed" in page(recorded("hf-healthy"), problems=(crash,))

    def test_accepted_findings_requirements_and_problems(self) -> None:
        entry = overfit()
        entry = replace(
            entry,
            accepted=(Accepted(Finding("SPK001", "loss-spikes", "warning", "It jumps."), "a known restart", "diag.toml:3"),),
            requirements=(Outcome("eval/loss<=1", "eval/loss", 1.25, 1000, False), Outcome("reward>0", "reward", None, None, False)),
        )
        shown = " ".join(Reader(page(entry, problems=(Problem("input", "broken.json", "is no log"),))).texts)
        for words in ("It jumps.", "a known restart", "diag.toml:3", "eval/loss<=1", "1.25", "not logged", "broken.json", "is no log"):
            assert words in shown

    def test_without_runs(self) -> None:
        assert "No run was found." in page()

    def test_many_runs_have_a_table_and_small_pictures(self) -> None:
        entries = (recorded("hf-overfit"), recorded("hf-healthy"), recorded("grpo"))
        read = Reader(page(*entries))
        assert sum(attributes.get("class") == "sparkline" for attributes in read.all("svg")) == 3
        assert [attributes["data-verdict"] for attributes in read.all("tr") if "data-run" in attributes] == [
            "OVERFIT",
            "HEALTHY",
            "HEALTHY",
        ]
        assert sum("open" in attributes for attributes in read.all("details")) == 1  # the small pictures

    @pytest.mark.parametrize("entries", [1, 3])
    def test_it_loads_nothing_and_allows_nothing_else(self, entries: int) -> None:
        written = page(*[recorded("hf-overfit")] * entries)
        read = Reader(written)
        names = {name for name, _ in read.elements}
        assert not names & {"link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
        attributes = [name for _, found in read.elements for name in found]
        assert [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset", "xlink:href")] == []
        assert all((found.get("href") or "#").startswith("#") for _, found in read.elements)
        assert not re.search(r"@import|url\(", "".join(read.raw["style"]))
        (policy,) = [found["content"] for found in read.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
        assert policy is not None and policy.startswith("default-src 'none'; ")
        for kind in ("script", "style"):
            (allowed,) = [part.split()[1:] for part in policy.split("; ") if part.startswith(f"{kind}-src")]
            sources = [source for source, found in zip(read.raw[kind], read.all(kind), strict=True) if "type" not in found]
            assert allowed == [f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'" for source in sources]

    def test_ids_are_unique_and_links_lead_somewhere(self) -> None:
        for written in (page(recorded("hf-overfit"), recorded("hf-nan")), render(hostile(), Layout())):
            read = Reader(written)
            ids = Counter(found["id"] for _, found in read.elements if "id" in found)
            assert [name for name, count in ids.items() if count > 1] == []
            assert {found["href"] for found in read.all("a")} <= {f"#{name}" for name in ids}

    def test_hostile_logs_add_no_element(self) -> None:
        read = Reader(render(hostile(), Layout()))
        assert not {name for name, _ in read.elements} & {"img", "b", "iframe", "x", "link"}
        assert len(read.raw["script"]) == 3 + len(HOSTILE)
        assert len(read.raw["style"]) == 3
        shown = "\n".join(read.texts)
        assert [words for words in HOSTILE if safe(words) not in shown] == []
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028\u2029]", render(hostile(), Layout()))

    def test_the_same_report_gives_the_same_bytes(self) -> None:
        entries = (recorded("hf-overfit"), overfit())
        assert page(*entries) == page(*entries)

    def test_only_the_core_is_needed(self, fixtures: Path, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "for name in ('jinja2', 'matplotlib', 'markupsafe', 'pandas', 'scipy', 'rich', 'torch'): sys.modules[name] = None\n"
            "from diag.cli import main\n"
            f"sys.exit(main(['analyze', {str(fixtures / 'hf-overfit')!r}, '--output', 'html=report.html', '--fail-on', 'never']))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_where_only_ascii_may_be_written_it_says_the_same(self) -> None:
        report = Report((replace(overfit(), run=replace(overfit().run, id="训练")),))
        plain = render(report, Layout(unicode=False))
        assert plain.isascii()
        assert Reader(plain).texts == Reader(render(report, Layout())).texts
        assert Reader(plain).raw == Reader(render(report, Layout())).raw


class TestSize:
    def test_a_hundred_thousand_points_stay_below_a_megabyte_and_say_what_was_left_out(self) -> None:
        written = page(long_run())
        assert len(written.encode()) < MEGABYTE / 2
        assert "of each of 1,000 stretches of steps" in written
        assert "<td>100,000</td><td>3,9" in written

    def test_a_recorded_run_is_small_and_nothing_is_left_out(self) -> None:
        written = page(recorded("hf-overfit"))
        assert len(written.encode()) < MEGABYTE / 5
        assert "stretches of steps" not in written

    def test_many_runs_share_the_points(self) -> None:
        assert stretches(1) == MOST
        assert stretches(10_000) == LEAST
        assert 4 * 40 * stretches(40) <= PAGE_POINTS
        entry = long_run(20_000)
        few = len(page(entry))
        many = len(page(*[replace(entry, run=replace(entry.run, id=f"run {number}")) for number in range(100)]))
        assert many / 100 < few / 6


class TestCharts:
    def test_the_data_are_the_points(self) -> None:
        entry = long_run(20_000)
        found = json.loads(json.dumps(chart_data(panels(entry), 100, 300)))
        assert found["x"] == [1, 20_000]
        line = found["panels"][0]["lines"][0]
        curve = thin(entry.run.curves["train/loss"], 300)
        assert np.cumsum(line["x"]).tolist() == curve.step.tolist()
        assert line["y"] == pytest.approx(curve.value.tolist(), rel=1e-4)
        assert len(line["mx"]) == len(line["my"]) <= 300
        norm = next(panel for panel in found["panels"] if panel["title"] == "Gradient norm")
        assert None in norm["lines"][0]["y"]
        assert set(norm["bad"]) <= set(range(10_001, 10_051))

    def test_still_pictures_carry_findings_words_and_numbers(self) -> None:
        read = Reader(page(recorded("hf-overfit")))
        plots = [found["aria-label"] or "" for found in read.all("svg") if found.get("class") == "plot"]
        assert len(plots) == 3
        assert plots[0].startswith("Loss: train/loss from 2.781 at step 3 to 0.2848 at step 480, lowest 0.2794 at step 348; eval/loss from")
        assert "OVF001 overfit-gap, steps 140–480" in plots[0]
        assert sum("band" in (found.get("class") or "") for found in read.all("rect")) == 4

    @pytest.mark.parametrize("ends", [(1e308, -1e308), (5e-324, 1e308), (0.0, 0.0), (math.nan, math.inf)])
    def test_the_ends_of_double_precision(self, ends: tuple[float, float]) -> None:
        entry = overfit()
        curves = {name: replace(curve, value=np.resize(np.array(ends), len(curve))) for name, curve in entry.run.curves.items()}
        written = page(replace(entry, run=replace(entry.run, curves=curves)))
        assert not re.search(r'[" ](nan|inf)[" %]', " ".join(re.findall(r"<svg.*?</svg>", written)))


class TestAxes:
    numbers = st.floats(-1e300, 1e300)

    @given(numbers, numbers)
    def test_linear_ticks_are_few_rising_and_within(self, a: float, b: float) -> None:
        low, high = sorted((a, b))
        found = ticks(low, high, False)
        assert 1 <= len(found) <= 10
        assert found == sorted(set(found))
        room = (high / 2 - low / 2) * 1e-6
        assert all(low - room <= value <= high + room for value in found)

    @given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300))
    def test_logarithmic_ticks_too(self, a: float, b: float) -> None:
        low, high = sorted((a, b))
        found = ticks(low, high, True)
        assert 1 <= len(found) <= 12
        assert found == sorted(set(found))
        assert all(low <= value <= high for value in found)

    def test_ticks_are_round(self) -> None:
        assert ticks(0.27, 2.8, False) == [1.0, 2.0]
        assert ticks(0.5, 80.0, True) == [1.0, 10.0]
        assert ticks(1.0, 80.0, True) == [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        assert [short(value) for value in (5e-05, 0.001, 0.25, 1234.0, 2e6, 0.0, -0.5)] == [
            "5e-5",
            "0.001",
            "0.25",
            "1234",
            "2e6",
            "0",
            "-0.5",
        ]
        assert [word for _, word in step_ticks(3, 480)] == ["3", "200", "400", "480"]
        assert [word for _, word in step_ticks(5, 5)] == ["5"]

    @given(st.integers(0, 10**9), st.integers(0, 10**9))
    def test_step_ticks_leave_room_for_one_another(self, a: int, b: int) -> None:
        found = step_ticks(*sorted((a, b)))
        assert all(0 <= place <= 1 for place, _ in found)
        assert found[0][1] == f"{min(a, b):,}"

    @given(numbers, numbers, numbers)
    def test_places_are_between_top_and_bottom(self, a: float, b: float, value: float) -> None:
        low, high = sorted((a, b))
        (place,) = Frame(0, 1, low, high, False).down(np.array([min(max(value, low), high)]))
        assert 0 <= place <= 1


class TestColours:
    @staticmethod
    def contrast(one: str, other: str) -> float:
        """WCAG 2.2, relative luminance and contrast ratio."""

        def luminance(colour: str) -> float:
            parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    def test_lines_stand_out_from_either_ground(self) -> None:
        assert [colour for colour in palette.LINES if self.contrast(colour, "#ffffff") < 3] == []
        assert [colour for colour in palette.LINES_ON_DARK if self.contrast(colour, palette.DARK) < 3] == []

    def test_findings_can_be_read(self) -> None:
        assert [colour for colour in palette.SEVERITIES.values() if self.contrast(colour, "#f3f5f8") < 4.5] == []
        assert [colour for colour in palette.SEVERITIES_ON_DARK.values() if self.contrast(colour, palette.DARK) < 4.5] == []

    def test_no_two_lines_of_a_panel_look_the_same(self) -> None:
        styles = [palette.style(0, False), *(palette.style(number, True) for number in range(7))]
        assert len(set(styles)) == len(styles)


def test_the_library_is_the_published_one() -> None:
    """uPlot 1.6.32 as npm has it: the digests are those of dist/ in the tarball."""
    digests = {
        LIBRARY: "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        LIBRARY_STYLE: "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    }
    assert {name: hashlib.sha256(asset(name).encode()).hexdigest() for name in digests} == digests
    assert asset(LIBRARY).startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
    assert "The MIT License (MIT)" in asset("uPlot.LICENSE.txt")
