"""CFG042: samples are trained on in the order they stand in the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from diag.checks.config._keys import named, switched
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO, WARNING

SOURCES: Final = ("path_or_dataset_id", "path_or_dataset", "paths", "path", "data_files", "source", "dataset_name", "dataset")
"""Last parts of keys that name training data, where a list is several sources."""

SEQUENTIAL: Final = (("sample_packing_sequentially", False), ("curriculum_sampling", False))
"""Axolotl's switches for training in the order of the data, and what to set."""


class DataNotShuffled(Lint):
    """Samples are trained on in the order of the files, or grouped by length.

    ## What it does
    Information where shuffling is switched off or samples are grouped by length; a warning where unshuffled data comes from
    several sources.

    ## Why is this bad?
    Neighbouring samples are alike: they come from the same source, or topic. Unshuffled, the model learns one source after
    the other and forgets the first, and the loss jumps where they meet. Grouping by length saves padding, but the loss then
    rises and falls with the lengths, which looks like an instability.

    ## When it stays silent
    Where the config does not speak of the order: every framework shuffles by default.

    ## What to do
    Shuffle; where throughput matters, pack samples instead of grouping them.

    ## References
    Guide rows S1-109, S3-102.
    """

    code = "CFG042"
    name = "data-not-shuffled"
    severity = INFO
    rules = cite("S1-109 S3-102")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One for each setting that orders the data."""
        sources = _sources(plan)
        for key, new in self._ordered(plan):
            where = f" and the data comes from {sources} sources, one after the other" if sources > 1 else ""
            value = str(plan.native(key)).lower() if isinstance(plan.native(key), bool) else plan.native(key)
            yield self.violation(
                plan,
                f"{key} is {value}: samples are trained on in the order of the files{where}.",
                at=key,
                severity=WARNING if sources > 1 else INFO,
                evidence={"sources": sources},
                fixes=[self.set_key(plan, key, new, "Shuffle the training data.")],
                rules=("S1-109",),
            )
        for key, new in _grouped(plan):
            text = "Samples are grouped by length: efficient, but the loss rises and falls with the lengths of the batches."
            fix = self.set_key(plan, key, new, "Mix the lengths; packing saves the padding, too.")
            yield self.violation(plan, text, at=key, fixes=[fix], rules=("S3-102",))

    def _ordered(self, plan: Plan) -> Iterator[tuple[str, Any]]:
        if plan.value("shuffle") is False and plan.is_set("shuffle"):
            yield plan.key_of("shuffle"), True
        if plan.dialect == "hf" and plan.native("train_sampling_strategy") == "sequential":
            yield "train_sampling_strategy", "random"
        if plan.dialect == "llamafactory" and (key := switched(plan, "disable_shuffling", True)) is not None:
            yield key, False
        if plan.dialect == "axolotl":
            if _sources(plan) > 1 and plan.native("shuffle_merged_datasets") is False:
                yield "shuffle_merged_datasets", True
            for name, new in SEQUENTIAL:
                if (key := switched(plan, name, not new)) is not None:
                    yield key, new


def _grouped(plan: Plan) -> Iterator[tuple[str, Any]]:
    """Settings that group samples by length, and what to set instead."""
    if (key := switched(plan, "group_by_length", True)) is not None:
        yield key, False
    if plan.native("train_sampling_strategy") == "group_by_length":
        yield "train_sampling_strategy", "random"


def _sources(plan: Plan) -> int:
    """How many places the training data comes from; 1 if the config does not say."""
    listed = max((len(value) for _, value in named(plan, *SOURCES) if isinstance(value, list)), default=1)
    numbered = {key.split(".")[1] for key in plan.flat if key.startswith("datasets.") and key.split(".")[1].isdigit()}
    commas = str(plan.native("dataset")).count(",") + 1 if plan.dialect == "llamafactory" else 1
    return max(listed, len(numbered), commas, 1)
