"""CFG044: which tokens the loss counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import OSFT_HUB, SFT_HUB, hub_algorithm, is_computed, is_on, names_data, switched
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO

ON_PROMPTS: Final = (
    ("axolotl", "train_on_inputs", True),
    ("llamafactory", "train_on_prompt", True),
    ("torchtune", "train_on_input", True),
    ("automodel", "answer_only_loss_mask", False),
    ("hf", "completion_only_loss", False),
)
"""Dialect, the last part of its key, and the value that counts the prompt's tokens, too."""

KNOWLEDGE: Final = re.compile(r"knowledge|document[^/\\]*(?:$|\s)")
"""Words in the names of data files that hold documents to learn by heart; a folder called documents says nothing."""


class LossMask(Lint):
    """The loss counts the prompts, or leaves out documents that are to be learned.

    ## What it does
    Information where prompts are trained on explicitly, and where Training Hub is given data whose name says knowledge or
    documents without ``unmask_messages``. An error for LLaMA-Factory's ``mask_history`` together with ``train_on_prompt``,
    which it refuses.

    ## Why is this bad?
    Counting the prompts teaches the model to write questions, and lowers the loss without any better answers. The other way
    round documents inside user turns are never learned if only the assistant's tokens count.

    ## When it stays silent
    Where the framework's default masks the prompt, and for pretraining.

    ## What to do
    Count the answers only; for knowledge data unmask everything but the system message: ``unmask_messages`` in OSFT, and
    ``"unmask": true`` in every sample of the JSONL for SFT. Where the loss does not fall, look at the mask and the
    preprocessing first.

    ## References
    Guide rows S1-199, S2-025, S2-026, S2-041.
    """

    code = "CFG044"
    name = "loss-mask"
    severity = INFO
    rules = cite("S1-199 S2-025 S2-026 S2-041")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """Prompts that count, then documents that do not."""
        for dialect, leaf, value in ON_PROMPTS:
            key = switched(plan, leaf, value) if plan.dialect == dialect else None
            if key is None:
                continue
            if leaf == "train_on_prompt" and is_on(plan, "mask_history"):
                text = "train_on_prompt and mask_history are both true; LLaMA-Factory refuses that."
                fix = self.set_key(plan, key, False, "Count the last answer only.", applicability=SAFE)
                yield self.violation(plan, text, at=key, severity=ERROR, fixes=[fix], rules=("S1-199",))
                continue
            text = f"{key} is {str(value).lower()}: the loss counts the prompts as well as the answers."
            fix = self.set_key(plan, key, not value, "Count the answers only.")
            yield self.violation(plan, text, at=key, fixes=[fix], rules=("S1-199",))
        yield from self._knowledge(plan)

    def _knowledge(self, plan: Plan) -> Iterator[Violation]:
        algorithm = hub_algorithm(plan)
        if algorithm not in (SFT_HUB, OSFT_HUB) or is_on(plan, "is_pretraining") or not KNOWLEDGE.search(names_data(plan)):
            return
        text = (
            "The data's name speaks of knowledge or documents, but only the assistant's tokens count: "
            "documents in user turns are not learned."
        )
        if algorithm == SFT_HUB:
            advice = self.advise("data", 'Set "unmask": true in every sample of the JSONL that holds a document in a user turn.')
            yield self.violation(plan, text, at="data_path", fixes=[advice], rules=cite("S2-025 S2-026"))
        elif not is_on(plan, "unmask_messages") and not is_computed(plan, "unmask_messages"):
            fix = self.set_key(plan, "unmask_messages", True, "Count everything but the system message.")
            yield self.violation(plan, text, at="data_path", fixes=[fix], rules=cite("S2-026 S2-041"))
