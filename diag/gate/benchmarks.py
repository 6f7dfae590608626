"""Benchmark results of a tuned model beside those of its base, task by task: what it forgot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from diag.check import Finding
from diag.comparison import BENCHMARK, BETTER, NOT_COMPARED, SAME, SCORE, WITHIN_NOISE, WORSE, Compared, Comparison
from diag.errors import UsageError
from diag.gate import paired
from diag.gate.lm_eval import SETTINGS, Key, Results, Score
from diag.gate.reference import ALPHA, TOLERANCE, WARNS, Outcome
from diag.gate.regressions import BenchmarkRegression, finding
from diag.gate.requirements import RequirementNotMeasured
from diag.gate.run_noise import KNOWN, critical, holm
from diag.text import counted
from diag.vocabulary import ERROR, WARNING

SHARES: Final = ("acc", "exact_match", "em", "pass@", "pass_at")
"""Beginnings of the names of metrics that are a mean of samples right (1) or wrong (0), or in between."""
PREFERRED: Final = ("acc_norm", "acc", "exact_match", "em", "f1")
"""Which metric of a task stands for it in the mean over the tasks."""
MEAN: Final = "mean over tasks"
LEAST_TASKS: Final = 2
"""Tasks from which on their mean is a comparison of its own."""
NAMED: Final = 5
"""Tasks that a message names."""


@dataclass(frozen=True, slots=True)
class _Test:
    """One number of both models, before it is known how many there are.

    ``loss`` is the difference, positive where the tuned model is worse; ``error`` its standard error, None where nothing tells it.
    """

    label: str
    task: str
    metric: str
    base: float
    tuned: float
    loss: float
    error: float | None
    p_value: float | None
    evidence: dict[str, Any]

    @property
    def relative(self) -> float:
        """The loss relative to the base's number."""
        return self.loss / abs(self.base) if self.base else math.copysign(math.inf, self.loss) if self.loss else 0.0


class _Pair(NamedTuple):
    base: Score
    tuned: Score


def compare(base: Results, tuned: Results, *, tolerance: float = TOLERANCE) -> Outcome:
    """Compare the results of a tuned model with those of its base model.

    Args:
        base: results of the model before training (or of a known-good one).
        tuned: results of the model after it.
        tolerance: relative drop from which on worse is an error; from half of it on it is a warning.

    Returns:
        The comparison, and findings GAT002 and GAT020.

    Raises:
        UsageError: the tolerance is impossible.
        InputError: a file of samples cannot be read.
    """
    if not 0 < tolerance < math.inf:
        raise UsageError(f"the tolerance is {tolerance:g}; it must be above 0")
    refused = {task: reason for task in base.tasks if (reason := _refusal(task, base, tuned))}
    rows: list[Compared] = []
    tests: list[_Test] = []
    by_task: dict[str, list[tuple[Key, _Test]]] = {}
    for task, keys in base.tasks.items():
        if task in refused:
            rows += [_not_compared(key, base, tuned, refused[task]) for key in keys[:1]]
            continue
        samples = paired.samples_of(task, base, tuned)
        for key in keys:
            pair = _Pair(base.scores[key], tuned.scores[key]) if key in tuned.scores else None
            reason = "not among the tuned model's results" if pair is None else _untestable(pair)
            if pair is None or reason:
                rows.append(_not_compared(key, base, tuned, reason))
            elif not math.isfinite(pair.tuned.value):
                rows.append(Compared(key.label, SCORE, pair.tuned.value, pair.base.value, verdict=WORSE, remark="not a number"))
            else:
                test = _test(key, pair, base.counts.get(task), samples)
                tests.append(test)
                by_task.setdefault(task, []).append((key, test))
    if (mean := _mean(by_task, base)) is not None:
        tests.insert(0, mean)
    decided = list(_decided(tests, tolerance))
    findings = list(_findings(tests, decided, tolerance))
    findings += [_not_a_number(row) for row in rows if row.verdict == WORSE]
    findings += _unmeasured(base, rows, decided)
    comparison = Comparison(
        kind=BENCHMARK, references=(base.path,), tolerance=tolerance, rows=(*decided, *rows), notes=tuple(_notes(base, tuned, refused))
    )
    return Outcome(comparison, tuple(findings))


# What can be compared ----------------------------------------------------------------------------------------------------


