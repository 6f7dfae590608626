"""CFG043 to CFG046: pretraining mode, loss mask, loaders and prompt formats."""

from __future__ import annotations

import pytest
from linting import violations
from settling import settled


def hub(call: str = "sft", **more: object) -> str:
    rest = "".join(f"  {name}={value!r},\n" for name, value in more.items())
    ratio = "  unfreeze_rank_ratio=0.3,\n" if call == "osft" else ""
    return f'{call}(\n  model_path="acme/lm-7b",\n  learning_rate=5e-6,\n  num_epochs=1,\n  effective_batch_size=64,\n{ratio}{rest})\n'


@pytest.mark.parametrize("call", ["sft", "osft"])
def test_pretraining_needs_a_block_size(call: str) -> None:
    text = hub(call, is_pretraining=True, data_path="books.jsonl")
    (found,) = violations(text, "CFG043", "python")
    assert (found.severity, found.fixes[0].new, found.fixes[0].applicability) == ("error", 2048, "safe")
    assert "block_size=2048" in settled(text, "CFG043", "python")
    (short,) = violations(text, "CFG043", "python", sample_lengths=(100,) * 50)
    assert short.fixes[0].new == 512


def test_pretraining_with_all_it_needs_is_silent() -> None:
    assert violations(hub(is_pretraining=True, block_size=2048), "CFG043", "python") == []
    assert violations(hub("osft", is_pretraining=True, block_size=512, document_column_name="text"), "CFG043", "python") == []
    computed = hub(is_pretraining=True).replace("is_pretraining=True", "is_pretraining=True, block_size=size()")
    assert violations(computed, "CFG043", "python") == []
    assert violations(hub(), "CFG043", "python") == []
    passed_on = hub(is_pretraining=True).replace("is_pretraining=True", "is_pretraining=True, **options")
    assert violations(f"def train(**options):\n    {passed_on.replace(chr(10), chr(10) + '    ')}", "CFG043", "python") == []


def test_settings_without_the_mode_do_nothing() -> None:
    text = hub(block_size=1024)
    (found,) = violations(text, "CFG043", "python")
    assert (found.severity, found.key) == ("warning", "block_size")
    settled(text, "CFG043", "python")


def test_raw_documents_have_no_messages() -> None:
    text = hub("osft", is_pretraining=True, block_size=1024, unmask_messages=True)
    (found,) = violations(text, "CFG043", "python")
    assert (found.severity, found.key) == ("error", "unmask_messages")
    settled(text, "CFG043", "python")


def test_tiny_blocks_are_a_remark_in_yaml_too() -> None:
    text = (
        "model_path: acme/lm-7b\ndata_path: books.jsonl\nckpt_output_dir: out\nis_pretraining: true\nblock_size: 128\n"
        "effective_batch_size: 64\nmax_tokens_per_gpu: 4096\nlearning_rate: 0.000005\nnum_epochs: 1\n"
    )
    (found,) = violations(text, "CFG043")
    assert (found.severity, found.line, found.fixes[0].new) == ("info", 5, 512)
    settled(text, "CFG043")


AXOLOTL = "base_model: {model}\nchat_template: {template}\n{more}micro_batch_size: 4\nnum_epochs: 2\nlearning_rate: 0.00001\n"
LLAMA_FACTORY = """\
model_name_or_path: {model}
stage: sft
finetuning_type: full
template: {template}
{more}num_train_epochs: 2
learning_rate: 1.0e-5
"""
NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: acme/lm-7b
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
dataset:
{dataset}optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""
LOADERS = "nemo_automodel.components.datasets.llm."
COLUMNS = f"  _target_: {LOADERS}column_mapped_text_instruction_dataset.ColumnMappedTextInstructionDataset\n"
CHAT = f"  _target_: {LOADERS}chat_dataset.ChatDataset\n"
MAPPING = "  column_mapping:\n    question: instruction\n    answer: output\n"


@pytest.mark.parametrize(
    "text",
    [
        AXOLOTL.format(model="acme/lm-7b", template="chatml", more="train_on_inputs: true\n"),
        LLAMA_FACTORY.format(model="acme/lm-7b", template="default", more="train_on_prompt: true\n"),
        NEMO.format(dataset=COLUMNS + "  path_or_dataset_id: acme/data\n  answer_only_loss_mask: false\n" + MAPPING),
        "model_name_or_path: acme/lm-7b\ncompletion_only_loss: false\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\npacking: true\n",
    ],
)
def test_training_on_prompts_is_a_remark(text: str) -> None:
    (found,) = violations(text, "CFG044")
    assert found.severity == "info"
    settled(text, "CFG044")


def test_masks_that_exclude_each_other() -> None:
    text = LLAMA_FACTORY.format(model="acme/lm-7b", template="default", more="train_on_prompt: true\nmask_history: true\n")
    (found,) = violations(text, "CFG044")
    assert (found.severity, found.line) == ("error", 5)
    settled(text, "CFG044")


def test_usual_masks_are_silent() -> None:
    assert violations(AXOLOTL.format(model="acme/lm-7b", template="chatml", more="train_on_inputs: false\n"), "CFG044") == []
    assert violations(hub(data_path="chats.jsonl"), "CFG044", "python") == []


