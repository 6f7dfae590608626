"""A console log taken apart: what it measured, the settings it printed, how it ended."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from diag.adapters.aliases import canonical_names
from diag.adapters.console_config import Settings, find_settings
from diag.adapters.console_events import find_events
from diag.adapters.console_mlperf import MARK, NATIVE, MlperfLog, read_mlperf
from diag.adapters.console_patterns import FORMATS, parse_columns
from diag.adapters.console_rows import Row, State
from diag.adapters.console_steps import is_training, place
from diag.adapters.console_text import clean, has_numbered_ranks, pieces, strip_prefix
from diag.adapters.records import fractional_epochs
from diag.adapters.table_steps import first_offset
from diag.adapters.tolerant_json import decode
from diag.run import Checkpoint, Column, Hyperparameter, LogEvent, Run, make_curves

ADAPTER: Final = "console"
"""Name of the adapter that reads these logs."""
SAMPLE: Final = 64 * 1024
"""Bytes at the beginning and at the end of a file in which training lines are looked for before it is read."""
WHOLE: Final = 256 * 1024
"""Files up to this many bytes are looked through whole: banners can be longer than the sample."""
MAX_HEAD: Final = 20_000
"""Lines before the third row in which settings are looked for."""
FATAL: Final = frozenset(
    {"out_of_memory", "host_out_of_memory", "nccl_timeout", "nonfinite_loss", "loss_scale_exhausted", "traceback", "killed"}
)
"""Events after which a process does not go on."""

_CANDIDATE: Final = re.compile(r"loss|epoch|ppl|perplexity|acc|reward|bp[bc]|f1\b|\d/\d+ \[", re.IGNORECASE)
_SAVED: Final = re.compile(r"[Ss]av(?:ing|ed)[^\n\r]{0,80}?([^\s'\"]{0,200}(?:checkpoint-|_step_|/step[-_])(\d{1,12})[^\s'\",]{0,100})")


@dataclass
class Parsed:
    """A console log taken apart.

    Attributes:
        rows: what was measured, in order.
        state: what was left after the last line.
        settings: arguments that were printed.
        mlperf: the MLPerf part, None without one.
        notes: remarks.
    """

    rows: list[Row]
    state: State
    settings: Settings
    mlperf: MlperfLog | None = None
    notes: list[str] = field(default_factory=list)


def sample(path: Path) -> str:
    """Text from both ends of a file (all of it up to 256 KiB), "" if it cannot be read or is not text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            data = file.read(WHOLE if size <= WHOLE else SAMPLE)
            if size > WHOLE:
                file.seek(size - SAMPLE)
                data += b"\n" + file.read(SAMPLE)
    except OSError:
        return ""
    if b"\x00" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ""
    return clean(decode(data)[0])


def holds_training(text: str) -> bool:
    """Whether some line of a cleaned text measures a training."""
    if _CANDIDATE.search(text) is None and MARK not in text and " train " not in text and "trl:" not in text and "| " not in text:
        return False
    if MARK in text and "eval_accuracy" in text:
        return True
    return next(iter_rows(text, State(), []), None) is not None


def holds_crash(text: str) -> bool:
    """Whether a text holds a crash line other than a bare traceback, which any program may print."""
    return any(event.kind != "traceback" for event in find_events(text))


def iter_rows(text: str, state: State, head: list[tuple[int, str]]) -> Iterator[Row]:
    """Rows of a cleaned text; lines before the third row go to ``head``."""
    formats = [form for form in FORMATS if any(marker in text for marker in form.markers)]
    numbered = has_numbered_ranks(text)
    found = 0
    for number, piece in pieces(text):
        if MARK in piece:
            continue
        row = None
        line = None
        if state.columns and piece.lstrip(" |")[:1].isdigit():
            line = strip_prefix(number, piece, numbered)
            row = parse_columns(line, state)
        for form in formats if row is None else ():
            if form.hints:
                if not any(hint in piece for hint in form.hints):
                    continue
            elif _CANDIDATE.search(piece) is None:
                continue
            line = line or strip_prefix(number, piece, numbered)
            row = form.parse(line, state)
            if row is not None:
                break
        if row is not None and row.values:
            found += 1
            yield row
        elif found < 3 and len(head) < MAX_HEAD:
            head.append((number, (line or strip_prefix(number, piece, numbered)).text))


