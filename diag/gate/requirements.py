"""What a metric must be: ``eval/loss<=1.2``, ``best(eval/loss)<=1.1``, ``max(grad_norm)<100``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diag.check import Documented, Finding
from diag.errors import UsageError
from diag.gate.directions import HIGHER, LOWER, direction
from diag.vocabulary import ERROR

if TYPE_CHECKING:
    from diag.run import Curve, Run

OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
FUNCTIONS: Final = ("last", "first", "best", "min", "max", "mean")

EXPRESSION: Final = re.compile(
    r"\s*(?:(?P<function>[A-Za-z]+)\(\s*(?P<inside>.+?)\s*\)|(?P<metric>.+?))\s*(?P<operator><=|>=|<|>)\s*(?P<bound>[^<>=]+?)\s*"
)


class RequirementNotMet(Documented):
    """A metric is not what the gate requires.

    ## What it does
    Compares one number of a logged metric with the bound of a requirement, such as `eval/loss<=1.2` or `best(eval/loss)<=1.1`. Without a
    function it is the last logged value; `first`, `best`, `min`, `max` and `mean` are the others. `best` is the lowest value of a loss and
    the highest of an accuracy or reward. A value that is not finite meets no requirement; `best`, `min`, `max` and `mean` look at finite
    values only.

    ## Why is this bad?
    The run is not as good as you said it has to be.

    ## When it stays silent
    Where every value is within its bound. A metric that was not logged is GAT002.

    ## What to do
    Look at the other findings for the reason, or correct the bound if it was too strict.

    ## References
    The bound is yours: `--require`, or the key `require` of the configuration.
    """

    code = "GAT001"
    name = "requirement-not-met"
    severity = ERROR


class RequirementNotMeasured(Documented):
    """What the gate requires cannot be told, as the metric was not logged.

    ## What it does
    Reports a requirement about a metric, or a comparison with a reference, for which a run logged nothing to compare; and benchmarks that
    one of two results lacks, or that were run in another version, with another number of examples in the prompt, or on other samples. It
    is a warning where other metrics or benchmarks could be compared.

    ## Why is this bad?
    A gate that passes because it saw nothing lets everything through.

    ## When it stays silent
    Where the metric has at least one value, of whatever kind. What only the run logged is not missed in its reference.

    ## What to do
    Log the metric, or name it as the run does: the message lists the nearest names that were logged. Run the benchmark again with the
    settings of the other side.

    ## References
    The requirement is yours: `--require`, `--against`, or the key `require` of the configuration.
    """

    code = "GAT002"
    name = "requirement-not-measured"
    severity = ERROR


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement.

    Attributes:
        text: as it was written.
        metric: canonical or native name; ``*`` stands for any text, every metric it matches has to comply.
        function: how a curve becomes one number, one of FUNCTIONS.
        operator: one of OPERATORS.
        bound: the number on the right.
    """

    text: str
    metric: str
    function: str
    operator: str
    bound: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one metric of a run stands to one requirement.

    Attributes:
        requirement: as it was written.
        metric: the metric that was looked at; the name in the requirement where there is none.
        value: the number, None where nothing was logged.
        step: where that value was logged, None for a mean or where there is none.
        is_met: whether the requirement is met.
    """

    requirement: str
    metric: str
    value: float | None
    step: int | None
    is_met: bool


def parse(text: str) -> Requirement:
    """Read a requirement.

    Raises:
        UsageError: it is none; the message says what one looks like.
    """
    match = EXPRESSION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no requirement; write it like eval/loss<=1.2 or best(eval/loss)<=1.1")
    function, metric = (match["function"] or "last").lower(), match["inside"] or match["metric"]
    if match["function"] and function not in FUNCTIONS:
        from diag.text import nearest

        raise UsageError(f"{text!r}: there is no function {function}{nearest(function, FUNCTIONS)}; there are: {', '.join(FUNCTIONS)}")
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise UsageError(f"{text!r}: {match['bound']!r} is no number")
    if function == "best" and "*" not in metric and direction(metric) not in (LOWER, HIGHER):
        raise UsageError(f"{text!r}: whether low or high is best for {metric} is not known; write min({metric}) or max({metric})")
    return Requirement(text.strip(), metric, function, match["operator"], bound)


def outcomes(run: Run, requirements: Iterable[Requirement]) -> Iterator[Outcome]:
    """How a run stands to every requirement, one outcome a metric that it is about."""
    for requirement in requirements:
        names = _named(run, requirement.metric)
        if not names:
            yield Outcome(requirement.text, requirement.metric, None, None, False)
        for name in names:
            value, step = _measured(run.curves[name], name, requirement.function)
            is_met = value is not None and math.isfinite(value) and OPERATORS[requirement.operator](value, requirement.bound)
            yield Outcome(requirement.text, name, value, step, is_met)


def findings(run: Run, results: Iterable[Outcome]) -> Iterator[Finding]:
    """A finding for every requirement that is not met or could not be told."""
    from diag.text import nearest, show

    for outcome in results:
        if outcome.is_met:
            continue
        if outcome.value is None:
            logged = nearest(outcome.metric, [*run.curves, *run.native_names.values()])
            message = f"{outcome.requirement} is required, but {outcome.metric} was not logged{logged or '.'}"
            yield _finding(RequirementNotMeasured, message, outcome, {})
            continue
        where = "" if outcome.step is None else f" at step {outcome.step}"
        message = f"{outcome.requirement} is required, but {outcome.metric} is {show(outcome.value)}{where}."
        yield _finding(RequirementNotMet, message, outcome, {"value": outcome.value})


def _finding(page: type[Documented], message: str, outcome: Outcome, evidence: dict[str, Any]) -> Finding:
    return Finding(
        code=page.code,
        name=page.name,
        severity=page.severity,
        message=message,
        metric=outcome.metric,
        step_start=outcome.step,
        step_end=outcome.step,
        evidence={"requirement": outcome.requirement, **evidence},
    )


def _named(run: Run, metric: str) -> list[str]:
    """The canonical names of the metrics that a requirement is about, sorted."""
    native = {name: canonical for canonical, name in run.native_names.items()}
    if "*" in metric:
        return sorted(name for name in run.curves if fnmatchcase(name, metric) or fnmatchcase(run.native_names.get(name, name), metric))
    name = metric if metric in run.curves else native.get(metric, "")
    return [name] if name in run.curves and len(run.curves[name]) else []


def _measured(curve: Curve, metric: str, function: str) -> tuple[float | None, int | None]:
    """The number that a function makes of a curve and the step it stands at; NaN where no value is finite."""
    if not len(curve):
        return None, None
    if function in ("last", "first"):
        index = -1 if function == "last" else 0
        return float(curve.value[index]), int(curve.step[index])
    finite = curve.finite()
    if not len(finite):
        return math.nan, None
    if function == "mean":
        return float(np.mean(finite.value)), None
    lowest = function == "min" or (function == "best" and direction(metric) != HIGHER)
    index = int(np.argmin(finite.value) if lowest else np.argmax(finite.value))
    return float(finite.value[index]), int(finite.step[index])
