"""Every report format, on every source, through its consumer: valid, the same bytes for the same input, harmless for hostile logs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from consumers import read, read_csv, read_sarif
from tensorboardX import SummaryWriter

import diag
from diag.linting import LintReport, lint
from diag.report import LINE_FORMATS, Layout, formats, renderer
from diag.report import lint as lint_report
from diag.result import Report

SOURCES = ("console", "csv", "jsonl", "mlflow-filestore", "mlflow-sqlite", "tensorboard", "trainer_state", "wandb")

HOSTILE = (
    "<script>alert(1)</script>\n::error::owned\x1b[31m\x1b]8;;http://evil.example\x07|`a`|```\u202e]]>\x00"
    "@octocat #1 GH-1 www.evil.example ![x](http://evil.example) **b** $\\alpha$ {0} %0A::warning::x &lt;"
)
"""Terminal escapes, markup, commands, mentions, links, an override of the reading direction, the end of a CDATA section, and NUL."""
FORMULA = "=cmd()|'/C calc'!A0"


@pytest.fixture(scope="module")
def fleet(fixtures: Path) -> Report:
    """A run of every source."""
    return diag.analyze([fixtures / "all-sources" / "overfit" / name for name in SOURCES])


def configs() -> LintReport:
    return lint(["examples", "tests/data/configs/axolotl"])


class TestEveryFormat:
    @pytest.mark.parametrize("name", formats())
    def test_is_read_by_its_consumer_for_every_source(self, fleet: Report, name: str) -> None:
        assert len(fleet.runs) == len(SOURCES)
        for fail_on in ("error", "info", "never"):
            read(name, renderer(name)(fleet, Layout(fail_on=fail_on)))
        if name != "parquet":
            content = renderer(name)(fleet, Layout(unicode=False, verbose=True))
            assert isinstance(content, str)
            assert content.isascii()
            read(name, content)

    @pytest.mark.parametrize("name", formats())
    def test_takes_a_report_of_nothing(self, name: str) -> None:
        read(name, renderer(name)(Report(()), Layout()))

    @pytest.mark.parametrize("name", lint_report.FORMATS)
    def test_is_read_by_its_consumer_for_configs(self, name: str) -> None:
        report = configs() if name not in ("sarif", "junit") else lint(["examples"])
        assert any(entry.violations for entry in report.configs)
        read(name, lint_report.renderer(name)(report, Layout(verbose=True)))
        read(name, lint_report.renderer(name)(LintReport(()), Layout()))

    def test_the_line_formats_take_both_kinds_of_report(self) -> None:
        assert set(LINE_FORMATS) <= set(formats())
        assert set(LINE_FORMATS) <= set(lint_report.FORMATS)

    def test_the_help_names_them_all(self) -> None:
        from diag.cli.common import FORMATS

        assert set(FORMATS.split(", ")) == set(formats())


@pytest.mark.parametrize("name", formats())
def test_two_working_copies_give_the_same_bytes(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    written: list[str | bytes] = []
    for copy in ("one", "two/deeper"):
        folder = tmp_path / copy
        shutil.copytree(fixtures / "automodel-jsonl", folder / "fleet" / "automodel-jsonl")
        shutil.copytree(fixtures / "all-sources" / "overfit" / "tensorboard", folder / "fleet" / "events")
        for path in sorted(folder.rglob("*")):
            os.utime(path, (len(written), len(written)))
        monkeypatch.chdir(folder)
        written.append(renderer(name)(diag.analyze("fleet"), Layout()))
    assert written[0] == written[1]


# --- hostile logs ------------------------------------------------------------------------------------------------


def rows(name: str) -> list[dict[str, Any]]:
    """A run that overfits, with a metric of that name beside the losses."""
    made: list[dict[str, Any]] = []
    for step in range(10, 1010, 10):
        made.append({"step": step, "loss": 2.0 * 0.995**step + 0.1, "learning_rate": 1e-3, name: 1.0})
        if step % 50 == 0:
            made.append({"step": step, f"eval_{name}_loss": 1.0 + abs(step - 200) / 500})
    return made


def write_run(folder: Path, source: str, name: str) -> Path:
    """A hostile run in one format, in a folder of a hostile name."""
    folder = folder / f"{source}-{HOSTILE}".replace("/", "_").replace("\x00", "")[:200]
    folder.mkdir(parents=True)
    config = {"learning_rate": 1e-3, "num_train_epochs": 3, "optim": name, "lr_scheduler_type": FORMULA, name: name, "run_name": FORMULA}
    (folder / "training_args.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if source == "trainer_state":
        state = {"log_history": rows(name), "global_step": 1000, "best_model_checkpoint": name}
        (folder / "trainer_state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    elif source == "jsonl":
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(name)), encoding="utf-8")
    elif source == "csv":
        plain = name.replace("\n", " ").replace("\x00", "").replace(",", " ").replace('"', "")
        header = ["step", "train_loss", "val_loss", plain, FORMULA]
        lines = [f"{step},{2.0 * 0.995**step + 0.1},{1.0 + abs(step - 200) / 500},1,2" for step in range(10, 1010, 10)]
        (folder / "metrics.csv").write_text("\n".join([",".join(header), *lines, ""]), encoding="utf-8")
    else:
        with SummaryWriter(str(folder)) as writer:
            for row in rows(name):
                for key in sorted(set(row) - {"step"}):
                    # its own clean_tag would make the names harmless
                    writer._get_file_writer().add_summary(summary(key, row[key]), row["step"])
    return folder


def summary(tag: str, value: float) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    base = tmp_path_factory.mktemp("hostile")
    for name, folder in ((HOSTILE, "markup"), (FORMULA, "formula")):
        for source in ("trainer_state", "jsonl", "csv", "tfevents"):
            write_run(base / folder, source, name)
    (base / f"broken-{HOSTILE}.jsonl".replace("/", "_").replace("\x00", "")[:200]).write_text("{", encoding="utf-8")
    here = Path.cwd()
    os.chdir(base)
    try:
        return base, diag.analyze([".", *(path.name for path in base.glob("broken*"))])
    finally:
        os.chdir(here)


PLAIN = ("concise", "csv", "github", "gitlab", "json", "markdown", "sarif", "text")
"""Formats in which a tag is only text, or stands in a code span, which the consumer looks at."""


class TestHostileLogs:
    @pytest.mark.parametrize("name", formats())
    def test_are_harmless(self, hostile: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        base, report = hostile
        assert len(report.runs) == 8
        assert report.problems
        monkeypatch.chdir(base)
        for verbose in (False, True):
            content = renderer(name)(report, Layout(verbose=verbose, fail_on="info"))
            read(name, content)
            if isinstance(content, str):
                assert name in PLAIN or "<script>alert" not in content
                assert "\n::error::owned" not in content

    def test_are_named_in_what_is_written(self, hostile: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch) -> None:
        base, report = hostile
        monkeypatch.chdir(base)
        results = read_sarif(str(renderer("sarif")(report, Layout())))["results"]
        told = json.dumps(results)
        assert "eval/<script>alert(1)</script>/error/owned\\\\x1b[31m" in told
        rows = read_csv(str(renderer("csv")(report, Layout())))
        assert any("=cmd()" in row["message"] for row in rows)

    @pytest.mark.parametrize("name", lint_report.FORMATS)
    def test_configs_are_harmless_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        path = Path(f"c-{HOSTILE}.json".replace("/", "_").replace("\x00", "")[:200] + ".json")
        values = {"output_dir": "out", "learning_rate": 5.0, "num_train_epochs": 3, "per_device_train_batch_size": 8}
        values |= {HOSTILE: HOSTILE, FORMULA: FORMULA, "optim": HOSTILE, "lr_scheduler_type": FORMULA}
        path.write_text(json.dumps(values, indent=2), encoding="utf-8")
        report = lint([path])
        assert report.configs[0].violations
        read(name, lint_report.renderer(name)(report, Layout(verbose=True)))
