"""Tiny Hugging Face models with random weights, and JSONL files for them, written as their users have them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ANIMALS, DEEDS = ("cat", "dog", "bird", "fish"), ("sees", "hears", "likes", "fears")
WORDS = ("the", "a", *ANIMALS, *DEEDS, "red", "big", "old", "small", "and", "then", "slowly", "quickly", "house", "tree", "river", "road")
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
    "bert": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
}
MASKED_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + ' </s>' }}{% endgeneration %}{% else %}{{ message['content'] + ' ' }}{% endif %}{% endfor %}"
)


def save_tokenizer(folder: Path, template: str | None = None) -> int:
    """A tokenizer of whole words; the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "</s>", "<unk>", *WORDS, *":.#<>|_", "user", "assistant", "system", "im", "start", "end", "Instruction", "Response"]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]
    fast.chat_template = template
    fast.save_pretrained(folder)
    return len(names)


def save_model(folder: Path, kind: str = "llama", head: str = "causal", template: str | None = None, **settings: Any) -> Path:
    """A model with its tokenizer in a folder.

    Args:
        folder: where to.
        kind: model type of Transformers, one of SIZES.
        head: ``causal``, ``classifier``, or ``none``.
        template: of chats.
        settings: more of its config.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    from diag.replay.pretrained import quiet

    folder.mkdir(parents=True, exist_ok=True)
    size = save_tokenizer(folder, template)
    options = {"vocab_size": size, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **SIZES[kind], **settings}
    config = AutoConfig.for_model(kind, **options)
    torch.manual_seed(0)
    makers = {"causal": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification, "none": AutoModel}
    with quiet():
        makers[head].from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of a language with a little grammar, which a tiny model learns."""
    draw = random.Random(seed)
    followers = {word: random.Random(word).sample(WORDS, 3) for word in WORDS}
    made = []
    for _ in range(count):
        words, length = [draw.choice(WORDS)], draw.randint(9, 15)
        while len(words) < length:
            words.append(draw.choice(followers[words[-1]]))
        made.append(" ".join(words))
    return made


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
