"""The same training logged in several formats: told by the losses, the most faithful format kept.

Sources are compared only within one run folder: the folder that is left when the sub-folders that loggers make
(``runs/…``, ``wandb/…``, ``lightning_logs/version_0``, ``checkpoint-500`` and the like) are taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from diag.adapters import registry, relative
from diag.run import Curve, Run

_LOGGER_FOLDERS: Final = frozenset(
    {
        "artifacts",
        "csv",
        "csv_logs",
        "events",
        "files",
        "lightning_logs",
        "log",
        "logging",
        "logs",
        "mlflow",
        "mlruns",
        "runs",
        "summaries",
        "summary",
        "tb",
        "tb_logs",
        "tblogs",
        "tensorboard",
        "tensorboard_logs",
        "tf_logs",
        "wandb",
    }
)
"""Folders that loggers and their users make inside a run's folder."""
_WITHIN_LOGGER: Final = re.compile(r"(version_\d+|(offline-)?run-\d{8}_\d{6}-\w+|[A-Z][a-z]{2}\d{2}_\d{2}-\d{2}-\d{2}_.+|\d+|[0-9a-f]{32})")
"""Names of the folders below those: Lightning versions, W&B runs, SummaryWriter's ``Nov21_22-30-00_host``, MLflow ids."""

_RELATIVE: Final = 1e-3
"""Two logs of one loss differ by float32 (1e-7), 4 decimals, or 4 significant digits (5e-4): twice the coarsest."""
_ABSOLUTE: Final = 6e-5
"""Half a unit of the fourth decimal, what the Hugging Face Trainer rounded to before 5.0, and a little."""
_CONSOLE_ABSOLUTE: Final = 6e-3
"""Half a unit of the second decimal, the coarsest that training scripts print, and a little."""
_RANGE_SHARE: Final = 0.1
"""Share of the loss' own range above which an absolute difference is no rounding: tiny losses differ by less than 6e-3."""
_AGREEMENT: Final = 0.95
"""Share of common points that must agree; a restart may have rewritten a few."""
_MIN_POINTS: Final = 3
_OVERLAP: Final = 0.5
"""Share of the shorter curve that must lie on common steps."""
_OFFSETS: Final = (0, 1, -1)
"""Steps counted from 0 in one log and from 1 in the other."""


def merged(runs: Iterable[Run], *, keep_empty: bool, freshest: bool = False) -> list[Run]:
    """The distinct runs, in their order.

    A run that another, more faithful source also tells is dropped and named in a note on that one; what only it
    knows (crash lines, hyperparameters, whether training ended, checkpoints) moves over. A source without any
    curve joins the one run of its folder; where it stands alone it is kept when ``keep_empty``, or when it says
    something (a crash, or a trainer that logged nothing), and dropped when other runs were found.

    With ``freshest`` the source that has come furthest is kept: while a run goes on, a ``trainer_state.json`` is as old as the last
    checkpoint, and an event file is not.
    """
    everything = list(runs)
    homes: dict[Path, list[int]] = {}
    for index, run in enumerate(everything):
        homes.setdefault(run_folder(run), []).append(index)
    dropped: set[int] = set()
    for members in homes.values():
        if len(members) > 1:
            dropped |= _fold([everything[index] for index in members], members, freshest=freshest)
    rest = [run for index, run in enumerate(everything) if index not in dropped]
    if keep_empty:
        return rest
    found = any(not _empty(run) for run in rest)
    return [run for run in rest if not _empty(run) or _speaks(run, alone=not found)]


def _empty(run: Run) -> bool:
    """Whether a run shows no training: nothing was logged or, in any text that is not a log, no loss and no reward."""
    if run.adapter == "console":
        return not any(name in ("train/loss", "reward") for name in run.curves) and not any(True for _ in run.eval_losses())
    return not run.curves


def _speaks(run: Run, *, alone: bool) -> bool:
    """Whether a run without training is worth a verdict: a crash is, a trainer's own record is, other text is not."""
    return bool(run.events) or (run.adapter != "console" and (alone or _fidelity(run) > _fidelity_of("tensorboard")))


def run_folder(run: Run) -> Path:
    """The folder of the run: its root without the sub-folders that loggers make."""
    root = Path(run.root)
    for index, part in enumerate(root.parts):
        if index and part in _LOGGER_FOLDERS and all(_inner(name) for name in root.parts[index + 1 :]):
            return Path(*root.parts[:index])
    return root


def _inner(name: str) -> bool:
    return name in _LOGGER_FOLDERS or _WITHIN_LOGGER.fullmatch(name) is not None


def _fidelity(run: Run) -> int:
    return _fidelity_of(run.adapter)


def _fidelity_of(name: str) -> int:
    return registry.get(name).fidelity


