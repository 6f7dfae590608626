"""Samples as a model reads them: token ids, what of them is learned, and batches of one length."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from diag.errors import DiagError, InputError
from diag.replay.guard import ProbeError, describe

if TYPE_CHECKING:
    import torch

    from diag.replay.samples import Sample, Samples

IGNORED: Final = -100
"""The target of a token that is only read, as everywhere in PyTorch and Transformers."""
KEPT: Final = 100_000
"""Encoded samples that are kept, so that each is encoded once for all arms."""
GENERATION: Final = re.compile(r"{%-?\s*generation\s*-?%}")
"""What a chat template marks the assistant's words with, where it does."""
CHATML: Final = "<|im_start|>{role}\n"
CHATML_END: Final = "<|im_end|>\n"
WHOLE: Final = 64
"""Tokens up to which lengths are rounded up to a power of two, and above which to a multiple of it: few lengths, little padding."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample in tokens; ``targets`` are the ids that are learned, IGNORED elsewhere. ``label`` is the class of what is classified."""

    ids: tuple[int, ...]
    targets: tuple[int, ...] = ()
    label: int | None = None

    @property
    def teaches(self) -> bool:
        """Whether anything of it is learned: a token after the first, or a class."""
        return bool(self.ids) if self.label is not None else any(target != IGNORED for target in self.targets[1:])


class Encoder:
    """Encodes samples with the tokenizer of a model.

    Args:
        tokenizer: of the model.
        classes: label to class, where samples are classified.
        learns_prompts: whether what is given is learned, too.
        learns_chats: whether all words of a conversation are, not the assistant's alone.
    """

    def __init__(
        self, tokenizer: Any, classes: dict[int | str, int] | None = None, *, learns_prompts: bool = False, learns_chats: bool = False
    ) -> None:
        self.tokenizer, self.classes = tokenizer, classes or {}
        self.learns_prompts, self.learns_chats = learns_prompts, learns_chats
        self.end: int | None = tokenizer.eos_token_id
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end
        self.pad: int = 0 if pad is None else pad
        self.template: str | None = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
        if isinstance(tokenizer.chat_template, dict):
            self.template = tokenizer.chat_template.get("default")
        self.encoded = functools.lru_cache(maxsize=KEPT)(self._encoded)

    def notes(self, samples: Samples) -> Iterator[str]:
        """How samples are encoded, as far as the run may have done otherwise."""
        if samples[0].messages and self.template is None:
            what = "all words" if self.learns_chats else "only the assistant's words"
            yield f"the tokenizer has no chat template, so conversations were written in ChatML, and {what} learned"
        elif samples[0].messages and not self.learns_chats and not GENERATION.search(self.template or ""):
            yield "the chat template does not tell the assistant's words from the others, so the loss is over all tokens"

    def _encoded(self, samples: Samples, index: int, length: int) -> Encoded:
        """A sample, cut to ``length`` tokens.

        Raises:
            InputError: the chat template refuses it.
        """
        sample: Sample = samples[index]
        if sample.label is not None:
            ids = self.tokenizer(sample.parts[0][0], truncation=True, max_length=length)["input_ids"]
            return Encoded(tuple(ids), label=self.classes[sample.label])
        if sample.messages:
            try:
                ids, learned = self._conversation(sample.messages)
            except DiagError:
                raise
            except Exception as error:  # templates are programs of their own, and raise what they like
                line = f"line {samples.number(index)} is refused by the tokenizer's chat template ({describe(error)})"
                raise InputError(samples.path, line) from error
        else:
            ids, learned = self._pieces((text, is_learned or self.learns_prompts) for text, is_learned in sample.parts)
        ids, learned = ids[:length], learned[:length]
        return Encoded(tuple(ids), tuple(token if is_learned else IGNORED for token, is_learned in zip(ids, learned, strict=True)))

    def _pieces(self, parts: Iterable[tuple[str, bool]], *, ends: bool = True) -> tuple[list[int], list[bool]]:
        """Pieces of text one after the other, the special tokens of the tokenizer before them and its end token behind."""
        ids: list[int] = []
        learned: list[bool] = []
        for text, is_learned in parts:
            piece = self.tokenizer(text, add_special_tokens=not ids, verbose=False)["input_ids"]
            while piece and piece[-1] == self.end:
                piece = piece[:-1]
            ids += piece
            learned += [is_learned] * len(piece)
        if ends and self.end is not None:
            ids.append(self.end)
            learned.append(True)
        return ids, learned

    def _conversation(self, messages: Sequence[dict[str, str]]) -> tuple[list[int], list[bool]]:
        if self.template is None:
            pieces = [
                piece
                for message in messages
                for piece in (
                    (CHATML.format(role=message["role"]), self.learns_chats),
                    (message["content"] + CHATML_END, self.learns_chats or message["role"] == "assistant"),
                )
            ]
            return self._pieces(pieces, ends=False)
        has_mask = not self.learns_chats and bool(GENERATION.search(self.template))
        found = self.tokenizer.apply_chat_template(
            list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=has_mask, tokenizer_kwargs={"verbose": False}
        )
        ids = list(found["input_ids"])
        return ids, [bool(bit) for bit in found["assistant_masks"]] if has_mask else [True] * len(ids)


