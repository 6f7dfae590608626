"""Weights & Biases: local run folders, offline or synced, read without the library; remote runs through its public API.

A local run is ``run-<time>-<id>`` (or ``offline-run-…``) with ``run-<id>.wandb`` in it; a resumed run has several folders
with the same id. Synced runs of old versions may have left only ``files/config.yaml`` and ``files/wandb-summary.json``.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.adapters import Folder, Source, relative, tolerant_json
from diag.adapters.aliases import canonical_names
from diag.adapters.records import (
    EPOCH_KEYS,
    STEP,
    STEP_KEYS,
    Records,
    add_detection_totals,
    filled,
    fractional_epochs,
    interpolated,
    is_loss,
    is_reward,
    numbers_in,
    to_columns,
    unrolled,
    wall_times,
    whole,
)
from diag.adapters.table_steps import first_offset, training_rows
from diag.errors import InputError, MissingExtraError
from diag.run import FloatArray, IntArray, Origin, Run, make_curves

if TYPE_CHECKING:
    from diag.adapters.wandb_records import Log

SCHEME: Final = "wandb"
OWN_PREFIX: Final = "diag/"
"""How the keys of a summary begin that ``--write-back`` wrote: they are a verdict on the run, nothing that it logged."""
PAGE: Final = 2000
"""History rows asked for in one request to the server."""
TIMEOUT: Final = 30
"""Seconds to wait for an answer of the server."""
CO_LOGGED: Final = 0.5
"""Share of training records that must carry a step key for it to be taken as given with them rather than beside them."""
BACKWARD: Final = 0.02
"""Share of records at which a step counter may go back (resumes); a key that does so more often counts something else."""

_FOLDER: Final = re.compile(r"(?:offline-)?run-(?P<time>\d{8}_\d{6})-(?P<id>.+)")
_LIGHTNING_STEP: Final = "trainer/global_step"
_UNREACHABLE: Final = (
    *("failed to execute api request", "connect", "network", "resolve", "timed out", "timeout"),
    *("unreachable", "proxy", "ssl"),
)
_NO_LOGIN: Final = ("api_key", "api key", "login", "log in", "unauthorized", "401", "authentic")
_NOT_FOUND: Final = ("not find", "not found", "404", "permission", "403")
"""Words of the library's and the server's error messages, in lower case."""
_SIDE_FILES: Final = ("config.yaml", "wandb-summary.json", "output.log")
_AUTOMODEL: Final = frozenset({"tps", "mem", "num_label_tokens"})


class WandbAdapter:
    """Reads ``.wandb`` files, run folders without one, and ``wandb://entity/project/run``."""

    name = "wandb"
    fidelity = 50
    schemes: tuple[str, ...] = (SCHEME,)

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a run id: the folder itself where it is a run's, and the run folders in it."""
        logs = [name for name in folder.files if name.endswith(".wandb")]
        if len(logs) > 1:  # files gathered from many runs
            yield from (Source(self.name, folder.path, (folder.path / name,)) for name in logs)
            return
        if logs or _FOLDER.fullmatch(folder.path.name):
            if files := _files_of(folder.path, folder.files):
                yield Source(self.name, folder.path, tuple(files))
            return
        runs: dict[str, list[Path]] = {}
        for name in folder.folders:
            if (match := _FOLDER.fullmatch(name)) and not (folder.path / name).is_symlink():
                runs.setdefault(match["id"], []).append(folder.path / name)
        for paths in runs.values():
            paths.sort(key=lambda path: (_time(path), path.name))
            files = [file for path in paths for file in _files_of(path, _names(path))]
            if files:
                yield Source(self.name, paths[-1], tuple(files))

    def find_file(self, path: Path) -> Source | None:
        """The source for a ``.wandb`` file, or for a summary in a run folder that has no such file."""
        if path.suffix == ".wandb":
            return Source(self.name, path.parent, tuple(_files_of(path.parent, [path.name])) or (path,))
        if path.name == "wandb-summary.json" and path.parent.name == "files":
            return Source(self.name, path.parent.parent, tuple(_files_of(path.parent.parent, _names(path.parent.parent))))
        return None

    def find_uri(self, uri: str, tracking_uri: str | None = None) -> Source:
        """The source for ``wandb://entity/project/run``.

        Raises:
            InputError: the URI does not name entity, project and run.
        """
        del tracking_uri
        parts = [part for part in uri.partition(":")[2].strip("/").split("/") if part and part != "runs"]
        if len(parts) != 3:
            raise InputError(uri, "does not name a W&B run", "write wandb://ENTITY/PROJECT/RUN_ID")
        return Source(self.name, Path(), (), uri, (("run", "/".join(parts)),))

    def read(self, source: Source) -> list[Run]:
        """The run.

        Raises:
            InputError: nothing of it can be read.
            MissingExtraError: a URI was given and wandb is not installed.
        """
        if source.uri:
            return [_remote(source.uri, dict(source.options)["run"])]
        return [_local(source)]


