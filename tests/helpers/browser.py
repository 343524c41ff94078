"""A real browser for tests of pages: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # No host is found, so that a page that asks for one fails as it would without a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def launched() -> Iterator[Any]:
    """Yield a browser, or skip the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"there is no browser here: none of {', '.join(NAMES)} (make test installs one where it can)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def watched(page: Any) -> list[str]:
    """Return a list that fills with what a page says on its console, throws, and asks for outside its own file."""
    seen: list[str] = []
    page.on("console", lambda said: seen.append(f"console: {said.text[:200]}"))
    page.on("pageerror", lambda error: seen.append(f"script: {str(error)[:200]}"))
    page.on("request", lambda asked: seen.append(f"request: {asked.url[:200]}") if _outside(asked.url) else None)
    return seen


def _outside(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))
