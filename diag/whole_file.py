"""Write a file at once: a reader sees what was there or all that is new, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace(path: Path, text: str, *, encoding: str, mode: int) -> None:
    """Put a text file in the place of another, or of none: ``replace_bytes`` of the text as it is, line ends too.

    Args:
        path: no link: a link itself would be replaced.
        text: what to write.
        encoding: a codec of Python.
        mode: permission bits of the new file.

    Raises:
        OSError: the folder or the file cannot be written.
        UnicodeEncodeError: the encoding lacks a character of the text.
    """
    replace_bytes(path, text.encode(encoding), mode=mode)


def replace_bytes(path: Path, data: bytes, *, mode: int) -> None:
    """Put a file in the place of another, or of none; nothing else is left in the folder, whatever fails.

    Args:
        path: no link: a link itself would be replaced.
        data: what to write.
        mode: permission bits of the new file.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
