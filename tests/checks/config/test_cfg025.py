"""CFG025 to CFG028: quantized weights, OSFT's share, and whether to train all weights at all."""

from __future__ import annotations

import pytest
from linting import violations
from settling import settled

AXOLOTL = """\
base_model: meta-llama/Llama-3.1-8B
{bits}{adapter}datasets:
  - path: data/train.jsonl
    type: alpaca
micro_batch_size: 4
num_epochs: 2
learning_rate: 0.0001
"""
QLORA = "adapter: qlora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"

NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
{peft}quantization:
  load_in_4bit: true
  bnb_4bit_compute_dtype: {dtype}
  bnb_4bit_use_double_quant: {double}
  bnb_4bit_quant_type: {kind}
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""
PEFT = "peft:\n  _target_: nemo_automodel.components._peft.lora.PeftConfig\n  match_all_linear: true\n  dim: 16\n  alpha: 32\n"

TRL_SCRIPT = "trl sft --model_name_or_path acme/lm-7b --load_in_4bit {peft}--learning_rate 1e-4 --num_train_epochs 1 --output_dir out\n"


def nemo(peft: str = PEFT, dtype: str = "bfloat16", double: str = "true", kind: str = "nf4") -> str:
    return NEMO.format(peft=peft, dtype=dtype, double=double, kind=kind)


def test_qlora_as_it_is_meant_to_be_is_silent() -> None:
    assert violations(nemo(), "CFG025") == []
    assert violations(AXOLOTL.format(bits="load_in_4bit: true\n", adapter=QLORA), "CFG025") == []
    assert violations(AXOLOTL.format(bits="load_in_8bit: true\n", adapter=QLORA.replace("qlora", "lora")), "CFG025") == []
    assert violations(TRL_SCRIPT.format(peft="--use_peft "), "CFG025", "shell") == []
    script = "model_name_or_path: a/lm-7b\nload_in_4bit: true\nlearning_rate: 1.0e-4\nnum_train_epochs: 1\n"
    assert violations(script, "CFG025", dialect="hf") == []


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (AXOLOTL.format(bits="load_in_4bit: true\n", adapter=""), "yaml"),
        (AXOLOTL.format(bits="load_in_8bit: true\n", adapter="adapter:\n"), "yaml"),
        (nemo(peft=""), "yaml"),
        (TRL_SCRIPT.format(peft=""), "shell"),
        (
            "model_name_or_path: a/lm-7b\nstage: sft\nfinetuning_type: full\nquantization_bit: 4\nlearning_rate: 1.0e-5\n",
            "yaml",
        ),
    ],
)
def test_quantized_weights_without_adapters_are_an_error(text: str, form: str) -> None:
    (found,) = violations(text, "CFG025", form)
    assert found.severity == "error"
    assert "quantized weights cannot be trained" in found.message
    settled(text, "CFG025", form)


def test_qlora_wants_four_bits_of_axolotl() -> None:
    text = AXOLOTL.format(bits="", adapter=QLORA)
    (found,) = violations(text, "CFG025")
    assert (found.severity, found.line, found.fixes[0].applicability) == ("error", 2, "safe")
    assert "load_in_4bit: true" in settled(text, "CFG025")


def test_fp4_and_float32_and_single_quantization() -> None:
    found = violations(nemo(dtype="float32", double="false", kind="fp4"), "CFG025")
    assert [(entry.key.rsplit(".")[-1], entry.severity) for entry in found] == [
        ("bnb_4bit_compute_dtype", "info"),
        ("bnb_4bit_use_double_quant", "info"),
        ("bnb_4bit_quant_type", "warning"),
    ]
    after = settled(nemo(dtype="float32", double="false", kind="fp4"), "CFG025")
    assert "nf4" in after
    assert "bfloat16" in after


def test_the_silent_defaults_of_bits_and_bytes() -> None:
    text = (
        "model_name_or_path: a/lm-7b\nlearning_rate: 1.0e-4\nnum_train_epochs: 1\nlora_r: 16\nquantization_config:\n  load_in_4bit: true\n"
    )
    (found,) = violations(text, "CFG025", dialect="hf")
    assert (found.severity, found.line) == ("info", 6)
    assert "bnb_4bit_compute_dtype (float32)" in found.message
    assert "bnb_4bit_quant_type: nf4" in settled(text, "CFG025", dialect="hf")


def test_litgpt_names_its_quantization() -> None:
    text = (
        "checkpoint_dir: checkpoints/lm-7b\nquantize: bnb.fp4\nlora_r: 16\nlora_alpha: 32\ntrain:\n  epochs: 1\n  global_batch_size: 16\n"
    )
    (found,) = violations(text, "CFG025", dialect="litgpt")
    assert (found.severity, found.fixes[0].new) == ("warning", "bnb.nf4-dq")
    settled(text, "CFG025", dialect="litgpt")


