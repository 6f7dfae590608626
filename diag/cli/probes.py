"""Which training a command probes: a function of the user's, or a model and a file that it is rebuilt from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diag.errors import UsageError

if TYPE_CHECKING:
    from diag.replay.probe import ProbeFunction
    from diag.run import Run


@dataclass(frozen=True, slots=True)
class Source:
    """The options that say which training.

    Attributes:
        probe: a function, as ``file.py:function``.
        model: folder or id of a Hugging Face model.
        data, eval_data: JSONL files.
        allow_download: whether the model may be fetched.
    """

    probe: str | None
    model: str | None
    data: str | None
    eval_data: str | None
    allow_download: bool

    @property
    def is_given(self) -> bool:
        """Whether any of the options was given."""
        return any((self.probe, self.model, self.data, self.eval_data, self.allow_download))

    def check(self) -> None:
        """See to it that the options say one training.

        Raises:
            UsageError: they say none, or two.
        """
        if self.model is None:
            for option, value in (("--data", self.data), ("--eval-data", self.eval_data), ("--allow-download", self.allow_download)):
                if value:
                    raise UsageError(f"{option} goes with --model: give --model DIR_OR_ID --data FILE.jsonl, or --probe")
            if self.probe is None:
                raise UsageError(
                    "which training? Give --probe file.py:function, or --model and --data; diag replay --init writes a probe to start from"
                )
        elif self.probe is not None:
            raise UsageError("--probe and --model are two trainings; give one of them")
        elif self.data is None:
            raise UsageError(f"--model {self.model}: which data? Give --data FILE.jsonl")

    def files(self) -> Iterator[str]:
        """What is read, which no output may be written over."""
        if self.probe is not None:
            yield probe_file(self.probe)
        yield from (name for name in (self.data, self.eval_data) if name is not None)
        if self.model is not None and (folder := Path(self.model).expanduser()).is_dir():
            yield from map(str, folder.iterdir())

    def load(self, run: Run | None) -> ProbeFunction:
        """The training, as far as it is the same for all hyperparameters.

        Args:
            run: which it is rebuilt from, None if there is none.

        Raises:
            DiagError: it cannot be used.
        """
        if self.probe is not None:
            from diag.replay.probe import load

            return load(self.probe)
        from diag.replay import huggingface

        assert self.model is not None and self.data is not None  # narrows the type; see check
        return huggingface.load(self.model, self.data, eval_data=self.eval_data, allow_download=self.allow_download, run=run)


def probe_file(spec: str) -> str:
    """The file or module that a probe is in, as its spec names it."""
    return spec.rpartition(":")[0] or spec


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that trains: they come as one ``source``, a Source."""

    @functools.wraps(command)
    def collected(*arguments: Any, **options: Any) -> Any:
        names = ("probe", "model", "data", "eval_data", "allow_download")
        return command(*arguments, source=Source(**{name: options.pop(name) for name in names}), **options)

    made: Callable[..., Any] = collected
    for option in (
        click.option("--allow-download", is_flag=True, help="Fetch the model if it is not here. Nothing is fetched otherwise."),
        click.option("--eval-data", metavar="FILE", help="JSONL file to evaluate on. [default: the last tenth of --data]"),
        click.option("--data", metavar="FILE", help="With --model: JSONL file of the samples."),
        click.option("--model", metavar="DIR_OR_ID", help="The training: a fine-tune of this Hugging Face model, as in the run."),
        click.option("--probe", metavar="SPEC", help="The training: file.py:function or package.module:function. Its code is run."),
    ):
        made = option(made)
    return made
