"""Writing a run's verdict to where the run was logged: MLflow, W&B or TensorBoard; only ever when asked.

One module a target, named like its library, its extra and the adapter that reads its runs, with a function
``write(entry, origin, fail_on) -> str`` that writes and says where to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from diag.errors import DiagError, InputError, MissingExtraError, UsageError
from diag.result import Problem
from diag.text import nearest, without_credentials
from diag.vocabulary import ERROR

if TYPE_CHECKING:
    from diag.result import Report, RunReport
    from diag.run import Origin

NAMES = {"mlflow": "MLflow", "wandb": "W&B", "tensorboard": "TensorBoard"}
"""The targets, and how they are called."""
LONGEST_MESSAGE = 300
"""Characters of a library's error message that are shown."""


@dataclass(frozen=True, slots=True)
class Written:
    """A verdict that was written.

    Attributes:
        run: path of the run in the report.
        place: where to, for people.
    """

    run: str
    place: str


def check(target: str) -> str:
    """The name of a target: of ``mlflow``, ``wandb`` and ``tensorboard`` themselves, or of a URI that one of them reads.

    Raises:
        UsageError: it is neither.
    """
    if target in NAMES:
        return target
    scheme, colon, _ = target.partition(":")
    name = scheme.lower().partition("+")[0]
    if colon and name in ("mlflow", "wandb"):
        return name
    raise UsageError(f"cannot write back to {target!r}{nearest(target, NAMES)}; there are: {', '.join(NAMES)}, and the URI of a run")


def write_back(
    report: Report, targets: Sequence[str], *, tracking_uri: str | None = None, fail_on: str = ERROR
) -> Iterator[Written | Problem]:
    """Write the verdict of every run to every target, and tell what came of each as soon as it is done.

    Args:
        report: what ``diag.analyze`` returned.
        targets: names of targets, each run is then written to where it was logged; or URIs of a run such as ``mlflow:RUN_ID``, to
            write a report of a single run there, wherever it was read.
        tracking_uri: MLflow server or store, for ``mlflow:`` URIs.
        fail_on: the gate, which the JSON report tells the result of.

    Raises:
        UsageError: there is no such target.
    """
    for target in dict.fromkeys(targets):
        name = check(target)
        try:
            _require(name)
            named = None if target in NAMES else _named(target, report, tracking_uri)
        except DiagError as error:
            yield Problem("input", without_credentials(target), str(error))
            continue
        write = import_module(f"diag.writeback.{name}").write
        for entry in report.runs:
            origins = named if named is not None else [origin for origin in entry.run.origins if origin.adapter == name]
            if not origins:
                advice = f" (--write-back {name}:RUN_ID names the run to write to)" if name == "mlflow" else ""
                yield Problem("input", entry.run.path, f"was not read from {NAMES[name]}, so it cannot be written there{advice}")
            for origin in origins:
                yield _attempt(write, entry, origin, fail_on)


def _require(name: str) -> None:
    """Check that a target's library is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        installed = find_spec(name) is not None
    except ValueError:  # an import that was blocked
        installed = False
    if not installed:
        raise MissingExtraError(NAMES[name], name, name, "writing back")


def _named(uri: str, report: Report, tracking_uri: str | None) -> list[Origin]:
    """The one run that a URI names, to write a report of one run to.

    Raises:
        DiagError: it names none or several, or there are several to write.
    """
    from diag.loading import load

    if len(report.runs) != 1:
        raise UsageError(f"names one run, but {len(report.runs)} were analyzed")
    origins = [origin for run in load(uri, tracking_uri=tracking_uri) for origin in run.origins]
    if len(origins) != 1:
        raise UsageError(f"stands for {len(origins)} runs; name one of them")
    return origins


def _attempt(write: Callable[[RunReport, Origin, str], str], entry: RunReport, origin: Origin, fail_on: str) -> Written | Problem:
    from diag.analysis import wants_traceback

    try:
        return Written(entry.run.path, write(entry, origin, fail_on))
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f"{origin.place}: cannot be written ({error.strerror or error}); check its permissions"
    except Exception as error:  # the libraries raise errors of all kinds
        if wants_traceback():
            raise
        first = str(error).strip().partition("\n")[0]
        message = f"{NAMES[origin.adapter]} took no verdict for {origin.id or origin.place} ({type(error).__name__}: {first})"
    line = " ".join(without_credentials(message).split())
    return Problem("input", entry.run.path, line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…")
