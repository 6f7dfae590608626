"""Input that is broken, hostile or not there: one clear line and the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import healthy, trainer_state

from diag.cli import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]

PASSED, FAILED, BAD_INPUT, NOTHING = 0, 1, 2, 3
POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


class Result:
    """What one run of the command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err
        assert "internal error" not in err

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    def runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = json.loads(self.out, parse_constant=pytest.fail)["runs"]
        return runs


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``diag analyze`` in this process."""

    def run(*arguments: object) -> Result:
        code = main(["analyze", *map(str, arguments)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def good(folder: Path, name: str = "trainer_state.json", seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(trainer_state(healthy(seed=seed).lr().run())))
    return path


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- what cannot be read: one line, exit code 2 ----------------------------------------------------------------------

UNREADABLE: dict[str, tuple[str, str | bytes]] = {
    "empty": ("trainer_state.json", ""),
    "white space": ("trainer_state.json", "\n \n"),
    "not json": ("trainer_state.json", "<html>504 Gateway Time-out</html>"),
    "zeros": ("trainer_state.json", b"\0" * 4096),
    "lfs pointer": ("trainer_state.json", POINTER),
    "lfs pointer, events": ("events.out.tfevents.1700000000.host.1.0", POINTER),
    "lfs pointer, csv": ("metrics.csv", POINTER),
    "lfs pointer, wandb": ("run-abc.wandb", POINTER),
    "no history": ("trainer_state.json", '{"global_step": 3}'),
    "history is a number": ("trainer_state.json", '{"log_history": 3}'),
    "empty csv": ("metrics.csv", ""),
    "empty jsonl": ("log.jsonl", ""),
    "empty wandb": ("run-abc.wandb", b""),
    "wandb of another kind": ("run-abc.wandb", b"PK\x03\x04" + b"x" * 100),
    "empty store": ("mlflow.db", b""),
    "store of another kind": ("mlflow.db", b"SQLite format 3\0" + b"\xff" * 2000),
    "a picture": ("metrics.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_named_file_that_cannot_be_read(analyze: Callable[..., Result], tmp_path: Path, case: str) -> None:
    name, content = UNREADABLE[case]
    result = analyze(write(tmp_path / name, content))
    assert result.code == BAD_INPUT
    assert result.out == ""
    assert len(result.lines) == 1
    assert name in result.err


@pytest.mark.parametrize("case", UNREADABLE)
def test_the_same_file_in_a_folder(analyze: Callable[..., Result], tmp_path: Path, case: str) -> None:
    """A file come across is not a file named: it may be passed over, but an empty report is not a pass."""
    name, content = UNREADABLE[case]
    write(tmp_path / "out" / name, content)
    result = analyze(tmp_path / "out")
    assert result.code in (BAD_INPUT, NOTHING)
    assert len(result.lines) == 1


def test_a_lfs_pointer_says_how_to_fetch_the_file(analyze: Callable[..., Result], tmp_path: Path) -> None:
    assert "git lfs pull" in analyze(write(tmp_path / "trainer_state.json", POINTER)).err


def test_a_path_that_does_not_exist(analyze: Callable[..., Result], tmp_path: Path) -> None:
    result = analyze(tmp_path / "nowhere")
    assert (result.code, len(result.lines)) == (BAD_INPUT, 1)
    assert "nowhere" in result.err


@pytest.mark.parametrize("path", ["", "a\nb", "\x1b[31mred", "x" * 300])
def test_a_strange_path(analyze: Callable[..., Result], path: str) -> None:
    result = analyze(path)
    assert (result.code, len(result.lines)) == (BAD_INPUT, 1)
    assert "\x1b" not in result.err


def test_a_file_that_may_not_be_read(analyze: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    if os.geteuid() == 0:  # the superuser may read everything but this
        path.symlink_to("/proc/self/mem")
    else:
        write(path, "{}").chmod(0)
    result = analyze(path)
    assert (result.code, len(result.lines)) == (BAD_INPUT, 1)
    assert "trainer_state.json" in result.err


def test_a_folder_that_is_named_like_a_log(analyze: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").mkdir()
    (tmp_path / "metrics.csv").mkdir()
    assert analyze(tmp_path / "trainer_state.json").code == NOTHING
    good(tmp_path / "run")
    assert analyze(tmp_path).code == PASSED


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(diag_command: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.log")
    assert diag_command("analyze", tmp_path).returncode == NOTHING
    good(tmp_path / "run")
    assert diag_command("analyze", tmp_path).returncode == PASSED
    assert diag_command("analyze", tmp_path / "train.log").returncode == BAD_INPUT


def test_pickles_are_never_opened(analyze: Callable[..., Result], tmp_path: Path) -> None:
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "opened").encode() + b"'\ntR."
    good(tmp_path / "out")
    for name in ("training_args.bin", "optimizer.pt", "model.ckpt", "hparams.pkl"):
        write(tmp_path / "out" / name, trap)
    assert analyze(tmp_path / "out").code == PASSED
    assert not (tmp_path / "opened").exists()


def test_a_yaml_bomb_beside_a_log(analyze: Callable[..., Result], tmp_path: Path) -> None:
    good(tmp_path)
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    write(tmp_path / "config.yaml", "a0: &a0 [lol, lol]\n" + "\n".join(levels) + "\nlearning_rate: *a29\n")
    result = analyze(tmp_path, "--format", "json")
    assert result.code == PASSED
    assert len(result.runs()) == 1


def test_yaml_that_asks_for_an_object_beside_a_log(analyze: Callable[..., Result], tmp_path: Path) -> None:
    good(tmp_path)
    write(tmp_path / "config.yaml", f"learning_rate: !!python/object/apply:os.system ['touch {tmp_path / 'opened'}']\n")
    assert analyze(tmp_path).code == PASSED
    assert not (tmp_path / "opened").exists()


# --- nothing there: exit code 3 --------------------------------------------------------------------------------------


def test_a_folder_without_logs(analyze: Callable[..., Result], tmp_path: Path) -> None:
    write(tmp_path / "README.md", "# a project\n")
    write(tmp_path / "src" / "train.py", "print('loss')\n")
    write(tmp_path / "requirements.txt", "torch\n")
    result = analyze(tmp_path)
    assert (result.code, len(result.lines)) == (NOTHING, 1)


def test_an_empty_folder(analyze: Callable[..., Result], tmp_path: Path) -> None:
    assert analyze(tmp_path).code == NOTHING


def test_an_empty_history_is_not_a_healthy_run(analyze: Callable[..., Result], tmp_path: Path) -> None:
    result = analyze(write(tmp_path / "trainer_state.json", '{"global_step": 0, "log_history": []}'))
    assert result.code in (BAD_INPUT, NOTHING)


# --- half of it can be read: a verdict, and a note --------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_truncated_state_is_judged_by_what_is_left(analyze: Callable[..., Result], tmp_path: Path, share: float) -> None:
    text = good(tmp_path).read_text()
    result = analyze(write(tmp_path / "trainer_state.json", text[: int(share * len(text))]), "--format", "json")
    (run,) = result.runs()
    assert run["steps"] == pytest.approx(share * 1000, abs=60)
    assert any("truncated" in note or "cut" in note or "incomplete" in note for note in run["notes"])


@pytest.mark.parametrize("share", [0.5, 0.999])
@pytest.mark.parametrize(
    "source", ["tensorboard/runs", "wandb/wandb", "mlflow-filestore/mlruns", "csv/metrics.csv", "jsonl/log.jsonl", "console/train.log"]
)
def test_logs_of_every_kind_that_are_cut_off(
    analyze: Callable[..., Result], fixtures: Path, tmp_path: Path, source: str, share: float
) -> None:
    """As a run that is still writing, or a full disk, leaves them."""
    start = fixtures / "all-sources" / "overfit" / source
    for path in [start, *start.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            keep = len(content) if path.suffix == ".yaml" or "params" in path.parts else int(share * len(content))
            write(tmp_path / path.relative_to(start.parent), content[:keep])
    result = analyze(tmp_path, "--format", "json", "--fail-on", "never")
    assert result.code == PASSED
    (run,) = result.runs()
    assert run["steps"] >= share * 480 - 20


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\n\n  "])
def test_a_byte_order_mark_and_white_space_before_it(analyze: Callable[..., Result], tmp_path: Path, prefix: bytes) -> None:
    content = good(tmp_path).read_bytes()
    assert analyze(write(tmp_path / "trainer_state.json", prefix + content)).code == PASSED


def test_sixteen_bit_text(analyze: Callable[..., Result], tmp_path: Path) -> None:
    text = good(tmp_path).read_text()
    assert analyze(write(tmp_path / "trainer_state.json", text.encode("utf-16"))).code == PASSED


SPELLINGS = ["NaN", '"NaN"', '"nan"', "Infinity", "-Infinity", '"inf"', '"-Infinity"']


@pytest.mark.parametrize("value", SPELLINGS)
@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_nan_and_infinity_in_every_spelling_are_divergence(analyze: Callable[..., Result], tmp_path: Path, value: str, kind: str) -> None:
    rows = trainer_state(healthy().lr().run())["log_history"]
    shown = [{**row, "loss": "@"} if "loss" in row and row["step"] > 600 else row for row in rows]
    if kind == "json":
        path = write(tmp_path / "trainer_state.json", json.dumps({"log_history": shown}).replace('"@"', value))
    elif kind == "jsonl":
        path = write(tmp_path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in shown).replace('"@"', value))
    else:
        names = ["step", "loss", "eval_loss", "learning_rate"]
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in shown)]
        path = write(tmp_path / "metrics.csv", "\n".join(lines).replace("@", value.strip('"')) + "\n")
    result = analyze(path, "--format", "json")
    assert result.code == FAILED
    assert result.runs()[0]["verdict"] == "DIVERGED"


def test_nulls_and_words_in_numeric_places_are_not_values(analyze: Callable[..., Result], tmp_path: Path) -> None:
    state = trainer_state(healthy().lr().run())
    odd: list[Any] = [None, "n/a", "", [], {}, "0x10", "1,5", "--"]
    for i, row in enumerate(state["log_history"][50:150]):
        if i % 3 == 0 and "loss" in row:
            row["loss"] = odd[i % len(odd)]
        if i % 7 == 0:
            row["learning_rate"] = odd[i % len(odd)]
    state["log_history"][10] = None
    state["log_history"][11] = "row"
    state["log_history"][12] = {"loss": 1.0}
    state["log_history"][13] = {"loss": 1.5, "step": "many"}
    state |= {"global_step": "1000", "max_steps": None, "best_metric": "NaN", "best_model_checkpoint": 7, "stateful_callbacks": []}
    result = analyze(write(tmp_path / "trainer_state.json", json.dumps(state)), "--format", "json")
    assert result.code == PASSED
    assert result.runs()[0]["verdict"] == "HEALTHY"


@pytest.mark.parametrize("value", ["1e400", "-1e400", "1" * 400, "1e-400"])
def test_numbers_beyond_a_float(analyze: Callable[..., Result], tmp_path: Path, value: str) -> None:
    text = good(tmp_path).read_text().replace('"max_steps": 1000', f'"max_steps": {value}')
    result = analyze(write(tmp_path / "trainer_state.json", text), "--format", "json")
    assert result.code in (PASSED, FAILED)
    assert len(result.runs()) == 1


@pytest.mark.parametrize("step", ["1e30", "-5", "9223372036854775808", "1.5", "NaN", '"12"', "true"])
def test_steps_that_are_none(analyze: Callable[..., Result], tmp_path: Path, step: str) -> None:
    text = good(tmp_path).read_text().replace('"step": 500}', f'"step": {step}}}')
    assert len(analyze(write(tmp_path / "trainer_state.json", text), "--format", "json").runs()) == 1


def test_deep_nesting(analyze: Callable[..., Result], tmp_path: Path) -> None:
    text = good(tmp_path).read_text()
    result = analyze(write(tmp_path / "trainer_state.json", text[:-1] + ', "trial_params": ' + "[" * 100_000 + "]" * 100_000 + "}"))
    assert result.code in (PASSED, BAD_INPUT)


def test_terminal_escapes_in_names_do_not_reach_the_terminal(analyze: Callable[..., Result], tmp_path: Path) -> None:
    state = trainer_state(healthy().lr().run())
    for row in state["log_history"]:
        row["\x1b]0;owned\x07\x1b[2J"] = 1.0
        row["\x9b31m\u202egnp.exe"] = 2.0
    folder = tmp_path / "\x1b[31mred\x1b[0m\rrun\nof two lines"
    write(folder / "trainer_state.json", json.dumps(state))
    for path in (tmp_path, folder, folder / "trainer_state.json"):
        result = analyze(path, "--verbose")
        assert result.code == PASSED
        for character in ("\x1b", "\r", "\x07", "\x9b", "\u202e"):
            assert character not in result.out + result.err
    assert len(analyze(tmp_path, "--format", "json").runs()) == 1


# --- trees -----------------------------------------------------------------------------------------------------------


def test_one_bad_run_does_not_stop_the_others(analyze: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("a", "c", "d"):
        good(tmp_path / name, seed=ord(name))
    write(tmp_path / "b" / "trainer_state.json", "not json at all")
    result = analyze(tmp_path, "--format", "json")
    assert [run["path"] for run in result.runs()] == ["a/trainer_state.json", "c/trainer_state.json", "d/trainer_state.json"]
    assert len(result.lines) == 1
    assert "b/trainer_state.json" in result.err


def test_one_bad_path_among_good_ones_fails_the_call(analyze: Callable[..., Result], tmp_path: Path) -> None:
    good(tmp_path / "a")
    result = analyze(tmp_path / "a", tmp_path / "missing", "--format", "json")
    assert result.code == BAD_INPUT
    assert len(result.runs()) == 1
    assert len(result.lines) == 1


def test_loops_of_links(analyze: Callable[..., Result], tmp_path: Path) -> None:
    good(tmp_path / "run")
    (tmp_path / "run" / "self").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "up").symlink_to(tmp_path)
    (tmp_path / "run" / "deep").mkdir()
    (tmp_path / "run" / "deep" / "back").symlink_to("..")
    (tmp_path / "trainer_state.json").symlink_to(tmp_path / "trainer_state.json")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    result = analyze(tmp_path, "--format", "json")
    assert [run["path"] for run in result.runs()] == ["run/trainer_state.json"]


@pytest.mark.slow
def test_a_thousand_runs_under_one_root(diag_command: Command, tmp_path: Path) -> None:
    text = json.dumps(trainer_state(healthy(n=30, evals=12).lr().run()))
    for number in range(1000):
        write(
            tmp_path / f"sweep-{number // 100}" / f"run-{number:04}" / "trainer_state.json",
            text.replace('"step": 5,', f'"step": {5 + number % 3},'),
        )
    write(tmp_path / "sweep-3" / "run-0345" / "trainer_state.json", "{")
    done = diag_command("analyze", tmp_path, "--format", "json", "--fail-on", "never")
    report = json.loads(done.stdout)
    assert report["summary"]["runs"] == 999
    assert len({run["id"] for run in report["runs"]}) == 999
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "run-0345" in done.stderr


def test_head_ends_it_quietly(fixtures: Path) -> None:
    command = f"{sys.executable} -m diag analyze {fixtures} --fail-on never | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")


# --- stores and extras -----------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:{port}", "sqlite:///no/such/mlflow.db", "no-such-folder", "ftp://127.0.0.1/x", "http://"]
)
def test_a_wrong_tracking_uri(analyze: Callable[..., Result], uri: str) -> None:
    result = analyze("mlflow:experiments/1", "--tracking-uri", uri.format(port=free_port()))
    assert result.code == BAD_INPUT
    assert len(result.lines) == 1


@pytest.mark.parametrize("uri", ["wandb://only-one-part", "mlflow:", "s3://bucket/run", "http://127.0.0.1/x", "wandb:"])
def test_a_uri_that_names_nothing(analyze: Callable[..., Result], uri: str) -> None:
    result = analyze(uri)
    assert result.code == BAD_INPUT
    assert len(result.lines) == 1


def without(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``diag`` where a package is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from diag.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    done = without("wandb", "analyze", "wandb://entity/project/run")
    assert done.returncode == BAD_INPUT
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'diag[wandb]'" in done.stderr


@pytest.mark.parametrize(
    ("module", "source"), [("wandb", "wandb"), ("tensorboard", "tensorboard"), ("mlflow", "mlflow-sqlite"), ("mlflow", "mlflow-filestore")]
)
def test_local_logs_are_read_without_the_library_that_wrote_them(fixtures: Path, module: str, source: str) -> None:
    done = without(module, "analyze", fixtures / "all-sources" / "overfit" / source, "--format", "json")
    assert done.returncode == FAILED
    assert json.loads(done.stdout)["runs"][0]["verdict"] == "OVERFIT"
