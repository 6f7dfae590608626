"""The engine of ``diag lint``: which files are read, which rules speak, what comments silence, what data sets and lengths are counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
from linting import plan

import diag
from diag.dialects import recognition
from diag.errors import InputError, UsageError
from diag.lint import Lint, Violation
from diag.linting import LintReport, inspect, lint, lints, plans
from diag.plan import Options, Plan
from diag.result import Problem

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "lint_schema.json").read_text(encoding="utf-8"))

HOT = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
output_dir: out
use_peft: true
lora_r: 8
lora_alpha: 16
learning_rate: 0.01
num_train_epochs: 2
per_device_train_batch_size: 4
"""


def write(folder: Path, name: str, text: str | bytes = HOT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(report: LintReport) -> list[str]:
    return [violation.code for entry in report.configs for violation in entry.violations]


def valid(report: LintReport) -> dict[str, object]:
    """The JSON report, which keeps its schema."""
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document  # type: ignore[no-any-return]


class TestRules:
    def test_every_rule_is_found_once_and_has_a_page(self) -> None:
        codes = [rule.code for rule in lints()]
        assert codes == sorted(set(codes))
        assert {"CFG001", "CFG030", "CFG066", "CFG099"} <= set(codes)
        for rule in lints():
            page = rule.__doc__ or ""
            assert all(f"## {part}" in page for part in ("What it does", "Why is this bad?", "When it stays silent", "What to do"))
            assert rule.severity in ("error", "warning", "info")

    def test_a_rule_that_crashes_is_a_problem_and_the_others_speak(self) -> None:
        class Broken(Lint):
            """Breaks."""

            code, name = "CFG998", "broken"

            def inspect(self, plan: Plan) -> Iterable[Violation]:
                raise ZeroDivisionError("division by zero")

        problems: list[Problem] = []
        report = inspect(plan(HOT), [Broken(), *lints()], problems)
        assert "CFG001" in {violation.code for violation in report.violations}
        assert [(p.kind, p.message) for p in problems] == [("crash", "CFG998 crashed: ZeroDivisionError: division by zero")]
        assert LintReport((report,), tuple(problems)).exit_code("never") == 4
        assert LintReport((report,), tuple(problems)).exit_code() == 1

    def test_a_rule_that_crashes_raises_with_debug(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken(Lint):
            """Breaks half way."""

            code, name = "CFG998", "broken"

            def inspect(self, plan: Plan) -> Iterator[Violation]:
                yield self.violation(plan, "One.")
                raise KeyError("x")

        monkeypatch.setenv("DIAG_DEBUG", "1")
        with pytest.raises(KeyError):
            inspect(plan(HOT), [Broken()], [])

    def test_rules_of_other_dialects_and_of_whole_configs_are_left_out(self) -> None:
        class Talkative(Lint):
            """Speaks."""

            code, name = "CFG998", "talkative"

            def inspect(self, plan: Plan) -> Iterator[Violation]:
                yield self.violation(plan, "One.")

        class Foreign(Talkative):
            """Speaks of others."""

            code, dialects = "CFG997", ("torchtune",)

        class Whole(Talkative):
            """Speaks of whole configs."""

            code, whole = "CFG996", True

        rules = [Talkative(), Foreign(), Whole()]
        part = plan("use_peft: true\nlora_r: 8\nlora_alpha: 16\nmodel_name_or_path: a/b\n", dialect="hf")
        assert [v.code for v in inspect(plan(HOT), rules).violations] == ["CFG996", "CFG998"]
        assert [v.code for v in inspect(part, rules).violations] == ["CFG998"]


class TestSelection:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        return write(tmp_path, "hot.yaml")

    def test_prefixes_choose(self, config: Path) -> None:
        everything = found(lint([config]))
        assert {"CFG001", "CFG030"} <= set(everything)
        assert found(lint([config], select=["CFG001"])) == ["CFG001"]
        assert found(lint([config], select=["cfg03"])) == [code for code in everything if code.startswith("CFG03")]
        assert found(lint([config], ignore=["CFG0"])) == []
        assert found(lint([config], ignore=["CFG001"])) == [code for code in everything if code != "CFG001"]

    def test_the_longer_match_wins(self, config: Path) -> None:
        assert found(lint([config], select=["CFG001"], ignore=["CFG00"])) == ["CFG001"]
        assert found(lint([config], select=["CFG"], ignore=["CFG0"])) == []
        assert "CFG001" not in found(lint([config], select=["CFG00"], ignore=["CFG001"]))

    @pytest.mark.parametrize("word", ["CFG9000", "FCG001", "learning-rate", ""])
    def test_a_misspelt_code_is_refused(self, config: Path, word: str) -> None:
        with pytest.raises(UsageError, match="no rule has a code that begins with"):
            lint([config], select=[word])
        with pytest.raises(UsageError, match="no rule has a code that begins with"):
            lint([config], ignore=[word])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (Options(profile="balancd"), "did you mean 'balanced'"),
            (Options(profile="lessons"), "did you mean 'lesson'"),
            (Options(dialect="huggingface"), "must be one of hf, "),
            (Options(dialect="axolotls"), "did you mean 'axolotl'"),
            (Options(method="qlra"), "did you mean 'qlora'"),
        ],
    )
    def test_a_misspelt_option_is_refused(self, config: Path, options: Options, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            lint([config], options)

    def test_an_unknown_gate_is_refused(self, config: Path) -> None:
        with pytest.raises(UsageError, match="fail_on"):
            lint([config]).failed("fatal")

    def test_every_dialect_and_profile_is_taken(self, config: Path) -> None:
        for dialect in recognition.DIALECTS:
            assert lint([config], Options(dialect=dialect)).configs[0].plan.dialect == dialect
        for profile in ("conservative", "balanced", "aggressive", "automodel", "training-hub", "lesson"):
            report = lint([config], Options(profile=profile), select=["CFG001"])
            assert report.configs[0].plan.profile == profile
            assert f"the {profile} profile starts at" in report.configs[0].violations[0].message
            valid(report)


class TestComments:
    def ignored(self, text: str) -> tuple[list[str], list[tuple[str, str]]]:
        report = inspect(plan(text), lints())
        return [v.code for v in report.violations], [(v.code, reason) for v, reason in report.silenced]

    def at(self, comment: str) -> str:
        return HOT.replace("learning_rate: 0.01", f"learning_rate: 0.01  {comment}")

    @pytest.mark.parametrize("codes", ["[CFG001]", "[CFG00]", "[cfg001]", "[CFG001, XYZ123]", " [CFG001]", " CFG001", ": CFG001", ""])
    def test_on_its_line(self, codes: str) -> None:
        left, silenced = self.ignored(self.at(f"# diag: ignore{codes} a test"))
        assert "CFG001" not in left
        assert ("CFG001", "a test") in silenced
        assert "CFG099" not in left

    def test_above_its_line(self) -> None:
        text = HOT.replace("learning_rate: 0.01", "# diag: ignore[CFG001] from a paper\n# see above\nlearning_rate: 0.01")
        left, silenced = self.ignored(text)
        assert "CFG001" not in left
        assert silenced == [("CFG001", "from a paper")]

    def test_only_its_line_and_code(self) -> None:
        left, silenced = self.ignored(self.at("# diag: ignore[CFG030]"))
        assert {"CFG001", "CFG030", "CFG099"} <= set(left)
        assert silenced == []

    def test_of_the_whole_file(self) -> None:
        left, silenced = self.ignored(f"# diag: ignore-file[CFG001]\n{HOT}")
        assert "CFG001" not in left
        assert "CFG030" in left
        assert [code for code, _ in silenced] == ["CFG001"]
        left, silenced = self.ignored(f"# diag: ignore-file generated\n{HOT}")
        assert left == []
        assert {"CFG001", "CFG030"} <= {code for code, _ in silenced}

    def test_one_that_silences_nothing_is_told(self) -> None:
        text = HOT.replace("lora_r: 8", "lora_r: 8  # diag: ignore[CFG060]")
        unused = [v for v in inspect(plan(text), lints()).violations if v.code == "CFG099"]
        assert [(v.line, v.severity, v.message) for v in unused] == [(4, "info", "The comment ignore[CFG060] silences nothing.")]

    def test_each_code_of_one_has_to_silence_something(self) -> None:
        report = inspect(plan(self.at("# diag: ignore[CFG001, CFG060]")), lints())
        assert [v.code for v, _ in report.silenced] == ["CFG001"]
        assert [v.message for v in report.violations if v.code == "CFG099"] == ["The comment ignore[CFG001, CFG060] silences no CFG060."]

    def test_a_rule_that_does_not_exist_is_told(self) -> None:
        report = inspect(plan(self.at("# diag: ignore[CFG001, CFG998]")), lints())
        assert [v.message for v in report.violations if v.code == "CFG099"] == [
            "The comment ignore[CFG001, CFG998] names CFG998, which is no rule."
        ]

    @pytest.mark.parametrize("comment", ["# diag: ignore[CFG001", "# diag: ignored for now", "# diag: ignore-line"])
    def test_what_is_not_quite_one_silences_nothing(self, comment: str) -> None:
        left, silenced = self.ignored(self.at(comment))
        assert "CFG001" in left
        assert silenced == []

    def test_one_above_a_command_is_about_all_of_it(self, tmp_path: Path) -> None:
        command = "trl sft --model_name_or_path meta-llama/Llama-2-7b-hf --use_peft \\\n  --learning_rate 0.01 \\\n  --num_train_epochs 2\n"
        path = write(tmp_path, "run.sh", f"# diag: ignore[CFG001] tried\n{command}# diag: ignore[CFG060]\n{command}")
        first, second = lint([path], select=["CFG001", "CFG060", "CFG099"]).configs
        assert [(v.code, v.line) for v, _ in first.silenced] == [("CFG001", 3)]
        assert first.violations == ()
        assert [(v.code, v.line) for v in second.violations] == [("CFG099", 5), ("CFG001", 7)]

    def test_one_with_a_code_of_another_program_or_a_rule_left_out_is_not(self, tmp_path: Path) -> None:
        assert "CFG099" not in self.ignored(self.at("# diag: ignore[XYZ123]"))[0]
        path = write(tmp_path, "a.yaml", HOT.replace("lora_r: 8", "lora_r: 8  # diag: ignore[CFG060]"))
        assert "CFG099" in found(lint([path]))
        assert "CFG099" not in found(lint([path], ignore=["CFG060"]))
        assert "CFG099" not in found(lint([path], ignore=["CFG099"]))

    def test_in_a_script(self, tmp_path: Path) -> None:
        text = """\
        from trl import SFTConfig
        SFTConfig(
            output_dir="out",
            learning_rate=0.01,  # diag: ignore[CFG001] tried
            num_train_epochs=2,
        )
        """
        path = write(tmp_path, "train.py", dedent(text))
        report = lint([path], Options(method="lora"))
        assert "CFG001" not in found(report)
        assert [(v.code, v.line, reason) for v, reason in report.configs[0].silenced] == [("CFG001", 4, "tried")]

    def test_silenced_findings_do_not_fail(self, tmp_path: Path) -> None:
        report = lint([write(tmp_path, "a.yaml", f"# diag: ignore-file\n{HOT}")])
        assert report.exit_code("info") == 0
        document = valid(report)
        assert document["summary"] == {"configs": 1, "by_severity": {"error": 0, "warning": 0, "info": 0}, "failed": False}
        assert document["configs"][0]["silenced"]  # type: ignore[index]


class TestFiles:
    def test_a_folder_is_searched(self, tmp_path: Path) -> None:
        write(tmp_path, "b.yaml", HOT + "eval_strategy: 'no'\nsave_strategy: epoch\n")
        write(tmp_path, "a/train.sh", "#!/bin/sh\ntrl sft --model_name_or_path a/b-7B --learning_rate 1e-5 --output_dir x\n")
        write(tmp_path, "notes.yaml", "title: not a config\nauthors: [a, b]\n")
        write(tmp_path, "setup.py", "print('hello')\n")
        write(tmp_path, "data.txt", "learning_rate: 1\n")
        for skipped in (".git", "node_modules", "venv", "__pycache__", "site-packages", "wandb"):
            write(tmp_path, f"{skipped}/hot.yaml")
        report = lint([tmp_path])
        assert [Path(entry.plan.document.path).relative_to(tmp_path).as_posix() for entry in report.configs] == ["b.yaml", "a/train.sh"]
        assert (report.problems, report.unrecognized) == ((), ())

    def test_a_file_named_twice_is_read_once(self, tmp_path: Path) -> None:
        path = write(tmp_path, "hot.yaml", HOT + "save_strategy: epoch\neval_strategy: epoch\n")
        assert len(lint([path, path, tmp_path]).configs) == 1

    def test_one_that_is_no_config_counts_only_if_named(self, tmp_path: Path) -> None:
        path = write(tmp_path, "notes.yaml", "title: not a config\nauthors: [a, b]\n")
        assert lint([tmp_path]) == LintReport(())
        assert lint([path]).unrecognized == (path.as_posix(),)
        assert lint([tmp_path]).exit_code() == lint([path]).exit_code() == 3

    def test_a_script_holds_several(self, tmp_path: Path) -> None:
        text = "trl sft --model_name_or_path a/b --learning_rate 1e-5\n\ntrl dpo --model_name_or_path a/b --learning_rate 1e-7\n"
        report = lint([write(tmp_path, "all.sh", text)])
        assert [(entry.plan.document.entry, entry.plan.document.line) for entry in report.configs] == [("trl sft", 1), ("trl dpo", 3)]
        valid(report)

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("binary.yaml", b"\x80\x81\xfe\xff" * 50, "is not utf-8 text"),
            ("nul.yaml", b"learning_rate: 1\0", "NUL"),
            ("broken.yaml", b"learning_rate: [1, 2\nb: c\n", "broken.yaml"),
            ("tabs.yaml", b"a:\n\tb: 1\n", "tabs.yaml"),
            ("broken.json", b'{"learning_rate": 1e-5,, }', "broken.json"),
            ("broken.py", b"def f(:\n", "broken.py"),
            ("huge.yaml", b"# x\n" * (1 << 19), "is larger than"),
            ("deep.json", b"[" * 100_000 + b"]" * 100_000, "deep.json"),
            ("deep.yaml", b"[" * 2_000 + b"]" * 2_000, "deep.yaml"),
        ],
    )
    def test_one_that_cannot_be_read_does_not_stop_the_others(self, tmp_path: Path, name: str, content: bytes, problem: str) -> None:
        bad, good = write(tmp_path, name, content), write(tmp_path, "hot.yaml")
        report = lint([bad, good])
        assert "CFG001" in found(report)
        assert [(p.kind, p.path, p.named) for p in report.problems] == [("input", bad.as_posix(), True)]
        assert problem in report.problems[0].message
        assert "\n" not in report.problems[0].message
        assert report.exit_code("never") == 2
        assert lint([bad]).exit_code() == 2
        valid(report)

    def test_a_bomb_of_aliases_does_not_go_off(self, tmp_path: Path) -> None:
        levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
        path = write(tmp_path, "bomb.yaml", f"{HOT}a0: &a0 [x, x, x]\n{levels}\n")
        report = lint([path])
        assert "CFG001" in found(report)
        assert "holds more than" in report.configs[0].to_dict()["notes"][0]
        assert len(json.dumps(valid(report))) < 1 << 20

    @pytest.mark.parametrize(
        "content", [b"", b"\n\n", b"# only a comment\n", b"---\n...\n", b"null\n", b"just words\n", b"[1, 2, 3]\n", b"\xef\xbb\xbf"]
    )
    def test_an_empty_one_is_no_config(self, tmp_path: Path, content: bytes) -> None:
        path = write(tmp_path, "empty.yaml", content)
        report = lint([path])
        assert report.configs == ()
        assert report.exit_code() in (2, 3)

    def test_missing_and_dangling_ones(self, tmp_path: Path) -> None:
        dangling = tmp_path / "link.yaml"
        dangling.symlink_to(tmp_path / "gone.yaml")
        report = lint([tmp_path / "missing.yaml", dangling])
        assert all("does not exist" in problem.message for problem in report.problems)
        assert len(report.problems) == 2
        assert report.exit_code() == 2
        write(tmp_path, "hot.yaml", HOT + "save_strategy: epoch\neval_strategy: epoch\n")
        assert lint([tmp_path]).exit_code("never") == 0  # one that was only come across does not fail the rest

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.yaml")
        os.mkfifo(tmp_path / "data.jsonl")
        write(tmp_path, "hot.yaml", HOT + "save_strategy: epoch\neval_strategy: epoch\ndataset_name: data.jsonl\n")
        report = lint([tmp_path])
        assert len(report.configs) == 1
        assert "is not a regular file" in report.problems[0].message
        assert report.configs[0].plan.samples is None

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_forbidden_one(self, tmp_path: Path) -> None:
        path = write(tmp_path, "hot.yaml")
        path.chmod(0)
        assert "cannot be read" in lint([path]).problems[0].message

    def test_marks_and_line_ends_do_not_matter(self, tmp_path: Path) -> None:
        texts = (HOT.encode(), b"\xef\xbb\xbf" + HOT.encode(), HOT.replace("\n", "\r\n").encode(), HOT.encode("utf-16"))
        reports = [lint([write(tmp_path, f"{number}.yaml", text)]) for number, text in enumerate(texts)]
        places = [[(v.code, v.line, v.column, v.message) for v in report.configs[0].violations] for report in reports]
        assert places[0]
        assert places == places[:1] * 4

    def test_the_base_must_be_a_config(self, tmp_path: Path) -> None:
        path = write(tmp_path, "hot.yaml")
        with pytest.raises(InputError, match="does not exist"):
            lint([path], base=tmp_path / "gone.yaml")
        with pytest.raises(InputError, match="is not recognized as a training config"):
            lint([path], base=write(tmp_path, "notes.yaml", "a: 1\n"))

    def test_the_report_is_the_same_twice(self, tmp_path: Path) -> None:
        for name in ("b.yaml", "a.yaml", "c/d.yaml"):
            write(tmp_path, name, HOT + "save_strategy: epoch\neval_strategy: epoch\n")
        first, second = lint([tmp_path]), lint([tmp_path])
        assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())
        assert len(first.configs) == 3


class TestPlans:
    def test_the_dialect_is_taken_on_trust(self, tmp_path: Path) -> None:
        path = write(tmp_path, "odd.yaml", "rate: 1\n")
        assert plans(path, "odd.yaml") == []
        assert [p.dialect for p in plans(path, "odd.yaml", Options(dialect="axolotl"))] == ["axolotl"]

    def test_what_a_command_names_is_read_too(self, tmp_path: Path) -> None:
        write(tmp_path, "base.yaml", HOT)
        script = write(tmp_path, "run.sh", "trl sft --config base.yaml --lora_r 16\n")
        made = next(p for p in plans(script, "run.sh") if p.document.entry == "trl sft")
        assert (made.number("lora_r"), made.number("lora_rank"), made.number("learning_rate")) == (None, 16, 0.01)
