"""Results of lm-evaluation-harness as they lie on disk: ``results_<time>.json``, and ``samples_<task>_<time>.jsonl`` beside it.

Read without the library. What the files hold is described in lm_eval/result_schema.py of its version 0.4.13; results of 0.3, whose metrics
have no filter in their names, are read as well.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.adapters import tolerant_json
from diag.errors import InputError

RESULTS_NAME: Final = re.compile(r"(?:results|.+)_(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.json")
SAMPLES_NAME: Final = re.compile(r"samples_(.+)_(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.jsonl")
DEEPEST: Final = 3
"""Folders below the one named in which results are looked for: the harness makes one for each model."""
NOT_METRICS: Final = frozenset({"alias", "name", "sample_len", "sample_count", " "})
"""Keys of a task's results that hold no metric."""
SETTINGS: Final = {
    "chat_template_sha": "chat templates",
    "system_instruction_sha": "system prompts",
    "fewshot_as_multiturn": "ways to put examples into the prompt",
}
"""What the whole results were made with, and how it is called."""
BETTER_LOW: Final = frozenset({"perplexity", "ppl", "bits", "bpb", "ter", "wer", "brier", "mse", "loss"})
"""Words in the names of metrics that are better when lower, for results that do not say."""
BETTER_HIGH: Final = frozenset({"acc", "exact", "f1", "bleu", "rouge1", "rouge2", "rougel", "chrf", "mcc", "em", "pass", "pass@1"})
"""The first word in the names of metrics that are better when higher, for the same."""


class Key(NamedTuple):
    """Which number: task, metric, and the filter its answers passed through ("" for none)."""

    task: str
    metric: str
    filter: str

    @property
    def label(self) -> str:
        """``hellaswag/acc_norm``, with the filter where there is one."""
        return f"{self.task}/{self.metric}" + (f",{self.filter}" if self.filter not in ("", "none") else "")


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a result.

    Attributes:
        value: NaN where the file holds one.
        stderr: standard error, None where the harness could not tell ("N/A").
        higher: whether higher is better, None if unknown.
    """

    value: float
    stderr: float | None
    higher: bool | None


@dataclass(frozen=True)
class Results:
    """One results file.

    Attributes:
        path: as the user would name it.
        model: name of the model, "" if it does not say.
        scores: every number.
        versions, shots: version and number of examples in the prompt of each task, where known.
        counts: how many samples each task was judged on, where known.
        limit: the ``--limit`` of the evaluation, None for none.
        groups: group to the tasks (or groups) in it.
        settings: what the whole was made with, by the keys of SETTINGS.
        samples: task to its file of samples.
        notes: one-line remarks about the reading.
    """

    path: str
    model: str
    scores: Mapping[Key, Score]
    versions: Mapping[str, Any] = field(default_factory=dict)
    shots: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    limit: Any = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def tasks(self) -> dict[str, list[Key]]:
        """The numbers of every task and group, by its name; sorted."""
        found: dict[str, list[Key]] = {key.task: [] for key in sorted(self.scores)}
        for key in self.scores:
            found[key.task].append(key)
        return found


class Sample(NamedTuple):
    """What one document scored: its fingerprint, and metric to value.

    A value is a number, or a log likelihood with the words, bytes or characters that it is spread over, of which perplexities are made.
    """

    document: str
    values: Mapping[str, tuple[float, ...]]


def is_results(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a results file, or a folder that holds one (and no training log is looked for)."""
    place = Path(path)
    try:
        if place.is_dir():
            return bool(_found(place))
        return place.suffix == ".json" and place.is_file() and _looks_like(_load(place))
    except (InputError, OSError, ValueError):
        return False


