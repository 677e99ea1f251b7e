"""Puts a live page into the site that `make docs` builds: a network of the digits, its worst row explained."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

from chainrule.command.cli import main

DIGITS = Path(__file__).parents[1] / "examples" / "digits.csv"


def on_post_build(config: Any, **_: Any) -> None:
    """MkDocs calls this when all other files of the site are written."""
    with tempfile.TemporaryDirectory() as folder:
        model, page = f"{folder}/digits.safetensors", f"{config['site_dir']}/live.html"
        for command in (
            ["train", str(DIGITS), "--target", "label", "--test", "0.2", "--seed", "0", "-o", model],
            ["explain", model, str(DIGITS), "--row", "worst", "-o", page],
        ):
            with contextlib.redirect_stdout(io.StringIO()):
                failed = main(command)
            if failed:
                raise SystemExit(f"docs/live.py: chainrule {command[0]} failed")
