"""The common frame: what every adapter produces and every check reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diag.hyperparameter import Hyperparameter as Hyperparameter

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHUFFLED_SHARE = 0.2
"""Share of rows that step backwards above which a file counts as unordered rather than resumed.

A resume steps back once per launch; a log with a fifth of its rows out of order was shuffled (or merged from several
writers), and no row can be called newer than another. A single step back is always a resume.
"""


class Checkpoint(NamedTuple):
    """A saved model: the optimizer step it holds, its path relative to the run, whether it is on disk."""

    step: int
    path: str
    exists: bool


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line of a console log that says something went wrong.

    ``kind`` is one of ``out_of_memory``, ``host_out_of_memory``, ``nccl_timeout``, ``nonfinite_loss``,
    ``loss_scale_overflow``, ``loss_scale_exhausted``, ``traceback``, ``killed``. ``step`` is the last step seen before it, or -1.
    """

    kind: str
    step: int
    text: str
    file: str = ""
    line: int = 0
    count: int = 1


class Overlap(NamedTuple):
    """A resumed run's overlap: at row order ``index`` the log went back from ``step_from`` to ``step_to``."""

    metric: str
    step_from: int
    step_to: int


class Origin(NamedTuple):
    """Where a tracker keeps a run, for who wants to write something there.

    ``adapter`` names the tracker; ``place`` and ``id`` are:

    - ``mlflow``: the address of a server, a SQLite file, or the run's folder in a file store; and the run's id;
    - ``wandb``: the ``.wandb`` file of its last launch, or ``wandb://entity/project/run``; and the run's id;
    - ``tensorboard``: the folder of its event files; and "".

    A place on this machine is an absolute path.
    """

    adapter: str
    place: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run, sorted by step, one value a step.

    Attributes:
        step: int64, shape (n,), optimizer steps completed, strictly increasing.
        value: float64, shape (n,); NaN and infinities are values that were logged.
        epoch: float64, shape (n,), fractional epoch, NaN where unknown.
        wall_time: float64, shape (n,), Unix seconds, NaN where unknown.
        repeated: rows that were dropped because a later row had the same step, a resumed run's overlap not counted.
    """

    step: IntArray
    value: FloatArray
    epoch: FloatArray
    wall_time: FloatArray
    repeated: int = 0

    def __len__(self) -> int:
        return int(self.step.size)

    def select(self, mask: npt.NDArray[Any]) -> Curve:
        """The points where ``mask`` (boolean mask or index array) holds."""
        return Curve(self.step[mask], self.value[mask], self.epoch[mask], self.wall_time[mask])

    def finite(self) -> Curve:
        """The points whose value is neither NaN nor infinite."""
        mask = np.isfinite(self.value)
        return self if bool(mask.all()) else self.select(mask)


@dataclass(slots=True)
class Column:
    """What an adapter read for one native metric, in the order of the file (rows need not be sorted).

    Sequences or arrays of equal length; ``epoch`` and ``wall_time`` may be None where nothing was logged.
    """

    step: Sequence[int] | IntArray
    value: Sequence[float] | FloatArray
    epoch: Sequence[float] | FloatArray | None = None
    wall_time: Sequence[float] | FloatArray | None = None


def is_shuffled(column: Column) -> bool:
    """Whether more than SHUFFLED_SHARE of the rows, and more than one, step backwards."""
    step = np.asarray(column.step, dtype=np.int64)
    return int((np.diff(step) < 0).sum()) > max(1.0, SHUFFLED_SHARE * step.size)


def make_curve(column: Column, *, shuffled: bool | None = None) -> tuple[Curve, list[tuple[int, int]]]:
    """Sort a column by step and let the newest writer win.

    Where the file steps backwards (a resumed run), the rows of the earlier launch at or after the step resumed from
    are dropped; where a step is repeated, the last row is kept. Returns the curve and the ``(from, to)`` steps of
    every backward jump. The rows of a shuffled file are only sorted.

    Args:
        column: what was read.
        shuffled: whether the file it comes from is unordered; None to tell by this column alone.

    Raises:
        ValueError: the sequences differ in length.
    """
    step = np.asarray(column.step, dtype=np.int64)
    value = np.asarray(column.value, dtype=np.float64)
    if step.shape != value.shape:
        raise ValueError(f"{step.size} steps but {value.size} values")
    blank = np.full(step.shape, np.nan)
    epoch = blank if column.epoch is None else np.asarray(column.epoch, dtype=np.float64)
    wall_time = blank if column.wall_time is None else np.asarray(column.wall_time, dtype=np.float64)
    curve = Curve(step, value, epoch, wall_time)
    if step.size < 2:
        return curve, []
    delta = np.diff(step)
    if bool((delta > 0).all()):
        return curve, []
    back = np.flatnonzero(delta < 0)
    jumps: list[tuple[int, int]] = []
    if back.size and not (is_shuffled(column) if shuffled is None else shuffled):
        jumps = [(int(step[i]), int(step[i + 1])) for i in back]
        keep = np.ones(step.size, dtype=bool)
        for i in back:
            keep[: i + 1] &= step[: i + 1] < step[i + 1]
        curve = curve.select(keep)
    order = np.argsort(curve.step, kind="stable")
    curve = curve.select(order)
    last = np.append(np.diff(curve.step) > 0, True)
    return replace(curve.select(last), repeated=int(last.size - last.sum())), jumps


@dataclass
class Run:
    """One training run in the common frame.

    Attributes:
        id: short name, unique within a report, derived from the path.
        path: what was read, relative to what the user gave where possible.
        adapter: name of the adapter that read it.
        curves: canonical metric name (``diag.vocabulary.METRICS``, or the native name) to its Curve.
        hyperparameters: canonical name to Hyperparameter.
        dialect: name of the config dialect that overrides are written in (``hf``, ``automodel``, …, ``generic``).
        notes: one-line remarks about the reading (truncated tail, other formats found, …).
        overlaps: where a resumed run logged the same steps again.
        events: lines of a console log that say something went wrong.
        checkpoints: saved models that the log or the folder names, by step.
        planned_steps: optimizer steps the run was configured for, None if unknown.
        finished: True if the log says that training ended by itself, False if it says it was cut off, None if unknown.
        native_names: canonical metric name to the name it was logged under.
        root: absolute folder of the run on this machine, "" for remote runs.
        files: absolute paths of the files it was read from, in reading order; () for remote runs.
        config: every key of the run's configuration under its native name, nested keys joined by dots.
        ongoing: whether it is to be judged as one that still goes on; said by who follows it, never by an adapter.
        origins: where trackers keep it; several where one training was logged to several.
    """

    id: str
    path: str
    adapter: str
    curves: dict[str, Curve]
    hyperparameters: dict[str, Hyperparameter] = field(default_factory=dict)
    dialect: str = "generic"
    notes: list[str] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    events: list[LogEvent] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    planned_steps: int | None = None
    finished: bool | None = None
    native_names: dict[str, str] = field(default_factory=dict)
    root: str = ""
    files: tuple[str, ...] = ()
    config: dict[str, Hyperparameter] = field(default_factory=dict)
    ongoing: bool = False
    origins: list[Origin] = field(default_factory=list)

    def curve(self, metric: str) -> Curve | None:
        """The Curve of a canonical (or native) metric name, None if it was not logged."""
        return self.curves.get(metric)

    @property
    def steps(self) -> int:
        """The last optimizer step that was logged, 0 for an empty run."""
        return max((int(c.step[-1]) for c in self.curves.values() if len(c)), default=0)

    @property
    def logged_epochs(self) -> float | None:
        """The last fractional epoch that was logged, None if none above zero was."""
        last = max((float(np.nanmax(c.epoch)) for c in self.curves.values() if bool(np.isfinite(c.epoch).any())), default=0.0)
        return last if last > 0 else None

    def hyperparameter(self, name: str) -> Any:
        """The value of a canonical hyperparameter, None if it is not known."""
        entry = self.hyperparameters.get(name)
        return None if entry is None else entry.value

    def eval_losses(self) -> Iterator[tuple[str, Curve]]:
        """Every evaluation loss, ``eval/loss`` first, then ``eval/<name>/loss`` in name order."""
        if (plain := self.curves.get("eval/loss")) is not None and len(plain):
            yield "eval/loss", plain
        for name in sorted(self.curves):
            if name != "eval/loss" and name.startswith("eval/") and name.endswith("/loss") and len(self.curves[name]):
                yield name, self.curves[name]

    @cached_property
    def history(self) -> pd.DataFrame:
        """The common frame: long, one row an observation, sorted by step and metric.

        Columns: step int64, metric categorical str, value float64, epoch float64, wall_time float64.
        """
        import pandas as pd

        names = sorted(self.curves)
        curves = [self.curves[name] for name in names]
        codes = np.repeat(np.arange(len(names)), [len(curve) for curve in curves])

        def column(attribute: str, dtype: type) -> npt.NDArray[Any]:
            return np.concatenate([getattr(curve, attribute) for curve in curves] or [np.empty(0)]).astype(dtype)

        step = column("step", np.int64)
        order = np.lexsort((codes, step))
        return pd.DataFrame(
            {
                "step": step[order],
                "metric": pd.Categorical.from_codes(codes[order], categories=pd.Index(names, dtype=object)),
                "value": column("value", np.float64)[order],
                "epoch": column("epoch", np.float64)[order],
                "wall_time": column("wall_time", np.float64)[order],
            }
        )


def make_curves(
    columns: Mapping[str, Column], canonical: Iterable[tuple[str, str]]
) -> tuple[dict[str, Curve], list[Overlap], dict[str, str]]:
    """Curves under their canonical names.

    Whether the rows are in order is told by the column with the most of them, for all columns: a few evaluations in a
    shuffled file may well step backwards only once, as they do where a run was resumed.

    Args:
        columns: native metric name to its Column.
        canonical: ``(native, canonical)`` pairs, as ``diag.adapters.aliases.canonical_names`` gives them.

    Returns:
        The curves, the overlaps found, and the canonical-to-native name map.
    """
    curves: dict[str, Curve] = {}
    overlaps: list[Overlap] = []
    native_names: dict[str, str] = {}
    longest = max(columns.values(), key=lambda column: len(column.step), default=None)
    shuffled = longest is not None and is_shuffled(longest)
    for native, name in canonical:
        curve, jumps = make_curve(columns[native], shuffled=shuffled)
        if not len(curve):
            continue
        curves[name] = curve
        native_names[name] = native
        overlaps.extend(Overlap(name, start, end) for start, end in jumps)
    return curves, overlaps, native_names