ADAPTER: Final = WandbAdapter()


# --- local runs --------------------------------------------------------------------------------------------------


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _time(folder: Path) -> str:
    match = _FOLDER.fullmatch(folder.name)
    return match["time"] if match else ""


def _files_of(folder: Path, names: Iterable[str]) -> list[Path]:
    """The ``.wandb`` file of a run folder and the files beside it that tell something of the run."""
    logs = sorted(name for name in names if name.endswith(".wandb"))
    files = [folder / name for name in logs[:1]]
    side = [folder / "files" / name for name in _SIDE_FILES if name in _names(folder / "files")]
    return files + side if files or any(path.name != "output.log" for path in side) else []


def _local(source: Source) -> Run:
    from diag.adapters.wandb_records import read_log

    logs: list[tuple[Path, Log]] = []
    notes: list[str] = []
    failure: InputError | None = None
    for path in source.files:
        if path.suffix != ".wandb":
            continue
        try:
            log = read_log(tolerant_json.read_bytes(path))
        except InputError as error:
            failure = failure or error
            notes.append(f"{path.name} was passed over: {error.problem}")
        except ValueError as error:
            failure = failure or InputError(path, f"is not a W&B run file ({error})", "name the run-<id>.wandb file or its folder")
            notes.append(f"{path.name} was passed over: {error}")
        else:
            notes.extend(f"{path.name}: {note}" for note in log.notes)
            logs.append((path, log))
    side = [path for path in source.files if path.suffix != ".wandb"]
    if failure is not None and not logs and not any(path.name == "wandb-summary.json" for path in side):
        raise failure
    history, config, step_metrics = _joined([log for _, log in logs])
    if not history.rows:
        history = _summary(side)
        notes.append(_without_history(bool(logs), bool(history.columns), side))
    place = logs[-1][0] if logs else side[0]
    run = _run(history, step_metrics, notes)
    run.path, run.root = str(place), str(source.root)
    if logs:
        run.origins = [Origin(ADAPTER.name, str(place.absolute()), logs[-1][1].run_id)]
        run.finished = _ending(logs[-1][1], run.notes)
    _configure(run, config, relative(place, source.root))
    if not config:
        _configure_from_file(run, side, source.root)
    _console(run, [log.console for _, log in logs], side, source.root)
    return run


def _joined(logs: Sequence[Log]) -> tuple[Records, dict[str, Any], dict[str, str]]:
    """The records of a run's launches, one after the other; a launch that counted from 0 again continues at its starting step."""
    history, config, step_metrics = Records(), {}, {}
    for log in logs:
        if STEP in log.history.columns and log.starting_step > 0:
            at, values = log.history.columns[STEP]
            if values.size and float(values.min()) < log.starting_step:
                log.history.columns[STEP] = at, values + log.starting_step
        history.append(log.history)
        config.update(log.config)
        step_metrics.update(log.step_metrics)
    return history, config, step_metrics


def _ending(log: Log, notes: list[str]) -> bool | None:
    if log.exit_code is None:
        notes.append("the run has no exit record: it was killed, or is still running")
        return None
    if log.exit_code:
        notes.append(f"the run ended with exit code {log.exit_code}")
    return log.exit_code == 0


def _without_history(has_log: bool, has_summary: bool, side: Sequence[Path]) -> str:
    if has_log:
        return "the run logged no history" + ("; the final values of wandb-summary.json were used" if has_summary else "")
    found = ", ".join(path.name for path in side)
    return f"the folder has no .wandb file with the history, only {found}: sync it again or use wandb://ENTITY/PROJECT/RUN_ID"


def _summary(side: Sequence[Path]) -> Records:
    """The final values that a synced run keeps, as one record."""
    path = next((path for path in side if path.name == "wandb-summary.json"), None)
    if path is None:
        return Records()
    try:
        summary, _ = tolerant_json.load(path)
    except InputError:
        return Records()
    if not isinstance(summary, dict):
        return Records()
    return records_of([{key: value for key, value in summary.items() if not str(key).startswith(OWN_PREFIX)}])