def read(path: str | os.PathLike[str]) -> Results:
    """The results in a file, or the newest in a folder.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    place = Path(path)
    notes: list[str] = []
    if place.is_dir():
        files = _found(place)
        if not files:
            raise InputError(
                path, "holds no results_*.json of lm-evaluation-harness", "name the file or the --output_path of the evaluation"
            )
        place = files[-1]
        if len(files) > 1:
            notes.append(f"{place.name} is the newest of {len(files)} results in {os.fspath(path)}")
    content = _load(place)
    if not _looks_like(content):
        raise InputError(place, "is no results file of lm-evaluation-harness", 'it has a table of tasks under "results"')
    return _results(place, content, notes)


def _load(file: Path) -> Any:
    """The JSON value of a whole file: of a part of the tasks nobody could say that the model is as good as its base.

    Raises:
        InputError: the file cannot be read, or is not whole.
    """
    text, _ = tolerant_json.decode(tolerant_json.read_bytes(file))
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(file, "is nested too deeply to be a results file") from None
    except ValueError as error:
        raise InputError(file, f"is not whole or not JSON ({error})", "run the evaluation again, or copy the file anew") from None


def _found(folder: Path) -> list[Path]:
    """Results files in a folder and a few levels below it, the oldest first."""
    found: list[Path] = []
    top = len(folder.parts)
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if len(Path(root).parts) - top < DEEPEST else []
        found += [Path(root) / name for name in files if name.startswith("results") and name.endswith(".json")]
    return sorted(found, key=lambda file: (match[1] if (match := RESULTS_NAME.fullmatch(file.name)) else "", str(file)))


def _looks_like(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        return False
    return any(isinstance(content.get(key), dict) for key in ("versions", "configs", "n-shot", "config"))


def _results(file: Path, content: dict[str, Any], notes: list[str]) -> Results:
    better = _table(content, "higher_is_better")
    scores = {key: score for task, row in _table(content, "results").items() for key, score in _scores(task, row, _table(better, task))}
    for group, row in _table(content, "groups").items():
        for key, score in _scores(group, row, _table(better, group)):
            scores.setdefault(key, score)
    counts = {}
    for task, count in _table(content, "n-samples").items():
        effective = count.get("effective") if isinstance(count, dict) else None
        if isinstance(effective, int) and not isinstance(effective, bool):
            counts[task] = effective
    config = _table(content, "config")
    limit = config.get("limit")
    subtasks = {
        group: tuple(map(str, names)) for group, names in _table(content, "group_subtasks").items() if isinstance(names, list) and names
    }
    match = RESULTS_NAME.fullmatch(file.name)
    return Results(
        path=str(file),
        model=str(content.get("model_name") or config.get("model") or ""),
        scores=scores,
        versions=_table(content, "versions"),
        shots=_table(content, "n-shot"),
        counts=counts,
        limit=limit,
        groups=subtasks,
        settings={key: content[key] for key in SETTINGS if content.get(key)},
        samples=_samples_beside(file, match[1]) if match else {},
        notes=tuple(notes),
    )


def _table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return {str(name): entry for name, entry in value.items()} if isinstance(value, dict) else {}


def _scores(task: str, row: Any, better: Mapping[str, Any]) -> Iterator[tuple[Key, Score]]:
    if not isinstance(row, dict):
        return
    for name, entry in row.items():
        metric, _, passed = str(name).partition(",")
        value = tolerant_json.number(entry) if not isinstance(entry, bool) else None
        if name in NOT_METRICS or metric.endswith("_stderr") or value is None:
            continue
        stderr = tolerant_json.number(row.get(f"{metric}_stderr,{passed}" if passed else f"{metric}_stderr"))
        known = stderr is not None and math.isfinite(stderr) and stderr >= 0
        yield Key(task, metric, passed), Score(value, stderr if known else None, _higher(metric, better))


def _higher(metric: str, better: Mapping[str, Any]) -> bool | None:
    stated = better.get(metric)
    if isinstance(stated, bool):
        return stated
    words = metric.lower().split("_")
    if not BETTER_LOW.isdisjoint(words):
        return False
    return True if words[0] in BETTER_HIGH else None


def _samples_beside(file: Path, time: str) -> dict[str, Path]:
    """Files of samples that were written with a results file."""
    found = {}
    try:
        beside = sorted(file.parent.iterdir())
    except OSError:
        return {}
    for path in beside:
        match = SAMPLES_NAME.fullmatch(path.name)
        if match and match[2] == time:
            found[match[1]] = path
    return found


def read_samples(file: Path) -> dict[tuple[str, str], Sample]:
    """Document and filter to what it scored; lines that are no samples are passed over.

    Raises:
        InputError: the file cannot be read.
    """
    found: dict[tuple[str, str], Sample] = {}
    try:
        with file.open("rb") as lines:
            for line in lines:
                sample = _sample(line)
                if sample is not None:
                    found[sample[0]] = sample[1]
    except OSError as error:
        raise tolerant_json.unreadable(file, error) from None
    return found


def _sample(line: bytes) -> tuple[tuple[str, str], Sample] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("doc_id"), (int, str)):
        return None
    metrics = entry.get("metrics")
    names = metrics if isinstance(metrics, list) else []
    values = {name: value for name in names if isinstance(name, str) and (value := _numbers(entry.get(name)))}
    passed = entry.get("filter")
    return (str(entry["doc_id"]), passed if isinstance(passed, str) else ""), Sample(str(entry.get("doc_hash") or ""), values)


def _numbers(value: Any) -> tuple[float, ...]:
    """A number or a list of them; empty for all else."""
    entries = value if isinstance(value, list) else [value]
    return tuple(map(float, entries)) if all(isinstance(entry, (int, float)) for entry in entries) else ()
