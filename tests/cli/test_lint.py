"""``diag lint`` as a command: exit codes, options, both formats, safe output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import diag
from diag.cli import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]

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
eval_strategy: epoch
save_strategy: epoch
"""

CALM = HOT.replace("0.01", "5.0e-05") + "load_best_model_at_end: true\n"


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    path = tmp_path / "hot.yaml"
    path.write_text(HOT, encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["lint", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]


def one_line(text: str) -> bool:
    return text.startswith("diag: ") and text.count("\n") == 1 and "Traceback" not in text


class TestExitCodes:
    def test_nothing_at_or_above_the_gate(self, run: Run, hot: Path) -> None:
        hot.write_text(CALM, encoding="utf-8")
        code, out, err = run(hot)
        assert (code, err) == (0, "")
        assert out.startswith("1 config: ") or "CFG" in out

    def test_a_finding_at_the_gate(self, run: Run, hot: Path) -> None:
        assert run(hot)[0] == 1
        assert run(hot, "--fail-on", "never")[0] == 0
        assert run(hot, "--select", "CFG034")[0] == 0
        assert run(hot, "--select", "CFG034", "--fail-on", "warning")[0] == 0
        assert run(hot, "--select", "CFG034", "--fail-on", "info")[0] == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--fail-on", "fatal"],
            ["--select", "CFG9000"],
            ["--ignore", "XYZ"],
            ["--profile", "balancd"],
            ["--dialect", "huggingface"],
            ["--method", "loar"],
            ["--format", "jsn"],
            ["--dataset-size", "many"],
            ["--dataset-size", "-5"],
            ["--dataset-size", "0"],
            ["--dataset-size", "1e40"],
            ["--model-size", "7Bn"],
            ["--world-size", "0"],
            ["--world-size", "four"],
            ["--sample-lengths", "no-such-file"],
            ["--base", "no-such-file.yaml"],
            ["--colour"],
        ],
    )
    def test_wrong_usage_is_one_clear_line(self, run: Run, hot: Path, arguments: list[str]) -> None:
        code, out, err = run(hot, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("diag: ")
        assert err.count("\n") <= 2  # a second line may name the help
        assert "Traceback" not in err

    def test_what_cannot_be_read(self, run: Run, hot: Path) -> None:
        code, out, err = run(hot.parent / "gone.yaml")
        assert (code, out) == (2, "")
        assert one_line(err)
        code, out, err = run(hot, hot.parent / "gone.yaml", "--fail-on", "never")
        assert code == 2
        assert "CFG001" in out  # the other one is judged all the same
        assert one_line(err)

    def test_what_is_no_config(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "notes.yaml"
        path.write_text("a: 1\n", encoding="utf-8")
        code, out, err = run(path)
        assert (code, out) == (3, "")
        assert one_line(err)
        assert "--dialect" in err
        code, out, err = run(tmp_path)
        assert (code, out) == (3, "")
        assert one_line(err)

    def test_no_config_named(self, run: Run) -> None:
        assert run()[0] == 2


class TestOptions:
    def message(self, run: Run, *arguments: object) -> str:
        code, out, _ = run(*arguments, "--format", "json", "--select", "CFG001")
        assert code == 1
        return str(json.loads(out)["configs"][0]["findings"][0]["message"])

    def test_sizes(self, run: Run, hot: Path) -> None:
        assert "15,000 samples, 13B parameters" in self.message(run, hot, "--dataset-size", "15k", "--model-size", "13B")
        assert "52,002 samples, 7B parameters" in self.message(run, hot, "--dataset-size", "52_002")
        assert "1,300 samples" in self.message(run, hot, "--dataset-size", "1.3e3")
        assert "56B parameters" in self.message(run, hot, "--model-size", "8x7B")

    def test_method_profile_and_dialect(self, run: Run, hot: Path) -> None:
        assert "for qlora" in self.message(run, hot, "--method", "qlora")
        for profile in ("conservative", "aggressive", "lesson", "training-hub"):
            assert f"the {profile} profile starts at" in self.message(run, hot, "--profile", profile)
        out = run(hot, "--dialect", "axolotl", "--format", "json")[1]
        assert json.loads(out)["configs"][0]["dialect"] == "axolotl"

    def test_processes_and_data_decide_the_number_of_steps(self, run: Run, hot: Path) -> None:
        out = run(hot, "--dataset-size", "6400", "--world-size", "4", "--format", "json")[1]
        amounts = json.loads(out)["configs"][0]["amounts_to"]
        assert amounts == {"global_batch_size": 16.0, "total_steps": 800, "epochs": 2.0, "warmup_steps": None}

    def test_lengths_of_the_samples(self, run: Run, hot: Path) -> None:
        lengths = hot.parent / "lengths.txt"
        lengths.write_text("\n".join(str(100 + 40 * n) for n in range(100)), encoding="utf-8")
        hot.write_text(HOT + "max_length: 256\n", encoding="utf-8")
        assert "CFG040" not in run(hot, "--select", "CFG040")[1]
        assert "CFG040" in run(hot, "--select", "CFG040", "--sample-lengths", lengths)[1]

    def test_local_data_is_counted(self, run: Run, hot: Path) -> None:
        (hot.parent / "data.jsonl").write_text('{"text": "a"}\n' * 1234, encoding="utf-8")
        hot.write_text(HOT + "dataset_name: data.jsonl\n", encoding="utf-8")
        assert "1,234 samples" in self.message(run, hot)
        assert "99 samples" in self.message(run, hot, "--dataset-size", "99")

    def test_output(self, run: Run, hot: Path, tmp_path: Path) -> None:
        file = tmp_path / "report.json"
        code, out, err = run(hot, "--format", "json", "-o", file)
        assert (code, out, err) == (1, "", "")
        assert file.read_text(encoding="utf-8") == run(hot, "--format", "json")[1]
        assert run(hot, "-o", "-")[1] == run(hot)[1]
        code, out, err = run(hot, "-o", tmp_path / "no" / "folder")
        assert (code, out) == (2, "")
        assert one_line(err)

    def test_the_config_is_not_overwritten_by_the_report(self, run: Run, hot: Path) -> None:
        before = hot.read_bytes()
        code, out, err = run(hot, "--output", hot)
        assert (code, out) == (2, "")
        assert err == f"diag: {hot} is what is read; write to another file\n"
        assert hot.read_bytes() == before

    def test_verbose_shows_what_the_config_amounts_to(self, run: Run, hot: Path) -> None:
        hot.write_text(HOT.replace("lora_r: 8", "lora_r: 8  # diag: ignore paper") + "max_steps: 500\n", encoding="utf-8")
        out = run(hot, "-v", "--world-size", "2")[1]
        assert "Hugging Face TrainingArguments, lora, 500 steps, 8 samples a step; profile balanced" in out
        assert "guide rows: S" in out


class TestReports:
    def test_text_leads_to_the_place(self, run: Run, hot: Path) -> None:
        out = run(hot, "--select", "CFG001")[1]
        lines = out.splitlines()
        assert lines[0] == f"{hot.as_posix()}:6:1: error CFG001 learning-rate-out-of-range"
        assert any(line.strip().startswith("→ learning_rate: 0.01 → ") and line.endswith("(unsafe)") for line in lines)
        assert lines[-2] == "1 config: 1 error"

    def test_ascii_where_the_terminal_knows_no_more(self, diag_command: Command, hot: Path) -> None:
        done = diag_command("lint", hot, "--select", "CFG001", env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 1
        assert done.stdout.isascii()
        assert "-> learning_rate: 0.01 -> " in done.stdout

    def test_json_keeps_its_schema_and_is_the_same_twice(self, diag_command: Command, hot: Path, tmp_path: Path) -> None:
        (tmp_path / "run.sh").write_text("trl sft --model_name_or_path a/b --learning_rate 1e-5\n", encoding="utf-8")
        (tmp_path / "bad.yaml").write_text("a: [\n", encoding="utf-8")
        first = diag_command("lint", tmp_path, "--format", "json", env={"PYTHONHASHSEED": "1"})
        second = diag_command("lint", tmp_path, "--format", "json", env={"PYTHONHASHSEED": "2"})
        assert first.stdout == second.stdout
        assert first.stdout.isascii()
        report = json.loads(first.stdout)
        jsonschema.Draft202012Validator(SCHEMA).validate(report)
        assert report["summary"]["configs"] == 2
        assert len(report["problems"]) == 1
        assert report["summary"]["failed"] is True

    def test_nothing_of_a_config_reaches_the_terminal_as_a_command(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "evil.yaml"
        evil = '"\\e[31mred\\a\\u202e\\u009b"'
        text = f"{HOT}optim: {evil}\n{evil}: 1\nlr_scheduler_type: {evil}\nlerning_rate: 1 # diag: ignore[CFG061] \x85\n"
        path.write_text(text, encoding="utf-8")
        for arguments in ([], ["-v"], ["--format", "json"]):
            _, out, err = run(path, *arguments)
            assert "red" in out
            assert {c for c in out + err if (ord(c) < 32 and c != "\n") or ord(c) in (0x7F, 0x85, 0x9B, 0x202E)} == set()

    def test_a_file_with_an_odd_name(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "a\x1b[31m\nb.yaml"
        path.write_text(HOT, encoding="utf-8")
        _, out, err = run(path)
        assert "\x1b" not in out + err
        assert "CFG001" in out
        path.write_text("a: [", encoding="utf-8")
        assert one_line(run(path)[2])

    @pytest.mark.skipif(os.name == "nt", reason="no shell pipes")
    def test_a_reader_that_leaves_is_no_error(self, tmp_path: Path) -> None:
        for number in range(60):
            (tmp_path / f"{number}.yaml").write_text(HOT, encoding="utf-8")
        command = f'"{sys.executable}" -m diag lint "{tmp_path}" -v --fail-on never; echo "code $?" >&2'
        done = subprocess.run(["bash", "-c", f"({command}) | head -n 1"], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.count("\n") == 1
        assert done.stderr == "code 0\n"


def test_it_starts_without_heavy_libraries(hot: Path) -> None:
    heavy = "{'numpy', 'pandas', 'torch', 'rich', 'scipy', 'yaml'}"
    code = f"import sys; from diag.cli import main; main(['lint', sys.argv[1]]); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(hot)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_the_exit_codes(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert out.startswith("Usage: diag lint [OPTIONS] CONFIG...")
    assert "no training config was recognized" in out