def rounded(length: int, most: int) -> int:
    """A length that batches are padded to, at most ``most``: batches of few lengths can be trained together."""
    if length > WHOLE:
        return min(-(-length // WHOLE) * WHOLE, max(most, length))
    return min(1 << max(length - 1, 0).bit_length(), max(most, length))


def collate(samples: Sequence[Encoded], pad: int, most: int) -> dict[str, torch.Tensor]:
    """A batch, padded on the right.

    Causal models get no attention mask: nothing that is read looks at what comes after it, and padding is not learned.
    """
    import torch

    width = rounded(max(len(sample.ids) for sample in samples), most)
    batch = {"input_ids": torch.full((len(samples), width), pad)}
    is_classified = samples[0].label is not None
    batch["attention_mask" if is_classified else "labels"] = torch.full((len(samples), width), 0 if is_classified else IGNORED)
    for row, sample in enumerate(samples):
        size = len(sample.ids)
        batch["input_ids"][row, :size] = torch.tensor(sample.ids)
        if is_classified:
            batch["attention_mask"][row, :size] = 1
        else:
            batch["labels"][row, :size] = torch.tensor(sample.targets)
    if is_classified:
        batch["labels"] = torch.tensor([sample.label for sample in samples])
    return batch


def packed(samples: Iterable[Encoded], length: int) -> Iterator[Encoded]:
    """Samples one after the other, cut into blocks of ``length`` tokens; the last may be shorter."""
    ids: list[int] = []
    targets: list[int] = []
    for sample in samples:
        ids += sample.ids
        targets += sample.targets
        while len(ids) >= length:
            yield Encoded(tuple(ids[:length]), tuple(targets[:length]))
            ids, targets = ids[length:], targets[length:]
    if ids:
        yield Encoded(tuple(ids), tuple(targets))


@dataclass(frozen=True, slots=True)
class Feed:
    """Batches of some samples of a file.

    Attributes:
        encoder: makes tokens of them.
        samples: the file.
        length: most tokens of one.
        is_packed: whether they fill blocks of ``length`` tokens.
    """

    encoder: Encoder
    samples: Samples
    length: int
    is_packed: bool = False

    def batches(self, order: Iterable[int], size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of ``size`` samples (or blocks) in an order; what teaches nothing is left out, and the last batch may be smaller.

        Raises:
            ProbeError: nothing of them can be learned.
        """
        encoded: Iterable[Encoded] = (self.encoder.encoded(self.samples, index, self.length) for index in order)
        if self.is_packed:
            encoded = packed(encoded, self.length)
        held: list[Encoded] = []
        count = 0
        for sample in encoded:
            if not sample.teaches:
                continue
            held.append(sample)
            count += 1
            if len(held) == size:
                yield collate(held, self.encoder.pad, self.length)
                held = []
        if held:
            yield collate(held, self.encoder.pad, self.length)
        if not count:
            raise ProbeError(f"nothing is left to learn of the samples in {self.samples.path} within {self.length} tokens")