def parse(text: str) -> Parsed:
    """Rows, settings and state of a cleaned text; where several processes printed, the rows of one."""
    state, head = State(), []  # type: tuple[State, list[tuple[int, str]]]
    rows = list(iter_rows(text, state, head))
    parsed = Parsed(rows, state, find_settings(head))
    ranks = Counter(row.rank for row in rows if row.rank and is_training(row))
    if len(ranks) > 1:
        chosen = (
            min(ranks, key=lambda rank: (-ranks[rank], len(rank), rank))
            if max(ranks.values()) > 2 * min(ranks.values())
            else min(ranks, key=lambda rank: (len(rank), rank))
        )
        parsed.rows = [row for row in rows if row.rank in ("", chosen)]
        parsed.notes.append(f"{len(ranks)} processes printed their losses; those of {chosen} were read")
    if "`Trainer.fit` stopped: " in text:  # Lightning
        state.finished = True
    if MARK in text:
        parsed.mlperf = read_mlperf((number, piece) for number, piece in pieces(text) if MARK in piece)
    return parsed


def make_run(parsed: Parsed, path: Path, root: Path) -> Run:
    """The Run of a parsed log, without its events."""
    rows, banner = parsed.rows, parsed.settings.banner
    dialect, known = hyperparameters(parsed, path)
    epochs = parsed.state.epochs or whole(banner.get("num_train_epochs")) or whole(value_of(known, "num_epochs"))
    total = whole(banner.get("max_steps")) or whole(value_of(known, "max_steps"))
    axis = place(rows, epochs, value_of(known, "logging_steps"), total, steps_done(parsed.state, total))
    step = np.asarray(axis.step, dtype=np.int64)
    training = np.flatnonzero([is_training(row) for row in rows])
    step = step + first_offset(step, training.astype(np.int64))
    epoch = np.asarray([np.nan if e is None else e for e in axis.epoch], dtype=np.float64)
    columns = to_columns(rows, step, fractional_epochs(step, epoch) if epoch.size else epoch)
    if parsed.mlperf is not None:
        add_mlperf(columns, parsed.mlperf)
        parsed.notes += parsed.mlperf.notes
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    run = Run(id="", path=str(path), adapter=ADAPTER, curves=curves, overlaps=overlaps, native_names=native_names, root=str(root))
    run.hyperparameters = known
    run.dialect = dialect
    run.planned_steps = axis.planned or total
    run.notes = parsed.notes + (axis.notes if rows else [])
    return run


