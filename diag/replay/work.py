"""The folder in which one training of a command runs: made and emptied, and what the training logged in it read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from diag.errors import DiagError, UsageError
from diag.loading import WORK_MARK
from diag.replay.command_line import CONFIGS, CommandLine, is_device, is_written
from diag.replay.trainer import LAST_PART, Row
from diag.vocabulary import METRICS

if TYPE_CHECKING:
    from diag.run import Run

OUTPUT: Final = "output.log"
"""What the command wrote to stdout and stderr, in its folder."""
MARKED: Final = "diag replay runs a command here, and empties this folder before it does so again.\n"
CONSOLE: Final = "console"
"""The adapter of logs that print rounded numbers."""


def prepare(folder: Path, line: CommandLine) -> None:
    """Make the folder, or empty it where it is from an earlier attempt, and link into it what the command's configs name relatively.

    Raises:
        UsageError: it cannot be written, or holds something and was not made here.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or (any(folder.iterdir()) and not (folder / WORK_MARK).is_file()):
            raise UsageError(f"{folder} holds something that no replay made; move it away, or choose another --out")
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != WORK_MARK:
                entry.unlink()
        (folder / WORK_MARK).write_text(MARKED, encoding="utf-8")
        for name in inputs(line):
            link = folder / name
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(line.here / name)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error


def refuse_folder(line: CommandLine, root: str) -> None:
    """Refuse a command that names the folder of the run that is replayed, where it would write its own log.

    Raises:
        UsageError: it does.
    """
    if not root or line.here.is_relative_to(root):
        return
    for option, path in line.paths:
        if path.is_dir() and path.resolve() == Path(root).resolve():
            raise UsageError(f"--command: {option or path} names the folder of the run itself; write {{out}}, the folder of each training")


def inputs(line: CommandLine) -> list[Path]:
    """Relative paths that exist and that the command's configs name as something to read, those of folders first.

    Raises:
        UsageError: a config names an absolute folder to write to, and the command does not say another: all trainings would share it.
    """
    found: dict[Path, None] = {}
    for file in line.files:
        for key, text in _texts(file):
            path = Path(text)
            try:
                exists = (line.here / path).exists()
            except (OSError, ValueError):
                continue
            if is_written(key, path):
                if path.is_absolute() and exists and not is_device(path) and not line.has("out"):
                    raise UsageError(
                        f"{file}: {key} is {path}, one folder for all trainings; give the command its option for that with {{out}}, the"
                        " folder of each"
                    )
            elif exists and path.parts and not path.is_absolute() and ".." not in path.parts:
                found[path] = None
    names = sorted(found, key=lambda path: len(path.parts))
    return [path for path in names if not any(other in path.parents for other in names)]


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """Dotted key and every text of a config."""
    if file.suffix.lower() not in CONFIGS:
        return
    from diag.config_files import load

    flat, _, _ = load(file)
    for key, value in flat.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item:
                yield key, item


def read(folder: Path, steps: int) -> Run | None:
    """The training that was logged in a folder, None if nothing readable is there.

    Of several, one that comes as far as it should, in full precision rather than as printed, with the most points of the loss.
    """
    from diag.loading import attempt, discover, settle

    inside = folder.resolve()
    try:
        sources = [source for source in discover(folder) if all(file.resolve().is_relative_to(inside) for file in source.files)]
        runs = settle(map(attempt, sources), folder)
    except DiagError:
        return None

    def worth(run: Run) -> tuple[bool, bool, int]:
        points = run.curves.get("train/loss")
        return reached(run) >= (1 - LAST_PART) * steps, run.adapter != CONSOLE, 0 if points is None else len(points)

    return max((run for run in runs if has_loss(run) or run.events), key=worth, default=None)


def has_loss(run: Run) -> bool:
    """Whether a run logged what arms can be compared by."""
    return "train/loss" in run.curves or any(True for _ in run.eval_losses())


def reached(run: Run) -> int:
    """The last step with a loss."""
    curves = [*(curve for _, curve in run.eval_losses()), *([run.curves["train/loss"]] if "train/loss" in run.curves else [])]
    return max((int(curve.step[-1]) for curve in curves if len(curve)), default=0)


def rows(run: Run, steps: int) -> list[Row]:
    """Every canonical metric by step, up to a step; where only named evaluation sets were logged, the first stands for all."""
    held_out = next(run.eval_losses(), None)
    curves = {name: curve for name, curve in run.curves.items() if name in METRICS}
    if held_out is not None:
        curves["eval/loss"] = held_out[1]
    found: dict[int, Row] = {}
    for name, curve in curves.items():
        for step, value in zip(curve.step.tolist(), curve.value.tolist(), strict=True):
            if step <= steps:
                found.setdefault(step, {"step": step})[name] = value
    return [found[step] for step in sorted(found)]


def crash(run: Run, ordered: Sequence[Row], steps: int) -> Iterator[Row]:
    """The loss that was not logged because it was not a number, and the training ended at it."""
    event = next((event for event in run.events if event.kind == "nonfinite_loss"), None)
    if event is None or not is_finite(ordered):
        return
    last = int(ordered[-1]["step"]) if ordered else 0
    if (step := max(last + 1, event.step)) <= steps:
        yield {"step": step, "train/loss": math.nan}


def is_finite(logged: Sequence[Row]) -> bool:
    """Whether every loss is a number."""
    return all(math.isfinite(row[name]) for row in logged for name in ("train/loss", "eval/loss") if name in row)


def tail(output: Path, length: int = 1 << 16) -> list[str]:
    """The last lines that a command wrote, without blank ones; progress bars line by line."""
    try:
        with output.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - length))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
