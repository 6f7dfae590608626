"""The HTML report in a real browser: it draws, answers to mouse and keyboard, keeps to itself, and can be read by everybody."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import healthy
from report_cases import FIXTURES, HOSTILE, hostile, long_run, overfit, recorded

import diag
from diag.analysis import judge
from diag.report import palette
from diag.report.html.page import page
from diag.report.smoothing import smooth
from diag.result import Report
from diag.run import Column, make_curve
from diag.terminal import safe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ["browsers"]

Visit = Callable[..., "Page"]
SINGLE = ("overfit", "underfit", "nan", "rewards", "long", "extremes")
MANY = ("console-hf", "grpo", "hf-lora-underfit", "hf-nan", "hf-overfit", "keras-csv", "tensorboard-divergence", "tensorboard-healthy")
ALL = (*SINGLE, "many", "hostile", "empty")


def extremes() -> Report:
    """A run whose numbers reach to the ends of double precision, in both signs, next to nothing and everything."""
    values = np.array([1e308, -1e308, 5e-324, 1e-300, 0.0, 1.0, np.nan, np.inf, -np.inf, 1e300] * 6)
    builder = healthy(n=60, evals=6).metric("grad_norm", np.abs(values)).metric("lr", np.full(60, 1e308)).losses(train=values)
    return Report((judge(builder.run(id="extremes"))[0],))


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on disk, by name."""
    made = {
        "overfit": Report((recorded("hf-overfit"),)),
        "underfit": Report((recorded("hf-lora-underfit"),)),
        "nan": Report((recorded("hf-nan"),)),
        "rewards": Report((recorded("grpo"),)),
        "long": Report((long_run(),)),
        "extremes": extremes(),
        "many": diag.analyze([FIXTURES / name for name in MANY]),
        "hostile": hostile(),
        "empty": Report((), ()),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, report in made.items():
        (folder / f"{name}.html").write_text(page(report, "error"), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def visit(chromium: Browser, reports: dict[str, Path]) -> Iterator[Visit]:
    """Open a page; at the end of the test nothing may have been complained about, and nothing but the page asked for."""
    contexts = []
    complaints: list[str] = []
    requests: list[str] = []

    def go(name: str, anchor: str = "", **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        seen = context.new_page()
        seen.set_default_timeout(10_000)
        seen.on("console", lambda message: complaints.append(message.text))
        seen.on("pageerror", lambda error: complaints.append(str(error)))
        seen.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        seen.goto(reports[name].as_uri() + anchor)
        return seen

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) <= {path.as_uri() for path in reports.values()}


PIXELS = """(canvas, [colour, from, to, slack]) => {
  const wanted = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const left = Math.floor(canvas.width * from), width = Math.ceil(canvas.width * (to - from));
  const copy = new OffscreenCanvas(width, canvas.height).getContext("2d", {willReadFrequently: true});
  copy.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--card");
  copy.fillRect(0, 0, width, canvas.height);
  copy.drawImage(canvas, -left, 0);
  const {data} = copy.getImageData(0, 0, width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) count += wanted.every((part, j) => Math.abs(data[i + j] - part) <= slack);
  return count;
}"""
IMAGE = "canvas => canvas.toDataURL()"


def pixels(seen: Page, chart: int, colour: str, start: float = 0.0, end: float = 1.0, slack: int = 24) -> int:
    """Pixels of about a colour on the canvas of a chart, between two shares of its width."""
    found = seen.locator(".chart canvas").nth(chart).evaluate(PIXELS, [colour, start, end, slack])
    assert isinstance(found, int)
    return found


def image(seen: Page, chart: int = 0) -> str:
    drawn = seen.locator(".chart canvas").nth(chart).evaluate(IMAGE)
    assert isinstance(drawn, str)
    return drawn


def settled(seen: Page) -> None:
    """Wait until what was asked for has been drawn."""
    seen.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shaded(*severities: str) -> str:
    """What shadings of findings over one another make of white."""
    parts = np.array([255.0] * 3)
    for severity in severities:
        colour = np.array([int(palette.SEVERITIES[severity][at : at + 2], 16) for at in (1, 3, 5)])
        parts += palette.OPACITY[severity] * (colour - parts)
    return "#" + "".join(f"{round(part):02x}" for part in parts)


class TestCharts:
    @pytest.mark.parametrize("name", SINGLE)
    def test_every_panel_is_drawn(self, visit: Visit, name: str) -> None:
        seen = visit(name)
        charts = seen.locator(".chart canvas").count()
        assert charts == seen.locator("figure").count() >= 2
        for chart in range(charts):
            colours = [palette.LINES[0], palette.LINES[1]]
            assert sum(pixels(seen, chart, colour) for colour in colours) > 50
        assert seen.locator(".static:visible").count() == 0

    def test_train_and_evaluation_are_told_apart(self, visit: Visit) -> None:
        seen = visit("overfit")
        assert pixels(seen, 0, palette.LINES[0]) > 300
        assert pixels(seen, 0, palette.LINES[1]) > 300
        assert pixels(seen, 1, palette.LINES[1]) == 0

    def test_in_the_dark_the_colours_are_the_light_ones_and_follow_a_change(self, visit: Visit) -> None:
        seen = visit("overfit", color_scheme="dark")
        assert pixels(seen, 0, palette.LINES_ON_DARK[0]) > 300
        seen.emulate_media(color_scheme="light")
        settled(seen)
        assert pixels(seen, 0, palette.LINES[0]) > 300
        assert pixels(seen, 0, palette.LINES_ON_DARK[0], slack=8) == 0

    def test_log_scale_and_smoothing_and_a_hidden_curve_change_what_is_drawn(self, visit: Visit) -> None:
        seen = visit("overfit")
        plain = image(seen)
        switch = seen.get_by_role("button", name="Log scale, Loss")
        assert switch.get_attribute("aria-pressed") == "false"
        switch.click()
        settled(seen)
        assert switch.get_attribute("aria-pressed") == "true"
        assert (logarithmic := image(seen)) != plain
        seen.get_by_label("Smoothing").select_option("0.05")
        settled(seen)
        assert (smoothed := image(seen)) not in (plain, logarithmic)
        key = seen.get_by_role("button", name="eval/loss")
        key.click()
        settled(seen)
        assert key.get_attribute("aria-pressed") == "false"
        assert image(seen) != smoothed
        assert pixels(seen, 0, palette.LINES[1], slack=8) == 0
        key.click()
        seen.get_by_label("Smoothing").select_option("0")
        switch.click()
        seen.mouse.move(1, 1)
        settled(seen)
        assert image(seen) == plain

    def test_smoothing_computes_what_python_does(self, visit: Visit) -> None:
        random = np.random.default_rng(5)
        step = np.cumsum(random.integers(1, 9, 50))
        value = random.standard_normal(50)
        value[20] = np.nan
        ours = smooth(make_curve(Column(step, value))[0], 1.0, 17.0).value
        values = [None if np.isnan(one) else one for one in value.tolist()]
        theirs = visit("overfit").evaluate("([steps, values]) => diagCharts.smooth(steps, values, 17)", [step.tolist(), values])
        assert [np.nan if one is None else one for one in theirs] == pytest.approx(ours.tolist(), nan_ok=True)

    def test_findings_are_shaded_at_their_steps_and_lead_to_their_entries(self, visit: Visit) -> None:
        seen = visit("overfit")
        shade = shaded("error", "info", "info")
        assert pixels(seen, 0, shade, 0.5, 0.9, slack=3) > 20_000
        assert pixels(seen, 0, shade, 0.1, 0.25, slack=3) == 0
        assert pixels(seen, 0, shaded("info"), 0.1, 0.25, slack=3) > 10_000
        seen.locator(".bar-row").get_by_role("link", name="OVF001").click()
        entry = seen.locator("#run-1-finding-0")
        assert "OVF001" in entry.inner_text()
        assert entry.evaluate("entry => entry.matches(':target')")

    def test_what_is_not_finite_is_marked(self, visit: Visit) -> None:
        seen = visit("nan")
        assert pixels(seen, 0, palette.SEVERITIES["error"], 0.35, 1.0) > 200
        assert pixels(seen, 0, palette.SEVERITIES["error"], 0.1, 0.25) == 0

    def test_a_projection_is_drawn_where_there_is_one(self, visit: Visit) -> None:
        assert pixels(visit("underfit"), 0, palette.INK, 0.6, 1.0) > 100
        data = json.loads(visit("overfit").locator("#run-1-data").text_content() or "")
        assert [panel["projection"] for panel in data["panels"]] == [None] * len(data["panels"])


class TestZoom:
    def range(self, seen: Page) -> str:
        return seen.locator(".tools > .muted").inner_text()

    def test_dragging_over_one_chart_zooms_all(self, visit: Visit) -> None:
        seen = visit("overfit")
        plain = [image(seen, chart) for chart in range(3)]
        box = seen.locator(".chart .u-over").nth(0).bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        seen.mouse.move(box["x"] + box["width"] * 0.25, middle)
        seen.mouse.down()
        seen.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
        seen.mouse.up()
        settled(seen)
        shown = [int(word) for word in self.range(seen).removeprefix("steps ").split("–")]
        assert shown == pytest.approx([3 + 477 * 0.25, 3 + 477 * 0.5], abs=3)
        assert all(image(seen, chart) != plain[chart] for chart in range(3))
        assert seen.locator(".bar-row").get_by_role("link", name="OVF003").is_visible()
        seen.get_by_role("button", name="All steps").click()
        seen.mouse.move(1, 1)
        settled(seen)
        assert [image(seen, chart) for chart in range(3)] == plain

    def test_buttons(self, visit: Visit) -> None:
        seen = visit("overfit")
        assert seen.get_by_role("button", name="Zoom out").is_disabled()
        seen.get_by_role("button", name="Zoom in").click()
        assert self.range(seen) == "steps 122–361"
        seen.get_by_role("button", name="Later steps").click()
        assert self.range(seen) == "steps 182–420"
        seen.get_by_role("button", name="Earlier steps").click()
        seen.get_by_role("button", name="Zoom out").click()
        assert "drag" in self.range(seen)

    def test_the_view_outlasts_a_switch_and_a_double_click_ends_it(self, visit: Visit) -> None:
        seen = visit("overfit")
        plain = image(seen)
        seen.get_by_role("button", name="Zoom in").click()
        seen.get_by_role("button", name="Log scale, Loss").click()
        seen.get_by_role("button", name="Log scale, Loss").click()
        seen.mouse.move(1, 1)
        settled(seen)
        assert image(seen) != plain
        assert self.range(seen) == "steps 122–361"
        seen.locator(".chart .u-over").nth(1).dblclick()
        seen.mouse.move(1, 1)
        settled(seen)
        assert image(seen) == plain

    def test_a_finding_can_be_shown(self, visit: Visit) -> None:
        seen = visit("overfit")
        seen.get_by_role("button", name="Show OVF001 on the curves").click()
        assert self.range(seen) == "steps 106–480"
        assert "140" in seen.locator("#status").inner_text()

    def test_keys_zoom_and_read_the_values(self, visit: Visit) -> None:
        seen = visit("overfit")
        chart = seen.get_by_role("application", name="Loss")
        chart.focus()
        for key, expected in (
            ("ArrowRight", "Step 3: train/loss 2.781"),
            ("ArrowRight", "Step 6: train/loss"),
            ("End", "Step 480: train/loss 0.2848"),
        ):
            seen.keyboard.press(key)
            assert seen.locator("#status").inner_text().startswith(expected)
        assert "eval/loss 1.134" in seen.locator("#status").inner_text()
        assert seen.get_by_role("button", name="eval/loss").locator(".value").inner_text() == "1.134"
        seen.keyboard.press("+")
        assert self.range(seen) == "steps 242–480"
        seen.keyboard.press("Home")
        assert self.range(seen).startswith("steps 3–")
        seen.keyboard.press("0")
        assert "drag" in self.range(seen)


class TestManyRuns:
    def column(self, seen: Page, number: int) -> list[str]:
        return seen.locator(f"table.runs tbody tr:visible > :nth-child({number})").all_inner_texts()

    def test_every_column_sorts_both_ways_by_keyboard(self, visit: Visit) -> None:
        seen = visit("many")
        before = self.column(seen, 1)
        heads = seen.locator("table.runs thead th")
        assert heads.count() == 9
        for number in range(1, heads.count() + 1):
            head = heads.nth(number - 1)
            head.get_by_role("button").focus()
            orders = []
            for direction in ("ascending", "descending"):
                seen.keyboard.press("Enter")
                assert head.get_attribute("aria-sort") == direction
                assert seen.locator("[aria-sort]").count() == 1
                orders.append(self.column(seen, number))
            shown = [cell for cell in orders[0] if cell != "–"]
            assert sorted(orders[0]) == sorted(orders[1])
            if number in (3, 6, 7, 8, 9):
                numbers = [float(cell.replace(",", "").rstrip("%")) for cell in shown]
                assert numbers == sorted(numbers)
                falling = [float(cell.replace(",", "").rstrip("%")) for cell in orders[1] if cell != "–"]
                assert falling == sorted(numbers, reverse=True)
                assert orders[0][len(shown) :] == orders[1][len(shown) :] == ["–"] * (len(orders[0]) - len(shown))
        assert sorted(self.column(seen, 1)) == sorted(before)

    def test_text_and_verdicts_filter_table_pictures_and_runs_alike(self, visit: Visit) -> None:
        seen = visit("many")
        count = seen.locator("table.runs tbody tr").count()
        search = seen.get_by_label("Filter")
        search.fill("OVERFIT hf")
        assert self.column(seen, 1) == ["hf-overfit"]
        assert seen.locator(".tiles li:visible").count() == seen.locator("details.run:visible").count() == 1
        assert seen.locator(".filter .muted").inner_text() == f"1 of {count} runs"
        search.fill("")
        healthy_box = seen.get_by_role("checkbox", name="HEALTHY")
        healthy_box.focus()
        seen.keyboard.press("Space")
        assert "✓ HEALTHY" not in self.column(seen, 2)
        assert seen.locator(".tiles li:visible").count() < count
        seen.get_by_role("button", name="Show all").click()
        assert healthy_box.is_checked()
        assert len(self.column(seen, 1)) == count

    def test_charts_are_made_when_a_run_is_opened_and_links_open_it(self, visit: Visit) -> None:
        seen = visit("many")
        assert seen.locator("canvas").count() == 0
        assert seen.locator(".tiles svg").count() == seen.locator("table.runs tbody tr").count()
        seen.locator(".tiles").get_by_role("link", name="hf-overfit").first.click()
        opened = seen.locator("details.run[open]")
        opened.locator(".chart canvas").first.wait_for()
        assert opened.locator("h2").inner_text() == "hf-overfit"
        assert opened.locator(".body").evaluate("body => body.getBoundingClientRect().top") < 400
        seen.locator("table.runs").get_by_role("link", name="hf-nan").focus()
        seen.keyboard.press("Enter")
        seen.locator("details.run[open]").nth(1).locator(".chart canvas").first.wait_for()

    def test_a_link_from_elsewhere_opens_the_run(self, visit: Visit) -> None:
        seen = visit("many", "#run-3-finding-0")
        assert seen.locator("details.run[open] h2").inner_text() == MANY[2]
        assert seen.locator("#run-3-finding-0").is_visible()


class TestCopying:
    def test_to_the_clipboard(self, visit: Visit) -> None:
        seen = visit("underfit", permissions=["clipboard-read", "clipboard-write"])
        seen.get_by_role("button", name="Copy hf arguments").click()
        seen.get_by_text("Copied hf arguments.").wait_for(state="attached")
        assert seen.evaluate("navigator.clipboard.readText()") == "--learning_rate 2.5e-05 \\\n--num_train_epochs 3"

    def test_where_the_page_may_not_write_to_it(self, visit: Visit) -> None:
        seen = visit("overfit", permissions=["clipboard-read"])
        seen.evaluate("Object.defineProperty(navigator, 'clipboard', {value: {writeText: () => Promise.reject(new Error('no'))}})")
        button = seen.get_by_role("button", name="Copy hf config")
        button.focus()
        seen.keyboard.press("Enter")
        seen.locator("#status", has_text="hf config").or_(seen.locator("#status", has_text="keyboard")).wait_for(state="attached")
        assert seen.evaluate("getSelection().toString()").strip() == "num_train_epochs: 7"


class TestEverybody:
    @pytest.mark.parametrize("name", ["overfit", "many"])
    def test_everything_is_reached_with_the_tab_key(self, visit: Visit, name: str) -> None:
        seen = visit(name)
        reachable = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
          .filter((part) => !part.disabled && part.checkVisibility({contentVisibilityAuto: false, visibilityProperty: true})).length"""
        wanted = seen.evaluate(reachable)
        visited = seen.evaluate("window.visited = new Set(); document.addEventListener('focusin', event => visited.add(event.target)); 0")
        for _ in range(wanted + 5):
            seen.keyboard.press("Tab")
        visited = seen.evaluate("visited.size")
        assert wanted > 15
        assert visited >= wanted

    @pytest.mark.parametrize("name", ALL)
    def test_a_phone_never_scrolls_sideways(self, visit: Visit, name: str) -> None:
        seen = visit(name, "#run-2", viewport={"width": 360, "height": 740})
        seen.evaluate("document.querySelectorAll('details').forEach((part, i) => { if (i < 40) part.open = true; })")
        settled(seen)
        assert seen.evaluate("document.documentElement.scrollWidth") <= 360

    @pytest.mark.parametrize("name", ["overfit", "nan", "many", "hostile", "empty"])
    def test_axe_finds_nothing_in_light_or_dark(self, visit: Visit, axe: str, name: str) -> None:
        seen = visit(name, "#run-2", bypass_csp=True)
        seen.evaluate("document.querySelectorAll('details.more, details.evidence').forEach((part) => { part.open = true; })")
        seen.evaluate(axe)
        for scheme in ("light", "dark"):
            seen.emulate_media(color_scheme=scheme)
            found = seen.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [(scheme, one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]] == []

    def test_on_paper_the_still_pictures_are_seen_and_nothing_is_dark(self, visit: Visit, axe: str) -> None:
        seen = visit("overfit", color_scheme="dark", bypass_csp=True)
        seen.emulate_media(media="print")
        assert seen.locator("canvas:visible").count() == 0
        assert seen.locator(".plot:visible").count() == 3
        assert seen.locator(".key:visible").count() >= 4
        assert seen.locator("button:visible, select:visible").count() == 0
        assert seen.locator("h1").evaluate("head => getComputedStyle(head).color") == "rgb(31, 35, 40)"
        seen.evaluate(axe)
        found = seen.evaluate("axe.run(document, {runOnly: ['color-contrast']})")
        assert found["violations"] == []
        assert found["passes"] != []
        assert seen.locator("details:not([open])").count() > 3
        seen.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert seen.locator("details:not([open])").count() == 0
        seen.evaluate("dispatchEvent(new Event('afterprint'))")
        assert seen.locator("details[open]").count() == 0
        assert b"%PDF" in seen.pdf(format="A4")[:8]

    def test_without_scripts_it_can_be_read(self, visit: Visit) -> None:
        seen = visit("overfit", java_script_enabled=False)
        text = seen.locator("main").inner_text()
        assert all(word in text for word in ("OVERFIT", "98% confident", "OVF001", "--num_train_epochs 7", "checkpoint-140"))
        assert seen.locator(".plot:visible").count() == 3
        assert "from 2.781 at step 3 to 0.2848 at step 480" in (seen.locator(".plot").first.get_attribute("aria-label") or "")
        assert seen.locator("button").count() == 0
        seen.get_by_text("Hyperparameters").click()
        assert seen.get_by_role("cell", name="training_args.json", exact=False).count() > 3
        seen.locator(".bars").get_by_role("link", name="OVF001").click()
        assert seen.url.endswith("#run-1-finding-0")


class TestHostileLogs:
    def test_nothing_runs_and_everything_is_text(self, visit: Visit) -> None:
        seen = visit("hostile")
        seen.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        settled(seen)
        seen.mouse.move(600, 600)
        assert seen.evaluate("window.hacked") is None
        assert seen.locator("img, iframe, object, embed, link").count() == 0
        assert seen.locator("script").count() == 3 + len(HOSTILE)
        assert (
            seen.evaluate(
                "[...document.querySelectorAll('*')].flatMap((part) => part.getAttributeNames()).filter((name) => name.startsWith('on'))"
            )
            == []
        )
        assert all(
            href.startswith("#run-") for href in seen.locator("a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
        )
        names = seen.locator("details.run h2").all_text_contents()
        assert names == [safe(words) for words in HOSTILE]
        for place in (".title", ".key bdi", ".keys button bdi", "td", "dd", "pre", ".finding p", ".facts", ".changes strong", ".more li"):
            texts = "\n".join(seen.locator(place).all_text_contents())
            assert [words for words in HOSTILE if safe(words) not in texts and not (place == "pre" and "\n" in words)] == [], place

    def test_a_script_that_got_in_would_not_run(self, visit: Visit, chromium: Browser, reports: dict[str, Path]) -> None:
        context = chromium.new_context()
        seen = context.new_page()
        complaints: list[str] = []
        seen.on("console", lambda message: complaints.append(message.text))
        seen.goto(reports["overfit"].as_uri())
        seen.evaluate(
            "() => { const bad = document.createElement('script'); bad.textContent = 'window.hacked = 1'; document.body.append(bad); }"
        )
        seen.evaluate("() => { document.body.insertAdjacentHTML('beforeend', '<img src=\"x.png\" onerror=\"window.hacked = 1\">'); }")
        settled(seen)
        assert seen.evaluate("window.hacked") is None
        assert sum("Content Security Policy" in complaint for complaint in complaints) >= 2
        context.close()


@pytest.mark.slow
def test_the_nu_checker_has_nothing_to_say(nu_checker: Sequence[str], reports: dict[str, Path]) -> None:
    # It calls inline scripts forbidden that the policy allows by their hash, and data that is no script; the browser decides that.
    done = subprocess.run(
        [*nu_checker, "--format", "json", *map(str, reports.values())], capture_output=True, text=True, timeout=120, check=False
    )
    messages = json.loads(done.stderr or done.stdout)["messages"]
    assert [one["message"] for one in messages if "violates Content Security Policy" not in one["message"]] == []


def test_the_same_report_gives_the_same_page() -> None:
    for report in (Report((overfit(),)), Report((recorded("hf-healthy"), overfit()))):
        assert page(report, "error") == page(report, "error")
