"""``diag lint``: configs in, violations out; one bad file does not stop the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag import __version__, plugins
from diag.choices import checked_codes, choose, prefixed
from diag.dialects import recognition
from diag.documents import JSON, MAX_BYTES, SHELL, SUFFIXES, YAML, Document, Ignore, parse, read
from diag.errors import InputError, NothingThereError, UsageError
from diag.guides.profiles import PROFILES, SOURCES
from diag.lint import Lint, Violation
from diag.plan import Options, Plan
from diag.result import EXIT_CRASHED, EXIT_FAILED, EXIT_INPUT, EXIT_NOTHING_JUDGED, EXIT_PASSED, FAIL_ON, NEVER, Problem, fix_to_dict, plain
from diag.vocabulary import ERROR, METHODS, SEVERITIES

GROUP: Final = "diag.lints"
"""Entry point group; each entry names a package with ``lints() -> list[Lint]``."""

LINT_SCHEMA_VERSION: Final = 1

SKIPPED_FOLDERS: Final = frozenset({"node_modules", "site-packages", "__pycache__", "venv", "build", "dist", "wandb", "mlruns"})
"""Folders that hold no configs of the user's own."""

MAX_FILES: Final = 20_000
"""Files looked at below one folder."""


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """One config and what was found in it.

    Attributes:
        plan: the config and what it amounts to.
        violations: by line and column, then code.
        silenced: violations that a comment silences, and its reason.
        file: the file on this machine.
        examined: code of every rule that judged this config: neither left out nor about other configs nor crashed; sorted.
    """

    plan: Plan
    violations: tuple[Violation, ...]
    silenced: tuple[tuple[Violation, str], ...] = ()
    file: Path = field(default_factory=Path)
    examined: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The config's object in the JSON report."""
        plan, document = self.plan, self.plan.document
        return {
            "path": document.path,
            "line": document.line,
            "entry": document.entry,
            "dialect": plan.dialect,
            "profile": plan.profile,
            "method": plan.method,
            "hyperparameters": {
                name: {"value": plain(entry.value), "source": entry.source} for name, entry in sorted(plan.hyperparameters.items())
            },
            "amounts_to": {
                "global_batch_size": plain(plan.global_batch),
                "total_steps": plain(plan.total_steps),
                "epochs": plain(plan.epochs),
                "warmup_steps": plain(plan.warmup_steps),
            },
            "findings": [violation_to_dict(violation) for violation in self.violations],
            "silenced": [{"code": v.code, "line": v.line, "reason": reason} for v, reason in self.silenced],
            "notes": list(document.problems),
        }


@dataclass(frozen=True, slots=True)
class LintReport:
    """The result of ``diag lint``.

    Attributes:
        configs: one entry a config, by path and line.
        problems: what could not be read, and rules that crashed.
        unrecognized: paths the user named that hold no training config of a known dialect.
    """

    configs: tuple[ConfigReport, ...]
    problems: tuple[Problem, ...] = ()
    unrecognized: tuple[str, ...] = ()

    def failed(self, fail_on: str = ERROR) -> bool:
        """Whether some violation is at least as severe as ``fail_on``.

        Raises:
            UsageError: ``fail_on`` is no severity and not ``never``.
        """
        if fail_on == NEVER:
            return False
        if fail_on not in SEVERITIES:
            raise UsageError(f"fail_on is {fail_on!r}; it must be one of {', '.join(FAIL_ON)}")
        bar = SEVERITIES.index(fail_on)
        return any(SEVERITIES.index(violation.severity) >= bar for entry in self.configs for violation in entry.violations)

    def exit_code(self, fail_on: str = ERROR, *, allow_unjudged: bool = False) -> int:
        """The exit code of ``diag lint``: as that of ``diag analyze``, 3 where no training config was recognized.

        Args:
            fail_on: the mildest severity that fails, or ``never``.
            allow_unjudged: 0 instead of 3, and instead of 2 for paths where there is nothing to judge (``Problem.absent``).
        """
        crashed = any(problem.kind == "crash" for problem in self.problems)
        unreadable = [problem for problem in self.problems if problem.kind == "input" and not (allow_unjudged and problem.absent)]
        if self.failed(fail_on):
            return EXIT_FAILED
        if any(problem.named for problem in unreadable) or (unreadable and not self.configs):
            return EXIT_INPUT
        if (not self.configs or self.unrecognized) and not allow_unjudged:
            return EXIT_NOTHING_JUDGED
        return EXIT_CRASHED if crashed else EXIT_PASSED

    def to_dict(self, fail_on: str = ERROR) -> dict[str, Any]:
        """The JSON report as plain Python values; ``diag/report/lint_schema.json`` describes it."""
        severities = [violation.severity for entry in self.configs for violation in entry.violations]
        return {
            "schema_version": LINT_SCHEMA_VERSION,
            "tool": {"name": "diag", "version": __version__},
            "configs": [entry.to_dict() for entry in self.configs],
            "problems": [{"kind": p.kind, "path": p.path, "message": p.message} for p in self.problems],
            "unrecognized": list(self.unrecognized),
            "summary": {
                "configs": len(self.configs),
                "by_severity": {severity: severities.count(severity) for severity in reversed(SEVERITIES)},
                "failed": self.failed(fail_on),
            },
        }


