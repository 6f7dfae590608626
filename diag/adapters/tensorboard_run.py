"""From the event files of one run to the Run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from diag.adapters import relative
from diag.adapters.aliases import canonical_names
from diag.adapters.event_file import EventFile, Points, read_event_file
from diag.adapters.records import is_eval
from diag.adapters.series import Series, to_columns
from diag.adapters.tensorboard import ADAPTER, HPARAMS_FOLDER, SPLITS
from diag.errors import InputError
from diag.run import Origin, Run, make_curves

PLACEHOLDER: Final = "hp_metric"
"""Lightning logs this metric with -1 when no other is given for the HParams tab."""
RUN_SUMMARY: Final = "train/train_runtime"
"""Tag that the Hugging Face Trainer logs once, when training has ended."""
ARGS_TEXT: Final = ("args/text_summary", "model_config/text_summary")
"""Texts in which the Hugging Face Trainer logs its arguments and the model's config, as JSON."""
TEXT_SUFFIX: Final = "/text_summary"
MIN_TEXT_ARGUMENTS: Final = 20
"""Texts of one line from which on they are taken as a dump of arguments, one text each (Megatron-LM logs over 100)."""


def read_run(paths: Sequence[Path], root: Path, *, verify: bool) -> Run:
    """The run that event files tell together; a file that cannot be read is left out with a note.

    Args:
        paths: the files, oldest first.
        root: folder of the run, to which sub-folders are relative.
        verify: check every payload's checksum.

    Raises:
        InputError: none of the files can be read.
    """
    notes: list[str] = []
    files: list[EventFile] = []
    failure: InputError | None = None
    for path in paths:
        try:
            files.append(read_event_file(path, verify=verify))
        except InputError as error:
            failure = failure or error
            notes.append(f"{relative(path, root)} was passed over: {error.problem}")
    if not files:
        raise failure or InputError(root, "holds no event file")
    run = _build(files, root)
    run.path = str(paths[0] if len(paths) == 1 else root)
    run.origins = [Origin(ADAPTER.name, str(paths[0].parent.absolute()))]
    run.notes[:0] = notes
    return run


def _build(files: list[EventFile], root: Path) -> Run:
    """The Run of several files."""
    parts: dict[str, list[tuple[int, Points]]] = {}
    late: dict[str, tuple[int, Points]] = {}
    notes: list[str] = []
    for index, file in enumerate(files):
        notes.extend(file.notes)
        summary_folder = file.path.parent != root and HPARAMS_FOLDER.fullmatch(file.path.parent.name)
        for tag, points in file.points.items():
            if tag == PLACEHOLDER:
                continue
            if summary_folder:
                late.setdefault(tag, (index, points))
            else:
                parts.setdefault(_name(tag, file.path, root), []).append((index, points))
    # What add_hparams wrote beside a curve of the same tag is its last value again, under step 0.
    parts.update({tag: [piece] for tag, piece in late.items() if tag not in parts})
    series = {tag: _joined(_standing(pieces, files)) for tag, pieces in sorted(parts.items())}
    finished = True if RUN_SUMMARY in series else None
    _drop_final_evaluation(series, notes)
    columns, remarks = to_columns(series)
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    run = Run(
        id="",
        path=str(root),
        adapter=ADAPTER.name,
        curves=curves,
        overlaps=overlaps,
        native_names=native_names,
        root=str(root),
        finished=finished,
    )
    run.notes = notes + remarks
    if not curves:
        run.notes.append("no scalar was logged" if any(file.records > 1 for file in files) else "nothing was logged but the header")
    _hyperparameters(run, files, root)
    return run


def _name(tag: str, path: Path, root: Path) -> str:
    """The tag with what the folder says of it: ``loss`` in ``validation/`` is ``validation/loss``."""
    folder = path.parent.name
    if path.parent != root and (main := tag.replace("/", "_") + "_") and folder.startswith(main):
        return f"{tag}/{folder[len(main) :]}"
    if folder.lower() in SPLITS and is_eval(folder) and not is_eval(tag):
        return f"{folder}/{tag}"
    return tag


def _standing(pieces: list[tuple[int, Points]], files: list[EventFile]) -> list[Series]:
    """The points of one tag that were not taken back: a writer that starts a session at step N withdraws what was logged
    before from N on, in its own folder."""
    standing = []
    for index, points in pieces:
        keep = np.ones(points.step.size, dtype=bool)
        for later in range(index, len(files)):
            if files[later].path.parent != files[index].path.parent:
                continue
            for record, step in files[later].restarts:
                keep &= (points.step < step) | (later == index) & (points.record > record)
        standing.append(Series(points.step[keep], points.value[keep], points.wall_time[keep]))
    return standing


def _joined(pieces: list[Series]) -> Series:
    if len(pieces) == 1:
        return pieces[0]
    return Series(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def _drop_final_evaluation(series: dict[str, Series], notes: list[str]) -> None:
    """Leave out evaluations after the end of training that repeat an evaluated step, in place.

    ``evaluate()`` after a training with ``load_best_model_at_end`` reports the best model's loss under the last step.
    """
    end = series.get(RUN_SUMMARY)
    if end is None:
        return
    repeated = 0
    for tag, one in series.items():
        if not tag.startswith("eval/") or one.step.size < 2 or not bool(np.isfinite(one.wall_time).all()):
            continue
        after = one.wall_time > end.wall_time[0]
        again = after & np.isin(one.step, one.step[~after])
        if bool(again.any()):
            series[tag] = Series(one.step[~again], one.value[~again], one.wall_time[~again])
            repeated = max(repeated, int(again.sum()))
    if repeated:
        notes.append(
            f"{repeated} evaluation after the end of training repeats an evaluated step (the reloaded best model) and was left out"
        )


def _hyperparameters(run: Run, files: list[EventFile], root: Path) -> None:
    """Hyperparameters from HParams records and from texts that hold arguments; the newest file counts."""
    from diag.configs import record

    for file in reversed(files):
        for native in (_arguments(file.texts), file.hparams):
            if not native:
                continue
            record(run, native, file=relative(file.path, root))
    steps = run.hyperparameter("max_steps")
    if isinstance(steps, int) and steps > 0:
        run.planned_steps = steps


def _arguments(texts: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of the training that were logged as texts, by native key."""
    found: dict[str, Any] = {}
    for tag in reversed(ARGS_TEXT):
        try:
            value = json.loads(texts[tag])
        except (KeyError, ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.update(value)
    if not found:
        lines = {
            tag.removesuffix(TEXT_SUFFIX): text
            for tag, text in texts.items()
            if tag.endswith(TEXT_SUFFIX) and "\n" not in text and "/" not in tag.removesuffix(TEXT_SUFFIX)
        }
        if len(lines) >= MIN_TEXT_ARGUMENTS:
            found = lines
    return found
