"""What a hook or pipeline asks for: pass over what cannot be judged, say so, and show only what fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from diag.cli import main


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str


Command = Callable[..., Result]
SHORT = "step,loss\n1,2.0\n2,1.9\n3,1.8\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
TRAINER = "learning_rate: 1e-3\nper_device_train_batch_size: 8\nnum_train_epochs: 3\noutput_dir: out\n"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def repository(tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("hf-healthy", "hf-overfit"):
        (tmp_path / name).mkdir()
        shutil.copy(fixtures / name / "trainer_state.json", tmp_path / name)
    (tmp_path / "short.csv").write_text(SHORT)
    (tmp_path / "pointer.csv").write_text(POINTER)
    (tmp_path / "scores.csv").write_text("name,score\na,1\nb,2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "train.yaml").write_text(TRAINER)
    (tmp_path / "service.yaml").write_text("apiVersion: v1\nkind: Service\n")
    (tmp_path / "model.yaml").write_text("hidden_size: 768\nnum_layers: 12\ndropout: 0.1\n")
    (tmp_path / "broken.yaml").write_text("lr: [1\n")
    (tmp_path / "large.yaml").write_text("#" * (1 << 20) + "\nlr: 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "code", "allowed", "said"),
    [
        (["short.csv"], 3, 0, "diag: nothing was judged: the run is INCONCLUSIVE\n"),
        (["pointer.csv"], 2, 0, "diag: pointer.csv: is a Git LFS pointer, not the log itself; fetch the file with: git lfs pull\n"),
        (["gone.csv", "scores.csv"], 2, 0, "diag: nothing was judged\n"),
        (["."], 1, 1, ""),
        (["hf-healthy/trainer_state.json", "scores.csv"], 2, 0, "diag: scores.csv: does not look like a training log"),
        (["empty.csv"], 2, 2, "diag: empty.csv: is empty"),
        (["hf-healthy/trainer_state.json", "empty.csv"], 2, 2, "diag: empty.csv: is empty"),
        (["hf-overfit/trainer_state.json", "pointer.csv"], 1, 1, ""),
    ],
)
def test_logs(call: Command, repository: Path, paths: list[str], code: int, allowed: int, said: str) -> None:
    strict = call("analyze", *paths)
    assert strict.code == code
    assert "nothing was judged" not in strict.stderr
    lenient = call("analyze", "--allow-unjudged", *paths)
    assert lenient.code == allowed
    assert said in lenient.stderr
    assert call("analyze", "--allow-unjudged", "--no-allow-unjudged", *paths).code == code


def test_an_empty_folder_of_logs(call: Command, tmp_path: Path) -> None:
    assert call("analyze", tmp_path).code == 3
    result = call("analyze", "--allow-unjudged", tmp_path, "--format", "json")
    assert result.code == 0
    assert "no training log was found here" in result.stderr
    assert json.loads(result.stdout)["runs"] == []


@pytest.mark.parametrize(
    ("paths", "code", "allowed", "said"),
    [
        (["service.yaml"], 3, 0, "diag: 1 file passed over, not recognized as training configs: service.yaml\ndiag: nothing was judged\n"),
        (["train.yaml", "service.yaml"], 1, 1, "diag: 1 file passed over, not recognized as training configs: service.yaml\n"),
        (["train.yaml", "service.yaml", "--fail-on", "never"], 3, 0, "passed over"),
        (["broken.yaml"], 2, 2, "diag: broken.yaml: is not valid YAML"),
        (["large.yaml"], 2, 0, "diag: large.yaml: is larger than"),
        (["gone.yaml"], 2, 0, "diag: gone.yaml: does not exist"),
    ],
)
def test_configs(call: Command, repository: Path, paths: list[str], code: int, allowed: int, said: str) -> None:
    assert call("lint", *paths).code == code
    lenient = call("lint", "--allow-unjudged", *paths)
    assert (lenient.code, said in lenient.stderr) == (allowed, True), lenient.stderr


def test_only_what_is_surely_a_training_config_counts_unless_its_framework_is_named(call: Command, repository: Path) -> None:
    assert "not recognized" not in call("lint", "model.yaml").stderr
    assert "passed over" in call("lint", "--allow-unjudged", "model.yaml").stderr
    assert "passed over" not in call("lint", "--allow-unjudged", "--dialect", "hf", "model.yaml").stderr


def test_many_files_passed_over_are_one_line(call: Command, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}\x1b[31m.yaml").write_text("a: 1\n")
    result = call("lint", "--allow-unjudged", *sorted(tmp_path.iterdir()))
    assert result.code == 0
    assert result.stderr.startswith("diag: 5 files passed over, not recognized as training configs: ")
    assert result.stderr.count("\n") == 2
    assert "\x1b" not in result.stderr


class TestQuiet:
    def test_runs_that_pass_are_only_counted(self, call: Command, repository: Path) -> None:
        result = call("analyze", "-q", "hf-healthy", "hf-overfit", "short.csv")
        assert result.code == 1
        assert "OVF001" in result.stdout
        assert "hf-healthy" not in result.stdout
        assert result.stdout.endswith("3 runs: 1 HEALTHY, 1 OVERFIT, 1 INCONCLUSIVE\n")

    def test_nothing_fails(self, call: Command, repository: Path) -> None:
        result = call("analyze", "-q", "hf-healthy")
        assert result.code == 0
        assert result.stdout == "1 run: 1 HEALTHY\n"

    def test_what_fails_is_a_matter_of_the_gate(self, call: Command, repository: Path) -> None:
        assert "OVF001" not in call("analyze", "-q", "hf-overfit", "--fail-on", "never").stdout
        assert "EVL001" in call("analyze", "-q", "short.csv", "--fail-on", "info").stdout
