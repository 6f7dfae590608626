"""CFG043: Training Hub's pretraining mode, and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import OSFT_HUB, hub_algorithm, is_computed, is_open, switched
from diag.checks.config._lengths import lengths, percentile
from diag.dialects.values import as_int
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO, WARNING

START: Final = 2048
"""Tokens of a block to start with (S2-022)."""

SHORT: Final = 512
"""Tokens of a block for short or numerous documents, the smallest the guide names (S2-023)."""


class PretrainingWithoutBlockSize(Lint):
    """Pretraining mode of Training Hub without the block size that it needs, or settings of that mode without the mode.

    ## What it does
    An error where ``is_pretraining`` is true and no ``block_size`` is set, and where ``unmask_messages`` goes with it, which
    OSFT refuses. A warning for a ``block_size`` or ``document_column_name`` without the mode, which is ignored; information
    for blocks below 512 tokens.

    ## Why is this bad?
    Raw documents have no turns: they are joined and cut into blocks, and without a size the call fails at once. Without the
    mode the same keys do nothing, and documents are taken for chats.

    ## When it stays silent
    In other frameworks, and where a script computes the value.

    ## What to do
    A block size of 2048 is a good start, 512 is better for short or numerous documents. The documents' column is called
    ``document`` unless ``document_column_name`` says otherwise. SFT and OSFT both know the mode.

    ## References
    Guide rows S2-021..024, S2-042; source of Training Hub 0.11.
    """

    code = "CFG043"
    name = "pretraining-without-block-size"
    severity = ERROR
    rules = cite("S2-021..024 S2-042")
    dialects = ("training_hub",)

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """What the mode lacks, or what lacks the mode."""
        mode = switched(plan, "is_pretraining", True)
        if mode is None:
            yield from self._without_mode(plan)
            return
        size = as_int(plan.native("block_size"))
        if size is None and not is_computed(plan, "block_size") and not is_open(plan):
            known = lengths(plan)
            start = SHORT if known and percentile(known, 0.5) < SHORT else START
            hint = f"{START} is a good start, {SHORT} for short documents"
            text = f"is_pretraining is true, but block_size is not set: the call fails at once. {hint}."
            fix = self.set_key(plan, "block_size", start, f"Cut the documents into blocks of {start} tokens.", applicability=SAFE)
            yield self.violation(plan, text, at=mode, fixes=[fix])
        elif size is not None and size < SHORT:
            text = f"Blocks of {size} tokens are shorter than {SHORT}, the smallest that the guide uses, even for short documents."
            fix = self.set_key(plan, "block_size", SHORT, "The size for short or numerous documents.")
            yield self.violation(plan, text, at="block_size", severity=INFO, fixes=[fix])
        unmask = switched(plan, "unmask_messages", True)
        if unmask is not None and hub_algorithm(plan) == OSFT_HUB:
            text = "is_pretraining and unmask_messages are both true; raw documents have no messages, and OSFT refuses both together."
            fix = self.set_key(plan, unmask, False, "All of a document is learned anyway.", applicability=SAFE)
            yield self.violation(plan, text, at=unmask, fixes=[fix])

    def _without_mode(self, plan: Plan) -> Iterator[Violation]:
        if is_computed(plan, "is_pretraining") or is_open(plan):
            return
        for key in ("block_size", "document_column_name"):
            if plan.native(key) is not None:
                text = f"{key} is set, but is_pretraining is not true: the setting does nothing, and the data is taken for chats."
                fix = self.set_key(plan, "is_pretraining", True, "Train on raw documents.")
                yield self.violation(plan, text, at=key, severity=WARNING, fixes=[fix])
                return