def _refusal(task: str, base: Results, tuned: Results) -> str:
    """Why the numbers of a task, or of a group, cannot be compared; "" where they can."""
    if task not in tuned.tasks:
        return "not among the tuned model's results"
    for what, mine, theirs in (
        ("version", base.versions.get(task), tuned.versions.get(task)),
        ("number of examples in the prompt", base.shots.get(task), tuned.shots.get(task)),
        ("number of samples", base.counts.get(task), tuned.counts.get(task)),
    ):
        if mine is not None and theirs is not None and mine != theirs:
            return f"another {what}: {mine} for the base model, {theirs} for the tuned one"
    if base.counts.get(task) is None and base.limit != tuned.limit:
        return f"another --limit: {base.limit} for the base model, {tuned.limit} for the tuned one"
    for part in _parts(task, base):
        if reason := _refusal(part, base, tuned):
            return f"of its tasks, {part} has {reason}" if reason.startswith("another") else f"of its tasks, {part} is {reason}"
    return ""


def _parts(group: str, results: Results, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The tasks in a group that have numbers of their own, at any depth; a group that holds itself is entered once."""
    for name in results.groups.get(group, ()):
        if name in seen or name == group:
            continue
        if results.groups.get(name):
            yield from _parts(name, results, seen | {group, name})
        elif name in results.tasks:
            yield name


def _untestable(pair: _Pair) -> str:
    if pair.base.higher is None:
        return "whether higher or lower is better is not known"
    return "" if math.isfinite(pair.base.value) else "not a number for the base model"


def _not_compared(key: Key, base: Results, tuned: Results, reason: str) -> Compared:
    mine = tuned.scores.get(key)
    return Compared(key.label, SCORE, None if mine is None else mine.value, base.scores[key].value, verdict=NOT_COMPARED, remark=reason)


# The tests -----------------------------------------------------------------------------------------------------------------


def _test(key: Key, pair: _Pair, count: int | None, samples: paired.Both | None) -> _Test:
    sign = 1.0 if pair.base.higher else -1.0
    base, tuned = pair.base.value, pair.tuned.value
    loss = sign * (base - tuned)
    evidence: dict[str, Any] = {"base": base, "tuned": tuned, "base_stderr": pair.base.stderr, "tuned_stderr": pair.tuned.stderr}
    found = None if samples is None else paired.difference(key, sign, samples, base, tuned)
    if found is not None:
        error, p_value, more = found
        return _Test(*_names(key), base, tuned, loss, error, p_value, evidence | more)
    errors = [_error(key, score, count) for score in pair]
    if any(error is None for error in errors):
        return _Test(*_names(key), base, tuned, loss, None, None, evidence | {"test": "none"})
    error = math.hypot(*(error or 0.0 for error in errors))
    return _Test(
        *_names(key),
        base,
        tuned,
        loss,
        error,
        paired.upper_tail(loss, error, KNOWN),
        evidence | {"test": "standard errors", "samples": count},
    )


def _names(key: Key) -> tuple[str, str, str]:
    return key.label, key.task, key.metric


def _error(key: Key, score: Score, count: int | None) -> float | None:
    """Standard error of a number: as stated, or from the share of right answers where none (or 0) was stated."""
    if score.stderr:
        return score.stderr
    if count and key.metric.startswith(SHARES) and 0 <= score.value <= 1:
        share = (score.value * count + 1) / (count + 2)  # Agresti and Caffo (2000): a model that got all right is not known without error
        return math.sqrt(share * (1 - share) / (count + 2))
    return score.stderr


def _mean(by_task: Mapping[str, Sequence[tuple[Key, _Test]]], base: Results) -> _Test | None:
    """The mean over the tasks of the metric that stands for each; None below LEAST_TASKS."""
    chosen = []
    for task, found in by_task.items():
        if base.groups.get(task):
            continue
        usable = [(key, test) for key, test in found if test.error is not None and base.scores[key].higher and 0 <= test.base <= 1]
        for name in PREFERRED:
            if match := [test for key, test in usable if key.metric == name]:
                chosen.append(match[0])
                break
    if len(chosen) < LEAST_TASKS:
        return None
    count = len(chosen)
    loss = sum(test.loss for test in chosen) / count
    error = math.hypot(*(test.error or 0.0 for test in chosen)) / count
    p_value = paired.upper_tail(loss, error, KNOWN)
    evidence = {"test": "mean over tasks", "tasks": [test.label for test in chosen]}
    base_mean, tuned_mean = (sum(values) / count for values in zip(*((test.base, test.tuned) for test in chosen), strict=True))
    return _Test(f"{MEAN} ({count})", MEAN, "", base_mean, tuned_mean, loss, error, p_value, evidence)


def _decided(tests: Sequence[_Test], tolerance: float) -> Iterator[Compared]:
    """A row a test, with its verdict."""
    tested = [test for test in tests if test.p_value is not None]
    levels = dict(zip(map(id, tested), holm([test.p_value or 0.0 for test in tested], ALPHA), strict=True))
    for test in tests:
        row = Compared(test.label, SCORE, test.tuned, test.base, difference=test.relative, p_value=test.p_value)
        beyond = abs(test.relative) >= WARNS * tolerance
        if test.p_value is None or test.error is None:
            verdict = WORSE if beyond and test.loss > 0 else BETTER if beyond else SAME
            yield replace(row, verdict=verdict, remark="no standard error: what chance explains is not known")
            continue
        level = levels[id(test)]
        reach = critical(level, KNOWN) * test.error
        noise = reach / abs(test.base) if test.base else None
        verdict = SAME
        if beyond and test.loss > 0:
            verdict = WORSE if test.p_value <= level else WITHIN_NOISE
        elif beyond:
            verdict = BETTER if -test.loss > reach else WITHIN_NOISE
        yield replace(row, verdict=verdict, noise=noise)


# Findings ----------------------------------------------------------------------------------------------------------------


def _findings(tests: Sequence[_Test], decided: Sequence[Compared], tolerance: float) -> Iterator[Finding]:
    """One finding a task that got worse: the most severe of its metrics, among equals the one that stands for it."""
    order = {metric: place for place, metric in enumerate(PREFERRED)}
    worst: dict[str, tuple[tuple[bool, int], Finding]] = {}
    for test, row in zip(tests, decided, strict=True):
        if row.verdict == WORSE:
            found = _finding(test, row, tolerance)
            rank = (found.severity != ERROR, order.get(test.metric, len(order)))
            if test.task not in worst or rank < worst[test.task][0]:
                worst[test.task] = rank, found
    yield from (found for _, found in worst.values())


def _finding(test: _Test, row: Compared, tolerance: float) -> Finding:
    moved = "falls" if test.tuned < test.base else "rises"
    count = test.evidence.get("samples")
    on = f" on {counted(count, 'sample')}" if count else ""
    chance = f"chance explains {_percent(row.noise)}" if row.noise is not None else row.remark.removeprefix("no standard error: ")
    message = (
        f"{test.label} {moved} from {test.base:.4g} with the base model to {test.tuned:.4g} with the tuned one,"
        f" by {_percent(test.relative)}{on}; {chance}."
    )
    certain = test.p_value is not None
    evidence = test.evidence | {"relative_difference": test.relative, "noise": row.noise, "p_value": test.p_value, "tolerance": tolerance}
    severity = ERROR if certain and test.relative >= tolerance else WARNING
    return finding(BenchmarkRegression, message, severity=severity, metric=test.label, evidence=evidence)


def _not_a_number(row: Compared) -> Finding:
    message = f"{row.metric} is not a number with the tuned model; with the base model it is {row.reference:.4g}."
    return finding(BenchmarkRegression, message, metric=row.metric, evidence={"base": row.reference, "tuned": row.value})


def _unmeasured(base: Results, rows: Sequence[Compared], decided: Sequence[Compared]) -> list[Finding]:
    left_out = [row for row in rows if row.verdict == NOT_COMPARED]
    if not base.scores:
        return [finding(RequirementNotMeasured, "The base model's results hold no number of any task, so that nothing was compared.")]
    if not left_out:
        return []
    named = "; ".join(f"{row.metric} ({row.remark})" for row in left_out[:NAMED])
    rest = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    nothing = not decided and len(left_out) == len(rows)
    what = "No benchmark could be compared" if nothing else f"{counted(len(left_out), 'benchmark')} could not be compared"
    evidence = {"missing": {row.metric: row.remark for row in left_out}}
    return [finding(RequirementNotMeasured, f"{what}: {named}{rest}.", severity=ERROR if nothing else WARNING, evidence=evidence)]


def _notes(base: Results, tuned: Results, refused: Mapping[str, str]) -> list[str]:
    notes = [*base.notes, *tuned.notes]
    for key, what in SETTINGS.items():
        if base.settings.get(key) != tuned.settings.get(key):
            notes.append(f"The two were evaluated with different {what}: a part of the differences may come from that.")
    if base.limit is not None and base.limit == tuned.limit:
        notes.append(f"Both were evaluated with --limit {base.limit}: a part of the samples, so chance explains more.")
    extra = sorted(tuned.tasks.keys() - base.tasks.keys())
    if extra:
        notes.append(f"Only the tuned model was evaluated on {', '.join(extra[:NAMED])}{' and others' if len(extra) > NAMED else ''}.")
    return notes


def _percent(relative: float | None) -> str:
    if relative is None or not math.isfinite(relative):
        return "all of it" if relative else "nothing"
    return f"{100 * abs(relative):.3g}%"