@pytest.mark.parametrize(
    ("text", "form", "line"),
    [
        (AXOLOTL.format(bits="load_in_4bit: true\nload_in_8bit: true\n", adapter=QLORA), "yaml", 3),
        (nemo().replace("  load_in_4bit: true\n", "  load_in_4bit: true\n  load_in_8bit: true\n"), "yaml", 11),
        ('lora_sft(model_path="acme/lm-7b", learning_rate=1e-4, lora_r=16,\n  load_in_4bit=True, load_in_8bit=True)\n', "python", 2),
        (TRL_SCRIPT.format(peft="--use_peft --load_in_8bit "), "shell", 1),
    ],
)
def test_four_and_eight_bits_exclude_each_other(text: str, form: str, line: int) -> None:
    (found,) = violations(text, "CFG026", form)
    assert (found.severity, found.line, found.fixes[0].applicability) == ("error", line, "safe")
    settled(text, "CFG026", form)


def test_plain_lora_keeps_eight_bits() -> None:
    text = AXOLOTL.format(bits="load_in_4bit: true\nload_in_8bit: true\n", adapter=QLORA.replace("qlora", "lora"))
    (found,) = violations(text, "CFG026")
    assert [(fix.parameter, fix.new) for fix in found.fixes] == [("load_in_4bit", False)]
    assert violations(text.replace("load_in_8bit: true", "load_in_8bit: false"), "CFG026") == []


def osft(ratio: object, model: str = "acme/lm-1b", more: str = "") -> str:
    return f'osft(\n  model_path="{model}",\n  unfreeze_rank_ratio={ratio},\n  learning_rate=5e-6,\n  num_epochs=1,{more}\n)\n'


@pytest.mark.parametrize(
    ("ratio", "model", "severity"),
    [(0.9, "acme/lm-1b", "warning"), (0.05, "acme/lm-8b", "warning"), (0.6, "acme/lm-8b", "info"), (1.0, "acme/lm-8b", "warning")],
)
def test_an_unfreeze_ratio_off_the_guide(ratio: float, model: str, severity: str) -> None:
    (found,) = violations(osft(ratio, model), "CFG027", "python")
    assert (found.severity, found.line) == (severity, 3)
    assert 0.1 <= found.fixes[0].new <= 0.5
    settled(osft(ratio, model), "CFG027", "python")


@pytest.mark.parametrize(("ratio", "model"), [(0.5, "acme/lm-8b"), (0.1, "acme/lm-8b"), (0.6, "acme/lm-1b"), (0.3, "acme/lm-70b")])
def test_usual_ratios_are_silent(ratio: float, model: str) -> None:
    assert violations(osft(ratio, model), "CFG027", "python") == []


def test_a_ratio_in_yaml() -> None:
    text = "model_path: acme/lm-8b\nunfreeze_rank_ratio: 0.9\nlearning_rate: 0.000005\nnum_epochs: 1\neffective_batch_size: 64\n"
    assert [found.line for found in violations(text, "CFG027")] == [2]


def test_target_patterns_are_no_regular_expressions() -> None:
    text = osft(0.3, more='\n  target_patterns=[".*mlp.*", "(q_proj|k_proj)"],')
    (found,) = violations(text, "CFG027", "python")
    assert found.fixes[0].new == ["mlp", "q_proj", "k_proj"]
    settled(text, "CFG027", "python")
    assert violations(osft(0.3, more='\n  target_patterns=["self_attn.q_proj", "mlp"],'), "CFG027", "python") == []


FULL = "model_name_or_path: acme/lm-7b\nstage: sft\nfinetuning_type: full\nlearning_rate: 1.0e-5\nnum_train_epochs: 2\n"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (FULL, "yaml"),
        (AXOLOTL.format(bits="", adapter=""), "yaml"),
        ('sft(model_path="acme/lm-7b", learning_rate=5e-6, num_epochs=2, effective_batch_size=64)\n', "python"),
    ],
)
def test_all_weights_on_little_data_is_a_remark(text: str, form: str) -> None:
    (found,) = violations(text, "CFG028", form, dataset_size=1_200)
    assert found.severity == "info"
    assert "1,200 samples" in found.message


def test_all_weights_are_fine_otherwise() -> None:
    assert violations(FULL, "CFG028", dataset_size=6_000) == []
    assert violations(FULL, "CFG028") == []
    assert violations(FULL.replace("full", "lora"), "CFG028", dataset_size=500) == []
    assert violations(FULL + "task_name: mnli\n", "CFG028", dataset_size=500, dialect="hf", method="sft") == []
    assert violations(FULL.replace("acme/lm-7b", "google-bert/bert-base-uncased"), "CFG028", dataset_size=500) == []
