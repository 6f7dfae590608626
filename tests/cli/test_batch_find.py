"""``diag batch-find`` as a command: what it prints and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import diag.cli
from diag.cli.batch_find import memory
from diag.dialects import Overrides
from diag.replay.batch_test import BOUND, DATA, IGNORED, MEMORY, BatchTest, Trial
from diag.replay.probe import TEMPLATE
from diag.report import Layout
from diag.report import batch_find as report

GIB = 2**30
SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "batch_find_schema.json").read_text(encoding="utf-8"))
OVERRIDES = Overrides("hf", ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "4"], notes=["A remark."])


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "my_probe.py"
    path.write_text(TEMPLATE.replace("{name}", path.name), encoding="utf-8")
    return path


def made(ended: str = MEMORY, *, share: int | None = 32, overrides: Overrides | None = OVERRIDES) -> BatchTest:
    rates = {2: 12.5, 4: 110.0, 8: 1234.5, 16: 1240.0}
    trials = [Trial(size, True, 300 * 2**20 * size, rate, "") for size, rate in rates.items()]
    return BatchTest(
        "cpu", 5 * GIB, (*trials, Trial(32, False, None, None, "out of memory")), 16, 8, 8, share and 4, ended, 1024,
        share=share, recorded=(2, 16) if share else (None, None), overrides=overrides, notes=("precision fp16 was probed in fp32",),
    )  # fmt: skip


def refused() -> BatchTest:
    return BatchTest("cpu", 5 * GIB, (), None, None, None, None, IGNORED, 1024, "the batches do not follow micro_batch_size: they do not")


# The command.


@pytest.mark.slow
def test_the_template_gets_a_size_in_the_words_of_its_run(probe: Path, fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["batch-find", "--probe", f"{probe}:probe", "--run", str(fixtures / "hf-overfit"), "--memory-limit", "4G"]
    assert diag.cli.main([*arguments, "--max", "4", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    assert (content["largest"], content["ended"], content["memory_limit"]) == (4, "bound", 4 * GIB)
    size = content["micro_batch_size"]
    assert size in (2, 4) and content["gradient_accumulation_steps"] == 8 // size
    accumulation = ["--gradient_accumulation_steps", str(8 // size)]
    assert content["overrides"]["arguments"] == ["--per_device_train_batch_size", str(size), *accumulation]


@pytest.mark.slow
def test_a_probe_with_a_batch_of_its_own_exits_with_3(probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe.write_text(TEMPLATE.replace('hyperparameters.get("micro_batch_size", 32)', "32"), encoding="utf-8")
    before = probe.read_bytes()
    arguments = ["batch-find", "--probe", str(probe), "--format", "json", "-o", str(tmp_path / "out.json")]
    assert diag.cli.main(arguments) == 3
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (content["verdict"], content["micro_batch_size"], content["ended"]) == ("INCONCLUSIVE", None, "ignored")
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    assert "they hold 32 samples at 2 and 32 at 4" in content["reason"]
    assert probe.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory-limit", "lots"], "'lots' is no amount of memory; write it like 4G"),
        (["--max", "0"], "x>=1"),
        (["--probe", "no_such_file.py:probe"], "no_such_file.py"),
        (["--run", "no/such/run"], "does not exist"),
        (["-o", "{probe}"], "write to another file"),
    ],
)
def test_every_mistake_is_one_line_and_exit_2(probe: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [argument.format(probe=probe) for argument in arguments]
    assert diag.cli.main(["batch-find", "--probe", f"{probe}:probe", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("written", "size"), [("4G", 4 * GIB), ("1.5GiB", 3 * GIB // 2), ("512mb", GIB // 2), ("100000", 100_000), ("2 g", None), ("0", None)]
)
def test_memory_is_read_as_people_write_it(written: str, size: int | None) -> None:
    import click

    parse: Callable[[], int | None] = lambda: memory(click.Context(click.Command("x")), click.Option(["--x"]), written)  # noqa: E731
    if size is None:
        with pytest.raises(click.BadParameter):
            parse()
    else:
        assert parse() == size


# The report.


def test_the_text_says_what_fits_what_pays_and_what_to_change() -> None:
    text = report.text(made(), Layout())
    assert text.startswith("Micro-batch: 8\nThe largest that fits into 5.0 GiB on cpu is 16; from 8 on, none is faster by\nmore than 5%\n")
    assert re.search(r"^ +8 +2.3 GiB +1,23[45]  <- train with this$", text, re.MULTILINE)
    assert re.search(r"^ +2 +600 MiB +12.5$", text, re.MULTILINE)
    assert re.search(r"^ +32 +- +-  out of memory$", text, re.MULTILINE)
    assert "Change in the run: micro_batch_size 2 → 8, gradient_accumulation_steps 16 → 4" in text
    assert "\n  --per_device_train_batch_size 8 --gradient_accumulation_steps 4\n" in text
    assert "A remark." in text and "Precision fp16 was probed in fp32" in text


def test_every_end_of_the_search_is_said() -> None:
    assert "All sizes up to 16 fit into 5.0 GiB on cpu; larger ones were not tried (--max)" in report.text(made(BOUND), Layout(width=120))
    assert "up to 16, the largest power of two that a pass of the probe's data fills" in report.text(made(DATA), Layout(width=120))
    assert "Set micro_batch_size to 8, and gradient_accumulation_steps so that" in report.text(made(share=None), Layout())
    assert "The run has it already" in report.text(made(overrides=None), Layout())
    text = report.text(refused(), Layout())
    assert text.startswith("Micro-batch: INCONCLUSIVE\nThe batches do not follow micro_batch_size")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_fits_the_terminal(width: int) -> None:
    for test in (made(), made(DATA), refused()):
        assert max(len(line) for line in report.text(test, Layout(width=width)).splitlines() if not line.startswith("  --")) <= width


def test_the_text_can_be_ascii_and_coloured() -> None:
    assert report.text(made(), Layout(unicode=False)).isascii()
    assert "\x1b[" in report.text(made(), Layout(colour=True))
    assert "\x1b[" not in report.text(made(), Layout())


def test_the_json_holds_everything() -> None:
    content = json.loads(report.json(made(), Layout()))
    assert (content["verdict"], content["micro_batch_size"], content["gradient_accumulation_steps"]) == ("FOUND", 8, 4)
    assert [trial["samples_per_second"] for trial in content["trials"]] == [12.5, 110.0, 1234.5, 1240.0, None]
    assert content["overrides"]["dialect"] == "hf"
    assert json.loads(report.json(refused(), Layout()))["verdict"] == "INCONCLUSIVE"


def test_every_report_is_what_the_schema_says() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for test in (made(), made(BOUND, share=None, overrides=None), made(DATA), refused()):
        content = json.loads(report.json(test, Layout()))
        validator.validate(content)
        assert not validator.is_valid({**content, "more": 1})
