"""What each line-based format says beyond being valid: failures and passes, the worst first, what is too long, what a cell may hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from builders import healthy
from consumers import read_concise, read_csv, read_github, read_gitlab, read_junit, read_markdown, read_parquet
from hypothesis import given
from hypothesis import strategies as st

from diag.analysis import judge
from diag.check import Finding
from diag.gate.requirements import Outcome
from diag.linting import lint
from diag.report import Layout, concise, github, gitlab, junit, markdown, markdown_text, table
from diag.result import Accepted, Problem, Report, RunReport
from diag.terminal import safe

Command = Callable[..., "subprocess.CompletedProcess[str]"]
LAYOUT = Layout()


@cache
def overfit() -> RunReport:
    run = (
        healthy(epochs=10).overfit().lr().hyperparameters(num_epochs=10.0, learning_rate=2e-5).run(id="a-run", path="runs/a", dialect="hf")
    )
    return judge(run)[0]


@cache
def calm() -> RunReport:
    entry = judge(healthy(epochs=3).lr().hyperparameters(num_epochs=3.0, learning_rate=2e-5).run(id="b-run", path="runs/b"))[0]
    return replace(entry, findings=())


def finding(severity: str = "error", code: str = "OVF001", message: str = "It rises.", metric: str = "eval/loss") -> Finding:
    return Finding(code, "overfit-gap", severity, message, metric, 10, 20)


def with_findings(*findings: Finding) -> Report:
    return Report((replace(overfit(), findings=findings),))


PROBLEMS = (
    Problem("input", "gone.csv", "does not exist", True),
    Problem("input", "odd.csv", "is empty", False),
    Problem("crash", "x", "boom"),
)


class TestJunit:
    def test_one_suite_a_run_and_one_case_a_check(self) -> None:
        entry = overfit()
        root = read_junit(junit.render(Report((entry, calm())), LAYOUT))
        assert [suite.get("name") for suite in root] == ["a-run", "b-run"]
        names = [case.get("name").split()[0] for case in root[0].iter("testcase")]
        assert names == sorted({*entry.examined, *(code for code, _ in entry.skipped)})

    def test_findings_at_the_gate_fail_and_milder_ones_pass(self) -> None:
        report = with_findings(finding("error"), finding("warning", "GRD001"), finding("info", "EVL003"))
        for fail_on, failing in (("error", 1), ("warning", 2), ("info", 3), ("never", 0)):
            root = read_junit(junit.render(report, Layout(fail_on=fail_on)))
            assert int(root.get("failures")) == failing
            assert len(list(root.iter("failure"))) == failing
            assert len(list(root.iter("system-out"))) == 3 - failing

    def test_a_failure_tells_all_findings_of_its_check(self) -> None:
        root = read_junit(junit.render(with_findings(finding(message="First."), finding(message="Second.")), LAYOUT))
        (failure,) = root.iter("failure")
        assert failure.get("message") == "First. (and 1 more)"
        assert "Second." in failure.text
        assert "steps 10-20" in failure.text

    def test_what_could_not_judge_is_skipped_with_its_reason(self) -> None:
        root = read_junit(junit.render(Report((overfit(),)), LAYOUT))
        skipped = {
            case.get("name").split()[0]: case.find("skipped").get("message")
            for case in root.iter("testcase")
            if len(case.findall("skipped"))
        }
        assert skipped == dict(overfit().skipped)

    def test_accepted_findings_pass_and_say_why(self) -> None:
        entry = replace(overfit(), findings=(), accepted=(Accepted(finding(), "known since May", "diag.toml"),))
        root = read_junit(junit.render(Report((entry,)), LAYOUT))
        assert root.get("failures") == "0"
        assert "accepted in diag.toml: known since May" in "".join(root.itertext())

    def test_a_requirement_that_is_met_is_a_case_that_passes(self) -> None:
        met = replace(calm(), requirements=(Outcome("eval/loss<=9", "eval/loss", 1.0, 10, True),))
        root = read_junit(junit.render(Report((met,)), LAYOUT))
        (case,) = [case for case in root.iter("testcase") if case.get("name") == "GAT001 requirement-not-met"]
        assert len(case) == 0

    def test_a_finding_of_the_gate_is_a_case_of_its_own(self) -> None:
        root = read_junit(junit.render(with_findings(replace(finding(), code="GAT001", name="requirement-not-met")), LAYOUT))
        (failure,) = root.iter("failure")
        assert failure.getparent().get("name") == "GAT001 requirement-not-met"

    def test_problems_are_errors_unless_the_gate_passes_them_too(self) -> None:
        root = read_junit(junit.render(Report((calm(),), PROBLEMS), LAYOUT))
        assert root.get("errors") == "2"
        assert [len(case) and case[0].tag for case in root[-1].iter("testcase")] == ["error", "skipped", "error"]

    def test_configs_have_suites_too(self) -> None:
        root = read_junit(junit.render(lint(["examples"]), LAYOUT))
        assert root[0].get("name") == "examples/mistral-lora.yaml"
        assert int(root.get("tests")) > int(root.get("failures")) == 4

    @given(st.text())
    def test_any_text_is_valid_xml(self, text: str) -> None:
        report = with_findings(finding(message=text, metric=text))
        for unicode in (True, False):
            read_junit(junit.render(report, Layout(unicode=unicode)))


class TestGithub:
    def test_levels(self) -> None:
        entries = read_github(github.render(with_findings(finding("error"), finding("warning"), finding("info")), LAYOUT))
        assert [entry["name"] for entry in entries] == ["error", "warning", "notice"]

    def test_the_worst_ten_come_first_and_the_rest_is_counted(self) -> None:
        report = with_findings(*[finding("info")] * 8, *[finding("warning")] * 4, finding("error"))
        entries = read_github(github.render(report, LAYOUT))
        assert [entry["name"] for entry in entries[:-1]] == ["error", *["warning"] * 4, *["notice"] * 5]
        assert entries[-1]["message"].startswith("3 more")

    def test_problems_are_told(self) -> None:
        entries = read_github(github.render(Report((), PROBLEMS), LAYOUT))
        assert [entry["name"] for entry in entries] == ["error", "error", "warning"]
        assert entries[0]["message"] == "gone.csv: does not exist"

    def test_lines_and_columns_of_configs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entries = read_github(github.render(lint(["examples"]), LAYOUT))
        assert entries[0]["file"] == "examples/mistral-lora.yaml"
        assert entries[0]["line"] == "6"

    def test_a_file_elsewhere_is_not_named(self) -> None:
        (entry, *_) = read_github(github.render(Report((overfit(),)), LAYOUT))
        assert "file" not in entry
        assert "[a-run, steps" in entry["message"]

    @given(st.text())
    def test_any_text_stays_on_its_line(self, text: str) -> None:
        (entry,) = read_github(github.render(with_findings(finding(message=f"<{text}>", metric=text)), LAYOUT))
        assert entry["message"].startswith("<")


class TestGitlab:
    def test_severities_and_codes(self) -> None:
        entries = read_gitlab(gitlab.render(with_findings(finding("error"), finding("warning"), finding("info")), LAYOUT))
        assert [entry["severity"] for entry in entries] == ["major", "minor", "info"]
        assert entries[0]["description"].startswith("OVF001 overfit-gap: It rises.")

    def test_accepted_findings_are_left_out(self) -> None:
        entry = replace(overfit(), findings=(), accepted=(Accepted(finding(), "known", "diag.toml"),))
        assert read_gitlab(gitlab.render(Report((entry,)), LAYOUT)) == []


class TestConcise:
    def test_paths_lead_from_the_working_directory(self, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import diag

        monkeypatch.chdir(fixtures / "hf-overfit")
        (first, *_) = read_concise(concise.render(diag.analyze("."), LAYOUT))
        assert first["path"] == "trainer_state.json"
        monkeypatch.chdir(fixtures / "grpo")
        (first, *_) = read_concise(concise.render(diag.analyze("../hf-overfit"), LAYOUT))
        assert first["path"] == "../hf-overfit/trainer_state.json"

    def test_nothing_found_is_nothing_said(self) -> None:
        assert concise.render(Report((calm(),)), LAYOUT) == ""


MARKUP = (
    "`", "|", "<", ">", "&", "@user", "#12", "GH-3", "_x_", "**", "~~", "[a](b)", "![x](y)", "\\", "$$x$$", "[^1]", "|---|", "&lt;",
    "&#64;u", "http://a.b", "www.a.b", "a@b.c", "mailto:x@y.z", "user/repo#1",
    "<script>", "</details>", "<!--", "```", "~~~", "\n# h", "\n- x", " ",
)  # fmt: skip


class TestMarkdown:
    def test_says_what_matters_first(self) -> None:
        text = markdown.render(Report((calm(), overfit())), LAYOUT)
        root = read_markdown(text)
        assert text.startswith("## diag: failed\n")
        assert [cell.text_content() for cell in root.iter("td")][:2] == ["a-run", f"OVERFIT {overfit().diagnosis.confidence:.0%}"]
        assert "num_train_epochs" in "".join(root.xpath("//pre")[0].itertext())
        assert [summary.text for summary in root.iter("summary")][:2] == ["Likely causes", "Checkpoint to keep"]
        assert "Change in the next run" in text

    def test_a_passing_report_says_so(self) -> None:
        assert markdown.render(Report((calm(),)), LAYOUT).startswith("## diag: passed\n")

    def test_problems_and_accepted_findings_are_told(self) -> None:
        entry = replace(calm(), accepted=(Accepted(finding(), "known since May", "diag.toml"),))
        text = markdown.render(Report((entry,), PROBLEMS), LAYOUT)
        read_markdown(text)
        assert "- **error** `gone.csv` does not exist" in text
        assert "<summary>1 accepted finding</summary>" in text
        assert "known since May" in text

    def test_requirements_are_told(self) -> None:
        outcomes = (Outcome("eval/loss<=9", "eval/loss", 1.0, 10, True), Outcome("x|y<1", "x|y", None, None, False))
        text = markdown.render(Report((replace(overfit(), requirements=outcomes),)), LAYOUT)
        cells = [cell.text_content() for cell in read_markdown(text).iter("td")]
        at = cells.index("eval/loss<=9")
        assert cells[at : at + 6] == ["eval/loss<=9", "1", "met", "x|y<1", "not logged", "not met"]

    def test_is_no_longer_than_a_comment_may_be(self) -> None:
        runs = tuple(replace(overfit(), run=replace(overfit().run, id=f"run-{n}")) for n in range(200))
        text = markdown.render(Report((*(replace(calm(), run=replace(calm().run, id=f"calm-{n}")) for n in range(50)), *runs)), LAYOUT)
        read_markdown(text)
        assert 50_000 < len(text.encode()) <= markdown.MAX_COMMENT
        assert "This page is as long as GitHub takes it" in text.splitlines()[-1]
        assert text.index("run-0") < text.index("calm-0")

    def test_with_verbose_it_may_be_as_long_as_a_summary(self) -> None:
        runs = tuple(replace(overfit(), run=replace(overfit().run, id=f"run-{n}")) for n in range(100))
        text = markdown.render(Report(runs), Layout(verbose=True))
        assert markdown.MAX_COMMENT < len(text.encode()) <= markdown.MAX_SUMMARY

    def test_a_run_with_very_many_findings_is_cut(self) -> None:
        text = markdown.render(with_findings(*[finding(message="It rises. " * 20)] * 1000), LAYOUT)
        read_markdown(text)
        assert "and 980 more" in text

    @given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=5), max_size=12).map("".join))
    def test_any_text_stays_text(self, words: str) -> None:
        report = with_findings(finding(message=f"a {words}", metric=words))
        named = replace(report.runs[0], run=replace(report.runs[0].run, id=f"r{words}"))
        root = read_markdown(markdown.render(Report((named,)), LAYOUT))
        assert len(root.xpath("//table")) == 3
        shown = [cell.text_content().replace("\u200b", "").split() for cell in root.iter("td")]
        assert safe(f"a {words}").split() in shown
        assert safe(f"r{words}").split() in shown

    @pytest.mark.parametrize("words", ["`", "``", "a`b", "``` x", " both ", "a|b", "|", "\\|"])
    def test_a_code_span_shows_what_it_is_given(self, words: str) -> None:
        root = read_markdown("\n".join(markdown_text.table(["a", "b"], [[markdown_text.code(words, in_table=True), "x"]])))
        assert [cell.text_content() for cell in root.iter("td")] == [words.strip() if words.strip("` ") == "" else words, "x"]

    def test_a_block_is_longer_than_the_fences_in_it(self) -> None:
        root = read_markdown("\n".join(markdown_text.block("yaml", ["a: |", "  ````", "  </pre><script>"])))
        assert root.xpath("//pre")[0].text_content() == "a: |\n  ````\n  </pre><script>\n"


class TestTables:
    def test_a_run_without_findings_has_a_row(self) -> None:
        report = Report((overfit(), calm()))
        rows = read_csv(table.csv(report, LAYOUT))
        assert [row["run"] for row in rows].count("b-run") == 1
        assert rows[-1]["code"] == ""
        assert len({row["run"] for row in rows}) == 2

    def test_begin_with_the_columns_of_the_frame(self) -> None:
        report = Report((overfit(),))
        frame = report.to_frame()
        assert list(table.COLUMNS)[: len(frame.columns)] == list(frame.columns)
        rows = read_parquet(table.parquet(report, LAYOUT))
        for name in ("run", "code", "severity", "metric", "step_start", "step_end", "message", "causes"):
            assert [row[name] for row in rows] == frame[name].tolist()

    def test_parquet_has_types(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        schema = pyarrow.parquet.read_schema(pa.BufferReader(table.parquet(Report((overfit(), calm())), LAYOUT)))
        assert schema.field("step_start").type == pa.int64()
        assert schema.field("confidence").type == pa.float64()
        (row,) = read_parquet(table.parquet(Report((calm(),)), LAYOUT))
        assert row["step_start"] is None
        assert row["confidence"] == calm().diagnosis.confidence

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r=1", "＝1", "  =1"])
    def test_formulas_are_text(self, text: str) -> None:
        (row,) = read_csv(table.csv(with_findings(finding(message=text)), LAYOUT))
        assert row["message"].startswith("'")

    def test_numbers_are_numbers(self) -> None:
        (row,) = read_csv(table.csv(with_findings(replace(finding(), step_start=-5)), LAYOUT))
        assert row["step_start"] == "-5"
        assert float(row["confidence"]) == overfit().diagnosis.confidence

    def test_accepted_findings_say_why(self) -> None:
        entry = replace(overfit(), findings=(), accepted=(Accepted(finding(), "known", "x"), Accepted(finding(), "", "x")))
        assert [row["accepted"] for row in read_csv(table.csv(Report((entry,)), LAYOUT))] == ["known", "yes"]

    def test_configs_have_lines(self) -> None:
        rows = read_csv(table.csv(lint(["examples"]), LAYOUT))
        assert {row["line"] for row in rows} == {"6", "7", "11", "16"}

    @given(st.text(), st.text())
    def test_any_text_is_a_cell(self, message: str, name: str) -> None:
        named = replace(overfit(), run=replace(overfit().run, id=name), findings=(finding(message=message, metric=name),))
        (row,) = read_csv(table.csv(Report((named,)), LAYOUT))
        assert row["code"] == "OVF001"

    def test_parquet_without_pyarrow_says_what_to_install(self, diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
        (tmp_path / "pyarrow.py").write_text("raise ImportError", encoding="utf-8")
        done = diag_command("analyze", fixtures / "grpo", "--format", "parquet", env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 2
        assert done.stderr == "diag: the parquet format needs pyarrow; install it with: pip install 'diag[parquet]'\n"


def test_the_command_writes_them_all_at_once(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    wanted = [f"--output={name}={tmp_path / name}" for name in ("sarif", "junit", "gitlab", "markdown", "csv", "parquet", "concise")]
    done = diag_command("analyze", fixtures / "hf-overfit", "--format", "github", *wanted)
    assert (done.returncode, done.stderr) == (1, "")
    assert read_github(done.stdout)[0]["name"] == "error"
    assert all((tmp_path / option.split("=")[1]).stat().st_size for option in wanted)
    read_parquet((tmp_path / "parquet").read_bytes())


def test_the_first_formats_need_no_heavy_library(fixtures: Path) -> None:
    code = (
        "import sys, diag\nfrom diag.report import Layout, renderer\n"
        f"report = diag.analyze({str(fixtures / 'hf-overfit')!r})\n"
        "for name in ('concise', 'csv', 'github', 'gitlab', 'junit', 'markdown', 'sarif'): renderer(name)(report, Layout())\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'pandas', 'scipy', 'rich', 'jsonschema', 'pyarrow', 'lxml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_configuration_that_declares_the_gate_stands_in_for_runs_elsewhere(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "diag.toml").write_text('fail-on = "warning"\n', encoding="utf-8")
    done = diag_command("analyze", fixtures / "hf-overfit", "--config", "diag.toml", "--format", "github", cwd=tmp_path)
    assert done.returncode == 1
    assert {entry["file"] for entry in read_github(done.stdout)} == {"diag.toml"}
