"""What every test leaves as it found it, and the browser that some are given."""

import shutil
import sys

import pytest


@pytest.fixture(autouse=True)
def jax_as_it_was():
    """JAX's 64 bits are off but where a test turns them on: a later test would be given other numbers."""
    yield
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def browser():
    """Chromium; a test that asks for it is skipped where that or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
