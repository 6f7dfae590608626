"""What the tests in a real browser need: Chromium, axe-core and the Nu HTML checker. Without one a test is skipped, but not in CI.

A plug-in of pytest; test files name it: ``pytest_plugins = ["browsers"]``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PACKAGES = Path(__file__).resolve().parent / "browser" / "node_modules"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL_PACKAGES = "npm install --prefix tests/browser"


def missing(what: str, remedy: str) -> NoReturn:
    """Skip, or fail in CI, where everything has to be there."""
    reason = f"{what} is not there; bring it with: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One headless browser for all tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright", "pip install -c constraints.txt -e '.[test]'")
    path = os.environ.get("DIAG_TEST_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing("Chromium", "apt-get install chromium, or set DIAG_TEST_CHROMIUM to one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return package("axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def nu_checker() -> list[str]:
    """The command of the Nu HTML checker."""
    java = shutil.which("java")
    if java is None:
        missing("java", "apt-get install default-jre-headless")
    return [java, "-jar", str(package("vnu-jar/build/dist/vnu.jar"))]


def package(path: str) -> Path:
    """A file of an npm package."""
    found = PACKAGES / path
    if not found.is_file():
        missing(path.partition("/")[0], INSTALL_PACKAGES)
    return found
