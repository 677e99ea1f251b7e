"""What `make demo` wrote is there and holds what it should, and its pages open in Chromium without an error.

`python tests/look_at_demo.py` needs the standard library and Chromium alone, so it looks right after the command.
"""

import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(page):
    """The page's HTML once its script has run, and what it said in the console."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r":CONSOLE.*", done.stderr)


def look_at_model():
    data = (DEMO / "digits.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert len(header) > 4, header


def look_at_report():
    html, said = opened(DEMO / "report.html")
    assert not said, said
    assert "<svg" in html


def look_at_explanation(name="explanation.html"):
    html, said = opened(DEMO / name)
    assert not said, said
    assert re.search(r'id="app"[^>]* data-live', html), "its script has not taken over"
    assert "<h1>Why W₁" in html, "it does not open on a weight of layer 1"
    derivations = html.split('id="derivation-')[1:]
    assert len(derivations) >= 9, len(derivations)
    for derivation in derivations:
        assert derivation.count("<math") >= 2, derivation[:200]


def look_at_the_report_s_explanation():
    assert 'href="report-explanation.html' in (DEMO / "report.html").read_text(encoding="utf-8")
    look_at_explanation("report-explanation.html")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("chromium is not installed")
    looks = [look_at_model, look_at_report, look_at_the_report_s_explanation, look_at_explanation]
    for look in looks:
        look()
    print(f"{len(looks)} files of make demo: {len(looks)} passed")
