"""CFG045: the loader of a data set does not fit the data, or lacks what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from diag.checks.config._keys import is_computed, is_open, switched
from diag.fixes import Fix
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO, WARNING

LLM: Final = "nemo_automodel.components.datasets.llm"
COLUMNS: Final = f"{LLM}.column_mapped_text_instruction_dataset.ColumnMappedTextInstructionDataset"
STREAM: Final = f"{LLM}.column_mapped_text_instruction_iterable_dataset.ColumnMappedTextInstructionIterableDataset"
CHAT: Final = f"{LLM}.chat_dataset.ChatDataset"
XLAM: Final = f"{LLM}.xlam.make_xlam_dataset"
"""The loaders of NeMo AutoModel, by the form of the data (S1-111..114)."""

LOADER_OF: Final = {"open-orca/slimorca": CHAT, "salesforce/xlam-function-calling-60k": XLAM}
"""Well-known data sets in a form that only one loader reads (S1-112, S1-113)."""

MAPPINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "databricks/databricks-dolly-15k": {"context": "context", "question": "instruction", "answer": "response"},
    "medalpaca/medical_meadow_medqa": {"question": "input", "answer": "output"},
    "sahil2801/codealpaca-20k": {"question": "instruction", "context": "input", "answer": "output"},
    "tatsu-lab/alpaca": {"question": "instruction", "context": "input", "answer": "output"},
}
"""Column mappings of well-known data sets (S1-115)."""

ROLES: Final = frozenset({"context", "question", "answer"})
"""What a column can be mapped to."""

SECTIONS: Final = ("dataset", "validation_dataset")
NAME_KEYS: Final = ("path_or_dataset_id", "dataset_name", "path_or_dataset")
USER_CODE: Final = re.compile(r"\.py:\w+$")
"""A function of a file of the user's own: ``my_data.py:build``."""


