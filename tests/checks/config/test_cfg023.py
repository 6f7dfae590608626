"""CFG023 and CFG024: what adapters are attached to, and what DoRA does not work with."""

from __future__ import annotations

import pytest
from linting import violations
from settling import settled

NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
peft:
  _target_: nemo_automodel.components._peft.lora.PeftConfig
{targets}  dim: 16
  alpha: 32
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-4
"""

TRL = """\
model_name_or_path: meta-llama/Llama-3.1-8B
use_peft: true
lora_r: 16
lora_alpha: 32
{targets}per_device_train_batch_size: 4
num_train_epochs: 2
learning_rate: 1.0e-4
"""

AXOLOTL = """\
base_model: meta-llama/Llama-3.1-8B
adapter: lora
lora_r: 16
lora_alpha: 32
{targets}micro_batch_size: 4
num_epochs: 2
learning_rate: 0.0001
"""

TORCHTUNE = """\
model:
  _component_: torchtune.models.llama3_1.lora_llama3_1_8b
  lora_attn_modules: {attention}
  apply_lora_to_mlp: {mlp}
  lora_rank: 16
  lora_alpha: 32
optimizer:
  _component_: torch.optim.AdamW
  lr: 1.0e-4
batch_size: 4
epochs: 1
"""

LITGPT = """\
checkpoint_dir: checkpoints/meta-llama/Llama-3.1-8B
lora_r: 16
lora_alpha: 32
lora_query: {query}
lora_value: {query}
lora_key: false
train:
  global_batch_size: 32
  epochs: 2
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0001
"""

ATTENTION_ONLY = {
    "automodel": NEMO.format(targets='  target_modules: ["*.q_proj", "*.v_proj"]\n'),
    "hf": TRL.format(targets="lora_target_modules: [q_proj, v_proj]\n"),
    "axolotl": AXOLOTL.format(targets="lora_target_modules: [q_proj, k_proj, v_proj, o_proj]\n"),
    "torchtune": TORCHTUNE.format(attention="['q_proj', 'v_proj']", mlp=False),
    "litgpt": LITGPT.format(query="true"),
    "llamafactory": "model_name_or_path: acme/lm-7b\nstage: sft\nfinetuning_type: lora\nlora_rank: 8\nlora_target: q_proj,v_proj\n"
    "learning_rate: 1.0e-4\nnum_train_epochs: 1\n",
}


@pytest.mark.parametrize("dialect", ATTENTION_ONLY)
def test_attention_alone_is_a_remark_and_settles(dialect: str) -> None:
    (found,) = violations(ATTENTION_ONLY[dialect], "CFG023")
    assert found.severity == "info"
    assert "Only attention projections" in found.message
    settled(ATTENTION_ONLY[dialect], "CFG023")


def test_the_conservative_profile_prefers_it() -> None:
    assert violations(ATTENTION_ONLY["hf"], "CFG023", profile="conservative") == []


@pytest.mark.parametrize(
    "text",
    [
        NEMO.format(targets="  match_all_linear: true\n"),
        NEMO.format(targets='  target_modules: "*_proj"\n'),
        NEMO.format(targets='  exclude_modules: ["*lm_head*"]\n'),
        TRL.format(targets="lora_target_modules: all-linear\n"),
        TRL.format(targets=""),
        TRL.format(targets="lora_target_modules: '.*(q|v)_proj$'\n"),
        AXOLOTL.format(targets="lora_target_linear: true\n"),
        AXOLOTL.format(targets="lora_target_modules:\nlora_target_linear: true\n"),
        AXOLOTL.format(targets="lora_target_modules: [q_proj, gate_proj]\n"),
        TORCHTUNE.format(attention="['q_proj', 'v_proj']", mlp=True),
    ],
)
def test_usual_targets_are_silent(text: str) -> None:
    assert violations(text, "CFG023") == []


def test_a_single_module_is_a_remark() -> None:
    (found,) = violations(TRL.format(targets="lora_target_modules: [down_proj]\n"), "CFG023")
    assert "Only down_proj" in found.message


def test_two_ways_to_choose_are_refused_by_automodel() -> None:
    text = NEMO.format(targets='  match_all_linear: true\n  exclude_modules: ["*lm_head*"]\n')
    (found,) = violations(text, "CFG023")
    assert (found.severity, found.line, found.fixes[0].applicability) == ("error", 6, "safe")
    assert "match_all_linear: false" in settled(text, "CFG023")
    both = NEMO.format(targets='  target_modules: ["*_proj"]\n  exclude_modules: ["*vision*"]\n')
    assert "exclude_modules" not in settled(both, "CFG023")


def test_nothing_to_train_is_an_error() -> None:
    torchtune, litgpt, hf = (
        TORCHTUNE.format(attention="[]", mlp=False),
        LITGPT.format(query="false"),
        TRL.format(targets="lora_target_modules: []\n"),
    )
    for text in (torchtune, litgpt, hf):
        (found,) = violations(text, "CFG023")
        assert found.severity == "error"
        assert "nothing is trained" in found.message
        settled(text, "CFG023")
    assert violations(TORCHTUNE.format(attention="[]", mlp=True), "CFG023") == []


def test_trained_biases_are_a_remark() -> None:
    text = '{"peft_type": "LORA", "base_model_name_or_path": "acme/lm-7b", "r": 8, "lora_alpha": 16, "bias": "all"}'
    (found,) = violations(text, "CFG023", "json")
    assert (found.key, found.fixes[0].new) == ("bias", "none")


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_dora_on_quantized_weights_is_refused_by_automodel(bits: str) -> None:
    text = NEMO.format(targets="  match_all_linear: true\n  use_dora: true\n") + f"quantization:\n  {bits}: true\n"
    (found,) = violations(text, "CFG024")
    assert (found.severity, found.line, found.fixes[0].applicability) == ("error", 7, "safe")
    assert "use_dora: false" in settled(text, "CFG024")


def test_dora_switches_triton_off() -> None:
    text = NEMO.format(targets="  match_all_linear: true\n  use_dora: true\n  use_triton: true\n")
    (found,) = violations(text, "CFG024")
    assert (found.severity, found.key) == ("info", "peft.use_triton")
    assert "use_triton: false" in settled(text, "CFG024")


def test_plain_dora_is_silent() -> None:
    assert violations(NEMO.format(targets="  match_all_linear: true\n  use_dora: true\n"), "CFG024") == []
    assert violations(AXOLOTL.format(targets="lora_target_linear: true\npeft_use_dora: true\nload_in_4bit: true\n"), "CFG024") == []
    assert violations(TRL.format(targets="use_dora: true\n"), "CFG024") == []


def test_dora_limits_of_peft_and_llama_factory() -> None:
    adapter = (
        '{"peft_type": "LORA", "base_model_name_or_path": "acme/lm-7b", "r": 8, "lora_alpha": 16, "use_dora": true, "lora_bias": true,'
        ' "target_modules": "all-linear"}'
    )
    assert [found.severity for found in violations(adapter, "CFG024", "json")] == ["error"]
    settled(adapter, "CFG024", "json")
    full = "model_name_or_path: acme/lm-7b\nstage: sft\nfinetuning_type: full\nuse_dora: true\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\n"
    assert [found.severity for found in violations(full, "CFG024")] == ["error"]


def test_dora_on_embeddings() -> None:
    (found,) = violations(TRL.format(targets="lora_target_modules: [q_proj, embed_tokens]\nuse_dora: true\n"), "CFG024")
    assert (found.severity, found.key) == ("info", "lora_target_modules")
    (nemo,) = violations(NEMO.format(targets='  target_modules: ["*_proj", "*.embed_tokens"]\n  use_dora: true\n'), "CFG024")
    assert nemo.severity == "error"
