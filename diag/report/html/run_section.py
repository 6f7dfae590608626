"""The part of the page about one run."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from diag.report.downsampling import thin
from diag.report.html.axes import frame
from diag.report.html.chart_data import chart_data
from diag.report.html.drawing import bars, described, plot
from diag.report.html.elements import Markup, data, element, join
from diag.report.html.pieces import bar, bullets, code, details, evidence, finding_head, key, name, snippet, table, verdict
from diag.report.panels import Panel, panels, span
from diag.report.wording import argument_lines, change, steps
from diag.result import describe_value
from diag.text import counted, show
from diag.vocabulary import HYPERPARAMETERS

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.fixes import Fix
    from diag.result import RunReport

SVG_STRETCHES: Final = 150
"""Stretches of a curve in the pictures for paper: what ink can show on half a page."""
MOST_METRICS: Final = 40
"""Rows of the table of what was logged; the metrics that are drawn come first."""


class Section:
    """Writes the part of one run.

    Args:
        entry: the run and what was found.
        number: its place in the report, from 1; part of the ids.
    """

    def __init__(self, entry: RunReport, number: int) -> None:
        self.entry = entry
        self.id = f"run-{number}"
        self.panels = panels(entry)
        self.numbers: dict[str, int] = {}
        for place, finding in enumerate(entry.findings):
            self.numbers.setdefault(finding.code, place)

    def head(self) -> Markup:
        """Name, verdict and facts, in one line where there is room."""
        run = self.entry.run
        facts = [f"{self.entry.diagnosis.confidence:.0%} confident"]
        if run.path not in ("", ".", run.id):
            facts.append(run.path)
        facts.append(counted(run.steps, "step"))
        facts += [str(value) for one in ("method", "optimizer", "precision") if (value := run.hyperparameter(one)) is not None]
        return join(
            element("h2", name(run.id), id=f"{self.id}-name"),
            verdict(self.entry.diagnosis.verdict),
            element("span", " · ".join(facts), class_="facts"),
        )

    def body(self, detail: int) -> Markup:
        """Everything else; ``detail`` is the number of stretches that a curve is cut into."""
        about = element("div", self._changes(), self._causes(), self._checkpoint(), self._later(), class_="about")
        found = element("div", self._findings(), self._requirements(), self._accepted(), self._notes(), class_="found")
        return join(
            self._curves(detail),
            element("div", found, about, class_="columns"),
            self._logged(detail),
            self._hyperparameters(),
            self._skipped(),
        )

    # Curves ----------------------------------------------------------------------------------------------------------

    def _curves(self, detail: int) -> Markup:
        if not self.panels:
            return element("p", "Nothing that was logged can be drawn.", class_="muted")
        best = self.entry.best_checkpoint
        step = None if best is None else best.step
        figures = [self._figure(panel, step, detail) for panel in self.panels]
        script = data(chart_data(self.panels, step, detail), id=f"{self.id}-data")
        return element("div", element("div", figures, class_="panels"), script, class_="curves", data_run=self.id)

    def _figure(self, panel: Panel, best: int | None, detail: int) -> Markup:
        first, last = span(self.panels)
        axes = frame(panel, first, last)
        findings = self.entry.findings
        labels = {
            band.finding: f"{findings[band.finding].code} {findings[band.finding].name}, {steps(findings[band.finding])}"
            for band in panel.bands
        }
        keys = [key(line.metric, colour, dash, line.evaluated) for line, colour, dash in panel.styled]
        if panel.left_out:
            keys.append(element("span", f"and {len(panel.left_out)} more", class_="muted"))
        return element(
            "figure",
            element("figcaption", element("span", panel.title, class_="title"), element("span", keys, class_="keys")),
            element(
                "div",
                element("div", plot(panel, axes, min(detail, SVG_STRETCHES), best, described(panel, labels)), class_="frame"),
                bars(panel, axes, f"{self.id}-finding-", labels),
                class_="static",
            ),
        )

    def _logged(self, detail: int) -> Markup:
        """The table of what was logged, for those who cannot see the curves and for what is not drawn."""
        run = self.entry.run
        drawn = {line.metric for panel in self.panels for line in panel.lines}
        metrics = [
            *(line.metric for panel in self.panels for line in panel.lines),
            *sorted(metric for metric in run.curves if metric not in drawn),
        ]
        rows = [self._curve_row(metric, metric in drawn, detail) for metric in metrics[:MOST_METRICS]]
        head = ("Metric", "Logged as", "Points", "Drawn", "First", "Lowest", "Highest", "Last", "Not finite")
        thinned = any(len(thin(line.curve, detail)) < len(line.curve) for panel in self.panels for line in panel.lines)
        remarks = []
        if thinned:
            remarks.append(
                f"Of long curves the charts draw the first, the last, the lowest and the highest point of each of {detail:,} stretches of "
                "steps, and whatever is not finite; no spike is lost. Numbers and findings are about all points."
            )
        if len(metrics) > MOST_METRICS:
            remarks.append(f"{len(metrics) - MOST_METRICS} more metrics were logged.")
        return details(
            "What was logged", table(head, rows), *(element("p", remark, class_="muted") for remark in remarks), count=len(metrics)
        )

    def _curve_row(self, metric: str, drawn: bool, detail: int) -> list[Markup | str]:
        curve = self.entry.run.curves[metric]
        value = curve.finite().value
        numbers = [show(float(one)) for one in (value[0], value.min(), value.max(), value[-1])] if value.size else ["–"] * 4
        native = self.entry.run.native_names.get(metric, metric)
        points = f"{len(thin(curve, detail)):,}" if drawn else "–"
        return [code(metric), code(native), f"{len(curve):,}", points, *numbers, f"{len(curve) - value.size:,}"]

    # What was found --------------------------------------------------------------------------------------------------

    def _findings(self) -> Markup:
        found = self.entry.findings
        if not found:
            return element("section", element("h3", "No findings"))
        return element("section", element("h3", "Findings"), element("ol", map(self._finding, range(len(found))), class_="findings"))

    def _finding(self, number: int) -> Markup:
        finding = self.entry.findings[number]
        placed = any(band.finding == number for panel in self.panels for band in panel.bands)
        return element(
            "li",
            finding_head(finding),
            element("p", finding.message),
            evidence(finding),
            id=f"{self.id}-finding-{number}",
            class_=f"finding {finding.severity}",
            data_steps=self._steps_of(finding) if placed else None,
        )

    def _steps_of(self, finding: Finding) -> str:
        first, last = span(self.panels)
        start = first if finding.step_start is None else finding.step_start
        end = last if finding.step_end is None else finding.step_end
        return f"{start} {max(start, end)}"

    def _requirements(self) -> Markup | None:
        """What the user requires of the metrics, and how the run stands to it."""
        rows = [
            [
                element("span", "✓ met" if one.is_met else "✗ not met", class_=f"gate {'good' if one.is_met else 'bad'}"),
                code(one.requirement),
                code(one.metric),
                "not logged" if one.value is None else show(one.value),
                "–" if one.step is None else f"{one.step:,}",
            ]
            for one in self.entry.requirements
        ]
        head = ("State", "Requirement", "Metric", "Value", "Step")
        return element("section", element("h3", "Requirements"), table(head, rows)) if rows else None

    def _accepted(self) -> Markup | None:
        if not self.entry.accepted:
            return None
        items = [
            element(
                "li",
                finding_head(one.finding),
                element("p", one.finding.message),
                element("p", "Accepted: ", one.reason or "no reason was given", element("span", f" ({one.by})", class_="muted")),
                class_="finding accepted",
            )
            for one in self.entry.accepted
        ]
        return element("section", element("h3", "Accepted findings"), element("ul", items, class_="findings"))

    def _notes(self) -> Markup | None:
        notes = self.entry.run.notes
        return element("section", element("h3", "Notes"), bullets(notes)) if notes else None

    # What follows from it --------------------------------------------------------------------------------------------

    def _causes(self) -> Markup | None:
        diagnosis, replayed = self.entry.diagnosis, self.entry.replayed
        if not diagnosis.causes and not diagnosis.questions and replayed is None:
            return None
        items = [
            element(
                "li",
                element("span", f"{cause.score:.0%}", class_="score"),
                element("span", code(cause.cause), " ", [join(self._link(one), " ") for one in cause.because], class_="cause"),
                bar(cause.score),
            )
            for cause in diagnosis.causes
        ]
        return element(
            "section",
            element("h3", "Likely causes"),
            element("ol", items, class_="causes") if items else None,
            None if replayed is None else element("p", element("strong", f"Replayed: {replayed.result}."), f" {replayed.reason}"),
            [element("p", "→ ", question, class_="question") for question in diagnosis.questions],
        )

    def _link(self, finding_code: str) -> Markup:
        """A code, linked to its finding where it is one of this run."""
        number = self.numbers.get(finding_code)
        return code(finding_code) if number is None else element("a", finding_code, href=f"#{self.id}-finding-{number}", class_="code")

    def _checkpoint(self) -> Markup | None:
        best = self.entry.best_checkpoint
        if best is None:
            return None
        state = ("on disk" if best.exists else "no longer on disk") if best.path else "no checkpoint of that step was found"
        place = (
            [code(best.path), f" step {best.step:,}, {state}"] if best.path else [element("strong", f"Step {best.step:,}"), f", {state}"]
        )
        return element("section", element("h3", "Checkpoint to keep"), element("p", place))

    def _changes(self) -> Markup | None:
        first = [fix for fix in self.entry.fixes if fix.rank == 1]
        if not first:
            return None
        listed = element("ul", map(self._change, first), class_="changes")
        return element("section", element("h3", "Change in the next run"), listed, self._override(), class_="prescription")

    def _later(self) -> Markup | None:
        """What to try after the first prescription, rank by rank."""
        fixes = groupby((fix for fix in self.entry.fixes if fix.rank > 1), key=lambda fix: fix.rank)
        ranks = [element("li", element("ul", map(self._change, same), class_="changes")) for _, same in fixes]
        return details("If that does not help", element("ol", ranks, class_="ranks"), count=len(ranks)) if ranks else None

    def _change(self, fix: Fix) -> Markup:
        basis = [join(self._link(fix.because), " ") if fix.because else None, " ".join(fix.rules)]
        return element(
            "li",
            element("p", element("strong", fix.parameter), " ", element("span", change(fix), class_="change"), class_="what"),
            element("p", fix.reason, " ", element("span", basis, class_="muted")),
            element("p", fix.arithmetic, class_="muted") if fix.arithmetic else None,
        )

    def _override(self) -> Markup | None:
        overrides = self.entry.overrides
        if overrides is None:
            return None
        told = {fix.reason for fix in self.entry.fixes}
        return join(
            snippet(f"{overrides.dialect} arguments", "\n".join(argument_lines(overrides.arguments))) if overrides.arguments else None,
            snippet(f"{overrides.dialect} config", overrides.to_yaml()) if overrides.config else None,
            snippet("in code", overrides.code) if overrides.code else None,
            bullets([note for note in overrides.notes if note not in told]),
        )

    # What else there is to know --------------------------------------------------------------------------------------

    def _hyperparameters(self) -> Markup | None:
        known = self.entry.run.hyperparameters
        if not known:
            return None
        order = {one: place for place, one in enumerate(HYPERPARAMETERS)}
        names = sorted(known, key=lambda one: (order.get(one, len(order)), one))
        rows = [[code(one), describe_value(known[one].value), known[one].source] for one in names]
        return details("Hyperparameters", table(("Name", "Value", "Read from"), rows), count=len(rows))

    def _skipped(self) -> Markup | None:
        skipped = self.entry.skipped
        if not skipped:
            return None
        reasons: dict[str, list[str]] = {}
        for one, reason in skipped:
            reasons.setdefault(reason, []).append(one)
        items = [element("li", [join(code(one), " ") for one in codes], reason) for reason, codes in reasons.items()]
        return details("Checks that could not judge this run", element("ul", items), count=len(skipped))
