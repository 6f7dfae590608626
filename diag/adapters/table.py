"""Tables (CSV) and streams of JSON objects (JSON lines) in which a training logged its metrics.

Known by name or shape: Lightning's CSVLogger, Keras' CSVLogger, Ultralytics, litgpt, DeepSpeed's CSV monitor,
Stable-Baselines monitors, LLaMA-Factory, NeMo AutoModel, Training Hub's back ends, W&B and TensorBoard chart exports.
Anything else counts as a log where a column or key names a loss or reward; tables of samples (texts, images) do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from diag.adapters import WRITING, Folder, Source, tolerant_json
from diag.adapters.aliases import canonical_names
from diag.adapters.records import EPOCH_KEYS, STEP_KEYS, Records, is_eval, is_loss, is_reward, to_columns, wall_times
from diag.adapters.table_rows import Lines, read_csv, read_jsonl, split_header
from diag.adapters.table_sniff import (
    AXES,
    CHART,
    HEAD_BYTES,
    MONITOR,
    TEXT_SUFFIXES,
    is_config,
    is_metric,
    is_pure,
    stream_is_log,
    table_is_log,
)
from diag.adapters.table_steps import (
    AUTOMODEL,
    DEEPSPEED,
    INSTRUCTLAB,
    LIGHTNING,
    LITGPT,
    LLAMAFACTORY,
    MINI_TRAINER,
    ULTRALYTICS,
    UNSLOTH,
    export_columns,
    find_axes,
    recognize,
)
from diag.errors import InputError, NothingThereError
from diag.run import Checkpoint, Curve, Run, make_curves

DIALECTS: Final = {
    AUTOMODEL: "automodel",
    INSTRUCTLAB: "training_hub",
    MINI_TRAINER: "training_hub",
    UNSLOTH: "training_hub",
    LLAMAFACTORY: "llamafactory",
    ULTRALYTICS: "ultralytics",
    LITGPT: "litgpt",
}
"""Config dialect of a framework that its log gives away."""

_RANK: Final = re.compile(r"(?P<stem>training_params_and_metrics_global|training_metrics_)(?P<rank>\d+)\.jsonl")
_SPLIT: Final = re.compile(
    r"(?:^|(?<=[_\-. ]))(?P<split>training|train|validation|valid|val|evaluation|eval|test)(?=[_\-. ]|$)", re.IGNORECASE
)
_LIGHTNING_CHECKPOINT: Final = re.compile(r"epoch=\d+-step=(\d+).*\.ckpt")
_AUTOMODEL_CHECKPOINT: Final = re.compile(r"epoch_\d+_step_(\d+)")
_STEP_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")
_SAMPLES_CHECKPOINT: Final = re.compile(r"samples_(\d+)(?:\.\d+)?(?:_best_val_loss)?")
_TAG: Final = re.compile(r"(?:run-(?P<run>.*?)-tag-)?(?P<tag>.+)")


class TableAdapter:
    """CSV or JSON lines; what differs is how the text is split into records."""

    fidelity = 35
    schemes: tuple[str, ...] = ()

    def __init__(self, name: str, suffixes: Sequence[str]) -> None:
        self.name = name
        self.suffixes = tuple(suffixes)

    def _may_read(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes + TEXT_SUFFIXES) and not name.startswith(".")

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a run: files of one training (train and validation, one file a metric, one a rank) are read together."""
        logs = [path for name in folder.files if self._may_read(name) and self._is_log(path := folder.path / name)]
        for group in _groups(logs):
            yield Source(self.name, folder.path, tuple(group))

    def find_file(self, path: Path) -> Source | None:
        """Any file with the suffix, with the files of the same run beside it; whether it holds a log is said when it is read.

        A ``.txt`` or ``.log`` only where it is such a table or stream.
        """
        if not path.name.lower().endswith(self.suffixes) and not (self._may_read(path.name) and self._is_log(path)):
            return None
        group = [path]
        if (match := _SPLIT.search(path.stem)) and not is_eval(match["split"]):
            beside = [path.with_name(name) for name in _names(path.parent) if name.lower().endswith(self.suffixes) and _SPLIT.search(name)]
            group = next(
                (group for group in _groups([other for other in beside if other == path or self._is_log(other)]) if path in group), group
            )
        return Source(self.name, path.parent, tuple(group))

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """Tables have no URIs.

        Raises:
            InputError: always.
        """
        raise InputError(uri, f"the {self.name} adapter reads files only", "name the file or its folder")

    def read(self, source: Source) -> list[Run]:
        """The run, or the runs of a chart export.

        Raises:
            InputError: no file of the source can be read, or none holds a metric.
        """
        parts: list[tuple[Path, Lines]] = []
        notes: list[str] = []
        failure: InputError | None = None
        for path in source.files:
            try:
                parts.append((path, self._lines(path, notes, writing=WRITING in source.options)))
            except InputError as error:
                failure = failure or error
                notes.append(f"{path.name} was passed over: {error.problem}")
        if failure is not None and not parts:
            raise failure
        runs = _exports(parts) or [_joined(parts, source)]
        for run in runs:
            run.adapter, run.root = self.name, str(source.root)
            run.notes = notes + run.notes
        return runs

    def _lines(self, path: Path, notes: list[str], *, writing: bool) -> Lines:
        data = tolerant_json.read_bytes(path)
        if writing and self.name == "csv":  # half a line of JSON is no JSON, but half a number is another number
            data = tolerant_json.whole_lines(data)
        text, remarks = tolerant_json.decode(data)
        lines = read_csv(text, path) if self.name == "csv" else read_jsonl(text, path, is_config)
        notes.extend(f"{path.name}: {remark}" for remark in remarks + lines.notes)
        keys = list(lines.records.columns)
        if not keys or not (any(is_metric(key) for key in keys) or AXES & {key.lower() for key in keys} or set(keys) <= MONITOR):
            names = ", ".join(list(lines.header or keys)[:8]) or "no numbers"
            raise NothingThereError(
                path, f"does not look like a training log (it holds {names})", "name a file in which a column or key names a loss"
            )
        return lines

    def _is_log(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            tolerant_json.refuse(path, head)
        except (OSError, InputError):
            return False
        text, _ = tolerant_json.decode(head)
        if len(head) == HEAD_BYTES:
            text = text[: max(text.rfind("\n"), 0)]
        if not path.name.lower().endswith(self.suffixes) and not is_pure(text, self.name):
            return False
        return table_is_log(text, path.name) if self.name == "csv" else stream_is_log(text)


CSV: Final = TableAdapter("csv", (".csv", ".tsv"))
JSONL: Final = TableAdapter("jsonl", (".jsonl", ".ndjson"))


# --- files of one run --------------------------------------------------------------------------------------------


def _groups(paths: Sequence[Path]) -> list[list[Path]]:
    """Files that belong to one run, in reading order: train before validation, the lowest rank alone, chart exports of one run."""
    groups: dict[tuple[str, str], list[tuple[tuple[int, str], Path]]] = {}
    ranks: dict[str, tuple[int, Path]] = {}
    for path in paths:
        name = path.name
        if match := _RANK.fullmatch(name):
            entry = (int(match["rank"]), path)
            ranks[match["stem"]] = min(ranks.get(match["stem"], entry), entry)
        elif match := re.fullmatch(r"validation(?:_.+)?\.jsonl", name):
            groups.setdefault(("split", "jsonl"), []).append(((1, name), path))
        elif match := re.fullmatch(r"run-(.*)-tag-.+\.csv", name):
            groups.setdefault(("tag", match[1]), []).append(((0, name), path))
        elif _is_deepspeed(path):
            groups.setdefault(("deepspeed", ""), []).append(((0, name), path))
        elif match := _SPLIT.search(path.stem):
            rest = path.stem[: match.start()] + path.stem[match.end() :] + path.suffix
            groups.setdefault(("split", re.sub(r"^[_\-. ]+|[_\-. ]+(?=\.)", "", rest)), []).append(((is_eval(match["split"]), name), path))
        else:
            groups.setdefault(("file", name), []).append(((0, name), path))
    joined = [[path for _, path in sorted(group)] for group in groups.values()]
    joined.extend([path] for _, path in ranks.values())
    result = []
    for group in joined:
        trains = [path for path in group if (match := _SPLIT.search(path.stem)) and not is_eval(match["split"])]
        result.extend([group] if len(trains) <= 1 or _is_deepspeed(group[0]) else [[path] for path in group])
    return sorted(result, key=lambda group: group[0].name)


def _is_deepspeed(path: Path) -> bool:
    if not path.name.startswith(("Train_", "Eval_")):
        return False
    try:
        with path.open("rb") as file:
            _, header = split_header(file.readline(HEAD_BYTES).decode("utf-8", "replace"))
    except OSError:
        return False
    return recognize(path.name, "", header, ()) == DEEPSPEED


# --- from records to a run ---------------------------------------------------------------------------------------


def _exports(parts: Sequence[tuple[Path, Lines]]) -> list[Run]:
    """The runs of a W&B chart export, which has a column for each; [] for everything else."""
    runs: dict[str, Run] = {}
    for path, lines in parts:
        for name, columns in export_columns(lines.header).items():
            axis = [key for key in lines.records.columns if not key.endswith(("__MIN", "__MAX")) and " - " not in key]
            records = Records(lines.records.rows, {key: lines.records.columns[key] for key in axis})
            records.columns.update({metric: lines.records.columns[key] for key, metric in columns.items() if key in lines.records.columns})
            run = _run(records, path, Path(path.parent), "", [])
            run.path = f"{path}#{name}"
            runs[name] = run
    return [runs[name] for name in sorted(runs)] if len(parts) == 1 else []


def _joined(parts: Sequence[tuple[Path, Lines]], source: Source) -> Run:
    siblings = _names(source.root)
    first = parts[0][0]
    records = Records()
    framework = ""
    configs: list[tuple[Path, int, dict[str, Any]]] = []
    for path, lines in parts:
        block = lines.records
        keys = list(lines.header or block.columns)
        found = recognize(path.name, path.parent.name, keys, siblings)
        framework = framework or found
        if {key.lower() for key in keys} == CHART:
            block.rename({"Value": _tag(path)})
        elif found == DEEPSPEED:
            block.rename({keys[1]: path.stem.replace("_", "/", 2)})
        elif path != first and len(parts) > 1:
            _as_evaluation(block, path, set(records.columns))
        records.append(block)
        configs.extend((path, line, config) for line, config in lines.configs)
    run = _run(records, first, source.root, framework, configs)
    if framework == AUTOMODEL:
        _losses_of_checkpoints(run, source.root)
    return run


def _tag(path: Path) -> str:
    match = _TAG.fullmatch(path.stem)
    return match["tag"] if match else path.stem


def _as_evaluation(records: Records, path: Path, taken: set[str]) -> None:
    """Say in the names of a validation file's columns that they are evaluations: its losses, and all that the training rows log too."""
    match = _SPLIT.search(path.stem)
    if match is None or not is_eval(match["split"]):
        return
    subset = path.stem[match.end() :].strip("_-. ") if path.name.startswith("validation_") else ""
    prefix = f"eval/{subset}/" if subset else "eval/"
    renamed = {}
    repeated = taken - {records.find(STEP_KEYS), records.find(EPOCH_KEYS), wall_times(records)[0]}
    for key in list(records.columns):
        if not (is_loss(key) or is_reward(key) or key in repeated) or (is_eval(key) and not subset):
            continue
        bare = re.sub(r"^(?:val|valid|validation|eval|train|training)[_/]", "", key)
        renamed[key] = prefix + bare
    for key in ("lr", "learning_rate"):
        records.columns.pop(key, None)  # repeated beside an evaluation, one step later than the training rows have it
        renamed.pop(key, None)
    records.rename(renamed)


def _run(records: Records, path: Path, root: Path, framework: str, configs: Sequence[tuple[Path, int, dict[str, Any]]]) -> Run:
    axes = find_axes(records, framework)
    columns = to_columns(records, axes.step, axes.epoch, axes.wall_time, axes.keys)
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    run = Run(
        id="",
        path=str(path),
        adapter="",
        curves=curves,
        overlaps=overlaps,
        native_names=native_names,
        notes=axes.notes,
        planned_steps=axes.planned,
    )
    run.dialect = DIALECTS.get(framework, run.dialect)
    for file, line, config in reversed(configs):  # the newest launch first: what is set stays
        _configure(run, config, file.name, line)
    if framework == LLAMAFACTORY and axes.planned and run.steps >= axes.planned:
        run.finished = True
    if framework == INSTRUCTLAB and "num_epoch_steps" in run.curves:
        epochs = run.hyperparameter("num_epochs")
        per_epoch = run.curves["num_epoch_steps"].value[-1]
        if epochs and np.isfinite(per_epoch):
            run.planned_steps = int(epochs * per_epoch)
    run.checkpoints = _checkpoints(run, root, framework)
    if not run.curves:
        run.notes.append("no metric was logged")
    return run


def _configure(run: Run, config: Mapping[str, Any], file: str, line: int) -> None:
    from diag import config_files, configs

    inner = config.get("script_params")
    native = inner if isinstance(inner, dict) else config
    configs.record(run, native, file=file, lines=dict.fromkeys(config_files.flatten(native), line))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _checkpoints(run: Run, root: Path, framework: str) -> list[Checkpoint]:
    """Saved models beside the log whose step their name tells; Lightning's and AutoModel's are named by the step that ended."""
    found = []
    for name in _names(root):
        if match := _STEP_CHECKPOINT.fullmatch(name):
            found.append(Checkpoint(int(match[1]), name, True))
        elif framework == AUTOMODEL and (match := _AUTOMODEL_CHECKPOINT.fullmatch(name)):
            found.append(Checkpoint(int(match[1]) + 1, name, True))
    if framework == LIGHTNING:
        for name in _names(root / "checkpoints"):
            if match := _LIGHTNING_CHECKPOINT.fullmatch(name):
                found.append(Checkpoint(int(match[1]), f"checkpoints/{name}", True))
    if framework in (INSTRUCTLAB, MINI_TRAINER):
        samples = run.curve("samples_seen") or run.curve("total_samples_accumulated")
        for name in _names(root / "hf_format"):
            if (match := _SAMPLES_CHECKPOINT.fullmatch(name)) and samples is not None and len(samples):
                at = min(int(np.searchsorted(samples.value, float(match[1]))), len(samples) - 1)
                found.append(Checkpoint(int(samples.step[at]), f"hf_format/{name}", True))
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.path))


def _losses_of_checkpoints(run: Run, root: Path) -> None:
    """AutoModel writes validation records late and loses them in a crash; each checkpoint repeats its losses."""
    if any(True for _ in run.eval_losses()):
        return
    points: dict[str, dict[int, float]] = {}
    for checkpoint in run.checkpoints:
        path = root / checkpoint.path / "losses.json"
        try:
            losses, _ = tolerant_json.load(path)
        except InputError:
            continue
        if not isinstance(losses, dict):
            continue
        for key, value in losses.items():
            parsed = tolerant_json.number(value)
            if key != "train_loss" and parsed is not None:
                points.setdefault("eval/loss" if key in ("val_loss", "default") else f"eval/{key}/loss", {})[checkpoint.step] = parsed
    for name in sorted(points):
        step = np.array(sorted(points[name]), dtype=np.int64)
        blank = np.full(step.size, np.nan)
        run.curves[name] = Curve(step, np.array([points[name][int(at)] for at in step]), blank, blank)
        run.native_names[name] = "losses.json"
    if points:
        run.notes.append("the validation log is empty; evaluation losses were taken from losses.json of the checkpoints")
