"""The command as a process: exit codes, streams, one clear line for what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import diag

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def one_line(text: str) -> bool:
    return text.startswith("diag: ") and text.count("\n") == 1 and "Traceback" not in text


def test_version(diag_command: Command) -> None:
    assert diag_command("--version").stdout == f"diag {diag.__version__}\n"


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    code = "import sys; from diag.cli import main; main(['--help']); print(sorted({'numpy', 'pandas', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("analyze", "checks", "explain"))


def test_analyze_imports_nothing_heavy_for_a_small_log(fixtures: Path) -> None:
    heavy = "{'pandas', 'scipy.stats', 'rich', 'ruamel', 'google.protobuf', 'torch', 'mlflow', 'wandb', 'tensorboard', 'jsonschema'}"
    code = f"import sys; from diag.cli import main; main(['analyze', sys.argv[1]]); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(fixtures / "hf-overfit")], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["analyze", "checks", "explain"])
def test_every_command_has_help(diag_command: Command, command: str) -> None:
    done = diag_command(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: diag {command}")


class TestExitCodes:
    def test_passed(self, diag_command: Command, fixtures: Path) -> None:
        done = diag_command("analyze", fixtures / "hf-healthy", "--fail-on", "warning")
        assert (done.returncode, done.stderr) == (0, "")

    def test_failed(self, diag_command: Command, fixtures: Path) -> None:
        assert diag_command("analyze", fixtures / "hf-overfit").returncode == 1
        assert diag_command("analyze", fixtures / "hf-overfit", "--fail-on", "never").returncode == 0

    def test_usage(self, diag_command: Command, fixtures: Path) -> None:
        for arguments in (["analyze"], ["analyse"], ["analyze", fixtures, "--fail-on", "fatal"], ["--colour"], ["explain", "OVF999"]):
            done = diag_command(*arguments)
            assert done.returncode == 2, arguments
            assert done.stdout == ""
            assert done.stderr.startswith("diag: ")
            assert "Traceback" not in done.stderr

    def test_without_arguments_the_help_is_shown(self, diag_command: Command) -> None:
        done = diag_command()
        assert done.returncode in (0, 2)  # 2 from click 8.2 on
        assert (done.stdout + done.stderr).startswith("Usage: diag")

    def test_near_misses_are_suggested(self, diag_command: Command, fixtures: Path) -> None:
        assert "did you mean 'analyze'" in diag_command("analyse", ".").stderr
        assert "did you mean 'OVF001'" in diag_command("explain", "OVF01").stderr
        assert "did you mean" in diag_command("analyze", fixtures / "hf-healthy", "--select", "OVG").stderr
        assert "text" in diag_command("analyze", fixtures / "hf-healthy", "--format", "yaml").stderr

    def test_nothing_to_judge(self, diag_command: Command, tmp_path: Path) -> None:
        done = diag_command("analyze", tmp_path)
        assert done.returncode == 3
        assert one_line(done.stderr)

    def test_inconclusive(self, diag_command: Command, tmp_path: Path) -> None:
        state = {"log_history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.9}], "global_step": 2, "max_steps": 2}
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        assert diag_command("analyze", tmp_path).returncode == 3

    def test_a_crashing_adapter(self, fixtures: Path) -> None:
        code = (
            "import sys; from diag.adapters import trainer_state; from diag.cli import main\n"
            "def crash(*a): raise ZeroDivisionError('boom')\n"
            "type(trainer_state.ADAPTER).read = crash\n"
            "sys.exit(main(['analyze', *sys.argv[1:]]))"
        )
        one, two = str(fixtures / "hf-healthy"), str(fixtures / "hf-overfit")
        done = subprocess.run([sys.executable, "-c", code, one, two], capture_output=True, text=True, check=False)
        assert done.returncode in (2, 4)
        assert "ZeroDivisionError" in done.stderr
        assert "Traceback" not in done.stderr

    def test_interrupted(self, fixtures: Path) -> None:
        code = (
            "import signal, sys, time; from diag import loading; from diag.cli import main\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job inherits that it is ignored
            "def wait(source): print('reading', flush=True); time.sleep(60)\n"
            "loading.attempt = wait\n"
            "sys.exit(main(['analyze', sys.argv[1]]))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(fixtures / "hf-healthy")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "reading\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "interrupted" in errors


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("trainer_state.json", b""),
            ("trainer_state.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
            ("trainer_state.json", b"\x89PNG\r\n\x1a\n\x00\x00"),
            ("trainer_state.json", b"[" * 100_000),
            ("metrics.csv", b""),
            ("photo.png", b"\x89PNG\r\n\x1a\n\x00\x00"),
            ("training_args.bin", b"\x80\x04\x95"),
        ],
    )
    def test_one_clear_line(self, diag_command: Command, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        done = diag_command("analyze", tmp_path / name)
        assert done.returncode == 2
        assert done.stdout == ""
        assert one_line(done.stderr)
        assert name in done.stderr

    def test_a_missing_path(self, diag_command: Command) -> None:
        done = diag_command("analyze", "no/such/run")
        assert done.returncode == 2
        assert one_line(done.stderr)

    def test_an_unreadable_file(self, diag_command: Command, tmp_path: Path) -> None:
        path = tmp_path / "trainer_state.json"
        path.write_text("{}")
        path.chmod(0)
        if os.access(path, os.R_OK):
            path.unlink()
            path.mkdir()  # the super-user reads anything: a folder in its place cannot be read as a file either
        done = diag_command("analyze", path)
        assert done.returncode in (2, 3)
        assert one_line(done.stderr)

    def test_a_bad_run_does_not_stop_the_others(self, diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "trainer_state.json").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
        good = tmp_path / "good"
        good.mkdir()
        (good / "trainer_state.json").write_bytes((fixtures / "hf-healthy" / "trainer_state.json").read_bytes())
        done = diag_command("analyze", tmp_path, "--format", "json")
        document = json.loads(done.stdout)
        assert [run["verdict"] for run in document["runs"]] == ["HEALTHY"]
        assert len(document["problems"]) == 1
        assert one_line(done.stderr)
        assert done.returncode == 0

    def test_names_cannot_drive_the_terminal(self, diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run\x1b]0;owned\x07\x9b31m"
        folder.mkdir()
        (folder / "trainer_state.json").write_bytes((fixtures / "hf-overfit" / "trainer_state.json").read_bytes())
        for path in (folder, folder / "nothing"):
            done = diag_command("analyze", path)
            assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout + done.stderr)


class TestOutput:
    def test_json_on_stdout_and_in_a_file_are_the_same_bytes(self, diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
        path = fixtures / "hf-overfit"
        shown = diag_command("analyze", path, "--format", "json")
        written = diag_command("analyze", path, "--format", "json", "--output", tmp_path / "report.json")
        assert (tmp_path / "report.json").read_text() == shown.stdout
        assert written.stdout == ""
        assert json.loads(shown.stdout)["summary"] == {"runs": 1, "by_verdict": {"OVERFIT": 1}, "failed": True}

    def test_an_output_that_cannot_be_written(self, diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
        done = diag_command("analyze", fixtures / "hf-healthy", "-o", tmp_path / "no" / "report.txt")
        assert done.returncode == 2
        assert one_line(done.stderr)

    @pytest.mark.parametrize(
        ("variables", "coloured"),
        [
            ({}, False),
            ({"NO_COLOR": "1", "FORCE_COLOR": ""}, False),
            ({"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
            ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ],
    )
    def test_colour(self, diag_command: Command, fixtures: Path, variables: dict[str, str], coloured: bool) -> None:
        done = diag_command("analyze", fixtures / "hf-healthy", env={"NO_COLOR": "", **variables})
        assert ("\x1b[" in done.stdout) == coloured

    def test_a_terminal_without_utf8_gets_ascii(self, diag_command: Command, fixtures: Path) -> None:
        done = diag_command("analyze", fixtures / "hf-overfit", "-v", env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 1
        assert done.stdout.isascii()
        assert diag_command("checks", env={"PYTHONIOENCODING": "ascii"}).stdout.isascii()

    def test_a_reader_that_leaves_is_no_error(self, fixtures: Path) -> None:
        script = f'"{sys.executable}" -m diag analyze "{fixtures}" --verbose | head -n 1; exit "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.stdout.count("\n") == 1
        assert "Traceback" not in done.stderr
        assert "Broken pipe" not in done.stderr
        assert done.returncode == 1  # the gate does not depend on the reader

    @pytest.mark.parametrize("arguments", [["checks"], ["explain", "OVF001"], ["--help"]])
    def test_nor_for_the_other_commands(self, arguments: list[str]) -> None:
        with subprocess.Popen([sys.executable, "-m", "diag", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            errors = process.stderr.read()
        assert b"Traceback" not in errors
        assert b"Broken" not in errors
        assert process.returncode == 0

    def test_a_progress_bar_on_a_terminal_only(self, fixtures: Path) -> None:
        import pty

        for terminal in (True, False):
            parent, child = pty.openpty()
            with subprocess.Popen(
                [sys.executable, "-m", "diag", "analyze", str(fixtures), "--fail-on", "never"],
                stdout=subprocess.DEVNULL,
                stderr=child if terminal else subprocess.DEVNULL,
            ) as process:
                os.close(child)
                shown = b""
                while terminal:
                    try:
                        shown += os.read(parent, 4096) or b""
                    except OSError:
                        break
            os.close(parent)
            assert (b"analyzing" in shown) == terminal
            assert process.returncode == 0


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "number"), [("7B", 7e9), ("350M", 3.5e8), ("8x7b", 5.6e10), ("1.3e9", 1.3e9), ("52,000", 52_000), ("1_000k", 1e6)]
    )
    def test_counts(self, text: str, number: float) -> None:
        from diag.cli.common import count

        assert count(None, None, text) == number  # type: ignore[arg-type]

    @pytest.mark.parametrize("text", ["", "big", "-7B", "0", "7Q", "1e99", "nan", "7 B B"])
    def test_what_is_no_count(self, diag_command: Command, fixtures: Path, text: str) -> None:
        import click

        from diag.cli.common import count

        with pytest.raises(click.BadParameter, match="count"):
            count(None, None, text)  # type: ignore[arg-type]

    def test_context_reaches_the_report(self, diag_command: Command, fixtures: Path) -> None:
        done = diag_command(
            "analyze", fixtures / "hf-overfit", "--format", "json", "--method", "lora", "--model-size", "7B", "--dataset-size", "52k"
        )
        known = json.loads(done.stdout)["runs"][0]["hyperparameters"]
        assert {name: known[name]["value"] for name in ("method", "model_parameters", "dataset_size")} == {
            "method": "lora",
            "model_parameters": 7e9,
            "dataset_size": 52_000,
        }

    def test_select_may_be_repeated_and_hold_commas(self, diag_command: Command, fixtures: Path) -> None:
        arguments = ["--select", "OVF,SPK", "--select", "lrs", "--ignore", "OVF001", "--format", "json"]
        run = json.loads(diag_command("analyze", fixtures / "hf-overfit", *arguments).stdout)["runs"][0]
        codes = {entry["code"] for entry in (*run["findings"], *run["skipped"])}
        assert {code[:3] for code in codes} <= {"OVF", "SPK", "LRS"}
        assert "OVF001" not in codes

    def test_debug_shows_the_traceback(self, diag_command: Command) -> None:
        assert "Traceback" in diag_command("analyze", "no/such/run", "--debug").stderr
        assert "Traceback" in diag_command("analyze", "no/such/run", env={"DIAG_DEBUG": "1"}).stderr


class TestChecks:
    def test_the_list_and_its_json_agree(self, diag_command: Command) -> None:
        entries = json.loads(diag_command("checks", "--format", "json").stdout)["checks"]
        listed = [line.split()[0] for line in diag_command("checks").stdout.splitlines() if line[:3].isupper()]
        assert [entry["code"] for entry in entries] == listed
        assert len(listed) > 25

    def test_every_check_explains_itself(self) -> None:
        from click.testing import CliRunner

        from diag.battery import checks
        from diag.cli import cli

        for check in checks():
            page = CliRunner().invoke(cli, ["explain", check.code.lower()]).output
            assert page == CliRunner().invoke(cli, ["explain", check.name]).output
            assert page.startswith(f"# {check.code} {check.name}\n\n{check.summary()}")


def test_rules_are_explained(diag_command: Command) -> None:
    done = diag_command("explain", "s1-075")
    assert done.stdout.startswith("S1-075 (")
    assert diag_command("explain", "S9-999").returncode == 2


def test_nothing_is_written_into_the_run(diag_command: Command, fixtures: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(fixtures / "hf-overfit", run)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    time.sleep(0.01)
    diag_command("analyze", run)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before
