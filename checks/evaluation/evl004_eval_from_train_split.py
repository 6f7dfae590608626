"""EVL004: the configuration evaluates on the training data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.run import Hyperparameter
from diag.vocabulary import WARNING

EVALUATION = r"(?:validation|valid|val|eval|evaluation|dev|test)"
FILE_KEY = re.compile(rf"^(?:.*\.)?{EVALUATION}[_.]?(?:data|file|files|path|dataset|datasets|data_path|data_file)$", re.IGNORECASE)
"""Keys that name the evaluation data as one file, such as ``validation_file`` or ``eval_data_path``."""
SECTION = re.compile(
    rf"^((?:.*\.)?)({EVALUATION})(_?(?:dataset|data|ds|set)?)\.(path_or_dataset(?:_id)?|path|dataset_name|name|dataset_id)$", re.IGNORECASE
)
"""Keys of a section that describes the evaluation data, such as ``validation_dataset.path_or_dataset_id``."""
SLICE = re.compile(r"^([^\[]+)\[(\d*)(%?):(\d*)(%?)\]$")
"""A slice of a split as the datasets library writes it: ``train[:95%]``."""


class EvalFromTrainSplit(Check):
    """The configuration takes the evaluation samples from the training data.

    ## What it does
    Reads the configuration beside the log: the same file for training and evaluation, or the same data set with the
    training split named for both, without slices that keep them apart.

    ## Why is this bad?
    The evaluation then measures memory, and overfitting cannot be seen.

    ## When it stays silent
    When the two splits are disjoint slices such as ``train[:95%]`` and ``train[95%:]``, and when the configuration does
    not say where the evaluation samples come from.

    ## What to do
    Name a held-out split, or cut one off with disjoint slices.

    ## References
    Guide rows S1-003, S1-107, S1-108.
    """

    code = "EVL004"
    name = "eval-from-train-split"
    severity = WARNING
    rules = ("S1-003", "S1-107", "S1-108")

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        config = examination.run.config
        if not config:
            raise Skip("no configuration was found beside the log")
        overlap = same_file(config) or same_split(config)
        if overlap is None:
            return
        evaluation, training, value = overlap
        entry = config[evaluation]
        place = f" ({entry.source})" if entry.file else ""
        yield self.finding(
            f"{evaluation} evaluates on the training data: {training} is {value}, too{place}.",
            metric="eval/loss",
            evidence={"evaluation_key": evaluation, "training_key": training, "value": value},
            causes={"eval_leak": 3.0},
        )


def same_file(config: Mapping[str, Hyperparameter]) -> tuple[str, str, str] | None:
    """An evaluation key, the training key with the same path, and the path."""
    for key in sorted(config):
        value = config[key].value
        if not FILE_KEY.match(key) or not _is_file(value):
            continue
        for other in sorted(config):
            if other != key and _twin(key, other) and config[other].value == value:
                return key, other, str(value)
    return None


def same_split(config: Mapping[str, Hyperparameter]) -> tuple[str, str, str] | None:
    """The evaluation section's split key, the training section's, and the split, where both draw from the same data."""
    for key in sorted(config):
        match = SECTION.match(key)
        if not match:
            continue
        prefix, _, suffix, leaf = match.groups()
        section = key[: -len(leaf) - 1]
        for name in dict.fromkeys(
            (f"{prefix}train{suffix}", f"{prefix}training{suffix}", f"{prefix}{suffix.lstrip('_')}", f"{prefix}dataset")
        ):
            path, mine, theirs = config.get(f"{name}.{leaf}"), config.get(f"{section}.split"), config.get(f"{name}.split")
            if name == section or path is None or path.value != config[key].value or mine is None:
                continue
            if overlapping(mine.value, "train" if theirs is None else theirs.value):
                return f"{section}.split", f"{name}.split" if theirs is not None else f"{name}.{leaf}", str(mine.value)
    return None


def overlapping(one: Any, other: Any) -> bool:
    """Whether two split names share samples: the same split, unless both are slices that do not meet."""
    first, second = _interval(str(one)), _interval(str(other))
    if first[0] != second[0]:
        return False
    if first[3] != second[3]:
        return True
    return first[1] < second[2] and second[1] < first[2]


def _interval(split: str) -> tuple[str, float, float, str]:
    match = SLICE.match(split.strip())
    if not match:
        return split.strip(), 0.0, float("inf"), "%" if "[" in split else ""
    name, start, start_unit, end, end_unit = match.groups()
    return name, float(start or 0), float(end or "inf"), start_unit or end_unit


def _twin(key: str, other: str) -> bool:
    """Whether ``other`` is ``key`` with the training's name in the place of the evaluation's."""
    return bool(re.fullmatch(re.sub(EVALUATION, "(?:train|training)", re.escape(key), count=1, flags=re.IGNORECASE), other, re.IGNORECASE))


def _is_file(value: Any) -> bool:
    """Whether a value names one file. The same folder or data set may well hold both splits."""
    return isinstance(value, str) and bool(re.search(r"\.[A-Za-z]\w{0,7}$", value))
