from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MASKED_TEMPLATE, write_lines

from diag.errors import InputError
from diag.replay.encoding import IGNORED, Encoded, Encoder, Feed, packed, rounded
from diag.replay.guard import ProbeError
from diag.replay.pretrained import Pretrained
from diag.replay.samples import Samples

Model = Callable[..., Path]
CHAT = {"messages": [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sees the dog"}]}


def learned(encoder: Encoder, path: Path, index: int = 0, length: int = 64) -> str:
    """What of a sample is learned, in words."""
    encoded = encoder.encoded(Samples(path), index, length)
    assert len(encoded.ids) == len(encoded.targets) <= length
    assert all(target in (token, IGNORED) for token, target in zip(encoded.ids, encoded.targets, strict=True))
    return str(encoder.tokenizer.decode([target for target in encoded.targets if target != IGNORED]))


@pytest.fixture
def encoder(tiny_model: Model) -> Encoder:
    return Encoder(Pretrained("tiny", tiny_model()).tokenizer())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "the cat sees"}, "the cat sees </s>"),
        ({"prompt": "the cat", "completion": "sees the dog"}, "sees the dog </s>"),
        ({"instruction": "the cat", "input": "and", "output": "sees"}, "sees </s>"),
    ],
)
def test_what_is_given_is_not_learned(row: dict[str, Any], words: str, encoder: Encoder, tmp_path: Path) -> None:
    assert learned(encoder, write_lines(tmp_path / "data.jsonl", [row])) == words


def test_what_is_given_is_learned_where_the_run_did(tiny_model: Model, tmp_path: Path) -> None:
    encoder = Encoder(Pretrained("tiny", tiny_model(template=MASKED_TEMPLATE)).tokenizer(), learns_prompts=True, learns_chats=True)
    assert learned(encoder, write_lines(tmp_path / "a.jsonl", [{"prompt": "the cat", "completion": "sees"}])) == "the cat sees </s>"
    assert learned(encoder, write_lines(tmp_path / "b.jsonl", [CHAT])) == "user : the cat assistant : sees the dog </s>"
    encoder = Encoder(Pretrained("tiny", tiny_model()).tokenizer(), learns_chats=True)
    assert "user the cat" in learned(encoder, tmp_path / "b.jsonl")
    assert "all words learned" in next(encoder.notes(Samples(tmp_path / "b.jsonl")))


def test_the_end_is_cut(encoder: Encoder, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", [{"prompt": "the cat", "completion": "sees the dog"}])
    assert learned(encoder, path, length=4) == "sees the"
    assert not encoder.encoded(Samples(path), 0, 2).teaches


def test_the_assistants_words_are_learned_where_the_template_marks_them(tiny_model: Model, tmp_path: Path) -> None:
    encoder = Encoder(Pretrained("tiny", tiny_model(template=MASKED_TEMPLATE)).tokenizer())
    path = write_lines(tmp_path / "data.jsonl", [CHAT])
    assert learned(encoder, path) == "sees the dog </s>"
    assert list(encoder.notes(Samples(path))) == []


def test_all_words_are_learned_where_it_does_not_and_that_is_said(tiny_model: Model, tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"
    encoder = Encoder(Pretrained("tiny", tiny_model(template=template)).tokenizer())
    path = write_lines(tmp_path / "data.jsonl", [CHAT])
    assert learned(encoder, path) == "the cat sees the dog"
    assert "the loss is over all tokens" in next(encoder.notes(Samples(path)))


def test_without_a_template_chats_are_written_in_chatml(encoder: Encoder, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", [CHAT])
    assert learned(encoder, path).startswith("sees the dog <")
    assert "ChatML" in next(encoder.notes(Samples(path)))


def test_a_template_that_refuses_names_the_line(tiny_model: Model, tmp_path: Path) -> None:
    template = "{% if messages|length > 1 %}{{ raise_exception('roles must alternate') }}{% endif %}{{ messages[0]['content'] }}"
    encoder = Encoder(Pretrained("tiny", tiny_model(template=template)).tokenizer())
    path = write_lines(tmp_path / "data.jsonl", [{"messages": CHAT["messages"][:1]}, CHAT])
    assert encoder.encoded(Samples(path), 0, 9).teaches
    with pytest.raises(InputError, match=r"data\.jsonl: line 2 is refused by the tokenizer's chat template .*roles must alternate"):
        encoder.encoded(Samples(path), 1, 9)


def test_a_template_cannot_run_code(tiny_model: Model, tmp_path: Path) -> None:
    template = "{{ messages.__class__.__base__.__subclasses__() }}"
    encoder = Encoder(Pretrained("tiny", tiny_model(template=template)).tokenizer())
    with pytest.raises(InputError, match="refused by the tokenizer's chat template"):
        encoder.encoded(Samples(write_lines(tmp_path / "data.jsonl", [CHAT])), 0, 9)


@pytest.mark.parametrize(
    ("length", "most", "width"),
    [(1, 64, 1), (3, 64, 4), (33, 1024, 64), (33, 50, 50), (65, 1024, 128), (129, 150, 150), (999, 999, 999)],
)
def test_lengths_are_rounded_up_to_few(length: int, most: int, width: int) -> None:
    assert rounded(length, most) == width


def test_packing_loses_no_token() -> None:
    given = [Encoded(tuple(range(n)), tuple(range(n))) for n in (3, 9, 1, 4)]
    blocks = list(packed(given, 4))
    assert [len(block.ids) for block in blocks] == [4, 4, 4, 4, 1]
    assert [token for block in blocks for token in block.ids] == [token for sample in given for token in sample.ids]


def test_batches_are_padded_on_the_right_and_padding_is_not_learned(encoder: Encoder, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", [{"text": text} for text in ("the cat", "", "the cat sees a dog", "a")])
    first, last = Feed(encoder, Samples(path), 64).batches([0, 1, 2, 3], 2)
    assert first["input_ids"].shape == (2, 8) and set(first) == {"input_ids", "labels"}
    assert first["input_ids"][0].tolist() == [*encoder.tokenizer("the cat </s>")["input_ids"], *[encoder.pad] * 5]
    assert first["labels"][0].tolist()[3:] == [IGNORED] * 5
    assert last["input_ids"].shape == (1, 2), "what teaches nothing is left out"


def test_where_nothing_is_left_to_learn_that_is_said(encoder: Encoder, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", [{"prompt": "the cat sees", "completion": "a"}])
    with pytest.raises(ProbeError, match=r"nothing is left to learn of the samples in .* within 3 tokens"):
        list(Feed(encoder, Samples(path), 3).batches([0], 2))


def test_classes_come_with_a_mask(tiny_model: Model, tmp_path: Path) -> None:
    encoder = Encoder(Pretrained("tiny", tiny_model()).tokenizer(), {"bad": 0, "good": 1})
    path = write_lines(tmp_path / "data.jsonl", [{"text": "the cat sees", "label": "good"}, {"text": "a", "label": "bad"}])
    (batch,) = Feed(encoder, Samples(path), 64).batches([0, 1], 2)
    assert batch["labels"].tolist() == [1, 0]
    assert torch.equal(batch["attention_mask"].sum(1), torch.tensor([3, 1]))
