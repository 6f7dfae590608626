"""``diag fix`` as a command: every format parses back, diffs apply, files are edited in place and nowhere else."""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import diag
from diag.cli import main

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "fix_schema.json").read_text(encoding="utf-8"))

Run = Callable[..., tuple[int, str, str]]

LORA = """\
# LoRA on a small set
model_name_or_path: "meta-llama/Llama-2-7b-hf"   # base
output_dir: out

use_peft: true
lora_r: 8
lora_alpha: 16
lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]

learning_rate: 0.01    # found on a forum
lr_scheduler_type: 'cosine'
warmup_steps: 0.03
num_train_epochs: 2
per_device_train_batch_size: 4  # fits
gradient_accumulation_steps: 4
bf16: yes
eval_strategy: epoch
save_strategy: epoch
load_best_model_at_end: true
"""

CONFIGS: dict[str, tuple[str, str]] = {
    "hf": ("config.yaml", LORA.replace("0.01 ", "0.004 ")),
    "automodel": (
        "config.yaml",
        """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler:
  global_batch_size: 64
  local_batch_size: 8
  num_epochs: 4  # long
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
optimizer:
  _target_: torch.optim.AdamW
  lr: 4.0e-3  # hot
  betas: [0.9, 0.95]
""",
    ),
    "axolotl": (
        "axolotl.yml",
        """\
base_model: meta-llama/Llama-3.1-8B
sequence_len: 2048
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
val_set_size: 0.05
adapter: lora
lora_r: 16
lora_alpha: 32
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 4
learning_rate: 0.004  # hot
optimizer: adamw_torch
output_dir: ./out
""",
    ),
    "deepspeed": (
        "ds_config.json",
        """\
{
  "train_micro_batch_size_per_gpu": 8,
  "gradient_accumulation_steps": 2,
  "zero_optimization": {"stage": 2},
  "optimizer": {
    "type": "AdamW",
    "params": {"lr": 0.004, "betas": [0.9, 0.95]}
  },
  "gradient_clipping": 1.0
}
""",
    ),
    "shell": (
        "train.sh",
        """\
#!/bin/sh
# launch
torchrun --nproc-per-node 4 train.py \\
  --model_name_or_path meta-llama/Llama-2-7b-hf \\
  --output_dir "out dir" \\
  --learning_rate 0.004 \\
  --num_train_epochs 4 \\
  --per_device_train_batch_size 4
echo done  # really
""",
    ),
    "training_hub": (
        "train.py",
        """\
from training_hub import osft

osft(
    model_path="meta-llama/Llama-3.1-8B",
    data_path="data.jsonl",
    ckpt_output_dir="out",
    unfreeze_rank_ratio=0.3,
    effective_batch_size=128,
    max_tokens_per_gpu=4096,
    max_seq_len=2048,
    learning_rate=0.004,  # hot
    num_epochs=4,
)
""",
    ),
}
"""A config in the words of each framework, with the learning rate of the recorded run in which it is too high."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command in this process and in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["fix", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "lora.yaml"
    path.write_text(LORA, encoding="utf-8")
    return path


@pytest.fixture
def hot_run(tmp_path: Path, fixtures: Path) -> Path:
    """A recorded run whose learning rate is too high, without a word of what it was trained with beside its log."""
    folder = tmp_path / "hot"
    folder.mkdir()
    shutil.copy(fixtures / "hf-lr-too-high" / "trainer_state.json", folder)
    return folder


def one_line(text: str) -> bool:
    return text.startswith("diag: ") and text.count("\n") == 1 and "Traceback" not in text


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    """Lines that differ, where none was added or removed."""
    old, new = before.splitlines(), after.splitlines()
    assert len(old) == len(new)
    return [(one, other) for one, other in zip(old, new, strict=True) if one != other]


class TestFormats:
    def test_of_a_config_for_people(self, run: Run, lora: Path) -> None:
        code, out, err = run(lora)
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == f"{lora} (Hugging Face TrainingArguments): 1 change"
        assert "1. learning_rate: 0.01 → 1e-4 (unsafe)" in out
        assert lora.read_text(encoding="utf-8") == LORA

    def test_arguments_are_shell_words(self, run: Run, hot_run: Path) -> None:
        code, out, _ = run(hot_run, "--format", "args")
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--learning_rate", type=float)
        parser.add_argument("--num_train_epochs", type=float)
        said = parser.parse_args(shlex.split(out, comments=True))
        assert (code, said.learning_rate) == (0, 8e-4)
        assert said.num_train_epochs is None or said.num_train_epochs > 4

    @pytest.mark.slow
    def test_arguments_are_those_of_the_trainer(self, run: Run, hot_run: Path, lora: Path) -> None:
        from transformers import HfArgumentParser, TrainingArguments

        lora.write_text(LORA.replace("load_best_model_at_end: true", "max_grad_norm: 0.0\nseed: 1"), encoding="utf-8")
        for target in (hot_run, lora):
            words = shlex.split(run(target, "--format", "args", "--level", "info")[1], comments=True)
            assert words
            parser = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]
            (said,) = parser.parse_args_into_dataclasses(
                [*words, "--output_dir", "out", "--eval_strategy", "epoch", "--save_strategy", "epoch"], look_for_args_file=False
            )
            assert said.learning_rate in (8e-4, 1e-4)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_every_format_says_the_same_and_parses(self, run: Run, tmp_path: Path, name: str) -> None:
        file, text = CONFIGS[name]
        (tmp_path / file).write_text(text, encoding="utf-8")
        report = json.loads(run(file, "--format", "json")[1])
        (prescription,) = report["prescriptions"]
        config = prescription["overrides"]["config"]
        assert (report["schema_version"], prescription["kind"], prescription["name"]) == (1, "config", file)
        assert yaml.safe_load(run(file, "--format", "yaml")[1]) == (config or None)
        call = ast.parse(f"f({run(file, '--format', 'python')[1]})".split("osft(...")[0].rstrip() + (")" if name == "training_hub" else ""))
        keywords: dict[str, Any] = {}
        for keyword in call.body[0].value.keywords:  # type: ignore[attr-defined]
            value = ast.literal_eval(keyword.value)
            keywords.update({keyword.arg: value} if keyword.arg else value)
        assert keywords == config
        words = shlex.split(run(file, "--format", "args")[1], comments=True)
        assert all(word.startswith("--") for word in words[::2]) or not words

    def test_output_goes_to_a_file(self, run: Run, lora: Path, tmp_path: Path) -> None:
        file = tmp_path / "fix.yaml"
        assert run(lora, "--format", "yaml", "-o", file) == (0, "", "")
        assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"learning_rate": 1e-4}

    def test_the_same_bytes_twice(self, run: Run, hot_run: Path, lora: Path) -> None:
        for target in (hot_run, lora):
            for form in ("text", "json", "args", "yaml", "python"):
                assert run(target, "--format", form) == run(target, "--format", form)

    def test_explain_shows_finding_range_arithmetic_and_rows(self, run: Run, lora: Path, hot_run: Path) -> None:
        out = " ".join(run(lora, "--explain")[1].split())
        assert "finding CFG001: The learning rate 0.01 is at or above 0.001" in out
        assert re.search(r"range: \S+ to \S+, the profile starts at 1e-4 (?:arithmetic: .+ = 1e-4 )?S\d-\d+ \(", out)
        out = " ".join(run(hot_run, "--explain")[1].split())
        assert "finding DIV002: The training loss rises" in out
        assert "arithmetic: 0.004 / 5 = 8e-4" in out

    def test_a_factor_is_told_only_where_it_was_one(self, run: Run, fixtures: Path, lora: Path) -> None:
        """24 / 3.429 = 7 epochs is no arithmetic, and the guides' own start did not come from the rate that stood there."""
        assert "arithmetic" not in run(fixtures / "hf-overfit", "--explain")[1]
        assert "0.01 / 100" not in run(lora, "--explain")[1]

    def test_json_keeps_its_schema(self, run: Run, fixtures: Path, tmp_path: Path, lora: Path) -> None:
        validator = jsonschema.Draft202012Validator(SCHEMA)
        targets = [lora, *(fixtures / name for name in ("hf-lr-too-high", "hf-overfit", "grpo", "keras-csv", "all-sources"))]
        for name, (file, text) in CONFIGS.items():
            targets.append(tmp_path / name / file)
            targets[-1].parent.mkdir()
            targets[-1].write_text(text, encoding="utf-8")
        for target in targets:
            document = json.loads(run(target, "--format", "json", "--level", "info")[1])
            validator.validate(document)
            assert document["prescriptions"]
        (rate,) = [fix for fix in json.loads(run(lora, "--format", "json")[1])["prescriptions"][0]["fixes"] if fix["to"] == 1e-4]
        assert rate["range"]["low"] <= 1e-4 <= rate["range"]["high"]
        assert rate["range"]["start"] == 1e-4

    def test_a_number_that_is_only_written_anew_is_in_every_format(self, run: Run, lora: Path) -> None:
        lora.write_text(LORA.replace("0.01 ", "1e-4 ").replace("'cosine'", "cosine"), encoding="utf-8")
        assert "learning_rate: 1e-4 → " in run(lora)[1]
        assert yaml.safe_load(run(lora, "--format", "yaml")[1])["learning_rate"] == 1e-4
        assert "takes no arguments" not in run(lora, "--format", "args")[1]

    def test_safe_only_leaves_out_what_changes_the_training(self, run: Run, lora: Path) -> None:
        lora.write_text(LORA + "fp16: true\n", encoding="utf-8")
        everything = json.loads(run(lora, "--format", "json")[1])["prescriptions"][0]["fixes"]
        safe = json.loads(run(lora, "--format", "json", "--safe-only")[1])["prescriptions"][0]["fixes"]
        assert {"unsafe", "safe"} <= {fix["applicability"] for fix in everything}
        assert {fix["applicability"] for fix in safe} == {"safe"}

    def test_level_says_which_findings_count(self, run: Run, lora: Path) -> None:
        lora.write_text(LORA.replace("0.01 ", "5.0e-05 ").replace("load_best_model_at_end: true\n", ""), encoding="utf-8")
        assert "nothing to change" in run(lora)[1]
        assert "load_best_model_at_end" in run(lora, "--level", "info")[1]


