"""Debian's Chromium, without a screen, for the tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

# the same browser without its windows starts and ends in a third of the time
_CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
# nothing but the page itself: no GPU, and none of the browser's own errands on the network
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_browser = pytest.mark.skipif(
    _CHROMIUM is None and os.environ.get("MATSTREAM_REQUIRE_BROWSER") != "1", reason="needs Chromium"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser while the context lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()
