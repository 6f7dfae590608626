from __future__ import annotations

import pytest

from diag.errors import InputError
from diag.text import without_credentials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:secret@host:80/a@b", "https://host:80/a@b"),
        ("mlflow://us%40er:p@h: no; try http://u@h", "mlflow://h: no; try http://h"),
        ("https://u:p@ss@host/", "https://host/"),
        ("mail me@host, sqlite:///a@b.db", "mail me@host, sqlite:///a@b.db"),
    ],
)
def test_addresses_lose_their_credentials(text: str, expected: str) -> None:
    assert without_credentials(text) == expected


def test_an_input_error_tells_no_credentials() -> None:
    error = InputError("http://u:secret@h", "http://u:secret@h holds no run", "look at http://u:secret@h/runs")
    assert str(error) == "http://h: http://h holds no run; look at http://h/runs"
    assert "secret" not in f"{error.path}{error.problem}{error.advice}"
