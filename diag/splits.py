"""Where a config takes its evaluation samples from: whether the training sees them, too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

EVALUATION = r"(?:validation|valid|val|eval|evaluation|dev|test)"
FILE_KEY = re.compile(rf"^(?:.*\.)?{EVALUATION}[_.]?(?:data|file|files|path|dataset|datasets|data_path|data_file)$", re.IGNORECASE)
"""Keys that name the evaluation data as one file, such as ``validation_file`` or ``eval_data_path``."""
SECTION = re.compile(
    rf"^((?:.*\.)?)({EVALUATION})(_?(?:dataset|data|ds|set)?)\.(path_or_dataset(?:_id)?|path|dataset_name|name|dataset_id)$", re.IGNORECASE
)
"""Keys of a section that describes the evaluation data, such as ``validation_dataset.path_or_dataset_id``."""
SLICE = re.compile(r"^([^\[]+)\[(\d*)(%?):(\d*)(%?)\]$")
"""A slice of a split as the datasets library writes it: ``train[:95%]``."""


def shared_data(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """An evaluation key, the training key that names the same samples, and what both name; None if nothing is shared.

    Args:
        config: dotted native key to value.
    """
    return same_file(config) or same_split(config) or same_names(config)


def same_file(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """An evaluation key, the training key with the same path, and the path."""
    for key in sorted(config):
        value = config[key]
        if not FILE_KEY.match(key) or not _is_file(value):
            continue
        for other in sorted(config):
            if other != key and _twin(key, other) and config[other] == value:
                return key, other, str(value)
    return None


def same_split(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
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
            if name == section or path is None or path != config[key] or mine is None:
                continue
            if overlapping(mine, "train" if theirs is None else theirs):
                return f"{section}.split", f"{name}.split" if theirs is not None else f"{name}.{leaf}", str(mine)
    return None


PAIRS = (
    ("dataset_test_split", "dataset_train_split", "dataset_name"),
    ("eval_dataset", "dataset", ""),
    ("test_datasets.0", "datasets.0", "path"),
)
"""Evaluation key, training key, and what else must be the same (TRL, LLaMA-Factory, Axolotl)."""


def same_names(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Frameworks that name both data sets, or both splits, side by side."""
    for evaluation, training, leaf in PAIRS:
        if leaf == "path":
            mine, theirs = config.get(f"{evaluation}.path"), config.get(f"{training}.path")
            splits = (config.get(f"{evaluation}.split", "train"), config.get(f"{training}.split", "train"))
            if isinstance(mine, str) and mine == theirs and overlapping(*splits):
                return f"{evaluation}.path", f"{training}.path", mine
        elif isinstance(config.get(evaluation), str) and isinstance(config.get(training), str):
            if leaf and overlapping(config[evaluation], config[training]):
                return evaluation, training, str(config[evaluation])
            if not leaf and set(_names(config[evaluation])) & set(_names(config[training])):
                return evaluation, training, str(config[evaluation])
    return None


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


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
