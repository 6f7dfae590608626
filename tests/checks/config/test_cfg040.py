"""CFG040 to CFG042: sequence length, packing and order of the samples."""

from __future__ import annotations

import pytest
from linting import violations
from settling import settled

LENGTHS = tuple(range(10, 2010, 10))
"""200 samples of 10 to 2,000 tokens: the 95th percentile is 1,900, the 99th 1,980."""

SHORT = (40,) * 180 + (1_000,) * 20
"""Many short samples and some long ones: packing pays."""

HUB = 'sft(model_path="acme/lm-7b", learning_rate=5e-6, num_epochs=1,\n  max_seq_len={limit}, max_tokens_per_gpu=1024)\n'
AXOLOTL = """\
base_model: meta-llama/Llama-3.1-8B
sequence_len: {limit}
{more}micro_batch_size: 4
num_epochs: 2
learning_rate: 0.00001
"""
NEMO = """\
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
step_scheduler:
  global_batch_size: 32
  num_epochs: 2
dataset:
  _target_: nemo_automodel.components.datasets.llm.chat_dataset.ChatDataset
  path_or_dataset_id: {data}
  seq_length: {limit}
packed_sequence:
  packed_sequence_size: {pack}
dataloader:
  shuffle: {shuffle}
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""
TRL = "model_name_or_path: acme/lm-7b\nmax_length: {limit}\npacking: {packing}\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\n"
TORCHTUNE = """\
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /models/tokenizer.model
  max_seq_len: {limit}
dataset:
  _component_: torchtune.datasets.alpaca_dataset
  packed: {packed}
optimizer:
  _component_: torch.optim.AdamW
  lr: 2.0e-5
