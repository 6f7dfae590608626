"""The battery: which checks there are, which apply to a run, and what they found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from diag import plugins
from diag.check import Check, Finding, Skip, Threshold
from diag.choices import prefixed
from diag.errors import UsageError
from diag.examination import Examination
from diag.run import Run
from diag.text import nearest, show
from diag.vocabulary import SEVERITIES

CODE = re.compile(r"[A-Z]{3}\d{3}")
"""What the code of a check looks like: the letters of its family and a number in it."""
GROUP = "diag.checks"
"""Entry point group; each entry names a package with ``checks() -> list[Check]``."""


class Skipped(NamedTuple):
    """A check that could not judge the run, and why."""

    code: str
    reason: str


class Crash(NamedTuple):
    """A check that failed with an exception: a bug of the check, reported, never hidden."""

    code: str
    error: str


class Examined(NamedTuple):
    """What the battery says of one run; ``judged`` are the codes of the checks that came to an answer, sorted."""

    findings: list[Finding]
    skipped: list[Skipped]
    crashes: list[Crash]
    judged: list[str]


def checks() -> tuple[Check, ...]:
    """All registered checks, sorted by code; those of a plug-in that cannot be used are missing, see ``broken``.

    Raises:
        UsageError: none is registered (the package is not installed), or two share a code.
    """
    return _registered()[0]


def broken() -> tuple[plugins.Broken, ...]:
    """The plug-ins of checks that cannot be used."""
    return _registered()[1]


@cache
def _registered() -> tuple[tuple[Check, ...], tuple[plugins.Broken, ...]]:
    families, unusable = plugins.use(plugins.points(GROUP).values(), lambda family: [_sound(check) for check in family.checks()])
    found: dict[str, tuple[Check, plugins.Point]] = {}
    for point, family in families.items():
        for check in family:
            if check.code in found:
                other, place = found[check.code]
                raise UsageError(
                    f"two plug-ins have a check {check.code}: {place.name!r} ({place.value}) calls it {other.name},"
                    f" {point.name!r} ({point.value}) {check.name}; uninstall one, or give its check another code"
                )
            found[check.code] = check, point
    if not found:
        raise UsageError("no checks are registered; install the package (pip install -e .)")
    return tuple(found[code][0] for code in sorted(found)), tuple(unusable)


def _sound(check: Check) -> Check:
    """A check as it must be for the rest to rely on.

    Raises:
        TypeError: it is no Check, or its code is none.
    """
    if not isinstance(check, Check):
        raise TypeError(f"checks() gives {check!r}, which is no diag.check.Check")
    if not CODE.fullmatch(getattr(check, "code", "")):
        raise TypeError(f"{type(check).__name__} has no code of three capital letters and three digits")
    return check


def selected(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Check, ...]:
    """The checks whose code starts with a prefix of ``select`` (all if empty) and not with one of ``ignore``.

    Where both match, the longer prefix wins.
    """
    return tuple(check for check in checks() if prefixed(check.code, select, ignore))


def thresholds() -> dict[str, Threshold]:
    """Every number that users may set, by its key ``CODE.name``, in the order of the codes."""
    return {f"{check.code}.{threshold.name}": threshold for check in checks() for threshold in check.thresholds}


def checked_thresholds(values: Mapping[str, Any]) -> dict[str, float]:
    """What the user set, sorted by key.

    Args:
        values: numbers by key (``OVF001.problem``, in any case); a table by code holds names, as the unquoted keys of TOML make it.

    Raises:
        UsageError: there is no such threshold, or it cannot have that value.
    """
    known = thresholds()
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= checked_thresholds({f"{key}.{name}": inner for name, inner in value.items()})
            continue
        code, _, name = str(key).strip().partition(".")
        wanted = f"{code.upper()}.{name.lower()}"
        if wanted not in known:
            own = [entry for entry in known if entry.startswith(f"{code.upper()}.")]
            raise UsageError(
                f"there is no threshold {key!r}{nearest(wanted, own or known) or '; `diag explain CODE` lists those of a check'}"
            )
        found[wanted] = _checked(wanted, known[wanted], value)
    return dict(sorted(found.items()))


def _checked(key: str, threshold: Threshold, value: Any) -> float:
    whole = isinstance(threshold.value, int)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{key} is {value!r}; it must be a number ({threshold.unit}, by default {show(threshold.value)})")
    if whole and value != int(value):
        raise UsageError(f"{key} is {value}; it must be a whole number ({threshold.unit}, by default {show(threshold.value)})")
    if not threshold.minimum <= value <= threshold.maximum:
        span = f"{show(threshold.minimum)} to {show(threshold.maximum)}"
        raise UsageError(f"{key} is {value}; it can be {span} ({threshold.unit}, by default {show(threshold.value)})")
    return int(value) if whole else float(value)


def sort_key(finding: Finding) -> tuple[int, str, int, str]:
    """Total order of findings: severe first, then code, first step, metric."""
    start = -1 if finding.step_start is None else finding.step_start
    return (-SEVERITIES.index(finding.severity), finding.code, start, finding.metric)


def missing(check: Check, run: Run) -> str:
    """Why a check's needs are not met by the run, "" if they are."""
    for metric in check.needs:
        if metric == "eval/loss":
            if next(run.eval_losses(), None) is None:
                return "no evaluation loss was logged"
        elif metric not in run.curves:
            return f"{metric} was not logged"
    return ""


def examine(run: Run, select: Iterable[str] = (), ignore: Iterable[str] = (), thresholds: Iterable[tuple[str, float]] = ()) -> Examined:
    """Run the battery on one run; ``thresholds`` are pairs of ``CODE.name`` and number, as ``checked_thresholds`` lets them pass."""
    examination = Examination(run, dict(thresholds))
    result = Examined([], [], [], [])
    for check in selected(select, ignore):
        if examination.is_reward_driven and not check.reward_logs:
            result.skipped.append(Skipped(check.code, "a reward-driven run; its loss does not measure progress"))
            continue
        if run.ongoing and check.premature:
            result.skipped.append(Skipped(check.code, f"the run is still going on: {check.premature}"))
            continue
        if reason := missing(check, run):
            result.skipped.append(Skipped(check.code, reason))
            continue
        try:
            result.findings.extend(check.examine(examination))
            result.judged.append(check.code)
        except Skip as skip:
            result.skipped.append(Skipped(check.code, str(skip)))
        except Exception as error:
            result.crashes.append(Crash(check.code, f"{type(error).__name__}: {error}"))
    result.findings.sort(key=sort_key)
    return result