def _fold(members: Sequence[Run], indices: Sequence[int], *, freshest: bool) -> set[int]:
    """Fold the runs of one folder together; the indices of those that were dropped."""

    def rank(index: int) -> tuple[int, int]:
        best = (-_fidelity(members[index]), -members[index].steps)
        return best[::-1] if freshest else best

    order = sorted(range(len(members)), key=lambda i: (_empty(members[i]), *rank(i), i))
    kept: list[int] = []
    twins: dict[int, list[int]] = {}
    for position in order:
        run = members[position]
        full = [i for i in kept if not _empty(members[i])]
        if not _empty(run):
            twin = next((i for i in full if _may_be_twins(members[i], run) and same_losses(members[i], run)), None)
        else:
            twin = full[0] if len(full) == 1 and members[full[0]].adapter != run.adapter else None
        if twin is None:
            kept.append(position)
        else:
            twins.setdefault(twin, []).append(position)
    for keeper, others in twins.items():
        for other in others:
            _absorb(members[keeper], members[other])
        told = [_told(members[keeper], members[other]) for other in others if not _empty(members[other])]
        if told:
            members[keeper].notes.append(f"the same run is also in {', '.join(told)}; {members[keeper].adapter} was used")
    return {indices[other] for others in twins.values() for other in others}


def _may_be_twins(one: Run, other: Run) -> bool:
    """Two sources of one format are one run only where one folder holds the other's: siblings are repetitions."""
    if one.adapter != other.adapter:
        return True
    a, b = PurePath(one.root), PurePath(other.root)
    return one.path != other.path and (a.is_relative_to(b) or b.is_relative_to(a))


def _absorb(keeper: Run, other: Run) -> None:
    """Let the keeper have what only the other source knows."""
    known = {event.kind for event in keeper.events}
    keeper.events.extend(event for event in other.events if event.kind not in known)
    for name, entry in other.hyperparameters.items():
        mine = keeper.hyperparameters.get(name)
        if mine is None or (mine.kind == "inferred" and entry.kind == "file"):
            keeper.hyperparameters[name] = entry
    if keeper.dialect == "generic":
        keeper.dialect = other.dialect
    keeper.config = keeper.config or other.config
    if keeper.finished is None and not _empty(other):
        keeper.finished = other.finished
    if keeper.planned_steps is None and not _empty(other):
        keeper.planned_steps = other.planned_steps
    keeper.checkpoints = keeper.checkpoints or other.checkpoints
    keeper.origins.extend(other.origins)


def _told(keeper: Run, other: Run) -> str:
    """Where the other source lies, seen from the folder of the run, and its format."""
    path, home = Path(other.path), run_folder(keeper)
    place = relative(path, home) if path.is_absolute() and path.is_relative_to(home) else path.name
    return f"{place} ({other.adapter})"


def same_losses(one: Run, other: Run) -> bool:
    """Whether two runs tell the same loss: on common steps (counted from 0 or 1), or row by row where lengths are equal."""
    absolute = _CONSOLE_ABSOLUTE if "console" in (one.adapter, other.adapter) else _ABSOLUTE
    for metric in _shared_losses(one.curves, other.curves):
        a, b = one.curves[metric], other.curves[metric]
        return _row_by_row(a, b, absolute) or any(_on_steps(a, b, offset, absolute) for offset in _OFFSETS)
    return False


def _shared_losses(one: Mapping[str, Curve], other: Mapping[str, Curve]) -> list[str]:
    """Losses that both logged, the one with most points in common first."""
    shared = [
        name
        for name in one
        if name in other and (name == "train/loss" or (name.startswith("eval/") and name.endswith("/loss")) or name == "reward")
    ]
    return sorted(shared, key=lambda name: (-min(len(one[name]), len(other[name])), name))


def _row_by_row(a: Curve, b: Curve, absolute: float) -> bool:
    return len(a) == len(b) >= _MIN_POINTS and _agree(a, b, absolute)


def _on_steps(a: Curve, b: Curve, offset: int, absolute: float) -> bool:
    _, left, right = np.intersect1d(a.step, b.step + offset, assume_unique=True, return_indices=True)
    shorter = min(len(a), len(b))
    if left.size < min(_MIN_POINTS, shorter) or left.size < _OVERLAP * shorter or not left.size:
        return False
    return _agree(a.select(left), b.select(right), absolute)


def _agree(a: Curve, b: Curve, absolute: float) -> bool:
    usable = np.isfinite(a.value) & np.isfinite(b.value)
    if not bool(usable.any()):
        return False
    left, right = a.value[usable], b.value[usable]
    slack = min(absolute, _RANGE_SHARE * float(np.ptp(left)))
    near = np.abs(left - right) <= slack + _RELATIVE * np.abs(left)
    return float(near.mean()) >= _AGREEMENT