def violation_to_dict(violation: Violation) -> dict[str, Any]:
    """A violation as strict JSON."""
    return {
        "code": violation.code,
        "name": violation.name,
        "severity": violation.severity,
        "message": violation.message,
        "key": violation.key,
        "line": violation.line,
        "column": violation.column,
        "evidence": plain(violation.evidence),
        "rules": list(violation.rules),
        "fingerprint": violation.fingerprint,
        "fixes": [fix_to_dict(fix) for fix in violation.fixes],
    }


class Choices(NamedTuple):
    """What was decided about a config: what the user says about it, and the codes, or their beginnings, of the rules to apply."""

    options: Options
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


def lints() -> tuple[Lint, ...]:
    """All registered lint rules, sorted by code; those of a plug-in that cannot be used are missing, see ``broken``.

    Raises:
        UsageError: none is registered, or two share a code.
    """
    return _registered()[0]


def broken() -> tuple[plugins.Broken, ...]:
    """The plug-ins of lint rules that cannot be used."""
    return _registered()[1]


@cache
def _registered() -> tuple[tuple[Lint, ...], tuple[plugins.Broken, ...]]:
    groups, unusable = plugins.use(plugins.points(GROUP).values(), lambda group: list(group.lints()))
    found: dict[str, Lint] = {}
    for rules in groups.values():
        for rule in rules:
            if rule.code in found:
                raise UsageError(f"two rules have the code {rule.code}: {found[rule.code].name} and {rule.name}; uninstall one")
            found[rule.code] = rule
    if not found:
        raise UsageError("no lint rules are registered; install the package (pip install -e .)")
    return tuple(found[code] for code in sorted(found)), tuple(unusable)


