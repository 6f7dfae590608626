"""What an arm changes, as options of the run's own training command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from diag.dialects import Dialect, load
from diag.dialects.draft import argument, whole
from diag.dialects.generic import EQUALS_FLAGS, GenericDialect
from diag.errors import UsageError
from diag.fixes import Fix
from diag.replay.arms import override
from diag.replay.command_line import LENGTHS, OVERRIDES, PLACEHOLDERS, CommandLine, option_name, split_option
from diag.replay.guard import ProbeError
from diag.replay.trainer import Job

if TYPE_CHECKING:
    from diag.run import Run

FOLLOWERS: Final = ("micro_batch_size", "max_steps")
"""What an arm has another value of where something else was changed: see ``diag.replay.arms.override``."""
GENERIC: Final = "generic"


class Spelling:
    """Options of a command for the changes of an arm.

    Args:
        run: whose dialect they are in, and whose own keys are used.
        recorded: hyperparameters of the recorded arm.
        line: the command; what it has a placeholder for is no override.

    Raises:
        UsageError: the command has a placeholder for a hyperparameter that the run does not tell.
    """

    def __init__(self, run: Run, recorded: Mapping[str, Any], line: CommandLine) -> None:
        self._run, self._recorded, self._line = run, dict(recorded), line
        self._dialect = _dialect(run, line)
        self._placed = [name for name in line.placeholders if name not in PLACEHOLDERS]
        for name in self._placed:
            if recorded.get(name) is None:
                raise UsageError(f"--command has {{{name}}}, but the run does not tell its {name}; write the value itself")
        seed = recorded.get("seed")
        self.has_seed = line.has("seed") or bool(
            line.has(OVERRIDES) and self._tokens({"seed": seed + 1 if isinstance(seed, int) else 0})  # another one, or there is no change
        )

    def words(self, job: Job, folder: str) -> list[str]:
        """The command of one training.

        Raises:
            ProbeError: a change has no option.
        """
        if (gone := next((name for name in self._placed if name not in job.hyperparameters), None)) is not None:
            raise ProbeError(f"--command has {{{gone}}}, which {job.arm} replaces by something else; leave the option to {{overrides}}")
        values = {name: argument(whole(job.hyperparameters[name])) for name in self._placed}
        values |= {"steps": str(job.steps), "total_steps": str(job.total_steps), "seed": str(job.seed), "out": folder}
        return self._line.fill(values, self.overrides(job))

    def overrides(self, job: Job) -> list[str]:
        """The options that set what a job changes.

        Raises:
            ProbeError: a change has no option, or stands before one of the command that undoes it.
        """
        changes = {name: value for name, value in self.changes(job.hyperparameters).items() if name not in self._placed}
        silent = [name for name, value in changes.items() if not self._line.has(OVERRIDES) or not self._tokens({name: value})]
        if silent:
            names = ", ".join(silent)
            raise ProbeError(
                f"{self._run.dialect} has no command-line option for {names}, which {job.arm} changes; if the command has one, write it"
                f" with its placeholder, such as --option {{{silent[0]}}}"
            )
        if not self._line.has("seed") and self.has_seed:
            changes["seed"] = job.seed
        return self._undisputed(self._tokens(changes)) if changes else []

    def changes(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """What differs from the recorded hyperparameters, without what merely follows from the rest.

        The number of steps follows in a run whose length is given in epochs; where the run's config has it, it is a change as well.
        """
        known = self._recorded
        changes = {name: value for name, value in hyperparameters.items() if name not in known or known[name] != value}
        for follower in FOLLOWERS:
            rest = {name: value for name, value in changes.items() if name != follower}
            if rest and follower in changes and override(known, rest).get(follower) == changes[follower]:
                if follower == "max_steps" and self._outlives(rest):
                    continue
                changes = rest
        if self._line.has(*LENGTHS):
            changes.pop("max_steps", None)
        return changes

    def _outlives(self, changes: Mapping[str, Any]) -> bool:
        """Whether the config says how many steps there are, and goes on saying it when something else is changed."""
        entry = self._run.hyperparameters.get("max_steps")
        if entry is None or entry.kind != "file":
            return False
        return all(option_name(split_option(group[0])[0]) != option_name(entry.key) for group in _options(self._tokens(changes)))

    def _tokens(self, changes: Mapping[str, Any]) -> list[str]:
        fixes = [Fix(name, self._recorded.get(name), value, None, 1, "", "") for name, value in changes.items()]
        return self._dialect.render(self._run, fixes).arguments

    def _undisputed(self, tokens: Sequence[str]) -> list[str]:
        """Without the options that the command fills in itself.

        Raises:
            ProbeError: the command gives one of the others after them, where it wins.
        """
        own = list(self._line.options())
        filled = {option.name for option in own if option.filled}
        last = {option.name for option in own if option.last}
        kept: list[str] = []
        for group in _options(tokens):
            name = option_name(split_option(group[0])[0])
            if name in filled:
                continue
            if name in last:
                raise ProbeError(f"--command gives {name} after {{overrides}}, which undoes the change; move {{overrides}} to the end")
            kept += group
        return kept


def _options(tokens: Iterable[str]) -> Iterator[list[str]]:
    """Tokens in groups of an option and its values."""
    group: list[str] = []
    for token in tokens:
        if split_option(token)[0] and group:
            yield group
            group = []
        group.append(token)
    if group:
        yield group


def _dialect(run: Run, line: CommandLine) -> Dialect:
    """The dialect of a run; for one of no known framework, the keys of its config in the form of the command's own options."""
    dialect = load(run.dialect)
    flags = [word.pieces[0][0] for word in line.words if word.pieces[0][0].startswith("--")]
    if run.dialect != GENERIC or not flags or not isinstance(dialect, GenericDialect):
        return dialect
    hyphened = any("-" in split_option(flag)[0][2:] for flag in flags)
    return _Flags(hyphened)


class _Flags(GenericDialect):
    """``--key=value``, or ``--a-key=value`` where the command's own options have hyphens."""

    style = EQUALS_FLAGS

    def __init__(self, hyphened: bool) -> None:
        super().__init__()
        self._hyphened = hyphened

    def tokens(self, draft: Any, style: str) -> list[str]:
        """As ever, with hyphens."""
        found = super().tokens(draft, style)
        if not self._hyphened:
            return found
        parts = [token.partition("=") for token in found]
        return [f"{key.replace('_', '-')}{equals}{value}" for key, equals, value in parts]