class TestDiff:
    @pytest.fixture(params=["patch", "git"])
    def tool(self, request: pytest.FixtureRequest) -> list[str]:
        if shutil.which(request.param) is None:
            pytest.skip(f"{request.param} is not installed")
        return {"patch": ["patch", "-p1", "--binary", "--quiet"], "git": ["git", "apply", "-"]}[request.param]

    @pytest.mark.parametrize("form", ["plain", "crlf", "mark", "no newline at the end", "odd characters"])
    def test_it_gives_what_apply_writes(self, run: Run, tmp_path: Path, tool: list[str], form: str) -> None:
        rate = "learning_rate: 0.01    # found on a forum\n"
        text = {
            "plain": LORA,
            "crlf": LORA.replace("\n", "\r\n"),
            "mark": f"\ufeff{rate}{LORA.replace(rate, '')}",
            "no newline at the end": f"{LORA.replace(rate, '')}{rate}".rstrip(),
            "odd characters": LORA.replace("out\n", '"caf\u00e9 \u2028 \U0001f600"\n'),
        }[form]
        path = tmp_path / "some folder" / "my config.yaml"
        path.parent.mkdir()
        path.write_bytes(text.encode())
        named = path.relative_to(tmp_path)
        code, diff, err = run(named, "--diff")
        assert (code, err) == (0, "")
        assert path.read_bytes() == text.encode()
        assert run(named, "--apply", named)[0] == 0
        written = path.read_bytes()
        assert written != text.encode()
        path.write_bytes(text.encode())
        done = subprocess.run(tool, input=diff.encode(), cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert path.read_bytes() == written

    def test_absolute_paths_are_named_from_the_working_folder(self, run: Run, lora: Path) -> None:
        assert run(lora, "--diff")[1].splitlines()[:2] == ["--- a/lora.yaml", "+++ b/lora.yaml"]

    def test_nothing_to_change_is_an_empty_diff(self, run: Run, lora: Path) -> None:
        run(lora, "--apply", lora)
        assert run(lora, "--diff") == (0, "", "")

    def test_of_a_run_needs_a_config(self, run: Run, hot_run: Path, tmp_path: Path) -> None:
        code, out, err = run(hot_run, "--diff")
        assert (code, out) == (2, "")
        assert one_line(err)
        file, text = CONFIGS["deepspeed"]
        (tmp_path / file).write_text(text, encoding="utf-8")
        code, out, err = run(hot_run, "--diff", "--config", file)
        assert (code, err) == (0, "")
        assert '+    "params": {"lr": 0.0008, "betas": [0.9, 0.95]}' in out.splitlines()
        assert (tmp_path / file).read_text(encoding="utf-8") == text


class TestApply:
    def test_only_the_values_named_change(self, run: Run, lora: Path) -> None:
        code, _, err = run(lora, "--apply", lora)
        assert (code, err) == (0, f"diag: {lora}: changed\n")
        after = lora.read_text(encoding="utf-8")
        assert changed_lines(LORA, after) == [("learning_rate: 0.01    # found on a forum", "learning_rate: 0.0001    # found on a forum")]
        code, _, err = run(lora, "--apply", lora)
        assert (code, err) == (0, f"diag: {lora}: nothing to change\n")
        assert lora.read_text(encoding="utf-8") == after

    def test_permissions_links_and_bytes_stay(self, run: Run, tmp_path: Path) -> None:
        real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
        real.write_bytes(b"\xef\xbb\xbf" + LORA.replace("\n", "\r\n").encode())
        real.chmod(0o640)
        link.symlink_to("real.yaml")
        assert run(link, "--apply", link)[0] == 0
        assert link.is_symlink()
        assert stat.S_IMODE(real.stat().st_mode) == 0o640
        wanted = LORA.replace("0.01 ", "0.0001 ").replace("\n", "\r\n")
        assert real.read_bytes() == b"\xef\xbb\xbf" + wanted.encode()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]

    def test_a_read_only_file_is_left_alone(self, run: Run, lora: Path) -> None:
        lora.chmod(0o444)
        code, _, err = run(lora, "--apply", lora)
        assert code == 2
        assert one_line(err)
        assert "cannot be written" in err
        assert lora.read_text(encoding="utf-8") == LORA

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_read_only_folder(self, run: Run, lora: Path) -> None:
        lora.parent.chmod(0o555)
        try:
            code, _, err = run(lora, "--apply", lora)
        finally:
            lora.parent.chmod(0o755)
        assert code == 2
        assert one_line(err)

    def test_a_computed_value_is_refused(self, run: Run, tmp_path: Path, hot_run: Path) -> None:
        text = CONFIGS["training_hub"][1].replace("learning_rate=0.004,", "learning_rate=pick_rate(),")
        path = tmp_path / "train.py"
        path.write_text(text, encoding="utf-8")
        code, _, err = run(hot_run, "--apply", path)
        assert code == 2
        assert one_line(err)
        assert "learning_rate" in err
        assert path.read_text(encoding="utf-8") == text

    def test_standard_input_is_a_config(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        for arguments, code in ((["--diff"], 0), (["--apply", "-"], 2)):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LORA.encode())))
            found, out, err = run("-", *arguments)
            assert found == code
            assert ("+learning_rate: 0.0001" in out) == (code == 0)
            assert bool(err) == (code != 0)

    def test_a_form_makes_a_config_of_any_suffix(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "train.conf"
        path.write_text(LORA, encoding="utf-8")
        assert run(path)[0] == 2
        assert "learning_rate: 0.01 → 1e-4" in run(path, "--form", "yaml")[1]

    @pytest.mark.parametrize("option", ["--dialect", "--method", "--profile"])
    def test_a_misspelt_option_is_refused(self, run: Run, lora: Path, option: str) -> None:
        code, out, err = run(lora, option, "nothing")
        assert (code, out) == (2, "")
        assert one_line(err)

    def test_the_config_is_not_overwritten_by_the_output(self, run: Run, lora: Path, hot_run: Path) -> None:
        for arguments in ([lora], [hot_run, "--config", lora], [hot_run, "--apply", lora]):
            code, out, err = run(*arguments, "-o", lora)
            assert (code, out) == (2, "")
            assert one_line(err)
        assert lora.read_text(encoding="utf-8") == LORA

    def test_what_is_no_config(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("a: 1\n", encoding="utf-8")
        code, _, err = run(path)
        assert (code, one_line(err)) == (3, True)
        path = tmp_path / "a.json"
        path.write_text('{"learning_rate": 1,}', encoding="utf-8")
        code, _, err = run(path)
        assert code == 2
        assert "is not valid JSON" in err

    def test_several_configs_in_a_file_need_a_line(self, run: Run, tmp_path: Path) -> None:
        command = "trl sft --model_name_or_path meta-llama/Llama-2-7b-hf --use_peft --lora_r 8 --learning_rate 0.01 --num_train_epochs 2\n"
        text = command * 2
        path = tmp_path / "run.sh"
        path.write_text(text, encoding="utf-8")
        code, _, err = run(path, "--apply", path)
        assert code == 2
        assert one_line(err)
        assert "lines 1, 2" in err
        assert path.read_text(encoding="utf-8") == text
        assert run(f"{path}:2", "--apply", path)[0] == 0
        assert [old for old, _ in changed_lines(text, path.read_text(encoding="utf-8"))] == [text.splitlines()[1]]

    def test_another_config_than_the_one_judged_is_refused(self, run: Run, lora: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.yaml"
        other.write_text(LORA, encoding="utf-8")
        for arguments in (["--apply", other], ["--config", other]):
            code, out, err = run(lora, *arguments)
            assert (code, out) == (2, "")
            assert one_line(err)
        assert other.read_text(encoding="utf-8") == LORA


class TestRuns:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_a_config_beside_the_log_is_changed_once(self, run: Run, hot_run: Path, name: str) -> None:
        file, text = CONFIGS[name]
        config = hot_run / file
        config.write_text(text, encoding="utf-8")
        code, _, err = run(hot_run, "--apply", config)
        assert code == 0
        assert f"{config}: changed" in err
        after = config.read_text(encoding="utf-8")
        lines = changed_lines(text, after)
        assert lines
        assert all(any(word in old for word in ("learning_rate", "lr", "epochs")) for old, _ in lines)
        assert "0.004" not in after
        assert "4.0e-3" not in after
        code, _, err = run(hot_run, "--apply", config)
        assert (code, err) == (0, f"diag: {config}: nothing to change\n")
        assert config.read_text(encoding="utf-8") == after

    @pytest.mark.parametrize("name", CONFIGS)
    def test_a_config_elsewhere_is_changed_once(self, run: Run, hot_run: Path, tmp_path: Path, name: str) -> None:
        file, text = CONFIGS[name]
        config = tmp_path / "configs" / file
        config.parent.mkdir()
        config.write_text(text, encoding="utf-8")
        assert run(hot_run, "--apply", config)[0] == 0
        after = config.read_text(encoding="utf-8")
        assert after != text
        assert run(hot_run, "--apply", config)[0] == 0
        assert config.read_text(encoding="utf-8") == after
        assert [path.name for path in config.parent.iterdir()] == [file]

    def test_the_run_is_judged_by_what_it_was_trained_with(self, run: Run, hot_run: Path) -> None:
        """The config is changed; what the run was trained with is kept, until the folder holds a newer run."""
        file, text = CONFIGS["axolotl"]
        config, kept = hot_run / file, hot_run / f"{file}.as_trained"
        config.write_text(text, encoding="utf-8")
        run(hot_run, "--apply", config)
        assert kept.read_text(encoding="utf-8") == text
        assert "learning_rate: 0.004 → " in run(hot_run)[1]
        newer = kept.stat().st_mtime + 3600
        os.utime(hot_run / "trainer_state.json", (newer, newer))
        assert "learning_rate: 0.004 → " not in run(hot_run)[1]

    def test_only_the_run_s_own_config_is_copied(self, run: Run, hot_run: Path, tmp_path: Path) -> None:
        """Not one that bears the same name elsewhere; and what ``patch`` left beside it is nothing to go by."""
        file, text = CONFIGS["axolotl"]
        own, other = hot_run / file, tmp_path / file
        for path in (own, other):
            path.write_text(text, encoding="utf-8")
        left = hot_run / f"{file}.orig"
        left.write_text(text.replace("0.004", "0.5"), encoding="utf-8")
        assert "learning_rate: 0.004 → " in run(hot_run)[1]
        run(hot_run, "--apply", other)
        assert not other.with_name(f"{file}.as_trained").exists()
        assert "keeps what the run was trained with" in run(hot_run, "--apply", own)[2]
        assert "0.5" in left.read_text(encoding="utf-8")

    def test_a_copy_is_not_left_where_nothing_was_changed(self, run: Run, hot_run: Path) -> None:
        file, text = CONFIGS["axolotl"]
        config = hot_run / file
        config.write_text(text, encoding="utf-8")
        config.chmod(0o444)
        assert run(hot_run, "--apply", config)[0] == 2
        assert config.read_text(encoding="utf-8") == text
        assert not config.with_name(f"{file}.as_trained").exists()

    @pytest.mark.parametrize(
        "name", ["hf-lr-too-high", "hf-overfit", "automodel-jsonl", "tensorboard-divergence", "wandb-overfit", "console-hf"]
    )
    def test_recorded_runs_give_changes_in_every_format(self, run: Run, fixtures: Path, name: str) -> None:
        code, out, _ = run(fixtures / name, "--format", "json")
        assert code == 0
        (prescription, *_) = json.loads(out)["prescriptions"]
        assert prescription["kind"] == "run"
        assert yaml.safe_load(run(fixtures / name, "--format", "yaml")[1]) == (prescription["overrides"]["config"] or None)
        assert run(fixtures / name)[0] == 0

    def test_what_is_no_run(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        code, out, err = run(tmp_path / "empty")
        assert (code, out) in ((2, ""), (3, ""))
        assert one_line(err)
        code, out, err = run(tmp_path / "gone")
        assert (code, out) == (2, "")
        assert one_line(err)

    def test_a_folder_of_configs_is_no_run(self, run: Run, lora: Path) -> None:
        code, out, err = run(lora.parent)
        assert (code, out) == (3, "")
        assert err == f"diag: {lora.parent}: no run was found; give a log, the folder of a run, or one config\n"

    def test_a_config_without_a_key_for_the_changes_is_left_alone(self, run: Run, hot_run: Path, tmp_path: Path) -> None:
        path = tmp_path / "adapter_config.json"
        text = '{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}'
        path.write_text(text, encoding="utf-8")
        code, out, err = run(hot_run, "--apply", path)
        assert (code, err) == (0, f"diag: {path}: nothing to change\n")
        assert "There is no key for learning_rate" in " ".join(out.split())
        assert path.read_text(encoding="utf-8") == text

    def test_several_runs_need_a_name(self, run: Run, fixtures: Path, lora: Path) -> None:
        code, _, err = run(fixtures / "all-sources", "--apply", lora)
        assert code == 2
        assert "name the one" in err
        assert lora.read_text(encoding="utf-8") == LORA
