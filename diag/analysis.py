"""The whole line in one call: paths to runs, findings, a diagnosis, a prescription, a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from diag.choices import checked_codes, choose
from diag.errors import DiagError, UsageError
from diag.result import Problem, Report, RunReport, sort_findings
from diag.run import Hyperparameter, Run
from diag.vocabulary import INCONCLUSIVE, METHODS

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from diag import loading
    from diag.check import Finding
    from diag.replayed import Replayed

T = TypeVar("T")
Sift = Callable[[list["Finding"]], list["Finding"]]
"""Chooses the findings that count, of those that the checks came to."""
Progress = Callable[[int, int, str], None]
"""Called after each file read and each run judged: how many are done, how many are known, and which one it was."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user decided about an analysis; travels to worker processes."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    context: tuple[tuple[str, Any], ...] = ()
    dialect: str | None = None
    profile: str | None = None
    replayed: Replayed | None = None
    thresholds: tuple[tuple[str, float], ...] = ()


def analyze(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    adapter: str | None = None,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    method: str | None = None,
    model_parameters: float | None = None,
    dataset_size: int | None = None,
    dialect: str | None = None,
    profile: str | None = None,
    tracking_uri: str | None = None,
    whole_runs: bool = False,
    replayed: str | os.PathLike[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
    settings_of: Callable[[Run], Settings] | None = None,
) -> Report:
    """Say what went wrong in training runs, why, and what to change.

    Args:
        path: a log file, the folder of a run, a folder of many runs, a URI, or a list of these. Files of one run are judged
            together, and what is named twice once.
        adapter: read only with this adapter.
        select: codes of checks, or their beginnings, to run; all if empty.
        ignore: codes of checks, or their beginnings, to leave out; where both match, the longer wins.
        method: how the model was trained, one of ``diag.vocabulary.METHODS``; overrides what the logs say.
        model_parameters: parameters of the model.
        dataset_size: training samples.
        dialect: framework to write the changes for; by default the one that the run's config is written in.
        profile: how boldly to change things: ``conservative``, ``balanced``, ``aggressive``, or the name of one guide
            (``diag.guides.SOURCES``); by default the guide of the run's own framework, else ``balanced``.
        tracking_uri: MLflow server or store to read from.
        whole_runs: a file stands for the whole run that it belongs to, as it lies in its folder, not for itself alone.
        replayed: result of a ``diag replay`` of one of the runs, or its folder: its causes are ranked anew by it.
        thresholds: numbers of checks to judge by, by ``CODE.name`` (``{"OVF001.problem": 0.08}``); the check's page lists them.
        jobs: runs to analyze at a time, in processes of their own if more than 1.
        on_progress: called after each file read and each run judged.
        settings_of: gives every run settings of its own, in place of those that the arguments make; see ``checked``.

    Returns:
        A Report; runs are in the order of the paths, then of their names. What could not be read is among its problems.

    Raises:
        UsageError: an argument is wrong.
        InputError: one path was given and nothing there could be read; with several it becomes a problem of the report.
        NothingToJudgeError: one path was given and there is no run.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise UsageError("no path was given")
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; it must be at least 1")
    settings = checked(select, ignore, method, model_parameters, dataset_size, dialect, profile, thresholds)
    if replayed is not None:
        settings = replace(settings, replayed=_replayed(replayed))
    with _Workers(jobs) as workers:
        runs, problems = _load(paths, adapter, tracking_uri, whole_runs, workers, progress := _Counter(on_progress))
        problems += _broken_plugins()
        judged: list[RunReport] = []
        if settings.replayed is not None and not any(settings.replayed.is_of(run.id, run.path) for run in runs):
            raise UsageError(f"{settings.replayed.file} is a replay of {settings.replayed.path}, which is not among the runs")
        decided = [settings if settings_of is None else replace(settings_of(run), replayed=settings.replayed) for run in runs]
        progress.expect(len(runs))
        for run, (report, crashes) in zip(runs, workers.map(_judge, list(zip(runs, decided, strict=True))), strict=True):
            judged.append(report)
            problems += crashes
            progress.step(run.id)
    return Report(tuple(judged), tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.path, p.kind, p.message))))


def checked(
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    method: str | None = None,
    model_parameters: float | None = None,
    dataset_size: int | None = None,
    dialect: str | None = None,
    profile: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Settings:
    """Settings of which every value is possible; the arguments are those of ``analyze``.

    Raises:
        UsageError: one is not.
    """
    return Settings(
        select=_checked_codes(select),
        ignore=_checked_codes(ignore),
        context=_context(method, model_parameters, dataset_size),
        dialect=_checked_dialect(dialect),
        profile=_checked_profile(profile),
        thresholds=_checked_thresholds(thresholds),
    )


def _load(
    paths: Sequence[str | os.PathLike[str]],
    adapter: str | None,
    tracking_uri: str | None,
    whole_runs: bool,
    workers: _Workers,
    progress: _Counter,
) -> tuple[list[Run], list[Problem]]:
    """The runs at every path, with unique ids, and what could not be read.

    Raises:
        DiagError: there is one path, and nothing could be read there.
    """
    from diag.gathering import gather
    from diag.loading import attempt, problem_of, settle

    groups, unread = gather(paths, adapter=adapter, tracking_uri=tracking_uri, whole_runs=whole_runs)
    problems = [_problem(problem, True) for problem in unread]
    progress.expect(sum(len(group.sources) for group in groups))
    runs: list[Run] = []
    for group in groups:
        others: list[loading.Problem] = []
        readings = []
        for source, reading in zip(group.sources, workers.map(attempt, group.sources), strict=True):
            readings.append(reading)
            progress.step(source.uri or source.root.name)
        if group.named and len(paths) > 1:  # each is a problem of its own
            others = [*group.problems, *(reading.problem for reading in readings if reading.problem is not None)]
            readings = [reading for reading in readings if reading.problem is None]
            group.problems = []
        try:
            if readings or not others:
                runs += settle(readings, group.base, named=group.named, problems=group.problems, on_problem=others.append)
        except DiagError as error:
            if len(paths) == 1:
                raise
            problems.append(_problem(problem_of(group.base, error), True))
        problems += [_problem(problem, group.named) for problem in others]
    seen: dict[str, int] = {}
    for run in runs:
        seen[run.id] = seen.get(run.id, 0) + 1
        if seen[run.id] > 1:
            run.id = f"{run.id}#{seen[run.id]}"
    return runs, problems


def _problem(problem: loading.Problem, named: bool) -> Problem:
    kind = "crash" if problem.crashed else "input"
    return Problem(kind, problem.path, _without(problem.path, problem.message), named, problem.absent)


def _without(path: str, message: str) -> str:
    """The message on one line, without the path it may begin with."""
    return " ".join(message.removeprefix(f"{path}: ").split())


class _Counter:
    """Counts what is done of what is expected, and tells the caller."""

    def __init__(self, report: Progress | None) -> None:
        self._report = report
        self._done = 0
        self._total = 0

    def expect(self, count: int) -> None:
        self._total += count

    def step(self, name: str) -> None:
        self._done += 1
        if self._report is not None:
            self._report(self._done, self._total, name)


class _Workers:
    """Maps a function over items in order: in this process, or in ``jobs`` worker processes."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Workers:
        return self

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Results in the order of the items."""
        if self._jobs == 1 or len(items) < 2:
            return map(function, items)
        if self._pool is None:
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # spawn: a forked child of a process with threads (a progress bar, a notebook) can deadlock
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn"), initializer=_start_worker)
        return self._pool.map(function, items)

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=error[0] is None, cancel_futures=True)


def _start_worker() -> None:
    """Let an interrupt end a worker at once and quietly; the parent reports it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _judge(pair: tuple[Run, Settings]) -> tuple[RunReport, list[Problem]]:
    return judge(*pair)


def judge(run: Run, settings: Settings = Settings(), *, sift: Sift | None = None) -> tuple[RunReport, list[Problem]]:
    """Examine, diagnose and prescribe for one run that was read already.

    A crash of one part is a bug; it becomes a problem, and the other parts still say what they can.

    Args:
        run: the run.
        settings: what the user decided.
        sift: what to conclude from, of all that was found; everything if None.
    """
    from diag.battery import examine
    from diag.diagnosis import Diagnosis, diagnose
    from diag.dialects import render
    from diag.guides import default_profile
    from diag.prescription import Fix, best_checkpoint, prescribe

    for name, value in settings.context:
        run.hyperparameters[name] = Hyperparameter(value, "user")
    written_in = run.dialect
    if settings.dialect is not None:
        run.dialect = settings.dialect
    problems: list[Problem] = []

    def guarded(what: str, call: Callable[[], T], otherwise: T) -> T:
        try:
            return call()
        except Exception as error:
            if wants_traceback():
                raise
            problems.append(_crash(run, what, f"{type(error).__name__}: {error}"))
            return otherwise

    profile = settings.profile or default_profile(run.dialect)
    if settings.thresholds and (note := _judged_by(settings.thresholds)) not in run.notes:
        run.notes.append(note)
    findings, skipped, crashes, examined = examine(run, settings.select, settings.ignore, settings.thresholds)
    findings = findings if sift is None else sift(findings)
    problems += [_crash(run, f"check {crash.code}", crash.error) for crash in crashes]
    unknown = Diagnosis(INCONCLUSIVE, 0.0)
    diagnosis = guarded("the diagnosis", lambda: diagnose(run, findings), unknown) if examined or crashes else unknown
    replayed = settings.replayed if settings.replayed is not None and settings.replayed.is_of(run.id, run.path) else None
    if replayed is not None:
        diagnosis = replayed.rediagnose(diagnosis)
    no_fixes: tuple[Fix, ...] = ()
    fixes = guarded("the prescription", lambda: tuple(prescribe(run, diagnosis, findings, profile=profile)), no_fixes)
    spoken = run if "generic" in (written_in, run.dialect) or written_in == run.dialect else _without_keys(run)
    overrides = guarded(f"dialect {run.dialect}", lambda: render(run.dialect, spoken, fixes) if fixes else None, None)
    report = RunReport(
        run=run,
        findings=sort_findings(findings),
        skipped=tuple(sorted((skip.code, skip.reason) for skip in skipped)),
        diagnosis=diagnosis,
        best_checkpoint=best_checkpoint(run),
        fixes=fixes,
        overrides=overrides,
        replayed=replayed,
        examined=tuple(examined),
    )
    return report, problems


def _without_keys(run: Run) -> Run:
    """The run without the keys of its config, which are those of another framework than changes are to be written for."""
    return replace(run, config={}, hyperparameters={name: entry._replace(key="") for name, entry in run.hyperparameters.items()})


def _judged_by(changed: Iterable[tuple[str, float]]) -> str:
    """Which numbers of checks the user set, for the notes: a report says by what it was judged."""
    from diag.battery import thresholds
    from diag.text import show

    return "judged with " + ", ".join(f"{key} {show(value)} (default {show(thresholds()[key].value)})" for key, value in changed)


def _broken_plugins() -> list[Problem]:
    """Plug-ins that cannot be used: what they would have said is missing, which no gate may pass over."""
    from diag import battery, dialects

    return [Problem("crash", entry.point.value, entry.message) for entry in (*battery.broken(), *dialects.broken())]


def _crash(run: Run, what: str, error: str) -> Problem:
    return Problem("crash", run.path, " ".join(f"{what} crashed: {error}".split()))


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks: ``DIAG_DEBUG`` is set (the command line's ``--debug`` sets it)."""
    return os.environ.get("DIAG_DEBUG", "") not in ("", "0")


def _checked_codes(prefixes: Iterable[str]) -> tuple[str, ...]:
    wanted = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    if not wanted:
        return ()
    from diag.battery import checks

    return checked_codes(wanted, [check.code for check in checks()])


def _checked_thresholds(values: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    if not values:
        return ()
    from diag.battery import checked_thresholds

    return tuple(checked_thresholds(values).items())


def _checked_dialect(name: str | None) -> str | None:
    if name is None:
        return None
    from diag import plugins
    from diag.dialects.table import signatures

    return choose("dialect", name, sorted({*plugins.points("diag.dialects"), *(dialect for dialect, _, _ in signatures())}))


def _checked_profile(name: str | None) -> str | None:
    if name is None:
        return None
    from diag.guides import PROFILES, SOURCES

    return choose("profile", name, (*PROFILES, *SOURCES))


def _replayed(file: str | os.PathLike[str]) -> Replayed:
    from diag.replayed import read

    return read(os.fspath(file))


def _context(method: str | None, model_parameters: float | None, dataset_size: int | None) -> tuple[tuple[str, Any], ...]:
    """What the user says about the run, as pairs of hyperparameter and value.

    Raises:
        UsageError: a value is impossible.
    """
    if method is not None:
        choose("method", method, METHODS)
    for name, number in (("model_parameters", model_parameters), ("dataset_size", dataset_size)):
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{name} is {number}; it must be a positive number")
    values = {
        "method": method,
        "model_parameters": None if model_parameters is None else float(model_parameters),
        "dataset_size": dataset_size if dataset_size is None else int(dataset_size),
    }
    return tuple((name, value) for name, value in values.items() if value is not None)
