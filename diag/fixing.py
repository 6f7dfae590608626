"""``diag fix``: what runs and lint rules found, as changes: in the framework's words, or in the text of a config.

A change that the framework would not take is refused: the edited text is read again, must say what was meant and nothing else new, and
must not bring a lint error that was not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diag.dialects import Overrides
from diag.dialects import render as rendered
from diag.documents import PYTHON, SHELL, UNKNOWN, Document, parse
from diag.documents.editing import REMOVE as REMOVED
from diag.documents.editing import Rename, Rewrite, edited, edits
from diag.errors import InputError, NothingToJudgeError
from diag.fixes import DISPLAY, REMOVE, RENAME, REWRITE, SAFE, SET, Fix
from diag.guides import Band, band
from diag.lint import Violation
from diag.linting import check_options, inspect, lints, plans
from diag.plan import Options, Plan
from diag.run import Hyperparameter, Run
from diag.vocabulary import ERROR, SEVERITIES, WARNING

if TYPE_CHECKING:
    from diag.result import RunReport

ORDER: Final[tuple[tuple[str, ...], ...]] = (
    ("learning_rate", "min_lr", "lr_scheduler", "max_grad_norm", "precision"),
    ("global_batch_size", "micro_batch_size", "gradient_accumulation_steps", "lora_rank", "lora_alpha", "lora_target_modules"),
    ("num_epochs", "max_steps", "warmup_steps", "warmup_ratio", "early_stopping_patience", "eval_steps", "save_steps"),
    ("lora_dropout", "dropout", "weight_decay", "unfreeze_rank_ratio"),
)
"""The guides' tuning order: the learning rate and what keeps it steady, then batch and rank, then length and warmup, then regularization
(S0-050..054, S1-090..096, S3-202). What repairs the file comes before it, everything else behind."""

MAX_ROUNDS: Final = 10
"""How often a config is linted and edited again, at most, until nothing is left to change; rules settle in two or three."""


@dataclass(frozen=True, slots=True)
class Prescription:
    """What to change in one training, and why.

    Attributes:
        name: the run or config.
        dialect: the framework in whose words it is written.
        fixes: in the tuning order.
        overrides: the fixes in the framework's words.
        because: code of a finding to its message.
        run: the run it is for, None for a config.
        plan: the config it is for, None for a run.
    """

    name: str
    dialect: str
    fixes: tuple[Fix, ...]
    overrides: Overrides
    because: Mapping[str, str]
    run: Run | None = None
    plan: Plan | None = None


def render(dialect: str, run: Run, fixes: Sequence[Fix]) -> Overrides:
    """The fixes in a framework's words, those too that keep a value and write it so that every parser reads it as a number."""
    overrides = rendered(dialect, run, fixes)
    config: dict[str, Any] = deepcopy(dict(overrides.config))
    for fix in fixes:
        if fix.action != REWRITE:
            continue
        *sections, name = fix.key.split(".")
        section: Any = config
        for part in sections:
            section = section.setdefault(part, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.setdefault(name, fix.new)
    return replace(overrides, config=config)


def in_tuning_order(fixes: Iterable[Fix]) -> list[Fix]:
    """Fixes by rank, then in the tuning order; those of one group as they came."""

    def group(fix: Fix) -> int:
        if fix.key:
            return -1
        return next((index for index, names in enumerate(ORDER) if fix.parameter in names), len(ORDER))

    return sorted(fixes, key=lambda fix: (fix.rank, group(fix)))


def of_report(report: RunReport, config: Plan | None = None) -> Prescription:
    """The first prescription of an analyzed run, in the words of its own framework, or of a config that is to be changed.

    Args:
        report: the run's report.
        config: the config to write the changes for; its keys are used where it has them.
    """
    run = report.run if config is None else in_words_of(report.run, config)
    fixes = in_tuning_order(fix for fix in report.fixes if fix.rank == 1)
    overrides = render(run.dialect, run, fixes)
    because = {finding.code: finding.message for finding in report.findings}
    return Prescription(report.run.id, run.dialect, tuple(fixes), overrides, because, run=report.run, plan=config)


def of_plan(plan: Plan, *, level: str = WARNING, safe_only: bool = False, violations: Sequence[Violation] | None = None) -> Prescription:
    """The changes that the lint rules ask for.

    Args:
        plan: the config.
        level: least severity of the violations to settle.
        safe_only: only changes that cannot hurt.
        violations: what was found, if it was linted already.
    """
    found = list(inspect(plan, lints()).violations) if violations is None else list(violations)
    bar = SEVERITIES.index(level)
    asked = sorted((v for v in found if SEVERITIES.index(v.severity) >= bar), key=lambda v: (-SEVERITIES.index(v.severity), v.code))
    chosen: dict[str, Fix] = {}
    taken: set[str] = set()
    advice: list[Fix] = []
    for violation in asked:
        own = [fix for fix in violation.fixes if not (safe_only and fix.applicability != SAFE)]
        if any(not taken.isdisjoint(_targets(plan, fix)) for fix in own if fix.applicability != DISPLAY):
            continue  # a graver finding changes the same; what is left shows in the next round
        for fix in own:
            if fix.applicability == DISPLAY:
                advice.append(fix)
            else:
                key, *others = _targets(plan, fix)
                chosen[key] = fix
                taken |= {key, *others}
    fixes = in_tuning_order([*chosen.values(), *advice])
    overrides = render(plan.dialect, as_run(plan), fixes)
    return Prescription(
        plan.document.path, plan.dialect, tuple(fixes), overrides, {violation.code: violation.message for violation in asked}, plan=plan
    )


BATCH: Final = frozenset({"global_batch_size", "micro_batch_size", "gradient_accumulation_steps"})
"""Hyperparameters that hang together: one finding moves them at a time."""


def _targets(plan: Plan, fix: Fix) -> tuple[str, ...]:
    """What a fix changes, so that two rules do not change one thing each their way: its native key, the one that a rename makes of it,
    and the batch as a whole."""
    key = fix.key or plan.key_of(fix.parameter)
    if fix.action == RENAME:
        return key, f"{key.rpartition('.')[0]}.{fix.new}".lstrip(".")
    return (key, "the batch") if fix.parameter in BATCH else (key,)


def as_run(plan: Plan) -> Run:
    """A config as the dialects see one: a run without curves."""
    lines = {key: setting.line for key, setting in plan.document.settings.items()}
    config = {key: Hyperparameter(value, "file", plan.document.path, lines.get(key, 0), key) for key, value in plan.flat.items()}
    return Run(plan.document.path, plan.document.path, "config", {}, dict(plan.hyperparameters), plan.dialect, config=config)


def in_words_of(run: Run, plan: Plan) -> Run:
    """The run with the config's keys: the values it was trained with, to be written where the config has them."""
    config = as_run(plan)
    known = dict(config.hyperparameters)
    for name, entry in run.hyperparameters.items():
        own = known.get(name)
        known[name] = own._replace(value=entry.value) if own is not None and own.kind == "file" else entry._replace(kind="inferred", key="")
    return replace(run, hyperparameters=known, config=config.config, dialect=plan.dialect)


def changes(prescription: Prescription, document: Document) -> dict[str, Any]:
    """Dotted native key to its new value, REMOVE, Rename or Rewrite, as ``diag.documents.editing.edits`` takes them."""
    nested = document.form in (SHELL, PYTHON)
    wanted = flattened(prescription.overrides.config, document, keep=nested)
    for fix in prescription.fixes:
        if fix.key and fix.action == REMOVE:
            wanted[fix.key] = REMOVED
        elif fix.key and fix.action == RENAME:
            wanted[fix.key] = Rename(str(fix.new))
        elif fix.key and fix.action == REWRITE:
            wanted[fix.key] = Rewrite(fix.new)
    return wanted


def flattened(config: Mapping[str, Any], document: Document, *, keep: bool = False, prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones; with ``keep`` a mapping stays whole where the document has no section of that name."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        inside = any(known.startswith(f"{name}.") for known in document.settings) or name in document.containers
        if isinstance(value, Mapping) and value and not (keep and not inside and not prefix and _is_leaf(value)):
            flat.update(flattened(value, document, keep=keep, prefix=f"{name}."))
        elif inside and isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            items = {str(index): item for index, item in enumerate(value)}
            flat.update(flattened(items, document, keep=keep, prefix=f"{name}."))
        else:
            flat[name] = value
    return flat


def _is_leaf(value: Mapping[str, Any]) -> bool:
    return not any(isinstance(item, Mapping) for item in value.values())


ADVICE: Final = "change it by hand; the file was left as it was"
"""What to do about a change that is refused."""


def rewritten(prescription: Prescription, document: Document) -> str:
    """The text of a config with the changes made.

    Raises:
        InputError: a change cannot be written there, or the framework would not take the result.
    """
    text, touched = _edited(prescription, document)
    plan = prescription.plan
    if plan is not None and text != document.text:
        _refuse_errors(plan, _again(plan, document, text), touched)
    return text


def _edited(prescription: Prescription, document: Document) -> tuple[str, set[str]]:
    """The text with the changes made, and the keys that they touch.

    Raises:
        InputError: a change cannot be written there, or the text would not say what was meant.
    """
    wanted = changes(prescription, document)
    found = edits(document, wanted)
    if not found:
        return document.text, set()
    text = edited(document.text, found)
    return text, _verify(document, wanted, text)


def _again(plan: Plan, document: Document, text: str) -> Plan:
    """The plan of a config after its file became ``text``."""
    again = same_document(parse(text, name=document.path, form=document.form, encoding=document.encoding), document)
    return Plan(again, plan.dialect, plan.options, plan.data, plan.inherited)


def _verify(document: Document, wanted: Mapping[str, Any], text: str) -> set[str]:
    """Refuse a text that does not say what was meant, or that says something else new.

    Returns:
        The keys that the changes touch.

    Raises:
        InputError: so it is.
    """
    try:
        again = same_document(parse(text, name=document.path, form=document.form, encoding=document.encoding), document)
    except InputError as error:
        raise InputError(document.path, f"would no longer be valid after the change ({error.problem})", ADVICE) from error
    gone = {key for key, value in wanted.items() if value is REMOVED or isinstance(value, Rename)}
    for key, value in wanted.items():
        if key in gone:
            continue
        meant = value.value if isinstance(value, Rewrite) else value
        if isinstance(meant, Mapping):
            continue
        setting = again.settings.get(key)
        if setting is None or not _same(setting.value, meant):
            raise InputError(document.path, f"{key} cannot be set to {meant!r} there", ADVICE)
    renamed = {f"{key.rpartition('.')[0]}.{value.to}".lstrip(".") for key, value in wanted.items() if isinstance(value, Rename)}
    touched = {*wanted, *renamed}
    for key, setting in document.settings.items():
        if any(key == name or key.startswith(f"{name}.") or name.startswith(f"{key}.") for name in touched):
            continue
        after = again.settings.get(key)
        if after is None or not _same(after.value, setting.value):
            raise InputError(document.path, f"the change would also change {key}", ADVICE)
    return touched


def _refuse_errors(before: Plan, after: Plan, touched: set[str]) -> None:
    """Refuse changes that bring a lint error of theirs.

    Raises:
        InputError: they do.
    """
    known = {(v.code, v.key) for v in inspect(before, lints()).violations if v.severity == ERROR}
    for violation in inspect(after, lints()).violations:
        if violation.severity == ERROR and (violation.code, violation.key) not in known and violation.key in touched:
            raise InputError(before.document.path, f"the change would bring {violation.code}: {violation.message}", ADVICE)


def _same(first: Any, second: Any) -> bool:
    if first is UNKNOWN or second is UNKNOWN:
        return first is second
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(_same(one, other) for one, other in zip(first, second, strict=True))
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    return bool(first == second) or (first != first and second != second)


def same_document(documents: Sequence[Document], document: Document) -> Document:
    """The document that one became after its file was edited: the one of the same entry that begins nearest."""
    alike = [other for other in documents if other.entry == document.entry] or list(documents)
    if not alike:
        raise InputError(document.path, "holds no training config any more", "change it by hand")
    return min(alike, key=lambda other: abs(other.line - document.line))


def settled(plan: Plan, *, level: str = WARNING, safe_only: bool = False) -> tuple[str, list[Prescription]]:
    """A config's text after its findings are settled, and the prescriptions that did it, one a round.

    A second call on the result changes nothing: rounds go on until there is nothing left to change.

    Raises:
        InputError: a change cannot be made.
    """
    done: list[Prescription] = []
    current, seen, touched = plan, {plan.document.text}, set[str]()
    for _ in range(MAX_ROUNDS):
        prescription = of_plan(current, level=level, safe_only=safe_only)
        text, keys = _edited(prescription, current.document)
        if text in seen:
            break
        done.append(prescription)
        seen.add(text)
        touched |= keys
        current = _again(plan, current.document, text)
    if done:
        _refuse_errors(plan, current, touched)  # between two rounds there may be some, which the next one settles
    return current.document.text, done or [of_plan(plan, level=level, safe_only=safe_only)]


def merged(plan: Plan, rounds: Sequence[Prescription]) -> Prescription:
    """What the rounds of ``settled`` come to: of two changes of one key the later, from the value that the config has."""
    chosen: dict[tuple[str, str], Fix] = {}
    advice: dict[str, Fix] = {}
    because: dict[str, str] = {}
    for entry in rounds:
        because = {**entry.because, **because}
        for fix in entry.fixes:
            if fix.applicability == DISPLAY:
                advice.setdefault(fix.reason, fix)
                continue
            target = (fix.key or fix.parameter, fix.action)
            chosen[target] = replace(fix, old=chosen[target].old) if target in chosen else fix
    lasting = [fix for fix in chosen.values() if fix.action != SET or fix.new is None or fix.new != fix.old]
    fixes = in_tuning_order([*lasting, *advice.values()])
    return Prescription(plan.document.path, plan.dialect, tuple(fixes), render(plan.dialect, as_run(plan), fixes), because, plan=plan)


def plan_in(path: Path, line: int | None, options: Options, dialect: str | None = None) -> Plan:
    """The one training config in a file.

    Args:
        path: the file.
        line: where it begins, if the file holds several.
        options: what the user says.
        dialect: the framework that wrote the run, preferred where several configs stand in the file.

    Raises:
        UsageError: an option has no such value.
        InputError: the file cannot be read, or holds several configs or none on that line.
        NothingToJudgeError: it holds none at all.
    """
    check_options(options)
    every = plans(path, str(path), options)
    if not every:
        raise NothingToJudgeError(f"{path}: is not recognized as a training config; name its framework with --dialect")
    found = [plan for plan in every if line in (None, plan.document.line)]
    lines = ", ".join(str(plan.document.line) for plan in every)
    if not found:
        raise InputError(
            path, f"holds no training config that begins on line {line} (but on {lines})", f"name one: {path}:{every[0].document.line}"
        )
    if line is None and dialect is not None and sum(plan.dialect == dialect for plan in found) == 1:
        found = [plan for plan in found if plan.dialect == dialect]
    if len(found) > 1:
        raise InputError(path, f"holds {len(found)} training configs (lines {lines})", f"name one: {path}:{found[0].document.line}")
    return found[0]


def limits(fix: Fix, prescription: Prescription) -> Band | None:
    """What the guides allow for what a fix changes, for this method, data and model; None where they do not say."""
    plan, run = prescription.plan, prescription.run
    if run is None and plan is not None:
        return plan.band(fix.parameter)
    if run is None:
        return None
    from diag.guides.profiles import default_profile

    method, size, parameters = (run.hyperparameter(name) for name in ("method", "dataset_size", "model_parameters"))
    return band(fix.parameter, method, size, parameters, default_profile(run.dialect))