def records_of(rows: Iterable[Mapping[str, Any]]) -> Records:
    """Records of history rows given as mappings."""
    columns: dict[str, tuple[list[int], list[float]]] = {}
    total = 0
    for row, record in enumerate(rows):
        total = row + 1
        for key, value in record.items():
            if key == "_wandb":
                continue
            for name, number in numbers_in(value, str(key), 0):
                at, values = columns.setdefault(name, ([], []))
                at.append(row)
                values.append(number)
    return Records(total, {key: (np.array(at, dtype=np.int64), np.array(values)) for key, (at, values) in columns.items()})


def _configure(run: Run, config: Mapping[str, Any], file: str, lines: Mapping[str, int] | None = None) -> None:
    if not config:
        return
    from diag import configs

    configs.record(run, config, file=file, lines=lines)
    planned = run.hyperparameter("max_steps")
    if isinstance(planned, int) and planned > 0:
        run.planned_steps = planned


def _configure_from_file(run: Run, side: Sequence[Path], root: Path) -> None:
    path = next((path for path in side if path.name == "config.yaml"), None)
    if path is None:
        return
    from diag import config_files

    flat, lines, problem = config_files.load(path)
    if problem:
        run.notes.append(f"{relative(path, root)} {problem}")
    own = {key: value for key, value in flat.items() if key != "wandb_version" and not key.startswith("_wandb.")}
    _configure(run, own, relative(path, root), lines)


def _console(run: Run, captured: Sequence[str], side: Sequence[Path], root: Path) -> None:
    """Crash lines of the captured console; its metrics too where the history has neither a loss nor a reward."""
    from diag.adapters import console_events, console_log, console_text

    path = next((path for path in side if path.name == "output.log"), None)
    text, file = "\n".join(captured), "console output"
    if not text.strip():
        if path is None:
            return
        try:
            text, file = tolerant_json.decode(tolerant_json.read_bytes(path))[0], relative(path, root)
        except InputError:
            return
    run.events = [replace(event, file=file) for event in console_events.find_events(text)]
    if any(is_loss(name) or is_reward(name) for name in run.curves):
        return
    printed = console_log.make_run(console_log.parse(console_text.clean(text)), path or root, root)
    if any(is_loss(name) or is_reward(name) for name in printed.curves):
        run.curves.update({name: curve for name, curve in printed.curves.items() if name not in run.curves})
        run.native_names.update({name: native for name, native in printed.native_names.items() if name not in run.native_names})
        run.notes.append("the history has no loss; metrics were read from the captured console output")


# --- from history to curves --------------------------------------------------------------------------------------


def _run(history: Records, step_metrics: Mapping[str, str], notes: list[str]) -> Run:
    add_detection_totals(history, notes)
    time_key, wall_time = wall_times(history)
    step_key, step = steps(history, step_metrics, notes)
    epoch_key = history.find(EPOCH_KEYS)
    epoch = None
    if epoch_key:
        logged = history.full(epoch_key)
        epoch = interpolated(step, fractional_epochs(step, logged))
    skip = {key for key in (time_key, step_key, epoch_key, STEP) if key}
    columns = to_columns(history, step, epoch, wall_time, skip)
    curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
    return Run(id="", path="", adapter=ADAPTER.name, curves=curves, overlaps=overlaps, native_names=native_names, notes=notes)


def steps(history: Records, step_metrics: Mapping[str, str], notes: list[str]) -> tuple[str | None, IntArray]:
    """The key that counts optimizer steps (None for the number of the record), and the steps completed at each record.

    Axes named by ``define_metric`` and the counters of the training libraries come before ``_step``, which only counts
    ``log`` calls unless the script gave it.
    """
    training = training_rows(history)
    for key in _candidates(history, step_metrics):
        counted = history.full(key)
        given = np.isfinite(counted)
        own = key in step_metrics.values() or key == STEP
        if not whole(counted) or (not own and _goes_back(counted[given])):
            continue
        share = float(given[training].mean()) if training.size else 1.0
        if share < CO_LOGGED:  # logged beside the metrics, not with them
            if key != STEP and not _alternates(given, training) and (share == 0 or not own):
                continue
            if int(training[0]) < int(np.argmax(given)):
                counted = _filled_backwards(counted)
        step = np.round(filled(counted)).astype(np.int64)
        return key, _completed(history, key, step, training, notes)
    if history.rows > 1:
        notes.append("steps are records: the history has no step")
    return None, np.arange(1, history.rows + 1, dtype=np.int64)


