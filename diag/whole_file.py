"""Write a file at once: a reader sees what was there or all that is new, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace(path: Path, text: str, *, encoding: str, mode: int) -> None:
    """Put a file in the place of another, or of none; nothing else is left in the folder, whatever fails.

    Args:
        path: no link: a link itself would be replaced.
        text: written as it is, line ends too.
        encoding: a codec of Python.
        mode: permission bits of the new file.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding=encoding, newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
