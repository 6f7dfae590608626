"""CFG020 to CFG022: rank, alpha and dropout of the adapters."""

from __future__ import annotations

from typing import Any

import pytest
from linting import violations
from settling import settled

AXOLOTL = """\
base_model: meta-llama/Llama-3.1-8B
adapter: lora
lora_r: {rank}
lora_alpha: {alpha}
lora_dropout: {dropout}
lora_target_linear: true
datasets:
  - path: data/train.jsonl
    type: alpaca
micro_batch_size: 4
num_epochs: 2
learning_rate: 0.0001
"""

TRL = """\
model_name_or_path: meta-llama/Llama-3.1-8B
use_peft: true
lora_r: {rank}
lora_alpha: {alpha}
lora_dropout: {dropout}
lora_target_modules: all-linear
per_device_train_batch_size: 4
num_train_epochs: 2
learning_rate: 1.0e-4
"""

NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
peft:
  _target_: nemo_automodel.components._peft.lora.PeftConfig
  match_all_linear: true
  dim: {rank}
  alpha: {alpha}
  dropout: {dropout}
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-4
"""

LLAMA_FACTORY = """\
model_name_or_path: meta-llama/Llama-3.1-8B
stage: sft
finetuning_type: lora
lora_rank: {rank}
lora_target: all
per_device_train_batch_size: 4
num_train_epochs: 2
learning_rate: 1.0e-4
"""


def config(template: str, rank: float = 16, alpha: float = 32, dropout: float = 0.05) -> str:
    return template.format(rank=rank, alpha=alpha, dropout=dropout)


@pytest.mark.parametrize(("template", "line"), [(AXOLOTL, 3), (TRL, 3), (NEMO, 7)])
def test_a_high_rank_on_little_data_is_a_warning(template: str, line: int) -> None:
    (found,) = violations(config(template, rank=64, alpha=128), "CFG020", dataset_size=2_000)
    assert (found.severity, found.line) == ("warning", line)
    assert "2,000 samples" in found.message
    assert [(fix.parameter, fix.new) for fix in found.fixes] == [("lora_rank", found.fixes[0].new), ("lora_alpha", 2 * found.fixes[0].new)]
    assert 4 <= found.fixes[0].new <= 16


@pytest.mark.parametrize("template", [AXOLOTL, TRL, NEMO, LLAMA_FACTORY])
def test_the_usual_rank_is_silent(template: str) -> None:
    assert violations(config(template), "CFG020", dataset_size=15_000) == []
    assert violations(config(template), "CFG020") == []


def test_a_high_rank_is_fine_with_data_enough_or_code() -> None:
    assert violations(config(TRL, rank=64), "CFG020", dataset_size=12_000) == []
    assert violations(config(AXOLOTL.replace("data/train", "data/code-train"), rank=32), "CFG020", dataset_size=2_000) == []


def test_beyond_all_guides_is_a_warning_whatever_the_data() -> None:
    (high,) = violations(config(AXOLOTL, rank=512, alpha=512), "CFG020")
    (low,) = violations(config(AXOLOTL, rank=2, alpha=4), "CFG020")
    assert (high.severity, low.severity) == ("warning", "warning")
    assert "above 64" in high.message
    assert "below 4" in low.message


def test_high_ranks_that_are_scaled_down_are_a_remark_where_the_data_is_not_known() -> None:
    """Published recipes: preferences at 128/128, all linear layers at 256/128."""
    for rank, alpha, severity in ((128, 128, "info"), (256, 128, "info"), (128, 256, "warning"), (512, 128, "warning")):
        (found,) = violations(config(AXOLOTL, rank=rank, alpha=alpha), "CFG020")
        assert found.severity == severity
    (few,) = violations(config(AXOLOTL, rank=128, alpha=128), "CFG020", dataset_size=2000)
    assert few.severity == "warning"


def test_the_size_of_the_adapters_is_named_where_the_model_is_known() -> None:
    (found,) = violations(config(TRL, rank=128, alpha=128), "CFG020")
    # 7 layers of Llama 3 8B: 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)) = 2,621,440 a rank
    assert "336M parameters" in found.message


def test_a_small_rank_with_four_bit_weights_is_a_remark() -> None:
    text = config(AXOLOTL, rank=8, alpha=16).replace("adapter: lora", "adapter: qlora\nload_in_4bit: true")
    (found,) = violations(text, "CFG020")
    assert (found.severity, found.fixes[0].new) == ("info", 16)


def test_rank_stabilized_adapters_are_made_for_high_ranks() -> None:
    assert violations(config(TRL, rank=256) + "use_rslora: true\n", "CFG020") == []


def test_small_models_and_unset_ranks_are_none_of_its_business() -> None:
    assert violations(config(TRL, rank=256).replace("meta-llama/Llama-3.1-8B", "gpt2"), "CFG020") == []
    assert violations(config(TRL).replace("lora_r: 16\n", ""), "CFG020") == []


@pytest.mark.parametrize("template", [AXOLOTL, TRL, NEMO, LLAMA_FACTORY])
@pytest.mark.parametrize("rank", [1, 256])
def test_rank_settles_with_its_alpha(template: str, rank: int) -> None:
    after = settled(config(template, rank=rank, alpha=2 * rank), "CFG020", dataset_size=3_000)
    assert violations(after, "CFG021", dataset_size=3_000) == []


@pytest.mark.parametrize(("template", "line"), [(AXOLOTL, 4), (TRL, 4), (NEMO, 8)])
@pytest.mark.parametrize(("alpha", "severity"), [(256, "error"), (96, "warning"), (48, "info"), (4, "info")])
def test_alpha_by_its_ratio_to_the_rank(template: str, line: int, alpha: int, severity: str) -> None:
    (found,) = violations(config(template, alpha=alpha), "CFG021")
    assert (found.severity, found.line) == (severity, line)
    assert found.fixes[0].new == (16 if alpha == 4 else 32)


@pytest.mark.parametrize("alpha", [8, 16, 32])
def test_usual_ratios_are_silent(alpha: int) -> None:
    assert violations(config(AXOLOTL, alpha=alpha), "CFG021") == []


def test_a_fixed_alpha_of_32_was_made_for_larger_ranks() -> None:
    (found,) = violations(config(AXOLOTL, rank=8), "CFG021")
    (native,) = violations(config(NEMO, rank=8), "CFG021")
    assert (found.severity, native.severity) == ("warning", "info")
    assert "guides disagree" in found.message


def test_alpha_that_the_library_derives_or_scales_otherwise_is_fine() -> None:
    assert violations(config(LLAMA_FACTORY, rank=8), "CFG021") == []
    assert violations(config(TRL, rank=16, alpha=128) + "use_rslora: true\n", "CFG021") == []


def test_the_default_of_the_other_one_counts() -> None:
    peft = "learning_rate: 1.0e-4\nnum_train_epochs: 1\nmodel_name_or_path: acme/lm-7b\npeft:\n  r: 64\n  target_modules: all-linear\n"
    (found,) = violations(peft, "CFG021", dialect="hf")
    assert "Alpha 8 with rank 64" in found.message
    (nemo,) = violations(config(NEMO, rank=4).replace("  alpha: 32\n", ""), "CFG021")
    assert "Alpha 32 with rank 4" in nemo.message


def test_adapter_config_of_peft() -> None:
    text = '{"peft_type": "LORA", "base_model_name_or_path": "acme/lm-7b", "r": 8, "lora_alpha": 128, "target_modules": ["q_proj"]}'
    (found,) = violations(text, "CFG021", "json")
    assert (found.severity, found.key) == ("error", "lora_alpha")


@pytest.mark.parametrize("template", [AXOLOTL, TRL, NEMO])
@pytest.mark.parametrize("alpha", [1, 48, 96, 512])
def test_alpha_settles(template: str, alpha: int) -> None:
    after = settled(config(template, alpha=alpha), "CFG021", dataset_size=15_000)
    assert violations(after, "CFG020", dataset_size=15_000) == []


@pytest.mark.parametrize(("template", "line"), [(AXOLOTL, 5), (TRL, 5), (NEMO, 9)])
def test_too_much_dropout(template: str, line: int) -> None:
    (found,) = violations(config(template, dropout=0.3), "CFG022")
    assert (found.severity, found.line, found.fixes[0].new) == ("warning", line, 0.05)
    assert settled(config(template, dropout=0.3), "CFG022").count("0.05") == 1


@pytest.mark.parametrize(
    ("dropout", "options"), [(0.05, {}), (0.1, {}), (0.0, {}), (0.0, {"dataset_size": 50_000}), (0.1, {"dataset_size": 800})]
)
def test_usual_dropout_is_silent(dropout: float, options: dict[str, Any]) -> None:
    assert violations(config(AXOLOTL, dropout=dropout), "CFG022", **options) == []


def test_no_dropout_on_little_data_is_a_remark_except_for_unsloth() -> None:
    (found,) = violations(config(TRL, dropout=0.0), "CFG022", dataset_size=900)
    assert found.severity == "info"
    assert violations(config(TRL, dropout=0.0) + "use_unsloth: true\n", "CFG022", dataset_size=900) == []
    hub = 'from training_hub import lora_sft\nlora_sft(model_path="acme/lm-7b", lora_r=16, lora_dropout=0.1, learning_rate=1e-4)\n'
    (fast,) = violations(hub, "CFG022", "python")
    assert (fast.severity, fast.line, fast.fixes[0].new) == ("info", 2, 0.0)
