"""CFG001: the learning rate against method, data set and model."""

from __future__ import annotations

from typing import Any

import pytest
from linting import plan, violations

from diag.documents import JSON, PYTHON, SHELL, YAML
from diag.fixing import settled
from diag.guides import band
from diag.lint import Violation

HF = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
output_dir: out
per_device_train_batch_size: 4
num_train_epochs: 2
learning_rate: {rate}
"""
LORA = HF + "use_peft: true\nlora_r: 8\nlora_alpha: 16\n"


def one(text: str, form: str = YAML, **options: Any) -> Violation:
    found = violations(text, "CFG001", form, **options)
    assert len(found) == 1, [violation.message for violation in found]
    return found[0]


def silent(text: str, form: str = YAML, **options: Any) -> bool:
    return not violations(text, "CFG001", form, **options)


def test_the_worked_case_of_the_guides() -> None:
    """LoRA at 1e-3 on 15,000 examples of a 7B model."""
    found = one(LORA.format(rate="0.001"), dataset_size=15_000)
    assert (found.severity, found.key, found.line, found.column) == ("error", "learning_rate", 5, 1)
    assert "0.001 is at or above 0.001" in found.message
    assert "lora, 15,000 samples, 7B parameters" in found.message
    assert "The guides disagree" in found.message
    (fix,) = found.fixes
    limits = band("learning_rate", "lora", 15_000, 7e9, "balanced")
    assert limits is not None
    assert (fix.parameter, fix.old, fix.applicability) == ("learning_rate", 0.001, "unsafe")
    assert fix.new == found.evidence["start"] == pytest.approx(limits.start, rel=0.05)
    assert limits.clip_low <= fix.new <= limits.clip_high < 0.001


@pytest.mark.parametrize(
    ("text", "rate", "severity"),
    [
        (LORA, "0.001", "error"),
        (LORA, "0.0009", "warning"),
        (LORA, "1.0e-04", None),
        (LORA, "2.0e-04", None),
        (LORA, "5.0e-07", "error"),
        (LORA, "2.0e-06", "warning"),
        (HF, "1.0e-04", "error"),
        (HF, "9.0e-05", "warning"),
        (HF, "1.0e-05", None),
        (HF, "1.0e-08", "warning"),
    ],
)
def test_how_bad_it_is(text: str, rate: str, severity: str | None) -> None:
    found = violations(text.format(rate=rate), "CFG001")
    assert [v.severity for v in found if v.severity != "info"] == ([severity] if severity else [])


@pytest.mark.parametrize("profile", ["conservative", "balanced", "aggressive", "automodel", "training-hub", "lesson"])
@pytest.mark.parametrize("size", [None, 500, 15_000, 200_000])
@pytest.mark.parametrize("parameters", [None, 1e9, 7e9, 7e10])
def test_its_own_advice_is_good_enough_for_it(profile: str, size: int | None, parameters: float | None) -> None:
    text = LORA.format(rate="0.01").replace("Llama-2-7b-hf", "some-model")
    options: dict[str, Any] = {"profile": profile, "dataset_size": size, "model_parameters": parameters}
    for method in ("lora", "qlora", "sft", "osft"):
        new = one(text, method=method, **options).fixes[0].new
        assert silent(text.replace("0.01", f"{new:.9f}"), method=method, **options), (method, new)


def test_the_batch_scales_the_limits() -> None:
    text = LORA.format(rate="0.01")
    one_process = one(text, world_size=1, dataset_size=15_000).evidence["high"]
    many = one(text.replace("batch_size: 4", "batch_size: 16"), world_size=16, dataset_size=15_000).evidence["high"]
    assert many >= one_process


def test_it_settles() -> None:
    made = plan(LORA.format(rate="0.01"), dataset_size=15_000)
    text, rounds = settled(made)
    again = plan(text, dataset_size=15_000)
    assert rounds[0].fixes
    assert settled(again)[0] == text
    assert violations(again, "CFG001") == []


@pytest.mark.parametrize(
    "text",
    [
        HF.format(rate="0.01").replace("meta-llama/Llama-2-7b-hf", "google-bert/bert-base-uncased"),
        HF.format(rate="5.0e-05").replace("meta-llama/Llama-2-7b-hf", "gpt2"),
        HF.format(rate="5.0e-07") + "beta: 0.1\nprecompute_ref_log_probs: true\n",
        HF.format(rate="1.0e-06") + "num_generations: 8\n",
        LORA.replace("learning_rate: {rate}\n", ""),
        "base_model: a/b-7b\nsequence_len: 2048\npretraining_dataset:\n  - path: c4\nmicro_batch_size: 1\nlearning_rate: 0.0004\n",
        "model_name_or_path: a/b-7b\nstage: sft\nfinetuning_type: oft\ntemplate: qwen\ncutoff_len: 512\nlearning_rate: 1.0e-4\n",
    ],
)
def test_of_these_the_guides_do_not_speak(text: str) -> None:
    assert silent(text)


def test_preferences_are_only_warned_of_rates_for_training_from_scratch() -> None:
    assert one(HF.format(rate="0.001") + "beta: 0.1\nprecompute_ref_log_probs: true\n").severity == "warning"


@pytest.mark.parametrize(
    ("text", "form", "key", "line"),
    [
        (
            "recipe: TrainFinetuneRecipeForNextTokenPrediction\nstep_scheduler:\n  global_batch_size: 64\n  num_epochs: 2\nmodel:\n"
            "  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B\npeft:\n  dim: 8\n  alpha: 32\noptimizer:\n  lr: 0.01\n",
            YAML,
            "optimizer.lr",
            11,
        ),
        (
            "base_model: a/7b\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nmicro_batch_size: 1\nlearning_rate: 0.01\n",
            YAML,
            "learning_rate",
            6,
        ),
        (
            "model_name_or_path: a/b-7b\nstage: sft\nfinetuning_type: lora\ntemplate: qwen\ncutoff_len: 512\nlearning_rate: 0.01\n",
            YAML,
            "learning_rate",
            6,
        ),
        (
            "lora_sft(model_path='a/7b', data_path='d', ckpt_output_dir='o', lora_r=8,\n  learning_rate=0.01)\n",
            PYTHON,
            "learning_rate",
            2,
        ),
        (
            "osft(model_path='a/b-7b', data_path='d', ckpt_output_dir='o', unfreeze_rank_ratio=0.3,\n  learning_rate=0.01)\n",
            PYTHON,
            "learning_rate",
            2,
        ),
        (
            "trl sft --model_name_or_path a/b-7b --use_peft --lora_r 8 \\\n  --learning_rate 0.01 --output_dir o\n",
            SHELL,
            "learning_rate",
            2,
        ),
        ('{"model_name_or_path": "a/7b", "output_dir": "o", "num_train_epochs": 2,\n "learning_rate": 0.01}', JSON, "learning_rate", 2),
    ],
)
def test_in_every_dialect(text: str, form: str, key: str, line: int) -> None:
    found = one(text, form)
    assert (found.severity, found.key, found.line) == ("error", key, line)
    assert found.fixes[0].new < 1e-3


def test_small_models_bear_the_default_of_the_trainer() -> None:
    text = "trl sft --model_name_or_path Qwen/Qwen2.5-{} --learning_rate 5e-5 --num_train_epochs 1 --output_dir o\n"
    severities = [[v.severity for v in violations(text.format(size), "CFG001", SHELL)] for size in ("1.5B", "7B")]
    assert severities == [["info"], ["warning"]]


def test_larger_models_are_pretrained_at_lower_rates() -> None:
    text = "torchrun pretrain_gpt.py --micro-batch-size 1 --global-batch-size 1536 --train-iters 500000 --lr {}\n"
    assert violations(text.format("6.0e-5"), "CFG001", SHELL) == []
    assert [v.severity for v in violations(text.format("6.0e-3"), "CFG001", SHELL)] != []


def test_all_weights_where_a_config_leaves_the_adapters_out() -> None:
    torchtune = "model:\n  _component_: torchtune.models.llama3_1.llama3_1_8b\nbatch_size: 2\nepochs: 1\noptimizer:\n  lr: 4e-4\n"
    torchtune += "checkpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n"
    assert [(v.severity, v.line) for v in violations(torchtune, "CFG001")] == [("error", 6)]
    preferences = torchtune.replace("llama3_1_8b", "lora_llama3_1_8b") + "loss:\n  _component_: torchtune.rlhf.loss.DPOLoss\n"
    assert violations(preferences, "CFG001") == []
    litgpt = "checkpoint_dir: checkpoints/meta-llama/Meta-Llama-3-8B\nprecision: bf16-true\ntrain:\n  global_batch_size: 64\n"
    litgpt += "  micro_batch_size: 4\n  epochs: 1\noptimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 0.0002\n"
    assert [v.severity for v in violations(litgpt, "CFG001")] == ["warning"]  # it may be run with adapters
