"""The exceptions a user can meet.

DiagError                  the base; carries the exit code
├── UsageError             bad options or configuration            exit 2
├── InputError             a path or URI that cannot be read       exit 2
│   ├── MissingExtraError  an optional dependency is not installed exit 2
│   └── NothingThereError  not there, or no training log       exit 2
└── NothingToJudgeError    no run was found                        exit 3
"""

from __future__ import annotations

from diag.text import without_credentials


class DiagError(Exception):
    """A problem the user can act on; printed as one line, never with a traceback."""

    exit_code = 2


class UsageError(DiagError):
    """An option or a configuration value is wrong."""


class InputError(DiagError):
    """A path or URI cannot be read as a training log.

    The message is one line that names the input (an address without its credentials), what was wrong and what to do.
    """

    def __init__(self, path: object, problem: str, advice: str = "") -> None:
        self.path = without_credentials(str(path))
        self.problem = without_credentials(problem)
        self.advice = without_credentials(advice)
        super().__init__(f"{self.path}: {self.problem}" + (f"; {self.advice}" if advice else ""))


class MissingExtraError(InputError):
    """A source, or a place to write to, needs an optional dependency that is not installed."""

    def __init__(self, path: object, package: str, extra: str, doing: str = "reading this") -> None:
        super().__init__(path, f"{doing} needs {package}", f"install it with: pip install 'diag[{extra}]'")


class NothingThereError(InputError):
    """A path holds nothing that could be judged: it does not exist, is a Git LFS pointer, or is no training log.

    A file that is a training log and cannot be read is another matter, and a plain InputError.
    """


class NothingToJudgeError(DiagError):
    """No run was found where the user pointed."""

    exit_code = 3