def _candidates(history: Records, step_metrics: Mapping[str, str]) -> list[str]:
    keys = {key.lower(): key for key in reversed(history.columns)}
    named = [name for name in step_metrics.values() if name in history.columns and name.lower() not in EPOCH_KEYS and name != STEP]
    known = [keys[name] for name in STEP_KEYS if name in keys]
    return list(dict.fromkeys(named + known))


def _goes_back(counted: FloatArray) -> bool:
    back = int((np.diff(counted) < 0).sum())
    return counted.size < 2 or back > max(1, BACKWARD * counted.size) or float(counted.max()) == float(counted.min())


def _alternates(given: Any, training: IntArray) -> bool:
    """Whether step and metrics come in records of their own, one of each in turn."""
    return bool(training.size) and abs(int(given.sum()) - training.size) <= max(1, CO_LOGGED * training.size)


def _filled_backwards(values: FloatArray) -> FloatArray:
    return np.asarray(filled(values[::-1])[::-1], dtype=np.float64)


def _completed(history: Records, key: str, step: IntArray, training: IntArray, notes: list[str]) -> IntArray:
    """Steps completed: counted from 1, and not in ``log`` calls where each step took several of them."""
    if key == _LIGHTNING_STEP or (key == "step" and len(_AUTOMODEL & set(history.columns)) > 1):
        return np.maximum(step + 1, 0)
    if key == STEP:
        calls = _calls_a_step(step, training)
        if calls > 1:
            notes.append(f"_step counts log calls, {calls} for each training step; steps were divided by that")
            return step // calls + 1
    elif (epoch_key := history.find(EPOCH_KEYS)) and (running := unrolled(step, history.full(epoch_key))) is not None:
        notes.append(f"{key} starts again in every epoch; it was counted on")
        step = running
    return np.maximum(step + first_offset(step, training), 0)


def _calls_a_step(step: IntArray, training: IntArray) -> int:
    """Log calls for each training record where ``_step`` is the bare number of the call and they are equally spaced; else 1."""
    if training.size < 3 or not np.array_equal(step, np.arange(step.size)):
        return 1
    gaps = np.diff(step[training])
    calls = int(gaps[0])
    return calls if calls > 1 and bool((gaps == calls).all()) else 1


# --- remote runs -------------------------------------------------------------------------------------------------


def _remote(uri: str, path: str) -> Run:
    """A run on a W&B server, its whole history (``Run.history`` would give a sample of 500 rows)."""
    try:
        import wandb
    except ImportError:
        raise MissingExtraError(uri, "wandb", "wandb") from None
    try:
        with no_questions():
            remote = wandb.Api(timeout=TIMEOUT).run(path)
        history = records_of(remote.scan_history(page_size=PAGE))
        config, state, name = dict(remote.config), str(remote.state), str(remote.name or "")
    except Exception as error:  # the library raises errors of requests, of GraphQL and of its own
        raise remote_error(uri, error) from None
    notes = [] if history.rows else ["the run logged no history"]
    run = _run(history, {}, notes)
    run.path, run.id = uri, name or path.rpartition("/")[2]
    run.origins = [Origin(ADAPTER.name, f"{SCHEME}://{path}", path.rpartition("/")[2])]
    run.finished = {"finished": True, "crashed": False, "failed": False, "killed": False}.get(state)
    _configure(run, {key: value for key, value in config.items() if key != "_wandb"}, uri)
    return run


@contextmanager
def no_questions() -> Iterator[None]:
    """Keep the library from asking for a login on a terminal."""
    stdin = sys.stdin
    sys.stdin = io.StringIO()
    try:
        yield
    finally:
        sys.stdin = stdin


def remote_error(uri: str, error: Exception) -> InputError:
    """What an error of the library means for the user."""
    text = " ".join(str(error).split())
    lowered = f"{type(error).__name__} {text}".lower()
    if any(words in lowered for words in _UNREACHABLE):
        return InputError(uri, "the W&B server cannot be reached", "check the network and WANDB_BASE_URL, or read the local run folder")
    if any(words in lowered for words in _NO_LOGIN):
        return InputError(uri, "needs a W&B login", "run: wandb login, or set WANDB_API_KEY")
    if any(words in lowered for words in _NOT_FOUND):
        return InputError(uri, "was not found on the W&B server, or this account may not see it", "check entity, project and run id")
    return InputError(uri, f"the W&B server gave no run ({text[:200] or type(error).__name__})")