class DatasetLoader(Lint):
    """The loader of a data set does not fit the data, or lacks what it needs.

    ## What it does
    For NeMo AutoModel: a warning where a well-known data set is given to a loader for another form; an error where a
    column-mapped loader has no ``column_mapping``, or one without an answer, and where the key that limits the number of
    samples is one that the loader does not know. Information for loaders from a file of your own, which only work with an
    environment variable, and for streamed tables in a loader that reads everything first. For Axolotl: unused columns that
    are removed although training and evaluation are packed differently.

    ## Why is this bad?
    The loader fails when the data is read, or reads empty texts. Whatever the loader: the data has to be clean, in one
    format, and like what the model will see.

    ## When it stays silent
    For loaders and data sets that it does not know.

    ## What to do
    Take ColumnMappedTextInstructionDataset for columns of instructions and answers (most data), ChatDataset for lists of
    messages, make_xlam_dataset for xLAM's function calls, and the iterable variant for very large data or Delta tables.

    ## References
    Guide rows S1-002, S1-110..115, S1-197, S2-024, S3-101; sources of NeMo AutoModel 0.2 to 0.7 and Axolotl 0.19.
    """

    code = "CFG045"
    name = "dataset-loader"
    severity = WARNING
    rules = cite("S1-002 S1-110..115 S1-197 S2-024 S3-101")
    dialects = ("automodel", "axolotl")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """Each data set on its own."""
        if plan.dialect == "axolotl":
            yield from self._columns_removed(plan)
            return
        for section in SECTIONS:
            loader = str(plan.native(f"{section}._target_") or "")
            if USER_CODE.search(loader):
                text = f"{loader} is a file of your own; NeMo AutoModel imports it only with NEMO_ENABLE_USER_MODULES=1 in the environment."
                advice = self.advise("environment", "Set NEMO_ENABLE_USER_MODULES=1 where the training is launched.")
                yield self.violation(plan, text, at=f"{section}._target_", severity=INFO, fixes=[advice], rules=("S1-197",))
            elif loader:
                yield from self._loader(plan, section, loader)

    def _loader(self, plan: Plan, section: str, loader: str) -> Iterator[Violation]:
        kind = loader.rsplit(".", 1)[-1]
        key = next((f"{section}.{name}" for name in NAME_KEYS if isinstance(plan.native(f"{section}.{name}"), str)), None)
        name = str(plan.native(key)).strip().lower() if key is not None else ""
        wanted = LOADER_OF.get(name)
        if wanted is not None and key is not None and kind != wanted.rsplit(".", 1)[-1] and _is_known(kind):
            text = f"{plan.native(key)} is not in the form that {kind} reads, but in that of {wanted.rsplit('.', 1)[-1]}."
            fixes = self._other_loader(plan, section, key, wanted)
            yield self.violation(plan, text, at=f"{section}._target_", fixes=fixes, rules=cite("S1-112 S1-113"))
            return
        if kind in ("ColumnMappedTextInstructionDataset", "ColumnMappedTextInstructionIterableDataset"):
            yield from self._mapping(plan, section, name)
        streamed = any(plan.has(f"{section}.{leaf}") for leaf in ("table_path", "streaming", "delta_version"))
        if kind == "ColumnMappedTextInstructionDataset" and streamed:
            text = f"{kind} reads all of the data first; streamed data and Delta tables need the iterable variant."
            fix = self.set_key(plan, f"{section}._target_", STREAM, "Reads while it trains.")
            yield self.violation(plan, text, at=f"{section}._target_", severity=INFO, fixes=[fix], rules=("S1-114",))
        yield from self._limit(plan, section, kind)

    def _other_loader(self, plan: Plan, section: str, key: str, wanted: str) -> list[Fix]:
        fixes = [self.set_key(plan, f"{section}._target_", wanted, "The loader for this form of data.")]
        leaf = "dataset_name" if wanted == XLAM else "path_or_dataset_id"
        if key.rsplit(".", 1)[-1] != leaf:
            fixes.append(self.rename_key(plan, key, leaf, "What this loader calls it."))
        for entry in plan.document.settings:
            if entry.startswith(f"{section}.column_mapping"):
                fixes.append(self.remove_key(plan, entry, "This loader maps no columns."))
        return fixes

    def _mapping(self, plan: Plan, section: str, name: str) -> Iterator[Violation]:
        prefix = f"{section}.column_mapping"
        keys = (*plan.document.settings, *plan.inherited)
        given = {key[len(prefix) + 1 :] for key in keys if key.startswith(f"{prefix}.")}
        if not given and (is_open(plan) or is_computed(plan, prefix) or isinstance(plan.native(prefix), str)):
            return
        known = MAPPINGS.get(name)
        if not given:
            text = "The loader maps columns, but column_mapping is missing: it does not know which column is the answer."
        elif "answer" not in given:
            text = f"column_mapping has no answer, only {', '.join(sorted(given))}: nothing would be learned, and the loader refuses."
        elif odd := sorted(given - ROLES):
            text = f"column_mapping maps to {', '.join(odd)}; the loader knows context, question and answer."
        elif len(given) == 1:
            text = "column_mapping has an answer only; the loader wants the context or the question with it."
        else:
            return
        fixes = [self.set_key(plan, f"{prefix}.{role}", column, "The columns of this data set.") for role, column in (known or {}).items()]
        fixes += [self.remove_key(plan, f"{prefix}.{role}", "No part of a sample.") for role in sorted(given - ROLES) if known]
        if not fixes:
            fixes = [self.advise("data", "Map the column of the answers to answer, that of the instructions to question or context.")]
        yield self.violation(plan, text, at=prefix, severity=ERROR, fixes=fixes, rules=("S1-111", "S1-115"))

    def _limit(self, plan: Plan, section: str, kind: str) -> Iterator[Violation]:
        """The key that limits the number of samples, which is another one for each loader; a file that a command names is told itself."""
        own = plan.document.settings
        if kind == "ChatDataset" and f"{section}.limit_dataset_samples" in own:
            key = f"{section}.limit_dataset_samples"
            text = "ChatDataset does not know limit_dataset_samples; a slice of the split does the same."
            fixes = [self.remove_key(plan, key, "The loader does not know it.", applicability=SAFE)]
            split, number = str(plan.native(f"{section}.split") or "train"), plan.native(key)
            if isinstance(number, int) and "[" not in split:
                fixes.append(self.set_key(plan, f"{section}.split", f"{split}[:{number}]", "The same samples.", applicability=SAFE))
        elif kind in ("ColumnMappedTextInstructionDataset", "make_xlam_dataset") and f"{section}.limit" in own:
            key = f"{section}.limit"
            text = f"{kind} does not know limit; it calls it limit_dataset_samples."
            fixes = [self.rename_key(plan, key, "limit_dataset_samples", "What this loader calls it.")]
        else:
            return
        yield self.violation(plan, text, at=key, severity=ERROR, fixes=fixes, rules=("S1-110",))

    def _columns_removed(self, plan: Plan) -> Iterator[Violation]:
        key = switched(plan, "remove_unused_columns", True)
        if key is not None and plan.value("packing") is True and switched(plan, "eval_sample_packing", False) is not None:
            text = "remove_unused_columns is true, but training is packed and evaluation is not: columns that one needs are dropped."
            fix = self.set_key(plan, key, False, "Keep the columns of both.")
            yield self.violation(plan, text, at=key, fixes=[fix], rules=("S3-101",))


def _is_known(kind: str) -> bool:
    """Whether this is one of the loaders whose form is known."""
    return any(kind == loader.rsplit(".", 1)[-1] for loader in (COLUMNS, STREAM, CHAT, XLAM))
