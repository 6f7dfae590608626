"""CFG046: the prompt format, and the token that batches are padded with, against what the model expects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import named
from diag.dialects.recognition import MODEL_KEYS
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO, WARNING

FAMILIES: Final = (
    ("Qwen", re.compile(r"qwen|qwq")),
    ("Llama 3", re.compile(r"llama[-_]?3|llama3|llama-4")),
    ("Llama 2", re.compile(r"llama[-_]?2|llama2")),
    ("Mistral", re.compile(r"mistral|mixtral|ministral")),
    ("Gemma", re.compile(r"gemma")),
    ("Phi", re.compile(r"(?:^|[/_-])phi[-_]?\d?")),
)
"""Families of models whose prompts differ, by what the names of their models and templates have in common."""

DISTILLED: Final = re.compile(r"distill|deepseek|vicuna|hermes|dolphin|zephyr|openchat|tulu|nemotron|orca|chatml")
"""Models and templates that carry a family's name but speak another format, or their own."""

CHATTING: Final = re.compile(r"instruct|chat|(?:^|[-_])it(?:$|[-_])|assistant")
"""Names of models that already follow a prompt format."""

END_OF_TURN: Final = frozenset({"</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"})
"""Tokens that end a turn in common chat formats."""

GENERATES: Final = ("num_generations", "max_completion_length", "vllm_mode", "use_vllm", "rl", "stage")
"""Keys of trainings that generate, where padding belongs to the left."""


class ChatTemplateMismatch(Lint):
    """The prompt format is that of another family of models, or padding hides the token that ends a turn.

    ## What it does
    A warning where the template belongs to another family than an instruction-tuned model (information for base models);
    where the padding token is the end-of-sequence token, a warning in plain Hugging Face scripts and information in Axolotl;
    information for padding on the left.

    ## Why is this bad?
    A model that is trained in a format it has never seen learns the format first, and answers in the wrong one afterwards:
    little improvement, repetitive text. If padding is the token that ends a turn, the mask of the padding can hide that
    token too, and the model never learns to stop.

    ## When it stays silent
    For families, templates and tokens that it does not know, and for trainings that generate, which pad on the left.

    ## What to do
    Use the model's own format, and a padding token of its own.

    ## References
    Guide rows S1-217, S3-103, S3-125.
    """

    code = "CFG046"
    name = "chat-template-mismatch"
    severity = WARNING
    rules = cite("S1-217 S3-103 S3-125")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """Template, padding token, padding side."""
        yield from self._template(plan)
        yield from self._pad_token(plan)
        if any(True for _ in named(plan, *GENERATES[:5])) or str(plan.native("stage")) in ("ppo", "rm"):
            return
        for key, value in named(plan, "padding_side"):
            if str(value).lower() == "left" and plan.is_fine_tuning:
                text = f"{key} is left, which is for generation; training pads on the right."
                fix = self.set_key(plan, key, "right", "Pad on the right.")
                yield self.violation(plan, text, at=key, severity=INFO, fixes=[fix], rules=("S3-103",))

    def _template(self, plan: Plan) -> Iterator[Violation]:
        key = {"llamafactory": "template", "axolotl": "chat_template"}.get(plan.dialect)
        template = str(plan.native(key) or "").lower() if key else ""
        model = next((str(value).lower() for name, value in plan.flat.items() if isinstance(value, str) and MODEL_KEYS.search(name)), "")
        if not template or not model or key is None or DISTILLED.search(model) or DISTILLED.search(template):
            return
        of_model, of_template = _family(model.rstrip("/").rsplit("/", 1)[-1]), _family(template)
        if of_model is None or of_template is None or of_model == of_template:
            return
        severity = WARNING if CHATTING.search(model) else INFO
        text = f"The {key} {template} is that of {of_template}, but {model} is of the family {of_model}, whose prompts look otherwise."
        if plan.dialect == "axolotl":
            fixes = [self.set_key(plan, key, "tokenizer_default", "The format that comes with the model.")]
        else:
            fixes = [self.advise("template", f"Set {key} to the template of {of_model} models.")]
        yield self.violation(plan, text, at=key, severity=severity, fixes=fixes, rules=("S1-217", "S3-125"))

    def _pad_token(self, plan: Plan) -> Iterator[Violation]:
        for key, value in named(plan, "pad_token"):
            section = key.rpartition(".")[0]
            end = plan.native(f"{section}.eos_token" if section else "eos_token")
            if not isinstance(value, str) or (value != end and value not in END_OF_TURN):
                continue
            what = "the end-of-sequence token" if value == end else "a token that ends turns"
            text = f"The padding token {value} is {what}: masking the padding can mask it too, and the model never learns to stop."
            advice = self.advise("pad_token", "Take a token of its own for padding, such as a reserved one of the tokenizer.")
            severity = WARNING if plan.dialect == "hf" and value == end else INFO
            yield self.violation(plan, text, at=key, severity=severity, fixes=[advice], rules=("S3-103",))


def _family(name: str) -> str | None:
    """The one family that a name speaks of, None if none or several."""
    found = [family for family, pattern in FAMILIES if pattern.search(name)]
    return found[0] if len(found) == 1 else None