def test_knowledge_data_wants_its_documents_learned() -> None:
    text = hub("osft", data_path="knowledge/train.jsonl")
    (found,) = violations(text, "CFG044", "python")
    assert found.rules == ("S2-026", "S2-041")
    assert "unmask_messages=True" in settled(text, "CFG044", "python")
    assert violations(hub("osft", data_path="/home/me/Documents/train.jsonl"), "CFG044", "python") == []
    (advice,) = violations(hub(data_path="knowledge/train.jsonl"), "CFG044", "python")
    assert '"unmask": true' in advice.fixes[0].reason
    assert violations(hub("osft", data_path="knowledge.jsonl", is_pretraining=True, block_size=512), "CFG044", "python") == []


def test_a_loader_for_another_form_of_data() -> None:
    text = NEMO.format(dataset=COLUMNS + "  path_or_dataset_id: Open-Orca/SlimOrca\n" + MAPPING)
    (found,) = violations(text, "CFG045")
    assert (found.severity, found.line) == ("warning", 8)
    assert "ChatDataset" in settled(text, "CFG045")
    calls = NEMO.format(dataset=CHAT + "  path_or_dataset_id: Salesforce/xlam-function-calling-60k\n")
    after = settled(calls, "CFG045")
    assert "make_xlam_dataset" in after
    assert "dataset_name: Salesforce" in after


def test_columns_that_are_not_mapped() -> None:
    text = NEMO.format(dataset=COLUMNS + "  path_or_dataset_id: databricks/databricks-dolly-15k\n")
    (found,) = violations(text, "CFG045")
    assert found.severity == "error"
    assert "answer: response" in settled(text, "CFG045")
    (own,) = violations(NEMO.format(dataset=COLUMNS + "  path_or_dataset_id: acme/data\n  column_mapping:\n    question: q\n"), "CFG045")
    assert "no answer" in own.message


def test_the_limit_is_called_otherwise_in_each_loader() -> None:
    chat = NEMO.format(dataset=CHAT + "  path_or_dataset_id: Open-Orca/SlimOrca\n  split: train\n  limit_dataset_samples: 500\n")
    (found,) = violations(chat, "CFG045")
    assert (found.severity, found.line) == ("error", 11)
    assert "train[:500]" in settled(chat, "CFG045")
    columns = NEMO.format(dataset=COLUMNS + "  path_or_dataset_id: acme/data\n  limit: 500\n" + MAPPING)
    assert "limit_dataset_samples: 500" in settled(columns, "CFG045")


def test_a_file_of_ones_own_needs_a_switch() -> None:
    (found,) = violations(NEMO.format(dataset="  _target_: data/mine.py:build\n"), "CFG045")
    assert (found.severity, found.rules) == ("info", ("S1-197",))
    assert "NEMO_ENABLE_USER_MODULES=1" in found.message


def test_loaders_that_fit_are_silent() -> None:
    for dataset in (
        COLUMNS + "  path_or_dataset_id: acme/data\n  limit_dataset_samples: 500\n" + MAPPING,
        CHAT + "  path_or_dataset_id: Open-Orca/SlimOrca\n  split: train\n",
        f"  _target_: {LOADERS}xlam.make_xlam_dataset\n  dataset_name: Salesforce/xlam-function-calling-60k\n",
        f"  _target_: {LOADERS}squad.make_squad_dataset\n  dataset_name: rajpurkar/squad\n",
    ):
        assert violations(NEMO.format(dataset=dataset), "CFG045") == []


def test_columns_that_evaluation_needs() -> None:
    more = "sample_packing: true\neval_sample_packing: false\nremove_unused_columns: true\n"
    text = AXOLOTL.format(model="acme/lm-7b", template="chatml", more=more)
    assert [found.line for found in violations(text, "CFG045")] == [5]
    settled(text, "CFG045")


@pytest.mark.parametrize(
    ("model", "template", "severity"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "qwen", "warning"),
        ("Qwen/Qwen2.5-7B", "llama3", "info"),
        ("google/gemma-2-9b-it", "mistral", "warning"),
    ],
)
def test_the_template_of_another_family(model: str, template: str, severity: str) -> None:
    (found,) = violations(LLAMA_FACTORY.format(model=model, template=template, more=""), "CFG046")
    assert (found.severity, found.line) == (severity, 4)
    text = AXOLOTL.format(model=model, template=template, more="")
    assert "tokenizer_default" in settled(text, "CFG046")


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("meta-llama/Llama-3.1-8B", "chatml"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseekr1"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral_v3"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi"),
        ("acme/own-model", "llama3"),
    ],
)
def test_templates_that_fit_or_are_not_known(model: str, template: str) -> None:
    assert violations(LLAMA_FACTORY.format(model=model, template=template, more=""), "CFG046") == []


def test_padding_with_the_token_that_ends_everything() -> None:
    text = (
        'model_name_or_path: acme/lm-7b\npad_token: "</s>"\neos_token: "</s>"\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\npacking: false\n'
    )
    (found,) = violations(text, "CFG046")
    assert (found.severity, found.line) == ("warning", 2)
    axolotl = AXOLOTL.format(
        model="acme/lm-7b", template="chatml", more='special_tokens:\n  pad_token: "<|im_end|>"\n  eos_token: "<|im_end|>"\n'
    )
    assert [entry.severity for entry in violations(axolotl, "CFG046")] == ["info"]
    assert violations(axolotl.replace('pad_token: "<|im_end|>"', 'pad_token: "<|pad|>"'), "CFG046") == []


def test_padding_on_the_left_is_for_generation() -> None:
    text = "model_name_or_path: acme/lm-7b\npadding_side: left\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\n"
    (found,) = violations(text, "CFG046", dialect="hf")
    assert (found.severity, found.fixes[0].new) == ("info", "right")
    settled(text, "CFG046", dialect="hf")
    assert violations(text + "num_generations: 8\n", "CFG046", dialect="hf") == []