def lint(
    paths: Sequence[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    base: str | os.PathLike[str] | None = None,
    choices_of: Callable[[Path], Choices] | None = None,
    matched: bool = False,
) -> LintReport:
    """Lint training configs.

    Args:
        paths: config files, launch scripts, Python files, folders of them, or ``-`` for standard input.
        options: what the user says about them.
        select, ignore: codes or their beginnings; the longer of two matches wins.
        base: the config that these were derived from: what was scaled without its companions is a violation.
        choices_of: gives every file choices of its own, in place of those that the arguments make.
        matched: the files were chosen by their names, not one by one: only what is surely a training config counts, as in a folder.

    Returns:
        The report. Folders are searched; files in them that are no training configs are passed over.

    Raises:
        UsageError: an option has no such value.
        InputError: ``base`` cannot be read.
    """
    given = Choices(options or Options(), tuple(select), tuple(ignore))
    rules_of = {given: _rules(given)}
    configs: list[ConfigReport] = []
    problems = [Problem("crash", entry.point.value, entry.message) for entry in broken()]
    unrecognized: list[str] = []
    before = next(iter(plans(Path(base), str(base), given.options)), None) if base is not None else None
    if base is not None and before is None:
        raise InputError(base, "is not recognized as a training config", "name a training config, or its framework with --dialect")
    for path, named in _files(paths):
        name = path.as_posix()
        choices = given if choices_of is None else choices_of(path)
        if choices not in rules_of:
            rules_of[choices] = _rules(choices)
        try:
            found = plans(path, name, choices.options, strict=named and (not matched or choices.options.dialect is not None))
        except InputError as error:
            if named or path.suffix.lower() in (".yaml", ".yml"):
                problems.append(Problem("input", name, str(error), named, isinstance(error, NothingThereError)))
            continue
        if not found and named:
            unrecognized.append(name)
        for plan in found:
            plan.base = before
        configs += _inspect_file(found, rules_of[choices], problems, path)
    return LintReport(tuple(configs), tuple(problems), tuple(unrecognized))


def _rules(choices: Choices) -> tuple[Lint, ...]:
    """The rules that were chosen.

    Raises:
        UsageError: an option has no such value, or there is no such rule.
    """
    check_options(choices.options)
    known = [rule.code for rule in lints()]
    chosen, dropped = checked_codes(choices.select, known, "rule"), checked_codes(choices.ignore, known, "rule")
    return tuple(rule for rule in lints() if prefixed(rule.code, chosen, dropped))


def check_options(options: Options) -> None:
    """Refuse what no option can be.

    Raises:
        UsageError: the method, dialect or profile is unknown.
    """
    for what, value, known in (
        ("method", options.method, METHODS),
        ("dialect", options.dialect, recognition.DIALECTS),
        ("profile", options.profile, (*PROFILES, *SOURCES)),
    ):
        if value is not None:
            choose(what, value, known)


def plans(path: Path, name: str, options: Options | None = None, *, strict: bool = True) -> list[Plan]:
    """The training configs in a file; [] if none is recognized.

    Args:
        path: the file.
        name: what to call it.
        options: what the user says; an explicit dialect is taken on trust.
        strict: the user named the file; in a folder only what is surely a training config counts.

    Raises:
        InputError: the file cannot be read or is not valid.
    """
    options = options or Options()
    documents = _stdin(options.form) if name == STDIN else read(path, name=name, form=options.form or "")
    return [plan for document in documents if (plan := plan_of(document, options, path.parent, strict=strict)) is not None]


STDIN: Final = "-"
"""In place of a path: read the config from standard input."""


def _stdin(form: str | None) -> list[Document]:
    """The configs on standard input; JSON where it begins like it, else YAML, unless the form is named."""
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("<stdin>", f"is larger than {MAX_BYTES >> 10} KiB", "give a training config")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("<stdin>", f"is not UTF-8 text (byte {error.start})", "give a text") from error
    return parse(text, name="<stdin>", form=form or (JSON if text.lstrip()[:1] == "{" else YAML))


def plan_of(document: Document, options: Options, folder: Path | None = None, *, strict: bool = True) -> Plan | None:
    """The plan of one document, None if it is no training config of a known dialect."""
    from diag.local_data import local_data

    inherited = _inherited(document, folder) if folder is not None else {}
    flat = {**inherited, **document.flat()}
    dialect = options.dialect or recognition.detect(flat, document.entry, document.containers)
    if dialect is None or (not strict and not recognition.is_sure(dialect, flat, document.entry)):
        return None
    data = local_data(flat, folder) if folder is not None and options.dataset_size is None else {}
    return Plan(document, dialect, options, data, inherited)


def _inherited(document: Document, folder: Path) -> dict[str, Any]:
    """The settings of the config files that a launch command names, as far as they are there and can be read."""
    found: dict[str, Any] = {}
    for name in document.configs:
        for path in (folder / name, Path(name)):
            if path.suffix.lower() not in CONFIG_SUFFIXES or not path.is_file():
                continue
            try:
                found.update(read(path)[0].flat())
            except (InputError, IndexError):
                document.problems.append(f"{name} cannot be read, so only the command's own arguments are judged")
            break
    return found


CONFIG_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
"""Suffixes of config files that a launch command may name."""


def _inspect_file(found: Sequence[Plan], rules: Sequence[Lint], problems: list[Problem], file: Path) -> list[ConfigReport]:
    """``inspect`` for every plan of a file; a comment that silences nothing in any of them belongs to the one it is about."""
    used: set[tuple[int, str]] = set()
    reports = [inspect(plan, rules, problems, file, used) for plan in found]
    for comment, violation in _unused(found[0].document, used, rules) if found else ():
        about = comment.line or comment.at
        index = max((at for at, plan in enumerate(found) if plan.document.line <= about), default=0)
        reports[index] = replace(reports[index], violations=tuple(sorted((*reports[index].violations, violation), key=_order)))
    return reports


def inspect(
    plan: Plan,
    rules: Sequence[Lint],
    problems: list[Problem] | None = None,
    file: Path | None = None,
    used: set[tuple[int, str]] | None = None,
) -> ConfigReport:
    """Let the rules speak about one plan; comments silence what they name, and one that silences nothing is a violation itself.

    Args:
        plan: the config.
        rules: those that may speak.
        problems: where rules that crash are told; nowhere if None.
        file: the file on this machine.
        used: where the plan is one of several in a file, the comments that were used so far, by their place and code; those of this
            plan are added, and none is called unused.
    """
    found: list[Violation] = []
    examined: list[str] = []
    for rule in rules:
        if (rule.dialects and plan.dialect not in rule.dialects) or (rule.whole and not plan.is_whole):
            continue
        try:
            found.extend(rule.inspect(plan))
            examined.append(rule.code)
        except Exception as error:
            if os.environ.get("DIAG_DEBUG", "") not in ("", "0"):
                raise
            if problems is not None:
                problems.append(Problem("crash", plan.document.path, f"{rule.code} crashed: {type(error).__name__}: {error}"))
    # What a command takes over from a config file is told of where it stands, when that file is linted.
    found = [violation for violation in found if violation.key not in plan.inherited or violation.key in plan.document.settings]
    found.sort(key=_order)
    matched = set[tuple[int, str]]() if used is None else used
    kept, silenced = _silence(plan, found, matched)
    if used is None:
        kept = sorted((*kept, *(idle for _, idle in _unused(plan.document, matched, rules))), key=_order)
    return ConfigReport(plan, tuple(kept), tuple(silenced), file or Path(plan.document.path), tuple(examined))


UNUSED: Final = "CFG099"
"""Code of the rule that speaks of comments which silence nothing; the engine applies it, as only it knows."""


def _silence(plan: Plan, found: Iterable[Violation], used: set[tuple[int, str]]) -> tuple[list[Violation], list[tuple[Violation, str]]]:
    """What no comment silences, and what one does with its reason; the comments' places and codes are added to ``used``."""
    kept: list[Violation] = []
    silenced: list[tuple[Violation, str]] = []
    for violation in found:
        reason: str | None = None
        for index, entry in enumerate(plan.document.ignores):
            codes = [code for code in entry.codes or ("",) if violation.code.startswith(code)]
            if codes and _is_about(entry, violation, plan.document):
                used.update((index, code) for code in codes)
                reason = entry.reason if reason is None else reason
        if reason is None:
            kept.append(violation)
        else:
            silenced.append((violation, reason))
    return kept, silenced


def _is_about(entry: Ignore, violation: Violation, document: Document) -> bool:
    """Whether a comment is about a violation's line. Between the lines of a command no comment can stand: that above it is about all."""
    return entry.line in (0, violation.line) or (document.form == SHELL and entry.line == document.line)


def _unused(document: Document, used: set[tuple[int, str]], rules: Sequence[Lint]) -> Iterator[tuple[Ignore, Violation]]:
    """Comments that silence nothing, some of whose codes silence nothing, or that name rules which do not exist.

    Codes of rules that were left out cannot be missed, and those of other programs are theirs.
    """
    rule = next((rule for rule in rules if rule.code == UNUSED), None)
    if rule is None:
        return
    ran, every = ([known.code for known in group] for group in (rules, lints()))
    ours = {code[:3] for code in every}
    for index, entry in enumerate(document.ignores):
        listed = f"[{', '.join(entry.codes)}]" if entry.codes else ""
        idle = [code for code in entry.codes or ("",) if (index, code) not in used and any(known.startswith(code) for known in ran)]
        wrong = [code for code in entry.codes if code[:3] in ours and not any(known.startswith(code) for known in every)]
        texts = [f"The comment ignore{listed} names {code}, which is no rule." for code in wrong]
        if idle:
            what = "nothing" if len(idle) == max(len(entry.codes), 1) else f"no {' and no '.join(idle)}"
            texts.append(f"The comment ignore{listed} silences {what}.")
        for text in texts:
            yield entry, Violation(rule.code, rule.name, rule.severity, text, line=entry.at, rules=rule.rules)


def _order(violation: Violation) -> tuple[Any, ...]:
    return (violation.line, violation.column, violation.code, violation.key, violation.message)


def _files(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, bool]]:
    """Every file to look at, and whether the user named it."""
    seen: set[Path] = set()
    for given in paths:
        path = Path(given)
        for file, named in [(path, True)] if not path.is_dir() else [(file, False) for file in _walk(path)]:
            if file not in seen:
                seen.add(file)
                yield file, named


def _walk(folder: Path) -> Iterator[Path]:
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(root) / name
                count += 1
                if count >= MAX_FILES:
                    return