def to_columns(rows: Sequence[Row], step: np.ndarray[Any, Any], epoch: np.ndarray[Any, Any]) -> dict[str, Column]:
    """Rows as one Column a metric, in the order of the log."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for index, row in enumerate(rows):
        for name, value in row.values.items():
            at, values = found.setdefault(name, ([], []))
            at.append(index)
            values.append(value)
    time = np.asarray([np.nan if row.time is None else row.time for row in rows], dtype=np.float64)
    columns = {}
    for name, (at, values) in found.items():
        index_array = np.asarray(at, dtype=np.int64)
        columns[name] = Column(step[index_array], np.asarray(values, dtype=np.float64), epoch[index_array], time[index_array])
    return columns


def add_mlperf(columns: dict[str, Column], log: MlperfLog) -> None:
    """MLPerf records as columns, where the rest of the log does not hold the metric already."""
    rows = [row for row in log.rows if row.step is not None]
    step = np.asarray([row.step for row in rows], dtype=np.int64)
    epoch = np.asarray([np.nan if row.epoch is None else row.epoch for row in rows], dtype=np.float64)
    for name, column in to_columns(rows, step, epoch).items():
        columns.setdefault(name, column)


def hyperparameters(parsed: Parsed, path: Path) -> tuple[str, dict[str, Hyperparameter]]:
    """Dialect and hyperparameters from what the log printed about its settings."""
    from diag.configs import from_mapping
    from diag.dialects.values import canonical_value

    native, lines = dict(parsed.settings.values), dict(parsed.settings.lines)
    for key, number in parsed.settings.banner.items():
        native.setdefault(key, int(number) if number == int(number) else number)
    dialect, known = from_mapping(native, file=path.name, lines=lines) if native else ("generic", {})
    banner = parsed.settings.banner
    for key, name in (
        ("total_train_batch_size", "global_batch_size"),
        ("num_examples", "dataset_size"),
        ("max_steps", "max_steps"),
        ("world_size", "world_size"),
    ):
        if key in banner and (value := canonical_value(name, banner[key])) is not None:
            known[name] = Hyperparameter(value, "file", path.name, lines.get(key, 0), key)
    if parsed.mlperf is not None:
        for key, (value, line) in parsed.mlperf.settings.items():
            name = NATIVE.get(key, "")
            value = "cosine" if name == "lr_scheduler" and "cosine" in str(value).lower() else value
            if name and name not in known and (converted := canonical_value(name, value)) is not None:
                known[name] = Hyperparameter(converted, "file", path.name, line, key)
    return dialect, known


def steps_done(state: State, total: int | None) -> int | None:
    """Optimizer steps taken by the end, from the run summary or the training progress bar; None if unknown."""
    if total is None:
        return None
    return total if state.finished else state.bars.get(total) or None


def value_of(known: dict[str, Hyperparameter], name: str) -> Any:
    """A hyperparameter's value, None if unknown."""
    return known[name].value if name in known else None


def whole(value: Any) -> int | None:
    """A positive number as an int, None for anything else."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1 and value < 2**53 else None


def add_events(run: Run, text: str, path: Path, rows: Sequence[Row]) -> None:
    """Crash lines of a file; their step is that of the last row before them where rows are known."""
    lines = [row.line for row in rows]
    steps = last_steps(run)
    for event in find_events(text):
        step = event.step
        if lines:
            before = int(np.searchsorted(lines, event.line, side="right"))
            step = steps if before == len(lines) else -1 if before == 0 else min(step, steps) if step >= 0 else -1
        run.events.append(LogEvent(event.kind, step, event.text, path.name, event.line, event.count))


def last_steps(run: Run) -> int:
    """The last step of the run, -1 without any."""
    return run.steps if run.curves else -1


def add_checkpoints(run: Run, text: str, root: Path) -> None:
    """Checkpoints whose saving was printed; whether they exist is looked up below the run's folder."""
    found: dict[str, Checkpoint] = {}
    for match in _SAVED.finditer(text) if "av" in text else ():
        printed = match[1].rstrip(".,:;)")
        parts = Path(printed).parts
        candidates = [Path(*parts[-n:]) for n in (1, 2, 3) if len(parts) >= n]
        name = next((c for c in candidates if len(str(c)) < 200 and (root / c).exists()), None)
        found[printed] = Checkpoint(int(match[2]), (name or candidates[0]).as_posix(), name is not None)
    run.checkpoints = sorted(found.values(), key=lambda checkpoint: (checkpoint.step, checkpoint.path))


def judge_end(run: Run, parsed: Parsed) -> None:
    """Set ``finished``: ended by itself, cut off by a crash, or unknown."""
    if parsed.state.finished or (parsed.mlperf is not None and parsed.mlperf.finished):
        run.finished = True
    elif any(event.kind in FATAL and event.step >= run.steps for event in run.events):
        run.finished = False
    elif run.planned_steps and run.steps >= run.planned_steps:
        run.finished = True
