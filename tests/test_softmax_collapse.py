"""examples/softmax_collapse.py, for one step: both arms begin alike, where float32 has not collapsed yet."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "softmax_collapse.py"


def test_both_arms_begin_at_chance(tmp_path):
    output = tmp_path / "curves"
    subprocess.run([sys.executable, SCRIPT, "--steps", "1", "--seeds", "3", "-o", output], check=True, timeout=300)
    runs = {run["arm"]: run for run in json.loads(output.with_suffix(".json").read_text())["runs"]}
    assert set(runs) == {"ordinary", "exact"}
    for run in runs.values():
        assert [point["step"] for point in run["curve"]] == [0]
        # a network that has learned nothing spreads its probability over the 113 classes
        assert run["curve"][0]["loss"] == pytest.approx(math.log(113), abs=0.02)
        assert run["curve"][0]["zero"] == 0
        assert run["curve"][0]["test"] < 0.03
    assert runs["ordinary"]["curve"][0]["loss"] == pytest.approx(runs["exact"]["curve"][0]["loss"], rel=1e-6)