batch_size: 4
epochs: 1
shuffle: {shuffle}
"""


def nemo(limit: int = 2048, pack: int = 0, shuffle: str = "true", data: str = "acme/chats") -> str:
    return NEMO.format(limit=limit, pack=pack, shuffle=shuffle, data=data)


@pytest.mark.parametrize(
    ("text", "form", "line", "fate"),
    [
        (HUB.format(limit=512), "python", 2, "dropped"),
        (AXOLOTL.format(limit=512, more=""), "yaml", 2, "dropped"),
        (nemo(limit=512), "yaml", 10, "cut off"),
        (TRL.format(limit=512, packing="false"), "yaml", 2, "cut off"),
    ],
)
def test_a_limit_below_the_95th_percentile(text: str, form: str, line: int, fate: str) -> None:
    (found,) = violations(text, "CFG040", form, sample_lengths=LENGTHS)
    assert (found.severity, found.line, found.fixes[0].new) == ("warning", line, 1984)
    assert found.evidence["p95"] == 1900
    assert f"are {fate}" in found.message
    settled(text, "CFG040", form, sample_lengths=LENGTHS)


def test_long_samples_that_go_on_in_the_next_pack_are_not_lost() -> None:
    text = TRL.format(limit=512, packing="true")
    assert violations(text + "packing_strategy: wrapped\n", "CFG040", sample_lengths=LENGTHS) == []
    assert len(violations(text + "packing_strategy: bfd\n", "CFG040", sample_lengths=LENGTHS)) == 1


def test_the_token_budget_grows_with_the_sequence() -> None:
    (found,) = violations(HUB.format(limit=512), "CFG040", "python", sample_lengths=LENGTHS)
    assert [(fix.key or fix.parameter, fix.new) for fix in found.fixes] == [("max_seq_len", 1984), ("max_tokens_per_gpu", 1984)]


@pytest.mark.parametrize("limit", [1920, 2048, 8192])
def test_limits_that_fit_are_silent(limit: int) -> None:
    assert violations(AXOLOTL.format(limit=limit, more=""), "CFG040", sample_lengths=LENGTHS) == []


def test_without_lengths_nothing_is_known() -> None:
    assert violations(AXOLOTL.format(limit=64, more=""), "CFG040") == []
    assert violations(AXOLOTL.format(limit=64, more=""), "CFG040", sample_lengths=(100, 200)) == []


def test_padding_to_a_limit_far_above_the_data() -> None:
    text = AXOLOTL.format(limit=16384, more="pad_to_sequence_len: true\n")
    (found,) = violations(text, "CFG040", sample_lengths=LENGTHS)
    assert (found.severity, found.fixes[0].new) == ("info", 1984)
    settled(text, "CFG040", sample_lengths=LENGTHS)


def test_a_pack_shorter_than_a_sequence() -> None:
    (found,) = violations(nemo(limit=4096, pack=1024), "CFG041")
    assert (found.severity, found.line, found.fixes[0].new) == ("warning", 12, 4096)
    settled(nemo(limit=4096, pack=1024), "CFG041")
    assert violations(nemo(limit=2048, pack=2048), "CFG041") == []


def test_a_pack_shorter_than_most_samples() -> None:
    text = nemo(limit=512, pack=1024)
    (found,) = violations(text, "CFG041", sample_lengths=LENGTHS)
    assert found.fixes[0].new == 1920
    settled(text, "CFG041", sample_lengths=LENGTHS)


@pytest.mark.parametrize(
    "text",
    [
        TORCHTUNE.format(limit="null", packed="True", shuffle="True"),
        TRL.format(limit="null", packing="true"),
        AXOLOTL.format(limit=2048, more="sample_packing: true\nrl: dpo\nattn_implementation: flash_attention_2\n"),
        AXOLOTL.format(limit=2048, more="sample_packing: true\nbatch_flattening: true\nattn_implementation: sdpa\n"),
    ],
)
def test_packing_that_is_refused(text: str) -> None:
    (found,) = violations(text, "CFG041")
    assert (found.severity, found.fixes[0].applicability) == ("error", "safe")
    settled(text, "CFG041")


def test_packed_samples_that_see_each_other() -> None:
    text = AXOLOTL.format(limit=2048, more="sample_packing: true\n")
    assert [found.severity for found in violations(text, "CFG041")] == ["warning"]
    assert "attn_implementation: flash_attention_2" in settled(text, "CFG041")
    assert violations(AXOLOTL.format(limit=2048, more="sample_packing: true\nflash_attention: true\n"), "CFG041") == []


def test_samples_cut_across_packs() -> None:
    text = nemo(pack=2048).replace("size: 2048", "size: 2048\n  split_across_pack: true")
    (found,) = violations(text, "CFG041")
    assert (found.severity, found.line) == ("info", 13)
    settled(text, "CFG041")
    wrapped = TRL.format(limit=1024, packing="true") + "packing_strategy: wrapped\n"
    assert "bfd" in settled(wrapped, "CFG041")


@pytest.mark.parametrize(
    "text",
    [
        nemo(),
        TRL.format(limit=1024, packing="false"),
        AXOLOTL.format(limit=2048, more="sample_packing: false\n"),
        TORCHTUNE.format(limit="2048", packed="False", shuffle="True").replace(
            "tokenizer:", "checkpointer:\n  model_type: LLAMA3\ntokenizer:"
        ),
    ],
)
def test_packing_would_pay(text: str) -> None:
    found = violations(text, "CFG041", sample_lengths=SHORT, method="sft")
    assert [entry.severity for entry in found] == ["info"]
    assert "1.5 to 3 times" in found[0].message
    settled(text, "CFG041", sample_lengths=SHORT, method="sft")


def test_packing_does_not_pay_for_even_lengths_or_grouped_samples() -> None:
    assert violations(nemo(), "CFG041", sample_lengths=(900,) * 100 + (1000,) * 100) == []
    assert violations(AXOLOTL.format(limit=2048, more="group_by_length: true\n"), "CFG041", sample_lengths=SHORT) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (nemo(shuffle="false"), 14),
        (TORCHTUNE.format(limit=2048, packed=False, shuffle="False"), 13),
        (TRL.format(limit=2048, packing="false") + "train_sampling_strategy: sequential\n", 6),
        ("model_name_or_path: acme/lm-7b\nstage: pt\ndisable_shuffling: true\nfinetuning_type: full\nlearning_rate: 1.0e-5\n", 3),
    ],
)
def test_unshuffled_data_is_a_remark(text: str, line: int) -> None:
    (found,) = violations(text, "CFG042")
    assert (found.severity, found.line) == ("info", line)
    settled(text, "CFG042")


def test_unshuffled_sources_are_a_warning() -> None:
    (found,) = violations(nemo(shuffle="false", data="[acme/one, acme/two]"), "CFG042")
    assert found.severity == "warning"
    assert "2 sources" in found.message


def test_grouping_by_length_makes_the_loss_rise_and_fall() -> None:
    text = "model_name_or_path: acme/lm-7b\ngroup_by_length: true\nlearning_rate: 1.0e-5\nnum_train_epochs: 1\n"
    (found,) = violations(text, "CFG042", dialect="hf")
    assert (found.severity, found.line, found.rules) == ("info", 2, ("S3-102",))
    settled(text, "CFG042", dialect="hf")


def test_shuffled_data_is_silent() -> None:
    assert violations(nemo(), "CFG042") == []
    assert violations(TORCHTUNE.format(limit=2048, packed=False, shuffle="True"), "CFG042") == []
    assert violations(AXOLOTL.format(limit=2048, more="group_by_length: false\n"), "CFG042") == []
