"""The report for people: verdict, chart, findings, causes, the checkpoint to keep, and the change to make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from diag.report.wording import argument_lines, change, steps
from diag.result import Report, describe_value, supported
from diag.terminal import display_width, pad, paint, safe, tail, to_ascii, wrap
from diag.text import counted
from diag.vocabulary import DIVERGED, ERROR, HEALTHY, INCONCLUSIVE, INFO, OVERFIT, UNSTABLE, WARNING

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.fixes import Fix
    from diag.report import Layout
    from diag.report.chart import Cell
    from diag.result import RunReport

VERDICT_COLOURS = {HEALTHY: "green", INCONCLUSIVE: "grey", DIVERGED: "red", UNSTABLE: "red", OVERFIT: "red"}
"""Every other verdict is yellow."""
SEVERITY_COLOURS = {ERROR: "red", WARNING: "yellow", INFO: "blue"}
SEVERITY_SIGNS = {ERROR: "✗", WARNING: "!", INFO: "i"}
ASCII_SIGNS = {"✗": "x"}
LANES = 5
"""Findings marked under the chart; more would be taller than the plot."""
SHOWN_CAUSES = 3
"""Causes shown unless everything is asked for; the score falls off quickly behind them."""
SHOWN_INFOS = 3
"""Findings of severity ``info`` shown unless everything is asked for."""
CODES_WIDTH = 14
"""Columns of the table kept for two codes."""
SHOWN_RANKS = 3
"""Later prescriptions shown unless everything is asked for."""
BAR = 12
"""Columns of a full score bar."""
INDENT = "  "


def render(report: Report, layout: Layout) -> str:
    """The whole report as text that is safe to print."""
    lines: list[str] = []
    page = _Page(layout)
    shown = [entry for entry in report.runs if not layout.quiet or Report((entry,)).failed(layout.fail_on)]
    if len(shown) > 1:
        lines += [*page.table(shown), ""]
    for entry in shown:
        lines += [*page.run(entry), ""]
    lines += page.closing(report, ruled=bool(shown))
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def headline(entry: RunReport, layout: Layout) -> list[str]:
    """The title of one run and the chart of its loss, for a view that is drawn again and again."""
    page = _Page(layout)
    return [*page.title(entry), *page.chart(entry)]


def finding_lines(finding: Finding, layout: Layout) -> list[str]:
    """One finding by itself: its code and name, then its message."""
    return list(_Page(layout).finding(finding))


class _Page:
    """Lays text out for one terminal."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.width = layout.width

    def clean(self, text: str) -> str:
        """Text from a log, safe and in characters the terminal has."""
        text = safe(text)
        return text if self.layout.unicode else to_ascii(text)

    def paint(self, text: str, *styles: str) -> str:
        return paint(text, *styles) if self.layout.colour else text

    def sign(self, unicode: str, ascii_: str) -> str:
        return unicode if self.layout.unicode else ascii_

    def heading(self, text: str) -> list[str]:
        return ["", INDENT + self.paint(text, "bold")]

    def paragraph(self, text: str, indent: str, first: str | None = None, *styles: str) -> list[str]:
        """Wrapped text under ``indent``; the first line starts with ``first`` (same width) instead."""
        lines = wrap(self.clean(text), max(self.width - display_width(indent), 20))
        starts = [indent if first is None else first, *[indent] * (len(lines) - 1)]
        return [start + self.paint(line, *styles) for start, line in zip(starts, lines, strict=True)]

    # The table of many runs ------------------------------------------------------------------------------------------

    def table(self, runs: Sequence[RunReport]) -> Iterator[str]:
        rows = []
        for entry in runs:
            diagnosis = entry.diagnosis
            cause = diagnosis.causes[0].cause if diagnosis.causes else ""
            codes = " ".join(dict.fromkeys(f.code for f in entry.findings if f.severity != INFO))
            rows.append((self.clean(entry.run.id), diagnosis.verdict, f"{diagnosis.confidence:4.0%}", cause, codes))
        cause_width = max([5, *(len(row[3]) for row in rows)])
        name = min(max([3, *(display_width(row[0]) for row in rows)]), max(self.width - cause_width - 24 - CODES_WIDTH, 16))
        room = self.width - name - cause_width - 24
        yield self.paint(f"{pad('run', name)}  {'verdict':12}  conf  {pad('cause', cause_width)}  findings", "dim")
        for (run, verdict, confidence, cause, codes), entry in zip(rows, runs, strict=True):
            shown = self.fit(pad(codes, room).rstrip() if room > 3 else "")
            colour = VERDICT_COLOURS.get(entry.diagnosis.verdict, "yellow")
            shown_name = self.fit(pad(tail(run, name), name))
            yield f"{shown_name}  {self.paint(pad(verdict, 12), colour)}  {confidence}  {pad(cause, cause_width)}  {shown}"

    def fit(self, text: str) -> str:
        return text if self.layout.unicode else text.replace("…", "~")

    # One run ---------------------------------------------------------------------------------------------------------

    def run(self, entry: RunReport) -> Iterator[str]:
        yield from self.title(entry)
        yield from self.chart(entry)
        yield from self.findings(entry)
        yield from self.comparisons(entry)
        yield from self.causes(entry)
        yield from self.checkpoint(entry)
        yield from self.fixes(entry)
        yield from self.remarks(entry)

    def title(self, entry: RunReport) -> Iterator[str]:
        run, diagnosis = entry.run, entry.diagnosis
        verdict = self.paint(diagnosis.verdict, "bold", VERDICT_COLOURS.get(diagnosis.verdict, "yellow"))
        confidence = f"{diagnosis.confidence:.0%} confident" if run.curves else ""
        facts = [run.path if run.path not in ("", ".") else run.adapter, *([f"{run.steps:,} steps"] if run.curves else [])]
        facts += [str(value) for name in ("method", "optimizer", "precision") if (value := run.hyperparameter(name)) is not None]
        room = max(self.width - len(diagnosis.verdict) - len(confidence) - 4, 12)
        name = self.fit(pad(self.clean(run.id), min(room, display_width(self.clean(run.id)))))
        rule = self.sign("─", "-") * self.width
        yield self.paint(rule, "dim")
        yield f"{self.paint(name, 'bold')}  {verdict}  {self.paint(confidence, 'dim')}"
        detail = self.clean(f" {self.sign('·', '|')} ".join(facts))
        yield self.paint(self.fit(pad(detail, self.width)).rstrip(), "dim")

    def chart(self, entry: RunReport) -> Iterator[str]:
        from diag.report import chart

        run = entry.run
        train = run.curve("train/loss")
        eval_name, evals = next(run.eval_losses(), ("", None))
        name = "train/loss"
        reward = run.curve("reward")
        if reward is not None and chart.visible((reward,)):
            train, evals, name = reward, None, "reward"  # its loss does not measure progress
        elif not chart.visible((train, evals)):
            return
        gutter = 10
        plot = chart.draw(train, evals, self.width - gutter - 2, unicode=self.layout.unicode)
        if plot is None:
            return
        yield ""
        for row, label in zip(plot.rows, plot.labels, strict=True):
            axis = self.sign("┤", "+") if label else self.sign("│", "|")
            yield f"{label:>{gutter - 1}} {self.paint(axis, 'dim')}{self.cells(row)}"
        width = len(plot.rows[0])
        yield " " * gutter + self.paint(self.sign("└", "+") + self.sign("─", "-") * width, "dim")
        yield " " * (gutter + 1) + self.paint(chart.ticks(plot), "dim")
        placed = [f for f in entry.findings if f.step_start is not None or f.step_end is not None]
        alarms = [f for f in placed if f.severity != INFO] or placed
        seen: set[tuple[str, int, int]] = set()
        for finding in alarms:
            start = finding.step_start if finding.step_start is not None else plot.first
            end = finding.step_end if finding.step_end is not None else plot.last
            if (finding.code, start, end) in seen or len(seen) == LANES:
                continue
            seen.add((finding.code, start, end))
            bar = chart.lane(plot, start, max(start, end), unicode=self.layout.unicode)
            yield f"{finding.code:>{gutter - 1}}  {self.paint(bar, SEVERITY_COLOURS[finding.severity])}"
        legend = []
        if train is not None and len(train):
            legend.append(self.paint(self.sign("⠒⠒", ".."), "cyan") + f" {name}")
        if evals is not None:
            legend.append(self.paint(self.sign("○", "o"), "magenta") + f" {self.clean(eval_name)}")
        if any(cell.kind == "nonfinite" for cell in plot.rows[0]):
            legend.append(self.paint(self.sign("×", "x"), "red") + " NaN or infinite")
        if plot.cut:
            legend.append(f"{self.sign('↑', '^')} up to {plot.cut:.4g}")
        if plot.logarithmic:
            legend.append("log scale")
        yield " " * (gutter + 1) + "   ".join(legend)

    def cells(self, row: Iterable[Cell]) -> str:
        """One line of the plot, with as few colour changes as possible."""
        colours = {"train": "cyan", "eval": "magenta", "nonfinite": "red", "cut": "yellow"}
        parts: list[tuple[str, str]] = []
        for cell in row:
            if parts and (parts[-1][1] == cell.kind):
                parts[-1] = (parts[-1][0] + cell.text, cell.kind)
            else:
                parts.append((cell.text, cell.kind))
        return "".join(self.paint(text, colours[kind]) if kind else text for text, kind in parts)

    def findings(self, entry: RunReport) -> Iterator[str]:
        infos = [finding for finding in entry.findings if finding.severity == INFO]
        hidden = 0 if self.layout.verbose else max(len(infos) - SHOWN_INFOS, 0)
        shown = [f for f in entry.findings if f.severity != INFO] + (infos[: len(infos) - hidden])
        yield from self.heading("Findings" if shown else "No findings")
        for finding in shown:
            yield from self.finding(finding)
        if hidden:
            yield INDENT + self.paint(f"and {hidden} more remark{'s' if hidden > 1 else ''} (--verbose)", "dim")
        yield from self.accepted(entry)

    def accepted(self, entry: RunReport) -> Iterator[str]:
        """What was found and is fine: a count, or each with its reason."""
        if entry.accepted and not self.layout.verbose:
            yield INDENT + self.paint(f"{len(entry.accepted)} accepted (--verbose)", "dim")
            return
        for accepted in entry.accepted:
            finding = accepted.finding
            label = f"{INDENT}{self.sign('·', '-')} {finding.code} {self.clean(finding.name)}  accepted in {self.clean(accepted.by)}"
            yield self.paint(label, "dim")
            yield from self.paragraph(accepted.reason, INDENT * 2, None, "dim")

    def finding(self, finding: Finding) -> Iterator[str]:
        sign = SEVERITY_SIGNS[finding.severity]
        sign = sign if self.layout.unicode else ASCII_SIGNS.get(sign, sign)
        colour = SEVERITY_COLOURS[finding.severity]
        where = steps(finding, self.sign("–", "-"))
        head = f"{self.paint(sign, 'bold', colour)} {self.paint(finding.code, colour)} {self.paint(self.clean(finding.name), 'bold')}"
        yield f"{INDENT}{head}{'  ' + self.paint(where, 'dim') if where else ''}"
        yield from self.paragraph(finding.message, INDENT * 2)
        if self.layout.verbose:
            details = [", ".join(supported(finding)), ", ".join(finding.rules)]
            labels = ["speaks for", "rules"]
            for label, detail in zip(labels, details, strict=True):
                if detail:
                    yield from self.paragraph(f"{label}: {detail}", INDENT * 2, None, "dim")

    def comparisons(self, entry: RunReport) -> Iterator[str]:
        if entry.comparisons:
            from diag.report import compared

            for comparison in entry.comparisons:
                yield from compared.lines(comparison, self)

    def causes(self, entry: RunReport) -> Iterator[str]:
        causes = entry.diagnosis.causes
        shown = causes if self.layout.verbose else causes[:SHOWN_CAUSES]
        if shown:
            yield from self.heading("Likely causes")
        width = max((len(cause.cause) for cause in shown), default=0)
        for cause in shown:
            full = round(cause.score * BAR)
            bar = self.sign("█", "#") * full + self.paint(self.sign("░", ".") * (BAR - full), "dim")
            because = self.paint(" ".join(cause.because[:4]), "dim")
            yield f"{INDENT}{cause.score:4.0%}  {bar}  {pad(cause.cause, width)}  {because}"
        if entry.replayed is not None:
            yield from self.paragraph(f"Replayed: {entry.replayed.result}. {self.clean(entry.replayed.reason)}", INDENT)
        for question in entry.diagnosis.questions:
            label = f"{INDENT}{self.sign('→', '->')} "
            yield from self.paragraph(question, " " * display_width(label), label)

    def checkpoint(self, entry: RunReport) -> Iterator[str]:
        best = entry.best_checkpoint
        if best is None:
            return
        yield from self.heading("Checkpoint to keep")
        if best.path:
            state = "on disk" if best.exists else "no longer on disk"
            yield f"{INDENT}{self.paint(self.clean(best.path), 'bold')}  {self.paint(f'step {best.step:,}, {state}', 'dim')}"
        else:
            yield f"{INDENT}{self.paint(f'step {best.step:,}', 'bold')}  {self.paint('no checkpoint of that step was found', 'dim')}"

    # The prescription ------------------------------------------------------------------------------------------------

    def fixes(self, entry: RunReport) -> Iterator[str]:
        first = [fix for fix in entry.fixes if fix.rank == 1]
        later = [fix for fix in entry.fixes if fix.rank > 1]
        if first:
            yield from self.heading("Change in the next run")
            yield from self.changes(first)
            yield from self.override(entry)
        if later:
            yield from self.heading("If that does not help")
            yield from self.changes(later) if self.layout.verbose else self.alternatives(later)

    def changes(self, fixes: list[Fix]) -> Iterator[str]:
        width = max(len(fix.parameter) for fix in fixes)
        for fix in fixes:
            what = self.clean(change(fix))
            yield f"{INDENT}{self.paint(pad(fix.parameter, width), 'bold')}  {self.paint(what, 'green')}"
            basis = " ".join((fix.because, *fix.rules)).strip()
            yield from self.paragraph(f"{fix.reason} [{basis}]" if basis else fix.reason, INDENT * 2, None, "dim")

    def alternatives(self, fixes: list[Fix]) -> Iterator[str]:
        """Later ranks in short: one paragraph each."""
        ranks = sorted({fix.rank for fix in fixes})
        bullet = f"{INDENT}{self.sign('·', '-')} "
        for rank in ranks[:SHOWN_RANKS]:
            text = ", ".join(f"{fix.parameter} {what}" if (what := change(fix)) else fix.reason for fix in fixes if fix.rank == rank)
            yield from self.paragraph(text, INDENT * 2, bullet)
        if (hidden := len(ranks) - SHOWN_RANKS) > 0:
            yield INDENT + self.paint(f"and {hidden} more (--verbose)", "dim")

    def override(self, entry: RunReport) -> Iterator[str]:
        overrides = entry.overrides
        if overrides is None:
            return
        if overrides.arguments:
            yield ""
            yield INDENT + self.paint(f"as {overrides.dialect} arguments", "dim")
            yield from (INDENT * 2 + line for line in argument_lines(map(self.clean, overrides.arguments)))
        if overrides.config:
            yield ""
            yield INDENT + self.paint(f"as {overrides.dialect} config", "dim")
            yield from (INDENT * 2 + self.clean(line) for line in overrides.to_yaml().splitlines())
        if overrides.code:
            yield ""
            yield INDENT + self.paint("in code", "dim")
            yield from (INDENT * 2 + self.clean(line) for line in overrides.code.splitlines())
        told = {fix.reason for fix in entry.fixes}
        notes = [note for note in overrides.notes if note not in told]
        if notes:
            yield ""
        bullet = f"{INDENT}{self.sign('·', '-')} "
        for note in notes:
            yield from self.paragraph(note, INDENT * 2, bullet)

    # What else there is to know --------------------------------------------------------------------------------------

    def remarks(self, entry: RunReport) -> Iterator[str]:
        if self.layout.verbose and entry.run.hyperparameters:
            yield from self.heading("Hyperparameters")
            width = max(len(name) for name in entry.run.hyperparameters)
            for name, known in sorted(entry.run.hyperparameters.items()):
                label = f"{INDENT}{pad(name, width)}  "
                yield from self.paragraph(f"{describe_value(known.value)}  ({known.source})", " " * len(label), label)
        if entry.run.notes:
            yield from self.heading("Notes")
            bullet = f"{INDENT}{self.sign('·', '-')} "
            for note in entry.run.notes:
                yield from self.paragraph(note, INDENT * 2, bullet)
        if not entry.skipped:
            return
        if self.layout.verbose:
            yield from self.heading("Skipped checks")
            for code, reason in entry.skipped:
                yield from self.paragraph(reason, INDENT + " " * 8, f"{INDENT}{code}  ")
            return
        reasons: dict[str, int] = {}
        for _, reason in entry.skipped:
            reasons[reason] = reasons.get(reason, 0) + 1
        top = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:2]
        reason = "; ".join([*(reason for reason, _ in top), *(["…"] if len(reasons) > 2 else [])])
        plural = "s" if len(entry.skipped) > 1 else ""
        text = f"{len(entry.skipped)} check{plural} could not judge this run ({reason})"
        yield ""
        yield from self.paragraph(text, INDENT, None, "dim")

    def closing(self, report: Report, *, ruled: bool) -> Iterator[str]:
        """One line that sums up, under a rule where runs stand above it."""
        if len(report.runs) > 1 or (report.runs and self.layout.quiet):
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in report.by_verdict.items())
            if ruled:
                yield self.paint(self.sign("─", "-") * self.width, "dim")
            yield f"{counted(len(report.runs), 'run')}: {verdicts}"
        if report.problems:
            yield f"{len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}; see the messages"
