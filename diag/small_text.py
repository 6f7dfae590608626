"""Text files that people write by hand: small, UTF-8, and told of in one line where they are not."""

from __future__ import annotations

from pathlib import Path

from diag.errors import InputError


def read(path: Path, most: int, advice: str, name: str | None = None) -> str | None:
    """The text of a file, None if there is no such file.

    Args:
        path: the file.
        most: bytes above which it is not what it should be.
        advice: what to do about one that is larger.
        name: what messages call it, if not by its path.

    Raises:
        InputError: it cannot be read, is larger, or is no UTF-8.
    """
    shown = path if name is None else name
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise InputError(shown, f"cannot be read ({(error.strerror or type(error).__name__).lower()})", "check its permissions") from None
    if len(data) > most:
        raise InputError(shown, f"is larger than {most >> 10} KiB", advice)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(shown, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
