"""The guides' own worked cases come out, through the commands and the public functions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diag
from diag.guides import PROFILES, SOURCES, band, warmup
from diag.guides.formulas import gpus_learning_rate, model_lora_parameters, samples_between_evaluations
from diag.vocabulary import METHODS

Command = Callable[..., "subprocess.CompletedProcess[str]"]

MISTRAL = """\
model_name_or_path: mistralai/Mistral-7B-v0.1
use_peft: true
lora_r: 16
lora_alpha: 32
learning_rate: {rate}
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
num_train_epochs: 2
eval_strategy: steps
eval_steps: 50
"""


def test_lora_at_1e_3_is_an_error_before_the_run(tmp_path: Path, diag_command: Command) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(MISTRAL.format(rate="1.0e-3"), encoding="utf-8")
    done = diag_command("lint", config, "--dataset-size", "15000", "--select", "CFG001", "--format", "json")
    assert done.returncode == 1, done.stderr
    (finding,) = json.loads(done.stdout)["configs"][0]["findings"]
    assert (finding["severity"], finding["line"]) == ("error", 5)
    assert finding["fixes"][0]["to"] == pytest.approx(1e-4, rel=0.3)
    assert {"S3-003", "S3-184"} <= set(finding["rules"])


def test_lora_at_1e_4_is_none(tmp_path: Path, diag_command: Command) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(MISTRAL.format(rate="1.0e-4"), encoding="utf-8")
    done = diag_command("lint", config, "--dataset-size", "15000", "--select", "CFG001")
    assert done.returncode == 0, done.stdout


def test_lora_at_1e_3_overfits_in_the_log_and_the_rate_is_lowered(tmp_path: Path) -> None:
    steps = 1860  # 15,000 samples, 16 a step, 2 epochs
    history: list[dict[str, float]] = []
    for step in range(10, steps + 1, 10):
        share = step / steps
        history.append({"step": step, "epoch": 2 * share, "loss": 0.35 + 1.6 * (1 - share) ** 6, "learning_rate": 1e-3 * (1 - share)})
        if step % 60 == 0:
            best = 1.1 + 0.5 * max(0.0, 1 - 3 * share) + 0.6 * max(0.0, share - 0.3)
            history.append({"step": step, "epoch": 2 * share, "eval_loss": best})
    state = {"global_step": steps, "max_steps": steps, "num_train_epochs": 2, "epoch": 2.0, "log_history": history}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    said = {"method": "lora", "dataset_size": 15_000, "model_parameters": 7e9}
    arguments = {"learning_rate": 1e-3, "num_train_epochs": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    (tmp_path / "training_args.json").write_text(json.dumps(arguments), encoding="utf-8")
    (run,) = diag.analyze(tmp_path, **said).runs  # type: ignore[arg-type]
    assert run.diagnosis.verdict == "OVERFIT"
    assert {"too_many_epochs", "lr_too_high"} <= {cause.cause for cause in run.diagnosis.causes}
    lowered = [fix for fix in run.fixes if fix.parameter == "learning_rate"]
    assert lowered
    assert all(fix.new < 1e-3 for fix in lowered)


def test_four_gpus_double_the_learning_rate() -> None:
    assert gpus_learning_rate(1e-4, 1, 4) == pytest.approx(2e-4)


def test_rank_8_on_q_and_v_of_a_7b_model() -> None:
    assert 3e6 <= model_lora_parameters(8, "mistral-7b", ("q_proj", "v_proj")) <= 4.5e6


def test_evaluating_every_50_steps_of_4_times_4() -> None:
    assert samples_between_evaluations(50, 4, 4) == 800


def test_the_validation_line_of_the_guide_is_read(tmp_path: Path) -> None:
    lines = []
    for step in range(10, 210, 10):
        lines.append(f"INFO:root:step {step} | epoch 0 | loss {2 - step / 200:.4f} | grad_norm 1.2 | lr 1e-05")
        if step % 20 == 0:
            lines.append(f"INFO:root:[val] step {step} | epoch 0 | loss {0.2469 + (step - 20) / 1000:.4f}")
    log = tmp_path / "train.log"
    log.write_text("\n".join(lines), encoding="utf-8")
    (run,) = diag.load(log)
    (curve,) = [curve for _, curve in run.eval_losses()]
    assert (int(curve.step[0]), float(curve.value[0]), len(curve)) == (20, 0.2469, 10)


@given(
    method=st.sampled_from(METHODS),
    size=st.integers(1, 10**7),
    model=st.floats(5e8, 1e12),
    parameter=st.sampled_from(["learning_rate", "lora_rank", "num_epochs"]),
)
def test_bolder_profiles_never_start_lower(method: str, size: int, model: float, parameter: str) -> None:
    found = [band(parameter, method, size, model, profile) for profile in PROFILES]
    starts = [entry.start for entry in found if entry is not None]
    assert starts == sorted(starts)


@given(
    method=st.sampled_from(METHODS),
    total=st.integers(10, 10**6),
    profile=st.sampled_from((*PROFILES, *SOURCES)),
)
def test_every_start_lies_inside_its_limits(method: str, total: int, profile: str) -> None:
    found = warmup(total, method, profile)
    assert found.clip_low <= found.start <= found.clip_high


def test_numbers_are_those_of_the_guides_order_of_magnitude() -> None:
    for method in ("sft", "osft", "lora", "qlora"):
        for size in (100, 3000, 20_000, 1_000_000):
            for model in (1e9, 7e9, 13e9, 70e9):
                for profile in (*PROFILES, *SOURCES):
                    rate, epochs = band("learning_rate", method, size, model, profile), band("num_epochs", method, size, model, profile)
                    assert rate is not None
                    assert epochs is not None
                    assert 1e-6 <= rate.start <= 3e-4
                    assert 1 <= epochs.start <= 5
