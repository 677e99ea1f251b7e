"""examples/softmax_collapse.py: its arms begin alike, the ordinary gradient collapses, and the exact one does not."""

import importlib.util
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "softmax_collapse.py"


@pytest.fixture
def script(monkeypatch):
    """The example as a module; what it sets in the environment, for its workers, is taken back."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    spec = importlib.util.spec_from_file_location("softmax_collapse", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_the_gradients_of_the_two_arms(script):
    """Where a row is confident, the ordinary one is 0 at the label; the exact one is right to half an ULP."""
    logits, labels = np.float32([[20, 0, 1], [0.5, 2, 1]]), np.array([0, 2])
    grads, losses = {}, {}
    for arm, gradient in script.ARMS.items():
        grads[arm] = np.full((2, 3), np.nan, np.float32)
        losses[arm] = gradient(logits.copy(), labels, grads[arm])
    truth = [naive.loss_and_grad(row, label) for row, label in zip(logits, labels, strict=True)]
    for n, (_, grad) in enumerate(truth):
        for j, true in enumerate(grad):
            assert naive.ulps(grads["exact"][n, j], true / 2, np.float32) <= 0.51
            assert grads["ordinary"][n, j] == pytest.approx(float(true / 2), rel=1e-6) or (n, j) == (0, 0)
    assert grads["ordinary"][0, 0] == 0
    for loss in losses.values():
        assert loss == pytest.approx(float(truth[0][0] + truth[1][0]) / 2, rel=1e-6)


def test_the_ordinary_gradient_collapses_and_the_exact_one_goes_on(script):
    """The same on (x + y) mod 5: enough steps for every training pair's gradient to round to 0."""
    script.P, script.SIZES, script.EVERY = 5, (10, 32, 32, 5), 500
    curves = {arm: script.train((arm, 0, 2500))["curve"] for arm in script.ARMS}
    assert [[point["step"] for point in curve] for curve in curves.values()] == [[0, 500, 1000, 1500, 2000, 2500]] * 2
    assert curves["ordinary"][0]["zero"] == 0
    assert curves["ordinary"][-1]["zero"] > 0.5
    exact = curves["exact"]
    assert [point["zero"] for point in exact] == [0] * 6
    for before, after in itertools.pairwise(exact):
        assert 0 < after["loss"] < before["loss"] / 4
