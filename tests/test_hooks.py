"""The hooks for pre-commit: which files they take, and real commits that pass and fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

MANIFEST = ROOT / ".pre-commit-hooks.yaml"
HOOKS: dict[str, dict[str, Any]] = {hook["id"]: hook for hook in yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))}
Run = Callable[..., "subprocess.CompletedProcess[str]"]

LOGS = [
    "trainer_state.json",
    "out/checkpoint-500/trainer_state.json",
    "runs/events.out.tfevents.1795302422.host.1.0",
    "runs/Nov21_22-30-00_host/events.out.tfevents.1795302422.host.1.0.v2",
    "wandb/offline-run-20261121_230702-37nnb57a/run-37nnb57a.wandb",
    "lightning_logs/version_0/metrics.csv",
    "runs/detect/train/results.csv",
    "ppo/progress.csv",
    "output/metrics.json",
    "vis_data/scalars.json",
    "saves/history.json",
    "saves/trainer_log.jsonl",
    "run/training.jsonl",
    "run/validation.jsonl",
    "run/validation_math.jsonl",
    "run/training_metrics.jsonl",
    "run/training_metrics_0.jsonl",
    "run/training_params_and_metrics_global0.jsonl",
    "run/metrics.jsonl",
    "run/metrics-2.jsonl",
    "run/log.jsonl",
    "run/logs_seed1.jsonl",
    "my run/metrics.csv",
]
CONFIGS = [
    "configs/lora.yaml",
    "conf/optimizer/adamw.yml",
    "recipes/llama/full/single_device.yaml",
    "experiment/a.yaml",
    "out/.hydra/config.yaml",
    "train.yaml",
    "train_lora.yml",
    "llama3-lora-sft.yaml",
    "run_dpo.yaml",
    "qlora.yaml",
    "fine-tune.yaml",
    "finetune_7b.sh",
    "scripts/run_pretrain.sh",
    "scripts/train.sh",
    "out/hparams.yaml",
    "hyp.yaml",
    "out/training_args.json",
    "train_config.json",
    "out/adapter_config.json",
    "ds_config.json",
    "ds_config_zero3.json",
    "deepspeed.json",
]
NEITHER = [
    "README.md",
    "runs/events.out.tfevents.0.diag",
    "train.py",
    "data/train.jsonl",
    "data/train.json",
    "data/train.csv",
    "data/metrics.csv.gz",
    "eval/all_results.json",
    "out/train_results.json",
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "tsconfig.json",
    "package.json",
    "configs/app.json",
    "docker-compose.yaml",
    ".github/workflows/test.yml",
    "mlflow.db",
    "training_args.bin",
    "catalog.jsonl",
    "run/training_metrics_1.jsonl",
    "blogs.jsonl",
    "constrain.yaml",
    "-rf/metrics.csv",
    "--output=/etc/metrics.csv",
    "--output=configs/train.yaml",
]


@pytest.mark.parametrize(
    ("path", "takers"),
    [*((path, ["diag-logs"]) for path in LOGS), *((path, ["diag-config"]) for path in CONFIGS), *((path, []) for path in NEITHER)],
)
def test_who_takes_a_path(path: str, takers: list[str]) -> None:
    assert [name for name, hook in HOOKS.items() if re.search(hook["files"], path)] == takers


def test_every_recorded_log_of_a_telling_name_is_taken(fixtures: Path) -> None:
    wanted = re.compile(r"trainer_state\.json|.*tfevents.*|.*\.wandb|metrics\.csv|.*\.jsonl")
    runs = [path for path in fixtures.rglob("*") if path.relative_to(fixtures).parts[0] != "lm-eval"]  # samples of benchmarks are no logs
    logs = [path.relative_to(ROOT).as_posix() for path in runs if wanted.fullmatch(path.name)]
    assert len(logs) > 20
    assert [path for path in logs if not re.search(HOOKS["diag-logs"]["files"], path)] == []


def test_the_manifest_is_valid_and_starts_commands_that_there_are() -> None:
    from pre_commit.clientlib import load_manifest

    from diag.cli import COMMANDS

    assert [hook["id"] for hook in load_manifest(str(MANIFEST))] == ["diag-logs", "diag-config"]
    for hook in HOOKS.values():
        program, command, *_ = hook["entry"].split()
        assert (program, command in COMMANDS) == ("diag", True)
        assert hook["require_serial"], "of a run whose files go to several processes each would see a part"


# --- commits -----------------------------------------------------------------------------------------------------


def environment(folder: Path) -> dict[str, str]:
    """What git and pre-commit run in: no configuration of the user's, everything they keep below ``folder``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT", "DIAG_"))}
    people = {f"GIT_{who}_{what}": "somebody@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*", "GIT_CONFIG_GLOBAL": os.devnull}
    pip = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    return {**clean, **people, **trust, **pip, **path, "PRE_COMMIT_HOME": str(folder / "pre-commit"), "COLUMNS": "80", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in the repository ``repo`` below ``tmp_path``."""
    repository = tmp_path / "repo"
    repository.mkdir()

    def call(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, command)],
            cwd=repository,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    assert call("git", "init", "-q", ".").returncode == 0
    return call


def use_hooks(run: Run, folder: Path, **overrides: Mapping[str, Any]) -> None:
    """Install this checkout's hooks; they start the ``diag`` of the tests, so that no environment is built for each commit."""
    source = folder / "hooks"
    source.mkdir()
    shutil.copy(MANIFEST, source)
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "hooks")):
        assert run("git", "-C", source, *command).returncode == 0
    revision = run("git", "-C", source, "rev-parse", "HEAD").stdout.strip()
    hooks = [{"id": name, "language": "system", **overrides.get(name.replace("-", "_"), {})} for name in HOOKS]
    config = {"repos": [{"repo": str(source), "rev": revision, "hooks": hooks}]}
    (folder / "repo" / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    assert run(sys.executable, "-m", "pre_commit", "install").returncode == 0
    assert run("git", "add", ".pre-commit-config.yaml").returncode == 0
    assert run("git", "commit", "-qm", "hooks").returncode == 0


def section(output: str, name: str) -> str:
    """What pre-commit says of one hook."""
    match = re.search(rf"^diag \({name}\)(.*?)(?=^diag \(|\Z)", output, re.MULTILINE | re.DOTALL)
    assert match is not None, output
    return match[1]


def put(fixtures: Path, name: str, folder: Path, *files: str) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(fixtures / name / file, folder)


def test_commits_of_good_and_bad_logs(run: Run, tmp_path: Path, fixtures: Path) -> None:
    repository = tmp_path / "repo"
    use_hooks(run, tmp_path)
    put(fixtures, "hf-healthy", repository / "runs" / "a good run", "trainer_state.json")
    put(fixtures, "hf-overfit", repository / "runs" / "bad", "trainer_state.json", "training_args.json")
    run("git", "add", "runs/a good run")
    good = run("git", "commit", "-m", "good")
    assert good.returncode == 0, good.stdout
    assert "Passed" in section(good.stdout, "training logs")
    assert "1 run: 1 HEALTHY" in good.stdout
    run("git", "add", "runs/bad")
    bad = run("git", "commit", "-m", "bad")
    assert bad.returncode == 1
    assert "Failed" in section(bad.stdout, "training logs")
    assert "✗ OVF001 overfit-gap" in bad.stdout
    assert "Passed" in section(bad.stdout, "training configs")
    assert run("git", "log", "--format=%s").stdout.split() == ["good", "hooks"]


def test_a_commit_of_fifty_logs(run: Run, tmp_path: Path, fixtures: Path) -> None:
    repository = tmp_path / "repo"
    use_hooks(run, tmp_path)
    for number in range(49):
        put(fixtures, "hf-healthy", repository / "runs" / f"run {number}", "trainer_state.json")
    put(fixtures, "hf-overfit", repository / "runs" / "the bad one", "trainer_state.json")
    run("git", "add", "runs")
    result = run("git", "commit", "-m", "fifty")
    assert result.returncode == 1
    assert result.stdout.count("OVF001 overfit-gap") == 1
    assert "50 runs: 49 HEALTHY, 1 OVERFIT" in result.stdout


def test_files_of_one_run_are_one_run_and_those_not_staged_belong_to_it(run: Run, tmp_path: Path, fixtures: Path) -> None:
    repository = tmp_path / "repo"
    use_hooks(run, tmp_path)
    shutil.copytree(fixtures / "hf-overfit", repository / "out")
    put(fixtures, "automodel-jsonl", repository / "run", "training.jsonl", "validation.jsonl")
    run("git", "add", "out/checkpoint-140", "out/checkpoint-280", "run/validation.jsonl")
    result = run("git", "commit", "-m", "parts")
    assert "2 runs: 2 OVERFIT" in result.stdout, result.stdout
    assert "out/trainer_state.json · 480 steps" in result.stdout


def test_what_cannot_be_judged_passes_and_is_told(run: Run, tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    use_hooks(run, tmp_path)
    (repository / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.9\n3,1.8\n")
    (repository / "results.csv").write_text("name,score\na,1\nb,2\n")
    (repository / "metrics.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")
    (repository / "config.yaml").write_text("theme: dark\n")
    run("git", "add", ".")
    result = run("git", "commit", "-m", "unjudged")
    assert result.returncode == 0, result.stdout
    logs = section(result.stdout, "training logs")
    assert "Passed" in logs
    assert "results.csv: does not look like a training log" in logs
    assert "metrics.jsonl: is a Git LFS pointer" in logs
    assert "nothing was judged" in logs
    assert "1 file passed over, not recognized as training configs: config.yaml" in section(result.stdout, "training configs")


def test_a_broken_log_fails(run: Run, tmp_path: Path) -> None:
    use_hooks(run, tmp_path)
    (tmp_path / "repo" / "trainer_state.json").write_text('{"best_metric"')
    run("git", "add", ".")
    result = run("git", "commit", "-m", "broken")
    assert result.returncode == 1
    assert "exit code: 2" in result.stdout
    assert "diag: trainer_state.json: " in result.stdout


def test_arguments_of_the_user_come_on_top(run: Run, tmp_path: Path, fixtures: Path) -> None:
    repository = tmp_path / "repo"
    use_hooks(run, tmp_path, diag_logs={"args": ["--no-allow-unjudged"]}, diag_config={"args": ["--fail-on", "info"]})
    (repository / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.9\n3,1.8\n")
    put(fixtures, "hf-overfit", repository / "elsewhere", "training_args.json")
    run("git", "add", ".")
    result = run("git", "commit", "-m", "strict")
    assert "exit code: 3" in section(result.stdout, "training logs")
    assert "exit code: 1" in section(result.stdout, "training configs")


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="pre-commit tries repositories, and this is no checkout")
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("hf-healthy", 0, "1 run: 1 HEALTHY"), ("hf-overfit", 1, "✗ OVF001 overfit-gap")],
)
def test_this_checkout_as_pre_commit_installs_it(run: Run, tmp_path: Path, fixtures: Path, name: str, code: int, said: str) -> None:
    put(fixtures, name, tmp_path / "repo" / "my runs", "trainer_state.json", "training_args.json")
    run("git", "add", ".")
    result = run(sys.executable, "-m", "pre_commit", "try-repo", ROOT, "--all-files")
    assert result.returncode == code, result.stdout
    assert ("Failed" if code else "Passed") in section(result.stdout, "training logs")
    assert said in section(result.stdout, "training logs")
    assert "Passed" in section(result.stdout, "training configs")
    assert "training_args.json" in section(result.stdout, "training configs")
